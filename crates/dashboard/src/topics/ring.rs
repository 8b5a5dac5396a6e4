//! The newest frames of a topic, and where each client stands in them.
//!
//! ```text
//!   frames   41 42 43 44 45            45 is the newest; older than 41 is forgotten
//!   client A ──────────^  next: 44     gets 44 and 45
//!   client B ─^          next: 40      has fallen out: a view's client gets the rows anew
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::Frame;

/// Frames kept, at most, and their bytes. A client further behind is told so.
const FRAMES_MAX: usize = 10_000;
const BYTES_MAX: usize = 48 * 1024 * 1024;

/// Numbers frames from 1.
#[derive(Debug)]
pub struct Ring {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The number of the next frame.
    next: u64,
    /// The id of a client that has seen everything before the first frame kept.
    before: String,
}

impl Ring {
    /// Nothing happened yet after `id`.
    pub fn after(id: String) -> Self {
        Ring { frames: VecDeque::new(), bytes: 0, next: 1, before: id }
    }

    pub fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.next += 1;
        self.frames.push_back(Arc::new(frame));
        while self.frames.len() > FRAMES_MAX || (self.bytes > BYTES_MAX && self.frames.len() > 1) {
            let Some(gone) = self.frames.pop_front() else { break };
            self.bytes -= gone.len();
            if let Some(id) = &gone.id {
                self.before.clone_from(id);
            }
        }
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest frame kept.
    pub fn first(&self) -> u64 {
        self.next - self.frames.len() as u64
    }

    /// The id of a client that has seen everything.
    pub fn newest_id(&self) -> &str {
        self.frames.back().and_then(|frame| frame.id.as_deref()).unwrap_or(&self.before)
    }

    /// The number of the frame after the one with this id, if that is certain.
    pub fn resume(&self, id: &str) -> Option<u64> {
        if id == self.before {
            return Some(self.first());
        }
        let at = self.frames.iter().rposition(|frame| frame.id.as_deref() == Some(id))?;
        Some(self.first() + at as u64 + 1)
    }

    /// Frames from a number on, at most `limit`. `None`: the first of them is forgotten.
    pub fn from(&self, number: u64, limit: usize) -> Option<Vec<Arc<Frame>>> {
        let skipped = number.checked_sub(self.first())?;
        Some(self.frames.iter().skip(skipped as usize).take(limit).cloned().collect())
    }
}

//! Resuming: the event that the token names must be seen again before anything after it is shown.

use crate::error::{Result, token_not_found};
use crate::token::ResumeToken;

/// What the stream still looks for.
#[derive(Debug)]
pub(super) enum Resume {
    /// Nothing: it began at a time, or the event has been seen.
    Done,
    Seek(Box<ResumeToken>),
}

/// How an event stands to the resume point.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The reader has had it.
    Before,
    /// It is the one.
    ResumePoint,
    /// It was split, and the reader has had its fragments up to this one.
    ResumeFragment(u32),
    After,
}

impl Resume {
    /// A high-water mark names no event, so there is nothing to look for.
    pub fn after(token: &ResumeToken) -> Self {
        if token.facts().is_high_water_mark { Resume::Done } else { Resume::Seek(Box::new(token.clone())) }
    }

    /// # Errors
    /// 280 at the first event past the resume point if that was not seen.
    pub fn check(&mut self, token: &ResumeToken) -> Result<Seen> {
        let Resume::Seek(wanted) = self else { return Ok(Seen::After) };
        let fragment = wanted.facts().fragment;
        match token.cmp(&wanted.without_fragment()) {
            std::cmp::Ordering::Less => Ok(Seen::Before),
            std::cmp::Ordering::Equal => {
                *self = Resume::Done;
                Ok(fragment.map_or(Seen::ResumePoint, Seen::ResumeFragment))
            }
            std::cmp::Ordering::Greater => Err(token_not_found(wanted)),
        }
    }
}

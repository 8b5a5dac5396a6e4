//! Identifiers: UUIDs of collections and sessions, ObjectIds of documents.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::random::os_bytes;

/// A 128-bit identifier, version 4 where we make it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A fresh random (version 4) identifier.
    pub fn random() -> Self {
        let mut bytes = os_bytes::<16>();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                write!(f, "-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Uuid {
    type Err = ();

    /// As `Display` writes it.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(());
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Uuid(bytes))
    }
}

/// A fresh ObjectId: 4 bytes of seconds, 5 bytes of this process, a 3-byte counter.
pub fn new_object_id(now_ms: i64) -> [u8; 12] {
    static PROCESS: LazyLock<[u8; 5]> = LazyLock::new(os_bytes);
    static COUNTER: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(u32::from_le_bytes(os_bytes())));
    let mut id = [0; 12];
    id[..4].copy_from_slice(&((now_ms / 1000) as u32).to_be_bytes());
    id[4..9].copy_from_slice(&*PROCESS);
    id[9..].copy_from_slice(&COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes()[1..]);
    id
}

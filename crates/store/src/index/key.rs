//! Keys that are too long for the key-value store.
//!
//! ```text
//!   up to MAX_KEY bytes   the key
//!   longer                its first MAX_KEY bytes · SHA-256 of all of it
//! ```
//! Two stored keys are equal only if the keys are, so unique indexes stay exact. The order is that of
//! the keys as far as their first `MAX_KEY` bytes tell; an index that has met a long key promises no
//! order (`Index::long_keys`).
//!
//! # Invariants
//! - A stored key that is cut is longer than any that is not.
//! - A widened range holds every entry whose key lies in the range.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::kv::{KeyRange, successor};

/// Longest key in bytes that is stored whole. The key-value store ends at 65,535, and the index's and
/// the record's number stand beside it.
const MAX_KEY: usize = 60_000;
/// Bytes of the index's number, with which every place begins.
const PREFIX: usize = 4;

pub fn is_long(key: &[u8]) -> bool {
    key.len() > MAX_KEY
}

/// The key as it is stored.
pub fn stored(key: &[u8]) -> Cow<'_, [u8]> {
    if !is_long(key) {
        return Cow::Borrowed(key);
    }
    let mut out = Vec::with_capacity(MAX_KEY + 32);
    out.extend_from_slice(&key[..MAX_KEY]);
    out.extend_from_slice(&Sha256::digest(key));
    Cow::Owned(out)
}

/// Makes a range of keys one of stored keys. True if it may now hold more than was asked for.
pub fn widen(range: &mut KeyRange) -> bool {
    let limit = PREFIX + MAX_KEY;
    let mut widened = false;
    if range.from.len() > limit {
        range.from.truncate(limit);
        widened = true;
    }
    if let Some(to) = range.to.take_if(|to| to.len() > limit) {
        range.to = successor(&to[..limit]);
        widened = true;
    }
    widened
}

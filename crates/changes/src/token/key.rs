//! The KeyString of a token: a sequence of values, each led by its type byte.
//!
//! Decoding reads the simple values that lead a token and walks over everything else, because the
//! event identifier is only ever compared; so a token without its type bits, which is what SQL
//! shows, is still whole. Bytes are foreign: every read is checked, and nesting has a limit.

use document::Raw;
use document::key_string::token::KeyString;

use crate::error::{Error, Result};

/// Ends a KeyString: sorts between keys and their extensions.
pub(super) const END: u8 = 0x04;

/// A decoded value, as far as tokens need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Timestamp(u64),
    Int(i64),
    Bool(bool),
    Null,
    Binary { subtype: u8, bytes: Vec<u8> },
    Document,
    Other,
}

/// The key bytes without the end byte, and the type bits (empty if all are zero).
pub(super) fn encode(values: &[Raw<'_>]) -> (Vec<u8>, Vec<u8>) {
    let KeyString { mut bytes, type_bits } = KeyString::encode(values.iter().copied());
    assert_eq!(bytes.pop(), Some(END), "a KeyString is ended by its mark");
    (bytes, type_bits)
}

/// The values up to the end byte or the end of the bytes, and how many bytes they take.
pub(super) fn decode(bytes: &[u8]) -> Result<(Vec<Field>, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut fields = Vec::new();
    while let Some(&kind) = bytes.get(reader.at)
        && kind != END
    {
        reader.at += 1;
        fields.push(reader.value(kind, 0)?);
    }
    Ok((fields, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or_else(|| {
            Error::new(15, format!("Invalid advance ({count}) past end of buffer[{}] at offset: 0", rest.len()))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
    }

    /// To the terminating zero; `00 FF` is a zero inside the text where `escaped`.
    fn text(&mut self, escaped: bool) -> Result<()> {
        loop {
            let rest = &self.bytes[self.at..];
            let Some(zero) = rest.iter().position(|&byte| byte == 0) else {
                return self.take(rest.len() + 1).map(|_| ());
            };
            self.at += zero + 1;
            if !escaped || self.bytes.get(self.at) != Some(&0xff) {
                return Ok(());
            }
            self.at += 1;
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Field> {
        if depth > base::limits::MAX_NESTING_LEVELS {
            return Err(Error::new(15, "KeyString nests too deeply"));
        }
        match kind {
            0x0a | 0x0f | 0xf0 | 0x1e => Ok(Field::Other),
            0x14 => Ok(Field::Null),
            0x1f..=0x33 => self.number(kind),
            0x3c | 0xa0 => self.text(true).map(|()| Field::Other),
            0x46 => self.document(depth).map(|()| Field::Document),
            0x50 => self.array(depth).map(|()| Field::Other),
            0x5a => self.binary(),
            0x64 => self.take(12).map(|_| Field::Other),
            0x6e | 0x6f => Ok(Field::Bool(kind == 0x6f)),
            0x78 => self.take(8).map(|_| Field::Other),
            0x82 => self.word().map(Field::Timestamp),
            0x8c => {
                self.text(false)?;
                self.text(false)?;
                Ok(Field::Other)
            }
            0x96 => {
                let length = self.take(4)?.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
                self.take(length.saturating_add(12))?;
                Ok(Field::Other)
            }
            0xaa => {
                self.text(true)?;
                self.document(depth)?;
                Ok(Field::Other)
            }
            _ => Err(Error::new(50811, format!("KeyString format error: Unknown type: {kind}"))),
        }
    }

    fn document(&mut self, depth: usize) -> Result<()> {
        while self.byte()? != 0 {
            self.text(false)?;
            let kind = self.byte()?;
            self.value(kind, depth + 1)?;
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<()> {
        loop {
            match self.byte()? {
                0 => return Ok(()),
                kind => self.value(kind, depth + 1)?,
            };
        }
    }

    fn binary(&mut self) -> Result<Field> {
        let mut length = usize::from(self.byte()?);
        if length == 0xff {
            length = self.take(4)?.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        }
        let subtype = self.byte()?;
        Ok(Field::Binary { subtype, bytes: self.take(length)?.to_vec() })
    }

    /// Whole numbers of up to 63 bits are read; of anything else only the length is found out. A
    /// set low bit says that more bytes refine the value; negative numbers are complemented.
    fn number(&mut self, kind: u8) -> Result<Field> {
        let (count, flip) = match kind {
            0x29 => return Ok(Field::Int(0)),
            0x2b..=0x32 => (usize::from(kind - 0x2a), 0),
            0x20..=0x27 => (usize::from(0x28 - kind), 0xff),
            _ => return self.scaled(kind),
        };
        let whole = self.take(count)?.iter().fold(0u64, |whole, &byte| whole << 8 | u64::from(byte ^ flip));
        if whole & 1 == 0 {
            let magnitude = (whole >> 1) as i64;
            return Ok(Field::Int(if flip == 0 { magnitude } else { -magnitude }));
        }
        let last = match self.take(8 - count)?.last() {
            Some(byte) => byte ^ flip,
            None => whole as u8,
        };
        if count < 8 && last & 1 == 1 {
            self.word()?;
        }
        Ok(Field::Other)
    }

    /// Numbers of very large or very small magnitude.
    fn scaled(&mut self, kind: u8) -> Result<Field> {
        let large = matches!(kind, 0x33 | 0x1f);
        let flip = if matches!(kind, 0x1f | 0x28) { u64::MAX } else { 0 };
        let word = self.word()? ^ flip;
        let refined = match (large, word >> 62) {
            (true, 0 | 1) => word & 1 == 1,
            (true, _) => word != u64::MAX,
            (false, 0) => true,
            (false, _) => word & 1 == 1,
        };
        if refined {
            self.word()?;
        }
        Ok(Field::Other)
    }
}

//! Resume tokens: the name and the place of an event, `{_data: "<hex>", _typeBits?: <binary>}`.
//!
//! The hex is a KeyString, so that the string order of tokens is the order of the stream:
//!
//! ```text
//! clusterTime  version  tokenType  txnOpIndex  fromInvalidate  uuid  eventIdentifier  fragment
//! 82+8 bytes   2B04     2C0100     29          6E              5A..  46 … 00          2B..     04
//!                       29 = high-water mark: before every event of its clusterTime
//! ```
//!
//! `eventIdentifier` is `{operationType, documentKey}` for a change of a document and
//! `{operationType, operationDescription?}` otherwise. A client's token is taken apart only as far
//! as the facts that decide where to resume; whether it names an event is decided by comparing bytes.

use base::{ClusterTime, Uuid};
use document::{DocBuf, DocWriter, Raw, RawDoc};

use crate::error::{Error, Result, code};

mod key;
#[cfg(test)]
mod tests;

/// The format this server writes.
const VERSION: i32 = 2;
const HIGH_WATER_MARK: i32 = 0;
const EVENT: i32 = 128;

/// An encoded token and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    /// KeyString bytes without the end byte, so that a fragment's token extends its event's.
    key: Vec<u8>,
    type_bits: Vec<u8>,
    facts: TokenFacts,
}

/// The decoded fields of a token, apart from the event identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    pub cluster_time: ClusterTime,
    pub version: i32,
    /// Not an event but the point before the first event of `cluster_time`.
    pub is_high_water_mark: bool,
    pub txn_op_index: u32,
    pub from_invalidate: bool,
    pub uuid: Option<Uuid>,
    /// The zero-based part of a split event.
    pub fragment: Option<u32>,
}

/// What an event's token is made of.
#[derive(Clone, Copy, Debug)]
pub struct TokenParts<'a> {
    pub cluster_time: ClusterTime,
    pub txn_op_index: u32,
    pub from_invalidate: bool,
    pub uuid: Option<Uuid>,
    /// `{operationType, documentKey | operationDescription?}`.
    pub identifier: RawDoc<'a>,
    pub fragment: Option<u32>,
}

impl ResumeToken {
    /// The point before the first event of `time`.
    pub fn high_water_mark(time: ClusterTime) -> Self {
        let facts = TokenFacts {
            cluster_time: time,
            version: VERSION,
            is_high_water_mark: true,
            txn_op_index: 0,
            from_invalidate: false,
            uuid: None,
            fragment: None,
        };
        ResumeToken::encode(facts, None)
    }

    pub fn event(parts: &TokenParts<'_>) -> Self {
        let facts = TokenFacts {
            cluster_time: parts.cluster_time,
            version: VERSION,
            is_high_water_mark: false,
            txn_op_index: parts.txn_op_index,
            from_invalidate: parts.from_invalidate,
            uuid: parts.uuid,
            fragment: parts.fragment,
        };
        ResumeToken::encode(facts, Some(parts.identifier))
    }

    fn encode(facts: TokenFacts, identifier: Option<RawDoc<'_>>) -> Self {
        let mut values = smallvec::SmallVec::<[Raw<'_>; 8]>::new();
        values.push(Raw::Timestamp(facts.cluster_time.0));
        values.push(Raw::Int32(VERSION));
        values.push(Raw::Int32(if facts.is_high_water_mark { HIGH_WATER_MARK } else { EVENT }));
        values.push(Raw::Int32(facts.txn_op_index as i32));
        values.push(Raw::Bool(facts.from_invalidate));
        values.push(match &facts.uuid {
            Some(uuid) => Raw::Binary { subtype: 4, bytes: &uuid.0 },
            None => Raw::Null,
        });
        values.extend(identifier.map(Raw::Document));
        values.extend(facts.fragment.map(|fragment| Raw::Int32(fragment as i32)));
        let (key, type_bits) = key::encode(&values);
        ResumeToken { key, type_bits, facts }
    }

    /// From the document that a client sends back. Anything beside `_data` and `_typeBits` is
    /// ignored, as are bytes after the end of the key.
    ///
    /// # Errors
    /// 40647, 40648 and 40649 for the document's shape, 9 if `_data` is not hexadecimal, 15 if it
    /// ends inside a value, 50811 for bytes that are no KeyString, 207 and others for what the
    /// values are.
    pub fn parse(token: RawDoc<'_>) -> Result<Self> {
        let Some(Raw::String(hex)) = token.get("_data") else {
            return Err(Error::new(
                40647,
                format!("Bad resume token: _data of missing or of wrong type. Expected string, got {}", shown(token)),
            ));
        };
        let type_bits = match token.get("_typeBits") {
            None => Vec::new(),
            Some(Raw::Binary { bytes, .. }) => bytes.to_vec(),
            Some(_) => {
                return Err(Error::new(40648, format!("Bad resume token: _typeBits of wrong type {}", shown(token))));
            }
        };
        ResumeToken::parse_data(hex, type_bits)
    }

    /// From the hexadecimal text alone, the `change_id` of SQL.
    pub fn parse_data(hex: &str, type_bits: Vec<u8>) -> Result<Self> {
        let bytes =
            unhex(hex).ok_or_else(|| Error::failed_to_parse("resume token string was not a valid hex string"))?;
        if bytes.is_empty() {
            return Err(Error::new(40649, "invalid empty resume token"));
        }
        let (fields, used) = key::decode(&bytes)?;
        let facts = facts_of(&fields)?;
        let mut key = bytes;
        key.truncate(used);
        Ok(ResumeToken { key, type_bits, facts })
    }

    pub fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    pub fn cluster_time(&self) -> ClusterTime {
        self.facts.cluster_time
    }

    /// `_data`: upper-case hexadecimal.
    pub fn data(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut hex = String::with_capacity(self.key.len() * 2 + 2);
        for byte in self.key.iter().chain(&[key::END]) {
            hex.push(DIGITS[usize::from(byte >> 4)] as char);
            hex.push(DIGITS[usize::from(byte & 15)] as char);
        }
        hex
    }

    /// `{_data, _typeBits?}`.
    pub fn to_document(&self) -> DocBuf {
        let mut w = DocWriter::with_capacity(self.key.len() * 2 + 64);
        w.str("_data", &self.data());
        if !self.type_bits.is_empty() {
            w.binary("_typeBits", 0, &self.type_bits);
        }
        w.finish()
    }

    /// The token of a part of the event that this token names.
    pub fn with_fragment(&self, fragment: u32) -> Self {
        assert!(self.facts.fragment.is_none(), "a fragment is not split again");
        let (suffix, _) = key::encode(&[Raw::Int32(fragment as i32)]);
        let mut token = self.clone();
        token.key.extend_from_slice(&suffix);
        token.facts.fragment = Some(fragment);
        token
    }

    /// Without the fragment: the token of the event that was split.
    pub fn without_fragment(&self) -> Self {
        let mut token = self.clone();
        if let Some(fragment) = token.facts.fragment.take() {
            let (suffix, _) = key::encode(&[Raw::Int32(fragment as i32)]);
            token.key.truncate(token.key.len() - suffix.len());
        }
        token
    }
}

impl Ord for ResumeToken {
    /// Stream order. The type bits do not count: `1` and `1.0` cannot both be a document's key.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for ResumeToken {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Reads the values of a decoded key in order, with the server's codes for what is amiss.
fn facts_of(fields: &[key::Field]) -> Result<TokenFacts> {
    let mut fields = fields.iter();
    // The server reads a first value of another type as the time zero.
    let cluster_time = match fields.next() {
        Some(key::Field::Timestamp(time)) => ClusterTime(*time),
        _ => ClusterTime::ZERO,
    };
    let version = match fields.next() {
        Some(key::Field::Int(version @ 0..=2)) => *version as i32,
        Some(key::Field::Int(_)) => {
            return Err(Error::new(50795, "Invalid Resume Token: only supports version 0, 1, or 2"));
        }
        Some(_) => return Err(Error::new(50854, "Invalid resume token: wrong type for version")),
        None => return Err(Error::new(50796, "Resume Token does not contain version")),
    };
    let is_high_water_mark = version > 0 && token_type(fields.next())?;
    let txn_op_index = match fields.next() {
        Some(key::Field::Int(index)) => u32::try_from(*index)
            .map_err(|_| Error::new(50794, "Invalid Resume Token: txnOpIndex should be non-negative"))?,
        Some(_) => return Err(Error::new(50855, "Resume Token txnOpIndex is not an integer")),
        None => return Err(Error::new(50793, "Resume Token does not contain txnOpIndex")),
    };
    let from_invalidate = match (version, fields.as_slice().first()) {
        (0, _) => false,
        (_, Some(key::Field::Bool(from))) => {
            fields.next();
            *from
        }
        (_, Some(_)) => return Err(Error::new(50870, "Resume Token fromInvalidate is not a boolean.")),
        (_, None) => return Err(Error::new(50872, "Resume Token does not contain fromInvalidate")),
    };
    let uuid = uuid_of(version, fields.next())?;
    if let Some(identifier) = fields.next()
        && !matches!(identifier, key::Field::Document | key::Field::Null)
    {
        return Err(Error::new(6189500, "Resume Token event identifier is not an object"));
    }
    let fragment = match fields.next() {
        None => None,
        Some(key::Field::Int(fragment)) if version == VERSION => Some(
            u32::try_from(*fragment)
                .map_err(|_| Error::new(7182501, "Resume token 'fragmentNum' should be non-negative"))?,
        ),
        Some(_) => return Err(Error::new(40646, "invalid oversized resume token")),
    };
    if fields.next().is_some() {
        return Err(Error::new(40646, "invalid oversized resume token"));
    }
    Ok(TokenFacts { cluster_time, version, is_high_water_mark, txn_op_index, from_invalidate, uuid, fragment })
}

/// Is it a high-water mark?
fn token_type(field: Option<&key::Field>) -> Result<bool> {
    match field {
        Some(key::Field::Int(kind)) if *kind == i64::from(HIGH_WATER_MARK) => Ok(true),
        Some(key::Field::Int(kind)) if *kind == i64::from(EVENT) => Ok(false),
        Some(key::Field::Int(kind)) => Err(Error::new(51057, format!("Token type {kind} not recognized"))),
        _ => Err(Error::new(51055, "Resume Token does not contain tokenType")),
    }
}

fn uuid_of(version: i32, field: Option<&key::Field>) -> Result<Option<Uuid>> {
    match field {
        // Up to version 1 a token without collection ends here; version 2 writes a null.
        None => Ok(None),
        Some(key::Field::Null) if version == VERSION => Ok(None),
        Some(key::Field::Binary { subtype: 4, bytes }) => match <[u8; 16]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Some(Uuid(bytes))),
            Err(_) => Err(Error::new(code::INVALID_UUID, "uuid must be a 16-byte binary field")),
        },
        Some(_) => Err(Error::new(code::INVALID_UUID, "The UUID must be a binary field with UUID (4) subtype")),
    }
}

fn shown(token: RawDoc<'_>) -> String {
    document::json::to_extended_json(Raw::Document(token), document::json::Dialect::Relaxed)
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

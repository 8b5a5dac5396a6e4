//! Rows as bytes, for checkpoints. The format is stored; new kinds get new tags.

use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;
use sql::datum::Numeric;
use sql::{Datum, Interval, Json, Row, SqlError};

/// Appends the encoding of one row: its width, then its values.
pub fn encode_row(row: &[Datum], out: &mut Vec<u8>) {
    put_len(row.len(), out);
    for datum in row {
        encode(datum, out);
    }
}

fn put_len(n: usize, out: &mut Vec<u8>) {
    let mut n = n as u64;
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends the encoding of one value.
pub fn encode(datum: &Datum, out: &mut Vec<u8>) {
    let fixed = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(bytes);
    };
    match datum {
        Datum::Null => out.push(0),
        Datum::Bool(b) => out.push(if *b { 2 } else { 1 }),
        Datum::Int(n) => fixed(out, 3, &n.to_le_bytes()),
        Datum::Float(x) => fixed(out, 4, &x.to_bits().to_le_bytes()),
        Datum::Numeric(Numeric::Small { unscaled, scale }) => {
            fixed(out, 5, &unscaled.to_le_bytes());
            out.extend_from_slice(&scale.to_le_bytes());
        }
        Datum::Numeric(Numeric::Big(big)) => {
            fixed(out, 6, &big.1.to_le_bytes());
            put_bytes(&big.0.to_signed_bytes_le(), out);
        }
        Datum::Numeric(Numeric::NaN) => out.push(7),
        Datum::Numeric(Numeric::Infinity) => out.push(8),
        Datum::Numeric(Numeric::NegativeInfinity) => out.push(9),
        Datum::Text(s) => {
            out.push(10);
            put_bytes(s.as_bytes(), out);
        }
        Datum::Bytea(bytes) => {
            out.push(11);
            put_bytes(bytes, out);
        }
        Datum::Date(d) => fixed(out, 12, &d.to_le_bytes()),
        Datum::Time(t) => fixed(out, 13, &t.to_le_bytes()),
        Datum::Timestamp(t) => fixed(out, 14, &t.to_le_bytes()),
        Datum::Interval(i) => {
            fixed(out, 15, &i.months.to_le_bytes());
            out.extend_from_slice(&i.days.to_le_bytes());
            out.extend_from_slice(&i.microseconds.to_le_bytes());
        }
        Datum::Uuid(bytes) => fixed(out, 16, &bytes[..]),
        Datum::Json(json) => {
            fixed(out, 17, &[json.kind()]);
            put_bytes(json.bytes(), out);
        }
        Datum::Array(items) => {
            out.push(18);
            encode_row(items, out);
        }
        Datum::Record(items) => {
            out.push(19);
            encode_row(items, out);
        }
    }
}

/// Reads what `encode*` wrote, front to back.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

fn damaged() -> SqlError {
    SqlError::new("XX001", "damaged checkpoint of a view").with_hint("drop the view and create it again")
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SqlError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SqlError> {
        Ok(self.take(N)?.try_into().expect("take(N) returns N bytes"))
    }

    /// A variable-length unsigned number.
    pub fn varint(&mut self) -> Result<u64, SqlError> {
        let mut n = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(damaged())
    }

    fn bytes(&mut self) -> Result<&'a [u8], SqlError> {
        let n = usize::try_from(self.varint()?).map_err(|_| damaged())?;
        self.take(n)
    }

    pub fn i64(&mut self) -> Result<i64, SqlError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn row(&mut self) -> Result<Row, SqlError> {
        let width = usize::try_from(self.varint()?).map_err(|_| damaged())?;
        if width > self.0.len() {
            return Err(damaged());
        }
        (0..width).map(|_| self.datum()).collect()
    }

    pub fn datum(&mut self) -> Result<Datum, SqlError> {
        Ok(match self.take(1)?[0] {
            0 => Datum::Null,
            1 => Datum::Bool(false),
            2 => Datum::Bool(true),
            3 => Datum::Int(self.i64()?),
            4 => Datum::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            5 => Datum::Numeric(Numeric::Small { unscaled: self.i64()?, scale: u16::from_le_bytes(self.array()?) }),
            6 => {
                let scale = u16::from_le_bytes(self.array()?);
                Datum::Numeric(Numeric::Big(Box::new((BigInt::from_signed_bytes_le(self.bytes()?), scale))))
            }
            7 => Datum::Numeric(Numeric::NaN),
            8 => Datum::Numeric(Numeric::Infinity),
            9 => Datum::Numeric(Numeric::NegativeInfinity),
            10 => Datum::Text(Arc::from(std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?)),
            11 => Datum::Bytea(Bytes::copy_from_slice(self.bytes()?)),
            12 => Datum::Date(i32::from_le_bytes(self.array()?)),
            13 => Datum::Time(self.i64()?),
            14 => Datum::Timestamp(self.i64()?),
            15 => Datum::Interval(Box::new(Interval {
                months: i32::from_le_bytes(self.array()?),
                days: i32::from_le_bytes(self.array()?),
                microseconds: self.i64()?,
            })),
            16 => Datum::Uuid(Box::new(self.array()?)),
            17 => {
                let kind = self.take(1)?[0];
                let bytes = self.bytes()?;
                document::raw::split_value(kind, bytes).filter(|(_, rest)| rest.is_empty()).ok_or_else(damaged)?;
                Datum::Json(Json::new(kind, Bytes::copy_from_slice(bytes)))
            }
            18 => Datum::Array(self.row()?),
            19 => Datum::Record(self.row()?),
            _ => return Err(damaged()),
        })
    }
}

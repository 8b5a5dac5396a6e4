//! Operator state on its way to and from a checkpoint.
//!
//! A checkpoint is incremental: each operator writes the entries that changed since the last one.
//! An entry's key is the operator's number in the graph and a row; its value is the operator's own.

use std::hash::Hash;

use rustc_hash::FxHashSet;
use sql::{Datum, Row, SqlError};

use crate::codec::{Reader, encode_row};

/// Keys whose entries changed since the last checkpoint; nothing if there will be none.
#[derive(Debug)]
pub struct Changed<K>(Option<FxHashSet<K>>);

impl<K> Default for Changed<K> {
    fn default() -> Self {
        Changed(Some(FxHashSet::default()))
    }
}

impl<K: Hash + Eq + Clone> Changed<K> {
    pub fn insert(&mut self, key: &K) {
        if let Some(keys) = &mut self.0
            && !keys.contains(key)
        {
            keys.insert(key.clone());
        }
    }

    /// All of them; from now on none.
    pub fn take(&mut self) -> FxHashSet<K> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn clear(&mut self) {
        self.take();
    }

    /// The state is never saved, so that nothing needs to be remembered.
    pub fn turn_off(&mut self) {
        self.0 = None;
    }
}

/// Receives the changed entries of one operator: key, and value or `None` for a removed entry.
pub struct StateWriter<'a> {
    operator: u32,
    sink: &'a mut dyn FnMut(Vec<u8>, Option<Vec<u8>>),
}

impl std::fmt::Debug for StateWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateWriter({})", self.operator)
    }
}

impl<'a> StateWriter<'a> {
    pub fn new(operator: u32, sink: &'a mut dyn FnMut(Vec<u8>, Option<Vec<u8>>)) -> Self {
        StateWriter { operator, sink }
    }

    /// Writes or, with `None`, removes the entry of `key`.
    pub fn entry<V: ?Sized>(&mut self, key: &Row, value: Option<&V>, write: impl FnOnce(&V, &mut ValueWriter)) {
        let mut bytes = self.operator.to_be_bytes().to_vec();
        encode_row(key, &mut bytes);
        let value = value.map(|value| {
            let mut writer = ValueWriter(Vec::new());
            write(value, &mut writer);
            writer.0
        });
        (self.sink)(bytes, value);
    }
}

/// The value of one entry.
#[derive(Debug)]
pub struct ValueWriter(Vec<u8>);

impl ValueWriter {
    pub fn u64(&mut self, n: u64) {
        self.i64(n as i64);
    }

    pub fn i64(&mut self, n: i64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub fn row(&mut self, row: &[Datum]) {
        encode_row(row, &mut self.0);
    }

    pub fn datum(&mut self, datum: &Datum) {
        crate::codec::encode(datum, &mut self.0);
    }
}

/// One entry as it was written.
#[derive(Debug)]
pub struct StateReader<'a> {
    key: Reader<'a>,
    value: Reader<'a>,
}

impl<'a> StateReader<'a> {
    /// Splits the operator's number off `key`.
    pub fn open(key: &'a [u8], value: &'a [u8]) -> Result<(u32, Self), SqlError> {
        let (operator, key) =
            key.split_first_chunk::<4>().ok_or_else(|| SqlError::new("XX001", "damaged checkpoint of a view"))?;
        Ok((u32::from_be_bytes(*operator), StateReader { key: Reader(key), value: Reader(value) }))
    }

    pub fn key(&mut self) -> Result<Row, SqlError> {
        self.key.row()
    }

    pub fn u64(&mut self) -> Result<u64, SqlError> {
        self.value.i64().map(|n| n as u64)
    }

    pub fn i64(&mut self) -> Result<i64, SqlError> {
        self.value.i64()
    }

    pub fn row(&mut self) -> Result<Row, SqlError> {
        self.value.row()
    }

    pub fn datum(&mut self) -> Result<Datum, SqlError> {
        self.value.datum()
    }
}

/// Estimated heap bytes of a row, shared payloads counted in full.
pub fn row_bytes(row: &[Datum]) -> usize {
    16 + row.iter().map(datum_bytes).sum::<usize>()
}

fn datum_bytes(datum: &Datum) -> usize {
    std::mem::size_of::<Datum>()
        + match datum {
            Datum::Text(s) => 16 + s.len(),
            Datum::Bytea(b) => b.len(),
            Datum::Json(j) => j.bytes().len(),
            Datum::Array(items) | Datum::Record(items) => row_bytes(items),
            Datum::Interval(_) | Datum::Uuid(_) => 16,
            Datum::Numeric(sql::datum::Numeric::Big(_)) => 48,
            _ => 0,
        }
}

//! Columns of a Parquet file: their types, and values from documents.

use std::io::Write;
use std::sync::Arc;

use document::json::to_plain_json;
use document::{DocBuf, Raw};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::ParquetOptions;
use crate::event::Event;
use crate::target::Fault;

/// Of a decimal: 16 bytes hold 38 digits.
const DECIMAL_BYTES: i32 = 16;
const DECIMAL_DIGITS: u16 = 38;
/// Milliseconds of a day.
const MS_PER_DAY: i64 = 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    Bool,
    Int32,
    Int64,
    Double,
    /// With a declared scale; other exact numbers are texts.
    Decimal {
        precision: u16,
        scale: i16,
    },
    Date,
    /// Milliseconds.
    Timestamp {
        utc: bool,
    },
    Json,
    Text,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

const OPERATION: &str = "headwater_operation";
const TIME: &str = "headwater_time";
const ID: &str = "headwater_id";

/// Is this a column that says what happened to a row?
pub fn is_ours(name: &str) -> bool {
    [OPERATION, TIME, ID].contains(&name)
}

pub fn schema(options: &ParquetOptions) -> Result<TypePtr, ParquetError> {
    let mut fields = Vec::with_capacity(options.columns.len() + 3);
    if options.changes {
        fields.push(field(OPERATION, ColumnKind::Text)?);
        fields.push(field(TIME, ColumnKind::Timestamp { utc: true })?);
        fields.push(field(ID, ColumnKind::Text)?);
    }
    for column in &options.columns {
        fields.push(field(&column.name, column.kind)?);
    }
    Ok(Arc::new(Type::group_type_builder("headwater").with_fields(fields).build()?))
}

/// What a decimal is stored as: `None` if it is not one of fixed digits.
fn digits(kind: ColumnKind) -> Option<(u16, u16)> {
    let ColumnKind::Decimal { precision, scale } = kind else { return None };
    let scale = u16::try_from(scale).ok().filter(|scale| *scale <= precision)?;
    (precision <= DECIMAL_DIGITS).then_some((precision, scale))
}

fn field(name: &str, kind: ColumnKind) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match kind {
        ColumnKind::Bool => (Physical::BOOLEAN, None),
        ColumnKind::Int32 => (Physical::INT32, None),
        ColumnKind::Int64 => (Physical::INT64, None),
        ColumnKind::Double => (Physical::DOUBLE, None),
        ColumnKind::Date => (Physical::INT32, Some(LogicalType::Date)),
        ColumnKind::Timestamp { utc } => (Physical::INT64, Some(LogicalType::timestamp(utc, TimeUnit::MILLIS))),
        ColumnKind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        ColumnKind::Decimal { .. } => match digits(kind) {
            Some((precision, scale)) => {
                (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::decimal(i32::from(scale), i32::from(precision))))
            }
            None => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        },
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let mut builder =
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical);
    if let Some((precision, scale)) = digits(kind) {
        builder = builder.with_length(DECIMAL_BYTES).with_precision(i32::from(precision)).with_scale(i32::from(scale));
    }
    Ok(Arc::new(builder.build()?))
}

/// Writes the events as one row group.
///
/// # Errors
/// Refused, if a value does not fit its column.
pub fn write<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    options: &ParquetOptions,
    events: &[&Event],
) -> Result<(), Fault> {
    let mut group = file.next_row_group().map_err(Fault::unreachable)?;
    if options.changes {
        let operations = events.iter().map(|event| Some(bytes_of(event.operation.to_string())));
        put::<ByteArrayType, _>(&mut group, operations)?;
        put::<Int64Type, _>(&mut group, events.iter().map(|event| Some(event.time_ms)))?;
        put::<ByteArrayType, _>(&mut group, events.iter().map(|event| Some(bytes_of(event.id.to_string()))))?;
    }
    for column in &options.columns {
        write_column(&mut group, column, events)?;
    }
    group.close().map(|_| ()).map_err(Fault::unreachable)
}

fn bytes_of(text: String) -> ByteArray {
    ByteArray::from(text.into_bytes())
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column,
    events: &[&Event],
) -> Result<(), Fault> {
    match column.kind {
        ColumnKind::Bool => put::<BoolType, _>(group, values(column, events, |raw| raw.as_bool())?.into_iter()),
        ColumnKind::Int32 => {
            let int = |raw: Raw<'_>| raw.as_whole().and_then(|n| i32::try_from(n).ok());
            put::<Int32Type, _>(group, values(column, events, int)?.into_iter())
        }
        ColumnKind::Int64 => put::<Int64Type, _>(group, values(column, events, |raw| raw.as_whole())?.into_iter()),
        ColumnKind::Double => put::<DoubleType, _>(group, values(column, events, double)?.into_iter()),
        ColumnKind::Date => put::<Int32Type, _>(group, values(column, events, days)?.into_iter()),
        ColumnKind::Timestamp { .. } => {
            let time = |raw: Raw<'_>| match raw {
                Raw::Date(ms) => Some(ms),
                _ => None,
            };
            put::<Int64Type, _>(group, values(column, events, time)?.into_iter())
        }
        ColumnKind::Json => put::<ByteArrayType, _>(group, values(column, events, |raw| Some(json(raw)))?.into_iter()),
        ColumnKind::Text => put::<ByteArrayType, _>(group, values(column, events, |raw| Some(text(raw)))?.into_iter()),
        ColumnKind::Decimal { .. } => match digits(column.kind) {
            None => put::<ByteArrayType, _>(group, values(column, events, |raw| Some(text(raw)))?.into_iter()),
            Some((precision, scale)) => {
                let decimal = |raw: Raw<'_>| unscaled(&plain(raw), precision, scale).map(fixed);
                put::<FixedLenByteArrayType, _>(group, values(column, events, decimal)?.into_iter())
            }
        },
    }
}

/// The column's value in each event; `None` is NULL.
fn values<T>(
    column: &Column,
    events: &[&Event],
    convert: impl Fn(Raw<'_>) -> Option<T>,
) -> Result<Vec<Option<T>>, Fault> {
    let value = |body: &DocBuf| match body.get(&column.name) {
        None | Some(Raw::Null) => Ok(None),
        Some(raw) => convert(raw).map(Some).ok_or_else(|| {
            let shown = plain(raw);
            Fault::refused(format!("{shown} does not fit the column \"{}\" ({:?})", column.name, column.kind))
        }),
    };
    events.iter().map(|event| value(&event.body)).collect()
}

fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), Fault> {
    let mut levels = Vec::new();
    let mut present = Vec::new();
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value);
    }
    let mut written = || {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("the schema has too few columns".to_owned()));
        };
        column.typed::<T>().write_batch(&present, Some(&levels), None)?;
        column.close()
    };
    written().map_err(Fault::unreachable)
}

fn plain(raw: Raw<'_>) -> String {
    let mut out = String::new();
    to_plain_json(raw, &mut out);
    out
}

fn json(raw: Raw<'_>) -> ByteArray {
    bytes_of(plain(raw))
}

fn text(raw: Raw<'_>) -> ByteArray {
    match raw {
        Raw::String(text) => ByteArray::from(text.as_bytes().to_vec()),
        other => json(other),
    }
}

fn double(raw: Raw<'_>) -> Option<f64> {
    match raw {
        Raw::Double(x) => Some(x),
        Raw::Int32(n) => Some(f64::from(n)),
        Raw::Int64(n) => Some(n as f64),
        _ => None,
    }
}

/// A date is text in documents: `2024-02-29`.
fn days(raw: Raw<'_>) -> Option<i32> {
    match raw {
        Raw::Date(ms) => i32::try_from(ms.div_euclid(MS_PER_DAY)).ok(),
        Raw::String(text) => {
            let (year, rest) = text.get(1..)?.split_once('-')?;
            let year: i64 = format!("{}{year}", text.get(..1)?).parse().ok()?;
            let (month, day) = rest.split_once('-')?;
            let (month, day): (i64, i64) = (month.parse().ok()?, day.parse().ok()?);
            i32::try_from(days_from_civil(year, month, day)).ok()
        }
        _ => None,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that the leap
/// day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A number in decimal digits as a multiple of ten to the minus `scale`; `None` if it has more digits
/// than `precision`, or finer ones than `scale`.
pub(super) fn unscaled(text: &str, precision: u16, scale: u16) -> Option<i128> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let mut shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).ok()?;
    while shift > 0 && value != 0 {
        value = value.checked_mul(10)?;
        shift -= 1;
    }
    while shift < 0 && value != 0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
        shift += 1;
    }
    (value < 10_i128.checked_pow(u32::from(precision))?).then_some(if negative { -value } else { value })
}

fn fixed(value: i128) -> FixedLenByteArray {
    FixedLenByteArray::from(value.to_be_bytes().to_vec())
}

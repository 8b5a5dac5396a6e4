//! Binary data as text, and digests.

use bytes::Bytes;
use md5::{Digest, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::Registry;
use crate::datum::Datum;
use crate::error::{Result, SqlError};

pub(super) fn register(r: &mut Registry) {
    r.strict("encode(bytea, text) -> text", |args, _| encode(args[0].as_bytes()?, args[1].as_text()?));
    r.strict("decode(text, text) -> bytea", |args, _| {
        decode(args[0].as_text()?, args[1].as_text()?).map(|b| Datum::Bytea(Bytes::from(b)))
    });
    r.strict("md5(text) -> text", |args, _| {
        Ok(Datum::text(document::json::hex(&Md5::digest(args[0].as_text()?.as_bytes()))))
    });
    r.strict("md5(bytea) -> text", |args, _| Ok(Datum::text(document::json::hex(&Md5::digest(args[0].as_bytes()?)))));
    r.strict("sha224(bytea) -> bytea", |args, _| Ok(digest(&Sha224::digest(args[0].as_bytes()?))));
    r.strict("sha256(bytea) -> bytea", |args, _| Ok(digest(&Sha256::digest(args[0].as_bytes()?))));
    r.strict("sha384(bytea) -> bytea", |args, _| Ok(digest(&Sha384::digest(args[0].as_bytes()?))));
    r.strict("sha512(bytea) -> bytea", |args, _| Ok(digest(&Sha512::digest(args[0].as_bytes()?))));
    r.strict("convert_to(text, name) -> bytea", |args, _| {
        check_encoding(args[1].as_text()?)?;
        Ok(Datum::Bytea(Bytes::copy_from_slice(args[0].as_text()?.as_bytes())))
    });
    r.strict("convert_from(bytea, name) -> text", |args, _| {
        check_encoding(args[1].as_text()?)?;
        match std::str::from_utf8(args[0].as_bytes()?) {
            Ok(text) if !text.contains('\0') => Ok(Datum::text(text)),
            _ => Err(SqlError::new("22021", "invalid byte sequence for encoding \"UTF8\"")),
        }
    });
    r.strict("get_byte(bytea, int4) -> int4", |args, _| {
        let (bytes, n) = (args[0].as_bytes()?, args[1].as_int()?);
        usize::try_from(n).ok().and_then(|i| bytes.get(i)).map(|b| Datum::Int(i64::from(*b))).ok_or_else(|| {
            SqlError::new("2202E", format!("index {n} out of valid range, 0..{}", bytes.len() as i64 - 1))
        })
    });
}

fn digest(bytes: &[u8]) -> Datum {
    Datum::Bytea(Bytes::copy_from_slice(bytes))
}

fn check_encoding(name: &str) -> Result<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if matches!(plain.as_str(), "utf8" | "unicode") {
        Ok(())
    } else {
        Err(SqlError::unsupported(format!("encoding \"{name}\"")))
    }
}

fn unknown(format: &str) -> SqlError {
    SqlError::new("22023", format!("unrecognized encoding: \"{format}\""))
}

fn encode(bytes: &[u8], format: &str) -> Result<Datum> {
    Ok(Datum::text(match format.to_ascii_lowercase().as_str() {
        "hex" => document::json::hex(bytes),
        "base64" => {
            // RFC 2045: lines of 76.
            let whole = document::json::base64(bytes);
            let lines: Vec<&str> =
                whole.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
            lines.join("\n")
        }
        "escape" => escape(bytes),
        _ => return Err(unknown(format)),
    }))
}

fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 0x80.. => {
                let _ = write!(out, "\\{byte:03o}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

fn decode(text: &str, format: &str) -> Result<Vec<u8>> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => decode_hex(text),
        "base64" => decode_base64(text),
        "escape" => crate::text::input::bytea(text).map(|b| b.to_vec()),
        _ => Err(unknown(format)),
    }
}

/// Pairs of hexadecimal digits, blanks between pairs allowed.
pub fn decode_hex(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for c in text.chars() {
        if c.is_ascii_whitespace() && high.is_none() {
            continue;
        }
        let digit =
            c.to_digit(16).ok_or_else(|| SqlError::new("22023", format!("invalid hexadecimal digit: \"{c}\"")))? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(high) => out.push(high << 4 | digit),
        }
    }
    match high {
        None => Ok(out),
        Some(_) => Err(SqlError::new("22023", "invalid hexadecimal data: odd number of digits")),
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut padding) = (0u32, 0, 0);
    for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        let value = match c {
            'A'..='Z' => c as u32 - 'A' as u32,
            'a'..='z' => c as u32 - 'a' as u32 + 26,
            '0'..='9' => c as u32 - '0' as u32 + 52,
            '+' => 62,
            '/' => 63,
            '=' if count >= 2 => {
                padding += 1;
                0
            }
            '=' => return Err(SqlError::new("22023", "unexpected \"=\" while decoding base64 sequence")),
            _ => {
                return Err(SqlError::new(
                    "22023",
                    format!("invalid symbol \"{c}\" found while decoding base64 sequence"),
                ));
            }
        };
        group = group << 6 | value;
        count += 1;
        if count == 4 {
            let bytes = group.to_be_bytes();
            out.extend_from_slice(&bytes[1..4 - padding.min(2)]);
            (group, count) = (0, 0);
        }
    }
    if count == 0 {
        Ok(out)
    } else {
        Err(SqlError::new("22023", "invalid base64 end sequence")
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted."))
    }
}

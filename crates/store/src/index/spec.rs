//! Index specifications as clients send them.

use std::sync::Arc;

use document::collation::Collation;
use document::{DocBuf, DocWriter, Raw, RawDoc};

use super::{ID_INDEX, Index, KeyPart, Partial};
use crate::catalog::{IndexId, whole};
use crate::error::{Error, Result};
use crate::render;

/// Most fields of a compound index.
const MAX_PARTS: usize = 32;
/// 67 CannotCreateIndex.
const CANNOT_CREATE: i32 = 67;

/// Checks a specification and completes it (version, name, the collection's collation); errors as
/// the server's `createIndexes` gives them.
pub fn parse_spec(spec: RawDoc<'_>, id: IndexId, default: Option<&Arc<Collation>>) -> Result<Index> {
    let key = match spec.get("key") {
        Some(Raw::Document(key)) => key,
        Some(other) => {
            return Err(Error::request(
                14,
                format!("The field 'key' must be an object, but got {}", other.type_name()),
            ));
        }
        None => return Err(Error::request(9, "The 'key' field is a required property of an index specification")),
    };
    let parts = parse_parts(key)?;
    let name = match spec.get("name") {
        Some(Raw::String("")) => return Err(Error::request(CANNOT_CREATE, "index name cannot be empty")),
        Some(Raw::String(name)) => name.to_owned(),
        Some(other) => {
            return Err(Error::request(
                14,
                format!("The field 'name' must be a string, but got {}", other.type_name()),
            ));
        }
        None => default_name(key),
    };
    if is_id_pattern(key) {
        return Ok(Index::on_id(id, default.cloned()));
    }
    if name == ID_INDEX {
        return Err(Error::request(2, "The index name '_id_' is reserved for the _id index"));
    }
    let mut index = Index {
        id,
        name,
        spec: DocBuf::default(),
        parts,
        unique: false,
        sparse: false,
        hidden: false,
        expire_after: None,
        partial: None,
        collation: default.cloned(),
        multikey: 0,
        long_keys: false,
    };
    read_options(&mut index, spec)?;
    index.spec = normal_spec(&index, key, spec);
    Ok(index)
}

/// Reads back a specification that `parse_spec` completed.
pub fn parse_stored(spec: RawDoc<'_>, id: IndexId) -> Result<Index> {
    let collation = spec.get("collation").map(read_collation).transpose()?.flatten();
    parse_spec(spec, id, collation.as_ref())
}

pub(super) fn is_id_pattern(key: RawDoc<'_>) -> bool {
    let mut fields = key.iter();
    matches!((fields.next(), fields.next()), (Some(("_id", value)), None) if whole(value) == Some(1))
}

fn parse_parts(key: RawDoc<'_>) -> Result<Vec<KeyPart>> {
    let mut parts: Vec<KeyPart> = Vec::new();
    for (path, value) in key.iter() {
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return Err(Error::request(CANNOT_CREATE, "Index keys cannot contain an empty field."));
        }
        if path.split('.').any(|name| name.starts_with('$') && name != "$**") {
            let message = format!("Index key contains an illegal field name: field name starts with '$'. '{path}'");
            return Err(Error::request(CANNOT_CREATE, message));
        }
        if path == "$**" || path.ends_with(".$**") {
            return Err(Error::request(CANNOT_CREATE, "wildcard indexes are not supported"));
        }
        if parts.iter().any(|part| *part.path == *path) {
            let message = format!("The field '{path}' appears in the index key pattern twice");
            return Err(Error::request(CANNOT_CREATE, message));
        }
        parts.push(parse_part(path, value)?);
    }
    if parts.is_empty() {
        return Err(Error::request(CANNOT_CREATE, "Index keys cannot be an empty object."));
    }
    if parts.len() > MAX_PARTS {
        let message = format!("Index key pattern has {} fields, the most is {MAX_PARTS}", parts.len());
        return Err(Error::request(13103, message));
    }
    Ok(parts)
}

fn parse_part(path: &str, value: Raw<'_>) -> Result<KeyPart> {
    let part = |descending, hashed| KeyPart { path: path.into(), descending, hashed };
    match value {
        Raw::String("hashed") => Ok(part(false, true)),
        Raw::String(kind @ ("text" | "2d" | "2dsphere" | "geoHaystack" | "wildcard")) => {
            Err(Error::request(CANNOT_CREATE, format!("{kind} indexes are not supported")))
        }
        Raw::String(kind) => Err(Error::request(CANNOT_CREATE, format!("Unknown index plugin '{kind}'"))),
        Raw::Int32(_) | Raw::Int64(_) | Raw::Double(_) | Raw::Decimal128(_) => {
            let order = document::compare_raw(value, Raw::Int32(0));
            if order.is_eq() || matches!(value, Raw::Double(n) if n.is_nan()) {
                let message = "Values in the index key pattern cannot be 0.";
                return Err(Error::request(CANNOT_CREATE, message));
            }
            Ok(part(order.is_lt(), false))
        }
        other => Err(Error::request(
            CANNOT_CREATE,
            format!(
                "Values in v:2 index key pattern cannot be of type {}. Only numbers > 0, numbers < 0, and strings are allowed.",
                other.type_name()
            ),
        )),
    }
}

/// `a_1_b_-1`.
fn default_name(key: RawDoc<'_>) -> String {
    let mut name = String::new();
    for (path, value) in key.iter() {
        if !name.is_empty() {
            name.push('_');
        }
        let direction = match value {
            Raw::String(kind) => kind.to_owned(),
            other => whole(other).unwrap_or(1).to_string(),
        };
        name.push_str(&format!("{path}_{direction}"));
    }
    name
}

fn read_options(index: &mut Index, spec: RawDoc<'_>) -> Result<()> {
    for (option, value) in spec.iter() {
        match option {
            "key" | "name" | "v" | "ns" | "background" | "storageEngine" => {}
            "unique" => index.unique = flag(option, value)?,
            "sparse" => index.sparse = flag(option, value)?,
            "hidden" => index.hidden = flag(option, value)?,
            "expireAfterSeconds" => index.expire_after = Some(seconds(value)?),
            "partialFilterExpression" => {
                let Raw::Document(filter) = value else {
                    let message =
                        format!("The field 'partialFilterExpression' must be an object, but got {}", value.type_name());
                    return Err(Error::request(14, message));
                };
                index.partial = Some(Arc::new(Partial::parse(filter.to_buf())?));
            }
            "collation" => index.collation = read_collation(value)?,
            _ => {
                let message = format!(
                    "The field '{option}' is not valid for an index specification. Specification: {}",
                    render::document(spec)
                );
                return Err(Error::request(197, message));
            }
        }
    }
    check_options(index)
}

fn check_options(index: &Index) -> Result<()> {
    let hashed = index.parts.iter().any(|part| part.hashed);
    if hashed && index.unique {
        return Err(Error::request(
            16764,
            "Currently hashed indexes cannot guarantee uniqueness. Use a regular index.",
        ));
    }
    if index.expire_after.is_some() && index.parts.len() > 1 {
        let message = "TTL indexes are single-field indexes, compound indexes do not support TTL. Index spec";
        return Err(Error::request(CANNOT_CREATE, message));
    }
    if index.partial.is_some() && index.sparse {
        let message = "cannot mix \"partialFilterExpression\" and \"sparse\" options";
        return Err(Error::request(CANNOT_CREATE, message));
    }
    Ok(())
}

fn flag(option: &str, value: Raw<'_>) -> Result<bool> {
    match value {
        Raw::Bool(b) => Ok(b),
        other if other.is_number() => Ok(whole(other) != Some(0)),
        other => Err(Error::request(
            14,
            format!("The field '{option}' has value {other:?}, which is not convertible to bool"),
        )),
    }
}

fn seconds(value: Raw<'_>) -> Result<i64> {
    let seconds = whole(value).filter(|_| value.is_number()).ok_or_else(|| {
        let message = format!(
            "TTL index 'expireAfterSeconds' option must be numeric, but received a type of '{}'",
            value.type_name()
        );
        Error::request(CANNOT_CREATE, message)
    })?;
    if !(0..=i64::from(i32::MAX)).contains(&seconds) {
        let message = format!(
            "TTL index 'expireAfterSeconds' option must be within an acceptable range, try a different number than {seconds}"
        );
        return Err(Error::request(CANNOT_CREATE, message));
    }
    Ok(seconds)
}

fn read_collation(value: Raw<'_>) -> Result<Option<Arc<Collation>>> {
    let Raw::Document(collation) = value else {
        let message = format!("The field 'collation' must be an object, but got {}", value.type_name());
        return Err(Error::request(14, message));
    };
    Ok(Collation::parse(collation)?.map(Arc::new))
}

fn normal_spec(index: &Index, key: RawDoc<'_>, spec: RawDoc<'_>) -> DocBuf {
    let mut out = DocWriter::new();
    out.i32("v", 2);
    out.doc("key", key);
    out.str("name", &index.name);
    for (option, value) in spec.iter() {
        match option {
            "unique" | "sparse" | "hidden" if value == Raw::Bool(false) || whole(value) == Some(0) => {}
            "unique" | "sparse" | "hidden" => out.bool(option, true),
            "expireAfterSeconds" | "partialFilterExpression" => out.raw(option, value),
            "background" => out.raw(option, value),
            _ => {}
        }
    }
    if let Some(collation) = &index.collation {
        out.doc("collation", collation.to_doc().to_buf().as_doc());
    }
    out.finish()
}

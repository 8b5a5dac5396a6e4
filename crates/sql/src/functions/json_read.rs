//! JSON operators and functions that look into a value.
//!
//! They walk the BSON bytes; a container found inside shares its parent's bytes.

use document::{Raw, RawDoc};

use super::Registry;
use crate::datum::{Datum, Json};
use crate::error::{Result, SqlError};
use crate::json::{self, Plain};

pub(super) fn register(r: &mut Registry) {
    r.strict("->(json, text) -> json", |args, _| Ok(found(&args[0], json_field(&args[0], args[1].as_text()?)?)));
    r.strict("->>(json, text) -> text", |args, _| Ok(found_text(json_field(&args[0], args[1].as_text()?)?)));
    r.strict("->(json, int4) -> json", |args, _| Ok(found(&args[0], json_element(&args[0], args[1].as_int()?)?)));
    r.strict("->>(json, int4) -> text", |args, _| Ok(found_text(json_element(&args[0], args[1].as_int()?)?)));
    for name in ["jsonb_object_field", "json_object_field"] {
        r.strict(&format!("{name}(json, text) -> json"), |args, _| {
            Ok(found(&args[0], json_field(&args[0], args[1].as_text()?)?))
        });
        r.strict(&format!("{name}_text(json, text) -> text"), |args, _| {
            Ok(found_text(json_field(&args[0], args[1].as_text()?)?))
        });
    }
    r.strict("#>(json, text[]) -> json", |args, _| {
        Ok(found(&args[0], walk(args[0].as_json()?.raw(), args[1].as_array()?)?))
    });
    r.strict("#>>(json, text[]) -> text", |args, _| {
        Ok(found_text(walk(args[0].as_json()?.raw(), args[1].as_array()?)?))
    });
    for name in ["json_extract_path", "jsonb_extract_path"] {
        r.strict(&format!("{name}(json, variadic text) -> json"), |args, _| {
            Ok(found(&args[0], walk(args[0].as_json()?.raw(), &args[1..])?))
        });
        r.strict(&format!("{name}_text(json, variadic text) -> text"), |args, _| {
            Ok(found_text(walk(args[0].as_json()?.raw(), &args[1..])?))
        });
    }
    existence(r);
    r.strict("@>(json, json) -> bool", |args, _| contains(&args[0], &args[1]));
    r.strict("<@(json, json) -> bool", |args, _| contains(&args[1], &args[0]));
    r.strict("jsonb_contains(json, json) -> bool", |args, _| contains(&args[0], &args[1]));
    r.strict("jsonb_contained(json, json) -> bool", |args, _| contains(&args[1], &args[0]));
    for prefix in ["json", "jsonb"] {
        r.strict(&format!("{prefix}_array_length(json) -> int4"), |args, _| array_length(args[0].as_json()?));
        r.strict(&format!("{prefix}_typeof(json) -> text"), |args, _| {
            Ok(Datum::text(Plain::of(args[0].as_json()?.raw()).type_name()))
        });
        r.strict(&format!("{prefix}_object_keys(json) -> text[]"), |args, _| object_keys(args[0].as_json()?));
    }
    r.strict("json_path_touched(json, text) -> bool", |args, _| path_touched(&args[0], args[1].as_text()?));
    r.strict("bson_typeof(json) -> text", |args, _| Ok(Datum::text(args[0].as_json()?.raw().type_name())));
}

fn existence(r: &mut Registry) {
    for name in ["?", "jsonb_exists"] {
        r.strict(&format!("{name}(json, text) -> bool"), |args, _| {
            Ok(Datum::Bool(exists(&args[0], args[1].as_text()?)?))
        });
    }
    for name in ["?|", "jsonb_exists_any"] {
        r.strict(&format!("{name}(json, text[]) -> bool"), |args, _| {
            for key in args[1].as_array()?.iter().filter(|k| !k.is_null()) {
                if exists(&args[0], key.as_text()?)? {
                    return Ok(Datum::Bool(true));
                }
            }
            Ok(Datum::Bool(false))
        });
    }
    for name in ["?&", "jsonb_exists_all"] {
        r.strict(&format!("{name}(json, text[]) -> bool"), |args, _| {
            for key in args[1].as_array()?.iter().filter(|k| !k.is_null()) {
                if !exists(&args[0], key.as_text()?)? {
                    return Ok(Datum::Bool(false));
                }
            }
            Ok(Datum::Bool(true))
        });
    }
}

fn json_field<'a>(value: &'a Datum, name: &str) -> Result<Option<Raw<'a>>> {
    Ok(match value.as_json()?.raw() {
        Raw::Document(doc) => json::field(doc, name),
        _ => None,
    })
}

fn json_element(value: &Datum, index: i64) -> Result<Option<Raw<'_>>> {
    Ok(match value.as_json()?.raw() {
        Raw::Array(array) => json::element(array, index),
        _ => None,
    })
}

fn found(parent: &Datum, value: Option<Raw<'_>>) -> Datum {
    match (parent, value) {
        (Datum::Json(parent), Some(value)) => Datum::Json(parent.share(value)),
        _ => Datum::Null,
    }
}

fn found_text(value: Option<Raw<'_>>) -> Datum {
    value.map_or(Datum::Null, json::as_text)
}

/// Follows a path; a NULL step leads nowhere.
pub(super) fn walk<'a>(value: Raw<'a>, path: &[Datum]) -> Result<Option<Raw<'a>>> {
    let mut value = value;
    for key in path {
        if key.is_null() {
            return Ok(None);
        }
        match json::step(value, key.as_text()?) {
            Some(inner) => value = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

/// A key of an object, a string in an array, or the string itself.
fn exists(value: &Datum, key: &str) -> Result<bool> {
    let is_key = |value: &Plain<'_>| matches!(value, Plain::String(s) if s.as_ref() == key);
    Ok(match Plain::of(value.as_json()?.raw()) {
        Plain::Array(array) => array.values().any(|item| is_key(&Plain::of(item))),
        scalar @ Plain::String(_) => is_key(&scalar),
        other => other.as_object().is_some_and(|doc| doc.contains(key)),
    })
}

fn contains(whole: &Datum, part: &Datum) -> Result<Datum> {
    let (whole, part) = (Plain::of(whole.as_json()?.raw()), Plain::of(part.as_json()?.raw()));
    // At the top an array may contain a bare scalar.
    let answer = match (&whole, &part) {
        (Plain::Array(array), part) if part.is_scalar() => array.values().any(|item| equal(&Plain::of(item), part)),
        _ => contains_value(&whole, &part),
    };
    Ok(Datum::Bool(answer))
}

fn equal(a: &Plain<'_>, b: &Plain<'_>) -> bool {
    match (a, b) {
        (Plain::Null, Plain::Null) => true,
        (Plain::Bool(a), Plain::Bool(b)) => a == b,
        (Plain::String(a), Plain::String(b)) => a == b,
        (Plain::Number(a), Plain::Number(b)) => crate::compare::compare_json(*a, *b).is_eq(),
        _ => false,
    }
}

fn contains_value(whole: &Plain<'_>, part: &Plain<'_>) -> bool {
    if let (Some(whole), Some(part)) = (whole.as_object(), part.as_object()) {
        return part.iter().all(|(name, wanted)| {
            whole.get(name).is_some_and(|found| contains_value(&Plain::of(found), &Plain::of(wanted)))
        });
    }
    match (whole, part) {
        (Plain::Array(whole), Plain::Array(part)) => part.values().all(|wanted| {
            let wanted = Plain::of(wanted);
            whole.values().any(|item| contains_value(&Plain::of(item), &wanted))
        }),
        _ => equal(whole, part),
    }
}

fn array_length(value: &Json) -> Result<Datum> {
    match Plain::of(value.raw()) {
        Plain::Array(array) => Ok(Datum::Int(array.values().count() as i64)),
        Plain::Object(_) | Plain::Made(_) => Err(SqlError::new("22023", "cannot get array length of a non-array")),
        _ => Err(SqlError::new("22023", "cannot get array length of a scalar")),
    }
}

fn object_keys(value: &Json) -> Result<Datum> {
    let plain = Plain::of(value.raw());
    match plain.as_object() {
        Some(doc) => Ok(Datum::Array(doc.iter().map(|(name, _)| Datum::text(name)).collect())),
        None => Err(keys_error(&plain, "jsonb_object_keys")),
    }
}

/// 22023 for a function that wants an object.
pub(super) fn keys_error(value: &Plain<'_>, function: &str) -> SqlError {
    let kind = if matches!(value, Plain::Array(_)) { "an array" } else { "a scalar" };
    SqlError::new("22023", format!("cannot call {function} on {kind}"))
}

/// Did an update touch a path? The keys of `value` are dotted paths of changed fields: one touches
/// `path` if it is the path, lies below it, or is an ancestor whose new value replaced it.
fn path_touched(value: &Datum, path: &str) -> Result<Datum> {
    let below = |longer: &str, shorter: &str| {
        longer.strip_prefix(shorter).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let touches = |key: &str| below(key, path) || below(path, key);
    Ok(Datum::Bool(match Plain::of(value.as_json()?.raw()) {
        Plain::Object(doc) => doc.iter().any(|(key, _)| touches(key)),
        // `removed_fields` is a list of paths.
        Plain::Array(array) => array.values().any(|item| item.as_str().is_some_and(touches)),
        Plain::String(s) => touches(&s),
        _ => false,
    }))
}

/// The fields of an object, or 22023.
pub(super) fn object<'a>(plain: &'a Plain<'_>, function: &str) -> Result<RawDoc<'a>> {
    plain.as_object().ok_or_else(|| keys_error(plain, function))
}

//! Functions that build JSON values from SQL values.

use document::json::{Dialect, to_extended_json};

use super::{Registry, Types};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::json::{self, build};
use crate::text;
use crate::types::Type;

pub(super) fn register(r: &mut Registry) {
    for name in ["to_json", "to_jsonb", "row_to_json", "array_to_json"] {
        r.strict_typed(&format!("{name}(any) -> json"), |args, types, ctx| {
            build::to_json(&args[0], types.get(0), ctx.time_zone).map(Datum::Json)
        })
        .stable();
    }
    for prefix in ["json", "jsonb"] {
        r.lenient_typed(&format!("{prefix}_build_object(variadic any) -> json"), build_object).stable();
        r.lenient_typed(&format!("{prefix}_build_array(variadic any) -> json"), build_array).stable();
        r.strict(&format!("{prefix}_object(text[]) -> json"), |args, _| object_of_pairs(args[0].as_array()?));
        r.strict(&format!("{prefix}_object(text[], text[]) -> json"), |args, _| {
            object_of_lists(args[0].as_array()?, args[1].as_array()?)
        });
    }
    r.strict("to_extended_json(json) -> text", |args, _| {
        Ok(Datum::text(to_extended_json(args[0].as_json()?.raw(), Dialect::Canonical)))
    });
    r.strict("to_relaxed_json(json) -> text", |args, _| {
        Ok(Datum::text(to_extended_json(args[0].as_json()?.raw(), Dialect::Relaxed)))
    });
}

fn build_object(args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    if !args.len().is_multiple_of(2) {
        return Err(SqlError::new("22023", "argument list must have even number of elements")
            .with_hint("The arguments of jsonb_build_object() must consist of alternating keys and values."));
    }
    let mut keys: Vec<String> = Vec::with_capacity(args.len() / 2);
    for (i, key) in args.iter().enumerate().step_by(2) {
        keys.push(object_key(key, types.get(i), i, ctx)?);
    }
    let mut result = Ok(());
    let object = build::object(|writer| {
        for (i, key) in keys.iter().enumerate() {
            // Of a repeated key the last value counts.
            if keys[i + 1..].contains(key) {
                continue;
            }
            let at = 2 * i + 1;
            if let Err(error) = build::write(writer, key, &args[at], types.get(at), ctx.time_zone) {
                result = Err(error);
                return;
            }
        }
    });
    result.map(|()| Datum::Json(object))
}

fn object_key(key: &Datum, ty: &Type, index: usize, ctx: &EvalContext<'_>) -> Result<String> {
    match key {
        Datum::Null => Err(SqlError::new("22023", format!("argument {}: key must not be null", index + 1))),
        Datum::Array(_) | Datum::Record(_) => {
            Err(SqlError::new("22023", "key value must be scalar, not array, composite, or json"))
        }
        Datum::Json(value) if value.container().is_some() => {
            Err(SqlError::new("22023", "key value must be scalar, not array, composite, or json"))
        }
        Datum::Json(value) => Ok(json::as_text(value.raw()).as_text()?.to_owned()),
        Datum::Bool(b) => Ok(b.to_string()),
        _ => {
            let text = text::to_string(key, ty, ctx.time_zone);
            build::key(&text)?;
            Ok(text)
        }
    }
}

fn build_array(args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    let mut result = Ok(());
    let array = build::array(|writer, index| {
        for (i, arg) in args.iter().enumerate() {
            if let Err(error) = build::write(writer, index.next(), arg, types.get(i), ctx.time_zone) {
                result = Err(error);
                return;
            }
        }
    });
    result.map(|()| Datum::Json(array))
}

fn object_of_pairs(items: &[Datum]) -> Result<Datum> {
    // Either a flat list of keys and values, or pairs.
    let mut flat: Vec<Datum> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Datum::Array(pair) if pair.len() == 2 => flat.extend(pair.iter().cloned()),
            Datum::Array(_) => return Err(SqlError::new("2202E", "array must have two columns")),
            other => flat.push(other.clone()),
        }
    }
    if !flat.len().is_multiple_of(2) {
        return Err(SqlError::new("2202E", "array must have even number of elements"));
    }
    let (keys, values): (Vec<_>, Vec<_>) = flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip();
    object_of_lists(&keys, &values)
}

fn object_of_lists(keys: &[Datum], values: &[Datum]) -> Result<Datum> {
    if keys.len() != values.len() {
        return Err(SqlError::new("2202E", "mismatched array dimensions"));
    }
    let mut fields: Vec<(&str, &Datum)> = Vec::with_capacity(keys.len());
    let mut places = rustc_hash::FxHashMap::default();
    for (key, value) in keys.iter().zip(values) {
        if key.is_null() {
            return Err(SqlError::new("22004", "null value not allowed for object key"));
        }
        let key = build::key(key.as_text()?)?;
        match places.get(key) {
            Some(&place) => {
                let slot: &mut (&str, &Datum) = &mut fields[place];
                slot.1 = value;
            }
            None => {
                places.insert(key, fields.len());
                fields.push((key, value));
            }
        }
    }
    Ok(Datum::Json(build::object(|writer| {
        for (key, value) in &fields {
            match value {
                Datum::Text(s) => writer.str(key, s),
                _ => writer.null(key),
            }
        }
    })))
}

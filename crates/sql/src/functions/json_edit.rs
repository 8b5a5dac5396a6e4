//! JSON functions that answer a changed value: concatenation, removal, setting at a path.

use document::{DocWriter, Raw, RawDoc};

use super::Registry;
use crate::datum::{Datum, Json};
use crate::error::{Result, SqlError};
use crate::json::build::{self, Index};
use crate::json::{self, Plain};

pub(super) fn register(r: &mut Registry) {
    for name in ["||", "jsonb_concat"] {
        r.strict(&format!("{name}(json, json) -> json"), |args, _| Ok(concat(args[0].as_json()?, args[1].as_json()?)));
    }
    for name in ["-", "jsonb_delete"] {
        r.strict(&format!("{name}(json, text) -> json"), |args, _| {
            let key = args[1].as_text()?;
            without(args[0].as_json()?, |name| name == key)
        });
        r.strict(&format!("{name}(json, text[]) -> json"), |args, _| {
            let keys: Vec<&str> =
                args[1].as_array()?.iter().filter(|k| !k.is_null()).map(Datum::as_text).collect::<Result<_>>()?;
            without(args[0].as_json()?, |name| keys.contains(&name))
        });
        r.strict(&format!("{name}(json, int4) -> json"), |args, _| {
            without_element(args[0].as_json()?, args[1].as_int()?)
        });
    }
    for name in ["#-", "jsonb_delete_path"] {
        r.strict(&format!("{name}(json, text[]) -> json"), |args, _| {
            edit(args[0].as_json()?, &args[1], Edit::Delete, "cannot delete path in scalar")
        });
    }
    r.strict("jsonb_set(json, text[], json) -> json", |args, _| set(args, true));
    r.strict("jsonb_set(json, text[], json, bool) -> json", |args, _| set(args, args[3].as_bool()?));
    for rest in ["", ", bool", ", bool, text"] {
        r.lenient(&format!("jsonb_set_lax(json, text[], json{rest}) -> json"), |args, _| set_lax(args));
    }
    r.strict("jsonb_insert(json, text[], json) -> json", |args, _| insert(args, false));
    r.strict("jsonb_insert(json, text[], json, bool) -> json", |args, _| insert(args, args[3].as_bool()?));
    for prefix in ["json", "jsonb"] {
        r.strict(&format!("{prefix}_strip_nulls(json) -> json"), |args, _| {
            let value = args[0].as_json()?.raw();
            Ok(Datum::Json(json::make(|writer, name| strip_nulls(writer, name, value))))
        });
    }
    r.strict("jsonb_pretty(json) -> text", |args, _| {
        let mut out = String::new();
        pretty(args[0].as_json()?.raw(), 0, &mut out);
        Ok(Datum::text(out))
    });
}

/// `jsonb_set` that says what a NULL as the new value means.
fn set_lax(args: &[Datum]) -> Result<Datum> {
    let create = match args.get(3) {
        None => true,
        Some(Datum::Null) => return Ok(Datum::Null),
        Some(create) => create.as_bool()?,
    };
    if args[0].is_null() || args[1].is_null() {
        return Ok(Datum::Null);
    }
    if !args[2].is_null() {
        return set(args, create);
    }
    let treatment = match args.get(4) {
        None => "use_json_null",
        Some(Datum::Null) => "",
        Some(text) => text.as_text()?,
    };
    match treatment {
        "raise_exception" => Err(SqlError::new("22004", "JSON value must not be null")),
        "use_json_null" => {
            let null = Datum::Json(crate::json::parse::parse("null")?);
            set(&[args[0].clone(), args[1].clone(), null], create)
        }
        "delete_key" => edit(args[0].as_json()?, &args[1], Edit::Delete, "cannot delete path in scalar"),
        "return_target" => Ok(args[0].clone()),
        _ => Err(SqlError::new(
            "22023",
            "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
        )),
    }
}

fn concat(a: &Json, b: &Json) -> Datum {
    let items = |value: Raw<'_>, writer: &mut DocWriter, index: &mut Index| match value {
        Raw::Array(array) => array.values().for_each(|item| writer.raw(index.next(), item)),
        other => writer.raw(index.next(), other),
    };
    Datum::Json(match (a.raw(), b.raw()) {
        (Raw::Document(a), Raw::Document(b)) => build::object(|writer| merge(writer, a, b)),
        (a, b) => build::array(|writer, index| {
            items(a, writer, index);
            items(b, writer, index);
        }),
    })
}

/// Fields of `a` in their places, with `b`'s values where both have one; then `b`'s others.
fn merge(writer: &mut DocWriter, a: RawDoc<'_>, b: RawDoc<'_>) {
    let theirs: rustc_hash::FxHashMap<&str, Raw<'_>> = b.iter().collect();
    let mut shared = rustc_hash::FxHashSet::default();
    for (name, value) in a.iter() {
        match theirs.get(name) {
            Some(value) => {
                shared.insert(name);
                writer.raw(name, *value);
            }
            None => writer.raw(name, value),
        }
    }
    for (name, value) in b.iter().filter(|(name, _)| !shared.contains(name)) {
        writer.raw(name, value);
    }
}

fn without(value: &Json, gone: impl Fn(&str) -> bool) -> Result<Datum> {
    match value.raw() {
        Raw::Document(doc) => Ok(Datum::Json(build::object(|writer| {
            for (name, item) in doc.iter().filter(|(name, _)| !gone(name)) {
                writer.raw(name, item);
            }
        }))),
        Raw::Array(array) => Ok(Datum::Json(build::array(|writer, index| {
            for item in array.values() {
                if !matches!(Plain::of(item), Plain::String(s) if gone(&s)) {
                    writer.raw(index.next(), item);
                }
            }
        }))),
        _ => Err(SqlError::new("22023", "cannot delete from scalar")),
    }
}

fn without_element(value: &Json, at: i64) -> Result<Datum> {
    match value.raw() {
        Raw::Array(array) => {
            let count = array.values().count() as i64;
            let at = if at < 0 { count + at } else { at };
            Ok(Datum::Json(build::array(|writer, index| {
                for (i, item) in array.values().enumerate() {
                    if i as i64 != at {
                        writer.raw(index.next(), item);
                    }
                }
            })))
        }
        Raw::Document(_) => Err(SqlError::new("22023", "cannot delete from object using integer index")),
        _ => Err(SqlError::new("22023", "cannot delete from scalar")),
    }
}

/// What happens at the end of a path.
#[derive(Clone, Copy)]
enum Edit<'a> {
    Delete,
    Set { value: Raw<'a>, create: bool },
    Insert { value: Raw<'a>, after: bool },
}

fn set(args: &[Datum], create: bool) -> Result<Datum> {
    let value = args[2].as_json()?.raw();
    edit(args[0].as_json()?, &args[1], Edit::Set { value, create }, "cannot set path in scalar")
}

fn insert(args: &[Datum], after: bool) -> Result<Datum> {
    let value = args[2].as_json()?.raw();
    edit(args[0].as_json()?, &args[1], Edit::Insert { value, after }, "cannot set path in scalar")
}

fn edit(target: &Json, path: &Datum, edit: Edit<'_>, scalar: &str) -> Result<Datum> {
    if target.container().is_none() {
        return Err(SqlError::new("22023", scalar));
    }
    let mut steps = Vec::new();
    for (i, step) in path.as_array()?.iter().enumerate() {
        if step.is_null() {
            return Err(SqlError::new("22004", format!("path element at position {} is null", i + 1)));
        }
        steps.push(build::key(step.as_text()?)?);
    }
    if steps.is_empty() {
        return Ok(Datum::Json(target.clone()));
    }
    let mut result = Ok(());
    let edited = json::make(|writer, name| result = edit_value(writer, name, target.raw(), &steps, 0, edit));
    result.map(|()| Datum::Json(edited))
}

/// Writes `value` under `name`, edited at `path[depth..]`.
fn edit_value(
    writer: &mut DocWriter,
    name: &str,
    value: Raw<'_>,
    path: &[&str],
    depth: usize,
    edit: Edit<'_>,
) -> Result<()> {
    match value {
        Raw::Document(doc) => {
            writer.begin_document(name);
            let result = edit_object(writer, doc, path, depth, edit);
            writer.end();
            result
        }
        Raw::Array(array) => {
            writer.begin_array(name);
            let result = edit_array(writer, array, path, depth, edit);
            writer.end();
            result
        }
        scalar => {
            writer.raw(name, scalar);
            Ok(())
        }
    }
}

fn edit_object(writer: &mut DocWriter, doc: RawDoc<'_>, path: &[&str], depth: usize, edit: Edit<'_>) -> Result<()> {
    let (key, last) = (path[depth], depth + 1 == path.len());
    let mut found = false;
    for (name, item) in doc.iter() {
        if name != key {
            writer.raw(name, item);
            continue;
        }
        found = true;
        match edit {
            _ if !last => edit_value(writer, name, item, path, depth + 1, edit)?,
            Edit::Delete => {}
            Edit::Set { value, .. } => writer.raw(name, value),
            Edit::Insert { .. } => {
                return Err(SqlError::new("22023", "cannot replace existing key")
                    .with_hint("Try using the function jsonb_set to replace key value."));
            }
        }
    }
    if !found && last {
        match edit {
            Edit::Set { value, create: true } | Edit::Insert { value, .. } => writer.raw(key, value),
            _ => {}
        }
    }
    Ok(())
}

fn edit_array(writer: &mut DocWriter, array: RawDoc<'_>, path: &[&str], depth: usize, edit: Edit<'_>) -> Result<()> {
    let (key, last) = (path[depth], depth + 1 == path.len());
    let wanted: i64 = key.parse::<i32>().map(i64::from).map_err(|_| {
        SqlError::new("22P02", format!("path element at position {} is not an integer: \"{key}\"", depth + 1))
    })?;
    let count = array.values().count() as i64;
    // Before the beginning is -1 here, behind the end is `count`.
    let at = if wanted < 0 { (count + wanted).max(-1) } else { wanted.min(count) };
    let mut index = Index::default();
    if at < 0 && last {
        match edit {
            Edit::Set { value, create: true } | Edit::Insert { value, .. } => writer.raw(index.next(), value),
            _ => {}
        }
    }
    for (i, item) in array.values().enumerate() {
        if i as i64 != at {
            writer.raw(index.next(), item);
            continue;
        }
        match edit {
            _ if !last => edit_value(writer, index.next(), item, path, depth + 1, edit)?,
            Edit::Delete => {}
            Edit::Set { value, .. } => writer.raw(index.next(), value),
            Edit::Insert { value, after } => {
                let (first, second) = if after { (item, value) } else { (value, item) };
                writer.raw(index.next(), first);
                writer.raw(index.next(), second);
            }
        }
    }
    if at == count && last {
        match edit {
            Edit::Set { value, create: true } | Edit::Insert { value, .. } => writer.raw(index.next(), value),
            _ => {}
        }
    }
    Ok(())
}

/// Without the null fields of objects; nulls in arrays stay.
fn strip_nulls(writer: &mut DocWriter, name: &str, value: Raw<'_>) {
    match value {
        Raw::Document(doc) => {
            writer.begin_document(name);
            for (name, item) in doc.iter().filter(|(_, item)| !matches!(item, Raw::Null | Raw::Undefined)) {
                strip_nulls(writer, name, item);
            }
            writer.end();
        }
        Raw::Array(array) => {
            writer.begin_array(name);
            let mut index = Index::default();
            for item in array.values() {
                strip_nulls(writer, index.next(), item);
            }
            writer.end();
        }
        scalar => writer.raw(name, scalar),
    }
}

fn pretty(value: Raw<'_>, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    let (open, close) = match value {
        Raw::Document(_) => ('{', '}'),
        Raw::Array(_) => ('[', ']'),
        scalar => return document::json::to_plain_json(scalar, out),
    };
    out.push(open);
    if let Raw::Document(doc) | Raw::Array(doc) = value {
        for (i, (name, item)) in doc.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            line(depth + 1, out);
            if open == '{' {
                document::json::quote(name, out);
                out.push_str(": ");
            }
            pretty(item, depth + 1, out);
        }
    }
    line(depth, out);
    out.push(close);
}

//! SQL/JSON paths: `jsonb_path_query` and its relatives.
//!
//! A path is parsed into a small tree (`json_path/parse.rs`) and evaluated over BSON
//! (`json_path/eval.rs`), in lax mode unless it says `strict`.

mod eval;
mod parse;

use super::{PlainEval, Registry};
use crate::datum::{Datum, Json};
use crate::error::{Result, SqlError};
use crate::json::build;

pub(super) fn register(r: &mut Registry) {
    let functions: [(&str, &str, PlainEval); 4] = [
        ("jsonb_path_exists", "bool", |args, _| silent(args, run(args).map(|found| Datum::Bool(!found.is_empty())))),
        ("jsonb_path_match", "bool", |args, _| silent(args, run(args).and_then(|found| predicate(&found)))),
        ("jsonb_path_query_first", "json", |args, _| {
            silent(args, run(args).map(|found| found.into_iter().next().map_or(Datum::Null, Datum::Json)))
        }),
        ("jsonb_path_query_array", "json", |args, _| {
            let array = |found: Vec<Json>| {
                Datum::Json(build::array(|writer, index| {
                    found.iter().for_each(|item| writer.raw(index.next(), item.raw()));
                }))
            };
            match run(args) {
                Ok(found) => Ok(array(found)),
                Err(_) if is_silent(args) => Ok(array(Vec::new())),
                Err(error) => Err(error),
            }
        }),
    ];
    for (name, result, eval) in functions {
        r.strict(&format!("{name}(json, text) -> {result}"), eval);
        r.strict(&format!("{name}(json, text, json) -> {result}"), eval);
        r.strict(&format!("{name}(json, text, json, bool) -> {result}"), eval);
    }
    // The operators suppress errors.
    r.strict("@?(json, text) -> bool", |args, _| {
        check(args)?;
        Ok(run(args).map_or(Datum::Null, |found| Datum::Bool(!found.is_empty())))
    });
    r.strict("@@(json, text) -> bool", |args, _| {
        check(args)?;
        Ok(run(args).and_then(|found| predicate(&found)).unwrap_or(Datum::Null))
    });
}

fn is_silent(args: &[Datum]) -> bool {
    matches!(args.get(3), Some(Datum::Bool(true)))
}

fn silent(args: &[Datum], result: Result<Datum>) -> Result<Datum> {
    match result {
        Err(error) if is_silent(args) && error.code != "42601" => Ok(Datum::Null),
        other => other,
    }
}

fn check(args: &[Datum]) -> Result<()> {
    parse::parse(args[1].as_text()?).map(|_| ())
}

fn run(args: &[Datum]) -> Result<Vec<Json>> {
    let path = parse::parse(args[1].as_text()?)?;
    let variables = args.get(2).map(Datum::as_json).transpose()?;
    eval::evaluate(&path, args[0].as_json()?, variables)
}

/// The one boolean that a predicate gives.
fn predicate(found: &[Json]) -> Result<Datum> {
    match found {
        [one] => match one.raw() {
            document::Raw::Bool(b) => Ok(Datum::Bool(b)),
            document::Raw::Null => Ok(Datum::Null),
            _ => Err(SqlError::new("22038", "single boolean result is expected")),
        },
        _ => Err(SqlError::new("22038", "single boolean result is expected")),
    }
}

/// The values that a path leads to.
pub fn query(value: &Json, path: &str) -> Result<Vec<Datum>> {
    let found = eval::evaluate(&parse::parse(path)?, value, None)?;
    Ok(found.into_iter().map(Datum::Json).collect())
}

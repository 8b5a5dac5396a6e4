//! From BSON to stages.

use super::bucket::{self, BucketAuto};
use super::densify::Densify;
use super::unwind::Unwind;
use super::window::SetWindowFields;
use super::{GraphLookup, Group, Lookup, Output, Pipeline, Stage, UnionWith, fill};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::expression::text::value_text;
use crate::matcher::Matcher;
use crate::number::Number;
use crate::projection::{Mode, Projection};
use crate::raw::{Raw, RawDoc};
use crate::sort::SortPattern;
use crate::value::Doc;

/// Parses one stage; a stage that is short for others pushes those.
pub(super) fn stage(spec: RawDoc<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    let mut fields = spec.iter();
    let (Some((name, value)), None) = (fields.next(), fields.next()) else {
        return Err(Error::new(40323, "A pipeline stage specification object must contain exactly one field."));
    };
    match name {
        "$match" | "$project" | "$addFields" | "$set" | "$unset" | "$replaceRoot" | "$replaceWith" | "$redact" => {
            out.push(single(name, value, ctx)?);
        }
        "$limit" => out.push(Stage::Limit(limit(value)?)),
        "$skip" => out.push(Stage::Skip(count("$skip", value)?)),
        "$sort" => out.push(sort(value, ctx)?),
        "$group" => out.push(Stage::Group(Box::new(Group::parse(value, ctx)?))),
        "$unwind" => out.push(Stage::Unwind(Unwind::parse(value)?)),
        "$count" => count_stage(value, ctx, out)?,
        "$sortByCount" => sort_by_count(value, ctx, out)?,
        "$bucket" => bucket::parse_bucket(value, ctx, out)?,
        "$bucketAuto" => out.push(Stage::BucketAuto(Box::new(BucketAuto::parse(value, ctx)?))),
        "$facet" => out.push(Stage::Facet(facet(value, ctx)?)),
        "$lookup" => out.push(Stage::Lookup(Box::new(Lookup::parse(value, ctx)?))),
        "$graphLookup" => out.push(Stage::GraphLookup(Box::new(GraphLookup::parse(value, ctx)?))),
        "$unionWith" => out.push(Stage::UnionWith(Box::new(UnionWith::parse(value, ctx)?))),
        "$sample" => out.push(Stage::Sample { size: sample(value)? }),
        "$setWindowFields" => out.push(Stage::SetWindowFields(Box::new(SetWindowFields::parse(value, ctx)?))),
        "$densify" => out.push(Stage::Densify(Box::new(Densify::parse(value, ctx)?))),
        "$fill" => fill::parse(value, ctx, out)?,
        "$documents" => out.push(Stage::Documents(Expression::parse(value, ctx)?)),
        "$out" => out.push(Stage::Output(Output::parse_out(value)?)),
        "$merge" => out.push(Stage::Output(Output::parse_merge(value, ctx)?)),
        _ if SOURCES.contains(&name) => out.push(Stage::Source { name: name.to_owned(), spec: spec.to_buf() }),
        _ => return Err(Error::new(40324, format!("Unrecognized pipeline stage name: '{name}'"))),
    }
    Ok(())
}

/// Stages that the caller supplies.
const SOURCES: [&str; 9] = [
    "$changeStream",
    "$changeStreamSplitLargeEvent",
    "$collStats",
    "$indexStats",
    "$currentOp",
    "$listSessions",
    "$listLocalSessions",
    "$planCacheStats",
    "$geoNear",
];

/// Stages of one document.
fn single(name: &str, value: Raw<'_>, ctx: &Context) -> Result<Stage> {
    Ok(match name {
        "$match" => {
            let Raw::Document(filter) = value else {
                return Err(Error::new(15959, "the match filter must be an expression in an object"));
            };
            Stage::Match(Matcher::parse(filter, ctx)?)
        }
        "$project" => {
            let Raw::Document(spec) = value else {
                return Err(Error::new(15969, "$project specification must be an object"));
            };
            let projection = Projection::parse(spec, ctx, Mode::Aggregate).map_err(|e| invalid(name, e))?;
            Stage::Project { name: "$project", projection }
        }
        "$addFields" | "$set" => {
            let Raw::Document(spec) = value else {
                return Err(Error::new(
                    40272,
                    format!("{name} specification stage must be an object, got {}", value.type_name()),
                ));
            };
            let projection = Projection::add_fields(spec, ctx).map_err(|e| invalid(name, e))?;
            Stage::Project { name: if name == "$set" { "$set" } else { "$addFields" }, projection }
        }
        "$unset" => unset(value)?,
        "$replaceRoot" => Stage::ReplaceRoot { name: "$replaceRoot", expression: new_root(value, ctx)? },
        "$replaceWith" => Stage::ReplaceRoot { name: "$replaceWith", expression: Expression::parse(value, ctx)? },
        _ => Stage::Redact(Expression::parse(value, ctx)?),
    })
}

fn new_root(value: Raw<'_>, ctx: &Context) -> Result<Expression> {
    let Raw::Document(spec) = value else {
        return Err(Error::new(
            40229,
            format!("expected an object as specification for $replaceRoot stage, got {}", value.type_name()),
        ));
    };
    if let Some((name, _)) = spec.iter().find(|(name, _)| *name != "newRoot") {
        return Err(Error::new(40415, format!("BSON field '$replaceRoot.{name}' is an unknown field.")));
    }
    let new_root = spec
        .get("newRoot")
        .ok_or_else(|| Error::new(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field"))?;
    Expression::parse(new_root, ctx)
}

/// A whole number that is not negative.
fn count(stage: &str, value: Raw<'_>) -> Result<u64> {
    let text = || format!("{stage}: {}", value_text(Some(&value.to_value())));
    let invalid = |code, what: &str| Error::new(code, format!("invalid argument to {stage} stage: {what}{}", text()));
    let n = Number::from_raw(value).ok_or_else(|| invalid(5107201, "Expected a number in: "))?;
    let n = n.as_whole().ok_or_else(|| invalid(5107201, "Expected an integer: "))?;
    u64::try_from(n).map_err(|_| invalid(5107200, "Expected a positive number in: "))
}

fn limit(value: Raw<'_>) -> Result<u64> {
    match count("$limit", value)? {
        0 => Err(Error::new(15958, "the limit must be positive")),
        n => Ok(n),
    }
}

fn sort(value: Raw<'_>, ctx: &Context) -> Result<Stage> {
    let Raw::Document(pattern) = value else {
        return Err(Error::new(15973, "the $sort key specification must be an object"));
    };
    if pattern.is_empty() {
        return Err(Error::new(15976, "$sort stage must have at least one sort key"));
    }
    Ok(Stage::Sort { pattern: SortPattern::parse(pattern, ctx)?, limit: None })
}

/// Parses a stage written here.
fn composed(spec: Doc, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    stage(spec.to_buf().as_doc(), ctx, out)
}

fn count_stage(value: Raw<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    let Raw::String(name) = value else {
        return Err(Error::new(40156, "the count field must be a non-empty string"));
    };
    if name.is_empty() {
        return Err(Error::new(40157, "the count field must be a non-empty string"));
    }
    if name.starts_with('$') {
        return Err(Error::new(40158, "the count field cannot be a $-prefixed path"));
    }
    if name.contains('\0') {
        return Err(Error::new(40159, "the count field cannot contain '\\0'"));
    }
    if name.contains('.') {
        return Err(Error::new(40160, "the count field cannot contain '.'"));
    }
    let sum = Doc::new().with("$sum", 1);
    composed(Doc::new().with("$group", Doc::new().with("_id", crate::value::Value::Null).with(name, sum)), ctx, out)?;
    composed(Doc::new().with("$project", Doc::new().with("_id", 0)), ctx, out)
}

fn sort_by_count(value: Raw<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    match value {
        Raw::Document(doc) if doc.iter().next().is_some_and(|(name, _)| name.starts_with('$')) => {}
        Raw::Document(_) => {
            return Err(Error::new(
                40147,
                "the sortByCount field must be defined as a $-prefixed path or an expression inside an object",
            ));
        }
        Raw::String(text) if text.starts_with('$') => {}
        Raw::String(_) => {
            return Err(Error::new(
                40148,
                "the sortByCount field must be defined as a $-prefixed path or an expression inside an object",
            ));
        }
        _ => {
            return Err(Error::new(40149, "the sortByCount field must be specified as a string or as an object"));
        }
    }
    let group = Doc::new().with("_id", value.to_value()).with("count", Doc::new().with("$sum", 1));
    composed(Doc::new().with("$group", group), ctx, out)?;
    composed(Doc::new().with("$sort", Doc::new().with("count", -1)), ctx, out)
}

fn sample(value: Raw<'_>) -> Result<u64> {
    let Raw::Document(spec) = value else {
        return Err(Error::new(28745, "the $sample stage specification must be an object"));
    };
    if let Some((name, _)) = spec.iter().find(|(name, _)| *name != "size") {
        return Err(Error::new(28748, format!("unrecognized option to $sample: {name}")));
    }
    let size = spec.get("size").ok_or_else(|| Error::new(28749, "$sample stage must specify a size"))?;
    let n = Number::from_raw(size).ok_or_else(|| Error::new(28746, "size argument to $sample must be a number"))?;
    u64::try_from(n.to_i64_saturating()).map_err(|_| Error::new(28747, "size argument to $sample must not be negative"))
}

fn facet(value: Raw<'_>, ctx: &Context) -> Result<Vec<(String, Pipeline)>> {
    let Raw::Document(spec) = value else {
        return Err(Error::new(
            40169,
            format!(
                "the $facet specification must be a non-empty object, but found: {}",
                value_text(Some(&value.to_value()))
            ),
        ));
    };
    if spec.is_empty() {
        return Err(Error::new(40169, "the $facet specification must be a non-empty object, but found: {}"));
    }
    let mut facets = Vec::new();
    for (name, value) in spec.iter() {
        crate::expression::path::check_name(name)?;
        let Raw::Array(items) = value else {
            return Err(Error::new(
                40170,
                format!("arguments to $facet must be arrays, {name} is type {}", value.type_name()),
            ));
        };
        let mut stages = Vec::new();
        for item in items.values() {
            let Raw::Document(stage) = item else {
                return Err(Error::new(
                    40171,
                    format!(
                        "elements of arrays in $facet spec must be non-empty objects, {name} argument contained an element of type {}",
                        item.type_name()
                    ),
                ));
            };
            // Judged by name first: these are refused wherever they stand.
            if let Some((name, _)) = stage.iter().next()
                && (matches!(name, "$out" | "$merge" | "$facet" | "$documents") || SOURCES.contains(&name))
            {
                return Err(Error::new(40600, format!("{name} is not allowed to be used within a $facet stage")));
            }
            stages.push(stage);
        }
        facets.push((name.to_owned(), Pipeline::parse(&stages, ctx)?));
    }
    Ok(facets)
}

fn invalid(stage: &str, e: Error) -> Error {
    if e.message.starts_with("Failed to optimize") {
        return e;
    }
    Error::new(e.code, format!("Invalid {stage} :: caused by :: {}", e.message))
}

fn unset(value: Raw<'_>) -> Result<Stage> {
    let mut paths = Vec::new();
    match value {
        Raw::String(path) => paths.push(path),
        Raw::Array(items) => {
            for item in items.values() {
                let Raw::String(path) = item else {
                    return Err(Error::new(
                        31120,
                        "$unset specification must be a string or an array containing only string values",
                    ));
                };
                paths.push(path);
            }
            if paths.is_empty() {
                return Err(Error::new(
                    31119,
                    "$unset specification must be a string or an array with at least one field",
                ));
            }
        }
        _ => return Err(Error::new(31002, "$unset specification must be a string or an array")),
    }
    let projection = Projection::unset(&paths).map_err(|e| invalid("$unset", e))?;
    Ok(Stage::Project { name: "$unset", projection })
}

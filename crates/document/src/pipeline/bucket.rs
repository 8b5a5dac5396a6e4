//! `$bucket`, written as the `$group` it is, and `$bucketAuto`.

use super::group::{Spec, State};
use super::{Budget, DocStream, Group, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::text::value_text;
use crate::expression::{Expression, compare_present};
use crate::number::Number;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::sort::SortPattern;
use crate::value::{Doc, Value};

/// Pushes the `$group` and `$sort` that a `$bucket` stands for.
pub(super) fn parse_bucket(spec: Raw<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    let Raw::Document(spec) = spec else {
        return Err(Error::new(
            40201,
            format!("Argument to $bucket stage must be an object, but found type: {}.", spec.type_name()),
        ));
    };
    let (mut group_by, mut boundaries, mut default, mut output) = (None, None, None, None);
    for (name, value) in spec.iter() {
        match name {
            "groupBy" => group_by = Some(check_group_by(value, 40202)?),
            "boundaries" => boundaries = Some(check_boundaries(value, ctx)?),
            "default" => default = Some(constant(value, 40195, "default", ctx)?),
            "output" => output = Some(check_output(value, 40196, "$bucket")?),
            _ => return Err(Error::new(40197, format!("Unrecognized option to $bucket: {name}."))),
        }
    }
    let (Some(group_by), Some(boundaries)) = (group_by, boundaries) else {
        return Err(Error::new(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified."));
    };
    if let Some(default) = &default {
        check_default(default, &boundaries, ctx)?;
    }
    let group = group_spec(group_by, &boundaries, default, output).to_buf();
    out.push(Stage::Group(Box::new(Group::parse(Raw::Document(group.as_doc()), ctx)?)));
    let by_id = Doc::new().with("_id", 1).to_buf();
    out.push(Stage::Sort { pattern: SortPattern::parse(by_id.as_doc(), ctx)?, limit: None });
    Ok(())
}

fn check_group_by(value: Raw<'_>, code: i32) -> Result<Raw<'_>> {
    match value {
        Raw::String(text) if text.starts_with('$') => Ok(value),
        Raw::Document(_) => Ok(value),
        other => Err(Error::new(
            code,
            format!(
                "The 'groupBy' field must be defined as a $-prefixed path or an expression, but found: {}.",
                value_text(Some(&other.to_value()))
            ),
        )),
    }
}

fn constant(value: Raw<'_>, code: i32, name: &str, ctx: &Context) -> Result<Value> {
    let expression = Expression::parse(value, ctx)?;
    match expression.as_constant() {
        Some(Some(value)) => Ok(value.clone()),
        _ => Err(Error::new(code, format!("The $bucket '{name}' field must be a constant value."))),
    }
}

fn check_boundaries(value: Raw<'_>, ctx: &Context) -> Result<Vec<Value>> {
    let Raw::Array(items) = value else {
        return Err(Error::new(
            40200,
            format!("The $bucket 'boundaries' field must be an array, but found type: {}.", value.type_name()),
        ));
    };
    let boundaries: Result<Vec<Value>> = items.values().map(|item| constant(item, 40191, "boundaries", ctx)).collect();
    let boundaries = boundaries?;
    if boundaries.len() < 2 {
        return Err(Error::new(
            40192,
            format!(
                "The $bucket 'boundaries' field must have at least 2 values, but found {} value(s).",
                boundaries.len()
            ),
        ));
    }
    let rank = |value: &Value| crate::compare::type_rank(value.as_scalar());
    for (i, pair) in boundaries.windows(2).enumerate() {
        if rank(&pair[0]) != rank(&pair[1]) {
            return Err(Error::new(
                40193,
                format!(
                    "All values in the the 'boundaries' option to $bucket must have the same type. Found conflicting types {} and {}.",
                    pair[0].type_name(),
                    pair[1].type_name()
                ),
            ));
        }
        if compare_present(ctx, &pair[0], &pair[1]).is_ge() {
            return Err(Error::new(
                40194,
                format!(
                    "The 'boundaries' option to $bucket must be sorted, but elements {i} and {} are not in ascending order ({} is not less than {}).",
                    i + 1,
                    value_text(Some(&pair[0])),
                    value_text(Some(&pair[1]))
                ),
            ));
        }
    }
    Ok(boundaries)
}

fn check_default(default: &Value, boundaries: &[Value], ctx: &Context) -> Result<()> {
    let (first, last) = (&boundaries[0], &boundaries[boundaries.len() - 1]);
    if compare_present(ctx, default, first).is_ge() && compare_present(ctx, default, last).is_lt() {
        return Err(Error::new(
            40199,
            "The $bucket 'default' field must be less than the lowest boundary or greater than or equal to the highest boundary.",
        ));
    }
    Ok(())
}

fn check_output<'a>(value: Raw<'a>, code: i32, stage: &str) -> Result<RawDoc<'a>> {
    match value {
        Raw::Document(doc) => Ok(doc),
        other => Err(Error::new(
            code,
            format!("The {stage} 'output' field must be an object, but found type: {}.", other.type_name()),
        )),
    }
}

fn group_spec(group_by: Raw<'_>, boundaries: &[Value], default: Option<Value>, output: Option<RawDoc<'_>>) -> Doc {
    let literal = |value: &Value| Value::from(Doc::new().with("$literal", value.clone()));
    let compare = |op: &str, bound: &Value| Value::from(Doc::new().with(op, vec![group_by.to_value(), literal(bound)]));
    let branches = boundaries.windows(2).map(|pair| {
        let case = Doc::new().with("$and", vec![compare("$gte", &pair[0]), compare("$lt", &pair[1])]);
        Value::from(Doc::new().with("case", case).with("then", literal(&pair[0])))
    });
    let mut switch = Doc::new().with("branches", branches.collect::<Vec<_>>());
    if let Some(default) = default {
        switch.push("default", literal(&default));
    }
    let mut group = Doc::new().with("_id", Doc::new().with("$switch", switch));
    match output {
        Some(output) => group.0.extend(output.to_doc().0),
        None => group.push("count", Doc::new().with("$sum", 1)),
    }
    group
}

/// A parsed `$bucketAuto`.
#[derive(Debug)]
pub struct BucketAuto {
    group_by: Expression,
    buckets: usize,
    output: Vec<(String, Spec)>,
    ctx: Context,
}

impl BucketAuto {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<BucketAuto> {
        let Raw::Document(spec) = spec else {
            return Err(Error::new(
                40240,
                format!("The argument to $bucketAuto must be an object, but found type: {}.", spec.type_name()),
            ));
        };
        let (mut group_by, mut buckets, mut output) = (None, None, None);
        for (name, value) in spec.iter() {
            match name {
                "groupBy" => group_by = Some(Expression::parse(check_group_by(value, 40239)?, ctx)?),
                "buckets" => buckets = Some(bucket_count(value)?),
                "output" => {
                    let doc = check_output(value, 40244, "$bucketAuto")?;
                    let specs: Result<Vec<_>> =
                        doc.iter().map(|(name, spec)| Ok((name.to_owned(), Spec::parse(name, spec, ctx)?))).collect();
                    output = Some(specs?);
                }
                "granularity" => {
                    let name = value.as_str().unwrap_or("");
                    return Err(Error::new(40257, format!("Unknown rounding granularity '{name}'")));
                }
                _ => return Err(Error::new(40245, format!("Unrecognized option to $bucketAuto: {name}."))),
            }
        }
        let (Some(group_by), Some(buckets)) = (group_by, buckets) else {
            return Err(Error::new(40246, "$bucketAuto requires 'groupBy' and 'buckets' to be specified."));
        };
        let output = match output {
            Some(output) => output,
            None => vec![("count".to_owned(), Spec::parse_operator("$sum", Raw::Int32(1), ctx)?)],
        };
        Ok(BucketAuto { group_by, buckets, output, ctx: ctx.clone() })
    }

    pub(super) fn run(&self, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
        let mut budget = Budget::new("$bucketAuto");
        let mut keyed = Vec::new();
        for doc in input {
            let doc = doc?;
            let key = self.group_by.evaluate(doc.as_doc())?.unwrap_or(Value::Null);
            budget.charge(doc.len() + crate::expression::size_of_value(&key) + size_of::<(Value, DocBuf)>())?;
            keyed.push((key, doc));
        }
        keyed.sort_by(|(a, _), (b, _)| compare_present(&self.ctx, a, b));
        let size = ((keyed.len() as f64 / self.buckets as f64).round() as usize).max(1);
        let mut results = Vec::new();
        let mut rest = keyed.as_slice();
        while !rest.is_empty() {
            let last = results.len() + 1 == self.buckets;
            let mut end = if last { rest.len() } else { size.min(rest.len()) };
            // Equal values stay together.
            while end < rest.len() && compare_present(&self.ctx, &rest[end].0, &rest[end - 1].0).is_eq() {
                end += 1;
            }
            let (bucket, after) = rest.split_at(end);
            let max = after.first().unwrap_or(&bucket[bucket.len() - 1]).0.clone();
            results.push(self.bucket(bucket, max)?);
            rest = after;
        }
        Ok(results)
    }

    fn bucket(&self, docs: &[(Value, DocBuf)], max: Value) -> Result<DocBuf> {
        let id = Value::from(Doc::new().with("min", docs[0].0.clone()).with("max", max));
        let states: Result<Vec<State>> = self.output.iter().map(|(_, spec)| spec.start(&id)).collect();
        let mut states = states?;
        for (_, doc) in docs {
            for ((_, spec), state) in self.output.iter().zip(&mut states) {
                spec.push(state, doc.as_doc(), &self.ctx)?;
            }
        }
        let mut result = Doc::new().with("_id", id);
        for ((name, spec), state) in self.output.iter().zip(&states) {
            result.push(name.as_str(), spec.finish(state));
        }
        Ok(result.to_buf())
    }
}

fn bucket_count(value: Raw<'_>) -> Result<usize> {
    let Some(n) = Number::from_raw(value) else {
        return Err(Error::new(
            40241,
            format!("The $bucketAuto 'buckets' field must be a numeric value, but found type: {}.", value.type_name()),
        ));
    };
    let Some(n) = n.as_whole().and_then(|n| i32::try_from(n).ok()) else {
        return Err(Error::new(
            40242,
            format!("The $bucketAuto 'buckets' field must be representable as a 32-bit integer, but found {n}."),
        ));
    };
    if n <= 0 {
        return Err(Error::new(
            40243,
            format!("The $bucketAuto 'buckets' field must be greater than 0, but found: {n}."),
        ));
    }
    Ok(n as usize)
}

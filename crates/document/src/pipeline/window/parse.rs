//! From BSON to windows and their functions.

use super::bounds::{Bound, Window};
use super::function::Function;
use super::{OutputField, SetWindowFields};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::date::Unit;
use crate::expression::text::doc_text;
use crate::expression::{Expression, FieldPath};
use crate::number::Number;
use crate::pipeline::group::Spec;
use crate::raw::{Raw, RawDoc};
use crate::sort::SortPattern;

impl SetWindowFields {
    pub(in crate::pipeline) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<SetWindowFields> {
        let Raw::Document(spec) = spec else {
            return Err(Error::failed_to_parse(format!(
                "the $setWindowFields stage specification must be an object, found {}",
                spec.type_name()
            )));
        };
        let (mut partition_by, mut sort_by, mut output) = (None, RawDoc::EMPTY, None);
        for (name, value) in spec.iter() {
            let object = || match value {
                Raw::Document(doc) => Ok(doc),
                other => Err(Error::type_mismatch(format!(
                    "BSON field '$setWindowFields.{name}' is the wrong type '{}', expected type 'object'",
                    other.type_name()
                ))),
            };
            match name {
                "partitionBy" => partition_by = Some(Expression::parse(value, ctx)?),
                "sortBy" => sort_by = object()?,
                "output" => output = Some(object()?),
                _ => {
                    return Err(Error::new(
                        40415,
                        format!("BSON field '$setWindowFields.{name}' is an unknown field."),
                    ));
                }
            }
        }
        let output = output
            .ok_or_else(|| Error::new(40414, "BSON field '$setWindowFields.output' is missing but a required field"))?;
        let pattern = SortPattern::parse(sort_by, ctx)?;
        let sort = SortFacts::of(sort_by, &pattern)?;
        let mut fields: Vec<OutputField> = Vec::new();
        for (path, spec) in output.iter() {
            let Raw::Document(spec) = spec else {
                return Err(Error::failed_to_parse(format!(
                    "The field '{path}' must be an object, but found {}",
                    spec.type_name()
                )));
            };
            let (function, window) = parse_field(spec, &sort, ctx)?;
            fields.push(OutputField { path: FieldPath::parse(path)?, function, window });
        }
        Ok(SetWindowFields { partition_by, sort_by: pattern, sort_path: sort.path, output: fields, ctx: ctx.clone() })
    }
}

/// What functions may demand of `sortBy`.
struct SortFacts {
    given: bool,
    path: Option<FieldPath>,
    descending: bool,
}

impl SortFacts {
    fn of(spec: RawDoc<'_>, pattern: &SortPattern) -> Result<SortFacts> {
        let mut names = spec.iter().map(|(name, _)| name);
        let path = match (names.next(), names.next()) {
            (Some(single), None) => Some(FieldPath::parse(single)?),
            _ => None,
        };
        let descending = pattern.fields().first().is_some_and(|field| field.descending);
        Ok(SortFacts { given: !spec.is_empty(), path, descending })
    }

    fn single(&self, op: &str) -> Result<()> {
        if self.path.is_some() {
            return Ok(());
        }
        Err(Error::new(
            5371602,
            format!("{op} must be specified with a top level sortBy expression with exactly one element"),
        ))
    }
}

fn parse_field(spec: RawDoc<'_>, sort: &SortFacts, ctx: &Context) -> Result<(Function, Window)> {
    let (mut function, mut window) = (None, None);
    for (name, value) in spec.iter() {
        if name == "window" {
            window = Some(parse_window(value, sort)?);
        } else if name.starts_with('$') && function.is_none() {
            function = Some((name, value));
        } else {
            return Err(Error::failed_to_parse(format!(
                "Window function found an unknown argument: {name} in {}",
                doc_text(spec)
            )));
        }
    }
    let (name, argument) = function.ok_or_else(|| {
        Error::failed_to_parse(format!("Expected a $-prefixed window function, got {}", doc_text(spec)))
    })?;
    let windowless = || match window {
        Some(_) => Err(Error::new(5371601, format!("{name} does not accept a 'window' field"))),
        None => Ok(()),
    };
    let function = match name {
        "$rank" | "$denseRank" | "$documentNumber" => {
            windowless()?;
            sort.single(name)?;
            if !matches!(argument, Raw::Document(doc) if doc.is_empty()) {
                return Err(Error::new(5371603, format!("(None) must be specified as an empty object: {name}")));
            }
            match name {
                "$rank" => Function::Rank,
                "$denseRank" => Function::DenseRank,
                _ => Function::DocumentNumber,
            }
        }
        "$shift" => {
            windowless()?;
            parse_shift(argument, sort, ctx)?
        }
        "$derivative" | "$integral" => {
            sort.single(name)?;
            if window.is_none() && name == "$derivative" {
                return Err(Error::failed_to_parse("$derivative requires explicit window bounds"));
            }
            parse_calculus(name, argument, ctx)?
        }
        "$expMovingAvg" => {
            windowless()?;
            if !sort.given {
                return Err(Error::failed_to_parse("$expMovingAvg requires an explicit 'sortBy'"));
            }
            parse_moving_average(argument, ctx)?
        }
        "$covariancePop" | "$covarianceSamp" => {
            Function::Covariance { pair: Expression::parse(argument, ctx)?, sample: name == "$covarianceSamp" }
        }
        "$linearFill" => {
            windowless()?;
            sort.single(name).map_err(|e| Error::new(605001, e.message))?;
            Function::LinearFill(Expression::parse(argument, ctx)?)
        }
        "$locf" => {
            windowless()?;
            Function::Locf(Expression::parse(argument, ctx)?)
        }
        _ => Function::Accumulate(Spec::parse_operator(name, argument, ctx).map_err(|e| match e.code {
            15952 => Error::failed_to_parse(format!("Unrecognized window function, {name}")),
            _ => e,
        })?),
    };
    Ok((function, window.unwrap_or(Window::WHOLE)))
}

fn parse_window(value: Raw<'_>, sort: &SortFacts) -> Result<Window> {
    let Raw::Document(spec) = value else {
        return Err(Error::failed_to_parse("'window' field must be an object"));
    };
    let (mut documents, mut range, mut unit) = (None, None, None);
    for (name, value) in spec.iter() {
        match name {
            "documents" => documents = Some(pair(name, value)?),
            "range" => range = Some(pair(name, value)?),
            "unit" => {
                let unknown = || Error::failed_to_parse("window 'unit' is not a time unit");
                unit = Some(value.as_str().and_then(Unit::parse).ok_or_else(unknown)?);
            }
            _ => return Err(Error::failed_to_parse(format!("'window' field found an unknown argument: {name}"))),
        }
    }
    match (documents, range) {
        (Some(_), Some(_)) => {
            Err(Error::failed_to_parse("Window bounds can specify either 'documents' or 'unit', not both."))
        }
        (Some([low, high]), None) => {
            if unit.is_some() {
                return Err(Error::failed_to_parse(
                    "Window bounds can specify either 'documents' or 'unit', not both.",
                ));
            }
            if !sort.given {
                return Err(Error::new(5339901, "Document-based bounds require a sortBy"));
            }
            let (low, high) = (document_bound(low)?, document_bound(high)?);
            if offset(low) > offset(high) && low != Bound::Unbounded && high != Bound::Unbounded {
                return Err(Error::new(5339900, "Lower bound must not exceed upper bound"));
            }
            Ok(Window::Documents(low, high))
        }
        (None, Some([low, high])) => {
            if sort.path.is_none() || sort.descending {
                return Err(Error::new(5339902, "Range-based bounds require sortBy a single field in ascending order"));
            }
            Ok(Window::Range(range_bound(low)?, range_bound(high)?, unit))
        }
        (None, None) if unit.is_some() => Err(Error::failed_to_parse("Window bounds with a 'unit' require 'range'")),
        (None, None) => Ok(Window::WHOLE),
    }
}

fn offset(bound: Bound<i64>) -> i64 {
    match bound {
        Bound::Offset(n) => n,
        _ => 0,
    }
}

fn pair<'a>(name: &str, value: Raw<'a>) -> Result<[Raw<'a>; 2]> {
    let items: Vec<Raw<'a>> = value.as_array().into_iter().flat_map(RawDoc::values).collect();
    items.try_into().map_err(|_| Error::failed_to_parse(format!("Window bounds must be a 2-element array: {name}")))
}

fn document_bound(value: Raw<'_>) -> Result<Bound<i64>> {
    match value {
        Raw::String("unbounded") => Ok(Bound::Unbounded),
        Raw::String("current") => Ok(Bound::Current),
        other => match Number::from_raw(other).and_then(Number::as_whole) {
            Some(n) => Ok(Bound::Offset(n)),
            None => Err(Error::failed_to_parse("Numeric document-based bounds must be an integer")),
        },
    }
}

fn range_bound(value: Raw<'_>) -> Result<Bound<Number>> {
    match value {
        Raw::String("unbounded") => Ok(Bound::Unbounded),
        Raw::String("current") => Ok(Bound::Current),
        other => match Number::from_raw(other) {
            Some(n) => Ok(Bound::Offset(n)),
            None => Err(Error::failed_to_parse("Range-based bounds expression must be a number")),
        },
    }
}

fn object<'a>(op: &str, argument: Raw<'a>, known: &[&str]) -> Result<RawDoc<'a>> {
    let Raw::Document(doc) = argument else {
        return Err(Error::failed_to_parse(format!(
            "Argument to {op} must be an object, found {}",
            argument.type_name()
        )));
    };
    match doc.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(Error::failed_to_parse(format!("Unknown argument in {op}: {name}"))),
        None => Ok(doc),
    }
}

fn required<'a>(op: &str, doc: RawDoc<'a>, name: &str) -> Result<Raw<'a>> {
    doc.get(name).ok_or_else(|| Error::failed_to_parse(format!("{op} requires an '{name}' expression")))
}

fn parse_shift(argument: Raw<'_>, sort: &SortFacts, ctx: &Context) -> Result<Function> {
    let doc = object("$shift", argument, &["output", "by", "default"])?;
    if !sort.given {
        return Err(Error::failed_to_parse("$shift requires a sortBy"));
    }
    let by = Number::from_raw(required("$shift", doc, "by")?).and_then(Number::as_whole);
    let by = by.ok_or_else(|| Error::failed_to_parse("'$shift:by' field must be an integer"))?;
    let default = match doc.get("default") {
        Some(value) => match Expression::parse(value, ctx)?.as_constant() {
            Some(value) => value.cloned(),
            None => return Err(Error::failed_to_parse("'$shift:default' expression must yield a constant value")),
        },
        None => None,
    };
    Ok(Function::Shift { output: Expression::parse(required("$shift", doc, "output")?, ctx)?, by, default })
}

fn parse_calculus(name: &str, argument: Raw<'_>, ctx: &Context) -> Result<Function> {
    let doc = object(name, argument, &["input", "unit"])?;
    let unit = match doc.get("unit") {
        None => None,
        Some(unit) => {
            let unit = unit.as_str().and_then(Unit::parse).filter(|unit| unit.fixed_ms().is_some());
            Some(unit.ok_or_else(|| Error::new(5490704, "unit must be 'week' or smaller"))?)
        }
    };
    let input = Expression::parse(required(name, doc, "input")?, ctx)?;
    Ok(if name == "$derivative" { Function::Derivative { input, unit } } else { Function::Integral { input, unit } })
}

fn parse_moving_average(argument: Raw<'_>, ctx: &Context) -> Result<Function> {
    let doc = object("$expMovingAvg", argument, &["input", "N", "alpha"])?;
    let input = Expression::parse(required("$expMovingAvg", doc, "input")?, ctx)?;
    let alpha = match (doc.get("N"), doc.get("alpha")) {
        (Some(n), None) => {
            let n = Number::from_raw(n).and_then(Number::as_whole).filter(|n| *n > 0);
            let n = n.ok_or_else(|| Error::failed_to_parse("'N' field must be an integer greater than zero"))?;
            2.0 / (n as f64 + 1.0)
        }
        (None, Some(alpha)) => Number::from_raw(alpha)
            .map(Number::to_f64)
            .filter(|alpha| *alpha > 0.0 && *alpha < 1.0)
            .ok_or_else(|| Error::failed_to_parse("'alpha' must be between 0 and 1 (exclusive)"))?,
        _ => return Err(Error::failed_to_parse("$expMovingAvg must have exactly one of 'N' and 'alpha'")),
    };
    Ok(Function::ExpMovingAvg { input, alpha })
}

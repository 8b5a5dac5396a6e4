//! The update operators and their arguments.

use std::cmp::Ordering;

use super::array::{Pull, Push};
use super::print;
use super::tree::{is_dynamic, split_path};
use crate::collation::compare_with;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::number::Number;
use crate::raw::{DocBuf, Raw};
use crate::write::DocWriter;

/// A value of the update document, kept as bytes.
#[derive(Clone, Debug)]
pub(super) struct Operand(DocBuf);

impl Operand {
    pub fn new(value: Raw<'_>) -> Self {
        let mut wrapped = DocWriter::with_capacity(64);
        wrapped.raw("", value);
        Operand(wrapped.finish())
    }

    pub fn raw(&self) -> Raw<'_> {
        self.0.get("").expect("written by new()")
    }

    /// The elements of an array; a single value for anything else.
    pub fn elements(&self) -> Vec<Raw<'_>> {
        match self.raw() {
            Raw::Array(array) => array.values().collect(),
            single => vec![single],
        }
    }
}

/// One operator with its argument.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    Set(Operand),
    SetOnInsert(Operand),
    Unset,
    Inc(Number),
    Mul(Number),
    Min(Operand),
    Max(Operand),
    /// Stands at the target.
    Rename {
        source: String,
    },
    /// Stands where a `$rename` takes its value from, so that nothing else can write there.
    RenameSource,
    CurrentDate,
    CurrentTimestamp,
    Bit(Vec<(BitOperation, i64, IntegerWidth)>),
    Push(Push),
    /// An array operand: the values to add.
    AddToSet(Operand),
    PopFirst,
    PopLast,
    Pull(Pull),
    /// An array operand: the values to remove.
    PullAll(Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitOperation {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntegerWidth {
    Int32,
    Int64,
}

/// Compares under the command's collation.
pub(super) fn compare(ctx: &Context, a: Raw<'_>, b: Raw<'_>) -> Ordering {
    compare_with(a, b, ctx.collation.as_deref())
}

impl Operator {
    /// Parses what stands behind `field` in the modifier. Errors with 9 for an unknown modifier.
    pub fn parse(modifier: &str, field: &str, value: Raw<'_>, ctx: &Context) -> Result<Self> {
        Ok(match modifier {
            "$set" => Operator::Set(Operand::new(value)),
            "$setOnInsert" => Operator::SetOnInsert(Operand::new(value)),
            "$unset" => Operator::Unset,
            "$inc" => Operator::Inc(number(field, value, "increment")?),
            "$mul" => Operator::Mul(number(field, value, "multiply")?),
            "$min" => Operator::Min(Operand::new(value)),
            "$max" => Operator::Max(Operand::new(value)),
            "$rename" => rename(field, value)?,
            "$currentDate" => current_date(value)?,
            "$bit" => bit(value)?,
            "$push" => Operator::Push(Push::parse(value)?),
            "$addToSet" => add_to_set(value)?,
            "$pop" => pop(field, value)?,
            "$pull" => Operator::Pull(Pull::parse(value, ctx)?),
            "$pullAll" => pull_all(value)?,
            _ => return Err(unknown_modifier(modifier)),
        })
    }

    pub fn is_known(modifier: &str) -> bool {
        matches!(
            modifier,
            "$set"
                | "$setOnInsert"
                | "$unset"
                | "$inc"
                | "$mul"
                | "$min"
                | "$max"
                | "$rename"
                | "$currentDate"
                | "$bit"
                | "$push"
                | "$addToSet"
                | "$pop"
                | "$pull"
                | "$pullAll"
        )
    }
}

pub(super) fn unknown_modifier(modifier: &str) -> Error {
    Error::failed_to_parse(format!(
        "Unknown modifier: {modifier}. Expected a valid update modifier or pipeline-style update specified as an array"
    ))
}

fn number(field: &str, value: Raw<'_>, verb: &str) -> Result<Number> {
    Number::from_raw(value).ok_or_else(|| {
        let argument = print::element(field, value);
        Error::type_mismatch(format!("Cannot {verb} with non-numeric argument: {{{argument}}}"))
    })
}

fn rename(field: &str, value: Raw<'_>) -> Result<Operator> {
    let argument = || print::element(field, value);
    let Raw::String(target) = value else {
        return Err(Error::bad_value(format!("The 'to' field for $rename must be a string: {}", argument())));
    };
    let (from, to) = (split_path(field)?, split_path(target)?);
    if from.iter().any(|component| is_dynamic(component)) {
        return Err(Error::bad_value(format!("The source field for $rename may not be dynamic: {field}")));
    }
    if to.iter().any(|component| is_dynamic(component)) {
        return Err(Error::bad_value(format!("The destination field for $rename may not be dynamic: {target}")));
    }
    if from == to {
        let message = format!("The source and target field for $rename must differ: {}", argument());
        return Err(Error::bad_value(message));
    }
    if from.starts_with(&to) || to.starts_with(&from) {
        let message = format!("The source and target field for $rename must not be on the same path: {}", argument());
        return Err(Error::bad_value(message));
    }
    Ok(Operator::Rename { source: field.to_owned() })
}

fn current_date(value: Raw<'_>) -> Result<Operator> {
    let spec = match value {
        Raw::Bool(_) => return Ok(Operator::CurrentDate),
        Raw::Document(spec) => spec,
        other => {
            return Err(Error::bad_value(format!(
                "{} is not valid type for $currentDate. Please use a boolean ('true') or a $type expression \
                 ({{$type: 'timestamp/date'}}).",
                other.type_name()
            )));
        }
    };
    if let Some((name, _)) = spec.iter().find(|(name, _)| *name != "$type") {
        return Err(Error::bad_value(format!("Unrecognized $currentDate option: {name}")));
    }
    match spec.get("$type") {
        Some(Raw::String("date")) => Ok(Operator::CurrentDate),
        Some(Raw::String("timestamp")) => Ok(Operator::CurrentTimestamp),
        _ => Err(Error::bad_value(
            "The '$type' string field is required to be 'date' or 'timestamp': {$currentDate: {field : {$type: 'date'}}}",
        )),
    }
}

fn bit(value: Raw<'_>) -> Result<Operator> {
    let Raw::Document(spec) = value else {
        return Err(Error::bad_value(format!(
            "The $bit modifier is not compatible with a {}. You must pass in an embedded document: \
             {{$bit: {{field: {{and/or/xor: #}}}}",
            value.type_name()
        )));
    };
    let mut operations = Vec::new();
    for (name, operand) in spec.iter() {
        let operation = match name {
            "and" => BitOperation::And,
            "or" => BitOperation::Or,
            "xor" => BitOperation::Xor,
            _ => {
                return Err(Error::bad_value(format!(
                    "The $bit modifier only supports 'and', 'or', and 'xor', not '{name}' which is an unknown \
                     operator: {{{}}}",
                    print::element(name, operand)
                )));
            }
        };
        operations.push(match operand {
            Raw::Int32(n) => (operation, i64::from(n), IntegerWidth::Int32),
            Raw::Int64(n) => (operation, n, IntegerWidth::Int64),
            other => {
                return Err(Error::bad_value(format!(
                    "The $bit modifier field must be an Integer(32/64 bit); a '{}' is not supported here: {{{}}}",
                    other.type_name(),
                    print::element(name, operand)
                )));
            }
        });
    }
    if operations.is_empty() {
        return Err(Error::bad_value(
            "You must pass in at least one bitwise operation. The format is: {$bit: {field: {and/or/xor: #}}",
        ));
    }
    Ok(Operator::Bit(operations))
}

fn add_to_set(value: Raw<'_>) -> Result<Operator> {
    let each = match value {
        Raw::Document(spec) => spec.iter().next().filter(|(name, _)| *name == "$each").map(|(_, each)| (spec, each)),
        _ => None,
    };
    let Some((spec, each)) = each else { return Ok(Operator::AddToSet(single_element(value))) };
    if !matches!(each, Raw::Array(_)) {
        return Err(Error::type_mismatch(format!(
            "The argument to $each in $addToSet must be an array but it was of type {}",
            each.type_name()
        )));
    }
    if spec.iter().nth(1).is_some() {
        let message = format!("Found unexpected fields after $each in $addToSet: {}", print::document(spec));
        return Err(Error::bad_value(message));
    }
    Ok(Operator::AddToSet(Operand::new(each)))
}

/// `[value]`.
pub(super) fn single_element(value: Raw<'_>) -> Operand {
    let mut array = DocWriter::with_capacity(64);
    array.raw("0", value);
    Operand::new(Raw::Array(array.finish().as_doc()))
}

fn pop(field: &str, value: Raw<'_>) -> Result<Operator> {
    if !value.is_number() {
        return Err(Error::failed_to_parse(format!("Expected a number in: {}", print::element(field, value))));
    }
    match Number::from_raw(value).and_then(Number::as_whole) {
        Some(1) => Ok(Operator::PopLast),
        Some(-1) => Ok(Operator::PopFirst),
        Some(other) => Err(Error::failed_to_parse(format!("$pop expects 1 or -1, found: {other}"))),
        None => Err(Error::failed_to_parse(format!("Expected an integer: {}", print::element(field, value)))),
    }
}

fn pull_all(value: Raw<'_>) -> Result<Operator> {
    match value {
        Raw::Array(_) => Ok(Operator::PullAll(Operand::new(value))),
        other => {
            let message = format!("$pullAll requires an array argument but was given a {}", other.type_name());
            Err(Error::bad_value(message))
        }
    }
}

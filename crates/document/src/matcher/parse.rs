//! Filter documents to predicates, with the server's refusals.

use std::sync::Arc;

use super::condition::{truncated, whole};
use super::{BitMask, BitTest, Comparison, Condition, Literal, Members, Pattern, Predicate, Schema, TypeSet};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::path::Path;
use crate::raw::{Raw, RawDoc, kind};

/// Largest bit position a `$bits…` operator takes as a list.
const MAX_BIT_POSITION: i64 = i32::MAX as i64;

/// A whole filter: field conditions and top-level operators, all of which must hold.
pub(super) fn filter(doc: RawDoc<'_>, ctx: &Context) -> Result<Predicate> {
    let mut children = Vec::new();
    for (name, value) in doc.iter() {
        let child = match name.strip_prefix('$') {
            Some(operator) if !is_reference_field(name) => top_level(operator, value, ctx)?,
            _ => Some(field(name, value, ctx)?),
        };
        children.extend(child);
    }
    Ok(all_of(children))
}

/// One predicate stays itself; several become `And`.
fn all_of(mut children: Vec<Predicate>) -> Predicate {
    if children.len() == 1 { children.remove(0) } else { Predicate::And(children) }
}

/// `{$ref, $id, $db}` documents are references, not operators.
fn is_reference_field(name: &str) -> bool {
    matches!(name, "$ref" | "$id" | "$db")
}

/// Whether the first field of a document is an operator, so that the document is a condition and
/// not a value.
pub fn is_operator_document(doc: RawDoc<'_>) -> bool {
    doc.iter().next().is_some_and(|(name, _)| name.starts_with('$') && !is_reference_field(name))
}

fn top_level(operator: &str, value: Raw<'_>, ctx: &Context) -> Result<Option<Predicate>> {
    Ok(Some(match operator {
        "and" => all_of(clauses("$and", value, ctx)?),
        "or" => Predicate::Or(clauses("$or", value, ctx)?),
        "nor" => Predicate::Nor(clauses("$nor", value, ctx)?),
        "comment" => return Ok(None),
        "expr" => Predicate::Expr(Arc::new(Expression::parse(value, ctx)?)),
        "jsonSchema" => match value {
            Raw::Document(schema) => Predicate::JsonSchema(Arc::new(Schema::parse(schema, ctx)?)),
            _ => return Err(Error::type_mismatch("$jsonSchema must be an object")),
        },
        "alwaysTrue" | "alwaysFalse" => {
            if truncated(value) != Some(1) {
                return Err(Error::failed_to_parse(format!("${operator} must be an integer value of 1")));
            }
            Predicate::Always(operator == "alwaysTrue")
        }
        "where" => return Err(refuse_javascript(value)),
        "text" => return Err(Error::new(27, "text index required for $text query")),
        "sampleRate" => return Err(Error::new(238, "$sampleRate is not supported")),
        _ => {
            return Err(Error::bad_value(format!(
                "unknown top level operator: ${operator}. If you have a field name that starts with a '$' symbol, consider using $getField or $setField."
            )));
        }
    }))
}

fn refuse_javascript(value: Raw<'_>) -> Error {
    match value {
        Raw::String(_) | Raw::Code(_) | Raw::CodeWithScope { .. } => {
            Error::bad_value("no globalScriptEngine in $where parsing")
        }
        _ => Error::bad_value("$where got bad type"),
    }
}

fn clauses(operator: &str, value: Raw<'_>, ctx: &Context) -> Result<Vec<Predicate>> {
    let Raw::Array(array) = value else {
        return Err(Error::bad_value(format!("{operator} must be an array")));
    };
    if array.is_empty() {
        return Err(Error::bad_value("$and/$or/$nor must be a nonempty array"));
    }
    array
        .values()
        .map(|clause| match clause {
            Raw::Document(doc) => filter(doc, ctx),
            _ => Err(Error::bad_value("$or/$and/$nor entries need to be full objects")),
        })
        .collect()
}

/// What stands behind a field name: a value to equal, a pattern, or a document of operators.
pub(super) fn field(name: &str, value: Raw<'_>, ctx: &Context) -> Result<Predicate> {
    let field = Field { name, path: Path::new(name), ctx };
    match value {
        Raw::Document(operators) if is_operator_document(operators) => field.operators(operators),
        Raw::Regex { pattern, options } => Ok(field.on(Condition::Regex(Pattern::new(pattern, options)?))),
        _ => field.compare(Comparison::Eq, value),
    }
}

/// One field of a filter, while its operators are read.
struct Field<'a> {
    name: &'a str,
    path: Path,
    ctx: &'a Context,
}

impl Field<'_> {
    fn on(&self, condition: Condition) -> Predicate {
        Predicate::Field { path: self.path.clone(), condition }
    }

    fn not(&self, predicate: Predicate) -> Predicate {
        Predicate::Not(Box::new(predicate))
    }

    fn operators(&self, doc: RawDoc<'_>) -> Result<Predicate> {
        let mut children = Vec::new();
        for (operator, value) in doc.iter() {
            children.extend(self.operator(operator, value, doc)?);
        }
        Ok(all_of(children))
    }

    /// `beside` is the document the operator stands in: `$regex` and `$options` belong together.
    fn operator(&self, operator: &str, value: Raw<'_>, beside: RawDoc<'_>) -> Result<Option<Predicate>> {
        Ok(Some(match operator {
            "$eq" => self.compare(Comparison::Eq, value)?,
            "$ne" => match value {
                Raw::Regex { .. } => return Err(Error::bad_value("Can't have regex as arg to $ne.")),
                _ => self.not(self.compare(Comparison::Eq, value)?),
            },
            "$gt" => self.range(Comparison::Gt, value)?,
            "$gte" => self.range(Comparison::Gte, value)?,
            "$lt" => self.range(Comparison::Lt, value)?,
            "$lte" => self.range(Comparison::Lte, value)?,
            "$in" => self.members("$in", value)?,
            "$nin" => self.not(self.members("$nin", value)?),
            "$not" => self.negation(value)?,
            "$exists" => {
                let exists = self.on(Condition::Exists);
                if is_truthy(value) { exists } else { self.not(exists) }
            }
            "$type" => self.on(Condition::Type(type_set(self.name, value)?)),
            "$mod" => self.on(modulo(value)?),
            "$size" => self.on(Condition::Size(size(value)?)),
            "$regex" => self.on(regex(value, beside.get("$options"))?),
            "$options" if beside.contains("$regex") => return Ok(None),
            "$options" => return Err(Error::bad_value("$options needs a $regex")),
            "$all" => self.all(value)?,
            "$elemMatch" => self.elem_match(value)?,
            "$bitsAllSet" => self.bits(operator, BitTest::AllSet, value)?,
            "$bitsAnySet" => self.bits(operator, BitTest::AnySet, value)?,
            "$bitsAllClear" => self.bits(operator, BitTest::AllClear, value)?,
            "$bitsAnyClear" => self.bits(operator, BitTest::AnyClear, value)?,
            "$near" | "$nearSphere" | "$geoNear" => {
                return Err(Error::new(
                    291,
                    "error processing query: planner returned error :: caused by :: unable to find index for $geoNear query",
                ));
            }
            "$geoWithin" | "$geoIntersects" | "$within" => {
                return Err(Error::new(238, format!("{operator} is not supported")));
            }
            _ => return Err(Error::bad_value(format!("unknown operator: {operator}"))),
        }))
    }

    fn compare(&self, op: Comparison, value: Raw<'_>) -> Result<Predicate> {
        if value == Raw::Undefined {
            return Err(Error::bad_value("cannot compare to undefined"));
        }
        Ok(self.on(Condition::Compare { op, operand: Literal::new(value), collation: self.ctx.collation.clone() }))
    }

    fn range(&self, op: Comparison, value: Raw<'_>) -> Result<Predicate> {
        if let Raw::Regex { .. } = value {
            return Err(Error::bad_value(format!("Can't have RegEx as arg to predicate over field '{}'.", self.name)));
        }
        self.compare(op, value)
    }

    fn members(&self, operator: &str, value: Raw<'_>) -> Result<Predicate> {
        let Raw::Array(array) = value else {
            return Err(Error::bad_value(format!("{operator} needs an array")));
        };
        let (mut values, mut patterns) = (Vec::new(), Vec::new());
        for member in array.values() {
            match member {
                Raw::Regex { pattern, options } => patterns.push(Pattern::new(pattern, options)?),
                Raw::Document(doc) if is_operator_document(doc) => {
                    return Err(Error::bad_value("cannot nest $ under $in"));
                }
                Raw::Undefined => return Err(Error::bad_value("InMatchExpression equality cannot be undefined")),
                _ => values.push(Literal::new(member)),
            }
        }
        Ok(self.on(Condition::In(Members::new(values, patterns, self.ctx.collation.clone()))))
    }

    fn negation(&self, value: Raw<'_>) -> Result<Predicate> {
        match value {
            Raw::Regex { pattern, options } => Ok(self.not(self.on(Condition::Regex(Pattern::new(pattern, options)?)))),
            Raw::Document(doc) if doc.is_empty() => Err(Error::bad_value("$not cannot be empty")),
            Raw::Document(doc) => Ok(self.not(self.operators(doc)?)),
            _ => Err(Error::bad_value("$not needs a regex or a document")),
        }
    }

    fn all(&self, value: Raw<'_>) -> Result<Predicate> {
        let Raw::Array(array) = value else {
            return Err(Error::bad_value("$all needs an array"));
        };
        let is_elem_match =
            |v: Raw<'_>| v.as_document().is_some_and(|d| d.iter().next().is_some_and(|(n, _)| n == "$elemMatch"));
        let elem_matches = array.values().next().is_some_and(is_elem_match);
        let mut children = Vec::new();
        for member in array.values() {
            children.push(match member {
                Raw::Document(doc) if elem_matches => {
                    if !is_elem_match(member) || doc.iter().count() != 1 {
                        return Err(Error::bad_value("$all/$elemMatch has to be consistent"));
                    }
                    self.operators(doc)?
                }
                _ if elem_matches => return Err(Error::bad_value("$all/$elemMatch has to be consistent")),
                Raw::Document(doc) if is_operator_document(doc) => {
                    return Err(Error::bad_value("no $ expressions in $all"));
                }
                Raw::Regex { pattern, options } => self.on(Condition::Regex(Pattern::new(pattern, options)?)),
                _ => self.compare(Comparison::Eq, member)?,
            });
        }
        Ok(if children.is_empty() { Predicate::Always(false) } else { all_of(children) })
    }

    /// Operators other than the logical ones make it a condition on the elements themselves.
    fn elem_match(&self, value: Raw<'_>) -> Result<Predicate> {
        let Raw::Document(doc) = value else {
            return Err(Error::bad_value("$elemMatch needs an Object"));
        };
        let first = doc.iter().next().map_or("", |(name, _)| name);
        let logical = matches!(first, "$and" | "$or" | "$nor" | "$where" | "$expr" | "$jsonSchema" | "$comment");
        if is_operator_document(doc) && !logical {
            let element = Field { name: "", path: Path::new(""), ctx: self.ctx };
            return Ok(self.on(Condition::ElemMatchValue(Box::new(element.operators(doc)?))));
        }
        let predicate = filter(doc, self.ctx)?;
        let mut has_expr = false;
        predicate.visit(&mut |p| has_expr |= matches!(p, Predicate::Expr(_)));
        if has_expr {
            return Err(Error::bad_value("$expr can only be applied to the top-level document"));
        }
        Ok(self.on(Condition::ElemMatchObject(Box::new(predicate))))
    }

    fn bits(&self, operator: &str, test: BitTest, value: Raw<'_>) -> Result<Predicate> {
        let mask = match value {
            Raw::Binary { bytes, .. } => BitMask::Bytes(bytes.to_vec()),
            Raw::Array(array) => BitMask::Positions(bit_positions(array)?),
            _ if value.is_number() => {
                let n = whole(value).ok_or_else(|| {
                    Error::failed_to_parse(format!("Expected an integer: {}", self.shown(operator, value)))
                })?;
                if n < 0 {
                    return Err(Error::failed_to_parse(format!(
                        "Expected a non-negative number in: {}",
                        self.shown(operator, value)
                    )));
                }
                BitMask::Bytes(n.to_le_bytes().to_vec())
            }
            _ => {
                return Err(Error::bad_value(format!(
                    "{} takes an Array, a number, or a BinData but received: {}",
                    self.name,
                    self.shown(operator, value)
                )));
            }
        };
        Ok(self.on(Condition::Bits { test, mask }))
    }

    fn shown(&self, operator: &str, value: Raw<'_>) -> String {
        format!("{operator}: {}", crate::json::to_plain_string(value))
    }
}

fn bit_positions(array: RawDoc<'_>) -> Result<Vec<u32>> {
    let mut positions = Vec::new();
    for (i, value) in array.values().enumerate() {
        let shown = crate::json::to_plain_string(value);
        let position = match value.is_number().then(|| whole(value)) {
            None => return Err(Error::bad_value(format!("bit positions must be an integer but got: {i}: {shown}"))),
            Some(None) => return Err(Error::failed_to_parse(format!("Expected an integer: {i}: {shown}"))),
            Some(Some(n)) => n,
        };
        if position < 0 {
            return Err(Error::failed_to_parse(format!("Expected a non-negative number in: {i}: {shown}")));
        }
        if position > MAX_BIT_POSITION {
            return Err(Error::bad_value(format!(
                "bit positions cannot be represented as a 32-bit signed integer: {i}: {shown}"
            )));
        }
        positions.push(position as u32);
    }
    Ok(positions)
}

fn is_truthy(value: Raw<'_>) -> bool {
    match value {
        Raw::Bool(b) => b,
        Raw::Null | Raw::Undefined => false,
        _ if value.is_number() => crate::number::compare(value, Raw::Int32(0)).is_ne(),
        _ => true,
    }
}

fn regex(value: Raw<'_>, options: Option<Raw<'_>>) -> Result<Condition> {
    let given = match options {
        None => None,
        Some(Raw::String(options)) => Some(options),
        Some(_) => return Err(Error::bad_value("$options has to be a string")),
    };
    let pattern = match value {
        Raw::String(pattern) if pattern.contains('\0') || given.is_some_and(|o| o.contains('\0')) => {
            return Err(Error::bad_value("Regular expression cannot contain an embedded null byte"));
        }
        Raw::String(pattern) => Pattern::new(pattern, given.unwrap_or(""))?,
        Raw::Regex { options: own, .. } if given.is_some() && !own.is_empty() => {
            return Err(Error::new(51075, "options set in both $regex and $options"));
        }
        Raw::Regex { pattern, options: own } => Pattern::new(pattern, given.unwrap_or(own))?,
        _ => return Err(Error::bad_value("$regex has to be a string")),
    };
    Ok(Condition::Regex(pattern))
}

fn modulo(value: Raw<'_>) -> Result<Condition> {
    let Raw::Array(array) = value else {
        return Err(Error::bad_value("malformed mod, needs to be an array"));
    };
    let mut numbers = array.values();
    let (divisor, remainder, more) = (numbers.next(), numbers.next(), numbers.next());
    let (Some(divisor), Some(remainder)) = (divisor, remainder) else {
        return Err(Error::bad_value("malformed mod, not enough elements"));
    };
    if more.is_some() {
        return Err(Error::bad_value("malformed mod, too many elements"));
    }
    if !divisor.is_number() {
        return Err(Error::bad_value("malformed mod, divisor not a number"));
    }
    if !remainder.is_number() {
        return Err(Error::bad_value("malformed mod, remainder not a number"));
    }
    let out_of_range = |what: &str| {
        Error::bad_value(format!(
            "malformed mod, {what} value is invalid :: caused by :: Unable to coerce NaN/Inf to integral type"
        ))
    };
    let divisor = truncated(divisor).ok_or_else(|| out_of_range("divisor"))?;
    let remainder = truncated(remainder).ok_or_else(|| out_of_range("remainder"))?;
    if divisor == 0 {
        return Err(Error::bad_value("divisor cannot be 0"));
    }
    Ok(Condition::Mod { divisor, remainder })
}

fn size(value: Raw<'_>) -> Result<i64> {
    if !value.is_number() {
        return Err(Error::bad_value("$size needs a number"));
    }
    match whole(value) {
        None => Err(Error::bad_value("$size must be a whole number")),
        Some(n) if n < 0 => Err(Error::bad_value("$size may not be negative")),
        Some(n) => Ok(n),
    }
}

/// One type or an array of types, by alias or number. `of` names the field for messages.
pub(super) fn type_set(of: &str, value: Raw<'_>) -> Result<TypeSet> {
    let Raw::Array(array) = value else { return one_type(value) };
    let mut types = TypeSet::default();
    for value in array.values() {
        types = types.union(one_type(value)?);
    }
    if types.is_empty() {
        return Err(Error::failed_to_parse(format!("{of} must match at least one type")));
    }
    Ok(types)
}

fn one_type(value: Raw<'_>) -> Result<TypeSet> {
    if let Raw::String(alias) = value {
        return type_by_alias(alias).ok_or_else(|| Error::bad_value(format!("Unknown type name alias: {alias}")));
    }
    if !value.is_number() {
        return Err(Error::type_mismatch("type must be represented as a number or a string"));
    }
    let shown = crate::json::to_plain_string(value);
    match whole(value) {
        Some(0) => Err(Error::bad_value("Invalid numerical type code: 0. Instead use {$exists:false}.")),
        Some(-1) => Ok(TypeSet::of(kind::MIN_KEY)),
        Some(127) => Ok(TypeSet::of(kind::MAX_KEY)),
        Some(code @ 1..=19) => Ok(TypeSet::of(code as u8)),
        _ => Err(Error::bad_value(format!("Invalid numerical type code: {shown}"))),
    }
}

/// The types an alias of `$type` and `bsonType` stands for.
pub fn type_by_alias(alias: &str) -> Option<TypeSet> {
    if alias == "number" {
        return Some(TypeSet::NUMBER);
    }
    let known = (1..=19u8).chain([kind::MIN_KEY, kind::MAX_KEY]);
    known.into_iter().find(|kind| crate::raw::kind_name(*kind) == alias).map(TypeSet::of)
}

//! `$jsonSchema`: the draft-4 subset that MongoDB validates documents with.
//!
//! A schema is a list of checks. A check that speaks of one kind of value (`minimum` of numbers,
//! `required` of objects) holds for every other kind, as JSON Schema has it.

use super::condition::{Literal, TypeSet, truncated, whole};
use super::parse::{type_by_alias, type_set};
use super::pattern::Pattern;
use crate::compare::{Ordered, compare_raw};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::number;
use crate::raw::{Raw, RawDoc, kind};

/// A parsed schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    checks: Vec<Check>,
}

#[derive(Clone, Debug)]
enum Check {
    Type(TypeSet),
    Enum(Vec<Literal>),
    Minimum { limit: Literal, exclusive: bool },
    Maximum { limit: Literal, exclusive: bool },
    MultipleOf(Literal),
    Length { min: usize, max: usize },
    Pattern(Pattern),
    ItemCount { min: usize, max: usize },
    UniqueItems,
    EachItem(Schema),
    Items { leading: Vec<Schema>, rest: Option<Schema> },
    FieldCount { min: usize, max: usize },
    Required(Vec<String>),
    Fields(Fields),
    Dependencies(Vec<(String, Dependency)>),
    AllOf(Vec<Schema>),
    AnyOf(Vec<Schema>),
    OneOf(Vec<Schema>),
    Not(Box<Schema>),
}

/// `properties`, `patternProperties` and `additionalProperties`, which share out the fields.
#[derive(Clone, Debug, Default)]
struct Fields {
    named: Vec<(String, Schema)>,
    patterned: Vec<(Pattern, Schema)>,
    /// For fields neither named nor patterned; `None` accepts all of them.
    others: Option<Schema>,
}

#[derive(Clone, Debug)]
enum Dependency {
    Fields(Vec<String>),
    Schema(Schema),
}

impl Schema {
    /// A schema that accepts nothing.
    fn never() -> Self {
        Schema { checks: vec![Check::AnyOf(Vec::new())] }
    }

    /// Parses a schema document. Errors with 9 FailedToParse or 14 TypeMismatch.
    pub fn parse(doc: RawDoc<'_>, ctx: &Context) -> Result<Schema> {
        let mut reader = Reader { doc, ctx, checks: Vec::new() };
        for (keyword, value) in doc.iter() {
            reader.keyword(keyword, value)?;
        }
        reader.combined()?;
        Ok(Schema { checks: reader.checks })
    }

    /// Whether a value satisfies the schema.
    pub fn accepts(&self, value: Raw<'_>) -> Result<bool> {
        for check in &self.checks {
            if !check.accepts(value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn count(schemas: &[Schema], value: Raw<'_>) -> Result<usize> {
    let mut accepting = 0;
    for schema in schemas {
        accepting += usize::from(schema.accepts(value)?);
    }
    Ok(accepting)
}

impl Check {
    fn accepts(&self, value: Raw<'_>) -> Result<bool> {
        Ok(match (self, value) {
            (Check::Type(types), _) => types.contains(value),
            (Check::Enum(values), _) => values.iter().any(|v| compare_raw(v.raw(), value).is_eq()),
            (Check::AllOf(schemas), _) => count(schemas, value)? == schemas.len(),
            (Check::AnyOf(schemas), _) => count(schemas, value)? > 0,
            (Check::OneOf(schemas), _) => count(schemas, value)? == 1,
            (Check::Not(schema), _) => !schema.accepts(value)?,
            (Check::Minimum { limit, exclusive }, _) if value.is_number() => {
                let order = number::compare(value, limit.raw());
                order.is_gt() || (!exclusive && order.is_eq())
            }
            (Check::Maximum { limit, exclusive }, _) if value.is_number() => {
                let order = number::compare(value, limit.raw());
                order.is_lt() || (!exclusive && order.is_eq())
            }
            (Check::MultipleOf(divisor), _) if value.is_number() => is_multiple(value, divisor.raw()),
            (Check::Length { min, max }, Raw::String(s)) => (*min..=*max).contains(&s.chars().count()),
            (Check::Pattern(pattern), Raw::String(s)) => pattern.is_match(s)?,
            (Check::ItemCount { min, max }, Raw::Array(array)) => (*min..=*max).contains(&array.iter().count()),
            (Check::UniqueItems, Raw::Array(array)) => all_distinct(array),
            (Check::EachItem(schema), Raw::Array(array)) => all(array.values(), |item| schema.accepts(item))?,
            (Check::Items { leading, rest }, Raw::Array(array)) => {
                all(array.values().enumerate(), |(i, item)| match (leading.get(i), rest) {
                    (Some(schema), _) | (None, Some(schema)) => schema.accepts(item),
                    (None, None) => Ok(true),
                })?
            }
            (Check::FieldCount { min, max }, Raw::Document(doc)) => (*min..=*max).contains(&doc.iter().count()),
            (Check::Required(names), Raw::Document(doc)) => names.iter().all(|name| doc.contains(name)),
            (Check::Fields(fields), Raw::Document(doc)) => {
                all(doc.iter(), |(name, value)| fields.accepts(name, value))?
            }
            (Check::Dependencies(dependencies), Raw::Document(doc)) => {
                all(dependencies.iter(), |(name, dependency)| match dependency {
                    _ if !doc.contains(name) => Ok(true),
                    Dependency::Fields(names) => Ok(names.iter().all(|name| doc.contains(name))),
                    Dependency::Schema(schema) => schema.accepts(value),
                })?
            }
            _ => true,
        })
    }
}

impl Fields {
    fn accepts(&self, name: &str, value: Raw<'_>) -> Result<bool> {
        let mut mentioned = false;
        for (field, schema) in &self.named {
            if field == name {
                mentioned = true;
                if !schema.accepts(value)? {
                    return Ok(false);
                }
            }
        }
        for (pattern, schema) in &self.patterned {
            if pattern.is_match(name)? {
                mentioned = true;
                if !schema.accepts(value)? {
                    return Ok(false);
                }
            }
        }
        match &self.others {
            Some(schema) if !mentioned => schema.accepts(value),
            _ => Ok(true),
        }
    }
}

fn all<T>(items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool>) -> Result<bool> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn all_distinct(array: RawDoc<'_>) -> bool {
    let mut items: Vec<_> = array.values().map(Ordered).collect();
    items.sort();
    items.windows(2).all(|pair| pair[0] != pair[1])
}

fn is_multiple(value: Raw<'_>, divisor: Raw<'_>) -> bool {
    if let (Some(n), Some(d)) = (whole(value), whole(divisor)) {
        return d != 0 && n.wrapping_rem(d) == 0;
    }
    let exact = |v: Raw<'_>| match v {
        Raw::Double(n) => Some(number::Decimal::from_f64(n)),
        Raw::Decimal128(bytes) => Some(number::Decimal::from_bytes(bytes)),
        _ => truncated(v).map(number::Decimal::from_i64),
    };
    match exact(value).zip(exact(divisor)) {
        Some((n, d)) => n.modulo(d).is_zero(),
        None => false,
    }
}

/// Keywords known to JSON Schema that the server refuses.
const REFUSED: [&str; 8] = ["$ref", "$schema", "default", "definitions", "format", "id", "encrypt", "encryptMetadata"];

struct Reader<'a> {
    doc: RawDoc<'a>,
    ctx: &'a Context,
    checks: Vec<Check>,
}

impl Reader<'_> {
    fn keyword(&mut self, keyword: &str, value: Raw<'_>) -> Result<()> {
        let check = match keyword {
            "bsonType" => Check::Type(self.bson_types(value)?),
            "type" => Check::Type(json_types(value)?),
            "enum" => {
                let values: Vec<_> = self.array(keyword, value)?.values().map(Literal::new).collect();
                if values.is_empty() {
                    return Err(Error::failed_to_parse("$jsonSchema keyword 'enum' cannot be an empty array"));
                }
                Check::Enum(values)
            }
            "minimum" => Check::Minimum {
                limit: self.number(keyword, value)?,
                exclusive: self.flag("exclusiveMinimum", "minimum")?,
            },
            "maximum" => Check::Maximum {
                limit: self.number(keyword, value)?,
                exclusive: self.flag("exclusiveMaximum", "maximum")?,
            },
            "exclusiveMinimum" => return self.needs(keyword, "minimum"),
            "exclusiveMaximum" => return self.needs(keyword, "maximum"),
            "multipleOf" => {
                let divisor = self.number(keyword, value)?;
                if number::compare(divisor.raw(), Raw::Int32(0)).is_le() {
                    return Err(Error::failed_to_parse("$jsonSchema keyword 'multipleOf' must have a positive value"));
                }
                Check::MultipleOf(divisor)
            }
            "minLength" => Check::Length { min: self.length(keyword, value)?, max: usize::MAX },
            "maxLength" => Check::Length { min: 0, max: self.length(keyword, value)? },
            "pattern" => match value {
                Raw::String(pattern) => Check::Pattern(Pattern::new(pattern, "")?),
                _ => return Err(mismatch(keyword, "a string")),
            },
            "minItems" => Check::ItemCount { min: self.length(keyword, value)?, max: usize::MAX },
            "maxItems" => Check::ItemCount { min: 0, max: self.length(keyword, value)? },
            "uniqueItems" => match value {
                Raw::Bool(true) => Check::UniqueItems,
                Raw::Bool(false) => return Ok(()),
                _ => return Err(mismatch(keyword, "a boolean")),
            },
            "minProperties" => Check::FieldCount { min: self.length(keyword, value)?, max: usize::MAX },
            "maxProperties" => Check::FieldCount { min: 0, max: self.length(keyword, value)? },
            "required" => Check::Required(self.names(keyword, value)?),
            "dependencies" => Check::Dependencies(self.dependencies(value)?),
            "allOf" => Check::AllOf(self.schemas(keyword, value)?),
            "anyOf" => Check::AnyOf(self.schemas(keyword, value)?),
            "oneOf" => Check::OneOf(self.schemas(keyword, value)?),
            "not" => Check::Not(Box::new(self.schema(keyword, value)?)),
            "title" | "description" => match value {
                Raw::String(_) => return Ok(()),
                _ => return Err(mismatch(keyword, "of type string")),
            },
            // Read together by `combined`.
            "properties" | "patternProperties" | "additionalProperties" | "items" | "additionalItems" => return Ok(()),
            _ if REFUSED.contains(&keyword) => {
                return Err(Error::failed_to_parse(format!(
                    "$jsonSchema keyword '{keyword}' is not currently supported"
                )));
            }
            _ => return Err(Error::failed_to_parse(format!("Unknown $jsonSchema keyword: {keyword}"))),
        };
        self.checks.push(check);
        Ok(())
    }

    /// The keywords whose meaning depends on each other.
    fn combined(&mut self) -> Result<()> {
        if self.doc.contains("type") && self.doc.contains("bsonType") {
            return Err(Error::failed_to_parse("Cannot specify both $jsonSchema keywords 'type' and 'bsonType'"));
        }
        let mut fields = Fields { others: self.additional("additionalProperties")?, ..Fields::default() };
        if let Some(value) = self.doc.get("properties") {
            for (name, schema) in self.object("properties", value)?.iter() {
                fields.named.push((name.to_owned(), self.schema(name, schema)?));
            }
        }
        if let Some(value) = self.doc.get("patternProperties") {
            for (pattern, schema) in self.object("patternProperties", value)?.iter() {
                fields.patterned.push((Pattern::new(pattern, "")?, self.schema(pattern, schema)?));
            }
        }
        if fields.others.is_some() || !fields.named.is_empty() || !fields.patterned.is_empty() {
            self.checks.push(Check::Fields(fields));
        }
        let rest = self.additional("additionalItems")?;
        match self.doc.get("items") {
            Some(value @ Raw::Document(_)) => {
                let schema = self.schema("items", value)?;
                self.checks.push(Check::EachItem(schema));
            }
            Some(Raw::Array(array)) => {
                let leading = array.values().map(|v| self.schema("items", v)).collect::<Result<_>>()?;
                self.checks.push(Check::Items { leading, rest });
            }
            Some(_) => return Err(mismatch("items", "an array or an object")),
            None => {}
        }
        Ok(())
    }

    /// `additionalX`: a schema, or a boolean that stands for "anything" or "nothing".
    fn additional(&self, keyword: &str) -> Result<Option<Schema>> {
        match self.doc.get(keyword) {
            None | Some(Raw::Bool(true)) => Ok(None),
            Some(Raw::Bool(false)) => Ok(Some(Schema::never())),
            Some(Raw::Document(schema)) => Schema::parse(schema, self.ctx).map(Some),
            Some(_) => Err(mismatch(keyword, "an object or a boolean")),
        }
    }

    fn bson_types(&self, value: Raw<'_>) -> Result<TypeSet> {
        match value {
            Raw::String(_) => type_set("bsonType", value),
            Raw::Array(array) if array.values().all(|v| v.as_str().is_some()) => {
                if has_duplicates(array) {
                    return Err(Error::failed_to_parse("$jsonSchema keyword 'bsonType' has duplicate value"));
                }
                type_set("bsonType", value)
            }
            Raw::Array(_) => Err(mismatch("bsonType", "an array of strings")),
            _ => Err(mismatch("bsonType", "either a string or an array of strings")),
        }
    }

    fn number(&self, keyword: &str, value: Raw<'_>) -> Result<Literal> {
        if value.is_number() { Ok(Literal::new(value)) } else { Err(mismatch(keyword, "a number")) }
    }

    fn length(&self, keyword: &str, value: Raw<'_>) -> Result<usize> {
        if !value.is_number() {
            return Err(mismatch(keyword, "a number"));
        }
        let whole = whole(value).and_then(|n| usize::try_from(n).ok());
        whole.ok_or_else(|| {
            Error::failed_to_parse(format!("$jsonSchema keyword '{keyword}' must be a non-negative integer"))
        })
    }

    /// A boolean that modifies another keyword.
    fn flag(&self, keyword: &str, of: &str) -> Result<bool> {
        match self.doc.get(keyword) {
            None => Ok(false),
            Some(Raw::Bool(b)) => Ok(b),
            Some(_) => Err(mismatch(keyword, "a boolean"))
                .map_err(|e: Error| Error::new(e.code, format!("{} beside '{of}'", e.message))),
        }
    }

    fn needs(&self, keyword: &str, other: &str) -> Result<()> {
        if self.doc.contains(other) {
            return Ok(());
        }
        Err(Error::failed_to_parse(format!("$jsonSchema keyword '{other}' must be a present if {keyword} is present")))
    }

    fn array<'v>(&self, keyword: &str, value: Raw<'v>) -> Result<RawDoc<'v>> {
        value.as_array().ok_or_else(|| mismatch(keyword, "an array"))
    }

    fn object<'v>(&self, keyword: &str, value: Raw<'v>) -> Result<RawDoc<'v>> {
        value.as_document().ok_or_else(|| mismatch(keyword, "an object"))
    }

    fn schema(&self, keyword: &str, value: Raw<'_>) -> Result<Schema> {
        Schema::parse(self.object(keyword, value)?, self.ctx)
    }

    fn schemas(&self, keyword: &str, value: Raw<'_>) -> Result<Vec<Schema>> {
        let array = self.array(keyword, value)?;
        if array.is_empty() {
            return Err(Error::bad_value(format!("$jsonSchema keyword '{keyword}' must be a non-empty array")));
        }
        array.values().map(|v| self.schema(keyword, v)).collect()
    }

    fn names(&self, keyword: &str, value: Raw<'_>) -> Result<Vec<String>> {
        let array = self.array(keyword, value)?;
        if array.is_empty() {
            return Err(Error::failed_to_parse(format!("$jsonSchema keyword '{keyword}' cannot be an empty array")));
        }
        if has_duplicates(array) {
            return Err(Error::failed_to_parse(format!(
                "$jsonSchema keyword '{keyword}' array cannot contain duplicate values"
            )));
        }
        let name = |v: Raw<'_>| v.as_str().map(str::to_owned).ok_or_else(|| mismatch(keyword, "an array of strings"));
        array.values().map(name).collect()
    }

    fn dependencies(&self, value: Raw<'_>) -> Result<Vec<(String, Dependency)>> {
        let object = self.object("dependencies", value)?;
        object
            .iter()
            .map(|(name, value)| {
                let dependency = match value {
                    Raw::Array(_) => Dependency::Fields(self.names("dependencies", value)?),
                    _ => Dependency::Schema(self.schema("dependencies", value)?),
                };
                Ok((name.to_owned(), dependency))
            })
            .collect()
    }
}

fn has_duplicates(array: RawDoc<'_>) -> bool {
    !all_distinct(array)
}

fn mismatch(keyword: &str, expected: &str) -> Error {
    Error::type_mismatch(format!("$jsonSchema keyword '{keyword}' must be {expected}"))
}

/// JSON Schema's own type names.
fn json_types(value: Raw<'_>) -> Result<TypeSet> {
    let one = |v: Raw<'_>| -> Result<TypeSet> {
        let name = v.as_str().ok_or_else(|| mismatch("type", "either a string or an array of strings"))?;
        match name {
            "object" | "array" | "string" | "null" | "number" => Ok(type_by_alias(name).unwrap_or_default()),
            "boolean" => Ok(TypeSet::of(kind::BOOL)),
            "integer" => Err(Error::failed_to_parse("$jsonSchema type 'integer' is not currently supported.")),
            _ => Err(Error::bad_value(format!("Unknown type name alias: {name}"))),
        }
    };
    let Raw::Array(array) = value else { return one(value) };
    let mut types = TypeSet::default();
    for v in array.values() {
        types = types.union(one(v)?);
    }
    if types.is_empty() {
        return Err(Error::failed_to_parse("$jsonSchema keyword 'type' must match at least one type"));
    }
    Ok(types)
}

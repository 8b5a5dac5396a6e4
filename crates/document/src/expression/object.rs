//! Object operators, and sizes of BSON values.

use rustc_hash::FxHashMap;

use super::operator::{Args, Named, Operator, Shape};
use super::text::value_text;
use super::{Node, Scope, nullish, type_of};
use crate::error::{Error, Result};
use crate::value::{Doc, Value};

const NULL: Result<Option<Value>> = Ok(Some(Value::Null));

const GET: Named = Named { fields: &[("field", 3041702), ("input", 3041703)], not_object: 3041700, unknown: 3041701 };
const SET: Named = Named {
    fields: &[("field", 4161102), ("input", 4161109), ("value", 4161103)],
    not_object: 4161100,
    unknown: 4161101,
};
const UNSET: Named = Named { fields: &[("field", 4161102), ("input", 4161109)], not_object: 4161100, unknown: 4161101 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$mergeObjects", shape: Shape::Any, run: |args, _| merge(args) },
    Operator { name: "$getField", shape: Shape::NamedOr(&GET), run: get_field },
    Operator { name: "$setField", shape: Shape::Named(&SET), run: |args, _| set_field(args) },
    Operator { name: "$unsetField", shape: Shape::Named(&UNSET), run: |args, _| set_field(args) },
    Operator { name: "$objectToArray", shape: Shape::Exactly(1), run: |args, _| to_array(args) },
    Operator { name: "$arrayToObject", shape: Shape::Exactly(1), run: |args, _| from_array(args) },
    Operator { name: "$bsonSize", shape: Shape::Exactly(1), run: |args, _| bson_size(args) },
    Operator { name: "$binarySize", shape: Shape::Exactly(1), run: |args, _| binary_size(args) },
];

/// Rules about how arguments are written, which no evaluation sees.
pub(super) fn check_constants(op: &str, args: Vec<Option<Node>>) -> Result<Vec<Option<Node>>> {
    match op {
        "$zip" => super::array::check_zip(&args)?,
        "$setField" | "$unsetField" => match &args[0] {
            Some(Node::Literal(Some(Value::String(_)))) => {}
            Some(Node::Literal(other)) => {
                return Err(Error::new(
                    4161107,
                    format!("{op} requires 'field' to evaluate to type String, but got {}", type_of(other)),
                ));
            }
            _ => return Err(Error::new(4161106, format!("{op} requires 'field' to evaluate to a constant"))),
        },
        _ => {}
    }
    Ok(args)
}

/// A document under construction whose fields are found by name in constant time.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    doc: Doc,
    places: FxHashMap<String, usize>,
}

impl Merger {
    pub fn set(&mut self, name: String, value: Value) {
        match self.places.get(&name) {
            Some(at) => self.doc.0[*at].1 = value,
            None => {
                self.places.insert(name.clone(), self.doc.len());
                self.doc.0.push((name, value));
            }
        }
    }

    /// Sets every field of an object; nullish values are skipped.
    pub fn merge(&mut self, value: Option<Value>) -> Result<()> {
        match value {
            Some(Value::Document(doc)) => {
                for (name, value) in doc.0 {
                    self.set(name, value);
                }
                Ok(())
            }
            value if nullish(&value) => Ok(()),
            value => Err(Error::new(
                40400,
                format!(
                    "$mergeObjects requires object inputs, but input {} is of type {}",
                    value_text(value.as_ref()),
                    type_of(&value)
                ),
            )),
        }
    }

    pub fn finish(self) -> Doc {
        self.doc
    }

    pub fn doc(&self) -> &Doc {
        &self.doc
    }
}

fn merge(args: Args) -> Result<Option<Value>> {
    let mut merger = Merger::default();
    for value in super::accumulate::operands(args) {
        merger.merge(value)?;
    }
    Ok(Some(Value::Document(merger.finish())))
}

fn get_field(mut args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(Value::String(field)) = args.take(0) else {
        return Err(Error::new(
            3041704,
            format!("$getField requires 'field' to evaluate to type String, but got {}", args.type_of(0)),
        ));
    };
    if !args.given(1) {
        return Ok(scope.current.get(&field).map(|value| value.to_value()));
    }
    match args.take(1) {
        Some(Value::Document(mut doc)) => Ok(doc.remove(&field)),
        Some(Value::Null | Value::Undefined) => NULL,
        _ => Ok(None),
    }
}

/// `$setField` and `$unsetField`: without a value, or with a missing one, the field goes.
fn set_field(mut args: Args) -> Result<Option<Value>> {
    let Some(Value::String(field)) = args.take(0) else {
        return Err(Error::new(4161107, format!("{} requires 'field' to evaluate to type String", args.op)));
    };
    match args.take(1) {
        Some(Value::Document(mut doc)) => {
            match args.take(2) {
                Some(value) => doc.set(field, value),
                None => {
                    doc.remove(&field);
                }
            }
            Ok(Some(Value::Document(doc)))
        }
        value if nullish(&value) => NULL,
        value => Err(Error::new(
            4161105,
            format!("{} requires 'input' to evaluate to type Object, but got {}", args.op, type_of(&value)),
        )),
    }
}

fn to_array(mut args: Args) -> Result<Option<Value>> {
    match args.take(0) {
        Some(Value::Document(doc)) => {
            let pairs = doc.0.into_iter().map(|(k, v)| Value::Document(Doc::new().with("k", k).with("v", v)));
            Ok(Some(Value::Array(pairs.collect())))
        }
        value if nullish(&value) => NULL,
        value => {
            Err(Error::new(40390, format!("$objectToArray requires a document input, found: {}", type_of(&value))))
        }
    }
}

fn from_array(mut args: Args) -> Result<Option<Value>> {
    let items = match args.take(0) {
        Some(Value::Array(items)) => items,
        value if nullish(&value) => return NULL,
        value => {
            return Err(Error::new(
                40386,
                format!("$arrayToObject requires an array input, found: {}", type_of(&value)),
            ));
        }
    };
    let pairs_expected = match items.first() {
        None => false,
        Some(Value::Array(_)) => true,
        Some(Value::Document(_)) => false,
        Some(other) => {
            return Err(Error::new(
                40398,
                format!("Unrecognised input type format for $arrayToObject: {}", other.type_name()),
            ));
        }
    };
    let mut merger = Merger::default();
    for item in items {
        let (key, value) = if pairs_expected { split_pair(item)? } else { split_kv(item)? };
        if key.contains('\0') {
            return Err(Error::new(4940400, "Key field cannot contain an embedded null byte"));
        }
        merger.set(key, value);
    }
    Ok(Some(Value::Document(merger.finish())))
}

fn split_pair(item: Value) -> Result<(String, Value)> {
    let Value::Array(pair) = item else {
        return Err(Error::new(
            40396,
            format!(
                "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Array was detected, now found: {}",
                item.type_name()
            ),
        ));
    };
    let len = pair.len();
    let Ok([key, value]) = <[Value; 2]>::try_from(pair) else {
        return Err(Error::new(
            40397,
            format!("$arrayToObject requires an array of size 2 arrays,found array of size: {len}"),
        ));
    };
    match key {
        Value::String(key) => Ok((key, value)),
        other => Err(Error::new(
            40395,
            format!(
                "$arrayToObject requires an array of key-value pairs, where the key must be of type string. Found key type: {}",
                other.type_name()
            ),
        )),
    }
}

fn split_kv(item: Value) -> Result<(String, Value)> {
    let Value::Document(mut doc) = item else {
        return Err(Error::new(
            40391,
            format!(
                "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. Object was detected, now found: {}",
                item.type_name()
            ),
        ));
    };
    if doc.len() != 2 {
        return Err(Error::new(
            40392,
            format!(
                "$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:{}",
                doc.len()
            ),
        ));
    }
    match (doc.remove("k"), doc.remove("v")) {
        (Some(Value::String(key)), Some(value)) => Ok((key, value)),
        (Some(other), Some(_)) => Err(Error::new(
            40394,
            format!(
                "$arrayToObject requires an object with keys 'k' and 'v', where the value of 'k' must be of type string. Found type: {}",
                other.type_name()
            ),
        )),
        _ => Err(Error::new(
            40393,
            "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys",
        )),
    }
}

fn bson_size(mut args: Args) -> Result<Option<Value>> {
    match args.take(0) {
        Some(Value::Document(doc)) => Ok(Some(Value::Int32(doc.to_buf().len() as i32))),
        value if nullish(&value) => NULL,
        value => Err(Error::new(31393, format!("$bsonSize requires a document input, found: {}", type_of(&value)))),
    }
}

fn binary_size(args: Args) -> Result<Option<Value>> {
    match args.slot(0) {
        Some(Value::String(s)) => Ok(Some(Value::Int32(s.len() as i32))),
        Some(Value::Binary(binary)) => Ok(Some(Value::Int32(binary.bytes.len() as i32))),
        value if nullish(value) => NULL,
        value => Err(Error::new(
            51276,
            format!("$binarySize requires a string or BinData argument, found: {}", type_of(value)),
        )),
    }
}

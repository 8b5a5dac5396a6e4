//! What an operator is to the parser: a name, the shape of its arguments, a function.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Node, Scope, nullish, type_of};
use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};
use crate::value::Value;

/// An operator over evaluated arguments.
pub(crate) struct Operator {
    pub name: &'static str,
    pub shape: Shape,
    pub run: fn(Args, &mut Scope<'_>) -> Result<Option<Value>>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How an operator takes its arguments.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// A list of exactly this many; one may stand without the list.
    Exactly(usize),
    /// A list of `min..=max`.
    Between(usize, usize),
    Any,
    /// An object of named arguments.
    Named(&'static Named),
    /// Named arguments, or one value that stands for the first of them.
    NamedOr(&'static Named),
}

/// Named arguments and the codes of what can be wrong with them.
pub(crate) struct Named {
    /// Name, and the error code if it is required and absent (0: optional).
    pub fields: &'static [(&'static str, i32)],
    pub not_object: i32,
    pub unknown: i32,
}

/// Evaluated arguments in the order of the shape.
pub(crate) struct Args {
    pub op: &'static str,
    values: SmallVec<[Option<Value>; 4]>,
    given: u32,
}

impl Args {
    pub fn evaluate(op: &'static str, nodes: &[Option<Node>], scope: &mut Scope<'_>) -> Result<Args> {
        let mut args = Args { op, values: SmallVec::with_capacity(nodes.len()), given: 0 };
        for (i, node) in nodes.iter().enumerate() {
            args.values.push(match node {
                Some(node) => node.evaluate(scope)?,
                None => None,
            });
            if node.is_some() && i < 32 {
                args.given |= 1 << i;
            }
        }
        Ok(args)
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether argument `i` was written, whatever its value.
    pub fn given(&self, i: usize) -> bool {
        i < 32 && self.given & 1 << i != 0
    }

    pub fn get(&self, i: usize) -> Option<&Value> {
        self.values.get(i).and_then(Option::as_ref)
    }

    pub fn slot(&self, i: usize) -> &Option<Value> {
        self.values.get(i).unwrap_or(&None)
    }

    pub fn take(&mut self, i: usize) -> Option<Value> {
        self.values.get_mut(i).and_then(Option::take)
    }

    pub fn nullish(&self, i: usize) -> bool {
        nullish(self.slot(i))
    }

    pub fn any_nullish(&self) -> bool {
        self.values.iter().any(nullish)
    }

    pub fn type_of(&self, i: usize) -> &'static str {
        type_of(self.slot(i))
    }

    pub fn into_values(self) -> impl Iterator<Item = Option<Value>> {
        self.values.into_iter()
    }

    pub fn values(&self) -> &[Option<Value>] {
        &self.values
    }
}

/// Every operator that is a table row, by name.
pub(crate) fn find(name: &str) -> Option<&'static Operator> {
    all().get(name).copied()
}

pub(super) fn all() -> &'static FxHashMap<&'static str, &'static Operator> {
    static BY_NAME: LazyLock<FxHashMap<&'static str, &'static Operator>> = LazyLock::new(|| {
        let families = [
            super::math::OPERATORS,
            super::bits::OPERATORS,
            super::comparison::OPERATORS,
            super::string::OPERATORS,
            super::regex::OPERATORS,
            super::array::OPERATORS,
            super::set::OPERATORS,
            super::object::OPERATORS,
            super::convert::OPERATORS,
            super::accumulate::OPERATORS,
            super::date::OPERATORS,
        ];
        families.into_iter().flatten().map(|operator| (operator.name, operator)).collect()
    });
    &BY_NAME
}

/// The arguments of `operator` as written in `value`, unparsed; `None` where an optional one is absent.
pub(crate) fn split_args<'a>(operator: &Operator, value: Raw<'a>) -> Result<Vec<Option<Raw<'a>>>> {
    match operator.shape {
        Shape::Exactly(wanted) => {
            let args = list(value);
            if args.len() != wanted {
                return Err(Error::new(
                    16020,
                    format!(
                        "Expression {} takes exactly {wanted} arguments. {} were passed in.",
                        operator.name,
                        args.len()
                    ),
                ));
            }
            Ok(args)
        }
        Shape::Between(min, max) => {
            let args = list(value);
            if args.len() < min || args.len() > max {
                return Err(Error::new(
                    28667,
                    format!(
                        "Expression {} takes at least {min} arguments, and at most {max}, but {} were passed in.",
                        operator.name,
                        args.len()
                    ),
                ));
            }
            Ok(args)
        }
        Shape::Any => Ok(list(value)),
        Shape::Named(named) => match value {
            Raw::Document(doc) => split_named(operator.name, named, doc),
            other => Err(Error::new(
                named.not_object,
                format!("{} only supports an object as its argument, found: {}", operator.name, other.type_name()),
            )),
        },
        Shape::NamedOr(named) => match value {
            Raw::Document(doc) if doc.iter().next().is_none_or(|(name, _)| !name.starts_with('$')) => {
                split_named(operator.name, named, doc)
            }
            _ => {
                let mut args = list(value);
                if args.len() != 1 {
                    return Err(Error::new(
                        40536,
                        format!(
                            "{} accepts exactly one argument if given an array, but was given {}",
                            operator.name,
                            args.len()
                        ),
                    ));
                }
                args.resize(named.fields.len(), None);
                Ok(args)
            }
        },
    }
}

fn list(value: Raw<'_>) -> Vec<Option<Raw<'_>>> {
    match value {
        Raw::Array(items) => items.values().map(Some).collect(),
        single => vec![Some(single)],
    }
}

/// Sorts named arguments into the order of `named.fields`.
pub(crate) fn split_named<'a>(op: &str, named: &Named, doc: RawDoc<'a>) -> Result<Vec<Option<Raw<'a>>>> {
    let mut args = vec![None; named.fields.len()];
    for (name, value) in doc.iter() {
        match named.fields.iter().position(|(field, _)| *field == name) {
            Some(i) => args[i] = Some(value),
            None => {
                return Err(Error::new(named.unknown, format!("{op} found an unknown argument: {name}")));
            }
        }
    }
    for ((field, code), arg) in named.fields.iter().zip(&args) {
        if *code != 0 && arg.is_none() {
            return Err(Error::new(*code, format!("Missing '{field}' parameter to {op}")));
        }
    }
    Ok(args)
}

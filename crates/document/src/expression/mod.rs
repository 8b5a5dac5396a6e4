//! Aggregation expressions: parsed once, evaluated per document.
//!
//! ```text
//!   {$add: ["$a.b", {$size: "$$x"}]}   --parse-->   Node tree   --evaluate(doc)-->   Some(value) | None (missing)
//! ```
//!
//! An operator is a row in a family's table (`OPERATORS` in `math.rs`, `string.rs`, …): name, shape
//! of its arguments, function over the evaluated arguments. Only what evaluates its arguments
//! lazily or binds variables (`control.rs`) is a `Node` of its own.
//!
//! # Invariants
//! - Variables live in slots; a slot's index is the lexical depth of its binding, so the stack at
//!   run time always has the length that the parser counted.
//! - `Scope::charge` bounds what one evaluation may build; loops give back what they drop.
//! - Constant parts are evaluated when parsed, and their errors are reported then.
//!
//! Read next: `parse.rs`, `path.rs`, `control.rs`, then any family.

pub(crate) mod accumulate;
mod array;
mod bits;
mod comparison;
mod control;
mod convert;
pub(crate) mod date;
mod math;
mod object;
mod operator;
mod parse;
pub(crate) mod path;
mod regex;
mod set;
mod string;
pub(crate) mod text;

pub(crate) use accumulate as accumulator;
pub(crate) use array::check_n;
pub(crate) use control::truthy;
pub(crate) use math::DoubleDouble;
pub(crate) use parse::{Parser, evaluate_let};
pub(crate) use path::FieldPath;

use operator::{Args, Operator};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

/// What one evaluation may hold, bytes; the server's limit for `$range` and friends.
const MAX_EVALUATION: usize = 100 * 1024 * 1024;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    root: Node,
    ctx: Context,
}

impl Expression {
    /// Parses any value: a path, a variable, an operator, a literal, an object or array of these.
    pub fn parse(value: Raw<'_>, ctx: &Context) -> Result<Expression> {
        let root = Parser::new(ctx).operand(value)?;
        Expression::finish(root, ctx)
    }

    /// Folds the constant parts.
    pub(crate) fn finish(root: Node, ctx: &Context) -> Result<Expression> {
        let root = root
            .fold(ctx)
            .map_err(|e| Error::new(e.code, format!("Failed to optimize pipeline :: caused by :: {}", e.message)))?;
        Ok(Expression { root, ctx: ctx.clone() })
    }

    /// An expression that yields this value.
    pub fn constant(value: Value, ctx: &Context) -> Expression {
        Expression { root: Node::Literal(Some(value)), ctx: ctx.clone() }
    }

    /// The value for this document; `None` is "missing".
    pub fn evaluate(&self, doc: RawDoc<'_>) -> Result<Option<Value>> {
        self.root.evaluate(&mut Scope::new(&self.ctx, doc, doc))
    }

    /// With `$$CURRENT` below `$$ROOT`, as `$redact` walks.
    pub(crate) fn evaluate_within(&self, root: RawDoc<'_>, current: RawDoc<'_>) -> Result<Option<Value>> {
        self.root.evaluate(&mut Scope::new(&self.ctx, root, current))
    }

    /// The value, if it does not depend on a document. The outer `None`: it depends.
    pub fn as_constant(&self) -> Option<Option<&Value>> {
        match &self.root {
            Node::Literal(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    /// The dotted path, if the expression is a plain `$path` of the document.
    pub fn as_path(&self) -> Option<&str> {
        match &self.root {
            Node::Path { base: Base::Current | Base::Root, path: Some(path) } => Some(path.text()),
            _ => None,
        }
    }
}

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Root,
    Current,
    /// A variable bound by `$let`, `$map`, … at this lexical depth.
    Slot(usize),
    /// A variable of the command, by position in `Context::variables`.
    Command(usize),
    Now,
    ClusterTime,
}

/// A parsed expression tree.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// `None` is `$$REMOVE`, the missing value.
    Literal(Option<Value>),
    Path {
        base: Base,
        path: Option<FieldPath>,
    },
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Call {
        operator: &'static Operator,
        args: Vec<Option<Node>>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    Cond(Box<[Node; 3]>),
    IfNull(Vec<Node>),
    Switch {
        branches: Vec<(Node, Node)>,
        default: Option<Box<Node>>,
    },
    Let {
        bindings: Vec<Node>,
        body: Box<Node>,
    },
    Map {
        input: Box<Node>,
        body: Box<Node>,
    },
    Filter {
        input: Box<Node>,
        cond: Box<Node>,
        limit: Option<Box<Node>>,
    },
    Reduce {
        input: Box<Node>,
        initial: Box<Node>,
        body: Box<Node>,
    },
    SortArray {
        input: Box<Node>,
        order: array::SortBy,
    },
}

/// What an evaluation reads and holds.
pub(crate) struct Scope<'a> {
    pub ctx: &'a Context,
    pub root: RawDoc<'a>,
    pub current: RawDoc<'a>,
    pub slots: Vec<Option<Value>>,
    used: usize,
}

impl<'a> Scope<'a> {
    fn new(ctx: &'a Context, root: RawDoc<'a>, current: RawDoc<'a>) -> Self {
        Scope { ctx, root, current, slots: Vec::new(), used: 0 }
    }

    /// Counts bytes that this evaluation builds. Errors with 146 beyond the limit.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        if self.used > MAX_EVALUATION {
            return Err(Error::new(
                146,
                format!(
                    "expression would use too much memory ({} bytes). Memory limit: {MAX_EVALUATION} bytes",
                    self.used
                ),
            ));
        }
        Ok(())
    }

    pub fn mark(&self) -> usize {
        self.used
    }

    /// After a loop's turn only `kept` bytes of what it built since `mark` are still held.
    pub fn release(&mut self, mark: usize, kept: usize) -> Result<()> {
        self.used = mark;
        self.charge(kept)
    }
}

impl Node {
    pub fn evaluate(&self, scope: &mut Scope<'_>) -> Result<Option<Value>> {
        match self {
            Node::Literal(value) => {
                scope.charge(value.as_ref().map_or(0, size_of_value))?;
                Ok(value.clone())
            }
            Node::Path { base, path } => read_path(*base, path.as_ref(), scope),
            Node::Object(fields) => {
                let mut doc = Doc::default();
                for (name, node) in fields {
                    if let Some(value) = node.evaluate(scope)? {
                        doc.push(name.as_str(), value);
                    }
                }
                Ok(Some(Value::Document(doc)))
            }
            Node::Array(items) => {
                let values: Result<Vec<Value>> =
                    items.iter().map(|node| Ok(node.evaluate(scope)?.unwrap_or(Value::Null))).collect();
                Ok(Some(Value::Array(values?)))
            }
            Node::Call { operator, args } => {
                let args = Args::evaluate(operator.name, args, scope)?;
                let result = (operator.run)(args, scope)?;
                scope.charge(result.as_ref().map_or(0, shallow_size))?;
                Ok(result)
            }
            _ => control::evaluate(self, scope),
        }
    }
}

fn read_path(base: Base, path: Option<&FieldPath>, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let doc = match base {
        Base::Root => scope.root,
        Base::Current => scope.current,
        Base::Now => return Ok(path.is_none().then_some(Value::Date(scope.ctx.now_ms))),
        Base::ClusterTime => return Ok(path.is_none().then_some(Value::Timestamp(scope.ctx.cluster_time.0))),
        Base::Slot(index) => {
            let value = scope.slots.get(index).and_then(Option::as_ref);
            let value = read_value(value, path);
            scope.charge(value.as_ref().map_or(0, size_of_value))?;
            return Ok(value);
        }
        Base::Command(index) => {
            // An undefined value stands for a variable that is missing (see `Context::variables`).
            let value = scope.ctx.variables.0.get(index).map(|(_, v)| v).filter(|v| **v != Value::Undefined);
            let value = read_value(value, path);
            scope.charge(value.as_ref().map_or(0, size_of_value))?;
            return Ok(value);
        }
    };
    let Some(path) = path else {
        scope.charge(doc.as_bytes().len())?;
        return Ok(Some(Value::Document(doc.to_doc())));
    };
    let value = path.read_raw(doc);
    scope.charge(value.as_ref().map_or(0, size_of_value))?;
    Ok(value)
}

fn read_value(value: Option<&Value>, path: Option<&FieldPath>) -> Option<Value> {
    match path {
        None => value.cloned(),
        Some(path) => path.read_value(value?),
    }
}

/// Null, undefined or missing.
pub(crate) fn nullish(value: &Option<Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Undefined))
}

/// The type's name in messages; a missing value is "missing".
pub(crate) fn type_of(value: &Option<Value>) -> &'static str {
    value.as_ref().map_or("missing", Value::type_name)
}

/// Compares with missing below everything, under the context's collation.
pub(crate) fn compare(ctx: &Context, a: Option<&Value>, b: Option<&Value>) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_present(ctx, a, b),
        (None, None) => std::cmp::Ordering::Equal,
        // Only MinKey is below a missing value.
        (None, Some(Value::MinKey)) => std::cmp::Ordering::Greater,
        (Some(Value::MinKey), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (Some(_), None) => std::cmp::Ordering::Greater,
    }
}

pub(crate) fn compare_present(ctx: &Context, a: &Value, b: &Value) -> std::cmp::Ordering {
    let Some(collation) = &ctx.collation else { return crate::compare::compare_values(a, b) };
    if let (Value::String(a), Value::String(b)) = (a, b) {
        return collation.compare(a, b);
    }
    let compare = |a: Raw<'_>, b: Raw<'_>| crate::collation::compare_with(a, b, Some(collation));
    let nested = |v: &Value| matches!(v, Value::Document(_) | Value::Array(_));
    if !nested(a) || !nested(b) {
        return compare(a.as_scalar(), b.as_scalar());
    }
    let wrap = |value: &Value| {
        let mut writer = crate::write::DocWriter::new();
        writer.value("", value);
        writer.finish()
    };
    let (a, b) = (wrap(a), wrap(b));
    compare(a.get("").unwrap_or(Raw::Null), b.get("").unwrap_or(Raw::Null))
}

/// Bytes a value holds by itself, without what its elements hold.
fn shallow_size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(s) | Value::Code(s) | Value::Symbol(s) => s.len(),
            Value::Array(items) => items.len() * size_of::<Value>(),
            Value::Document(doc) => doc.len() * size_of::<(String, Value)>(),
            Value::Binary(binary) => binary.bytes.len(),
            _ => 0,
        }
}

/// Bytes a value holds with everything below it.
pub(crate) fn size_of_value(value: &Value) -> usize {
    let below: usize = match value {
        Value::Array(items) => items.iter().map(|item| size_of_value(item).saturating_sub(size_of::<Value>())).sum(),
        Value::Document(doc) => {
            doc.iter().map(|(name, v)| name.len() + size_of_value(v).saturating_sub(size_of::<Value>())).sum()
        }
        _ => 0,
    };
    shallow_size(value) + below
}

/// The names of all operators that are table rows.
#[cfg(test)]
pub(crate) fn operator_names() -> impl Iterator<Item = &'static str> {
    operator::all().keys().copied()
}

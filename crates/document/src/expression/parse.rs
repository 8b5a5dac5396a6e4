//! From BSON to `Node`: which values are paths, variables, operators, literals.

use super::operator::{self, Named};
use super::path::check_name;
use super::{Base, FieldPath, Node, Scope, array, control};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

/// Parses one expression; knows the variables in scope.
pub(crate) struct Parser<'c> {
    ctx: &'c Context,
    /// Names by slot.
    scope: Vec<String>,
}

impl<'c> Parser<'c> {
    pub fn new(ctx: &'c Context) -> Self {
        Parser { ctx, scope: Vec::new() }
    }

    pub fn operand(&mut self, value: Raw<'_>) -> Result<Node> {
        match value {
            Raw::String(text) if text.starts_with('$') => self.reference(text),
            Raw::Document(doc) => self.object(doc),
            Raw::Array(items) => {
                Ok(Node::Array(items.values().map(|item| self.operand(item)).collect::<Result<Vec<_>>>()?))
            }
            other => Ok(Node::Literal(Some(other.to_value()))),
        }
    }

    /// `$path`, `$$variable`, `$$variable.path`.
    fn reference(&mut self, text: &str) -> Result<Node> {
        let Some(name) = text.strip_prefix("$$") else {
            let path = &text[1..];
            if path.is_empty() {
                return Err(Error::new(16872, "'$' by itself is not a valid FieldPath"));
            }
            return Ok(self.below_current(FieldPath::parse(path)?));
        };
        let (name, path) = match name.split_once('.') {
            Some((name, path)) => (name, Some(FieldPath::parse(path)?)),
            None => (name, None),
        };
        if name.is_empty() {
            return Err(Error::failed_to_parse("empty variable names are not allowed"));
        }
        if let Some(slot) = self.scope.iter().rposition(|bound| bound == name) {
            return Ok(Node::Path { base: Base::Slot(slot), path });
        }
        let base = match name {
            "ROOT" => Base::Root,
            "CURRENT" => Base::Current,
            "NOW" => Base::Now,
            "CLUSTER_TIME" => Base::ClusterTime,
            "REMOVE" => return Ok(Node::Literal(None)),
            "DESCEND" | "PRUNE" | "KEEP" => return Ok(Node::Literal(Some(Value::from(name.to_lowercase())))),
            _ => match self.ctx.variables.0.iter().position(|(bound, _)| bound == name) {
                Some(index) => Base::Command(index),
                None => return Err(Error::new(17276, format!("Use of undefined variable: {name}"))),
            },
        };
        Ok(Node::Path { base, path })
    }

    fn below_current(&self, path: FieldPath) -> Node {
        // `$let` may rebind CURRENT, which every plain path starts from.
        let base = match self.scope.iter().rposition(|bound| bound == "CURRENT") {
            Some(slot) => Base::Slot(slot),
            None => Base::Current,
        };
        Node::Path { base, path: Some(path) }
    }

    /// An operator, or an object of expressions.
    fn object(&mut self, doc: RawDoc<'_>) -> Result<Node> {
        let mut fields = doc.iter();
        match fields.next() {
            Some((name, value)) if name.starts_with('$') => {
                if fields.next().is_some() {
                    return Err(Error::new(
                        15983,
                        format!(
                            "An object representing an expression must have exactly one field: {}",
                            super::text::doc_text(doc)
                        ),
                    ));
                }
                self.operator(name, value)
            }
            _ => {
                let mut seen = rustc_hash::FxHashSet::default();
                let mut fields = Vec::new();
                for (name, value) in doc.iter() {
                    check_name(name)?;
                    if !seen.insert(name) {
                        return Err(Error::new(
                            16406,
                            format!("duplicate field name specified in object expression: {name}"),
                        ));
                    }
                    fields.push((name.to_owned(), self.operand(value)?));
                }
                Ok(Node::Object(fields))
            }
        }
    }

    pub fn operator(&mut self, name: &str, value: Raw<'_>) -> Result<Node> {
        if let Some(node) = control::parse(self, name, value)? {
            return Ok(node);
        }
        match name {
            "$literal" | "$const" => return Ok(Node::Literal(Some(value.to_value()))),
            "$sortArray" => return array::parse_sort_array(self, value),
            "$meta" => return parse_meta(value),
            _ => {}
        }
        let Some(operator) = operator::find(name) else {
            return Err(Error::new(168, format!("Unrecognized expression '{name}'")));
        };
        let args = operator::split_args(operator, value)?;
        let args: Result<Vec<Option<Node>>> =
            args.into_iter().map(|arg| arg.map(|arg| self.operand(arg)).transpose()).collect();
        let mut args = args?;
        if operator.name == "$getField" && args[1].is_none() && self.scope.iter().any(|bound| bound == "CURRENT") {
            args[1] = Some(self.reference("$$CURRENT")?);
        }
        super::object::check_constants(operator.name, args).map(|args| Node::Call { operator, args })
    }

    /// Parses `value` with `names` bound to the next slots.
    pub fn within(&mut self, names: &[&str], value: Raw<'_>) -> Result<Node> {
        let depth = self.scope.len();
        self.scope.extend(names.iter().map(|name| (*name).to_owned()));
        let node = self.operand(value);
        self.scope.truncate(depth);
        node
    }

    pub fn named<'a>(&self, op: &str, named: &Named, value: Raw<'a>) -> Result<Vec<Option<Raw<'a>>>> {
        match value {
            Raw::Document(doc) => operator::split_named(op, named, doc),
            other => Err(Error::new(
                named.not_object,
                format!("{op} only supports an object as its argument, found: {}", other.type_name()),
            )),
        }
    }
}

fn parse_meta(value: Raw<'_>) -> Result<Node> {
    match value {
        Raw::String(
            name @ ("textScore" | "searchScore" | "searchHighlights" | "geoNearDistance" | "geoNearPoint" | "recordId"
            | "indexKey" | "randVal" | "sortKey"),
        ) => Err(Error::new(40218, format!("query requires {name} metadata, but it is not available"))),
        Raw::String(other) => Err(Error::new(17308, format!("Unsupported argument to $meta: {other}"))),
        _ => Err(Error::new(17307, "$meta only supports string arguments")),
    }
}

/// A name that a user may bind: starts with a lower-case letter (or is `CURRENT`).
pub(crate) fn check_variable(name: &str) -> Result<()> {
    let mut chars = name.chars();
    let Some(first) = chars.next() else {
        return Err(Error::failed_to_parse("empty variable names are not allowed"));
    };
    if name == "CURRENT" {
        return Ok(());
    }
    if first.is_ascii() && !first.is_ascii_lowercase() {
        return Err(Error::failed_to_parse(format!(
            "'{name}' starts with an invalid character for a user variable name"
        )));
    }
    match chars.find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || !c.is_ascii())) {
        Some(c) => {
            Err(Error::failed_to_parse(format!("'{name}' contains an invalid character for a variable name: '{c}'")))
        }
        None => Ok(()),
    }
}

impl Node {
    /// Evaluates what is constant, bottom up.
    pub fn fold(self, ctx: &Context) -> Result<Node> {
        let constant = |node: &Node| matches!(node, Node::Literal(_));
        let node = match self {
            Node::Object(fields) => {
                let fields: Result<Vec<_>> = fields.into_iter().map(|(n, node)| Ok((n, node.fold(ctx)?))).collect();
                let fields = fields?;
                if !fields.iter().all(|(_, node)| constant(node)) {
                    return Ok(Node::Object(fields));
                }
                Node::Object(fields)
            }
            Node::Array(items) => {
                let items = fold_all(items, ctx)?;
                if !items.iter().all(constant) {
                    return Ok(Node::Array(items));
                }
                Node::Array(items)
            }
            Node::Call { operator, args } => {
                let args: Result<Vec<_>> = args.into_iter().map(|a| a.map(|node| node.fold(ctx)).transpose()).collect();
                let args = args?;
                // $getField without an input reads the document; $rand is never the same.
                let reads = operator.name == "$rand" || (operator.name == "$getField" && args[1].is_none());
                let all = !reads && args.iter().flatten().all(constant);
                let node = Node::Call { operator, args };
                if !all {
                    return Ok(node);
                }
                node
            }
            other => {
                let (node, all) = control::fold(other, ctx)?;
                if !all {
                    return Ok(node);
                }
                node
            }
        };
        let empty = RawDoc::EMPTY;
        Ok(Node::Literal(node.evaluate(&mut Scope::new(ctx, empty, empty))?))
    }
}

pub(crate) fn fold_all(nodes: Vec<Node>, ctx: &Context) -> Result<Vec<Node>> {
    nodes.into_iter().map(|node| node.fold(ctx)).collect()
}

/// Evaluates a command's `let` (or a `$lookup`'s) against a document: names to values, missing as undefined.
pub(crate) fn evaluate_let(spec: RawDoc<'_>, ctx: &Context, doc: RawDoc<'_>) -> Result<Doc> {
    let mut values = Doc::default();
    for (name, value) in spec.iter() {
        check_variable(name)?;
        let value = super::Expression::parse(value, ctx)?.evaluate(doc)?;
        values.push(name, value.unwrap_or(Value::Undefined));
    }
    Ok(values)
}

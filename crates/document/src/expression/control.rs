//! What decides which arguments are evaluated, or binds variables: `$cond`, `$switch`, `$ifNull`,
//! `$and`, `$or`, `$let`, `$map`, `$filter`, `$reduce`.

use super::operator::Named;
use super::parse::{Parser, check_variable, fold_all};
use super::{Node, Scope, nullish, size_of_value, type_of};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::number::Number;
use crate::raw::Raw;
use crate::value::Value;

const MAP: Named = Named { fields: &[("input", 16880), ("as", 0), ("in", 16882)], not_object: 16878, unknown: 16879 };
const FILTER: Named =
    Named { fields: &[("input", 28648), ("as", 0), ("cond", 28650), ("limit", 0)], not_object: 28646, unknown: 28647 };
const REDUCE: Named =
    Named { fields: &[("input", 40077), ("initialValue", 40078), ("in", 40079)], not_object: 40075, unknown: 40076 };
const LET: Named = Named { fields: &[("vars", 16876), ("in", 16877)], not_object: 16874, unknown: 16875 };

/// MongoDB's truth: everything but false, null, undefined, missing and zero.
pub(crate) fn truthy(value: &Option<Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Undefined | Value::Bool(false)) => false,
        Some(value) => Number::from_value(value).is_none_or(|n| !n.is_zero()),
    }
}

/// The node for one of this file's operators; `None` for any other name.
pub(super) fn parse(parser: &mut Parser<'_>, name: &str, value: Raw<'_>) -> Result<Option<Node>> {
    Ok(Some(match name {
        "$and" => Node::And(operands(parser, value)?),
        "$or" => Node::Or(operands(parser, value)?),
        "$cond" => parse_cond(parser, value)?,
        "$ifNull" => {
            let args = operands(parser, value)?;
            if args.len() < 2 {
                return Err(Error::new(1257300, format!("$ifNull needs at least two arguments, had: {}", args.len())));
            }
            Node::IfNull(args)
        }
        "$switch" => parse_switch(parser, value)?,
        "$let" => parse_let(parser, value)?,
        "$map" => {
            let args = parser.named("$map", &MAP, value)?;
            let name = variable(args[1], "this")?;
            Node::Map {
                input: Box::new(parser.operand(args[0].expect("required"))?),
                body: Box::new(parser.within(&[&name], args[2].expect("required"))?),
            }
        }
        "$filter" => {
            let args = parser.named("$filter", &FILTER, value)?;
            let name = variable(args[1], "this")?;
            Node::Filter {
                input: Box::new(parser.operand(args[0].expect("required"))?),
                cond: Box::new(parser.within(&[&name], args[2].expect("required"))?),
                limit: args[3].map(|limit| parser.operand(limit)).transpose()?.map(Box::new),
            }
        }
        "$reduce" => {
            let args = parser.named("$reduce", &REDUCE, value)?;
            Node::Reduce {
                input: Box::new(parser.operand(args[0].expect("required"))?),
                initial: Box::new(parser.operand(args[1].expect("required"))?),
                body: Box::new(parser.within(&["value", "this"], args[2].expect("required"))?),
            }
        }
        _ => return Ok(None),
    }))
}

fn operands(parser: &mut Parser<'_>, value: Raw<'_>) -> Result<Vec<Node>> {
    match value {
        Raw::Array(items) => items.values().map(|item| parser.operand(item)).collect(),
        single => Ok(vec![parser.operand(single)?]),
    }
}

fn variable(name: Option<Raw<'_>>, default: &str) -> Result<String> {
    let Some(name) = name else { return Ok(default.to_owned()) };
    let name = name.as_str().unwrap_or("");
    check_variable(name)?;
    Ok(name.to_owned())
}

fn parse_cond(parser: &mut Parser<'_>, value: Raw<'_>) -> Result<Node> {
    let Raw::Document(doc) = value else {
        let args = operands(parser, value)?;
        let got = args.len();
        let args: [Node; 3] = args.try_into().map_err(|_| {
            Error::new(16020, format!("Expression $cond takes exactly 3 arguments. {got} were passed in."))
        })?;
        return Ok(Node::Cond(Box::new(args)));
    };
    if doc.iter().next().is_some_and(|(name, _)| name.starts_with('$')) {
        return Err(Error::new(16020, "Expression $cond takes exactly 3 arguments. 1 were passed in."));
    }
    let mut parts = [None, None, None];
    for (name, value) in doc.iter() {
        let at = match name {
            "if" => 0,
            "then" => 1,
            "else" => 2,
            _ => return Err(Error::new(17083, format!("Unrecognized parameter to $cond: {name}"))),
        };
        parts[at] = Some(parser.operand(value)?);
    }
    let [condition, then, otherwise] = parts;
    let need = |part: Option<Node>, code, name| {
        part.ok_or_else(|| Error::new(code, format!("Missing '{name}' parameter to $cond")))
    };
    Ok(Node::Cond(Box::new([
        need(condition, 17080, "if")?,
        need(then, 17081, "then")?,
        need(otherwise, 17082, "else")?,
    ])))
}

fn parse_switch(parser: &mut Parser<'_>, value: Raw<'_>) -> Result<Node> {
    let Raw::Document(doc) = value else {
        return Err(Error::new(
            40060,
            format!("$switch requires an object as an argument, found: {}", value.type_name()),
        ));
    };
    let (mut branches, mut default) = (Vec::new(), None);
    for (name, value) in doc.iter() {
        match name {
            "branches" => {
                let Raw::Array(items) = value else {
                    return Err(Error::new(
                        40061,
                        format!("$switch expected an array for 'branches', found: {}", value.type_name()),
                    ));
                };
                for branch in items.values() {
                    branches.push(parse_branch(parser, branch)?);
                }
            }
            "default" => default = Some(Box::new(parser.operand(value)?)),
            _ => return Err(Error::new(40067, format!("$switch found an unknown argument: {name}"))),
        }
    }
    if branches.is_empty() {
        return Err(Error::new(40068, "$switch requires at least one branch."));
    }
    Ok(Node::Switch { branches, default })
}

fn parse_branch(parser: &mut Parser<'_>, branch: Raw<'_>) -> Result<(Node, Node)> {
    let Raw::Document(branch) = branch else {
        return Err(Error::new(
            40062,
            format!("$switch expected each branch to be an object, found: {}", branch.type_name()),
        ));
    };
    let (mut case, mut then) = (None, None);
    for (name, value) in branch.iter() {
        match name {
            "case" => case = Some(parser.operand(value)?),
            "then" => then = Some(parser.operand(value)?),
            _ => return Err(Error::new(40063, format!("$switch found an unknown argument to a branch: {name}"))),
        }
    }
    let case = case.ok_or_else(|| Error::new(40064, "$switch requires each branch have a 'case' expression"))?;
    let then = then.ok_or_else(|| Error::new(40065, "$switch requires each branch have a 'then' expression."))?;
    Ok((case, then))
}

fn parse_let(parser: &mut Parser<'_>, value: Raw<'_>) -> Result<Node> {
    let args = parser.named("$let", &LET, value)?;
    let Raw::Document(vars) = args[0].expect("required") else {
        return Err(Error::new(10065, "invalid parameter: expected an object (vars)"));
    };
    let (mut names, mut bindings) = (Vec::new(), Vec::new());
    for (name, value) in vars.iter() {
        check_variable(name)?;
        names.push(name);
        bindings.push(parser.operand(value)?);
    }
    Ok(Node::Let { bindings, body: Box::new(parser.within(&names, args[1].expect("required"))?) })
}

pub(super) fn evaluate(node: &Node, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    match node {
        Node::And(nodes) => Ok(Some(Value::Bool(all(nodes, scope)?))),
        Node::Or(nodes) => {
            for node in nodes {
                if truthy(&node.evaluate(scope)?) {
                    return Ok(Some(Value::Bool(true)));
                }
            }
            Ok(Some(Value::Bool(false)))
        }
        Node::Cond(parts) => {
            let [condition, then, otherwise] = &**parts;
            let chosen = if truthy(&condition.evaluate(scope)?) { then } else { otherwise };
            chosen.evaluate(scope)
        }
        Node::IfNull(nodes) => {
            let (last, first) = nodes.split_last().expect("at least two arguments");
            for node in first {
                let value = node.evaluate(scope)?;
                if !nullish(&value) {
                    return Ok(value);
                }
            }
            last.evaluate(scope)
        }
        Node::Switch { branches, default } => {
            for (case, then) in branches {
                if truthy(&case.evaluate(scope)?) {
                    return then.evaluate(scope);
                }
            }
            match default {
                Some(default) => default.evaluate(scope),
                None => Err(Error::new(
                    40066,
                    "$switch could not find a matching branch for an input, and no default was specified.",
                )),
            }
        }
        Node::Let { bindings, body } => {
            let values: Result<Vec<_>> = bindings.iter().map(|node| node.evaluate(scope)).collect();
            let depth = scope.slots.len();
            scope.slots.extend(values?);
            let result = body.evaluate(scope);
            scope.slots.truncate(depth);
            result
        }
        Node::Map { input, body } => evaluate_map(input, body, scope),
        Node::Filter { input, cond, limit } => evaluate_filter(input, cond, limit.as_deref(), scope),
        Node::Reduce { input, initial, body } => evaluate_reduce(input, initial, body, scope),
        Node::SortArray { input, order } => {
            let value = input.evaluate(scope)?;
            super::array::sort_array(value, order, scope)
        }
        _ => unreachable!("the other nodes are evaluated in mod.rs"),
    }
}

fn all(nodes: &[Node], scope: &mut Scope<'_>) -> Result<bool> {
    for node in nodes {
        if !truthy(&node.evaluate(scope)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Evaluates `body` with one more variable.
fn with_slot(scope: &mut Scope<'_>, value: Option<Value>, body: &Node) -> Result<Option<Value>> {
    scope.slots.push(value);
    let result = body.evaluate(scope);
    scope.slots.pop();
    result
}

/// The elements of an array argument; `None` if it is nullish.
fn elements(op: &str, code: i32, value: Option<Value>) -> Result<Option<Vec<Value>>> {
    match value {
        Some(Value::Array(items)) => Ok(Some(items)),
        value if nullish(&value) => Ok(None),
        value => Err(Error::new(code, format!("input to {op} must be an array not {}", type_of(&value)))),
    }
}

fn evaluate_map(input: &Node, body: &Node, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(items) = elements("$map", 16883, input.evaluate(scope)?)? else { return Ok(Some(Value::Null)) };
    let mut mapped = Vec::with_capacity(items.len());
    for item in items {
        let mark = scope.mark();
        let value = with_slot(scope, Some(item), body)?.unwrap_or(Value::Null);
        scope.release(mark, size_of_value(&value))?;
        mapped.push(value);
    }
    Ok(Some(Value::Array(mapped)))
}

fn evaluate_filter(input: &Node, cond: &Node, limit: Option<&Node>, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(items) = elements("$filter", 28651, input.evaluate(scope)?)? else { return Ok(Some(Value::Null)) };
    let mut left = match limit.map(|node| node.evaluate(scope)).transpose()? {
        None => usize::MAX,
        Some(value) if nullish(&value) => usize::MAX,
        Some(value) => {
            let whole = value.as_ref().and_then(Number::from_value).and_then(Number::as_whole);
            let Some(n) = whole.and_then(|n| i32::try_from(n).ok()) else {
                return Err(Error::new(
                    327391,
                    format!("$filter: limit must be represented as a 32-bit integral value: {}", type_of(&value)),
                ));
            };
            if n <= 0 {
                return Err(Error::new(327392, format!("$filter: limit must be greater than 0: {n}")));
            }
            n as usize
        }
    };
    let mut kept = Vec::new();
    for item in items {
        if left == 0 {
            break;
        }
        let mark = scope.mark();
        scope.slots.push(Some(item));
        let keep = cond.evaluate(scope);
        let item = scope.slots.pop().flatten();
        scope.release(mark, 0)?;
        if truthy(&keep?) {
            kept.extend(item);
            left -= 1;
        }
    }
    Ok(Some(Value::Array(kept)))
}

fn evaluate_reduce(input: &Node, initial: &Node, body: &Node, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let value = input.evaluate(scope)?;
    if nullish(&value) {
        return Ok(Some(Value::Null));
    }
    let Some(Value::Array(items)) = value else {
        return Err(Error::new(
            40080,
            format!("$reduce requires that 'input' be an array, found: {}", type_of(&value)),
        ));
    };
    let mut total = initial.evaluate(scope)?;
    let mark = scope.mark();
    for item in items {
        let depth = scope.slots.len();
        scope.slots.push(total);
        scope.slots.push(Some(item));
        let next = body.evaluate(scope);
        scope.slots.truncate(depth);
        total = next?;
        if let Some(value) = &total {
            // Each turn may wrap the value once more; the loop must not outgrow the stack.
            check_depth(value, base::limits::MAX_NESTING_LEVELS)?;
            scope.release(mark, size_of_value(value))?;
        }
    }
    Ok(total)
}

pub(crate) fn check_depth(value: &Value, left: usize) -> Result<()> {
    if left == 0 {
        return Err(Error::new(
            15,
            format!("value nests deeper than the limit of {} levels", base::limits::MAX_NESTING_LEVELS),
        ));
    }
    match value {
        Value::Document(doc) => doc.iter().try_for_each(|(_, value)| check_depth(value, left - 1)),
        Value::Array(items) => items.iter().try_for_each(|value| check_depth(value, left - 1)),
        _ => Ok(()),
    }
}

/// Folds the children; also whether the node itself is now constant.
pub(super) fn fold(node: Node, ctx: &Context) -> Result<(Node, bool)> {
    let constant = |node: &Node| matches!(node, Node::Literal(_));
    let boxed = |node: Box<Node>| Ok::<_, Error>(Box::new(node.fold(ctx)?));
    Ok(match node {
        Node::And(nodes) => {
            let nodes = fold_all(nodes, ctx)?;
            let all = nodes.iter().all(constant);
            (Node::And(nodes), all)
        }
        Node::Or(nodes) => {
            let nodes = fold_all(nodes, ctx)?;
            let all = nodes.iter().all(constant);
            (Node::Or(nodes), all)
        }
        Node::IfNull(nodes) => {
            let nodes = fold_all(nodes, ctx)?;
            let all = nodes.iter().all(constant);
            (Node::IfNull(nodes), all)
        }
        Node::Cond(parts) => {
            let [a, b, c] = *parts;
            let parts = [a.fold(ctx)?, b.fold(ctx)?, c.fold(ctx)?];
            let all = parts.iter().all(constant);
            (Node::Cond(Box::new(parts)), all)
        }
        Node::Switch { branches, default } => {
            let branches: Result<Vec<_>> =
                branches.into_iter().map(|(case, then)| Ok((case.fold(ctx)?, then.fold(ctx)?))).collect();
            let branches = branches?;
            let default = default.map(boxed).transpose()?;
            let all = branches.iter().all(|(case, then)| constant(case) && constant(then))
                && default.as_deref().is_none_or(constant);
            (Node::Switch { branches, default }, all)
        }
        // The bodies read slots that exist only at run time: their constant parts fold, they do not.
        Node::Let { bindings, body } => (Node::Let { bindings: fold_all(bindings, ctx)?, body: boxed(body)? }, false),
        Node::Map { input, body } => (Node::Map { input: boxed(input)?, body: boxed(body)? }, false),
        Node::Filter { input, cond, limit } => {
            let limit = limit.map(boxed).transpose()?;
            (Node::Filter { input: boxed(input)?, cond: boxed(cond)?, limit }, false)
        }
        Node::Reduce { input, initial, body } => {
            (Node::Reduce { input: boxed(input)?, initial: boxed(initial)?, body: boxed(body)? }, false)
        }
        Node::SortArray { input, order } => (Node::SortArray { input: boxed(input)?, order }, false),
        other => (other, false),
    })
}

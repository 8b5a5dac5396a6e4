//! Array operators.

use std::cmp::Ordering;

use super::operator::{Args, Named, Operator, Shape};
use super::parse::Parser;
use super::text::value_text;
use super::{FieldPath, Node, Scope, compare, compare_present, nullish, type_of};
use crate::error::{Error, Result};
use crate::number::Number;
use crate::raw::Raw;
use crate::value::Value;

const NULL: Result<Option<Value>> = Ok(Some(Value::Null));

const N_OF: Named = Named { fields: &[("n", 5787906), ("input", 5787907)], not_object: 5787900, unknown: 5787901 };
const ZIP: Named =
    Named { fields: &[("inputs", 34465), ("useLongestLength", 0), ("defaults", 0)], not_object: 34460, unknown: 34464 };
const SORT_ARRAY: Named =
    Named { fields: &[("input", 2942502), ("sortBy", 2942503)], not_object: 2942500, unknown: 2942501 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$arrayElemAt", shape: Shape::Exactly(2), run: |args, _| element_at(args) },
    Operator {
        name: "$first",
        shape: Shape::Exactly(1),
        run: |args, _| end_of(args, |items| items.into_iter().next()),
    },
    Operator { name: "$last", shape: Shape::Exactly(1), run: |args, _| end_of(args, |mut items| items.pop()) },
    Operator { name: "$firstN", shape: Shape::Named(&N_OF), run: |args, _| first_n(args) },
    Operator { name: "$lastN", shape: Shape::Named(&N_OF), run: |args, _| last_n(args) },
    Operator {
        name: "$maxN",
        shape: Shape::Named(&N_OF),
        run: |args, scope| extreme_n(args, scope, Ordering::reverse),
    },
    Operator { name: "$minN", shape: Shape::Named(&N_OF), run: |args, scope| extreme_n(args, scope, |o| o) },
    Operator { name: "$concatArrays", shape: Shape::Any, run: |args, _| concat(args) },
    Operator { name: "$in", shape: Shape::Exactly(2), run: is_in },
    Operator { name: "$indexOfArray", shape: Shape::Between(2, 4), run: index_of },
    Operator {
        name: "$isArray",
        shape: Shape::Exactly(1),
        run: |args, _| Ok(Some(Value::Bool(matches!(args.get(0), Some(Value::Array(_)))))),
    },
    Operator { name: "$range", shape: Shape::Between(2, 3), run: range },
    Operator { name: "$reverseArray", shape: Shape::Exactly(1), run: |args, _| reverse(args) },
    Operator { name: "$size", shape: Shape::Exactly(1), run: |args, _| size(args) },
    Operator { name: "$slice", shape: Shape::Between(2, 3), run: |args, _| slice(args) },
    Operator { name: "$zip", shape: Shape::Named(&ZIP), run: zip },
];

/// A whole number that fits int32.
fn int32(value: Option<&Value>) -> Option<i32> {
    let whole = value.and_then(Number::from_value)?.as_whole()?;
    i32::try_from(whole).ok()
}

fn is_number(value: Option<&Value>) -> bool {
    value.and_then(Number::from_value).is_some()
}

fn element_at(mut args: Args) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let Some(Value::Array(mut items)) = args.take(0) else {
        return Err(Error::new(
            28689,
            format!("$arrayElemAt's first argument must be an array, but is {}", args.type_of(0)),
        ));
    };
    if !is_number(args.get(1)) {
        return Err(Error::new(
            28690,
            format!("$arrayElemAt's second argument must be a numeric value, but is {}", args.type_of(1)),
        ));
    }
    let Some(at) = int32(args.get(1)) else {
        return Err(Error::new(
            28691,
            format!(
                "$arrayElemAt's second argument must be representable as a 32-bit integer: {}",
                value_text(args.get(1))
            ),
        ));
    };
    let at = if at < 0 { items.len() as i64 + i64::from(at) } else { i64::from(at) };
    match usize::try_from(at) {
        Ok(at) if at < items.len() => Ok(Some(items.swap_remove(at))),
        _ => Ok(None),
    }
}

fn end_of(mut args: Args, pick: fn(Vec<Value>) -> Option<Value>) -> Result<Option<Value>> {
    match args.take(0) {
        Some(Value::Array(items)) => Ok(pick(items)),
        value if nullish(&value) => NULL,
        value => Err(Error::new(28689, format!("{}'s argument must be an array, but is {}", args.op, type_of(&value)))),
    }
}

/// `n` as the N-operators check it.
pub(crate) fn check_n(value: &Option<Value>) -> Result<usize> {
    let Some(n) = value.as_ref().and_then(Number::from_value) else {
        return Err(Error::new(
            5787902,
            format!("Value for 'n' must be of integral type, but found {}", value_text(value.as_ref())),
        ));
    };
    let Some(n) = n.as_whole() else {
        return Err(Error::new(
            5787903,
            format!("Value for 'n' must be of integral type, but found {}", value_text(value.as_ref())),
        ));
    };
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Error::new(5787908, format!("'n' must be greater than 0, found {n}"))),
    }
}

fn n_and_items(mut args: Args) -> Result<(usize, Vec<Value>)> {
    let n = check_n(&args.take(0))?;
    match args.take(1) {
        Some(Value::Array(items)) => Ok((n, items)),
        value => Err(Error::new(
            5788200,
            format!("Input must be an array, but found {} of type {}", value_text(value.as_ref()), type_of(&value)),
        )),
    }
}

fn first_n(args: Args) -> Result<Option<Value>> {
    let (n, mut items) = n_and_items(args)?;
    items.truncate(n);
    Ok(Some(Value::Array(items)))
}

fn last_n(args: Args) -> Result<Option<Value>> {
    let (n, mut items) = n_and_items(args)?;
    items.drain(..items.len().saturating_sub(n));
    Ok(Some(Value::Array(items)))
}

fn extreme_n(args: Args, scope: &mut Scope<'_>, direction: fn(Ordering) -> Ordering) -> Result<Option<Value>> {
    let (n, mut items) = n_and_items(args)?;
    items.retain(|value| !matches!(value, Value::Null | Value::Undefined));
    items.sort_by(|a, b| direction(compare_present(scope.ctx, a, b)));
    items.truncate(n);
    Ok(Some(Value::Array(items)))
}

fn concat(args: Args) -> Result<Option<Value>> {
    let mut all = Vec::new();
    for value in args.into_values() {
        match value {
            Some(Value::Array(items)) => all.extend(items),
            value if nullish(&value) => return NULL,
            value => {
                return Err(Error::new(28664, format!("$concatArrays only supports arrays, not {}", type_of(&value))));
            }
        }
    }
    Ok(Some(Value::Array(all)))
}

fn is_in(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(Value::Array(items)) = args.get(1) else {
        return Err(Error::new(
            40081,
            format!("$in requires an array as a second argument, found: {}", args.type_of(1)),
        ));
    };
    Ok(Some(Value::Bool(items.iter().any(|item| compare(scope.ctx, args.get(0), Some(item)).is_eq()))))
}

/// Start and end of a search: `codes` are for "not integral" and "negative".
pub(super) fn search_bounds(args: &Args, len: usize, codes: [i32; 2]) -> Result<(usize, usize)> {
    let mut bounds = [0, len];
    for (i, what) in [(2, "starting"), (3, "ending")] {
        if args.len() <= i {
            continue;
        }
        let Some(n) = int32(args.get(i)) else {
            return Err(Error::new(
                codes[0],
                format!(
                    "{} requires an integral {what} index, found a value of type: {}, with value: {}",
                    args.op,
                    args.type_of(i),
                    value_text(args.get(i))
                ),
            ));
        };
        bounds[i - 2] = usize::try_from(n).map_err(|_| {
            Error::new(codes[1], format!("{} requires a nonnegative {what} index, found: {n}", args.op))
        })?;
    }
    Ok((bounds[0], bounds[1].min(len)))
}

fn index_of(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.nullish(0) {
        return NULL;
    }
    let Some(Value::Array(items)) = args.get(0) else {
        return Err(Error::new(
            40090,
            format!("$indexOfArray requires an array as a first argument, found: {}", args.type_of(0)),
        ));
    };
    let (start, end) = search_bounds(&args, items.len(), [40096, 40097])?;
    let found = items
        .get(start..end)
        .and_then(|part| part.iter().position(|item| compare(scope.ctx, Some(item), args.get(1)).is_eq()));
    Ok(Some(Value::Int32(found.map_or(-1, |at| (start + at) as i32))))
}

fn range(args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let mut bounds = [0i64, 0, 1];
    for (i, what) in ["starting", "ending", "step"].into_iter().enumerate().take(args.len()) {
        if !is_number(args.get(i)) {
            return Err(Error::new(
                34443 + 2 * i as i32,
                format!("$range requires a numeric {what} value, found value of type: {}", args.type_of(i)),
            ));
        }
        let n = int32(args.get(i)).ok_or_else(|| {
            Error::new(
                34444 + 2 * i as i32,
                format!(
                    "$range requires a {what} value that can be represented as a 32-bit integer, found value: {}",
                    value_text(args.get(i))
                ),
            )
        })?;
        bounds[i] = i64::from(n);
    }
    let [start, end, step] = bounds;
    if step == 0 {
        return Err(Error::new(34449, "$range requires a non-zero step value"));
    }
    let span = if step > 0 { end - start } else { start - end };
    let len = if span <= 0 { 0 } else { (span + step.abs() - 1) / step.abs() };
    scope.charge(len as usize * size_of::<Value>())?;
    Ok(Some(Value::Array((0..len).map(|i| Value::Int32((start + i * step) as i32)).collect())))
}

fn reverse(mut args: Args) -> Result<Option<Value>> {
    match args.take(0) {
        Some(Value::Array(mut items)) => {
            items.reverse();
            Ok(Some(Value::Array(items)))
        }
        value if nullish(&value) => NULL,
        value => Err(Error::new(
            34435,
            format!("The argument to $reverseArray must be an array, but was of type: {}", type_of(&value)),
        )),
    }
}

fn size(args: Args) -> Result<Option<Value>> {
    match args.get(0) {
        Some(Value::Array(items)) => Ok(Some(Value::Int32(items.len() as i32))),
        _ => Err(Error::new(
            17124,
            format!("The argument to $size must be an array, but was of type: {}", args.type_of(0)),
        )),
    }
}

fn slice(mut args: Args) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let Some(Value::Array(mut items)) = args.take(0) else {
        return Err(Error::new(
            28724,
            format!("First argument to $slice must be an array, but is of type: {}", args.type_of(0)),
        ));
    };
    let whole = |i: usize, what: &str, codes: [i32; 2]| {
        if !is_number(args.get(i)) {
            return Err(Error::new(
                codes[0],
                format!("{what} argument to $slice must be numeric, but is of type: {}", args.type_of(i)),
            ));
        }
        int32(args.get(i)).map(i64::from).ok_or_else(|| {
            Error::new(
                codes[1],
                format!(
                    "{what} argument to $slice can't be represented as a 32-bit integer: {}",
                    value_text(args.get(i))
                ),
            )
        })
    };
    let len = items.len() as i64;
    let first = whole(1, "Second", [28725, 28726])?;
    let (start, count) = if args.len() == 2 {
        if first >= 0 { (0, first) } else { ((len + first).max(0), -first) }
    } else {
        let count = whole(2, "Third", [28727, 28728])?;
        if count <= 0 {
            return Err(Error::new(28729, format!("Third argument to $slice must be positive: {count}")));
        }
        (if first < 0 { (len + first).max(0) } else { first.min(len) }, count)
    };
    let end = (start + count).min(len) as usize;
    items.truncate(end);
    items.drain(..(start as usize).min(items.len()));
    Ok(Some(Value::Array(items)))
}

fn zip(mut args: Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(Value::Array(inputs)) = args.take(0) else { return NULL };
    let mut columns = Vec::with_capacity(inputs.len());
    for input in inputs {
        match input {
            Value::Array(items) => columns.push(items),
            Value::Null | Value::Undefined => return NULL,
            other => {
                return Err(Error::new(
                    34468,
                    format!("$zip found a non-array expression in input: {}", value_text(Some(&other))),
                ));
            }
        }
    }
    let longest = matches!(args.get(1), Some(Value::Bool(true)));
    let lengths = columns.iter().map(Vec::len);
    let rows = if longest { lengths.max() } else { lengths.min() }.unwrap_or(0);
    let defaults = match args.take(2) {
        Some(Value::Array(defaults)) => defaults,
        _ => vec![Value::Null; columns.len()],
    };
    scope.charge(rows * (columns.len() + 1) * size_of::<Value>())?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let zipped = (0..rows).map(|_| {
        let cells = columns.iter_mut().zip(&defaults);
        Value::Array(cells.map(|(column, default)| column.next().unwrap_or_else(|| default.clone())).collect())
    });
    Ok(Some(Value::Array(zipped.collect())))
}

/// What `$zip` demands of how its arguments are written.
pub(super) fn check_zip(args: &[Option<Node>]) -> Result<()> {
    let Some(Some(Node::Array(inputs))) = args.first() else {
        return Err(Error::new(34461, "inputs must be an array of expressions"));
    };
    if inputs.is_empty() {
        return Err(Error::new(34465, "$zip requires at least one input array"));
    }
    let longest = match &args[1] {
        None => false,
        Some(Node::Literal(Some(Value::Bool(b)))) => *b,
        Some(_) => return Err(Error::new(34463, "useLongestLength must be a bool")),
    };
    match &args[2] {
        None => Ok(()),
        Some(Node::Array(_)) if !longest => {
            Err(Error::new(34466, "cannot specify defaults unless useLongestLength is true"))
        }
        Some(Node::Array(defaults)) if defaults.len() != inputs.len() => {
            Err(Error::new(34467, "defaults and inputs must have the same length"))
        }
        Some(Node::Array(_)) => Ok(()),
        Some(_) => Err(Error::new(34462, "defaults must be an array of expressions")),
    }
}

/// The order of `$sortArray`.
#[derive(Clone, Debug)]
pub(crate) enum SortBy {
    Whole { descending: bool },
    Fields(Vec<(FieldPath, bool)>),
}

pub(super) fn parse_sort_array(parser: &mut Parser<'_>, value: Raw<'_>) -> Result<Node> {
    let args = parser.named("$sortArray", &SORT_ARRAY, value)?;
    let order = match args[1].expect("required") {
        Raw::Document(pattern) => {
            if pattern.is_empty() {
                return Err(Error::new(2942505, "$sortArray sortBy must not be an empty object"));
            }
            let mut fields = Vec::new();
            for (name, direction) in pattern.iter() {
                fields.push((FieldPath::parse(name)?, descending(direction)?));
            }
            SortBy::Fields(fields)
        }
        direction if direction.is_number() => SortBy::Whole { descending: descending(direction)? },
        other => {
            return Err(Error::new(
                2942507,
                format!("$sortArray sortBy must be an object or number, but found {}", other.type_name()),
            ));
        }
    };
    Ok(Node::SortArray { input: Box::new(parser.operand(args[0].expect("required"))?), order })
}

fn descending(direction: Raw<'_>) -> Result<bool> {
    match Number::from_raw(direction).and_then(Number::as_whole) {
        Some(1) => Ok(false),
        Some(-1) => Ok(true),
        _ => Err(Error::new(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")),
    }
}

pub(super) fn sort_array(value: Option<Value>, order: &SortBy, scope: &Scope<'_>) -> Result<Option<Value>> {
    let mut items = match value {
        Some(Value::Array(items)) => items,
        value if nullish(&value) => return NULL,
        value => {
            return Err(Error::new(
                2942504,
                format!("The input argument to $sortArray must be an array, but was of type: {}", type_of(&value)),
            ));
        }
    };
    let directed = |order: Ordering, descending: bool| if descending { order.reverse() } else { order };
    match order {
        SortBy::Whole { descending } => {
            items.sort_by(|a, b| directed(compare_present(scope.ctx, a, b), *descending));
            Ok(Some(Value::Array(items)))
        }
        SortBy::Fields(fields) => {
            let mut keyed: Vec<(Vec<Value>, Value)> = items
                .into_iter()
                .map(|item| (fields.iter().map(|(path, desc)| sort_key(&item, path, *desc, scope)).collect(), item))
                .collect();
            keyed.sort_by(|(a, _), (b, _)| {
                let pairs = a.iter().zip(b).zip(fields);
                pairs.fold(Ordering::Equal, |order, ((x, y), (_, desc))| {
                    order.then_with(|| directed(compare_present(scope.ctx, x, y), *desc))
                })
            });
            Ok(Some(Value::Array(keyed.into_iter().map(|(_, item)| item).collect())))
        }
    }
}

/// An array sorts by its smallest element (largest, descending); what is missing sorts as null.
fn sort_key(item: &Value, path: &FieldPath, descending: bool, scope: &Scope<'_>) -> Value {
    let value = item.as_document().and_then(|_| path.read_value(item));
    match value {
        Some(Value::Array(items)) => {
            let by = |a: &Value, b: &Value| compare_present(scope.ctx, a, b);
            let picked = if descending { items.into_iter().max_by(by) } else { items.into_iter().min_by(by) };
            picked.unwrap_or(Value::Undefined)
        }
        Some(value) => value,
        None => Value::Null,
    }
}

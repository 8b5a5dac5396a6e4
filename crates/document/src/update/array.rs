//! What `$push`, `$addToSet`, `$pull` and `$pullAll` do to the elements of an array.

use std::cmp::Ordering;

use super::node::Node;
use super::operator::{Operand, compare, single_element};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::matcher::{Matcher, is_operator_document};
use crate::number::Number;
use crate::raw::Raw;

/// How an array came out of an operator.
#[derive(Debug)]
pub(super) enum ArrayEffect<'a> {
    Unchanged,
    /// The old elements and then new ones.
    Appended(Vec<Node<'a>>),
    /// All elements; reported whole, even if they should equal the old ones.
    Rewritten(Vec<Node<'a>>),
}

/// `$push` with its modifiers.
#[derive(Clone, Debug)]
pub(super) struct Push {
    each: Operand,
    /// Beyond the end of every array if the client gave none.
    position: i64,
    slice: Option<i64>,
    sort: Option<Sort>,
}

#[derive(Clone, Debug)]
enum Sort {
    Value { descending: bool },
    Fields(Vec<SortField>),
}

#[derive(Clone, Debug)]
struct SortField {
    path: String,
    descending: bool,
}

impl Push {
    pub fn parse(value: Raw<'_>) -> Result<Self> {
        let spec = match value {
            Raw::Document(spec) if spec.contains("$each") => spec,
            plain => return Ok(Push { each: single_element(plain), position: i64::MAX, slice: None, sort: None }),
        };
        let mut push = Push { each: single_element(Raw::Null), position: i64::MAX, slice: None, sort: None };
        for (name, argument) in spec.iter() {
            match (name, argument) {
                ("$each", Raw::Array(_)) => push.each = Operand::new(argument),
                ("$each", other) => {
                    return Err(Error::bad_value(format!(
                        "The argument to $each in $push must be an array but it was of type: {}",
                        other.type_name()
                    )));
                }
                ("$slice", _) => push.slice = Some(whole("$slice", argument)?),
                ("$position", _) => push.position = whole("$position", argument)?,
                ("$sort", _) => push.sort = Some(Sort::parse(argument)?),
                _ => return Err(Error::bad_value(format!("Unrecognized clause in $push: {name}"))),
            }
        }
        Ok(push)
    }

    /// Pushes into the elements of an existing array.
    pub fn apply<'a>(&'a self, mut items: Vec<Node<'a>>, ctx: &Context) -> ArrayEffect<'a> {
        let new: Vec<Node<'a>> = self.each.elements().into_iter().map(Node::Raw).collect();
        let old_length = items.len();
        let mut is_append = true;
        let mut is_changed = !new.is_empty();
        if !new.is_empty() {
            // `$position: <length>` goes to the same place as no position, but counts as a rewrite.
            is_append = old_length > 0 && self.position > old_length as i64;
            let at = insertion_point(self.position, old_length);
            items.splice(at..at, new);
        }
        if let Some(sort) = &self.sort {
            sort.apply(&mut items, ctx);
            (is_append, is_changed) = (false, true);
        }
        if let Some(slice) = self.slice {
            let keep = usize::try_from(slice.unsigned_abs()).unwrap_or(usize::MAX);
            if items.len() > keep {
                if slice < 0 {
                    items.drain(..items.len() - keep);
                } else {
                    items.truncate(keep);
                }
                (is_append, is_changed) = (false, true);
            }
        }
        match (is_changed, is_append) {
            (false, _) => ArrayEffect::Unchanged,
            (true, true) => ArrayEffect::Appended(items),
            (true, false) => ArrayEffect::Rewritten(items),
        }
    }
}

fn insertion_point(position: i64, length: usize) -> usize {
    if position >= 0 {
        usize::try_from(position).unwrap_or(usize::MAX).min(length)
    } else {
        length.saturating_sub(usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX))
    }
}

fn whole(clause: &str, value: Raw<'_>) -> Result<i64> {
    Number::from_raw(value).and_then(Number::as_whole).ok_or_else(|| {
        Error::bad_value(format!(
            "The value for {clause} must be an integer value but was given type: {}",
            value.type_name()
        ))
    })
}

const NOT_A_DIRECTION: &str = "The $sort element value must be either 1 or -1";

impl Sort {
    fn parse(value: Raw<'_>) -> Result<Self> {
        match value {
            Raw::Document(pattern) if pattern.is_empty() => {
                Err(Error::bad_value("The $sort pattern is empty when it should be a set of fields."))
            }
            Raw::Document(pattern) => Ok(Sort::Fields(pattern.iter().map(SortField::parse).collect::<Result<_>>()?)),
            number if number.is_number() => Ok(Sort::Value { descending: is_descending(number)? }),
            _ => Err(Error::bad_value(
                "The $sort is invalid: use 1/-1 to sort the whole element, or {field:1/-1} to sort embedded fields",
            )),
        }
    }

    fn apply(&self, items: &mut [Node<'_>], ctx: &Context) {
        match self {
            Sort::Value { descending } => {
                items.sort_by(|a, b| a.with_raw(|a| b.with_raw(|b| directed(compare(ctx, a, b), *descending))))
            }
            Sort::Fields(fields) => {
                items.sort_by(|a, b| a.with_raw(|a| b.with_raw(|b| compare_by_fields(fields, a, b, ctx))))
            }
        }
    }
}

impl SortField {
    fn parse((path, direction): (&str, Raw<'_>)) -> Result<Self> {
        if path.is_empty() {
            return Err(Error::bad_value("The $sort field cannot be empty"));
        }
        if path.split('.').any(str::is_empty) {
            let message = format!("The $sort field is a dotted field but has an empty part: {path}");
            return Err(Error::bad_value(message));
        }
        Ok(SortField { path: path.to_owned(), descending: is_descending(direction)? })
    }
}

fn is_descending(direction: Raw<'_>) -> Result<bool> {
    match Number::from_raw(direction).and_then(Number::as_whole) {
        Some(1) => Ok(false),
        Some(-1) => Ok(true),
        _ => Err(Error::bad_value(NOT_A_DIRECTION)),
    }
}

fn directed(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

/// A missing field sorts as null; an element that is no document has no fields.
fn compare_by_fields(fields: &[SortField], a: Raw<'_>, b: Raw<'_>, ctx: &Context) -> Ordering {
    let mut orders = fields.iter().map(|field| {
        let (x, y) = (value_at(a, &field.path), value_at(b, &field.path));
        directed(compare(ctx, x, y), field.descending)
    });
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn value_at<'a>(element: Raw<'a>, path: &str) -> Raw<'a> {
    let Raw::Document(_) = element else { return Raw::Null };
    let mut value = element;
    for component in path.split('.') {
        match value {
            Raw::Document(doc) | Raw::Array(doc) => match doc.get(component) {
                Some(below) => value = below,
                None => return Raw::Null,
            },
            _ => return Raw::Null,
        }
    }
    value
}

/// The values under the collation's order, for looking up equals. Keeps positions.
struct Sorted<'v, 'c> {
    values: Vec<(Raw<'v>, usize)>,
    ctx: &'c Context,
}

impl<'v, 'c> Sorted<'v, 'c> {
    fn new(values: &[Raw<'v>], ctx: &'c Context) -> Self {
        let mut values: Vec<_> = values.iter().enumerate().map(|(i, value)| (*value, i)).collect();
        values.sort_by(|(a, _), (b, _)| compare(ctx, *a, *b));
        Sorted { values, ctx }
    }

    /// The range of values that equal `value`.
    fn equals(&self, value: Raw<'_>) -> &[(Raw<'v>, usize)] {
        let start = self.values.partition_point(|(other, _)| compare(self.ctx, *other, value).is_lt());
        let length = self.values[start..].partition_point(|(other, _)| compare(self.ctx, *other, value).is_eq());
        &self.values[start..start + length]
    }
}

/// The values of a set in their order, each once.
pub(super) fn distinct<'v>(values: &[Raw<'v>], ctx: &Context) -> Vec<Raw<'v>> {
    let sorted = Sorted::new(values, ctx);
    // The sort is stable, so the first of equals is the one that came first.
    let first = |value: Raw<'_>| sorted.equals(value).first().map(|(_, i)| *i);
    values.iter().enumerate().filter(|(i, value)| first(**value) == Some(*i)).map(|(_, value)| *value).collect()
}

/// `$addToSet` into an existing array.
pub(super) fn add_to_set<'a>(new: &'a Operand, mut items: Vec<Node<'a>>, ctx: &Context) -> ArrayEffect<'a> {
    let new = distinct(&new.elements(), ctx);
    let sorted = Sorted::new(&new, ctx);
    let mut is_present = vec![false; new.len()];
    for item in &items {
        item.with_raw(|item| {
            for (_, position) in sorted.equals(item) {
                is_present[*position] = true;
            }
        });
    }
    let before = items.len();
    items.extend(new.iter().zip(&is_present).filter(|(_, present)| !**present).map(|(value, _)| Node::Raw(*value)));
    if items.len() == before { ArrayEffect::Unchanged } else { ArrayEffect::Appended(items) }
}

/// `$pullAll` from an existing array.
pub(super) fn pull_all<'a>(values: &Operand, items: Vec<Node<'a>>, ctx: &Context) -> ArrayEffect<'a> {
    let values = values.elements();
    let sorted = Sorted::new(&values, ctx);
    let before = items.len();
    let kept: Vec<_> = items.into_iter().filter(|item| item.with_raw(|item| sorted.equals(item).is_empty())).collect();
    if kept.len() == before { ArrayEffect::Unchanged } else { ArrayEffect::Rewritten(kept) }
}

/// Which elements `$pull` removes.
#[derive(Clone, Debug)]
pub(super) enum Pull {
    /// Those equal to a value.
    Equal(Operand),
    /// Those for which a condition such as `{$gte: 5}` holds.
    Condition(Matcher),
    /// Documents that a filter matches.
    Documents(Matcher),
}

impl Pull {
    pub fn parse(value: Raw<'_>, ctx: &Context) -> Result<Self> {
        Ok(match value {
            Raw::Document(condition) if is_operator_document(condition) => {
                Pull::Condition(Matcher::parse_condition(value, ctx)?)
            }
            Raw::Document(filter) => Pull::Documents(Matcher::parse(filter, ctx)?),
            Raw::Regex { .. } => Pull::Condition(Matcher::parse_condition(value, ctx)?),
            _ => Pull::Equal(Operand::new(value)),
        })
    }

    pub fn apply<'a>(&self, items: Vec<Node<'a>>, ctx: &Context) -> Result<ArrayEffect<'a>> {
        let before = items.len();
        let mut kept = Vec::with_capacity(before);
        for item in items {
            if !item.with_raw(|item| self.removes(item, ctx))? {
                kept.push(item);
            }
        }
        Ok(if kept.len() == before { ArrayEffect::Unchanged } else { ArrayEffect::Rewritten(kept) })
    }

    fn removes(&self, element: Raw<'_>, ctx: &Context) -> Result<bool> {
        match (self, element) {
            (Pull::Equal(value), _) => Ok(compare(ctx, element, value.raw()).is_eq()),
            (Pull::Condition(condition), _) => condition.match_value(element),
            (Pull::Documents(filter), Raw::Document(doc)) => filter.matches(doc),
            (Pull::Documents(_), _) => Ok(false),
        }
    }
}

//! Evaluates SQL/JSON paths.
//!
//! Lax mode unwraps arrays where an object is wanted, wraps single values where an array is, and
//! passes over what is missing; strict mode refuses all three. Inside a filter an error makes the
//! condition unknown.

use document::Raw;

use super::parse::{Accessor, Comparison, Method, Node, Path, Predicate};
use crate::compare::compare_json;
use crate::datum::Json;
use crate::error::{Result, SqlError};
use crate::json::parse::numeric_value;
use crate::json::{self, Plain};
use crate::numeric::Numeric;

/// Most items that a path may lead to.
const MAX_ITEMS: usize = 1_000_000;

/// All items that a path leads to.
pub fn evaluate(path: &Path, root: &Json, variables: Option<&Json>) -> Result<Vec<Json>> {
    let evaluator = Evaluator { strict: path.strict, root, variables };
    evaluator.node(&path.root, &Scope { current: root, last: None })
}

struct Evaluator<'a> {
    strict: bool,
    root: &'a Json,
    variables: Option<&'a Json>,
}

/// What `@` and `last` mean at a place.
struct Scope<'a> {
    current: &'a Json,
    last: Option<i64>,
}

fn number_json(n: &Numeric) -> Json {
    let value = numeric_value(n);
    json::make(|writer, name| writer.value(name, &value))
}

fn string_json(s: &str) -> Json {
    json::make(|writer, name| writer.str(name, s))
}

fn as_number(item: &Json) -> Option<Numeric> {
    match Plain::of(item.raw()) {
        Plain::Number(raw) => json::number(raw),
        _ => None,
    }
}

impl Evaluator<'_> {
    fn node(&self, node: &Node, scope: &Scope<'_>) -> Result<Vec<Json>> {
        Ok(vec![match node {
            Node::Root => self.root.clone(),
            Node::Current => scope.current.clone(),
            Node::Null => Json::copy(Raw::Null),
            Node::Bool(b) => Json::copy(Raw::Bool(*b)),
            Node::Number(n) => number_json(n),
            Node::String(s) => string_json(s),
            Node::Last => match scope.last {
                Some(last) => Json::copy(Raw::Int64(last)),
                None => return Err(SqlError::new("42601", "LAST is allowed only in array subscripts")),
            },
            Node::Variable(name) => {
                let found = self.variables.and_then(|v| json::step(v.raw(), name).map(|item| v.share(item)));
                found.ok_or_else(|| SqlError::new("42704", format!("could not find jsonpath variable \"{name}\"")))?
            }
            Node::Access(base, accessor) => return self.access(&self.node(base, scope)?, accessor, scope),
            Node::Arithmetic(left, op, right) => self.arithmetic(left, *op, right, scope)?,
            Node::Sign(inner, negative) => return self.sign(inner, *negative, scope),
            Node::Predicate(predicate) => match self.holds(predicate, scope) {
                Some(b) => Json::copy(Raw::Bool(b)),
                None => Json::copy(Raw::Null),
            },
        }])
    }

    /// Items, arrays among them opened in lax mode.
    fn unwrapped(&self, items: Vec<Json>) -> Vec<Json> {
        if self.strict {
            return items;
        }
        items
            .into_iter()
            .flat_map(|item| match item.raw() {
                Raw::Array(array) => array.values().map(|inner| item.share(inner)).collect(),
                _ => vec![item],
            })
            .collect()
    }

    fn access(&self, items: &[Json], accessor: &Accessor, scope: &Scope<'_>) -> Result<Vec<Json>> {
        let mut out = Vec::new();
        let opens = matches!(accessor, Accessor::Key(_) | Accessor::AnyKey | Accessor::Filter(_))
            || matches!(accessor, Accessor::Method(m) if !matches!(m, Method::Type | Method::Size));
        let items = if opens { self.unwrapped(items.to_vec()) } else { items.to_vec() };
        for item in &items {
            self.access_one(item, accessor, scope, &mut out)?;
            if out.len() > MAX_ITEMS {
                return Err(SqlError::new("54000", format!("jsonpath leads to more than {MAX_ITEMS} items")));
            }
        }
        Ok(out)
    }

    fn access_one(&self, item: &Json, accessor: &Accessor, scope: &Scope<'_>, out: &mut Vec<Json>) -> Result<()> {
        match accessor {
            Accessor::Key(name) => match item.raw() {
                Raw::Document(doc) => match doc.get(name) {
                    Some(found) => out.push(item.share(found)),
                    None if self.strict => {
                        return Err(SqlError::new("2203A", format!("JSON object does not contain key \"{name}\"")));
                    }
                    None => {}
                },
                _ if self.strict => {
                    return Err(SqlError::new("2203A", "jsonpath member accessor can only be applied to an object"));
                }
                _ => {}
            },
            Accessor::AnyKey => match item.raw() {
                Raw::Document(doc) => out.extend(doc.iter().map(|(_, value)| item.share(value))),
                _ if self.strict => {
                    return Err(SqlError::new(
                        "2203C",
                        "jsonpath wildcard member accessor can only be applied to an object",
                    ));
                }
                _ => {}
            },
            Accessor::AnyElement => match item.raw() {
                Raw::Array(array) => out.extend(array.values().map(|value| item.share(value))),
                _ if self.strict => {
                    return Err(SqlError::new(
                        "22039",
                        "jsonpath wildcard array accessor can only be applied to an array",
                    ));
                }
                _ => out.push(item.clone()),
            },
            Accessor::Elements(ranges) => self.elements(item, ranges, scope, out)?,
            Accessor::Descend(from, to) => descend(item, 0, *from, *to, out),
            Accessor::Filter(predicate) => {
                let inner = Scope { current: item, last: scope.last };
                if self.holds(predicate, &inner) == Some(true) {
                    out.push(item.clone());
                }
            }
            Accessor::Method(method) => self.method(item, *method, out)?,
        }
        Ok(())
    }

    fn elements(
        &self,
        item: &Json,
        ranges: &[(Node, Option<Node>)],
        scope: &Scope<'_>,
        out: &mut Vec<Json>,
    ) -> Result<()> {
        let list: Vec<Json> = match item.raw() {
            Raw::Array(array) => array.values().map(|value| item.share(value)).collect(),
            _ if self.strict => {
                return Err(SqlError::new("22039", "jsonpath array accessor can only be applied to an array"));
            }
            _ => vec![item.clone()],
        };
        let inner = Scope { current: scope.current, last: Some(list.len() as i64 - 1) };
        let index = |node: &Node| -> Result<i64> {
            match self.node(node, &inner)?.as_slice() {
                [one] => as_number(one).and_then(|n| n.truncate(0).ok()?.to_i64()),
                _ => None,
            }
            .ok_or_else(|| SqlError::new("22033", "jsonpath array subscript is not a single numeric value"))
        };
        for (from, to) in ranges {
            let from = index(from)?;
            let to = to.as_ref().map_or(Ok(from), index)?;
            if self.strict && (from < 0 || from > to || to >= list.len() as i64) {
                return Err(SqlError::new("22033", "jsonpath array subscript is out of bounds"));
            }
            let (from, to) = (from.max(0), to.min(list.len() as i64 - 1));
            if from <= to {
                out.extend_from_slice(&list[from as usize..=to as usize]);
            }
        }
        Ok(())
    }

    fn method(&self, item: &Json, method: Method, out: &mut Vec<Json>) -> Result<()> {
        let numeric = |name: &str| {
            as_number(item).ok_or_else(|| {
                SqlError::new("22036", format!("jsonpath item method .{name}() can only be applied to a numeric value"))
            })
        };
        out.push(match method {
            Method::Type => string_json(Plain::of(item.raw()).type_name()),
            Method::Size => match item.raw() {
                Raw::Array(array) => Json::copy(Raw::Int32(array.values().count() as i32)),
                _ if self.strict => {
                    return Err(SqlError::new(
                        "22039",
                        "jsonpath item method .size() can only be applied to an array",
                    ));
                }
                _ => Json::copy(Raw::Int32(1)),
            },
            Method::Ceiling => number_json(&numeric("ceiling")?.ceil()?),
            Method::Floor => number_json(&numeric("floor")?.floor()?),
            Method::Abs => number_json(&numeric("abs")?.abs()),
            Method::Double => match Plain::of(item.raw()) {
                Plain::Number(_) => item.clone(),
                Plain::String(s) => {
                    let parsed = s.trim().parse::<f64>().ok().filter(|x| x.is_finite());
                    let x = parsed.ok_or_else(|| {
                        SqlError::new(
                            "22036",
                            "string argument of jsonpath item method .double() is not a valid representation of a double precision number",
                        )
                    })?;
                    number_json(&Numeric::from_f64_shortest(x))
                }
                _ => {
                    return Err(SqlError::new(
                        "22036",
                        "jsonpath item method .double() can only be applied to a string or numeric value",
                    ));
                }
            },
            Method::KeyValue => {
                let Raw::Document(doc) = item.raw() else {
                    return Err(SqlError::new(
                        "2203C",
                        "jsonpath item method .keyvalue() can only be applied to an object",
                    ));
                };
                out.extend(doc.iter().map(|(key, value)| {
                    json::build::object(|writer| {
                        writer.str("key", key);
                        writer.raw("value", value);
                    })
                }));
                return Ok(());
            }
        });
        Ok(())
    }

    fn single_number(&self, node: &Node, side: &str, op: char, scope: &Scope<'_>) -> Result<Numeric> {
        let items = self.unwrapped(self.node(node, scope)?);
        match items.as_slice() {
            [one] => as_number(one),
            _ => None,
        }
        .ok_or_else(|| {
            SqlError::new("22038", format!("{side} operand of jsonpath operator {op} is not a single numeric value"))
        })
    }

    fn arithmetic(&self, left: &Node, op: char, right: &Node, scope: &Scope<'_>) -> Result<Json> {
        let a = self.single_number(left, "left", op, scope)?;
        let b = self.single_number(right, "right", op, scope)?;
        let result = match op {
            '+' => a.add(&b),
            '-' => a.subtract(&b),
            '*' => a.multiply(&b),
            '/' => a.divide(&b),
            _ => a.remainder(&b),
        }?;
        Ok(number_json(&result))
    }

    fn sign(&self, inner: &Node, negative: bool, scope: &Scope<'_>) -> Result<Vec<Json>> {
        self.unwrapped(self.node(inner, scope)?)
            .iter()
            .map(|item| {
                let n = as_number(item).ok_or_else(|| {
                    let op = if negative { '-' } else { '+' };
                    SqlError::new("2203B", format!("operand of unary jsonpath operator {op} is not a numeric value"))
                })?;
                Ok(number_json(&if negative { n.negate() } else { n }))
            })
            .collect()
    }

    /// True, false, or unknown.
    fn holds(&self, predicate: &Predicate, scope: &Scope<'_>) -> Option<bool> {
        match predicate {
            Predicate::And(a, b) => match (self.holds(a, scope), self.holds(b, scope)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Predicate::Or(a, b) => match (self.holds(a, scope), self.holds(b, scope)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Predicate::Not(inner) => self.holds(inner, scope).map(|b| !b),
            Predicate::IsUnknown(inner) => Some(self.holds(inner, scope).is_none()),
            Predicate::Exists(node) => self.node(node, scope).ok().map(|items| !items.is_empty()),
            Predicate::Compare(left, comparison, right) => {
                self.any_pair(left, right, scope, |a, b| compare(a, *comparison, b))
            }
            Predicate::StartsWith(left, right) => {
                self.any_pair(left, right, scope, |a, b| match (Plain::of(a.raw()), Plain::of(b.raw())) {
                    (Plain::String(text), Plain::String(start)) => Some(text.starts_with(start.as_ref())),
                    _ => None,
                })
            }
            Predicate::LikeRegex(node, pattern, flags) => {
                let regex = crate::functions::pattern::compile(pattern, flags).ok()?;
                self.any(self.node(node, scope).ok()?, |item| match Plain::of(item.raw()) {
                    Plain::String(text) => Some(regex.is_match(&text)),
                    _ => None,
                })
            }
        }
    }

    /// Lax: true as soon as one is true. Strict: unknown as soon as one is unknown.
    fn any(&self, items: Vec<Json>, test: impl Fn(&Json) -> Option<bool>) -> Option<bool> {
        let (mut found, mut unknown) = (false, false);
        for item in self.unwrapped(items) {
            match test(&item) {
                Some(true) if !self.strict => return Some(true),
                Some(true) => found = true,
                Some(false) => {}
                None if self.strict => return None,
                None => unknown = true,
            }
        }
        match (found, unknown) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }

    fn any_pair(
        &self,
        left: &Node,
        right: &Node,
        scope: &Scope<'_>,
        test: impl Fn(&Json, &Json) -> Option<bool>,
    ) -> Option<bool> {
        let right = self.unwrapped(self.node(right, scope).ok()?);
        let left = self.node(left, scope).ok()?;
        self.any(left, |a| {
            let answers: Vec<Option<bool>> = right.iter().map(|b| test(a, b)).collect();
            if answers.contains(&Some(true)) {
                Some(true)
            } else if answers.contains(&None) {
                None
            } else {
                Some(false)
            }
        })
    }
}

/// Items of one kind compare; null equals only null; others are unknown to each other.
fn compare(a: &Json, comparison: Comparison, b: &Json) -> Option<bool> {
    let (x, y) = (Plain::of(a.raw()), Plain::of(b.raw()));
    let same_kind = x.type_name() == y.type_name();
    if !same_kind {
        let with_null = matches!(x, Plain::Null) || matches!(y, Plain::Null);
        return with_null.then_some(comparison == Comparison::NotEqual);
    }
    if !x.is_scalar() {
        return None;
    }
    let order = compare_json(a.raw(), b.raw());
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// The item and everything below it, by levels.
fn descend(item: &Json, level: u32, from: u32, to: u32, out: &mut Vec<Json>) {
    if out.len() > MAX_ITEMS {
        return;
    }
    let children: Vec<Json> =
        item.container().map_or_else(Vec::new, |doc| doc.values().map(|v| item.share(v)).collect());
    let is_leaf = children.is_empty();
    if level >= from && (from != u32::MAX || is_leaf) || from == u32::MAX && is_leaf {
        out.push(item.clone());
    }
    if level < to {
        children.iter().for_each(|child| descend(child, level + 1, from, to, out));
    }
}

//! `$group`, and the accumulators it shares with `$bucketAuto` and window functions.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Budget, DocStream};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::accumulator::{self, Accumulator};
use crate::expression::{Expression, check_n, compare_present, nullish, size_of_value};
use crate::key_string;
use crate::number::Number;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::sort::{SortKey, SortPattern};
use crate::value::{Doc, Value};
use crate::write::DocWriter;

/// A parsed `$group`.
#[derive(Debug)]
pub struct Group {
    id: Expression,
    fields: Vec<(String, Spec)>,
    ctx: Context,
}

/// One accumulator of a specification.
#[derive(Debug)]
pub(super) struct Spec {
    kind: Kind,
    input: Expression,
}

#[derive(Debug)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
    StdDev {
        sample: bool,
    },
    MergeObjects,
    First,
    Last,
    Push,
    AddToSet,
    FirstN(Expression),
    LastN(Expression),
    Extreme {
        n: Expression,
        largest: bool,
    },
    /// `$top`, `$topN`, `$bottom`, `$bottomN`; without `n` the result is no array.
    Ranked {
        pattern: SortPattern,
        n: Option<Expression>,
        bottom: bool,
    },
    Percentile {
        at: Vec<f64>,
        single: bool,
    },
}

impl Spec {
    /// Parses `{$operator: argument}`.
    pub fn parse(field: &str, spec: Raw<'_>, ctx: &Context) -> Result<Spec> {
        let Raw::Document(spec) = spec else {
            return Err(Error::new(40234, format!("The field '{field}' must be an accumulator object")));
        };
        let mut operators = spec.iter();
        let Some((name, argument)) = operators.next() else {
            return Err(Error::new(40234, format!("The field '{field}' must be an accumulator object")));
        };
        if operators.next().is_some() {
            return Err(Error::new(40238, format!("The field '{field}' must specify one accumulator")));
        }
        Spec::parse_operator(name, argument, ctx)
    }

    pub fn parse_operator(name: &str, argument: Raw<'_>, ctx: &Context) -> Result<Spec> {
        let plain = |kind| {
            let argument = match argument {
                Raw::Array(items) => {
                    let mut items = items.values();
                    match (items.next(), items.next()) {
                        (Some(single), None) => single,
                        _ => return Err(Error::new(40237, format!("The {name} accumulator is a unary operator"))),
                    }
                }
                other => other,
            };
            Ok(Spec { kind, input: Expression::parse(argument, ctx)? })
        };
        match name {
            "$sum" => plain(Kind::Sum),
            "$avg" => plain(Kind::Avg),
            "$min" => plain(Kind::Min),
            "$max" => plain(Kind::Max),
            "$stdDevPop" => plain(Kind::StdDev { sample: false }),
            "$stdDevSamp" => plain(Kind::StdDev { sample: true }),
            "$mergeObjects" => plain(Kind::MergeObjects),
            "$first" => plain(Kind::First),
            "$last" => plain(Kind::Last),
            "$push" => plain(Kind::Push),
            "$addToSet" => plain(Kind::AddToSet),
            "$count" => match argument {
                Raw::Document(doc) if doc.is_empty() => {
                    Ok(Spec { kind: Kind::Sum, input: Expression::constant(Value::Int32(1), ctx) })
                }
                _ => Err(Error::type_mismatch("$count takes no arguments, i.e. $count:{}")),
            },
            "$firstN" | "$lastN" | "$maxN" | "$minN" => parse_n(name, argument, ctx),
            "$top" | "$topN" | "$bottom" | "$bottomN" => parse_ranked(name, argument, ctx),
            "$median" | "$percentile" => parse_percentile(name, argument, ctx),
            _ => Err(Error::new(15952, format!("unknown group operator '{name}'"))),
        }
    }

    /// Whether the order of the inputs makes no difference.
    pub fn is_commutative(&self) -> bool {
        matches!(
            self.kind,
            Kind::Sum
                | Kind::Avg
                | Kind::Min
                | Kind::Max
                | Kind::StdDev { .. }
                | Kind::Extreme { .. }
                | Kind::Percentile { .. }
        )
    }

    /// A fresh state; `n` may depend on the group's key.
    pub fn start(&self, key: &Value) -> Result<State> {
        let n = |n: &Expression| {
            let buf = match key {
                Value::Document(doc) => doc.to_buf(),
                _ => DocBuf::default(),
            };
            check_n(&n.evaluate(buf.as_doc())?)
        };
        Ok(match &self.kind {
            Kind::Sum => State::Simple(Accumulator::sum()),
            Kind::Avg => State::Simple(Accumulator::avg()),
            Kind::Min => State::Simple(Accumulator::Min(None)),
            Kind::Max => State::Simple(Accumulator::Max(None)),
            Kind::StdDev { sample } => State::Simple(Accumulator::std_dev(*sample)),
            Kind::MergeObjects => State::Simple(Accumulator::merge_objects()),
            Kind::First => State::First(None),
            Kind::Last => State::Last(Value::Null),
            Kind::Push => State::Push(Vec::new()),
            Kind::AddToSet => State::AddToSet { seen: FxHashSet::default(), values: Vec::new() },
            Kind::FirstN(expression) => State::FirstN { n: n(expression)?, values: Vec::new() },
            Kind::LastN(expression) => State::LastN { n: n(expression)?, values: VecDeque::new() },
            Kind::Extreme { n: expression, largest } => {
                State::Extreme { n: n(expression)?, largest: *largest, values: Vec::new() }
            }
            Kind::Ranked { n: expression, .. } => {
                State::Ranked { n: expression.as_ref().map_or(Ok(1), n)?, entries: Vec::new() }
            }
            Kind::Percentile { .. } => State::Percentile(Vec::new()),
        })
    }

    /// Feeds one document; returns the bytes that the state grew by.
    pub fn push(&self, state: &mut State, doc: RawDoc<'_>, ctx: &Context) -> Result<usize> {
        let value = self.input.evaluate(doc)?;
        let size = value.as_ref().map_or(0, size_of_value);
        let or_null = |value: Option<Value>| value.unwrap_or(Value::Null);
        match state {
            State::Simple(accumulator) => {
                accumulator.push(value, ctx)?;
                return Ok(if matches!(self.kind, Kind::MergeObjects) { size } else { 0 });
            }
            State::First(first) => {
                first.get_or_insert(or_null(value));
                return Ok(0);
            }
            State::Last(last) => {
                *last = or_null(value);
                return Ok(0);
            }
            State::Push(values) => values.extend(value),
            State::AddToSet { seen, values } => {
                let Some(value) = value else { return Ok(0) };
                if !seen.insert(key_of(&value, ctx)) {
                    return Ok(0);
                }
                values.push(value);
                return Ok(size * 2);
            }
            State::FirstN { n, values } => {
                if values.len() >= *n {
                    return Ok(0);
                }
                values.push(or_null(value));
            }
            State::LastN { n, values } => {
                values.push_back(or_null(value));
                if values.len() > *n {
                    values.pop_front();
                    return Ok(0);
                }
            }
            State::Extreme { n, largest, values } => {
                if nullish(&value) {
                    return Ok(0);
                }
                let value = or_null(value);
                let at = values.partition_point(|old| {
                    let order = compare_present(ctx, old, &value);
                    if *largest { order.is_ge() } else { order.is_le() }
                });
                values.insert(at, value);
                if values.len() > *n {
                    values.pop();
                    return Ok(0);
                }
            }
            State::Ranked { n, entries } => {
                let Kind::Ranked { pattern, bottom, .. } = &self.kind else { return Ok(0) };
                let key = pattern.key(doc)?;
                let at = entries.partition_point(|(old, _)| *old <= key);
                entries.insert(at, (key, or_null(value)));
                if entries.len() > *n {
                    entries.remove(if *bottom { 0 } else { *n });
                    return Ok(0);
                }
            }
            State::Percentile(numbers) => {
                if let Some(n) = value.as_ref().and_then(Number::from_value)
                    && !n.is_nan()
                {
                    numbers.push(n.to_f64());
                }
                return Ok(size_of::<f64>());
            }
        }
        Ok(size)
    }

    pub fn finish(&self, state: &State) -> Value {
        match state {
            State::Simple(accumulator) => accumulator.value().unwrap_or(Value::Null),
            State::First(first) => first.clone().unwrap_or(Value::Null),
            State::Last(last) => last.clone(),
            State::Push(values)
            | State::AddToSet { values, .. }
            | State::FirstN { values, .. }
            | State::Extreme { values, .. } => Value::Array(values.clone()),
            State::LastN { values, .. } => Value::Array(values.iter().cloned().collect()),
            State::Ranked { entries, .. } => {
                let mut values = entries.iter().map(|(_, value)| value.clone());
                match &self.kind {
                    Kind::Ranked { n: None, .. } => values.next().unwrap_or(Value::Null),
                    _ => Value::Array(values.collect()),
                }
            }
            State::Percentile(numbers) => self.percentiles(numbers),
        }
    }

    fn percentiles(&self, numbers: &[f64]) -> Value {
        let Kind::Percentile { at, single } = &self.kind else { return Value::Null };
        let values = accumulator::percentiles(numbers.to_vec(), at);
        if *single { values.into_iter().next().unwrap_or(Value::Null) } else { Value::Array(values) }
    }
}

/// What an accumulator has gathered.
#[derive(Debug)]
pub(super) enum State {
    Simple(Accumulator),
    First(Option<Value>),
    Last(Value),
    Push(Vec<Value>),
    AddToSet {
        seen: FxHashSet<Vec<u8>>,
        values: Vec<Value>,
    },
    FirstN {
        n: usize,
        values: Vec<Value>,
    },
    LastN {
        n: usize,
        values: VecDeque<Value>,
    },
    /// Best first.
    Extreme {
        n: usize,
        largest: bool,
        values: Vec<Value>,
    },
    /// In the order of the pattern.
    Ranked {
        n: usize,
        entries: Vec<(SortKey, Value)>,
    },
    Percentile(Vec<f64>),
}

/// Arguments of an object-valued accumulator, each required.
fn arguments<'a, const N: usize>(op: &str, argument: Raw<'a>, names: [&str; N], code: i32) -> Result<[Raw<'a>; N]> {
    let Raw::Document(doc) = argument else {
        return Err(Error::new(code, format!("specification must be an object; found {op}: {}", argument.type_name())));
    };
    let mut found = [None; N];
    for (name, value) in doc.iter() {
        match names.iter().position(|wanted| *wanted == name) {
            Some(at) => found[at] = Some(value),
            None => return Err(Error::new(code + 1, format!("Unknown argument to {op}: {name}"))),
        }
    }
    let mut values = [Raw::Null; N];
    for ((slot, value), name) in values.iter_mut().zip(found).zip(names) {
        *slot = value.ok_or_else(|| Error::new(code + 6, format!("Missing value for '{name}' in {op}")))?;
    }
    Ok(values)
}

fn parse_n(name: &str, argument: Raw<'_>, ctx: &Context) -> Result<Spec> {
    let [input, n] = arguments(name, argument, ["input", "n"], 5787900)?;
    let n = parse_count(n, ctx)?;
    let kind = match name {
        "$firstN" => Kind::FirstN(n),
        "$lastN" => Kind::LastN(n),
        _ => Kind::Extreme { n, largest: name == "$maxN" },
    };
    Ok(Spec { kind, input: Expression::parse(input, ctx)? })
}

fn parse_count(n: Raw<'_>, ctx: &Context) -> Result<Expression> {
    let n = Expression::parse(n, ctx)?;
    if let Some(constant) = n.as_constant() {
        check_n(&constant.cloned())?;
    }
    Ok(n)
}

fn parse_ranked(name: &str, argument: Raw<'_>, ctx: &Context) -> Result<Spec> {
    let (sort, output, n) = if name.ends_with('N') {
        let [sort, output, n] = arguments(name, argument, ["sortBy", "output", "n"], 5788000)?;
        (sort, output, Some(parse_count(n, ctx)?))
    } else {
        let [sort, output] = arguments(name, argument, ["sortBy", "output"], 5788000)?;
        (sort, output, None)
    };
    let Raw::Document(sort) = sort else {
        return Err(Error::new(
            5788604,
            format!("expected 'sortBy' to already be an object in the arguments to {name}"),
        ));
    };
    let pattern = SortPattern::parse(sort, ctx)?;
    Ok(Spec {
        kind: Kind::Ranked { pattern, n, bottom: name.starts_with("$bottom") },
        input: Expression::parse(output, ctx)?,
    })
}

fn parse_percentile(name: &str, argument: Raw<'_>, ctx: &Context) -> Result<Spec> {
    let (input, p, method) = if name == "$median" {
        let [input, method] = arguments(name, argument, ["input", "method"], 7436100)?;
        (input, None, method)
    } else {
        let [input, p, method] = arguments(name, argument, ["input", "p", "method"], 7429700)?;
        (input, Some(p), method)
    };
    match method {
        Raw::String("approximate") => {}
        _ => {
            return Err(Error::bad_value("Currently only 'approximate' can be used as percentile 'method'."));
        }
    }
    let at = match p {
        None => vec![0.5],
        Some(p) => accumulator::percentile_points(&Expression::parse(p, ctx)?.evaluate(RawDoc::EMPTY)?)?,
    };
    Ok(Spec { kind: Kind::Percentile { at, single: p.is_none() }, input: Expression::parse(input, ctx)? })
}

/// Bytes that are equal exactly for values that compare equal.
pub(super) fn key_of(value: &Value, ctx: &Context) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    match value {
        Value::Document(_) | Value::Array(_) | Value::CodeWithScope { .. } => {
            let mut writer = DocWriter::new();
            writer.value("", value);
            let wrapped = writer.finish();
            let value = wrapped.get("").unwrap_or(Raw::Null);
            key_string::encode_value(value, &mut key, false, ctx.collation.as_deref());
        }
        scalar => key_string::encode_value(scalar.as_scalar(), &mut key, false, ctx.collation.as_deref()),
    }
    key
}

impl Group {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<Group> {
        let Raw::Document(spec) = spec else {
            return Err(Error::new(15947, "a group's fields must be specified in an object"));
        };
        let (mut id, mut fields) = (None, Vec::new());
        for (name, value) in spec.iter() {
            if name == "_id" {
                if id.is_some() {
                    return Err(Error::new(15948, "a group's _id may only be specified once"));
                }
                id = Some(Expression::parse(value, ctx)?);
                continue;
            }
            if name.starts_with('$') {
                return Err(Error::new(40236, format!("The field name '{name}' cannot be an operator name")));
            }
            if name.contains('.') {
                return Err(Error::new(40235, format!("The field name '{name}' cannot contain '.'")));
            }
            fields.push((name.to_owned(), Spec::parse(name, value, ctx)?));
        }
        let id = id.ok_or_else(|| Error::new(15955, "a group specification must include an _id"))?;
        Ok(Group { id, fields, ctx: ctx.clone() })
    }

    pub(super) fn run(&self, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
        let mut budget = Budget::new("$group");
        let mut places: FxHashMap<Vec<u8>, usize> = FxHashMap::default();
        let mut groups: Vec<(Value, Vec<State>)> = Vec::new();
        for doc in input {
            let doc = doc?;
            let id = self.id.evaluate(doc.as_doc())?.unwrap_or(Value::Null);
            let key = key_of(&id, &self.ctx);
            let at = match places.get(&key) {
                Some(at) => *at,
                None => {
                    budget.charge(key.len() + size_of_value(&id) + self.fields.len() * size_of::<State>() + 64)?;
                    let states: Result<Vec<State>> = self.fields.iter().map(|(_, spec)| spec.start(&id)).collect();
                    groups.push((id, states?));
                    places.insert(key, groups.len() - 1);
                    groups.len() - 1
                }
            };
            for ((_, spec), state) in self.fields.iter().zip(&mut groups[at].1) {
                budget.charge(spec.push(state, doc.as_doc(), &self.ctx)?)?;
            }
        }
        Ok(groups.into_iter().map(|(id, states)| self.result(id, &states)).collect())
    }

    fn result(&self, id: Value, states: &[State]) -> DocBuf {
        let mut doc = Doc::new().with("_id", id);
        for ((name, spec), state) in self.fields.iter().zip(states) {
            doc.push(name.as_str(), spec.finish(state));
        }
        doc.to_buf()
    }
}

//! Which documents a bounded query can need: SQL conditions as filters for the store's planner.
//!
//! ```text
//!   Filter: _id = '7'::jsonb AND …        {_id: {$in: [7]}}      index _id_
//!     ->  Scan collection shop.orders  ─────────────────────▶  candidates ──▶ the whole Filter again
//! ```
//!
//! SQL compares JSON or text; the store compares BSON. A filter therefore only has to let through
//! every document that the condition may hold for: the Filter above decides. So a condition counts
//! only where all BSON values that are equal to its constant in SQL are known: an equality (or IN)
//! with strings, booleans and whole numbers that doubles hold exactly. Ranges are left out: in
//! jsonb's order an array is above every number, in the store's it is of another kind.
//!
//! # Invariants
//! - A document whose field satisfies the SQL condition matches the filter.

use std::sync::Arc;

use dataflow::Input;
use document::json::base64;
use document::matcher::Matcher;
use document::{Binary, Context, Doc, DocBuf, Raw, Value};
use rustc_hash::{FxHashMap, FxHashSet};
use sql::functions::Volatility;
use sql::json::Plain;
use sql::plan::{PathStep, ScanColumn};
use sql::{Datum, EvalContext, Expr, ExprKind, Json, Plan, Source, Type};
use store::{Collection, Reader, planner};

/// Whole numbers up to here are exact as a double.
const MAX_EXACT: i64 = 1 << 53;
/// Longest IN list that becomes a filter.
const MAX_VALUES: usize = 1000;

/// Filters by what they narrow.
pub type SourceFilters = FxHashMap<Input, DocBuf>;

/// The filters of a plan's collections; none for what is read at several places.
pub fn source_filters(plan: &Arc<Plan>, ctx: &EvalContext<'_>) -> SourceFilters {
    let mut found: FxHashMap<Input, Option<DocBuf>> = FxHashMap::default();
    let mut seen = FxHashSet::default();
    visit(plan, None, ctx, &mut found, &mut seen);
    found.into_iter().filter_map(|(input, filter)| Some((input, filter?))).collect()
}

fn visit(
    plan: &Arc<Plan>,
    predicate: Option<&Expr>,
    ctx: &EvalContext<'_>,
    found: &mut FxHashMap<Input, Option<DocBuf>>,
    seen: &mut FxHashSet<*const Plan>,
) {
    if let Plan::Scan { source: source @ Source::Collection { .. }, columns, .. } = &**plan {
        let input = Input { source: source.clone(), columns: columns.clone() };
        let filter = predicate.and_then(|predicate| filter_of(predicate, columns, ctx));
        // A second reader may want other documents.
        found.entry(input).and_modify(|known| *known = None).or_insert(filter);
        return;
    }
    if !seen.insert(Arc::as_ptr(plan)) {
        return;
    }
    let predicate = match &**plan {
        Plan::Filter { predicate, .. } => Some(predicate),
        _ => None,
    };
    for input in plan.inputs() {
        visit(input, predicate, ctx, found, seen);
    }
}

fn filter_of(predicate: &Expr, columns: &[ScanColumn], ctx: &EvalContext<'_>) -> Option<DocBuf> {
    let conjuncts = match &predicate.kind {
        ExprKind::And(list) => list.as_slice(),
        _ => std::slice::from_ref(predicate),
    };
    let parts: Vec<Value> =
        conjuncts.iter().filter_map(|part| equality(part, columns, ctx)).map(Value::Document).collect();
    (!parts.is_empty()).then(|| Doc::new().with("$and", parts).to_buf())
}

/// `field = constant` or `field IN (constants)`.
fn equality(expr: &Expr, columns: &[ScanColumn], ctx: &EvalContext<'_>) -> Option<Doc> {
    let (field, constants): (&Expr, Vec<&Expr>) = match &expr.kind {
        ExprKind::Call { function, args } if function.name == "=" => match &args[..] {
            [field, constant] if path_of(field, columns).is_some() => (field, vec![constant]),
            [constant, field] => (field, vec![constant]),
            _ => return None,
        },
        ExprKind::InList { input, list, negated: false } => (input, list.iter().collect()),
        _ => return None,
    };
    let path = path_of(field, columns)?;
    if constants.len() > MAX_VALUES {
        return None;
    }
    let mut equal = Equal::default();
    for constant in constants {
        match (constant_value(constant, ctx)?, &field.ty) {
            // An equality with NULL holds for nothing.
            (Datum::Null, _) => {}
            (Datum::Json(value), Type::Json) => equal.json(&value)?,
            (Datum::Text(text), Type::Text) => equal.text(&text)?,
            _ => return None,
        }
    }
    Some(equal.filter(&path))
}

fn constant_value(expr: &Expr, ctx: &EvalContext<'_>) -> Option<Datum> {
    let mut constant = true;
    expr.walk(&mut |part| {
        constant &= match &part.kind {
            ExprKind::Column(_) | ExprKind::Now => false,
            ExprKind::Call { function, .. } | ExprKind::Quantified { function, .. } => {
                function.volatility != Volatility::Volatile
            }
            _ => true,
        }
    });
    // What fails fails again, and with its message, where the condition is evaluated.
    if constant { expr.eval(&[], ctx).ok() } else { None }
}

/// The store's path of a field that a scan delivers.
fn path_of(expr: &Expr, columns: &[ScanColumn]) -> Option<String> {
    let ExprKind::Column(column) = expr.kind else { return None };
    let steps = match columns.get(column)? {
        ScanColumn::Whole(0) => return Some("_id".to_owned()),
        ScanColumn::Path { column: 1, path, .. } => path,
        _ => return None,
    };
    let mut names = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            PathStep::Key(name) if !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0']) => {
                names.push(name.as_str());
            }
            _ => return None,
        }
    }
    Some(names.join("."))
}

/// The BSON values that are equal in SQL to one of some constants.
#[derive(Default)]
struct Equal {
    values: Vec<Value>,
    /// Ranges of binary values: one for each, whatever its subtype.
    ranges: Vec<(Value, Value)>,
    /// Whether a constant is a string.
    strings: bool,
}

impl Equal {
    /// As JSON. `None`: not all of them can be named.
    fn json(&mut self, value: &Json) -> Option<()> {
        match Plain::of(value.raw()) {
            Plain::Bool(b) => self.values.push(Value::Bool(b)),
            Plain::Number(Raw::Int32(n)) => self.values.push(Value::Int64(i64::from(n))),
            Plain::Number(Raw::Int64(n)) if n.abs() <= MAX_EXACT => self.values.push(Value::Int64(n)),
            Plain::String(text) => self.string(&text)?,
            _ => return None,
        }
        Some(())
    }

    /// As what `->>` gives: also numbers, booleans and containers print as text.
    fn text(&mut self, text: &str) -> Option<()> {
        if text.starts_with(['{', '[']) {
            return None;
        }
        match text.parse::<i64>() {
            Ok(n) if n.abs() <= MAX_EXACT => self.values.push(Value::Int64(n)),
            _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => return None,
            _ => {}
        }
        if let Ok(b) = text.parse::<bool>() {
            self.values.push(Value::Bool(b));
        }
        self.string(text)
    }

    /// A JSON string: a string, or another type that prints as one.
    fn string(&mut self, text: &str) -> Option<()> {
        let is_time = text.ends_with('Z') && text.contains('T');
        let is_special = matches!(text, "MinKey" | "MaxKey" | "NaN" | "Infinity" | "-Infinity");
        // Dates, regular expressions and what is no finite number have texts of their own.
        if is_time || is_special || text.starts_with('/') {
            return None;
        }
        self.strings = true;
        self.values.push(Value::String(text.to_owned()));
        self.values.push(Value::Symbol(text.to_owned()));
        self.values.push(Value::Code(text.to_owned()));
        if let Some(id) = object_id(text) {
            self.values.push(Value::ObjectId(id));
        }
        if let Some(bytes) = uuid(text) {
            self.values.push(Value::Binary(Binary { subtype: 4, bytes: bytes.to_vec() }));
        }
        if let Some(bytes) = from_base64(text) {
            let of_subtype = |subtype| Value::Binary(Binary { subtype, bytes: bytes.clone() });
            self.ranges.push((of_subtype(0), of_subtype(255)));
        }
        Some(())
    }

    fn filter(self, path: &str) -> Doc {
        let values = Doc::new().with(path, Doc::new().with("$in", self.values));
        if !self.strings {
            return values;
        }
        let within = |condition: Doc| Value::Document(Doc::new().with(path, condition));
        let mut either = vec![Value::Document(values)];
        either.extend(
            self.ranges.into_iter().map(|(least, most)| within(Doc::new().with("$gte", least).with("$lte", most))),
        );
        // Code with a scope prints as its code; whatever its scope, it is of this kind.
        let scoped = Value::CodeWithScope { code: String::new(), scope: Doc::new() };
        either.push(within(Doc::new().with("$gte", scoped)));
        Doc::new().with("$or", either)
    }
}

fn object_id(text: &str) -> Option<[u8; 12]> {
    if text.len() != 24 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut id = [0; 12];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// The UUID that prints as this text.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if text.len() != 36 || digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (base::Uuid(bytes).to_string() == text).then_some(bytes)
}

/// The bytes that print as this text.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => 0,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let padding = group.iter().filter(|b| **b == b'=').count();
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding.min(2)]);
    }
    (base64(&bytes) == text).then_some(bytes)
}

/// How the store finds the candidates; `None`: by reading the whole collection.
pub fn access_plan(collection: &Collection, filter: &DocBuf) -> Option<planner::Plan> {
    // An index in a collation's order does not find what is equal byte by byte.
    if collection.collation.is_some() {
        return None;
    }
    let matcher = Matcher::parse(filter.as_doc(), &Context::default()).ok()?;
    let bounds = planner::KeyBounds::default();
    let query = planner::Query { matcher: &matcher, sort: None, hint: None, collation: None, bounds };
    let plan = planner::plan(collection, &query).ok()?;
    plan.uses_index().then_some(plan)
}

/// What EXPLAIN says of each filter: the index that serves it, if any.
pub fn describe(filters: &SourceFilters, reader: &impl Reader) -> Vec<String> {
    let mut lines: Vec<String> = filters
        .iter()
        .filter_map(|(input, filter)| {
            let Source::Collection { db, name } = &input.source else { return None };
            let namespace = store::Namespace::new(db.as_str(), name.as_str());
            let plan = access_plan(reader.catalog().collection(&namespace)?, filter)?;
            let mut indexes = plan.index_names();
            indexes.dedup();
            Some(format!("Collection {db}.{name}: by index {} where {}", indexes.join(", "), shown(filter)))
        })
        .collect();
    lines.sort();
    lines
}

fn shown(filter: &DocBuf) -> String {
    let mut text = String::new();
    document::json::to_plain_json(Raw::Document(filter.as_doc()), &mut text);
    text
}

#[cfg(test)]
mod tests;

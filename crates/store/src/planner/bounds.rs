//! Intervals of index keys that a predicate allows for one path.

use document::Raw;
use document::collation::Collation;
use document::key_string::{bracket_end, bracket_start, encode_value, encoded, prefix_end};
use document::matcher::{Comparison, Condition, Pattern, Predicate};

use crate::render;

/// Keys from `low` to `high`, both as encodings (or starts of encodings) of ascending components.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    low: Edge,
    high: Edge,
    /// Holds one value only.
    pub point: bool,
    /// As `explain` shows it.
    pub text: String,
}

/// `inclusive`: keys that start with the bytes are inside.
#[derive(Clone, Debug, PartialEq)]
struct Edge {
    bytes: Vec<u8>,
    inclusive: bool,
}

/// What one predicate allows, ascending and disjoint.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub intervals: Vec<Interval>,
    /// Every value in the intervals satisfies the predicate, if the path meets no array.
    pub exact: bool,
}

impl Interval {
    pub fn all() -> Self {
        let edge = Edge { bytes: Vec::new(), inclusive: true };
        Interval { low: edge.clone(), high: edge, point: false, text: "[MinKey, MaxKey]".to_owned() }
    }

    fn point(value: Raw<'_>, collation: Option<&Collation>) -> Self {
        let edge = Edge { bytes: encode(value, collation), inclusive: true };
        let shown = show(value);
        Interval { low: edge.clone(), high: edge, point: true, text: format!("[{shown}, {shown}]") }
    }

    fn new(low: Edge, high: Edge, text: String) -> Self {
        Interval { low, high, point: false, text }
    }

    pub fn is_all(&self) -> bool {
        self.low.bytes.is_empty() && self.high.bytes.is_empty()
    }

    /// First key inside, for a component of that direction. `None`: above all keys.
    pub fn start(&self, descending: bool) -> Option<Vec<u8>> {
        if descending { start_of(&complement(&self.high)) } else { start_of(&self.low) }
    }

    /// First key above. `None`: there is none.
    pub fn end(&self, descending: bool) -> Option<Vec<u8>> {
        if descending { end_of(&complement(&self.low)) } else { end_of(&self.high) }
    }

    /// The encoding that all keys of a point share.
    pub fn point_bytes(&self, descending: bool) -> Vec<u8> {
        if descending { complement(&self.low).bytes } else { self.low.bytes.clone() }
    }

    fn is_empty(&self) -> bool {
        match (self.start(false), self.end(false)) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(start), Some(end)) => start >= end,
        }
    }

    fn intersect(&self, other: &Interval) -> Option<Interval> {
        if self.point || other.is_all() {
            let both = Interval {
                low: max_low(&self.low, &other.low),
                high: min_high(&self.high, &other.high),
                ..self.clone()
            };
            return (!both.is_empty()).then(|| self.clone());
        }
        if other.point || self.is_all() {
            return other.intersect(self);
        }
        let low_is_mine = max_low(&self.low, &other.low) == self.low;
        let high_is_mine = min_high(&self.high, &other.high) == self.high;
        let text = match (low_is_mine, high_is_mine) {
            (true, true) => self.text.clone(),
            (false, false) => other.text.clone(),
            (true, false) => splice(&self.text, &other.text),
            (false, true) => splice(&other.text, &self.text),
        };
        let both = Interval::new(max_low(&self.low, &other.low), min_high(&self.high, &other.high), text);
        (!both.is_empty()).then_some(both)
    }
}

fn start_of(low: &Edge) -> Option<Vec<u8>> {
    if low.inclusive { Some(low.bytes.clone()) } else { prefix_end(&low.bytes) }
}

fn end_of(high: &Edge) -> Option<Vec<u8>> {
    if high.inclusive { prefix_end(&high.bytes) } else { Some(high.bytes.clone()) }
}

fn complement(edge: &Edge) -> Edge {
    Edge { bytes: edge.bytes.iter().map(|byte| !byte).collect(), inclusive: edge.inclusive }
}

fn max_low(a: &Edge, b: &Edge) -> Edge {
    match (start_of(a), start_of(b)) {
        (None, _) => a.clone(),
        (_, None) => b.clone(),
        (Some(x), Some(y)) => {
            if x >= y {
                a.clone()
            } else {
                b.clone()
            }
        }
    }
}

fn min_high(a: &Edge, b: &Edge) -> Edge {
    match (end_of(a), end_of(b)) {
        (None, _) => b.clone(),
        (_, None) => a.clone(),
        (Some(x), Some(y)) => {
            if x <= y {
                a.clone()
            } else {
                b.clone()
            }
        }
    }
}

/// The left half of one text with the right half of another: they were written as `low, high`.
fn splice(left: &str, right: &str) -> String {
    let left = left.split_once(", ").map_or(left, |(left, _)| left);
    let right = right.rsplit_once(", ").map_or(right, |(_, right)| right);
    format!("{left}, {right}")
}

/// What both allow.
pub fn intersect(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::new();
    for x in a {
        out.extend(b.iter().filter_map(|y| x.intersect(y)));
    }
    out
}

fn encode(value: Raw<'_>, collation: Option<&Collation>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encode_value(value, &mut bytes, false, collation);
    bytes
}

fn show(value: Raw<'_>) -> String {
    let mut wrapped = document::DocWriter::new();
    wrapped.raw("", value);
    let shown = render::document(wrapped.finish().as_doc());
    shown.trim_start_matches("{ : ").trim_end_matches(" }").to_owned()
}

/// The intervals that a condition allows; `None` if it cannot be told.
pub fn allowed(condition: &Condition, collation: Option<&Collation>) -> Option<Allowed> {
    match condition {
        Condition::Compare { op, operand, .. } => compare(*op, operand.raw(), collation),
        Condition::In(members) => {
            let mut intervals = Vec::new();
            let mut exact = members.patterns().is_empty();
            for value in members.values() {
                let one = compare(Comparison::Eq, value.raw(), collation)?;
                exact &= one.exact;
                intervals.extend(one.intervals);
            }
            for pattern in members.patterns() {
                intervals.extend(regex(pattern, collation));
            }
            Some(Allowed { intervals: disjoint(intervals), exact })
        }
        Condition::Regex(pattern) => Some(Allowed { intervals: disjoint(regex(pattern, collation)), exact: false }),
        Condition::ElemMatchValue(predicate) => elements(predicate, collation),
        _ => None,
    }
}

/// All conditions hold for one and the same element, so their intervals intersect.
fn elements(predicate: &Predicate, collation: Option<&Collation>) -> Option<Allowed> {
    let one = |predicate: &Predicate| match predicate {
        Predicate::Field { condition, .. } => allowed(condition, collation),
        _ => None,
    };
    match predicate {
        Predicate::And(children) => {
            let mut parts = children.iter().filter_map(one);
            let first = parts.next()?;
            let intervals = parts.fold(first.intervals, |so_far, next| intersect(&so_far, &next.intervals));
            Some(Allowed { intervals, exact: false })
        }
        other => one(other).map(|found| Allowed { exact: false, ..found }),
    }
}

fn compare(op: Comparison, operand: Raw<'_>, collation: Option<&Collation>) -> Option<Allowed> {
    match operand {
        // Arrays are compared as a whole and by element, MinKey and MaxKey with every type.
        Raw::Array(_) | Raw::Undefined | Raw::MinKey | Raw::MaxKey => None,
        Raw::Null => null(op),
        _ if op == Comparison::Eq => {
            let exact = !matches!(operand, Raw::Regex { .. });
            Some(Allowed { intervals: vec![Interval::point(operand, collation)], exact })
        }
        _ => Some(Allowed { intervals: vec![range(op, operand, collation)], exact: !is_nan(operand) }),
    }
}

/// Null, undefined and what is missing; an index has null for the last.
fn null(op: Comparison) -> Option<Allowed> {
    let low = Edge { bytes: encoded(Raw::Undefined), inclusive: true };
    let high = Edge { bytes: encoded(Raw::Null), inclusive: true };
    match op {
        Comparison::Eq | Comparison::Gte | Comparison::Lte => {
            Some(Allowed { intervals: vec![Interval::new(low, high, "[undefined, null]".to_owned())], exact: false })
        }
        Comparison::Gt | Comparison::Lt => None,
    }
}

fn is_nan(value: Raw<'_>) -> bool {
    value.is_number() && document::number::compare(value, Raw::Double(f64::NAN)).is_eq()
}

/// From the operand to the end of its type's bracket.
fn range(op: Comparison, operand: Raw<'_>, collation: Option<&Collation>) -> Interval {
    let edge = |inclusive| Edge { bytes: encode(operand, collation), inclusive };
    let (least, greatest) = bracket_text(operand);
    let shown = show(operand);
    match op {
        Comparison::Gt | Comparison::Gte => {
            let inclusive = op == Comparison::Gte;
            let high = Edge { bytes: vec![bracket_end(operand)], inclusive: false };
            let open = if inclusive { '[' } else { '(' };
            Interval::new(edge(inclusive), high, format!("{open}{shown}, {greatest}"))
        }
        _ => {
            let inclusive = op == Comparison::Lte;
            // NaN sorts below all numbers but is not less than any.
            let low = if operand.is_number() && !is_nan(operand) {
                Edge { bytes: encoded(Raw::Double(f64::NAN)), inclusive: false }
            } else {
                Edge { bytes: vec![bracket_start(operand)], inclusive: true }
            };
            let close = if inclusive { ']' } else { ')' };
            Interval::new(low, edge(inclusive), format!("{least}, {shown}{close}"))
        }
    }
}

fn bracket_text(operand: Raw<'_>) -> (&'static str, &'static str) {
    match operand {
        Raw::Double(_) | Raw::Int32(_) | Raw::Int64(_) | Raw::Decimal128(_) => ("[-inf.0", "inf.0]"),
        Raw::String(_) | Raw::Symbol(_) => ("[\"\"", "{})"),
        Raw::Bool(_) => ("[false", "true]"),
        Raw::Date(_) => ("[new Date(-9223372036854775808)", "new Date(9223372036854775807)]"),
        Raw::Document(_) => ("[{}", "[])"),
        Raw::ObjectId(_) => ("[ObjectId('000000000000000000000000')", "ObjectId('ffffffffffffffffffffffff')]"),
        _ => ("[MinKey", "MaxKey]"),
    }
}

/// Strings with the pattern's literal prefix, and regular expressions themselves.
fn regex(pattern: &Pattern, collation: Option<&Collation>) -> Vec<Interval> {
    let prefix = pattern.literal_prefix();
    let patterns = Raw::Regex { pattern: "", options: "" };
    let (strings, text) = if prefix.is_empty() || collation.is_some() {
        (vec![bracket_start(Raw::String(""))], "[\"\", {})".to_owned())
    } else {
        let mut bytes = encoded(Raw::String(prefix));
        // Without the terminator: whatever continues the prefix.
        bytes.truncate(bytes.len() - 2);
        (bytes, format!("[\"{prefix}\", \"{}\")", next_text(prefix)))
    };
    let edge = |bytes: Vec<u8>| Edge { bytes, inclusive: true };
    vec![
        Interval::new(edge(strings.clone()), edge(strings), text),
        Interval::new(
            edge(vec![bracket_start(patterns)]),
            edge(vec![bracket_start(patterns)]),
            "[/.*/, /.*/]".to_owned(),
        ),
    ]
}

fn next_text(prefix: &str) -> String {
    let mut chars: Vec<char> = prefix.chars().collect();
    if let Some(last) = chars.pop() {
        chars.push(char::from_u32(last as u32 + 1).unwrap_or(last));
    }
    chars.into_iter().collect()
}

/// Sorted; overlapping ones become one.
fn disjoint(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by_key(|interval| interval.start(false));
    let mut out: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match out.last_mut() {
            Some(last) if overlaps(last, &next) => {
                if min_high(&last.high, &next.high) != next.high {
                    last.text = splice(&last.text, &next.text);
                    last.high = next.high;
                }
                last.point &= next.point;
            }
            _ => out.push(next),
        }
    }
    out
}

fn overlaps(last: &Interval, next: &Interval) -> bool {
    match (last.end(false), next.start(false)) {
        (None, _) => true,
        (_, None) => true,
        (Some(end), Some(start)) => start < end,
    }
}

/// One thing that must hold of a document, with the path it is about.
pub struct Conjunct<'a> {
    pub path: String,
    pub condition: &'a Condition,
    /// The bounds may be used, but do not replace the predicate.
    pub implied: bool,
}

/// What must hold of every matching document, as far as single paths are concerned.
pub struct Conjuncts<'a> {
    pub fields: Vec<Conjunct<'a>>,
    /// Paths that must be there and not null.
    pub present: Vec<String>,
    /// Alternatives, of which one must hold.
    pub alternatives: Vec<&'a [Predicate]>,
    /// There is more than the fields say.
    pub more: bool,
    pub never: bool,
}

impl<'a> Conjuncts<'a> {
    pub fn of(root: &'a Predicate) -> Self {
        let mut found =
            Conjuncts { fields: Vec::new(), present: Vec::new(), alternatives: Vec::new(), more: false, never: false };
        found.add(root, "", false);
        found
    }

    fn add(&mut self, predicate: &'a Predicate, prefix: &str, implied: bool) {
        match predicate {
            Predicate::And(children) => children.iter().for_each(|child| self.add(child, prefix, implied)),
            Predicate::Field { path, condition } => self.add_field(&join(prefix, path.dotted()), condition, implied),
            Predicate::Or(children) if prefix.is_empty() && children.len() > 1 => {
                self.alternatives.push(children);
                self.more = true;
            }
            Predicate::Or(children) if children.len() == 1 => self.add(&children[0], prefix, implied),
            Predicate::Always(true) => {}
            Predicate::Always(false) if !implied => self.never = true,
            Predicate::Not(child) => {
                self.more = true;
                if let Predicate::Field { path, condition: Condition::Compare { op: Comparison::Eq, operand, .. } } =
                    &**child
                    && operand.raw() == Raw::Null
                {
                    self.present.push(join(prefix, path.dotted()));
                }
            }
            _ => self.more = true,
        }
    }

    fn add_field(&mut self, path: &str, condition: &'a Condition, implied: bool) {
        if let Condition::ElemMatchObject(inner) = condition {
            self.more = true;
            self.add(inner, path, true);
            return;
        }
        self.fields.push(Conjunct { path: path.to_owned(), condition, implied });
    }
}

fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}.{path}") }
}

/// Whether comparisons with this condition are the same under every collation.
pub fn ignores_collation(condition: &Condition) -> bool {
    match condition {
        Condition::Compare { operand, .. } => is_plain(operand.raw()),
        Condition::In(members) => {
            members.patterns().is_empty() && members.values().iter().all(|value| is_plain(value.raw()))
        }
        _ => false,
    }
}

fn is_plain(value: Raw<'_>) -> bool {
    !matches!(value, Raw::String(_) | Raw::Symbol(_) | Raw::Document(_) | Raw::Array(_) | Raw::CodeWithScope { .. })
}

/// Whether documents that satisfy the condition have something other than null on its path.
pub fn implies_present(condition: &Condition) -> bool {
    match condition {
        Condition::Compare { operand, .. } => {
            operand.raw() != Raw::Null
                && operand.raw() != Raw::Undefined
                && !matches!(operand.raw(), Raw::MinKey | Raw::MaxKey)
        }
        Condition::In(members) => members
            .values()
            .iter()
            .all(|value| !matches!(value.raw(), Raw::Null | Raw::Undefined | Raw::MinKey | Raw::MaxKey)),
        Condition::Regex(_)
        | Condition::Exists
        | Condition::Mod { .. }
        | Condition::Size(_)
        | Condition::Bits { .. } => true,
        Condition::Type(_) | Condition::ElemMatchValue(_) | Condition::ElemMatchObject(_) => true,
    }
}

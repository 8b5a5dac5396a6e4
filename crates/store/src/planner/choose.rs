//! Choosing the access path.

use std::sync::Arc;

use document::collation::Collation;
use document::key_string::prefix_end;
use document::matcher::{Condition, Predicate};
use document::{Context, Raw, compare_raw};

use super::bounds::{Conjuncts, Interval, allowed, ignores_collation, implies_present, intersect};
use super::{Access, Hint, IndexScan, KeyBounds, Plan, Query};
use crate::catalog::Collection;
use crate::error::{Error, Result};
use crate::index::{Index, Partial, widen};
use crate::kv::{Direction, KeyRange};

/// Ranges that the points of several parts may multiply to; later parts stay unbounded beyond it.
const MAX_RANGES: usize = 4096;

/// Decides how to find the documents. Errors with 2 BadValue for a hint that names no index.
pub fn plan(collection: &Collection, query: &Query<'_>) -> Result<Plan> {
    let conjuncts = Conjuncts::of(query.matcher.root());
    let make = |access, sorted, exact| Plan { collection: collection.id, access, sorted, exact };
    if conjuncts.never {
        return Ok(make(Access::Nothing, true, true));
    }
    let natural = query.sort.and_then(|sort| sort.natural());
    if let Some(descending) = natural {
        let direction = if descending { Direction::Backward } else { Direction::Forward };
        return Ok(make(Access::Collection(direction), true, query.matcher.is_trivial()));
    }
    let unsorted = query.sort.is_none_or(|sort| sort.is_empty());
    let scan_all = || make(Access::Collection(Direction::Forward), unsorted, query.matcher.is_trivial());
    if !query.bounds.is_empty() && matches!(query.hint, None | Some(Hint::Natural(_))) {
        let message = "When using min()/max() a hint of which index to use must be provided";
        return Err(Error::request(51173, message));
    }
    match query.hint {
        Some(Hint::Natural(direction)) => {
            return Ok(make(Access::Collection(*direction), unsorted, query.matcher.is_trivial()));
        }
        Some(hint) => {
            let index = hinted(collection, hint)?;
            if !query.bounds.is_empty() {
                return super::bounded::plan(collection, index, &conjuncts, query);
            }
            let candidate = candidate(index, &conjuncts, query, true);
            return Ok(candidate.map_or_else(scan_all, |found| found.into_plan(collection, unsorted)));
        }
        None => {}
    }
    let candidates = collection.indexes.iter().filter(|index| !index.hidden);
    let best = candidates
        .filter_map(|index| candidate(index, &conjuncts, query, false))
        .reduce(|best, next| if next.score > best.score { next } else { best });
    if let Some(best) = best {
        return Ok(best.into_plan(collection, unsorted));
    }
    if let Some(scans) = union(collection, &conjuncts, query) {
        return Ok(make(Access::Union(scans), unsorted, false));
    }
    Ok(scan_all())
}

fn hinted<'c>(collection: &'c Collection, hint: &Hint) -> Result<&'c Arc<Index>> {
    let matches = |index: &&Arc<Index>| match hint {
        Hint::Name(name) => index.name == *name,
        Hint::Key(key) => compare_raw(Raw::Document(index.key_pattern()), Raw::Document(key.as_doc())).is_eq(),
        Hint::Natural(_) => false,
    };
    collection.indexes.iter().find(matches).filter(|index| !index.hidden).ok_or_else(|| {
        Error::request(
            2,
            "error processing query: planner returned error :: caused by :: hint provided does not correspond to an existing index",
        )
    })
}

struct Candidate {
    scan: IndexScan,
    sorted: bool,
    exact: bool,
    score: u32,
}

impl Candidate {
    fn into_plan(self, collection: &Collection, unsorted: bool) -> Plan {
        Plan {
            collection: collection.id,
            sorted: self.sorted || unsorted,
            exact: self.exact,
            access: Access::Index(self.scan),
        }
    }
}

/// What an index can do for the query; `None` if nothing, or if it may lack documents.
fn candidate(index: &Arc<Index>, conjuncts: &Conjuncts<'_>, query: &Query<'_>, hinted: bool) -> Option<Candidate> {
    let same_collation = index.collation.as_deref() == query.collation.map(|collation| &**collation);
    // Whoever hints at a sparse index asks for what is in it.
    let wanted_as_is = hinted && index.sparse && index.partial.is_none();
    if !wanted_as_is && !is_complete(index, conjuncts, query) {
        return None;
    }
    let parts = part_bounds(index, conjuncts, same_collation);
    let order = provided_order(index, &parts, query).filter(|_| same_collation);
    let bounded = parts[0].bounded;
    if !bounded && order.is_none() && !hinted {
        return None;
    }
    let (mut ranges, used) = ranges(index, &parts);
    // All of them, not only the first that is.
    let widened = ranges.iter_mut().map(widen).filter(|widened| *widened).count() > 0;
    let direction = order.unwrap_or(Direction::Forward);
    let points = parts.iter().take_while(|part| part.is_single_point()).count();
    let lists = parts.iter().take(used).skip(points).filter(|part| part.bounded).count();
    let whole_unique = index.unique && points == index.parts.len();
    let score = if bounded { 10 * points as u32 + 7 * lists as u32 } else { 0 }
        + if order.is_some() { 6 } else { 0 }
        + if whole_unique { 100 } else { 0 };
    let consumed: usize = parts.iter().take(used).map(|part| part.consumed).sum();
    let exact = !conjuncts.more
        && !index.is_multikey()
        && !widened
        && consumed == conjuncts.fields.len()
        && parts.iter().take(used).all(|part| part.exact);
    let by_id = index.is_id() && whole_unique;
    let intervals = parts.into_iter().map(|part| part.intervals).collect();
    let mut scan = IndexScan { index: Arc::clone(index), ranges, direction, intervals, by_id };
    if direction == Direction::Backward {
        scan.ranges.reverse();
    }
    Some(Candidate { scan, sorted: order.is_some(), exact, score })
}

/// The bounds of one part of an index.
pub(super) struct PartBounds {
    intervals: Vec<Interval>,
    bounded: bool,
    exact: bool,
    /// Predicates that the intervals stand for.
    consumed: usize,
}

impl PartBounds {
    pub fn all() -> Self {
        PartBounds { intervals: vec![Interval::all()], bounded: false, exact: true, consumed: 0 }
    }

    fn is_single_point(&self) -> bool {
        matches!(&self.intervals[..], [only] if only.point)
    }

    fn is_points(&self) -> bool {
        self.intervals.iter().all(|interval| interval.point)
    }
}

fn part_bounds(index: &Index, conjuncts: &Conjuncts<'_>, same_collation: bool) -> Vec<PartBounds> {
    // Two parts that both lead through arrays may match by different elements, and so by different
    // keys: only one of them may be bounded.
    let mut array_bounded = false;
    let mut out = Vec::with_capacity(index.parts.len());
    for (i, part) in index.parts.iter().enumerate() {
        let multikey = index.multikey & 1 << i.min(63) != 0;
        let mut bounds = PartBounds::all();
        let collation = index.collation.as_deref();
        if !(multikey && array_bounded) {
            for conjunct in conjuncts.fields.iter().filter(|conjunct| *conjunct.path == *part.path) {
                if !(same_collation || ignores_collation(conjunct.condition)) || (multikey && bounds.bounded) {
                    continue;
                }
                let Some(found) = allowed(conjunct.condition, collation) else { continue };
                bounds.intervals = intersect(&bounds.intervals, &found.intervals);
                bounds.bounded = true;
                bounds.exact &= found.exact && !conjunct.implied;
                bounds.consumed += 1;
            }
        }
        array_bounded |= multikey && bounds.bounded;
        out.push(bounds);
    }
    out
}

/// Points of leading parts multiply; the first part that is not points ends the range.
fn ranges(index: &Index, parts: &[PartBounds]) -> (Vec<KeyRange>, usize) {
    let mut prefixes = vec![index.prefix().to_vec()];
    for (i, (part, bounds)) in index.parts.iter().zip(parts).enumerate() {
        let ordered = || -> Box<dyn Iterator<Item = &Interval>> {
            if part.descending { Box::new(bounds.intervals.iter().rev()) } else { Box::new(bounds.intervals.iter()) }
        };
        if !bounds.bounded || prefixes.len() * bounds.intervals.len().max(1) > MAX_RANGES {
            return (prefixes.iter().map(|prefix| KeyRange::prefix(prefix)).collect(), i);
        }
        if !bounds.is_points() {
            let ranges = prefixes
                .iter()
                .flat_map(|prefix| ordered().filter_map(|interval| range(prefix, interval, part.descending)));
            return (ranges.collect(), i + 1);
        }
        let extend = |prefix: &Vec<u8>| -> Vec<Vec<u8>> {
            ordered().map(|interval| [&prefix[..], &interval.point_bytes(part.descending)].concat()).collect()
        };
        prefixes = prefixes.iter().flat_map(extend).collect();
    }
    (prefixes.iter().map(|prefix| KeyRange::prefix(prefix)).collect(), parts.len())
}

fn range(prefix: &[u8], interval: &Interval, descending: bool) -> Option<KeyRange> {
    let from = [prefix, &interval.start(descending)?].concat();
    let to = match interval.end(descending) {
        Some(end) => Some([prefix, &end].concat()),
        None => prefix_end(prefix),
    };
    Some(KeyRange { from, to })
}

/// The direction in which a scan gives the order that the query asks for.
pub(super) fn provided_order(index: &Index, parts: &[PartBounds], query: &Query<'_>) -> Option<Direction> {
    let sort = query.sort.filter(|sort| !sort.is_empty() && !index.long_keys)?;
    let mut fields = sort.fields().iter().peekable();
    let mut direction = None;
    for (i, (part, bounds)) in index.parts.iter().zip(parts).enumerate() {
        let Some(field) = fields.peek() else { break };
        let multikey = index.multikey & 1 << i.min(63) != 0;
        if field.path.dotted() == &*part.path && !multikey && !part.hashed {
            let wanted = if field.descending == part.descending { Direction::Forward } else { Direction::Backward };
            // A part with one value has any direction.
            if !bounds.is_single_point() && *direction.get_or_insert(wanted) != wanted {
                return None;
            }
            fields.next();
        } else if !bounds.is_single_point() || multikey {
            return None;
        }
    }
    fields.peek().is_none().then(|| direction.unwrap_or(Direction::Forward))
}

/// Whether the index has an entry for every document that can match.
fn is_complete(index: &Index, conjuncts: &Conjuncts<'_>, query: &Query<'_>) -> bool {
    if let Some(partial) = &index.partial
        && !implies(conjuncts, partial, query)
    {
        return false;
    }
    if !index.sparse {
        return true;
    }
    // One part that must be there is enough for an entry.
    index.parts.iter().any(|part| {
        conjuncts.present.iter().any(|path| **path == *part.path)
            || conjuncts
                .fields
                .iter()
                .any(|conjunct| *conjunct.path == *part.path && implies_present(conjunct.condition))
    })
}

/// Whether every document that the query matches passes the filter of a partial index.
fn implies(conjuncts: &Conjuncts<'_>, partial: &Partial, query: &Query<'_>) -> bool {
    if query.collation.is_some() {
        return false;
    }
    let filter = Conjuncts::of(partial.matcher.root());
    !filter.more
        && filter.fields.iter().all(|needed| {
            let same_path = |path: &str| path == needed.path;
            let by_field = conjuncts
                .fields
                .iter()
                .any(|conjunct| same_path(&conjunct.path) && condition_implies(conjunct.condition, needed.condition));
            let present =
                matches!(needed.condition, Condition::Exists) && conjuncts.present.iter().any(|path| same_path(path));
            by_field || present
        })
}

/// Whether every value the first condition holds for satisfies the second.
fn condition_implies(given: &Condition, needed: &Condition) -> bool {
    if matches!(needed, Condition::Exists) {
        return implies_present(given);
    }
    let (Some(given), Some(needed)) = (allowed(given, None), allowed(needed, None)) else { return false };
    if !needed.exact {
        return false;
    }
    let inside = intersect(&given.intervals, &needed.intervals);
    inside.len() == given.intervals.len()
        && inside
            .iter()
            .zip(&given.intervals)
            .all(|(inside, given)| inside.start(false) == given.start(false) && inside.end(false) == given.end(false))
}

/// An index scan for each alternative of an `$or`, if all have one.
fn union(collection: &Collection, conjuncts: &Conjuncts<'_>, query: &Query<'_>) -> Option<Vec<IndexScan>> {
    let scans_of = |branches: &[Predicate]| -> Option<Vec<IndexScan>> {
        branches.iter().map(|branch| best_for_branch(collection, branch, query.collation)).collect()
    };
    conjuncts.alternatives.iter().find_map(|branches| scans_of(branches))
}

fn best_for_branch(
    collection: &Collection,
    branch: &Predicate,
    collation: Option<&Arc<Collation>>,
) -> Option<IndexScan> {
    let conjuncts = Conjuncts::of(branch);
    let everything = document::matcher::Matcher::parse(document::RawDoc::EMPTY, &Context::default()).ok()?;
    let query = Query { matcher: &everything, sort: None, hint: None, collation, bounds: KeyBounds::default() };
    let candidates = collection.indexes.iter().filter(|index| !index.hidden);
    candidates
        .filter_map(|index| candidate(index, &conjuncts, &query, false))
        .reduce(|best, next| if next.score > best.score { next } else { best })
        .map(|best| best.scan)
}

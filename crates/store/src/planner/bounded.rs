//! `min` and `max` of find: one range of a hinted index, given by its keys.

use std::sync::Arc;

use document::key_string::encode_value;
use document::{DocBuf, Raw};

use super::bounds::{Conjuncts, Interval};
use super::choose::{PartBounds, provided_order};
use super::{Access, IndexScan, KeyBounds, Plan, Query};
use crate::catalog::Collection;
use crate::error::{Error, Result};
use crate::index::{Index, widen};
use crate::kv::{Direction, KeyRange};

impl KeyBounds<'_> {
    pub fn is_empty(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }
}

/// Errors: 51174 for a bound that is not a key of the index, 51175 if the range is empty by itself.
pub fn plan(collection: &Collection, index: &Arc<Index>, conjuncts: &Conjuncts<'_>, query: &Query<'_>) -> Result<Plan> {
    let KeyBounds { min, max } = query.bounds;
    for bound in [min, max].into_iter().flatten() {
        if !is_key(bound, index, query) {
            return Err(Error::request(51174, "The index chosen is not compatible with min/max"));
        }
    }
    let mut range = KeyRange::prefix(&index.prefix());
    if let Some(min) = min {
        range.from = encode(min, index);
    }
    if let Some(max) = max {
        range.to = Some(encode(max, index));
    }
    if min.is_some() && max.is_some() && range.is_empty() {
        let message =
            "The value provided for min() does not come before the value provided for max() for the hinted index";
        return Err(Error::request(51175, message));
    }
    widen(&mut range);
    if conjuncts.never {
        return Ok(Plan { collection: collection.id, access: Access::Nothing, sorted: true, exact: true });
    }
    let parts: Vec<PartBounds> = index.parts.iter().map(|_| PartBounds::all()).collect();
    let same_collation = index.collation.as_deref() == query.collation.map(|collation| &**collation);
    let order = provided_order(index, &parts, query).filter(|_| same_collation);
    let scan = IndexScan {
        index: Arc::clone(index),
        ranges: vec![range],
        direction: order.unwrap_or(Direction::Forward),
        intervals: parts.iter().map(|_| vec![Interval::all()]).collect(),
        by_id: false,
    };
    let unsorted = query.sort.is_none_or(|sort| sort.is_empty());
    Ok(Plan {
        collection: collection.id,
        access: Access::Index(scan),
        sorted: order.is_some() || unsorted,
        exact: false,
    })
}

/// The fields of the key pattern, all of them in order, comparable as the index compares.
fn is_key(bound: &DocBuf, index: &Index, query: &Query<'_>) -> bool {
    let same_collation = index.collation.as_deref() == query.collation.map(|collation| &**collation);
    let plain = |value: Raw<'_>| !matches!(value, Raw::String(_) | Raw::Document(_) | Raw::Array(_));
    bound.iter().count() == index.parts.len()
        && index
            .parts
            .iter()
            .zip(bound.iter())
            .all(|(part, (name, value))| name == &*part.path && !part.hashed && (same_collation || plain(value)))
}

fn encode(bound: &DocBuf, index: &Index) -> Vec<u8> {
    let mut out = index.prefix().to_vec();
    for (part, (_, value)) in index.parts.iter().zip(bound.iter()) {
        encode_value(value, &mut out, part.descending, index.collation.as_deref());
    }
    out
}

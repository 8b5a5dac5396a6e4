//! Who needs pre-images: streams that show them, and everything that follows a collection.

use ::sql::{Plan, Source};
use capture::{Need, Source as Deployment};
use store::{Namespace, Store};
use views::{StreamDefinition, StreamScope};

/// Pre-images kept for one anonymous query, as long as this lives.
pub(crate) struct PlanInterest {
    store: Store,
    namespaces: Vec<Namespace>,
}

impl std::fmt::Debug for PlanInterest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanInterest").field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

impl PlanInterest {
    pub fn new(store: &Store, plan: &Plan) -> Self {
        let namespaces = collections(plan);
        for namespace in &namespaces {
            store.set_image_interest(namespace, true);
        }
        PlanInterest { store: store.clone(), namespaces }
    }
}

impl Drop for PlanInterest {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            self.store.set_image_interest(namespace, false);
        }
    }
}

/// A durable view's interest; each `true` wants its `false`.
pub(super) fn want_plan(store: &Store, plan: &Plan, on: bool) {
    for namespace in collections(plan) {
        store.set_image_interest(&namespace, on);
    }
}

/// A stream's interest; each `true` wants its `false`.
pub(super) fn want_stream(store: &Store, source: Option<&Deployment>, stream: &StreamDefinition, on: bool) {
    if let Some(namespace) = wanted_by(stream) {
        store.set_image_interest(&namespace, on);
    }
    let Some(source) = source else { return };
    source.need(need_of(stream), on);
    if stream.images.full_document {
        source.want_images(&watched_by(stream), on);
    }
}

/// What a stream needs to be captured.
pub(crate) fn need_of(stream: &StreamDefinition) -> Need {
    let (db, collection) = match &stream.scope {
        StreamScope::Collection { db, name } => (Some(db), Some(name)),
        StreamScope::Database(db) => (Some(db), None),
        StreamScope::Cluster => (None, None),
    };
    // The stream's filter may let through less than its operation types.
    let filtered = stream.filter.as_ref().and_then(|filter| ::sql::optimize::filter_pushdown(filter).operation_types);
    let types = filtered.filter(|types| stream.operation_types.is_empty() && !types.is_empty());
    Need {
        db: db.cloned(),
        collection: collection.cloned(),
        operations: types.unwrap_or_else(|| stream.operation_types.clone()).into_iter().collect(),
        images: stream.images.full_document || stream.images.before_change,
    }
}

/// What a stream wants pre-images of.
pub(crate) fn wanted_by(stream: &StreamDefinition) -> Option<Namespace> {
    stream.images.before_change.then(|| watched_by(stream))
}

fn watched_by(stream: &StreamDefinition) -> Namespace {
    match &stream.scope {
        StreamScope::Collection { db, name } => Namespace::new(db.as_str(), name.as_str()),
        StreamScope::Database(db) => Namespace::new(db.as_str(), ""),
        StreamScope::Cluster => Namespace::new("", ""),
    }
}

fn collections(plan: &Plan) -> Vec<Namespace> {
    let of_source = |source| match source {
        Source::Collection { db, name } => Some(Namespace::new(db, name)),
        _ => None,
    };
    plan.sources().into_iter().filter_map(of_source).collect()
}

//! Where the one document is that a statement is about, found without holding up other writers.
//!
//! ```text
//!   closure: look at a few documents ─┬─ found, or none ─> done
//!                                     └─ more to read ─> give up this commit
//!   caller's thread, on a snapshot: the first candidates, or that there are none
//!   closure again: the first candidate that still fits ─┬─> done
//!                                                       └─ all overtaken ─> search again
//! ```
//!
//! # Invariants
//! - Inside the committer a statement reads a bounded number of documents, however large the
//!   collection, unless it has been overtaken `MAX_SEARCHES` times.
//! - What is changed matches the filter at the moment of the change; an upsert inserts only if no
//!   document matched at that moment.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use document::sort::{SortKey, TopK};
use parking_lot::Mutex;
use store::{Collection, CollectionId, Reader, RecordId, Snapshot, Stored, WriteTxn};

use super::access::{Found, Query};
use super::requests::Caller;
use crate::{Headwater, Namespace, Result, blocking};

/// Documents that a closure looks at before it gives up.
const LOOKED_AT_INSIDE: usize = 128;
/// Candidates brought from a snapshot: of many writers after the same document all but one find it
/// taken, and the next is at hand.
const CANDIDATES: usize = 64;
/// After so many searches that others have overtaken, the closure looks for itself.
const MAX_SEARCHES: usize = 8;

/// What a search of bounded length came to.
#[derive(Debug)]
pub enum Search {
    Found(Box<Found>),
    Nothing,
    /// There is more to read than was allowed.
    Unfinished,
}

/// A place, and the sort key there if the order matters.
#[derive(Debug)]
struct Candidate {
    record: RecordId,
    key: Option<SortKey>,
}

#[derive(Debug)]
enum Located {
    /// In the wanted order.
    At(Vec<Candidate>),
    /// Nothing matched when the collection had been changed so many times.
    Nowhere(CollectionId, u64),
    /// Others were always quicker.
    LookInside,
}

/// What is known of the document of the statement that is next.
#[derive(Debug, Default)]
pub struct Searches {
    /// The statement, how often it was searched for, what came of it.
    next: Mutex<Option<(usize, usize, Arc<Located>)>>,
    /// The closure runs on the caller's own thread and holds nobody up.
    unbounded: bool,
}

impl Searches {
    pub fn unbounded() -> Self {
        Searches { next: Mutex::default(), unbounded: true }
    }

    fn of(&self, statement: usize) -> Option<Arc<Located>> {
        self.next.lock().as_ref().filter(|(index, ..)| *index == statement).map(|(.., located)| Arc::clone(located))
    }

    /// Nothing matched a statement's filter, in a snapshot taken after the collection was so.
    pub fn remember_absence(&self, statement: usize, absence: Option<(CollectionId, u64)>) {
        if let Some((id, changes)) = absence {
            *self.next.lock() = Some((statement, 0, Arc::new(Located::Nowhere(id, changes))));
        }
    }

    /// Whether that still holds, within a closure.
    pub fn confirms_absence(&self, txn: &WriteTxn, statement: usize, collection: &Collection) -> bool {
        match self.of(statement).as_deref() {
            Some(Located::Nowhere(id, changes)) => unchanged(txn, collection, (*id, *changes)),
            _ => false,
        }
    }

    /// The document of a statement, within a closure. `absence_matters`: an insert follows if there
    /// is none.
    pub fn find(
        &self,
        txn: &WriteTxn,
        statement: usize,
        query: &Query,
        collection: &Collection,
        absence_matters: bool,
    ) -> Result<Search> {
        if self.unbounded {
            return query.first_within(txn, collection, usize::MAX);
        }
        match self.of(statement).as_deref() {
            None => query.first_within(txn, collection, LOOKED_AT_INSIDE),
            Some(Located::LookInside) => query.first_within(txn, collection, usize::MAX),
            Some(Located::Nowhere(id, changes)) => {
                let still = !absence_matters || unchanged(txn, collection, (*id, *changes));
                Ok(if still { Search::Nothing } else { Search::Unfinished })
            }
            Some(Located::At(candidates)) => {
                for candidate in candidates {
                    if let Some(found) = confirm(txn, query, collection, candidate)? {
                        return Ok(Search::Found(Box::new(found)));
                    }
                }
                Ok(Search::Unfinished)
            }
        }
    }
}

fn unchanged(txn: &WriteTxn, collection: &Collection, (id, changes): (CollectionId, u64)) -> bool {
    id == collection.id && txn.changes(collection) == Some(changes)
}

/// The candidate as it is now, if it is still what was asked for.
fn confirm(txn: &WriteTxn, query: &Query, collection: &Collection, candidate: &Candidate) -> Result<Option<Found>> {
    let record = candidate.record;
    let Some(document) = txn.fetch(collection.id, record)? else { return Ok(None) };
    if let (Some(sort), Some(key)) = (&query.sort, &candidate.key)
        && sort.key(document.as_doc())? != *key
    {
        return Ok(None);
    }
    query.check(Stored { record, document })
}

impl Headwater {
    /// Looks for a statement's document in a snapshot of now.
    pub(crate) fn search(
        &self,
        caller: &Caller,
        searches: &Searches,
        statement: usize,
        query: &Query,
        namespace: &Namespace,
    ) -> Result<()> {
        let before = searches.next.lock().as_ref().filter(|(index, ..)| *index == statement).map_or(0, |(_, n, _)| *n);
        let located = if before >= MAX_SEARCHES {
            Located::LookInside
        } else {
            blocking(|| self.locate(caller, query, namespace))?
        };
        *searches.next.lock() = Some((statement, before + 1, Arc::new(located)));
        Ok(())
    }

    /// What tells later whether a collection has been changed. Asked for before the snapshot, so that a
    /// change between the two is noticed, not missed.
    pub(crate) fn absence(&self, namespace: &Namespace) -> Option<(CollectionId, u64)> {
        let catalog = self.store().catalog();
        catalog.collection(namespace).map(|collection| (collection.id, collection.changes()))
    }

    fn locate(&self, caller: &Caller, query: &Query, namespace: &Namespace) -> Result<Located> {
        let absence = self.absence(namespace);
        let snapshot = self.store().snapshot()?;
        let (Some((id, changes)), Some(collection)) = (absence, snapshot.catalog().collection(namespace)) else {
            return Ok(Located::At(Vec::new()));
        };
        let candidates = candidates(caller, query, &snapshot, collection)?;
        Ok(if candidates.is_empty() && collection.id == id {
            Located::Nowhere(id, changes)
        } else {
            Located::At(candidates)
        })
    }
}

/// The first documents that match, in the wanted order.
fn candidates(caller: &Caller, query: &Query, snapshot: &Snapshot, collection: &Collection) -> Result<Vec<Candidate>> {
    let plan = query.plan(collection)?;
    let sort = query.sort.as_ref();
    let mut best = TopK::new(CANDIDATES);
    let mut found = Vec::new();
    for (i, stored) in plan.execute(snapshot).enumerate() {
        super::read::check_deadline(caller.deadline, i)?;
        let Some(matching) = query.check(stored?)? else { continue };
        let record = matching.stored.record;
        let key = sort.map(|sort| sort.key(matching.stored.document.as_doc())).transpose()?;
        match key {
            Some(key) if !plan.sorted => best.push(key.clone(), Candidate { record, key: Some(key) }),
            key => found.push(Candidate { record, key }),
        }
        if found.len() == CANDIDATES {
            break;
        }
    }
    found.extend(best.into_sorted());
    Ok(found)
}

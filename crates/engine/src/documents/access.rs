//! Finding documents: the access path for a filter, and the documents on it that match.

use document::matcher::{MatchDetails, Matcher};
use document::sort::SortPattern;
use document::{Context, DocBuf, Raw};
use store::planner::{self, Plan};
use store::{Collection, Reader, RecordId, Stored};

use super::requests::Hint;
use crate::{Error, Result};

/// A parsed question: which documents, in which order.
#[derive(Debug)]
pub struct Query {
    pub filter: DocBuf,
    pub matcher: Matcher,
    pub sort: Option<SortPattern>,
    pub hint: Option<Hint>,
    simple_collation: bool,
}

impl Query {
    pub fn parse(filter: &DocBuf, sort: Option<&DocBuf>, hint: Option<&Hint>, context: &Context) -> Result<Self> {
        let sort = match sort {
            Some(sort) if !sort.is_empty() => Some(SortPattern::parse(sort.as_doc(), context)?),
            _ => None,
        };
        Ok(Query {
            matcher: Matcher::parse(filter.as_doc(), context)?,
            filter: filter.clone(),
            sort,
            hint: hint.cloned(),
            simple_collation: context.collation.is_none(),
        })
    }

    /// The `_id` that the filter asks for and nothing else.
    pub fn wanted_id(&self) -> Option<Raw<'_>> {
        let mut fields = self.filter.iter();
        let (Some(("_id", id)), None) = (fields.next(), fields.next()) else { return None };
        let id = match id {
            Raw::Document(doc) => {
                let mut operators = doc.iter();
                match (operators.next(), operators.next()) {
                    (Some(("$eq", id)), None) => id,
                    (Some((name, _)), _) if name.starts_with('$') => return None,
                    _ => id,
                }
            }
            other => other,
        };
        let plain = match id {
            Raw::Regex { .. } | Raw::Array(_) | Raw::Null | Raw::Undefined => false,
            Raw::String(_) | Raw::Symbol(_) | Raw::Document(_) => self.simple_collation,
            _ => true,
        };
        (plain && self.hint.is_none()).then_some(id)
    }

    /// How to read the collection.
    pub fn plan<R: Reader + ?Sized>(&self, reader: &R, collection: &Collection) -> Result<Plan> {
        let hint = match &self.hint {
            None => None,
            Some(Hint::Name(name)) => Some(planner::Hint::Name(name)),
            Some(Hint::Pattern(pattern)) => Some(planner::Hint::Pattern(pattern.as_doc())),
        };
        let _ = reader;
        Ok(planner::plan(collection, &self.matcher, self.sort.as_ref(), hint)?)
    }

    /// The first document in the wanted order.
    pub fn first<R: Reader + Send + Sync>(&self, reader: &R, collection: &Collection) -> Result<Option<Found>> {
        if let Some(id) = self.wanted_id() {
            let Some(stored) = reader.get(collection.id, id)? else { return Ok(None) };
            return self.check(stored);
        }
        let plan = self.plan(reader, collection)?;
        let Some(sort) = self.sort.as_ref().filter(|_| !plan.provides_sort()) else {
            for stored in plan.execute(reader)? {
                if let Some(found) = self.check(stored?)? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        };
        let mut best = None;
        for stored in plan.execute(reader)? {
            let Some(found) = self.check(stored?)? else { continue };
            let key = sort.key(found.stored.document.as_doc())?;
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                best = Some((key, found));
            }
        }
        Ok(best.map(|(_, found)| found))
    }

    /// The places of all documents that match.
    pub fn places<R: Reader + Send + Sync>(&self, reader: &R, collection: &Collection) -> Result<Vec<RecordId>> {
        if let Some(id) = self.wanted_id() {
            return Ok(reader.get(collection.id, id)?.map(|stored| stored.record).into_iter().collect());
        }
        let mut places = Vec::new();
        for stored in self.plan(reader, collection)?.execute(reader)? {
            if let Some(found) = self.check(stored?)? {
                places.push(found.stored.record);
            }
        }
        Ok(places)
    }

    /// Whether a document matches, and at which array position.
    pub fn check(&self, stored: Stored) -> Result<Option<Found>> {
        let details = self.matcher.matches_details(stored.document.as_doc())?;
        Ok(details.map(|details| Found { stored, details }))
    }
}

/// A document that matched.
#[derive(Clone, Debug)]
pub struct Found {
    pub stored: Stored,
    pub details: MatchDetails,
}

/// 2: the hint names no index.
pub fn bad_hint(namespace: &store::Namespace) -> Error {
    Error::new(
        2,
        format!(
            "error processing query: ns={namespace} planner returned error :: caused by :: \
             hint provided does not correspond to an existing index"
        ),
    )
}

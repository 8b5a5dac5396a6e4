//! Finding documents: the access path for a filter, and the documents on it that match.

use std::sync::Arc;

use document::collation::Collation;
use document::matcher::{MatchDetails, Matcher};
use document::sort::SortPattern;
use document::{Context, DocBuf, Raw};
use store::planner::{self, Plan};
use store::{Collection, Direction, Reader, RecordId, Stored};

use super::requests::Hint;
use super::search::Search;
use crate::{Error, Result};

/// A parsed question: which documents, in which order.
#[derive(Debug)]
pub struct Query {
    pub filter: DocBuf,
    pub matcher: Matcher,
    pub sort: Option<SortPattern>,
    pub hint: Option<planner::Hint>,
    /// Keys of the hinted index to begin with and to end before.
    pub min: Option<DocBuf>,
    pub max: Option<DocBuf>,
    collation: Option<Arc<Collation>>,
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
            hint: hint.map(planner_hint).transpose()?,
            min: None,
            max: None,
            collation: context.collation.clone(),
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
            Raw::String(_) | Raw::Symbol(_) | Raw::Document(_) => self.collation.is_none(),
            _ => true,
        };
        let free = self.hint.is_none() && self.min.is_none() && self.max.is_none();
        (plain && free).then_some(id)
    }

    /// Confines the query to some keys of the index that it is hinted at.
    pub fn within(self, min: Option<DocBuf>, max: Option<DocBuf>) -> Self {
        Query { min, max, ..self }
    }

    /// How to read the collection.
    pub fn plan(&self, collection: &Collection) -> Result<Plan> {
        let query = planner::Query {
            matcher: &self.matcher,
            sort: self.sort.as_ref(),
            hint: self.hint.as_ref(),
            collation: self.collation.as_ref(),
            bounds: planner::KeyBounds { min: self.min.as_ref(), max: self.max.as_ref() },
        };
        Ok(planner::plan(collection, &query)?)
    }

    /// The first document in the wanted order.
    pub fn first<R: Reader + Send + Sync>(&self, reader: &R, collection: &Collection) -> Result<Option<Found>> {
        match self.first_within(reader, collection, usize::MAX)? {
            Search::Found(found) => Ok(Some(*found)),
            Search::Nothing | Search::Unfinished => Ok(None),
        }
    }

    /// The first document in the wanted order, if no more than `limit` have to be read for it.
    pub fn first_within<R: Reader + Send + Sync>(
        &self,
        reader: &R,
        collection: &Collection,
        limit: usize,
    ) -> Result<Search> {
        let search = |found: Option<Found>| found.map_or(Search::Nothing, |found| Search::Found(Box::new(found)));
        if let Some(id) = self.wanted_id() {
            let Some(stored) = reader.get(collection.id, id)? else { return Ok(Search::Nothing) };
            return Ok(search(self.check(stored)?));
        }
        let plan = self.plan(collection)?;
        let rows = plan.execute(reader).enumerate();
        let Some(sort) = self.sort.as_ref().filter(|_| !plan.sorted) else {
            for (i, stored) in rows {
                if let Some(found) = self.check(stored?)? {
                    return Ok(search(Some(found)));
                }
                if i + 1 >= limit {
                    return Ok(Search::Unfinished);
                }
            }
            return Ok(Search::Nothing);
        };
        let mut best = None;
        for (i, stored) in rows {
            if i >= limit {
                return Ok(Search::Unfinished);
            }
            let Some(found) = self.check(stored?)? else { continue };
            let key = sort.key(found.stored.document.as_doc())?;
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                best = Some((key, found));
            }
        }
        Ok(search(best.map(|(_, found)| found)))
    }

    /// The places of all documents that match.
    pub fn places<R: Reader + Send + Sync>(&self, reader: &R, collection: &Collection) -> Result<Vec<RecordId>> {
        self.places_until(reader, collection, None)
    }

    /// The same, unless time runs out: 50.
    pub fn places_until<R: Reader + Send + Sync>(
        &self,
        reader: &R,
        collection: &Collection,
        deadline: Option<std::time::Instant>,
    ) -> Result<Vec<RecordId>> {
        if let Some(id) = self.wanted_id() {
            return Ok(reader.get(collection.id, id)?.map(|stored| stored.record).into_iter().collect());
        }
        let mut places = Vec::new();
        for (i, stored) in self.plan(collection)?.execute(reader).enumerate() {
            super::read::check_deadline(deadline, i)?;
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

fn planner_hint(hint: &Hint) -> Result<planner::Hint> {
    Ok(match hint {
        Hint::Name(name) => planner::Hint::Name(name.clone()),
        Hint::Pattern(pattern) => match pattern.get("$natural") {
            None => planner::Hint::Key(pattern.clone()),
            Some(direction) => match direction.as_whole() {
                Some(1) => planner::Hint::Natural(Direction::Forward),
                Some(-1) => planner::Hint::Natural(Direction::Backward),
                _ => return Err(Error::new(2, "$natural hint must be 1 or -1")),
            },
        },
    })
}

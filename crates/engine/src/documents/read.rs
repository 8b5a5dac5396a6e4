//! find, count, distinct: from a parsed query to a cursor or values.

use std::sync::Arc;

use base::ClusterTime;
use document::projection::{Mode as ProjectionMode, Projection};
use document::sort::TopK;
use document::{Context, Doc, DocBuf, DocWriter};
use store::planner::Plan;
use store::{Collection, Reader, RecordId, Snapshot};

use super::access::Query;
use super::context::Evaluation;
use super::requests::{Aggregate, Caller, Count, Distinct, Find, Origin, Tail};
use super::tail::TailCursor;
use super::views;
use crate::cursor::{Cursor, Deadline, DocumentCursor, Rows};
use crate::sessions::Mode;
use crate::{Error, Headwater, Result, blocking};

/// How long a held snapshot may be read, and how many are held: each keeps old versions on disk.
const HELD_MS: i64 = 5 * 60 * 1000;
const MAX_HELD: usize = 256;
/// A blocking sort holds at most so many bytes.
const MAX_SORT_BYTES: usize = 100 * 1024 * 1024;

impl Headwater {
    /// What a caller's reads see: its transaction, or everything committed.
    pub(crate) fn view(&self, caller: &Caller) -> Result<Snapshot> {
        match self.mode(caller)? {
            Mode::Transaction(open) => open.view(),
            Mode::Retryable(_) => Err(Error::new(
                50768,
                "txnNumber may only be provided for multi-document transactions and retryable write commands",
            )),
            Mode::Plain => match caller.read_at {
                None => Ok(self.store().snapshot()?),
                Some(time) => self.held_snapshot(time),
            },
        }
    }

    /// Keeps what is committed now readable for a while, under the time that it answers with.
    pub fn hold_snapshot(&self) -> Result<ClusterTime> {
        let snapshot = self.store().snapshot()?;
        let time = snapshot.time();
        let now_ms = self.clock().now_ms();
        let mut held = self.held().lock();
        held.retain(|_, (_, since_ms)| now_ms - *since_ms <= HELD_MS);
        while held.len() >= MAX_HELD {
            held.pop_first();
        }
        held.insert(time, (snapshot, now_ms));
        Ok(time)
    }

    fn held_snapshot(&self, time: ClusterTime) -> Result<Snapshot> {
        if let Some((snapshot, _)) = self.held().lock().get(&time) {
            return Ok(snapshot.clone());
        }
        let newest = self.store().snapshot()?;
        if newest.time() == time {
            return Ok(newest);
        }
        Err(Error::new(239, format!("Read timestamp {time} is older than the oldest available timestamp.")))
    }

    pub(crate) fn evaluation<'a>(&'a self, variables: Option<&'a DocBuf>) -> Evaluation<'a> {
        Evaluation { clock: self.clock(), applied: self.applied_time(), variables }
    }

    /// Opens a cursor over the documents that match.
    pub fn find(&self, caller: &Caller, find: Find) -> Result<Cursor> {
        let snapshot = self.view(caller)?;
        self.find_in(caller, snapshot, find)
    }

    fn find_in(&self, caller: &Caller, snapshot: Snapshot, find: Find) -> Result<Cursor> {
        let collection = snapshot.catalog().collection(&find.namespace).cloned();
        if let Some(view) = collection.as_ref().filter(|collection| collection.is_view()) {
            return self.find_on_view(caller, snapshot, view, find);
        }
        let context =
            self.evaluation(find.variables.as_ref()).context(find.collation.as_ref(), collection.as_deref())?;
        let query = Query::parse(&find.filter, find.sort.as_ref(), find.hint.as_ref(), &context)?
            .within(find.min.clone(), find.max.clone());
        let projection = parse_projection(find.projection.as_ref(), &context)?;
        let Some(collection) = collection else { return Ok(Cursor::of(Vec::new())) };
        if find.tail != Tail::No {
            if collection.capped.is_none() {
                return Err(Error::new(
                    2,
                    format!(
                        "error processing query: ns={} planner returned error :: caused by :: \
                         tailable cursor requested on non capped collection",
                        find.namespace
                    ),
                ));
            }
            let cursor = TailCursor::new(self.clone(), &collection, query, projection, &find);
            return Ok(Cursor::Tail(Box::new(cursor)));
        }
        let deadline = Deadline::at(caller.deadline);
        let shape = Shape {
            projection,
            skip: find.skip,
            limit: find.limit,
            show_record_id: find.show_record_id,
            return_key: find.return_key,
            deadline: deadline.clone(),
        };
        if query.wanted_id().is_some() && !find.return_key {
            // One point read: not worth moving the other tasks of this thread away.
            let rows = rows(snapshot, &collection, Arc::new(query), shape)?;
            return Ok(Cursor::Documents(DocumentCursor::at_hand(rows)));
        }
        let rows = blocking(|| rows(snapshot, &collection, Arc::new(query), shape))?;
        Ok(Cursor::Documents(DocumentCursor::new(rows, find.limit).until(deadline)))
    }

    fn find_on_view(&self, caller: &Caller, snapshot: Snapshot, view: &Collection, find: Find) -> Result<Cursor> {
        if find.tail != Tail::No {
            return Err(Error::new(
                166,
                format!("Namespace {} is a view, tailable cursors are not supported", find.namespace),
            ));
        }
        let refused = [
            ("min", find.min.is_some()),
            ("max", find.max.is_some()),
            ("returnKey", find.return_key),
            ("showRecordId", find.show_record_id),
        ];
        if let Some((option, _)) = refused.into_iter().find(|(_, given)| *given) {
            return Err(Error::new(168, format!("Option {option} not supported in aggregation.")));
        }
        let mut pipeline = vec![Doc::new().with("$match", find.filter.clone()).to_buf()];
        let mut stage = |name: &str, value: document::Value| pipeline.push(Doc::new().with(name, value).to_buf());
        if let Some(sort) = find.sort.as_ref().filter(|sort| !sort.is_empty() && sort.get("$natural").is_none()) {
            stage("$sort", sort.clone().into());
        }
        if find.skip > 0 {
            stage("$skip", (find.skip as i64).into());
        }
        if let Some(limit) = find.limit {
            stage("$limit", (limit as i64).into());
        }
        if let Some(projection) = find.projection.as_ref().filter(|projection| !projection.is_empty()) {
            stage("$project", projection.clone().into());
        }
        views::check_collation(view, find.collation.as_ref())?;
        let aggregate =
            Aggregate { variables: find.variables, ..Aggregate::new(Origin::Collection(find.namespace), pipeline) };
        self.pipeline_cursor(caller, snapshot, aggregate)
    }

    /// How many documents match.
    pub fn count(&self, caller: &Caller, count: Count) -> Result<u64> {
        let snapshot = self.view(caller)?;
        let collection = snapshot.catalog().collection(&count.namespace).cloned();
        let context = self.evaluation(None).context(count.collation.as_ref(), collection.as_deref())?;
        let query = Query::parse(&count.filter, None, count.hint.as_ref(), &context)?;
        let Some(collection) = collection else { return Ok(0) };
        if collection.is_view() {
            let mut pipeline = vec![Doc::new().with("$match", count.filter.clone()).to_buf()];
            pipeline.push(Doc::new().with("$project", Doc::new().with("_id", 1)).to_buf());
            views::check_collation(&collection, count.collation.as_ref())?;
            let cursor =
                self.pipeline_cursor(caller, snapshot, Aggregate::new(Origin::Collection(count.namespace), pipeline))?;
            let found = blocking(|| cursor.into_rows())?.try_fold(0u64, |n, row| row.map(|_| n + 1))?;
            return Ok(cut(found, count.skip, count.limit));
        }
        if query.matcher.is_trivial() && query.hint.is_none() {
            return Ok(cut(snapshot.counts(&collection)?.documents, count.skip, count.limit));
        }
        let enough = count.limit.map_or(u64::MAX, |limit| limit.saturating_add(count.skip));
        let found = blocking(|| {
            let mut n = 0;
            let plan = query.plan(&collection)?;
            for (i, stored) in plan.execute(&snapshot).enumerate() {
                check_deadline(caller.deadline, i)?;
                if query.check(stored?)?.is_some() {
                    n += 1;
                    if n >= enough {
                        break;
                    }
                }
            }
            Ok::<u64, Error>(n)
        })?;
        Ok(cut(found, count.skip, count.limit))
    }

    /// The distinct values at a path, array elements counting one by one; an array.
    pub fn distinct(&self, caller: &Caller, distinct: Distinct) -> Result<DocBuf> {
        check_key(&distinct.key)?;
        let snapshot = self.view(caller)?;
        let collection = snapshot.catalog().collection(&distinct.namespace).cloned();
        let context = self.evaluation(None).context(distinct.collation.as_ref(), collection.as_deref())?;
        let query = Query::parse(&distinct.filter, None, distinct.hint.as_ref(), &context)?;
        let Some(collection) = collection else { return Ok(DocBuf::default()) };
        let mut values = super::distinct::Values::new(&distinct.key, context.collation.clone());
        if collection.is_view() {
            views::check_collation(&collection, distinct.collation.as_ref())?;
            let pipeline = vec![Doc::new().with("$match", distinct.filter.clone()).to_buf()];
            let cursor = self.pipeline_cursor(
                caller,
                snapshot,
                Aggregate::new(Origin::Collection(distinct.namespace), pipeline),
            )?;
            blocking(|| cursor.into_rows())?.try_for_each(|row| values.add(row?.as_doc()))?;
        } else {
            blocking(|| {
                let plan = query.plan(&collection)?;
                for (i, stored) in plan.execute(&snapshot).enumerate() {
                    check_deadline(caller.deadline, i)?;
                    if let Some(found) = query.check(stored?)? {
                        values.add(found.stored.document.as_doc())?;
                    }
                }
                Ok::<(), Error>(())
            })?;
        }
        values.finish()
    }
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(40352, "FieldPath cannot be constructed with empty string"));
    }
    if key.contains('\0') {
        return Err(Error::new(31032, "Key field cannot contain an embedded null byte"));
    }
    if key.ends_with('.') {
        return Err(Error::new(40353, "FieldPath must not end with a '.'."));
    }
    if key.starts_with('$') {
        return Err(Error::new(16410, "FieldPath field names may not start with '$'."));
    }
    if key.split('.').any(str::is_empty) {
        return Err(Error::new(15998, "FieldPath field names may not be empty strings."));
    }
    Ok(())
}

fn cut(found: u64, skip: u64, limit: Option<u64>) -> u64 {
    let rest = found.saturating_sub(skip);
    limit.map_or(rest, |limit| rest.min(limit))
}

pub(crate) fn parse_projection(spec: Option<&DocBuf>, context: &Context) -> Result<Option<Projection>> {
    match spec {
        Some(spec) if !spec.is_empty() => Ok(Some(Projection::parse(spec.as_doc(), context, ProjectionMode::Find)?)),
        _ => Ok(None),
    }
}

/// Looks at the clock only every so many documents.
pub(crate) fn check_deadline(deadline: Option<std::time::Instant>, documents: usize) -> Result<()> {
    const EVERY: usize = 128;
    if documents.is_multiple_of(EVERY)
        && let Some(deadline) = deadline
        && std::time::Instant::now() > deadline
    {
        return Err(Error::new(50, "operation exceeded time limit"));
    }
    Ok(())
}

/// What happens to the documents after they have been found.
struct Shape {
    projection: Option<Projection>,
    skip: u64,
    limit: Option<u64>,
    show_record_id: bool,
    return_key: bool,
    deadline: Deadline,
}

/// A document, its place, and the array position that matched.
struct Row {
    record: RecordId,
    document: DocBuf,
    array_index: Option<usize>,
}

type FoundRows = Box<dyn Iterator<Item = Result<Row>> + Send>;

fn rows(snapshot: Snapshot, collection: &Collection, query: Arc<Query>, shape: Shape) -> Result<Rows> {
    let key_of = shape.return_key.then(|| query.plan(collection)).transpose()?;
    let found: FoundRows = match query.wanted_id() {
        Some(id) => {
            let found = match snapshot.get(collection.id, id)? {
                Some(stored) => query.check(stored)?,
                None => None,
            };
            Box::new(found.into_iter().map(|found| {
                Ok(Row {
                    record: found.stored.record,
                    document: found.stored.document,
                    array_index: found.details.array_index,
                })
            }))
        }
        None => {
            let plan = query.plan(collection)?;
            let sorted = plan.sorted;
            let matching = matching(snapshot, plan, Arc::clone(&query), shape.deadline)?;
            match query.sort.as_ref().filter(|sort| !sorted && sort.natural().is_none()) {
                Some(_) => sorted_rows(matching, &query, shape.limit.map(|limit| limit.saturating_add(shape.skip)))?,
                None => matching,
            }
        }
    };
    let skip = usize::try_from(shape.skip).unwrap_or(usize::MAX);
    let (projection, show_record_id) = (shape.projection, shape.show_record_id);
    Ok(Box::new(found.skip(skip).map(move |row| {
        let row = row?;
        let document = match (&key_of, &projection) {
            (Some(plan), _) => plan.key_of(row.document.as_doc())?,
            (None, Some(projection)) => projection.apply(row.document.as_doc(), row.array_index)?,
            (None, None) => row.document,
        };
        Ok(if show_record_id && key_of.is_none() { with_record_id(&document, row.record) } else { document })
    })))
}

fn with_record_id(document: &DocBuf, record: RecordId) -> DocBuf {
    let mut out = DocWriter::with_capacity(document.len() + 24);
    out.fields(document.as_doc());
    out.i64("$recordId", record.0 as i64);
    out.finish()
}

fn matching(snapshot: Snapshot, plan: Plan, query: Arc<Query>, deadline: Deadline) -> Result<FoundRows> {
    let mut read = 0;
    Ok(Box::new(plan.execute_owned(snapshot).filter_map(move |stored| {
        read += 1;
        let found = deadline.check(read).and_then(|()| query.check(stored?));
        found.transpose().map(|found| {
            let found = found?;
            Ok(Row {
                record: found.stored.record,
                document: found.stored.document,
                array_index: found.details.array_index,
            })
        })
    })))
}

fn sorted_rows(rows: FoundRows, query: &Query, limit: Option<u64>) -> Result<FoundRows> {
    let sort = query.sort.as_ref().expect("the caller has looked");
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    if let Some(limit) = limit.filter(|limit| *limit <= 10_000) {
        let mut best = TopK::new(limit);
        for row in rows {
            let row = row?;
            best.push(sort.key(row.document.as_doc())?, row);
        }
        return Ok(Box::new(best.into_sorted().into_iter().map(Ok)));
    }
    let mut keyed = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = row?;
        bytes += row.document.len();
        if bytes > MAX_SORT_BYTES {
            let message = "Executor error during find command :: caused by :: Sort exceeded memory limit of 104857600 bytes, but did not opt in to external sorting.";
            return Err(Error::new(292, message));
        }
        keyed.push((sort.key(row.document.as_doc())?, row));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Box::new(keyed.into_iter().map(|(_, row)| Ok(row))))
}

//! Bounded queries: every source as it is now, once through the operators.

use std::sync::Arc;

use base::ClusterTime;
use changes::token::ResumeToken;
use dataflow::{Dataflow, Delta, Input, Mode, OnError, StepContext};
use document::DocBuf;
use rustc_hash::FxHashSet;
use sql::plan::Recursion;
use sql::{Datum, EvalContext, Field, Plan, Relation, Row, Source, SqlError};
use store::{Direction, Namespace, Reader as _};

use crate::build::{concerns, missing};
use crate::events::{collection_delta, stream_row};
use crate::runtime::{ViewRows, Views, store_error};
use crate::scan::{ScanColumns, collection_row};
use crate::source_filter::{SourceFilters, access_plan, source_filters};

/// Rows that a recursive query may find.
const MAX_RECURSIVE_ROWS: usize = 1_000_000;

/// Input rows per step while reading.
const CHUNK_ROWS: usize = 8192;

/// Tables that are computed when they are read: `pg_catalog`, `information_schema`, status.
pub trait SystemTables: Send + Sync {
    /// `schema` is `None` for unqualified names.
    fn relation(&self, db: &str, schema: Option<&str>, name: &str) -> Option<Relation>;

    /// A relation's number (`regclass`) by its name.
    fn number(&self, _db: &str, _name: &str) -> Option<i64> {
        None
    }

    /// All rows, with all columns of the relation.
    fn rows(&self, db: &str, schema: &str, name: &str) -> Result<Vec<Row>, SqlError>;
}

/// The answer of a bounded query.
#[derive(Clone, Debug)]
pub struct QueryResult {
    pub fields: Vec<Field>,
    /// In presentation order.
    pub rows: Vec<Row>,
    /// What the answer includes: every change up to here.
    pub time: ClusterTime,
}

/// Runs a bound query over the present.
pub async fn query(
    views: &Views,
    system: Arc<dyn SystemTables>,
    db: String,
    plan: Arc<Plan>,
    ctx: QueryContext,
) -> Result<QueryResult, SqlError> {
    let store = views.store().clone();
    let present = store.durable();
    let names: Vec<(String, String)> = plan
        .sources()
        .into_iter()
        .filter_map(|source| if let Source::View { db, name } = source { Some((db, name)) } else { None })
        .collect();
    let read =
        if names.is_empty() { ViewRows { time: present, views: vec![] } } else { views.read(names, present).await? };
    let views = views.clone();
    let run = move || {
        let mut reader = Reader {
            views: &views,
            system: &*system,
            db: &db,
            read: &read,
            snapshot: None,
            filters: SourceFilters::default(),
            working: Vec::new(),
            as_of: false,
        };
        reader.run(&plan, &ctx, OnError::Fail)
    };
    tokio::task::spawn_blocking(run).await.map_err(|e| SqlError::internal(format!("the query failed: {e}")))?
}

/// Runs a bound query over the moment of a token: everything up to it, and nothing after. Streams end
/// there, collections are brought back by the change log, and views are their queries over both.
///
/// # Errors
/// 22023 for what is no token of the past; 55000 where the log no longer tells what was there.
pub async fn query_as_of(
    views: &Views,
    db: String,
    plan: Arc<Plan>,
    ctx: QueryContext,
    token: &str,
) -> Result<QueryResult, SqlError> {
    let time = moment(views.store(), token)?;
    let views = views.clone();
    let run = move || {
        let read = ViewRows { time, views: vec![] };
        let filters = SourceFilters::default();
        let mut reader = Reader {
            views: &views,
            system: &NoTables,
            db: &db,
            read: &read,
            snapshot: None,
            filters,
            working: Vec::new(),
            as_of: true,
        };
        reader.run(&plan, &ctx, OnError::Fail)
    };
    tokio::task::spawn_blocking(run).await.map_err(|e| SqlError::internal(format!("the query failed: {e}")))?
}

/// The time up to which a token's moment reaches.
fn moment(store: &store::Store, token: &str) -> Result<ClusterTime, SqlError> {
    let token = parse_token(token)?;
    let time = match token.facts().is_high_water_mark {
        true => ClusterTime(token.cluster_time().0.saturating_sub(1)),
        false => token.cluster_time(),
    };
    if time > store.durable() {
        return Err(SqlError::new("22023", "the moment of this token has not come yet"));
    }
    if time.next() < store.oldest_time() {
        return Err(SqlError::new("55000", "the change log no longer holds what came after this token"));
    }
    Ok(time)
}

/// There are no system tables of the past.
struct NoTables;

impl SystemTables for NoTables {
    fn relation(&self, _: &str, _: Option<&str>, _: &str) -> Option<Relation> {
        None
    }

    fn rows(&self, _: &str, _: &str, name: &str) -> Result<Vec<Row>, SqlError> {
        Err(SqlError::unsupported(format!("AS OF TOKEN over the system table \"{name}\"")))
    }
}

/// What a statement is evaluated with.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub now_us: i64,
    pub time_zone: String,
    pub parameters: Vec<Datum>,
}

struct Reader<'a> {
    views: &'a Views,
    system: &'a dyn SystemTables,
    db: &'a str,
    read: &'a ViewRows,
    snapshot: Option<store::Snapshot>,
    /// What the query asks of the documents of its collections.
    filters: SourceFilters,
    /// What the recursive queries under way have found last, by their numbers.
    working: Vec<(usize, Vec<Row>)>,
    /// `read.time` is a moment of the past: collections and views are brought back to it.
    as_of: bool,
}

impl Reader<'_> {
    fn run(&mut self, plan: &Arc<Plan>, ctx: &QueryContext, on_error: OnError) -> Result<QueryResult, SqlError> {
        let mut flow = Dataflow::compile(plan, Mode::Once)?;
        let mut step = StepContext {
            time_zone: &ctx.time_zone,
            parameters: &ctx.parameters,
            on_error,
            ..StepContext::at(ctx.now_us)
        };
        let inputs: Vec<Input> = flow.inputs().cloned().collect();
        let eval = EvalContext { now_us: ctx.now_us, parameters: &ctx.parameters, time_zone: &ctx.time_zone };
        if !self.as_of {
            self.filters = source_filters(plan, &eval);
        }
        let mut out = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let mut feed = |rows: Vec<Delta>| {
                let mut deltas = vec![Vec::new(); inputs.len()];
                deltas[i] = rows;
                out.extend(flow.step(deltas, &mut step)?);
                Ok(())
            };
            self.read_input(input, ctx, &mut feed)?;
        }
        out.extend(flow.finish(vec![Vec::new(); inputs.len()], &mut step)?);
        if !flow.is_append_only() {
            dataflow::consolidate(&mut out);
        }
        let rows = out.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, n.max(0) as usize)).collect();
        let rows = flow.presentation().apply(rows, &mut step)?;
        Ok(QueryResult { fields: plan.fields().to_vec(), rows, time: self.read.time })
    }

    fn read_input(
        &mut self,
        input: &Input,
        ctx: &QueryContext,
        feed: &mut dyn FnMut(Vec<Delta>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let columns = ScanColumns::new(&input.columns);
        match &input.source {
            Source::Stream { db, name, since, up_to } => {
                let bounds = (since.as_deref(), up_to.as_deref());
                self.read_stream(db, name, bounds, &columns, ctx, feed)
            }
            Source::Collection { db, name } => {
                let filter = self.filters.remove(input);
                self.read_collection(db, name, &columns, filter.as_ref(), feed)
            }
            Source::View { db, name } if self.as_of => {
                let rows = self.view_as_of(db, name, ctx)?;
                feed(rows.iter().map(|row| (columns.row(|c| row[c].clone()), 1)).collect())
            }
            Source::View { db, name } => {
                let view = self.read.views.iter().find(|v| v.db == *db && v.name == *name);
                let view = view.ok_or_else(|| missing("materialized view", name))?;
                feed(view.rows.iter().map(|(row, n)| (columns.row(|c| row[c].clone()), *n)).collect())
            }
            Source::Recursive(recursion) => {
                let rows = self.fixed_point(recursion, ctx)?;
                feed(rows.iter().map(|row| (columns.row(|c| row[c].clone()), 1)).collect())
            }
            Source::Working(id) => {
                let found = self.working.iter().rev().find(|(of, _)| of == id);
                let (_, rows) = found.ok_or_else(|| SqlError::internal("a recursive step outside its query"))?;
                feed(rows.iter().map(|row| (columns.row(|c| row[c].clone()), 1)).collect())
            }
            Source::System { schema, name } => {
                let rows = self.system.rows(self.db, schema, name)?;
                feed(rows.iter().map(|row| (columns.row(|c| row[c].clone()), 1)).collect())
            }
        }
    }

    /// A recursive query's rows: its base's, and its step's over what was found last, until nothing is.
    fn fixed_point(&mut self, recursion: &Recursion, ctx: &QueryContext) -> Result<Vec<Row>, SqlError> {
        let filters = std::mem::take(&mut self.filters);
        let mut seen: FxHashSet<Row> = FxHashSet::default();
        let mut all: Vec<Row> = Vec::new();
        let mut found = self.run(&recursion.base, ctx, OnError::Fail)?.rows;
        loop {
            if !recursion.all {
                found.retain(|row| seen.insert(row.iter().map(Datum::sql_key).collect()));
            }
            if found.is_empty() {
                self.filters = filters;
                return Ok(all);
            }
            if all.len() + found.len() > MAX_RECURSIVE_ROWS {
                let message = format!("a recursive query found more than {MAX_RECURSIVE_ROWS} rows");
                return Err(
                    SqlError::new("53400", message).with_hint("Give its recursive term a condition that ends it.")
                );
            }
            all.extend(found.iter().cloned());
            self.working.push((recursion.id, found));
            let next = self.run(&recursion.step, ctx, OnError::Fail);
            self.working.pop();
            found = next?.rows;
        }
    }

    fn read_stream(
        &self,
        db: &str,
        name: &str,
        (since, up_to): (Option<&str>, Option<&str>),
        columns: &ScanColumns,
        ctx: &QueryContext,
        feed: &mut dyn FnMut(Vec<Delta>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let definitions = self.views.definitions();
        let stream = definitions.stream(db, name).ok_or_else(|| missing("change stream", name))?;
        let since = since.map(parse_token).transpose()?;
        let up_to = up_to.map(parse_token).transpose()?;
        let from = since.as_ref().map_or(stream.start.next(), |t| t.cluster_time().max(stream.start.next()));
        let until = up_to.as_ref().map_or(self.read.time, |t| t.cluster_time().min(self.read.time));
        let mut rows = Vec::new();
        if from > until {
            return Ok(());
        }
        for entry in self.views.store().log_from_time(from.max(self.views.store().oldest_time()), until) {
            let entry = entry.map_err(store_error)?;
            if !stream.takes(&entry, ctx.now_us) {
                continue;
            }
            if since.is_some() || up_to.is_some() {
                let id = changes::event::Event::new(&entry).change_id();
                if since.as_ref().is_some_and(|t| id <= t.data()) || up_to.as_ref().is_some_and(|t| id > t.data()) {
                    continue;
                }
            }
            rows.push((stream_row(&entry, stream, columns), 1));
            if rows.len() >= CHUNK_ROWS {
                feed(std::mem::take(&mut rows))?;
            }
        }
        feed(rows)
    }

    /// A view at the moment is its query over the moment.
    fn view_as_of(&mut self, db: &str, name: &str, ctx: &QueryContext) -> Result<Vec<Row>, SqlError> {
        let definitions = self.views.definitions();
        let view = definitions.view(db, name).ok_or_else(|| missing("materialized view", name))?;
        if view.plan.reads_now() {
            return Err(SqlError::unsupported(format!("AS OF TOKEN over the view \"{name}\""))
                .with_hint("Its rows depend on when they were taken in."));
        }
        let ctx = QueryContext { time_zone: "UTC".to_owned(), parameters: Vec::new(), ..ctx.clone() };
        Ok(self.run(&view.plan, &ctx, view.on_error)?.rows)
    }

    fn read_collection(
        &mut self,
        db: &str,
        name: &str,
        columns: &ScanColumns,
        filter: Option<&DocBuf>,
        feed: &mut dyn FnMut(Vec<Delta>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let store = self.views.store();
        if self.snapshot.is_none() {
            self.snapshot = Some(store.snapshot().map_err(store_error)?);
        }
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let namespace = Namespace::new(db, name);
        let Some(collection) = snapshot.catalog().collection(&namespace).cloned() else {
            // What was dropped since cannot be brought back; what never was is empty.
            return if self.as_of {
                taken_back(store, snapshot, &namespace, columns, self.read.time).map(|_| ())
            } else {
                Ok(())
            };
        };
        if self.as_of {
            let rows = then(store, snapshot, &collection, columns, self.read.time)?;
            return feed(rows);
        }
        let mut rows = Vec::new();
        let candidates = match filter.and_then(|filter| access_plan(&collection, filter)) {
            Some(plan) => plan.execute(snapshot),
            None => snapshot.scan(collection.id, Direction::Forward),
        };
        for stored in candidates {
            let stored = stored.map_err(store_error)?;
            rows.push((collection_row(columns, &stored.document), 1));
            if rows.len() >= CHUNK_ROWS {
                feed(std::mem::take(&mut rows))?;
            }
        }
        feed(rows)
    }
}

/// The rows of a collection at a moment before its snapshot: the later changes taken back.
fn then(
    store: &store::Store,
    snapshot: &store::Snapshot,
    collection: &store::Collection,
    columns: &ScanColumns,
    moment: ClusterTime,
) -> Result<Vec<Delta>, SqlError> {
    let mut rows: Vec<Delta> = Vec::new();
    for stored in snapshot.scan(collection.id, Direction::Forward) {
        rows.push((collection_row(columns, &stored.map_err(store_error)?.document), 1));
    }
    rows.extend(taken_back(store, snapshot, &collection.namespace, columns, moment)?);
    dataflow::consolidate(&mut rows);
    Ok(rows)
}

/// What leads from a snapshot back to a moment.
fn taken_back(
    store: &store::Store,
    snapshot: &store::Snapshot,
    namespace: &Namespace,
    columns: &ScanColumns,
    moment: ClusterTime,
) -> Result<Vec<Delta>, SqlError> {
    let mut deltas = Vec::new();
    for entry in store.log_from_time(moment.next(), snapshot.time()) {
        let entry = entry.map_err(store_error)?;
        if concerns(&entry, namespace) && collection_delta(&entry, columns, &mut deltas).is_err() {
            let message = format!("the change log does not tell what collection \"{namespace}\" held at this token");
            return Err(SqlError::new("55000", message).with_hint(
                "Changes have pre-images where a view or a stream with full_document_before_change reads them.",
            ));
        }
    }
    deltas.iter_mut().for_each(|(_, count)| *count *= -1);
    Ok(deltas)
}

fn parse_token(data: &str) -> Result<ResumeToken, SqlError> {
    ResumeToken::parse_data(data, Vec::new()).map_err(|error| {
        SqlError::new("22023", format!("invalid resume token: {error}"))
            .with_hint("a token is the change_id of an event of this stream")
    })
}

/// Evaluates an expression without columns: a LIMIT, an option's value.
pub fn evaluate(expr: &sql::Expr, ctx: &QueryContext) -> Result<Datum, SqlError> {
    let eval = EvalContext { now_us: ctx.now_us, parameters: &ctx.parameters, time_zone: &ctx.time_zone };
    expr.eval(&[], &eval)
}

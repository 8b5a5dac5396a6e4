//! CREATE, ALTER and DROP SINK; REDRIVE and DISCARD DEAD LETTERS; SHOW SINKS and DEAD LETTERS.

use std::sync::Arc;

use ::sql::parser::statement::{CreateSink, Name, Predicate, SinkAction};
use ::sql::{Datum, EvalContext, Field, Row, Source, SqlError, Type};
use base::{ClusterTime, Uuid};
use bytes::Bytes;
use changes::ResumeToken;
use delivery::Position;
use document::{Raw, RawDoc};
use store::{Direction, Reader as _};
use views::names::SessionCatalog;
use views::runtime::store_error;

use super::ddl::{Done, notice};
use super::definitions::just_before;
use super::{Outcome, binding, objects};
use crate::Headwater;
use crate::delivery::definition::{SinkDefinition, SourcePlan};
use crate::delivery::{LETTERS, journal_namespace};

fn missing(name: &Name) -> SqlError {
    SqlError::new("42704", format!("sink \"{}\" does not exist", name.name)).at(name.position)
}

fn find(engine: &Headwater, database: &str, name: &Name) -> Result<Arc<SinkDefinition>, SqlError> {
    let db = name.db.as_deref().unwrap_or(database);
    engine.deliveries().find(db, &name.name).ok_or_else(|| missing(name))
}

/// CREATE SINK.
pub(super) async fn create(
    engine: &Headwater,
    create: &CreateSink,
    text: &str,
    catalog: SessionCatalog,
) -> Result<Done, SqlError> {
    const TAG: &str = "CREATE SINK";
    let deliveries = engine.deliveries();
    let _changing = engine.sql().ddl.lock().await;
    let db = create.name.db.clone().unwrap_or_else(|| catalog.database.clone());
    let existing = deliveries.find(&db, &create.name.name);
    if existing.is_some() && create.if_not_exists {
        let skipped = notice(format!("sink \"{}\" already exists, skipping", create.name.name));
        return Ok(Done { tag: TAG, notices: vec![skipped] });
    }
    if existing.is_some() && !create.or_replace {
        let message = format!("sink \"{}\" already exists", create.name.name);
        return Err(SqlError::new("42710", message).at(create.name.position));
    }
    let sink = SinkDefinition::bind(create, text, &catalog, Uuid::random(), engine.clock().now_ms())?;
    refuse_loop(&sink, &catalog)?;
    deliveries.check_shared(&sink)?;
    let target = deliveries.target(&sink)?;
    let checking = Arc::clone(&target);
    let checked = deliveries.spawn(async move { checking.check().await })?.await;
    checked
        .map_err(|error| SqlError::internal(format!("looking at the target failed: {error}")))?
        .map_err(|fault| SqlError::new("08001", fault.message).with_hint("The sink was not created."))?;
    let start = start(engine, &sink).await?;
    if let Some(existing) = &existing {
        stop(engine, &existing.db, &existing.name).await?;
        deliveries.forget(existing).await?;
    }
    deliveries.save(&sink, Some(start), None).await?;
    deliveries.start(Arc::new(sink), target)?;
    Ok(Done { tag: TAG, notices: Vec::new() })
}

/// Where a new sink begins to read.
async fn start(engine: &Headwater, sink: &SinkDefinition) -> Result<Position, SqlError> {
    let (SourcePlan::Stream { db, name, .. } | SourcePlan::StreamQuery { db, name, .. }) = &sink.source else {
        return Ok(Position::at(1));
    };
    let store = engine.store();
    let definitions = engine.sql().views.definitions();
    let stream = definitions.stream(db, name).ok_or_else(|| views::build::missing("change stream", name))?;
    if sink.options.snapshot == Some(true) {
        return Ok(Position::at(stream.start.next().max(store.oldest_time()).0));
    }
    Ok(Position::at(super::ddl::start(engine, stream, None).await?.next().0))
}

/// 42P16 for a sink whose own writes would come back to it, directly or through views.
fn refuse_loop(sink: &SinkDefinition, catalog: &SessionCatalog) -> Result<(), SqlError> {
    let Some(target) = sink.collection_target() else { return Ok(()) };
    let mut waiting = sink.source.sources();
    let mut seen: Vec<Source> = Vec::new();
    while let Some(source) = waiting.pop() {
        if watches(&source, &target, catalog) {
            let message = format!("the sink would write into what it reads: collection \"{target}\"");
            return Err(SqlError::new("42P16", message)
                .with_hint("Every delivery would be an event of its own. Write into another collection or database."));
        }
        if seen.contains(&source) {
            continue;
        }
        if let Source::View { db, name } = &source
            && let Some(view) = catalog.definitions.view(db, name)
        {
            waiting.extend(view.plan.sources());
        }
        seen.push(source);
    }
    Ok(())
}

fn watches(source: &Source, target: &store::Namespace, catalog: &SessionCatalog) -> bool {
    match source {
        Source::Collection { db, name } => **db == *target.db && **name == *target.collection,
        Source::Stream { db, name, .. } => match catalog.definitions.stream(db, name).map(|stream| &stream.scope) {
            Some(views::StreamScope::Collection { db, name }) => **db == *target.db && **name == *target.collection,
            Some(views::StreamScope::Database(db)) => **db == *target.db,
            Some(views::StreamScope::Cluster) => true,
            None => false,
        },
        Source::View { .. } | Source::System { .. } | Source::Recursive(_) | Source::Working(_) => false,
    }
}

async fn stop(engine: &Headwater, db: &str, name: &str) -> Result<(), SqlError> {
    let (engine, db, name) = (engine.clone(), db.to_owned(), name.to_owned());
    tokio::task::spawn_blocking(move || engine.deliveries().stop(&db, &name))
        .await
        .map_err(|error| SqlError::internal(format!("stopping the sink failed: {error}")))
}

/// ALTER SINK.
pub(super) async fn alter(
    engine: &Headwater,
    database: &str,
    name: &Name,
    if_exists: bool,
    action: &SinkAction,
    text: &str,
) -> Result<Done, SqlError> {
    const TAG: &str = "ALTER SINK";
    let _changing = engine.sql().ddl.lock().await;
    let sink = match find(engine, database, name) {
        Err(error) if if_exists => {
            return Ok(Done { tag: TAG, notices: vec![notice(format!("{}, skipping", error.message))] });
        }
        found => found?,
    };
    match action {
        SinkAction::Pause => restart(engine, &sink, SinkDefinition { paused: true, ..(*sink).clone() }, None).await?,
        SinkAction::Resume => restart(engine, &sink, SinkDefinition { paused: false, ..(*sink).clone() }, None).await?,
        SinkAction::Set(_) => {
            let statement = format!("{};\n{text}", sink.statement.trim_end().trim_end_matches(';'));
            let create = crate::delivery::definition::merged(&statement)?;
            let catalog = engine.deliveries().catalog(&sink.db, &engine.sql().views.definitions());
            let altered = SinkDefinition::bind(&create, &statement, &catalog, sink.uid, sink.created_ms)?;
            refuse_other_rows(&sink, &altered)?;
            restart(engine, &sink, SinkDefinition { paused: sink.paused, ..altered }, None).await?;
        }
        SinkAction::Replay { since } => {
            let start = replay_start(engine, &sink, since.as_deref())?;
            restart(engine, &sink, SinkDefinition { uid: Uuid::random(), ..(*sink).clone() }, Some(start)).await?;
        }
    }
    Ok(Done { tag: TAG, notices: Vec::new() })
}

/// What identifies rows cannot change under what is remembered of them.
fn refuse_other_rows(sink: &SinkDefinition, altered: &SinkDefinition) -> Result<(), SqlError> {
    let keys = |sink: &SinkDefinition| sink.options.key.clone();
    if keys(sink) == keys(altered) {
        return Ok(());
    }
    Err(SqlError::unsupported("changing the key of a sink").with_hint("Use CREATE OR REPLACE SINK."))
}

fn replay_start(engine: &Headwater, sink: &SinkDefinition, since: Option<&str>) -> Result<Position, SqlError> {
    let Some((db, name)) = sink.stream() else {
        return match since {
            // The rows that are there now are delivered as if they were new.
            None => Ok(Position::at(1)),
            Some(_) => Err(SqlError::unsupported("REPLAY FROM a token for a sink over a view")
                .with_hint("ALTER SINK … REPLAY delivers all rows that are there.")),
        };
    };
    let oldest = engine.store().oldest_time();
    let Some(since) = since else {
        let definitions = engine.sql().views.definitions();
        let stream = definitions.stream(db, name).ok_or_else(|| views::build::missing("change stream", name))?;
        return Ok(Position::at(stream.start.next().max(oldest).0));
    };
    let token = ResumeToken::parse_data(since, Vec::new())
        .map_err(|error| SqlError::new("22023", format!("invalid resume token: {error}")))?;
    let facts = token.facts();
    let start = match facts.is_high_water_mark {
        true => Position::at(token.cluster_time().0),
        false => Position { time: token.cluster_time().0, index: facts.txn_op_index.saturating_add(1), part: 0 },
    };
    if ClusterTime(start.time) < just_before(oldest) {
        return Err(SqlError::new("55000", "the change log no longer holds the events after this resume token")
            .with_hint("ALTER SINK … REPLAY without a token delivers everything that is still there."));
    }
    Ok(start)
}

/// Stops a sink and starts it as it is now defined; with `start`, as a new life from there.
async fn restart(
    engine: &Headwater,
    sink: &SinkDefinition,
    altered: SinkDefinition,
    start: Option<Position>,
) -> Result<(), SqlError> {
    let deliveries = engine.deliveries();
    let target = deliveries.target(&altered)?;
    stop(engine, &sink.db, &sink.name).await?;
    let saved = deliveries.save(&altered, start, start.map(|_| sink.uid)).await;
    if let Err(error) = saved {
        deliveries.start(Arc::new(sink.clone()), deliveries.target(sink)?)?;
        return Err(error);
    }
    deliveries.start(Arc::new(altered), target)
}

/// DROP SINK.
pub(super) async fn drop(
    engine: &Headwater,
    database: &str,
    names: &[Name],
    if_exists: bool,
) -> Result<Done, SqlError> {
    let _changing = engine.sql().ddl.lock().await;
    let mut notices = Vec::new();
    let mut doomed = Vec::new();
    for name in names {
        match find(engine, database, name) {
            Ok(sink) => doomed.push(sink),
            Err(error) if if_exists => notices.push(notice(format!("{}, skipping", error.message))),
            Err(error) => return Err(error),
        }
    }
    for sink in doomed {
        remove(engine, &sink).await?;
    }
    Ok(Done { tag: "DROP SINK", notices })
}

/// Stops a sink and forgets it. The caller holds the definitions.
pub(super) async fn remove(engine: &Headwater, sink: &SinkDefinition) -> Result<(), SqlError> {
    stop(engine, &sink.db, &sink.name).await?;
    engine.deliveries().forget(sink).await
}

/// Before a stream or view goes or changes: refuses if sinks read it, or with `cascade` drops them.
pub(super) async fn release(
    engine: &Headwater,
    verb: &str,
    kind: &str,
    source: &Source,
    cascade: bool,
) -> Result<Vec<::sql::Notice>, SqlError> {
    let (Source::Stream { name, .. } | Source::View { name, .. }) = source else { return Ok(Vec::new()) };
    let readers = engine.deliveries().readers(source);
    if readers.is_empty() {
        return Ok(Vec::new());
    }
    if !cascade {
        let lines: Vec<String> = readers.iter().map(|s| format!("sink {} depends on {kind} {name}", s.name)).collect();
        let message = format!("cannot {verb} {kind} {name} because other objects depend on it");
        return Err(SqlError::new("2BP01", message)
            .with_detail(lines.join("\n"))
            .with_hint("Drop the sinks first, or use DROP ... CASCADE."));
    }
    let _changing = engine.sql().ddl.lock().await;
    let mut notices = Vec::new();
    for sink in readers {
        remove(engine, &sink).await?;
        notices.push(notice(format!("drop cascades to sink {}", sink.name)));
    }
    Ok(notices)
}

// ---- dead letters ------------------------------------------------------------------------------

/// The columns of `dead_letters`.
pub(super) fn letter_columns() -> Vec<Field> {
    [
        ("sink_name", Type::Text),
        ("status", Type::Text),
        ("event_id", Type::Text),
        ("operation_type", Type::Text),
        ("namespace", Type::Text),
        ("key", Type::Json),
        ("data", Type::Json),
        ("attempts", Type::Int8),
        ("error", Type::Text),
        ("event_timestamp", Type::Timestamptz),
        ("updated_at", Type::Timestamptz),
    ]
    .map(|(name, ty)| Field::new(name, ty))
    .into()
}

/// A letter's document as a row of `dead_letters`.
pub(super) fn letter_row(columns: &[Field], letter: RawDoc<'_>) -> Row {
    columns.iter().map(|column| datum_of(letter.get(&column.name), &column.ty)).collect()
}

/// A value of a document of ours in a column of that type.
pub(super) fn datum_of(value: Option<Raw<'_>>, ty: &Type) -> Datum {
    match (value, ty) {
        (Some(Raw::String(text)), Type::Text) => Datum::text(text),
        (Some(Raw::Date(ms)), Type::Timestamptz) => Datum::Timestamp(ms.saturating_mul(1000)),
        (Some(Raw::Double(x)), Type::Float8) => Datum::Float(x),
        (Some(Raw::Bool(b)), Type::Bool) => Datum::Bool(b),
        (Some(Raw::Null) | None, _) => Datum::Null,
        (Some(value), Type::Int8) => value.as_whole().map_or(Datum::Null, Datum::Int),
        (Some(value), Type::Json) => Datum::Json(::sql::Json::copy(value)),
        _ => Datum::Null,
    }
}

/// The letters of a sink that are open and pass the condition: lane and position.
fn chosen(
    engine: &Headwater,
    sink: &SinkDefinition,
    filter: Option<&Predicate>,
) -> Result<Vec<(Bytes, Position)>, SqlError> {
    let columns = letter_columns();
    let condition = filter.map(|filter| binding::letter_filter(filter, &columns)).transpose()?;
    let snapshot = engine.store().snapshot().map_err(store_error)?;
    let Some(collection) = snapshot.catalog().collection(&journal_namespace(LETTERS)) else { return Ok(Vec::new()) };
    let prefix = format!("{}-", sink.uid);
    let mut found = Vec::new();
    for stored in snapshot.scan(collection.id, Direction::Forward) {
        let letter = stored.map_err(store_error)?.document;
        let text = |name: &str| letter.get(name).and_then(Raw::as_str);
        let is_open = matches!(text("status"), Some("dead" | "waiting"));
        if !is_open || !text("_id").is_some_and(|id| id.starts_with(&prefix)) {
            continue;
        }
        if let Some(condition) = &condition {
            let row = letter_row(&columns, letter.as_doc());
            let now_us = engine.clock().now_us();
            if !matches!(condition.eval(&row, &EvalContext::at(now_us))?, Datum::Bool(true)) {
                continue;
            }
        }
        let lane = match letter.get("lane") {
            Some(Raw::Binary { bytes, .. }) => Bytes::copy_from_slice(bytes),
            _ => continue,
        };
        if let Some(position) = text("position").and_then(|text| text.parse().ok()) {
            found.push((lane, position));
        }
    }
    Ok(found)
}

/// REDRIVE DEAD LETTERS: the keys of the chosen letters are tried again from their first letter on.
pub(super) fn redrive(
    engine: &Headwater,
    database: &str,
    name: &Name,
    filter: Option<&Predicate>,
) -> Result<Outcome, SqlError> {
    let sink = find(engine, database, name)?;
    let letters = chosen(engine, &sink, filter)?;
    let count = letters.len();
    let mut lanes: Vec<Bytes> = letters.into_iter().map(|(lane, _)| lane).collect();
    lanes.sort();
    lanes.dedup();
    engine.deliveries().redrive(&sink, lanes)?;
    Ok(Outcome::command(format!("REDRIVE {count}")))
}

/// DISCARD DEAD LETTERS: a mark, and what waited behind them goes on.
pub(super) async fn discard(
    engine: &Headwater,
    database: &str,
    name: &Name,
    filter: Option<&Predicate>,
) -> Result<Outcome, SqlError> {
    let sink = find(engine, database, name)?;
    let letters = chosen(engine, &sink, filter)?;
    let count = engine.deliveries().discard(&sink, letters).await?;
    Ok(Outcome::command(format!("DISCARD {count}")))
}

// ---- SHOW --------------------------------------------------------------------------------------

pub(super) fn show_fields() -> Vec<Field> {
    let mut fields = objects::text_fields(&["name", "source", "target", "status"]);
    fields.extend(["delivered", "failures", "waiting", "parked_keys"].map(|name| Field::new(name, Type::Int8)));
    fields.extend(objects::text_fields(&["error"]));
    fields
}

/// SHOW SINKS: of the session's database.
pub(super) fn show(engine: &Headwater, database: &str) -> Vec<Row> {
    let number = |n: u64| Datum::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let sinks = engine.deliveries().snapshot().into_iter().filter(|snapshot| snapshot.sink.db == database);
    let row = |snapshot: crate::delivery::SinkSnapshot| -> Row {
        let report = &snapshot.report;
        [
            Datum::text(&*snapshot.sink.name),
            Datum::text(snapshot.sink.source.text()),
            Datum::text(snapshot.sink.shown_target()),
            Datum::text(report.state.as_str()),
            number(report.total_delivered()),
            number(report.numbers.failures),
            number(report.numbers.waiting),
            number(report.numbers.parked_keys),
            report.error.as_deref().map_or(Datum::Null, Datum::text),
        ]
        .into()
    };
    sinks.map(row).collect()
}

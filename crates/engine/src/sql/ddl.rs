//! CREATE, ALTER and DROP CHANGE STREAM.

use std::sync::Arc;

use ::sql::parser::statement::{CreateChangeStream, Name, StartAt, StreamAction, StreamOptions};
use ::sql::{Notice, Source, SqlError};
use base::ClusterTime;
use changes::ResumeToken;
use views::definition::{DefinitionKind, StoredDefinition, definition_key};
use views::runtime::{Redefinition, store_error};
use views::{Definitions, StreamDefinition, ViewDefinition};

use super::definitions::{self, just_before};
use super::view_ddl::{closure, drop_all, refuse_dependents};
use super::{interest, runtime, source};
use crate::Headwater;

/// A statement that changed definitions.
#[derive(Debug)]
pub(super) struct Done {
    pub tag: &'static str,
    pub notices: Vec<Notice>,
}

pub(super) fn notice(message: impl Into<String>) -> Notice {
    Notice { message: message.into(), hint: None, position: None }
}

fn exists(name: &str) -> SqlError {
    SqlError::new("42710", format!("change stream \"{name}\" already exists"))
}

/// The views that read a stream, directly or through others.
fn readers(definitions: &Definitions, db: &str, name: &str) -> Vec<Arc<ViewDefinition>> {
    closure(definitions, |s| matches!(s, Source::Stream { db: d, name: n, .. } if d == db && n == name))
}

/// CREATE CHANGE STREAM.
pub(super) async fn create(
    engine: &Headwater,
    database: &str,
    create: &CreateChangeStream,
    text: &str,
) -> Result<Done, SqlError> {
    const TAG: &str = "CREATE CHANGE STREAM";
    let sql = engine.sql();
    let store = engine.store();
    let _changing = sql.ddl.lock().await;
    let mut defined = Definitions::clone(&sql.views.definitions());
    let db = create.name.db.clone().unwrap_or_else(|| database.to_owned());
    let name = create.name.name.clone();
    let existing = defined.stream(&db, &name).cloned();
    if existing.is_some() && create.if_not_exists {
        let skipped = notice(format!("change stream \"{name}\" already exists, skipping"));
        return Ok(Done { tag: TAG, notices: vec![skipped] });
    }
    if existing.is_some() && !create.or_replace {
        return Err(exists(&name).at(create.name.position));
    }
    refuse_dependents("replace", "change stream", &name, &readers(&defined, &db, &name))?;
    let mut stored = StoredDefinition {
        kind: DefinitionKind::Stream,
        db: db.clone(),
        name: name.clone(),
        statement: text.to_owned(),
        id: 0,
        start: ClusterTime::ZERO,
        created_ms: engine.clock().now_ms(),
        paused_at: None,
    };
    // Binds the filter before anything is changed.
    let stream = definitions::stream_of(&stored)?;
    let notices = source::check_stream(engine, &stream)?;
    if let Some(existing) = &existing {
        remove(engine, existing).await?;
        defined.streams.remove(&(db.clone(), name.clone()));
    }
    interest::want_stream(store, engine.source(), &stream, true);
    let started = start(engine, &stream, create.options.start_at.as_ref()).await;
    let saved = match started {
        Ok(start) => {
            stored.start = start;
            definitions::save(store, stored).await
        }
        Err(error) => Err(error),
    };
    let stored = match saved {
        Ok(stored) => stored,
        Err(error) => {
            interest::want_stream(store, engine.source(), &stream, false);
            sql.views.set_definitions(defined);
            return Err(error);
        }
    };
    let stream = Arc::new(StreamDefinition { start: stored.start, ..stream });
    runtime::pin(store, &stream, engine.clock().now_ms());
    defined.streams.insert((db, name), stream);
    sql.views.set_definitions(defined);
    Ok(Done { tag: TAG, notices })
}

/// Defines a stream as another process of the group has it. The caller holds the definitions.
pub(crate) async fn adopt(engine: &Headwater, stored: StoredDefinition) -> Result<(), SqlError> {
    let (sql, store) = (engine.sql(), engine.store());
    let stream = definitions::stream_of(&stored)?;
    source::check_stream(engine, &stream)?;
    let stream = StreamDefinition { start: stored.start, paused_at: None, ..stream };
    definitions::save(store, StoredDefinition { id: 0, paused_at: None, ..stored }).await?;
    interest::want_stream(store, engine.source(), &stream, true);
    runtime::pin(store, &stream, engine.clock().now_ms());
    let mut defined = Definitions::clone(&sql.views.definitions());
    defined.streams.insert((stream.db.clone(), stream.name.clone()), Arc::new(stream));
    sql.views.set_definitions(defined);
    Ok(())
}

/// The time after which events belong to a stream, or a sink that reads it.
pub(super) async fn start(
    engine: &Headwater,
    stream: &StreamDefinition,
    at: Option<&StartAt>,
) -> Result<ClusterTime, SqlError> {
    let store = engine.store();
    let mut oldest = store.oldest_time();
    if let Some(source) = engine.source() {
        source.needs_settled().await;
        oldest = oldest.max(source.captured_since(&interest::need_of(stream)));
    }
    let start = match at {
        // A write that changes nothing: what is committed after it knows of the stream's interest.
        None | Some(StartAt::Now) => {
            let applied = store.write(|_| Ok(())).await.map_err(store_error)?.time;
            // What a source has acknowledged may not have been captured yet; it is the past all the same.
            // While it connects this waits a little: what happens after the statement is the stream's.
            let present = match engine.source() {
                Some(source) if source.status().state != capture::SourceState::Failed => {
                    source.present().await.unwrap_or(applied)
                }
                _ => applied,
            };
            return Ok(present.max(applied));
        }
        Some(StartAt::Earliest) => just_before(oldest),
        Some(StartAt::Token(data)) => {
            let token = ResumeToken::parse_data(data, Vec::new())
                .map_err(|error| SqlError::new("22023", format!("invalid resume token: {error}")))?;
            match token.facts().is_high_water_mark {
                true => just_before(token.cluster_time()),
                false => token.cluster_time(),
            }
        }
        Some(StartAt::Time(us)) => {
            let seconds = us.div_euclid(1_000_000).clamp(0, i64::from(u32::MAX));
            just_before(ClusterTime::new(seconds as u32, 0)).max(just_before(oldest))
        }
    };
    if start.next() < oldest {
        return Err(SqlError::new("55000", "the change log no longer holds the events after this resume token")
            .with_hint("Use start_at = 'earliest' for everything that is still there."));
    }
    Ok(start)
}

/// Forgets a stream, on disk too.
async fn remove(engine: &Headwater, stream: &StreamDefinition) -> Result<(), SqlError> {
    let key = definition_key(DefinitionKind::Stream, &stream.db, &stream.name);
    definitions::forget(engine.store(), key).await?;
    runtime::unpin(engine.store(), &stream.db, &stream.name);
    interest::want_stream(engine.store(), engine.source(), stream, false);
    engine.sql().counters.lock().streams.remove(&(stream.db.clone(), stream.name.clone()));
    Ok(())
}

/// ALTER CHANGE STREAM.
pub(super) async fn alter(
    engine: &Headwater,
    database: &str,
    name: &Name,
    if_exists: bool,
    action: &StreamAction,
    text: &str,
) -> Result<Done, SqlError> {
    const TAG: &str = "ALTER CHANGE STREAM";
    let sql = engine.sql();
    let store = engine.store();
    let changing = sql.ddl.lock().await;
    let mut defined = Definitions::clone(&sql.views.definitions());
    let db = name.db.clone().unwrap_or_else(|| database.to_owned());
    let Some(stream) = defined.stream(&db, &name.name).cloned() else {
        let missing = views::build::missing("change stream", &name.name).at(name.position);
        if if_exists {
            return Ok(Done { tag: TAG, notices: vec![notice(format!("{}, skipping", missing.message))] });
        }
        return Err(missing);
    };
    let options = match action {
        StreamAction::Set(options) => options,
        StreamAction::Pause | StreamAction::Resume => {
            let notices = pause(engine, &stream, matches!(action, StreamAction::Pause)).await?;
            return Ok(Done { tag: TAG, notices });
        }
        StreamAction::Resnapshot(chosen) => {
            // Others may change definitions while collections are compared.
            std::mem::drop(changing);
            source::resnapshot(engine, &stream, chosen.as_deref()).await?;
            return Ok(Done { tag: TAG, notices: Vec::new() });
        }
    };
    if options.start_at.is_some() {
        return Err(SqlError::unsupported("changing start_at").with_hint("Create another change stream."));
    }
    if changes_events(options) {
        refuse_dependents("alter", "change stream", &name.name, &readers(&defined, &db, &name.name))?;
    }
    let id = definitions::stored_id(store, &definition_key(DefinitionKind::Stream, &db, &name.name))?;
    let mut stored = definitions::stored_stream(&stream, id);
    stored.statement = format!("{};\n{text}", stream.statement);
    let altered = Arc::new(definitions::stream_of(&stored)?);
    interest::want_stream(store, engine.source(), &altered, true);
    let saved = definitions::save(store, stored).await;
    interest::want_stream(store, engine.source(), if saved.is_ok() { &stream } else { &altered }, false);
    saved?;
    runtime::pin(store, &altered, engine.clock().now_ms());
    defined.streams.insert((db, name.name.clone()), Arc::clone(&altered));
    sql.views.set_definitions(defined);
    Ok(Done { tag: TAG, notices: source::settle_altered(engine, &altered).await })
}

/// PAUSE and RESUME. A paused stream ends where all views stood when it was paused: its readers see
/// nothing later, and nothing is lost, for the log keeps what the stream's retention covers.
async fn pause(engine: &Headwater, stream: &StreamDefinition, on: bool) -> Result<Vec<Notice>, SqlError> {
    if stream.paused_at.is_some() == on {
        let state = if on { "already paused" } else { "not paused" };
        return Ok(vec![notice(format!("change stream \"{}\" is {state}", stream.name))]);
    }
    let of_stream =
        |s: &Source| matches!(s, Source::Stream { db, name, .. } if *db == stream.db && *name == stream.name);
    if let Some(build) = engine.sql().views.builds().find(|build| build.plan.sources().iter().any(of_stream)) {
        let message = format!("materialized view \"{}\" over this change stream is still being built", build.name);
        return Err(SqlError::new("55000", message).with_hint("Try again when SHOW VIEWS says that it is running."));
    }
    let key = definition_key(DefinitionKind::Stream, &stream.db, &stream.name);
    let id = definitions::stored_id(engine.store(), &key)?;
    let stream = stream.clone();
    let make = move |position: ClusterTime| {
        let stream = StreamDefinition { paused_at: on.then_some(position), ..stream };
        let record = definitions::stored_stream(&stream, id).encode().bytes().to_vec();
        Redefinition { stream, space: definitions::SPACE, key, record }
    };
    // Everything acknowledged before the statement is on the earlier side of the pause.
    engine.sql().views.read(Vec::new(), engine.store().durable()).await?;
    engine.sql().views.redefine(Box::new(make)).await?;
    Ok(Vec::new())
}

/// Would the stream have other events, or show them differently?
fn changes_events(options: &StreamOptions) -> bool {
    options.full_document.is_some()
        || options.full_document_before_change.is_some()
        || options.operation_types.is_some()
        || options.show_expanded_events.is_some()
}

/// DROP CHANGE STREAM.
pub(super) async fn drop(
    engine: &Headwater,
    database: &str,
    names: &[Name],
    if_exists: bool,
    cascade: bool,
) -> Result<Done, SqlError> {
    let sql = engine.sql();
    let _changing = sql.ddl.lock().await;
    let mut defined = Definitions::clone(&sql.views.definitions());
    let mut notices = Vec::new();
    let mut doomed = Vec::new();
    let mut doomed_views: Vec<Arc<ViewDefinition>> = Vec::new();
    for name in names {
        let db = name.db.as_deref().unwrap_or(database);
        let Some(stream) = defined.stream(db, &name.name).cloned() else {
            let missing = views::build::missing("change stream", &name.name).at(name.position);
            if !if_exists {
                return Err(missing);
            }
            notices.push(notice(format!("{}, skipping", missing.message)));
            continue;
        };
        let readers = readers(&defined, db, &name.name);
        if !cascade {
            refuse_dependents("drop", "change stream", &name.name, &readers)?;
        }
        for reader in readers {
            if !doomed_views.iter().any(|known| known.id == reader.id) {
                notices.push(notice(format!("drop cascades to materialized view {}", reader.name)));
                doomed_views.push(reader);
            }
        }
        doomed.push(stream);
    }
    drop_all(engine, &mut defined, doomed_views).await?;
    for stream in doomed {
        remove(engine, &stream).await?;
        defined.streams.remove(&(stream.db.clone(), stream.name.clone()));
        sql.views.set_definitions(defined.clone());
    }
    Ok(Done { tag: "DROP CHANGE STREAM", notices })
}

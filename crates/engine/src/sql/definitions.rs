//! Definitions on disk: the statements that made them, parsed and bound again at every opening.
//!
//! ```text
//!   records "sql":  'stream' 0 db 0 name  -> StoredDefinition (CREATE, then the ALTERs since)
//!                   'view'   0 db 0 name  -> StoredDefinition
//!                   'next'                -> number of the next definition
//! ```

use std::sync::Arc;

use ::sql::parser::statement::{self as ast, CreateChangeStream, FullDocument, FullDocumentBeforeChange, StreamAction};
use ::sql::parser::{self, Statement};
use ::sql::{Relation, Row, SqlError};
use base::ClusterTime;
use bytes::Bytes;
use document::DocBuf;
use store::{Reader, Store};
use views::definition::{Images, StoredDefinition};
use views::names::SessionCatalog;
use views::runtime::store_error;
use views::{Definitions, StateLimits, StreamDefinition, StreamScope, SystemTables, ViewDefinition};

use super::{binding, view_ddl};

/// The record space of definitions.
pub(super) const SPACE: &str = "sql";
/// Counts definitions.
pub(super) const NEXT: &[u8] = b"next";
/// How long a stream keeps events that does not say it.
const DEFAULT_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Everything that CREATE statements left in this store. A definition that can no longer be bound is
/// left out and reported, so that one bad view does not keep a database closed.
pub(crate) fn load_definitions(store: &Store, limits: StateLimits) -> Result<Definitions, SqlError> {
    let snapshot = store.snapshot().map_err(store_error)?;
    let mut stored = Vec::new();
    for prefix in [&b"stream\0"[..], b"view\0"] {
        for record in snapshot.records(SPACE, prefix) {
            let (_, value) = record.map_err(store_error)?;
            stored.push(StoredDefinition::decode(&decoded(value)?)?);
        }
    }
    stored.sort_by_key(|definition| definition.id);
    let mut definitions = Definitions::default();
    for definition in stored {
        let name = format!("{}.{}", definition.db, definition.name);
        if let Err(error) = add(store, &mut definitions, &definition, limits) {
            tracing::error!(name, %error, "a stored definition cannot be bound; it is left out");
        }
    }
    Ok(definitions)
}

fn decoded(value: Bytes) -> Result<DocBuf, SqlError> {
    DocBuf::validate(value).map_err(|_| SqlError::new("XX001", "damaged SQL catalogue entry"))
}

fn add(
    store: &Store,
    definitions: &mut Definitions,
    stored: &StoredDefinition,
    limits: StateLimits,
) -> Result<(), SqlError> {
    let key = (stored.db.clone(), stored.name.clone());
    match parser::parse(&stored.statement)?.into_iter().next().map(|first| first.statement) {
        Some(Statement::CreateChangeStream(_)) => {
            definitions.streams.insert(key, Arc::new(stream_of(stored)?));
        }
        Some(Statement::CreateMaterializedView(_)) => {
            let catalog = SessionCatalog {
                database: stored.db.clone(),
                definitions: Arc::new(definitions.clone()),
                collections: store.catalog(),
                system: Arc::new(NoSystemTables),
                absent_collections: true,
            };
            definitions.views.insert(key, Arc::new(view_of(stored, &catalog, limits)?));
        }
        _ => return Err(SqlError::new("XX001", "damaged SQL catalogue entry")),
    }
    Ok(())
}

/// Views and sinks cannot read system tables, so that their names mean nothing while definitions are loaded.
pub(crate) struct NoSystemTables;

impl SystemTables for NoSystemTables {
    fn relation(&self, _: &str, _: Option<&str>, _: &str) -> Option<Relation> {
        None
    }

    fn rows(&self, _: &str, _: &str, name: &str) -> Result<Vec<Row>, SqlError> {
        Err(views::build::missing("relation", name))
    }
}

/// The stream that a CREATE and the ALTERs after it describe.
pub(super) fn stream_of(stored: &StoredDefinition) -> Result<StreamDefinition, SqlError> {
    let mut create: Option<CreateChangeStream> = None;
    for parsed in parser::parse(&stored.statement)? {
        match (parsed.statement, &mut create) {
            (Statement::CreateChangeStream(first), None) => create = Some(*first),
            (Statement::AlterChangeStream { action: StreamAction::Set(options), .. }, Some(create)) => {
                merge(&mut create.options, options);
            }
            _ => return Err(SqlError::new("XX001", "damaged SQL catalogue entry")),
        }
    }
    let create = create.ok_or_else(|| SqlError::new("XX001", "damaged SQL catalogue entry"))?;
    let filter = match &create.filter {
        Some(filter) => Some(binding::stream_filter(filter)?.predicate),
        None => None,
    };
    let options = &create.options;
    Ok(StreamDefinition {
        db: stored.db.clone(),
        name: stored.name.clone(),
        scope: scope_of(&create.on, &stored.db),
        images: Images {
            full_document: options.full_document.is_some_and(|wanted| wanted != FullDocument::Default),
            before_change: options.full_document_before_change.is_some_and(|w| w != FullDocumentBeforeChange::Off),
            before_required: options.full_document_before_change == Some(FullDocumentBeforeChange::Required),
        },
        operation_types: options.operation_types.clone().unwrap_or_default(),
        show_expanded_events: options.show_expanded_events.unwrap_or(false),
        filter,
        filter_text: create.filter.as_ref().map(|filter| filter.text.clone()),
        start: stored.start,
        retention_ms: Some(
            options.retention.map_or(DEFAULT_RETENTION_MS, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)),
        ),
        paused_at: stored.paused_at,
        statement: stored.statement.clone(),
        options: shown_options(options),
        created_ms: stored.created_ms,
    })
}

fn scope_of(on: &ast::StreamScope, db: &str) -> StreamScope {
    match on {
        ast::StreamScope::Collection(name) => {
            StreamScope::Collection { db: name.db.clone().unwrap_or_else(|| db.to_owned()), name: name.name.clone() }
        }
        ast::StreamScope::Database(db) => StreamScope::Database(db.clone()),
        ast::StreamScope::Cluster => StreamScope::Cluster,
    }
}

/// What a later statement says replaces what an earlier one said.
fn merge(options: &mut ast::StreamOptions, newer: ast::StreamOptions) {
    let ast::StreamOptions {
        full_document,
        full_document_before_change,
        operation_types,
        batch_size,
        max_await_time,
        retention,
        start_at,
        show_expanded_events,
    } = newer;
    options.full_document = full_document.or(options.full_document);
    options.full_document_before_change = full_document_before_change.or(options.full_document_before_change);
    options.operation_types = operation_types.or(options.operation_types.take());
    options.batch_size = batch_size.or(options.batch_size);
    options.max_await_time = max_await_time.or(options.max_await_time);
    options.retention = retention.or(options.retention);
    options.start_at = start_at.or(options.start_at.take());
    options.show_expanded_events = show_expanded_events.or(options.show_expanded_events);
}

/// As SHOW and DESCRIBE give them.
fn shown_options(options: &ast::StreamOptions) -> Vec<(String, String)> {
    let full = |wanted: &FullDocument| match wanted {
        FullDocument::Default => "default",
        FullDocument::UpdateLookup => "updateLookup",
        FullDocument::WhenAvailable => "whenAvailable",
        FullDocument::Required => "required",
    };
    let before = |wanted: &FullDocumentBeforeChange| match wanted {
        FullDocumentBeforeChange::Off => "off",
        FullDocumentBeforeChange::WhenAvailable => "whenAvailable",
        FullDocumentBeforeChange::Required => "required",
    };
    let shown = [
        ("full_document", options.full_document.as_ref().map(|w| full(w).to_owned())),
        ("full_document_before_change", options.full_document_before_change.as_ref().map(|w| before(w).to_owned())),
        ("operation_types", options.operation_types.as_ref().map(|types| types.join(", "))),
        ("batch_size", options.batch_size.map(|n| n.to_string())),
        ("max_await_time_ms", options.max_await_time.map(|t| t.as_millis().to_string())),
        ("retention", options.retention.map(|t| format!("{} seconds", t.as_secs()))),
        ("show_expanded_events", options.show_expanded_events.map(|on| on.to_string())),
    ];
    shown.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The view that a CREATE and the ALTERs after it describe, with names as the catalogue knows them now.
pub(super) fn view_of(
    stored: &StoredDefinition,
    catalog: &SessionCatalog,
    limits: StateLimits,
) -> Result<ViewDefinition, SqlError> {
    let damaged = || SqlError::new("XX001", "damaged SQL catalogue entry");
    let mut create: Option<ast::CreateView> = None;
    for parsed in parser::parse(&stored.statement)? {
        match (parsed.statement, &mut create) {
            (Statement::CreateMaterializedView(first), None) => create = Some(*first),
            (Statement::AlterMaterializedView { options, .. }, Some(create)) => {
                view_ddl::merge(&mut create.options, options);
            }
            _ => return Err(damaged()),
        }
    }
    let create = create.ok_or_else(damaged)?;
    let view = view_ddl::view_plan(&create, catalog)?;
    Ok(ViewDefinition {
        id: stored.id,
        db: stored.db.clone(),
        name: stored.name.clone(),
        plan: view.plan,
        order: view.order,
        on_error: view_ddl::on_error(create.options.on_error),
        keeps_dead_letters: create.options.on_error == Some(ast::OnError::DeadLetter),
        limits: view_ddl::limits(&create.options, limits),
        parameters: Vec::new(),
        query: create.query.text.clone(),
        statement: stored.statement.clone(),
        created_ms: stored.created_ms,
    })
}

/// Writes a definition under a fresh number.
pub(super) async fn save(store: &Store, mut stored: StoredDefinition) -> Result<StoredDefinition, SqlError> {
    let write = move |txn: &mut store::WriteTxn| {
        if stored.id == 0 {
            let last = txn.get_record(SPACE, NEXT)?;
            let last = last.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?)));
            stored.id = last.unwrap_or(0) + 1;
            txn.put_record(SPACE, NEXT, stored.id.to_le_bytes().to_vec());
        }
        txn.put_record(SPACE, &stored.key(), stored.encode().bytes().clone());
        Ok(stored)
    };
    store.write(write).await.map(|committed| committed.value).map_err(store_error)
}

/// Forgets a definition.
pub(super) async fn forget(store: &Store, key: Vec<u8>) -> Result<(), SqlError> {
    let write = move |txn: &mut store::WriteTxn| {
        txn.delete_record(SPACE, &key);
        Ok(())
    };
    store.write(write).await.map(|_| ()).map_err(store_error)
}

/// The stored form of a stream that is defined.
pub(crate) fn stored_stream(stream: &StreamDefinition, id: u64) -> StoredDefinition {
    StoredDefinition {
        kind: views::definition::DefinitionKind::Stream,
        db: stream.db.clone(),
        name: stream.name.clone(),
        statement: stream.statement.clone(),
        id,
        start: stream.start,
        created_ms: stream.created_ms,
        paused_at: stream.paused_at,
    }
}

/// The number under which a stream is stored.
pub(super) fn stored_id(store: &Store, key: &[u8]) -> Result<u64, SqlError> {
    let snapshot = store.snapshot().map_err(store_error)?;
    let found = snapshot.get_record(SPACE, key).map_err(store_error)?;
    let found = found.ok_or_else(|| SqlError::internal("a defined object is not stored"))?;
    Ok(StoredDefinition::decode(&decoded(found)?)?.id)
}

/// Before every event.
pub(super) fn just_before(time: ClusterTime) -> ClusterTime {
    ClusterTime(time.0.saturating_sub(1))
}

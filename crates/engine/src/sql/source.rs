//! SQL over a captured deployment: which streams it can give, and the mirrors that queries read.

use ::sql::parser::statement::CreateView;
use ::sql::{Notice, Plan, Source as Table, SqlError};
use capture::{MirrorState, Source};
use store::Namespace;
use views::names::SessionCatalog;
use views::{StreamDefinition, StreamScope};

use super::ddl::notice;
use super::{interest, view_ddl};
use crate::Headwater;

/// Collections that one view may cause to be mirrored.
const MIRRORS_PER_VIEW: usize = 64;

/// Can the deployment give the stream's events? What its version lacks is said by notices.
///
/// # Errors
/// 0A000 if the stream watches what is not captured.
pub(super) fn check_stream(engine: &Headwater, stream: &StreamDefinition) -> Result<Vec<Notice>, SqlError> {
    let Some(source) = engine.source() else { return Ok(Vec::new()) };
    let (db, collection) = scope_of(stream);
    if !source.covers(db, collection) {
        return Err(SqlError::unsupported("a change stream on what is not captured from the source")
            .with_hint("Start with a wider --capture, or without it to capture everything."));
    }
    let limits = source.status().limits;
    let matters = |limit: &&String| {
        let images = stream.images.full_document || stream.images.before_change;
        (images && limit.contains("document after an update"))
            || (stream.show_expanded_events && limit.contains("make no events"))
    };
    Ok(limits.iter().filter(matters).map(|limit| notice(format!("this source's version: {limit}"))).collect())
}

/// Waits until what an altered stream shows is captured, and says if it was not before.
pub(super) async fn settle_altered(engine: &Headwater, stream: &StreamDefinition) -> Vec<Notice> {
    let Some(source) = engine.source() else { return Vec::new() };
    source.needs_settled().await;
    let since = source.captured_since(&interest::need_of(stream));
    match since > stream.start.next() {
        true => vec![notice(format!("events that the stream did not show before are captured from {since} on"))],
        false => Vec::new(),
    }
}

fn scope_of(stream: &StreamDefinition) -> (Option<&str>, Option<&str>) {
    match &stream.scope {
        StreamScope::Collection { db, name } => (Some(db), Some(name)),
        StreamScope::Database(db) => (Some(db), None),
        StreamScope::Cluster => (None, None),
    }
}

/// Compares the mirrors that the stream watches with their collections; differences are events.
pub(super) async fn resnapshot(engine: &Headwater, stream: &StreamDefinition) -> Result<(), SqlError> {
    let source = engine.source().ok_or_else(|| {
        SqlError::unsupported("RESNAPSHOT without a source")
            .with_hint("The events of an embedded database are complete; there is nothing to compare them with.")
    })?;
    let (db, collection) = scope_of(stream);
    let mirrors = source.mirrors_in(db, collection).map_err(views::runtime::store_error)?;
    if mirrors.is_empty() {
        return Err(SqlError::new("55000", "no collection of this change stream is mirrored")
            .with_hint("Events can be compared only with a mirror: start with --mirror, or create a view over it."));
    }
    for mirror in mirrors {
        source.compare(&mirror).await.map_err(|problem| SqlError::new("58000", problem))?;
    }
    Ok(())
}

/// Mirrors the collections that a view's query names, and returns the catalogue that has them. What
/// does not exist at the source is mirrored too, and said.
pub(super) async fn mirror_for_view(
    engine: &Headwater,
    create: &CreateView,
    mut catalog: SessionCatalog,
) -> Result<(SessionCatalog, Vec<Notice>), SqlError> {
    let mut notices = Vec::new();
    let Some(source) = engine.source() else { return Ok((catalog, notices)) };
    let failed = |problem| SqlError::new("58000", problem);
    for _ in 0..MIRRORS_PER_VIEW {
        let absent = SessionCatalog { absent_collections: true, ..catalog.clone() };
        // What is wrong with the query is said where the view is made.
        let Ok(bound) = view_ddl::view_plan(create, &absent) else { break };
        let Some(namespace) = not_complete(source, &bound.plan)? else { break };
        if !source.exists(&namespace).await.map_err(failed)? {
            notices.push(notice(format!("collection \"{namespace}\" does not exist at the source yet")));
        }
        source.mirror(&namespace).await.map_err(failed)?;
        catalog.collections = engine.store().catalog();
    }
    Ok((catalog, notices))
}

/// Says of a name that is nothing here that it may be a collection of the source.
pub(super) fn explain_missing(engine: &Headwater, error: SqlError) -> SqlError {
    if engine.source().is_none() || error.code != "42P01" || error.hint.is_some() {
        return error;
    }
    error.with_hint(
        "A collection of the source can be read once it is mirrored: by a materialized view over it, or --mirror.",
    )
}

/// A collection that the plan reads and whose mirror is not complete.
fn not_complete(source: &Source, plan: &Plan) -> Result<Option<Namespace>, SqlError> {
    for table in plan.sources() {
        let Table::Collection { db, name } = table else { continue };
        let namespace = Namespace::new(db, name);
        let state = source.mirror_state(&namespace).map_err(views::runtime::store_error)?;
        if !matches!(state, Some(MirrorState::Live | MirrorState::Comparing)) {
            return Ok(Some(namespace));
        }
    }
    Ok(None)
}

/// A query may read only complete mirrors.
///
/// # Errors
/// 55000, with how far the load has come.
pub(super) fn check_plan(engine: &Headwater, plan: &Plan) -> Result<(), SqlError> {
    let Some(source) = engine.source() else { return Ok(()) };
    let Some(namespace) = not_complete(source, plan)? else { return Ok(()) };
    let status = source.status();
    let mirror =
        status.mirrors.iter().find(|mirror| *mirror.db == *namespace.db && *mirror.collection == *namespace.collection);
    let progress = mirror.map(|mirror| format!(": {} of about {} documents", mirror.loaded, mirror.estimated));
    let message = format!("collection \"{namespace}\" is still being mirrored{}", progress.unwrap_or_default());
    Err(SqlError::new("55000", message).with_hint("Try again when source_mirrors says that it is live."))
}

//! CREATE, ALTER, DROP and REFRESH MATERIALIZED VIEW.

use std::sync::Arc;

use ::sql::binder::BindOptions;
use ::sql::parser::statement::{self as ast, CreateView, Name};
use ::sql::plan::SortKey;
use ::sql::{Datum, Expr, Field, Notice, Plan, Source, SqlError};
use dataflow::OnError;
use tokio::sync::oneshot;
use views::definition::{DefinitionKind, StoredDefinition};
use views::events::StreamBounds;
use views::names::SessionCatalog;
use views::read::{QueryContext, evaluate};
use views::{Definitions, StateLimits, ViewDefinition, retention};

use super::ddl::{Done, notice};
use super::presentation::order_of;
use super::{binding, definitions, interest, sinks};
use crate::Headwater;

/// A view's plan, and how its query was read.
#[derive(Debug)]
pub(super) struct ViewPlan {
    pub plan: Arc<Plan>,
    pub order: Vec<SortKey>,
    pub notices: Vec<Notice>,
}

/// Binds a view's query into the plan that is kept up to date.
pub(super) fn view_plan(create: &CreateView, catalog: &SessionCatalog) -> Result<ViewPlan, SqlError> {
    let bound = binding::query(&create.query, catalog, &[], BindOptions::default())?;
    if !bound.parameters.is_empty() {
        return Err(SqlError::new("42P02", "there is no parameter $1")
            .with_hint("A materialized view's query cannot have parameters."));
    }
    if !bound.settings.is_empty() {
        return Err(SqlError::unsupported("set_config in a materialized view"));
    }
    let order = order_of(&bound.plan);
    let plan = maintained(&bound.plan, &[])?;
    let plan = named(plan, &create.columns)?;
    let plan = with_retention(plan, &create.options)?;
    Ok(ViewPlan { plan, order, notices: bound.notices })
}

/// The plan in the form that can be kept up to date: ORDER BY with LIMIT picks rows, ORDER BY alone
/// is a matter of who reads.
pub(crate) fn maintained(plan: &Arc<Plan>, parameters: &[Datum]) -> Result<Arc<Plan>, SqlError> {
    if let Some(Source::System { name, .. }) = plan.sources().iter().find(|s| matches!(s, Source::System { .. })) {
        return Err(SqlError::unsupported(format!("a maintained query over the system table \"{name}\""))
            .with_hint("System tables are read when a query runs; use a plain SELECT."));
    }
    if plan.sources().iter().any(|source| matches!(source, Source::Recursive(_))) {
        return Err(SqlError::unsupported("WITH RECURSIVE in a maintained query")
            .with_hint("A recursive query is run when it is asked; use a plain SELECT."));
    }
    if let Some(function) = plan.volatile_function() {
        return Err(SqlError::unsupported(format!("the function \"{function}\" in a maintained query")).with_hint(
            "It gives another value each time, so a row that it made could not be taken back; use a plain SELECT.",
        ));
    }
    for source in plan.sources() {
        StreamBounds::of(&source)?;
    }
    match &**plan {
        Plan::Limit { input, offset, limit } => {
            let (order, input) = match &**input {
                Plan::Sort { input, keys } => (keys.clone(), input),
                _ => (Vec::new(), input),
            };
            let offset = count(offset.as_ref(), "OFFSET", parameters)?.unwrap_or(0);
            let limit = count(limit.as_ref(), "LIMIT", parameters)?;
            Ok(Arc::new(Plan::TopN { input: Arc::clone(input), partition: Vec::new(), order, offset, limit }))
        }
        Plan::Sort { input, .. } => Ok(Arc::clone(input)),
        // Columns that only the order needs are left out above it.
        Plan::Project { input, exprs, fields } if matches!(**input, Plan::Sort { .. } | Plan::Limit { .. }) => {
            Ok(Arc::new(Plan::Project {
                input: maintained(input, parameters)?,
                exprs: exprs.clone(),
                fields: fields.clone(),
            }))
        }
        _ => Ok(Arc::clone(plan)),
    }
}

fn count(expr: Option<&Expr>, clause: &str, parameters: &[Datum]) -> Result<Option<u64>, SqlError> {
    let Some(expr) = expr else { return Ok(None) };
    let ctx = QueryContext { now_us: 0, time_zone: "UTC".to_owned(), parameters: parameters.to_vec() };
    match evaluate(expr, &ctx)? {
        Datum::Null => Ok(None),
        Datum::Int(n) if n >= 0 => Ok(Some(n as u64)),
        _ if clause == "LIMIT" => Err(SqlError::new("2201W", "LIMIT must not be negative")),
        _ => Err(SqlError::new("2201X", "OFFSET must not be negative")),
    }
}

/// Gives the first columns their names; every column must have one of its own.
fn named(plan: Arc<Plan>, names: &[String]) -> Result<Arc<Plan>, SqlError> {
    let mut fields: Vec<Field> = plan.fields().to_vec();
    if names.len() > fields.len() {
        return Err(SqlError::syntax("too many column names were specified"));
    }
    for (field, name) in fields.iter_mut().zip(names) {
        field.name.clone_from(name);
    }
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|earlier| earlier.name == field.name) {
            let message = format!("column \"{}\" specified more than once", field.name);
            return Err(SqlError::new("42701", message).with_hint("Give the columns names of their own with AS."));
        }
    }
    if names.is_empty() {
        return Ok(plan);
    }
    let exprs = fields.iter().enumerate().map(|(i, field)| Expr::column(i, field.ty.clone())).collect();
    Ok(Arc::new(Plan::Project { input: plan, exprs, fields }))
}

/// What a row does whose evaluation fails.
pub(super) fn on_error(wanted: Option<ast::OnError>) -> OnError {
    match wanted {
        None | Some(ast::OnError::Fail) => OnError::Fail,
        Some(ast::OnError::Null) => OnError::Null,
        Some(ast::OnError::Skip | ast::OnError::DeadLetter) => OnError::DeadLetter,
    }
}

/// What a view may hold: what it says, or else what the server says; 0 is any number.
pub(super) fn limits(options: &ast::ViewOptions, server: StateLimits) -> StateLimits {
    let limit = |own: Option<u64>, server: Option<u64>| own.map_or(server, |own| (own > 0).then_some(own));
    StateLimits {
        rows: limit(options.max_state_rows, server.rows),
        bytes: limit(options.max_state_bytes, server.bytes),
    }
}

/// What a later statement says replaces what an earlier one said.
pub(super) fn merge(options: &mut ast::ViewOptions, newer: ast::ViewOptions) {
    let ast::ViewOptions { retention, max_state_rows, max_state_bytes, on_error } = newer;
    options.retention = retention.or(options.retention);
    options.max_state_rows = max_state_rows.or(options.max_state_rows);
    options.max_state_bytes = max_state_bytes.or(options.max_state_bytes);
    options.on_error = on_error.or(options.on_error);
}

/// The plan over the events that `retention` leaves.
fn with_retention(plan: Arc<Plan>, options: &ast::ViewOptions) -> Result<Arc<Plan>, SqlError> {
    let Some(kept) = options.retention.filter(|kept| !kept.is_zero()) else { return Ok(plan) };
    if !retention::reads_stream(&plan) {
        return Err(SqlError::new("22023", "retention is of the events of a change stream, and the query reads none")
            .with_hint("Rows of collections and views leave when they are deleted there; use a WHERE condition."));
    }
    // A century is for ever, and an interval that every time can be moved by.
    let us = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX).min(100 * 366 * 86_400 * 1_000_000);
    Ok(retention::retained(&plan, us))
}

/// A notice for each part of a query that holds more with every event.
fn unbounded(plan: &Plan) -> Vec<Notice> {
    let told = |part: retention::Unbounded| Notice {
        message: format!("{}: the view's state grows without bound", part.what),
        hint: Some(format!(
            "Bound it with {}, WITH (retention = '1 day'), or a limit WITH (max_state_bytes = '1 GB').",
            part.clause
        )),
        position: None,
    };
    retention::unbounded(plan).into_iter().map(told).collect()
}

/// A view that is being built.
struct Begun {
    definition: Arc<ViewDefinition>,
    notices: Vec<Notice>,
}

/// CREATE MATERIALIZED VIEW. `catalog` gives the names of the statement's session; when `gone` ends, its
/// client waits no more, and the build stops.
pub(super) async fn create(
    engine: &Headwater,
    create: &CreateView,
    text: &str,
    catalog: SessionCatalog,
    gone: oneshot::Receiver<()>,
) -> Result<Done, SqlError> {
    const TAG: &str = "CREATE MATERIALIZED VIEW";
    let (definition, notices) = match begin(engine, create, text, catalog).await? {
        Ok(Begun { definition, notices }) => (definition, notices),
        Err(skipped) => return Ok(Done { tag: TAG, notices: vec![skipped] }),
    };
    // Other definitions may change while the view is built; it is among them already.
    let views = &engine.sql().views;
    let mut building = std::pin::pin!(views.create(Arc::clone(&definition)));
    let built = tokio::select! {
        biased;
        built = &mut building => built,
        _ = gone => {
            let _ = views.drop_view(&definition.db, &definition.name).await;
            let _ = building.await;
            Err(SqlError::new("57014", "building the materialized view was canceled"))
        }
    };
    match built {
        Ok(()) => Ok(Done { tag: TAG, notices }),
        Err(error) => {
            abandon(engine, &definition).await?;
            Err(error)
        }
    }
}

/// Defines a view, durably. `Err` in `Ok`: it is there already, and that was allowed.
async fn begin(
    engine: &Headwater,
    create: &CreateView,
    text: &str,
    catalog: SessionCatalog,
) -> Result<Result<Begun, Notice>, SqlError> {
    let sql = engine.sql();
    let _changing = sql.ddl.lock().await;
    let mut defined = Definitions::clone(&sql.views.definitions());
    let db = create.name.db.clone().unwrap_or_else(|| catalog.database.clone());
    let name = create.name.name.clone();
    let existing = defined.view(&db, &name).cloned();
    let is_collection = catalog.collections.find(&db, &name).is_some();
    if create.if_not_exists && (existing.is_some() || is_collection) {
        return Ok(Err(notice(format!("relation \"{name}\" already exists, skipping"))));
    }
    if is_collection || (existing.is_some() && !create.or_replace) {
        return Err(SqlError::new("42P07", format!("relation \"{name}\" already exists")).at(create.name.position));
    }
    defined.views.remove(&(db.clone(), name.clone()));
    // What others defined since the session took its catalogue counts, too.
    let catalog = SessionCatalog { definitions: Arc::new(defined.clone()), absent_collections: true, ..catalog };
    let ViewPlan { plan, order, mut notices } = view_plan(create, &catalog)?;
    super::source::check_plan(engine, &plan)?;
    check_built(engine, &plan)?;
    notices.extend(absent(&plan, &catalog));
    notices.extend(unbounded(&plan));
    if let Some(existing) = &existing {
        let readers = readers_of(&sql.views.definitions(), &existing.db, &existing.name);
        refuse_dependents("replace", "materialized view", &name, &readers)?;
        remove(engine, existing).await?;
        sql.views.set_definitions(defined.clone());
    }
    let stored = StoredDefinition {
        kind: DefinitionKind::View,
        db: db.clone(),
        name: name.clone(),
        statement: text.to_owned(),
        id: 0,
        start: base::ClusterTime::ZERO,
        created_ms: engine.clock().now_ms(),
        paused_at: None,
    };
    // Before anything is read: what changes from now on comes with its pre-image.
    interest::want_plan(engine.store(), &plan, true);
    let stored = match definitions::save(engine.store(), stored).await {
        Ok(stored) => stored,
        Err(error) => {
            interest::want_plan(engine.store(), &plan, false);
            return Err(error);
        }
    };
    let definition = Arc::new(ViewDefinition {
        id: stored.id,
        db: db.clone(),
        name: name.clone(),
        plan,
        on_error: on_error(create.options.on_error),
        keeps_dead_letters: create.options.on_error == Some(ast::OnError::DeadLetter),
        limits: limits(&create.options, engine.options().view_limits),
        order,
        parameters: Vec::new(),
        query: create.query.text.clone(),
        statement: stored.statement.clone(),
        created_ms: stored.created_ms,
    });
    defined.views.insert((db, name), Arc::clone(&definition));
    sql.views.set_definitions(defined);
    Ok(Ok(Begun { definition, notices }))
}

/// A view over one that is still being built would have to wait for it.
fn check_built(engine: &Headwater, plan: &Plan) -> Result<(), SqlError> {
    let sources = plan.sources();
    let reads = |db: &str, name: &str| {
        sources.iter().any(|s| matches!(s, Source::View { db: d, name: n } if d == db && n == name))
    };
    match engine.sql().views.builds().find(|build| reads(&build.db, &build.name)) {
        None => Ok(()),
        Some(build) => {
            let message = format!("materialized view \"{}\" is still being built", build.name);
            Err(SqlError::new("55000", message).with_hint("Try again when SHOW VIEWS says that it is running."))
        }
    }
}

/// Forgets a view whose build failed, unless that has happened.
async fn abandon(engine: &Headwater, view: &ViewDefinition) -> Result<(), SqlError> {
    let sql = engine.sql();
    let _changing = sql.ddl.lock().await;
    let mut defined = Definitions::clone(&sql.views.definitions());
    if defined.view(&view.db, &view.name).is_none_or(|known| known.id != view.id) {
        return Ok(());
    }
    let key = views::definition::definition_key(DefinitionKind::View, &view.db, &view.name);
    definitions::forget(engine.store(), key).await?;
    interest::want_plan(engine.store(), &view.plan, false);
    defined.views.remove(&(view.db.clone(), view.name.clone()));
    sql.views.set_definitions(defined);
    Ok(())
}

/// ALTER MATERIALIZED VIEW … SET (…). What changes the view's content, or one that has stopped, is built
/// again; a limit alone is not.
pub(super) async fn alter(
    engine: &Headwater,
    catalog: SessionCatalog,
    name: &Name,
    if_exists: bool,
    text: &str,
) -> Result<Done, SqlError> {
    const TAG: &str = "ALTER MATERIALIZED VIEW";
    let sql = engine.sql();
    let db = name.db.clone().unwrap_or_else(|| catalog.database.clone());
    let find = || sql.views.definitions().view(&db, &name.name).cloned();
    let missing = || views::build::missing("materialized view", &name.name).at(name.position);
    let changing = sql.ddl.lock().await;
    let Some(view) = find() else {
        if if_exists {
            return Ok(Done { tag: TAG, notices: vec![notice(format!("{}, skipping", missing().message))] });
        }
        return Err(missing());
    };
    let stored = StoredDefinition {
        kind: DefinitionKind::View,
        db: view.db.clone(),
        name: view.name.clone(),
        statement: format!("{};\n{text}", view.statement),
        id: view.id,
        start: base::ClusterTime::ZERO,
        created_ms: view.created_ms,
        paused_at: None,
    };
    // Names mean what they did when the view was made: later views are not among them.
    let mut earlier = Definitions::clone(&sql.views.definitions());
    earlier.views.retain(|_, known| known.id < view.id);
    let database = view.db.clone();
    let catalog = SessionCatalog { database, definitions: Arc::new(earlier), absent_collections: true, ..catalog };
    let altered = Arc::new(definitions::view_of(&stored, &catalog, engine.options().view_limits)?);
    let rebuild = altered.plan != view.plan
        || altered.on_error != view.on_error
        || altered.keeps_dead_letters != view.keeps_dead_letters;
    std::mem::drop(changing);
    sql.views.alter(Arc::clone(&altered), rebuild).await?;
    let _changing = sql.ddl.lock().await;
    if find().is_none_or(|known| !Arc::ptr_eq(&known, &view)) {
        return Err(SqlError::new("40001", format!("materialized view \"{}\" was changed meanwhile", name.name)));
    }
    definitions::save(engine.store(), stored).await?;
    let mut defined = Definitions::clone(&sql.views.definitions());
    defined.views.insert((view.db.clone(), view.name.clone()), Arc::clone(&altered));
    sql.views.set_definitions(defined);
    let notices = if rebuild { unbounded(&altered.plan) } else { Vec::new() };
    Ok(Done { tag: TAG, notices })
}

/// A notice for each collection that is read before it exists.
fn absent(plan: &Plan, catalog: &SessionCatalog) -> Vec<Notice> {
    let of_source = |source| match source {
        Source::Collection { db, name } if catalog.collections.find(&db, &name).is_none() => {
            Some(notice(format!("collection \"{db}.{name}\" does not exist yet; it is empty until it does")))
        }
        _ => None,
    };
    plan.sources().into_iter().filter_map(of_source).collect()
}

/// Stops a view and forgets it, on disk too.
pub(super) async fn remove(engine: &Headwater, view: &ViewDefinition) -> Result<(), SqlError> {
    let key = views::definition::definition_key(DefinitionKind::View, &view.db, &view.name);
    definitions::forget(engine.store(), key).await?;
    engine.sql().views.drop_view(&view.db, &view.name).await?;
    interest::want_plan(engine.store(), &view.plan, false);
    Ok(())
}

/// The views that read a view, directly or through others, youngest first.
pub(super) fn readers_of(definitions: &Definitions, db: &str, name: &str) -> Vec<Arc<ViewDefinition>> {
    closure(definitions, |source| matches!(source, Source::View { db: d, name: n } if d == db && n == name))
}

/// The views that read something, directly or through others, youngest first.
pub(super) fn closure(definitions: &Definitions, reads: impl Fn(&Source) -> bool) -> Vec<Arc<ViewDefinition>> {
    let mut found: Vec<Arc<ViewDefinition>> = definitions.readers(reads).into_iter().cloned().collect();
    let mut next = 0;
    while let Some(view) = found.get(next).cloned() {
        next += 1;
        let reads = |s: &Source| matches!(s, Source::View { db, name } if *db == view.db && *name == view.name);
        for reader in definitions.readers(reads) {
            if !found.iter().any(|known| known.id == reader.id) {
                found.push(Arc::clone(reader));
            }
        }
    }
    found.sort_by_key(|view| std::cmp::Reverse(view.id));
    found
}

/// 2BP01 if anything depends on the object.
pub(super) fn refuse_dependents(
    verb: &str,
    kind: &str,
    name: &str,
    readers: &[Arc<ViewDefinition>],
) -> Result<(), SqlError> {
    if readers.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        readers.iter().rev().map(|view| format!("materialized view {} depends on {kind} {name}", view.name)).collect();
    let message = format!("cannot {verb} {kind} {name} because other objects depend on it");
    let hint = match verb {
        "drop" => "Use DROP ... CASCADE to drop the dependent objects too.".to_owned(),
        _ => format!("Drop the dependent objects first, or create another {kind}."),
    };
    Err(SqlError::new("2BP01", message).with_detail(lines.join("\n")).with_hint(hint))
}

/// DROP MATERIALIZED VIEW.
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
    let mut doomed: Vec<Arc<ViewDefinition>> = Vec::new();
    for name in names {
        let db = name.db.as_deref().unwrap_or(database);
        match defined.view(db, &name.name) {
            Some(view) => doomed.push(Arc::clone(view)),
            None if if_exists => {
                notices.push(notice(format!("materialized view \"{}\" does not exist, skipping", name.name)));
            }
            None => return Err(views::build::missing("materialized view", &name.name).at(name.position)),
        }
    }
    let named: Vec<u64> = doomed.iter().map(|view| view.id).collect();
    for view in doomed.clone() {
        let mut readers = readers_of(&defined, &view.db, &view.name);
        readers.retain(|reader| !named.contains(&reader.id));
        if !cascade {
            refuse_dependents("drop", "materialized view", &view.name, &readers)?;
        }
        for reader in readers {
            if !doomed.iter().any(|known| known.id == reader.id) {
                notices.push(notice(format!("drop cascades to materialized view {}", reader.name)));
                doomed.push(reader);
            }
        }
    }
    drop_all(engine, &mut defined, doomed).await?;
    Ok(Done { tag: "DROP MATERIALIZED VIEW", notices })
}

/// Drops views, readers before what they read, with the sinks of each.
pub(super) async fn drop_all(
    engine: &Headwater,
    defined: &mut Definitions,
    mut doomed: Vec<Arc<ViewDefinition>>,
) -> Result<(), SqlError> {
    doomed.sort_by_key(|view| std::cmp::Reverse(view.id));
    doomed.dedup_by_key(|view| view.id);
    for view in doomed {
        let source = Source::View { db: view.db.clone(), name: view.name.clone() };
        for sink in engine.deliveries().readers(&source) {
            sinks::remove(engine, &sink).await?;
        }
        remove(engine, &view).await?;
        defined.views.remove(&(view.db.clone(), view.name.clone()));
        engine.sql().views.set_definitions(defined.clone());
    }
    Ok(())
}

/// REFRESH MATERIALIZED VIEW: views are always fresh, so it only has to exist.
pub(super) fn refresh(engine: &Headwater, database: &str, name: &Name) -> Result<Done, SqlError> {
    let db = name.db.as_deref().unwrap_or(database);
    match engine.sql().views.definitions().view(db, &name.name) {
        Some(_) => Ok(Done { tag: "REFRESH MATERIALIZED VIEW", notices: Vec::new() }),
        None => Err(views::build::missing("materialized view", &name.name).at(name.position)),
    }
}

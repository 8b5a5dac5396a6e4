//! What CREATE SINK defined: source, target, policy; on disk as its statement and the ALTERs since.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ::sql::catalog::stream_columns;
use ::sql::parser::statement::{CreateSink, OnError, Query, SinkAction, SinkOptions, SinkSource};
use ::sql::parser::{self, Statement, parse_predicate};
use ::sql::{Expr, Field, Plan, Source, SqlError, Type};
use base::Uuid;
use delivery::{OnDeath, Policy};
use document::{Doc, DocBuf, Raw, Value};
use views::names::SessionCatalog;

use super::handlers::ChangesPlan;
use super::rows::RowShape;
use super::targets::is_parquet;
use crate::sql::{binding, interest, view_ddl};

/// The most of anything that a sink may be given.
const PARALLELISM_MAX: u32 = 1024;
const BATCH_MAX: u32 = 100_000;
const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where a sink's events come from.
#[derive(Clone, Debug)]
pub(crate) enum SourcePlan {
    /// The events of a change stream.
    Stream { db: String, name: String, priority: Option<Expr> },
    /// Rows that a query makes of each event of one change stream.
    StreamQuery { db: String, name: String, plan: Arc<Plan>, shape: RowShape },
    /// Changes for a handler of the embedding program.
    Changes(Arc<ChangesPlan>),
    /// The changes of a materialized view's rows.
    View { db: String, name: String, shape: RowShape },
    /// The changes of the rows of a query over views and collections.
    Query { plan: Arc<Plan>, text: String, shape: RowShape },
}

impl SourcePlan {
    pub fn shape(&self) -> Option<&RowShape> {
        match self {
            SourcePlan::Stream { .. } | SourcePlan::Changes(_) => None,
            SourcePlan::StreamQuery { shape, .. }
            | SourcePlan::View { shape, .. }
            | SourcePlan::Query { shape, .. } => Some(shape),
        }
    }

    /// `CHANGE_STREAM('db.s')`, `db.v` or the query's text.
    pub fn text(&self) -> String {
        match self {
            SourcePlan::Stream { db, name, .. } | SourcePlan::StreamQuery { db, name, .. } => {
                format!("CHANGE_STREAM('{db}.{name}')")
            }
            SourcePlan::Changes(plan) => crate::sql::scope_text(&plan.stream.scope),
            SourcePlan::View { db, name, .. } => format!("{db}.{name}"),
            SourcePlan::Query { text, .. } => text.clone(),
        }
    }

    /// What it reads, by name.
    pub fn sources(&self) -> Vec<Source> {
        match self {
            SourcePlan::Stream { db, name, .. } | SourcePlan::StreamQuery { db, name, .. } => {
                vec![Source::Stream { db: db.clone(), name: name.clone(), since: None, up_to: None }]
            }
            SourcePlan::View { db, name, .. } => vec![Source::View { db: db.clone(), name: name.clone() }],
            SourcePlan::Query { plan, .. } => plan.sources(),
            SourcePlan::Changes(_) => Vec::new(),
        }
    }

    pub fn reads(&self, source: &Source) -> bool {
        match (self, source) {
            (
                SourcePlan::Stream { db, name, .. } | SourcePlan::StreamQuery { db, name, .. },
                Source::Stream { db: d, name: n, .. },
            )
            | (SourcePlan::View { db, name, .. }, Source::View { db: d, name: n }) => db == d && name == n,
            (SourcePlan::Query { plan, .. }, Source::View { db: d, name: n }) => {
                plan.sources().iter().any(|s| matches!(s, Source::View { db, name } if db == d && name == n))
            }
            _ => false,
        }
    }
}

/// A sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkDefinition {
    pub db: String,
    pub name: String,
    /// New with every CREATE and REPLAY.
    pub uid: Uuid,
    pub source: SourcePlan,
    pub url: String,
    pub options: SinkOptions,
    pub policy: Policy,
    pub paused: bool,
    pub created_ms: i64,
    /// CREATE and the ALTER … SET since.
    pub statement: String,
}

impl SinkDefinition {
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.db, self.name)
    }

    /// The name under which it keeps the log.
    pub fn pin_name(&self) -> String {
        pin_name(&self.db, &self.name)
    }

    /// The change stream that it reads.
    pub fn stream(&self) -> Option<(&str, &str)> {
        match &self.source {
            SourcePlan::Stream { db, name, .. } | SourcePlan::StreamQuery { db, name, .. } => Some((db, name)),
            SourcePlan::Changes(_) | SourcePlan::View { .. } | SourcePlan::Query { .. } => None,
        }
    }

    /// The namespace whose pre-images a handler wants.
    pub fn wanted_images(&self) -> Option<store::Namespace> {
        let SourcePlan::Changes(plan) = &self.source else { return None };
        interest::wanted_by(&plan.stream)
    }

    /// Is its position one of the change log?
    pub fn reads_log(&self) -> bool {
        !matches!(self.source, SourcePlan::View { .. } | SourcePlan::Query { .. })
    }

    /// The collection of this database that it writes to.
    pub fn collection_target(&self) -> Option<store::Namespace> {
        let (scheme, rest) = self.url.split_once(':')?;
        let name = rest.trim_start_matches('/');
        let (db, name) = name.split_once('.').unwrap_or((&self.db, name));
        scheme.eq_ignore_ascii_case("collection").then(|| store::Namespace::new(db, name))
    }

    /// `db.name` of the stream or view; of a query, the sink's own name.
    pub fn source_name(&self) -> String {
        match &self.source {
            SourcePlan::Stream { db, name, .. }
            | SourcePlan::StreamQuery { db, name, .. }
            | SourcePlan::View { db, name, .. } => format!("{db}.{name}"),
            SourcePlan::Query { .. } | SourcePlan::Changes(_) => self.full_name(),
        }
    }

    /// The target without its password.
    pub fn shown_target(&self) -> String {
        without_password(&self.url)
    }

    pub fn encode(&self) -> DocBuf {
        let mut doc = Doc::new()
            .with("db", self.db.as_str())
            .with("name", self.name.as_str())
            .with("uid", Value::Binary(document::Binary { subtype: 4, bytes: self.uid.0.to_vec() }))
            .with("statement", self.statement.as_str())
            .with("paused", self.paused)
            .with("created", Value::Date(self.created_ms));
        if let Some(wanted) = self.wanted_images() {
            doc.push("imagesOf", vec![Value::from(&*wanted.db), Value::from(&*wanted.collection)]);
        }
        doc.to_buf()
    }

    /// Parses and binds a stored definition again. `catalog_of` gives the names of its database.
    pub fn decode(stored: &DocBuf, catalog_of: impl Fn(&str) -> SessionCatalog) -> Result<Self, SqlError> {
        let text = |name: &str| stored.get(name).and_then(Raw::as_str).map(str::to_owned).ok_or_else(damaged);
        let uid = match stored.get("uid") {
            Some(Raw::Binary { bytes, .. }) => Uuid(bytes.try_into().map_err(|_| damaged())?),
            _ => return Err(damaged()),
        };
        let created_ms = match stored.get("created") {
            Some(Raw::Date(ms)) => ms,
            _ => return Err(damaged()),
        };
        let statement = text("statement")?;
        let create = merged(&statement)?;
        let db = text("db")?;
        let mut sink = SinkDefinition::bind(&create, &statement, &catalog_of(&db), uid, created_ms)?;
        sink.db = db;
        sink.name = text("name")?;
        sink.paused = stored.get("paused").and_then(Raw::as_bool).unwrap_or(false);
        Ok(sink)
    }

    /// Binds a statement.
    pub fn bind(
        create: &CreateSink,
        statement: &str,
        catalog: &SessionCatalog,
        uid: Uuid,
        created_ms: i64,
    ) -> Result<Self, SqlError> {
        let db = create.name.db.clone().unwrap_or_else(|| catalog.database.clone());
        Ok(SinkDefinition {
            db,
            name: create.name.name.clone(),
            uid,
            source: source_plan(create, catalog)?,
            url: create.url.clone(),
            policy: policy(&create.url, &create.options)?,
            options: create.options.clone(),
            paused: false,
            created_ms,
            statement: statement.to_owned(),
        })
    }
}

/// The name under which a sink keeps the log.
pub(super) fn pin_name(db: &str, name: &str) -> String {
    format!("sink {db}.{name}")
}

/// Hides what stands between the user's name and the host, and the value of `password=`.
fn without_password(url: &str) -> String {
    const HIDDEN: &str = "********";
    let mut shown = url.to_owned();
    if let Some(start) = url.find("://").map(|at| at + 3) {
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
        if let Some(at) = url[start..end].rfind('@')
            && let Some(colon) = url[start..start + at].find(':')
        {
            shown.replace_range(start + colon + 1..start + at, HIDDEN);
        }
    }
    if let Some(at) = shown.find("password=").map(|at| at + "password=".len()) {
        let end = shown[at..].find('&').map_or(shown.len(), |end| at + end);
        shown.replace_range(at..end, HIDDEN);
    }
    shown
}

fn damaged() -> SqlError {
    SqlError::new("XX001", "damaged sink catalogue entry")
}

/// The CREATE SINK of a stored text, with what its ALTERs say instead.
pub(crate) fn merged(statement: &str) -> Result<CreateSink, SqlError> {
    let mut create: Option<CreateSink> = None;
    for parsed in parser::parse(statement)? {
        match (parsed.statement, &mut create) {
            (Statement::CreateSink(first), None) => create = Some(*first),
            (Statement::AlterSink { action: SinkAction::Set(newer), .. }, Some(create)) => {
                merge(&mut create.options, *newer);
            }
            _ => return Err(damaged()),
        }
    }
    create.ok_or_else(damaged)
}

fn merge(options: &mut SinkOptions, newer: SinkOptions) {
    let older = std::mem::take(options);
    *options = SinkOptions {
        key: newer.key.or(older.key),
        max_retries: newer.max_retries.or(older.max_retries),
        retry_delay: newer.retry_delay.or(older.retry_delay),
        max_retry_delay: newer.max_retry_delay.or(older.max_retry_delay),
        timeout: newer.timeout.or(older.timeout),
        batch_size: newer.batch_size.or(older.batch_size),
        batch_bytes: newer.batch_bytes.or(older.batch_bytes),
        batch_delay: newer.batch_delay.or(older.batch_delay),
        priority: newer.priority.or(older.priority),
        parallelism: newer.parallelism.or(older.parallelism),
        on_error: newer.on_error.or(older.on_error),
        format: newer.format.or(older.format),
        snapshot: newer.snapshot.or(older.snapshot),
        table: newer.table.or(older.table),
        headers: newer.headers.or(older.headers),
        secret: newer.secret.or(older.secret),
    };
}

/// The policy where the statement does not say otherwise: one event per request for whoever takes
/// requests, many per transaction or append, a file's worth for files of columns.
fn default_policy(url: &str) -> Policy {
    const MANY: usize = 500;
    let is_http = url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    if is_parquet(url) {
        return Policy {
            batch_size: 100_000,
            batch_bytes: 32 * 1024 * 1024,
            batch_delay: Duration::from_secs(10),
            ..Policy::default()
        };
    }
    Policy { batch_size: if is_http { 1 } else { MANY }, ..Policy::default() }
}

fn policy(url: &str, options: &SinkOptions) -> Result<Policy, SqlError> {
    let bounded = |name: &str, value: Option<u32>, most: u32| match value {
        Some(value) if value > most => Err(SqlError::new("22023", format!("{name} cannot be more than {most}"))),
        value => Ok(value.map(|value| value as usize)),
    };
    let default = default_policy(url);
    let timeout = options.timeout.unwrap_or(default.timeout);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(SqlError::new("22023", "timeout must be more than nothing and at most a day"));
    }
    let batch_size = bounded("batch_size", options.batch_size, BATCH_MAX)?.unwrap_or(default.batch_size);
    let batch_bytes = options.batch_bytes.map_or(default.batch_bytes, |bytes| bytes as usize);
    Ok(Policy {
        max_retries: options.max_retries.unwrap_or(default.max_retries),
        retry_delay: options.retry_delay.unwrap_or(default.retry_delay),
        max_retry_delay: options.max_retry_delay.unwrap_or(default.max_retry_delay),
        timeout,
        parallelism: bounded("parallelism", options.parallelism, PARALLELISM_MAX)?.unwrap_or(default.parallelism),
        batch_size,
        batch_bytes,
        batch_delay: options.batch_delay.unwrap_or(default.batch_delay),
        on_death: match options.on_error {
            None | Some(OnError::DeadLetter) => OnDeath::Park,
            // Only a view can go on with NULL; a sink's options do not offer it.
            Some(OnError::Skip | OnError::Null) => OnDeath::Skip,
            Some(OnError::Fail) => OnDeath::Stop,
        },
        queue_events: default.queue_events.max(batch_size * 2),
        // So that the next batch is there when one lands.
        queue_bytes: default.queue_bytes.max(batch_bytes.saturating_mul(2).min(QUEUE_BYTES_MAX)),
        ..default
    })
}

fn source_plan(create: &CreateSink, catalog: &SessionCatalog) -> Result<SourcePlan, SqlError> {
    let options = &create.options;
    match &create.source {
        SinkSource::Stream { name, position } => {
            let (db, name) = name.split_once('.').unwrap_or((&catalog.database, name));
            if catalog.definitions.stream(db, name).is_none() {
                return Err(views::build::missing("change stream", name).at(*position));
            }
            stream(db, name, options)
        }
        SinkSource::Name(name) => {
            let db = name.db.as_deref().unwrap_or(&catalog.database);
            if let Some(view) = catalog.definitions.view(db, &name.name) {
                let shape = shape(view.plan.fields(), options)?;
                return Ok(SourcePlan::View { db: db.to_owned(), name: name.name.clone(), shape });
            }
            if catalog.definitions.stream(db, &name.name).is_some() {
                return stream(db, &name.name, options);
            }
            let message = format!("materialized view or change stream \"{}\" does not exist", name.name);
            Err(SqlError::new("42P01", message)
                .with_hint("For a collection, create a change stream on it, or use AS SELECT.")
                .at(name.position))
        }
        SinkSource::Query(query) => query_plan(query, options, catalog),
    }
}

fn stream(db: &str, name: &str, options: &SinkOptions) -> Result<SourcePlan, SqlError> {
    if options.key.is_some() {
        return Err(SqlError::unsupported("the option \"key\" for the events of a change stream")
            .with_hint("Use AS SELECT … FROM CHANGE_STREAM('…'), and name one of its columns."));
    }
    let priority = priority(&stream_columns(), options)?;
    Ok(SourcePlan::Stream { db: db.to_owned(), name: name.to_owned(), priority })
}

/// The option `priority`: a column's name, or an expression over the columns.
fn priority(fields: &[Field], options: &SinkOptions) -> Result<Option<Expr>, SqlError> {
    let Some(text) = &options.priority else { return Ok(None) };
    let named = fields.iter().position(|field| field.name == *text);
    let expr = match named {
        Some(at) => Expr::column(at, fields[at].ty.clone()),
        // Where it stands in the option's text is no place in the statement.
        None => parse_predicate(text).and_then(|expr| binding::row_expression(&expr, fields)).map_err(|error| {
            SqlError { position: None, message: format!("the priority: {}", error.message), ..error }
        })?,
    };
    if !expr.ty.is_numeric() && expr.ty != Type::Bool {
        return Err(SqlError::new("42804", format!("the priority \"{text}\" is not a number"))
            .with_hint("Cast it: ((full_document->>'urgency')::int)."));
    }
    if expr.reads_now() {
        return Err(SqlError::unsupported("the current time in a priority"));
    }
    Ok(Some(expr))
}

fn query_plan(query: &Query, options: &SinkOptions, catalog: &SessionCatalog) -> Result<SourcePlan, SqlError> {
    if query.emit_changes || query.as_of.is_some() {
        return Err(SqlError::syntax("a sink follows its query already").with_hint("Leave the tail of the query out."));
    }
    let bound = binding::query(query, catalog, &[], ::sql::binder::BindOptions::default())?;
    if !bound.parameters.is_empty() {
        return Err(SqlError::new("42P02", "there is no parameter $1"));
    }
    let plan = view_ddl::maintained(&bound.plan, &[])?;
    let shape = shape(plan.fields(), options)?;
    if let Some((db, name)) = one_row_at_a_time(&plan) {
        return Ok(SourcePlan::StreamQuery { db, name, plan, shape });
    }
    if plan.sources().iter().any(|source| matches!(source, Source::Stream { .. })) {
        return Err(SqlError::unsupported("a sink's query that combines events of change streams")
            .with_hint("Create a materialized view of it, and the sink FROM the view."));
    }
    Ok(SourcePlan::Query { plan, text: query.text.clone(), shape })
}

/// The stream whose events the plan turns into rows, each by itself.
fn one_row_at_a_time(plan: &Plan) -> Option<(String, String)> {
    match plan {
        Plan::Scan { source: Source::Stream { db, name, since: None, up_to: None }, .. } => {
            Some((db.clone(), name.clone()))
        }
        Plan::Filter { input, predicate } if !predicate.reads_now() => one_row_at_a_time(input),
        Plan::Project { input, .. } | Plan::FlatMap { input, .. } => one_row_at_a_time(input),
        _ => None,
    }
}

fn shape(fields: &[Field], options: &SinkOptions) -> Result<RowShape, SqlError> {
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|earlier| earlier.name == field.name) {
            let message = format!("column \"{}\" specified more than once", field.name);
            return Err(SqlError::new("42701", message).with_hint("Give the columns names of their own with AS."));
        }
    }
    let column = |name: &str| {
        fields.iter().position(|field| field.name == name).ok_or_else(|| {
            SqlError::new("42703", format!("column \"{name}\" does not exist"))
                .with_hint("An option names a column of the sink's rows.")
        })
    };
    let key = options.key.clone().unwrap_or_default();
    for name in &key {
        column(name)?;
    }
    let priority = priority(fields, options)?;
    Ok(RowShape { fields: fields.to_vec(), key, priority })
}

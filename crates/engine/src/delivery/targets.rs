//! From a sink's URL to its target.

use std::path::Path;
use std::sync::Arc;

use ::sql::catalog::stream_columns;
use ::sql::{Field, SqlError, Type};
use base::Clock;
use delivery::Target;
use delivery::envelope::Format;
use delivery::file::{Column, ColumnKind, JsonLines, Parquet, ParquetOptions};
use delivery::kafka::{Kafka, KafkaOptions};
use delivery::mongodb::{Mongo, MongoOptions};
use delivery::nats::{Nats, NatsOptions};
use delivery::postgres::{Postgres, PostgresOptions};
use delivery::redis::{Redis, RedisOptions};
use delivery::webhook::{Webhook, WebhookOptions};
use store::Store;

use super::collection::CollectionTarget;
use super::definition::{SinkDefinition, SourcePlan};
use super::topic::{TopicTarget, Topics};

/// What targets are made with.
#[derive(Clone)]
pub(super) struct Means {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    /// Where files go.
    pub directory: Arc<Path>,
    /// What browsers follow.
    pub topics: Topics,
    /// The log is a deployment's, and nothing else may write to it.
    pub captured: bool,
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new("22023", message)
}

/// # Errors
/// 22023 for a URL or option that this kind of target has not; 0A000 for an unknown scheme.
pub(super) fn target(sink: &SinkDefinition, means: &Means) -> Result<Arc<dyn Target>, SqlError> {
    let (scheme, rest) = sink.url.split_once(':').ok_or_else(|| invalid("the sink's target is no URL"))?;
    let scheme = scheme.to_ascii_lowercase();
    check_options(sink, &scheme)?;
    match scheme.as_str() {
        "http" | "https" => webhook(sink, means),
        "file" => file(sink, rest, means),
        "collection" => collection(sink, means),
        "postgres" | "postgresql" => postgres(sink),
        "redis" | "rediss" => redis(sink),
        "mongodb" | "mongodb+srv" => mongodb(sink),
        "nats" | "nats+tls" => nats(sink, &scheme),
        "kafka" => kafka(sink),
        "topic" => topic(sink, rest, means),
        _ => Err(SqlError::unsupported(format!("a sink into '{scheme}:'"))
            .with_hint("Targets are http, https, collection, postgres, mongodb, redis, nats, kafka, file and topic.")),
    }
}

/// Refuses options that would have no effect.
fn check_options(sink: &SinkDefinition, scheme: &str) -> Result<(), SqlError> {
    let options = &sink.options;
    let http = matches!(scheme, "http" | "https");
    let message = http || matches!(scheme, "file" | "redis" | "rediss" | "nats" | "nats+tls" | "kafka" | "topic");
    let message = message && !is_parquet(&sink.url);
    let table = matches!(scheme, "postgres" | "postgresql" | "mongodb" | "mongodb+srv");
    let given = [
        ("headers", options.headers.is_some(), http),
        ("secret", options.secret.is_some(), http),
        ("format", options.format.is_some(), message),
        ("table", options.table.is_some(), table),
    ];
    match given.into_iter().find(|(_, given, fits)| *given && !fits) {
        Some((name, ..)) => Err(invalid(format!("a sink into '{scheme}:' has no option \"{name}\""))),
        None => Ok(()),
    }
}

fn format(sink: &SinkDefinition) -> Result<Format, SqlError> {
    match &sink.options.format {
        None => Ok(Format::default()),
        Some(name) => Format::parse(name).ok_or_else(|| invalid(format!("unknown format '{name}'"))),
    }
}

/// Targets that hold rows need to know which row is meant.
fn need_key(sink: &SinkDefinition) -> Result<(), SqlError> {
    match &sink.source {
        SourcePlan::Stream { .. } => Ok(()),
        other if other.shape().is_some_and(|shape| !shape.key.is_empty()) => Ok(()),
        _ => Err(invalid("this sink needs the option \"key\"")
            .with_hint("Name the columns that identify a row, as in WITH (key = 'order_id').")),
    }
}

fn webhook(sink: &SinkDefinition, means: &Means) -> Result<Arc<dyn Target>, SqlError> {
    let format = format(sink)?;
    let arrays = sink.policy.batch_size > 1;
    if arrays && format == Format::CloudEventsBinary {
        return Err(invalid("format 'cloudevents_binary' has one event per request")
            .with_hint("Use 'cloudevents', or leave batch_size out."));
    }
    let header = |line: &String| match line.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
        None => Err(invalid(format!("\"{line}\" is no header")).with_hint("Headers are written 'Name: value'.")),
    };
    let headers = sink.options.headers.iter().flatten().map(header).collect::<Result<_, _>>()?;
    let secret = sink.options.secret.clone();
    let options = WebhookOptions { url: sink.url.clone(), format, arrays, headers, secret };
    Ok(Arc::new(Webhook::new(options, Arc::clone(&means.clock)).map_err(invalid)?))
}

fn file(sink: &SinkDefinition, rest: &str, means: &Means) -> Result<Arc<dyn Target>, SqlError> {
    let name = rest.trim_start_matches('/');
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    // Whoever may speak SQL must not write wherever this process may.
    if !plain {
        return Err(invalid(format!("'{}' is no name of a sink's file", sink.url)).with_hint(
            "Write INTO 'file:name.jsonl' or 'file:name.parquet' with letters, digits, '.', '-' and '_'; it is made in the folder \"sinks\" of the data directory.",
        ));
    }
    std::fs::create_dir_all(&means.directory)
        .map_err(|error| SqlError::new("58030", format!("cannot make the folder for files of sinks: {error}")))?;
    let path = means.directory.join(name);
    if !is_parquet(&sink.url) {
        return Ok(Arc::new(JsonLines::new(path, format(sink)?)));
    }
    let columns = match sink.source.shape() {
        Some(shape) => shape.fields.iter().map(column).collect(),
        None => stream_columns().iter().map(column).collect(),
    };
    let options =
        ParquetOptions { directory: path, columns, changes: sink.source.shape().is_some(), sink: sink.uid.to_string() };
    Ok(Arc::new(Parquet::new(options).map_err(invalid)?))
}

/// Files of columns instead of lines.
pub(super) fn is_parquet(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
        && url.to_ascii_lowercase().ends_with(".parquet")
}

fn column(field: &Field) -> Column {
    let kind = match &field.ty {
        Type::Bool => ColumnKind::Bool,
        Type::Int2 | Type::Int4 => ColumnKind::Int32,
        Type::Int8 | Type::Oid => ColumnKind::Int64,
        Type::Float4 | Type::Float8 => ColumnKind::Double,
        Type::Numeric(Some((precision, scale))) => ColumnKind::Decimal { precision: *precision, scale: *scale },
        Type::Date => ColumnKind::Date,
        Type::Timestamp => ColumnKind::Timestamp { utc: false },
        Type::Timestamptz => ColumnKind::Timestamp { utc: true },
        Type::Json | Type::Array(_) | Type::Record => ColumnKind::Json,
        _ => ColumnKind::Text,
    };
    Column { name: field.name.clone(), kind }
}

fn topic(sink: &SinkDefinition, name: &str, means: &Means) -> Result<Arc<dyn Target>, SqlError> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if name.is_empty() || !plain {
        return Err(invalid(format!("'{}' is no name of a topic", sink.url))
            .with_hint("Write INTO 'topic:name' with letters, digits, '.', '-' and '_'."));
    }
    Ok(Arc::new(TopicTarget::new(name, sink, format(sink)?, &means.topics, &means.store)?))
}

/// `scheme://user:password@host,host/path` in its parts; the path has not been decoded.
struct Address {
    hosts: String,
    user: Option<String>,
    password: Option<String>,
    path: String,
}

fn address(url: &str) -> Result<Address, SqlError> {
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let rest = rest.ok_or_else(|| invalid("the target names no host").with_hint("Write scheme://host:port/name."))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    if hosts.is_empty() {
        return Err(invalid("the target names no host").with_hint("Write scheme://host:port/name."));
    }
    let decoded = |text: &str| {
        let text = percent_decoded(text).ok_or_else(|| invalid("the user or password is not percent-encoded UTF-8"))?;
        Ok::<_, SqlError>(Some(text))
    };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, "")) => (decoded(user)?, None),
        Some((user, password)) => (decoded(user)?, decoded(password)?),
    };
    Ok(Address { hosts: hosts.to_owned(), user, password, path: path.to_owned() })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// 22023 for parameters of the URL that mean nothing.
fn refuse_parameters(url: &str) -> Result<(), SqlError> {
    match url.split_once('?') {
        Some((_, query)) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            Err(invalid(format!("the target's URL has an unknown parameter \"{name}\"")))
        }
        None => Ok(()),
    }
}

fn yes_or_no(name: &str, value: Option<&str>, default: bool) -> Result<bool, SqlError> {
    match value {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(invalid(format!("{name} is true or false, not \"{other}\""))),
    }
}

fn nats(sink: &SinkDefinition, scheme: &str) -> Result<Arc<dyn Target>, SqlError> {
    let (url, [stream, create]) = taken(&sink.url, ["stream", "create"]);
    refuse_parameters(&url)?;
    let Address { hosts, user, password, path } = address(&url)?;
    if path.is_empty() {
        return Err(invalid("the target names no subject").with_hint("Write nats://host:4222/subject."));
    }
    let transport = if scheme == "nats" { "nats" } else { "tls" };
    let servers: Vec<String> = hosts.split(',').map(|host| format!("{transport}://{host}")).collect();
    // A name without a password is a token, as in NATS's own URLs.
    let (user, password) = if password.is_none() { (None, user) } else { (user, password) };
    let options = NatsOptions {
        servers: servers.join(","),
        user,
        password,
        subject: path,
        stream,
        create: yes_or_no("create", create.as_deref(), false)?,
        format: format(sink)?,
        sink: sink.uid.to_string(),
    };
    Ok(Arc::new(Nats::new(options).map_err(invalid)?))
}

fn kafka(sink: &SinkDefinition) -> Result<Arc<dyn Target>, SqlError> {
    let (url, [tombstones]) = taken(&sink.url, ["tombstones"]);
    refuse_parameters(&url)?;
    let Address { hosts, user, password, path } = address(&url)?;
    if path.is_empty() {
        return Err(invalid("the target names no topic").with_hint("Write kafka://host:9092/topic."));
    }
    let format = format(sink)?;
    let options = KafkaOptions {
        servers: hosts,
        topic: path,
        user: user.map(|user| (user, password.unwrap_or_default())),
        format,
        // As Debezium's tombstones.on.delete.
        tombstones: yes_or_no("tombstones", tombstones.as_deref(), format == Format::Debezium)?,
        timeout: sink.policy.timeout,
    };
    Ok(Arc::new(Kafka::new(options).map_err(invalid)?))
}

fn collection(sink: &SinkDefinition, means: &Means) -> Result<Arc<dyn Target>, SqlError> {
    if means.captured {
        return Err(SqlError::unsupported("a sink into a collection of this database over a source")
            .with_hint("The database holds what is captured. Write into the deployment with INTO 'mongodb://…'."));
    }
    need_key(sink)?;
    match sink.collection_target() {
        Some(namespace) if !namespace.db.is_empty() && !namespace.collection.is_empty() => {
            Ok(Arc::new(CollectionTarget::new(means.store.clone(), sink, namespace)?))
        }
        _ => Err(invalid("the target names no collection")
            .with_hint("Write INTO 'collection:name' or 'collection:db.name'.")),
    }
}

/// The URL without these parameters, and their values. The rest stays as it was written: a
/// connection string may name several hosts, which a URL cannot.
fn taken<const N: usize>(url: &str, names: [&str; N]) -> (String, [Option<String>; N]) {
    let mut values = names.map(|_| None);
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), values) };
    let mut kept: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        let parsed = url::form_urlencoded::parse(pair.as_bytes()).next();
        let at = parsed.as_ref().and_then(|(name, _)| names.iter().position(|wanted| wanted == name));
        match (at, parsed) {
            (Some(at), Some((_, value))) => values[at] = Some(value.into_owned()),
            _ => kept.push(pair),
        }
    }
    let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    (url, values)
}

fn key_of(sink: &SinkDefinition) -> Vec<String> {
    sink.source.shape().map_or_else(|| vec!["_id".to_owned()], |shape| shape.key.clone())
}

fn postgres(sink: &SinkDefinition) -> Result<Arc<dyn Target>, SqlError> {
    need_key(sink)?;
    let (url, [table]) = taken(&sink.url, ["table"]);
    let table = sink.options.table.clone().or(table).ok_or_else(|| {
        invalid("the target names no table").with_hint("Write WITH (table = 'orders') or …/database?table=orders.")
    })?;
    let columns = sink.source.shape().map(|shape| shape.fields.iter().map(|field| field.name.clone()).collect());
    let options = PostgresOptions {
        url,
        table,
        key: key_of(sink),
        columns: columns.unwrap_or_default(),
        sink: sink.uid.to_string(),
    };
    Ok(Arc::new(Postgres::new(options).map_err(invalid)?))
}

fn redis(sink: &SinkDefinition) -> Result<Arc<dyn Target>, SqlError> {
    let (url, [channel, stream]) = taken(&sink.url, ["channel", "stream"]);
    let into = match (channel, stream) {
        (Some(channel), None) => delivery::redis::Into::Channel(channel),
        (None, Some(stream)) => delivery::redis::Into::Stream(stream),
        _ => {
            return Err(invalid("the target names no channel or stream")
                .with_hint("Write redis://host/0?channel=name or redis://host/0?stream=name."));
        }
    };
    let options = RedisOptions { url, into, format: format(sink)?, sink: sink.uid.to_string() };
    Ok(Arc::new(Redis::new(options).map_err(invalid)?))
}

fn mongodb(sink: &SinkDefinition) -> Result<Arc<dyn Target>, SqlError> {
    need_key(sink)?;
    let (url, [collection]) = taken(&sink.url, ["collection"]);
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let db = path.split_once('?').map_or(path, |(db, _)| db).to_owned();
    let collection = sink.options.table.clone().or(collection);
    match collection {
        Some(collection) if !db.is_empty() && !collection.is_empty() => {
            let own_ids = matches!(sink.source, SourcePlan::Stream { .. });
            Ok(Arc::new(Mongo::new(MongoOptions { url, db, collection, own_ids, sink: sink.uid.to_string() })))
        }
        _ => Err(invalid("the target names no database or collection")
            .with_hint("Write mongodb://host/database?collection=name.")),
    }
}

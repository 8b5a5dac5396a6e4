//! Handlers: changes delivered to a closure of the embedding program, with everything that sinks have.
//!
//! A handler is known by its name: under that name its position, its dead letters and its log
//! survive restarts. While the program has not started it again, the change log is kept for it.

use std::sync::Arc;
use std::time::Duration;

use ::delivery::{Delivery, Event, Fault, OnDeath, Policy, Position, Target};
use async_trait::async_trait;
use base::Uuid;
use document::matcher::Matcher;
use document::pipeline::Pipeline;
use document::{Context, DocBuf, Raw, RawDoc};
use futures::future::BoxFuture;
use store::{LogEntry, Operation};
use views::definition::Images;
use views::{StreamDefinition, StreamScope};

use super::definition::{SinkDefinition, SourcePlan};
use super::records;
use crate::{Error, Headwater, Result};

/// Why a handler did not handle a change. Any error converts into one that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    is_final: bool,
}

impl Failure {
    /// Tried again, up to `max_retries`.
    pub fn retry(message: impl std::fmt::Display) -> Self {
        Failure { message: message.to_string(), is_final: false }
    }

    /// Not tried again: the change becomes a dead letter at once.
    pub fn refuse(message: impl std::fmt::Display) -> Self {
        Failure { message: message.to_string(), is_final: true }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::retry(error)
    }
}

/// One change, as a handler gets it.
#[derive(Clone, Debug)]
pub struct Change {
    event: Arc<Event>,
    attempt: u32,
}

impl Change {
    /// The same for every attempt and after every restart: the idempotency key.
    pub fn id(&self) -> &str {
        &self.event.id
    }

    /// `insert`, `update`, `replace`, `delete`, …
    pub fn operation(&self) -> &str {
        &self.event.operation
    }

    /// `db.collection`.
    pub fn namespace(&self) -> &str {
        &self.event.namespace
    }

    /// From 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Wall clock of the change, milliseconds since the epoch.
    pub fn time_ms(&self) -> i64 {
        self.event.time_ms
    }

    /// `{_id: …}`.
    pub fn key(&self) -> &DocBuf {
        &self.event.key
    }

    /// The whole document right after the change; none for a delete.
    pub fn document(&self) -> Option<&DocBuf> {
        (self.event.kind == ::delivery::Kind::Upsert).then_some(&self.event.row)
    }

    /// The document right before the change, if the handler asked for it.
    pub fn before(&self) -> Option<&DocBuf> {
        self.event.before.as_ref()
    }

    /// The fields that an update set, by dotted path.
    pub fn updated_fields(&self) -> Option<RawDoc<'_>> {
        updated_fields(&self.event.body)
    }

    /// Did an update touch this path, something above or something below it?
    pub fn touches(&self, path: &str) -> bool {
        touches(&self.event.body, path)
    }

    /// The change event as MongoDB shapes it, after the handler's pipeline.
    pub fn event(&self) -> &DocBuf {
        &self.event.body
    }
}

fn description(body: &DocBuf) -> Option<RawDoc<'_>> {
    body.get("updateDescription")?.as_document()
}

pub(super) fn updated_fields(body: &DocBuf) -> Option<RawDoc<'_>> {
    description(body)?.get("updatedFields")?.as_document()
}

fn touches(body: &DocBuf, path: &str) -> bool {
    let related = |name: &str| {
        let (short, long) = if name.len() < path.len() { (name, path) } else { (path, name) };
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let removed = description(body).and_then(|d| d.get("removedFields")?.as_array());
    let removed = removed.into_iter().flat_map(RawDoc::values).filter_map(Raw::as_str);
    updated_fields(body).into_iter().flat_map(|fields| fields.iter()).any(|(name, _)| related(name))
        || removed.into_iter().any(related)
}

/// What a handler watches, beside the stream's scope and operations.
#[derive(Debug)]
pub(crate) struct ChangesPlan {
    pub stream: Arc<StreamDefinition>,
    updated_fields: Vec<String>,
    matcher: Option<Matcher>,
    pipeline: Option<Pipeline>,
}

impl ChangesPlan {
    /// The event document of an entry, if the handler wants it.
    pub fn event_document(&self, entry: &LogEntry) -> std::result::Result<Option<DocBuf>, String> {
        let event = changes::Event::new(entry);
        if let Some(matcher) = &self.matcher {
            let Some(document) = event.full_document() else { return Ok(None) };
            if !matcher.matches(document.as_doc()).map_err(|error| error.to_string())? {
                return Ok(None);
            }
        }
        let image = |document: Option<&DocBuf>| match document {
            Some(document) => changes::event::Image::Document(document.clone()),
            None => changes::event::Image::Absent,
        };
        let before = event.before().filter(|_| self.stream.images.before_change);
        let shape = changes::event::Shape {
            expanded: false,
            full_document: image(event.full_document()),
            before: image(before),
        };
        let document = event.to_document(&event.token(), &shape);
        // Asked of updates only: a filter on fields must not hide inserts and deletes.
        let is_update = matches!(entry.operation, Operation::Update { .. });
        if is_update
            && !self.updated_fields.is_empty()
            && !self.updated_fields.iter().any(|path| touches(&document, path))
        {
            return Ok(None);
        }
        match &self.pipeline {
            None => Ok(Some(document)),
            Some(pipeline) => pipeline.apply_one(document).map_err(|error| error.to_string()),
        }
    }
}

/// A handler in the making.
#[derive(Clone)]
#[must_use = "a handler does nothing before `start`"]
pub struct HandlerBuilder {
    engine: Headwater,
    name: String,
    scope: StreamScope,
    operations: Vec<String>,
    updated_fields: Vec<String>,
    filter: Option<DocBuf>,
    pipeline: Vec<DocBuf>,
    before: bool,
    from_oldest: bool,
    policy: Policy,
}

impl HandlerBuilder {
    /// The changes of one collection. Without this, those of all.
    pub fn collection(mut self, db: &str, collection: &str) -> Self {
        self.scope = StreamScope::Collection { db: db.to_owned(), name: collection.to_owned() };
        self
    }

    /// The changes of a database.
    pub fn database(mut self, db: &str) -> Self {
        self.scope = StreamScope::Database(db.to_owned());
        self
    }

    /// Only these operation types: `insert`, `update`, `replace`, `delete`, …
    pub fn operations(mut self, operations: &[&str]) -> Self {
        self.operations = operations.iter().map(|&operation| operation.to_owned()).collect();
        self
    }

    /// Of the updates, only those that touch one of these paths.
    pub fn updated_fields(mut self, paths: &[&str]) -> Self {
        self.updated_fields = paths.iter().map(|&path| path.to_owned()).collect();
        self
    }

    /// Only changes after which the document matches this query.
    pub fn matching(mut self, filter: DocBuf) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Aggregation stages over the change event; an event that they drop is not handled.
    pub fn pipeline(mut self, stages: Vec<DocBuf>) -> Self {
        self.pipeline = stages;
        self
    }

    /// Also wants the document before the change; it is kept from the handler's first start on.
    pub fn with_before(mut self) -> Self {
        self.before = true;
        self
    }

    /// A new handler begins with the oldest change that is still in the log, not with the next one.
    pub fn from_oldest(mut self) -> Self {
        self.from_oldest = true;
        self
    }

    /// Attempts after the first: 3 if not said.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.policy.max_retries = retries;
        self
    }

    /// Before the first retry, doubled for each further one: 1 s if not said.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.policy.retry_delay = delay;
        self
    }

    /// Of one attempt: 30 s if not said. The closure's future is dropped then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// How many changes, of different documents, are handled at once: 32 if not said.
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.policy.parallelism = parallelism.max(1);
        self
    }

    /// A change that fails for good is left out instead of parking its document's later changes.
    pub fn skip_failures(mut self) -> Self {
        self.policy.on_death = OnDeath::Skip;
        self
    }

    /// Starts the handler where it was, or at the next change if its name is new.
    ///
    /// # Errors
    /// `Invalid` for a filter or pipeline that cannot be parsed, or a name that is running already.
    pub async fn start<F, R>(self, call: F) -> Result<()>
    where
        F: Fn(Change) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<(), Failure>> + Send + 'static,
    {
        let engine = self.engine.clone();
        let plan = Arc::new(self.plan()?);
        let call = Arc::new(move |change| -> BoxFuture<'static, _> { Box::pin(call(change)) });
        let (db, name) = names(&self.name);
        let deliveries = engine.deliveries();
        let _changing = engine.sql().ddl.lock().await;
        if deliveries.find(db, &name).is_some() {
            return Err(Error::new(2, format!("a handler or sink \"{}\" is running already", self.name)));
        }
        let sink = SinkDefinition {
            db: db.to_owned(),
            uid: uid_of(&self.name),
            source: SourcePlan::Changes(Arc::clone(&plan)),
            url: format!("handler:{}", self.name),
            options: Default::default(),
            policy: self.policy,
            paused: false,
            created_ms: engine.clock().now_ms(),
            statement: String::new(),
            name,
        };
        let known = records::is_known(engine.store(), &sink)?;
        let start = if known { None } else { Some(start_position(&engine, self.from_oldest).await?) };
        deliveries.save(&sink, start, None).await.map_err(internal)?;
        deliveries.want_images(&sink, true);
        let threads = deliveries.handler_threads().map_err(internal)?;
        deliveries.start(Arc::new(sink), Arc::new(Closure { call, threads })).map_err(internal)
    }

    fn plan(&self) -> Result<ChangesPlan> {
        let context = Context { now_ms: self.engine.clock().now_ms(), ..Context::default() };
        let matcher = self.filter.as_ref().map(|filter| Matcher::parse(filter.as_doc(), &context)).transpose()?;
        let stages: Vec<RawDoc<'_>> = self.pipeline.iter().map(DocBuf::as_doc).collect();
        let pipeline = if stages.is_empty() { None } else { Some(Pipeline::parse(&stages, &context)?) };
        let stream = StreamDefinition {
            db: "handlers".to_owned(),
            name: self.name.clone(),
            scope: self.scope.clone(),
            images: Images { full_document: true, before_change: self.before, before_required: false },
            operation_types: self.operations.clone(),
            show_expanded_events: false,
            filter: None,
            filter_text: None,
            start: base::ClusterTime::ZERO,
            retention_ms: None,
            paused_at: None,
            statement: String::new(),
            options: Vec::new(),
            created_ms: context.now_ms,
        };
        let updated_fields = self.updated_fields.clone();
        Ok(ChangesPlan { stream: Arc::new(stream), updated_fields, matcher, pipeline })
    }
}

/// What stands for a database in the names of handlers among the sinks.
const HANDLERS: &str = "handlers";

fn names(name: &str) -> (&'static str, String) {
    (HANDLERS, name.to_owned())
}

/// A handler's memory is found by its name.
fn uid_of(name: &str) -> Uuid {
    let digest = ::delivery::digest(format!("handler\0{name}").as_bytes());
    Uuid(*digest.first_chunk().expect("a digest has 32 bytes"))
}

async fn start_position(engine: &Headwater, from_oldest: bool) -> Result<Position> {
    if from_oldest {
        return Ok(Position::at(engine.store().oldest_time().0));
    }
    let now = engine.store().write(|_| Ok(())).await?.time;
    Ok(Position::at(now.next().0))
}

fn internal(error: ::sql::SqlError) -> Error {
    Error::unavailable(error.message)
}

type Call = Arc<dyn Fn(Change) -> BoxFuture<'static, std::result::Result<(), Failure>> + Send + Sync>;

struct Closure {
    call: Call,
    /// Apart from those of sinks: a closure that blocks its thread holds up other closures at most.
    threads: tokio::runtime::Handle,
}

/// Ends a closure's future when its attempt is over.
struct Attempt(tokio::task::JoinHandle<std::result::Result<(), Failure>>);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl Target for Closure {
    async fn check(&self) -> std::result::Result<(), Fault> {
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> std::result::Result<(), Fault> {
        for event in &delivery.events {
            let change = Change { event: Arc::clone(event), attempt: delivery.attempt };
            // The closure itself may panic or block before it has made its future.
            let called = Arc::clone(&self.call);
            let mut attempt = Attempt(self.threads.spawn(async move { called(change).await }));
            let handled = (&mut attempt.0).await;
            let handled =
                handled.map_err(|_| Fault::failed("the handler panicked; the server's log has the details"))?;
            handled.map_err(|failure| match failure.is_final {
                true => Fault::refused(failure.message),
                false => Fault::failed(failure.message),
            })?;
        }
        Ok(())
    }
}

impl Headwater {
    /// A handler of changes, known by its name.
    ///
    /// ```
    /// use engine::{Failure, Headwater, Namespace, Options};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let db = Headwater::open(Options::new(dir.path()))?;
    /// let (heard, mut hear) = tokio::sync::mpsc::channel(1);
    /// db.handle("greet")
    ///     .collection("app", "users")
    ///     .operations(&["insert"])
    ///     .start(move |change| {
    ///         let heard = heard.clone();
    ///         async move {
    ///             let name = change.document().and_then(|user| user.get("name")?.as_str().map(str::to_owned));
    ///             heard.send(name.ok_or_else(|| Failure::refuse("a user without a name"))?).await?;
    ///             Ok(())
    ///         }
    ///     })
    ///     .await?;
    /// let ada = document::Doc::new().with("_id", 1).with("name", "Ada").to_buf();
    /// db.insert(Namespace::new("app", "users"), vec![ada]).await?;
    /// assert_eq!(hear.recv().await.as_deref(), Some("Ada"));
    /// # db.close();
    /// # Ok::<(), engine::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn handle(&self, name: &str) -> HandlerBuilder {
        HandlerBuilder {
            engine: self.clone(),
            name: name.to_owned(),
            scope: StreamScope::Cluster,
            operations: Vec::new(),
            updated_fields: Vec::new(),
            filter: None,
            pipeline: Vec::new(),
            before: false,
            from_oldest: false,
            policy: Policy::default(),
        }
    }

    /// Stops a handler and forgets its position and letters.
    pub async fn remove_handler(&self, name: &str) -> Result<()> {
        let (db, name) = names(name);
        let _changing = self.sql().ddl.lock().await;
        let Some(sink) = self.deliveries().find(db, &name) else { return Ok(()) };
        let engine = self.clone();
        let stopped = tokio::task::spawn_blocking(move || engine.deliveries().stop(db, &name)).await;
        stopped.map_err(|error| Error::unavailable(format!("stopping the handler failed: {error}")))?;
        self.deliveries().want_images(&sink, false);
        self.deliveries().forget(&sink).await.map_err(internal)
    }
}

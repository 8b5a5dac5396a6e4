//! The runtime as others hold it: commands into its thread, answers out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base::ClusterTime;
use changes::Hub;
use sql::SqlError;
use store::Store;
use tokio::sync::{mpsc, oneshot};

use super::{
    CATCH_UP, Command, Handle, Redefine, Reply, Runtime, Target, ViewRows, ViewStatus, Views, ViewsOptions,
    build_at_present,
};
use crate::checkpoint::StoreRecords;
use crate::checkpoint_writer::CheckpointWriter;
use crate::dead_letters::DeadLetter;
use crate::definition::{Definitions, ViewDefinition};
use crate::progress::{Build, Builds};
use crate::subscription::Subscription;
use crate::view::RunningView;

impl Views {
    /// Starts the runtime: restores every defined view from its checkpoint (or builds it), then
    /// follows the log.
    pub fn open(store: Store, hub: Hub, options: ViewsOptions, definitions: Definitions) -> Result<Self, SqlError> {
        let definitions = Arc::new(ArcSwap::from_pointee(definitions));
        let (commands, receiver) = mpsc::unbounded_channel();
        let builds = Builds::default();
        let records = options.records.unwrap_or_else(|| Arc::new(StoreRecords(store.clone())));
        let mut runtime = Runtime {
            store: store.clone(),
            clock: options.clock,
            definitions: definitions.clone(),
            views: Vec::new(),
            position: store.durable(),
            waiting: Vec::new(),
            blocked: Vec::new(),
            creators: Vec::new(),
            builds: builds.clone(),
            gate: Arc::default(),
            threads: Vec::new(),
            commands: commands.downgrade(),
            dirty: false,
            writer: CheckpointWriter::start(store.clone(), Arc::clone(&records))?,
            records,
        };
        runtime.restore()?;
        let from = runtime.position;
        let thread = std::thread::Builder::new()
            .name("views".into())
            .spawn(move || runtime.run(&hub, from, receiver))
            .map_err(|e| SqlError::new("58000", format!("cannot start the view runtime: {e}")))?;
        let thread = parking_lot::Mutex::new(Some(thread));
        Ok(Views(Arc::new(Handle { store, commands, definitions, builds, thread })))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn definitions(&self) -> Arc<Definitions> {
        self.0.definitions.load_full()
    }

    /// Replaces the definitions that names resolve to and streams filter by.
    pub fn set_definitions(&self, definitions: Definitions) {
        self.0.definitions.store(Arc::new(definitions));
    }

    pub(super) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Builds a view from its sources' past and keeps it running. Returns when it is up to date; meanwhile
    /// it is there as one that is being built, and nothing else waits for it.
    ///
    /// # Errors
    /// What ended the build, also that it was cancelled or the view dropped; then it is not there.
    pub async fn create(&self, definition: Arc<ViewDefinition>) -> Result<(), SqlError> {
        self.ask(|reply| Command::Create { definition, reply }).await
    }

    /// Gives a view another definition of the same query; `rebuild` makes its content anew.
    pub async fn alter(&self, definition: Arc<ViewDefinition>, rebuild: bool) -> Result<(), SqlError> {
        self.ask(|reply| Command::Alter { definition, rebuild, reply }).await
    }

    /// Views that are being built.
    pub fn builds(&self) -> &Builds {
        &self.0.builds
    }

    /// Rows that views left out, the oldest of each view first.
    pub async fn dead_letters(&self) -> Result<Vec<(Arc<ViewDefinition>, DeadLetter)>, SqlError> {
        self.ask(|reply| Command::DeadLetters { reply }).await
    }

    /// An anonymous query over streams and collections is built on a thread of its own; one over views
    /// is built between two ticks, where those stand still.
    pub(super) async fn start(&self, definition: Arc<ViewDefinition>) -> Result<RunningView, SqlError> {
        let mut view = RunningView::new(definition, false)?;
        if view.reads_views() {
            return Ok(view);
        }
        let (store, definitions) = (self.0.store.clone(), self.definitions());
        let (reply, answer) = oneshot::channel();
        let progress = CancelOnDrop(Build::of(&view.definition));
        let build = Arc::clone(&progress.0);
        std::thread::Builder::new()
            .name("view-build".into())
            .spawn(move || {
                let built = build_at_present(&store, &definitions, &mut view, &build).map(|()| view);
                let _ = reply.send(built);
            })
            .map_err(|e| SqlError::new("58000", format!("cannot start a thread to build the view: {e}")))?;
        answer.await.map_err(|_| SqlError::internal("building the view panicked"))?
    }

    pub async fn drop_view(&self, db: &str, name: &str) -> Result<(), SqlError> {
        let (db, name) = (db.to_owned(), name.to_owned());
        self.ask(|reply| Command::Drop { db, name, reply }).await
    }

    /// The rows of several views at one time, not before everything acknowledged so far is in.
    pub async fn read(&self, names: Vec<(String, String)>, at_least: ClusterTime) -> Result<ViewRows, SqlError> {
        let read = self.ask(|reply| Command::Read { names, at_least, reply });
        tokio::time::timeout(CATCH_UP, read)
            .await
            .map_err(|_| SqlError::new("57014", "the view has not caught up with its sources in time"))?
    }

    /// Follows a view. With `snapshot` the first progress has all its rows.
    pub async fn subscribe_view(&self, db: &str, name: &str, snapshot: bool) -> Result<Subscription, SqlError> {
        let target = Target::View { db: db.to_owned(), name: name.to_owned() };
        let at_least = self.0.store.durable();
        self.ask(|reply| Command::Subscribe { target, snapshot, at_least, reply }).await
    }

    /// Follows a query that is no view.
    pub async fn subscribe_query(
        &self,
        definition: Arc<ViewDefinition>,
        snapshot: bool,
    ) -> Result<Subscription, SqlError> {
        let view = self.start(definition).await?;
        let at_least = self.0.store.durable();
        self.ask(|reply| Command::Subscribe { target: Target::Query(Box::new(view)), snapshot, at_least, reply }).await
    }

    /// Every view's counters; `detailed` walks their state for its size.
    pub async fn status(&self, detailed: bool) -> Result<Vec<ViewStatus>, SqlError> {
        self.ask(|reply| Command::Status { detailed, reply }).await
    }

    /// Writes a checkpoint now.
    pub async fn checkpoint(&self) -> Result<(), SqlError> {
        self.ask(|reply| Command::Checkpoint { reply }).await
    }

    /// Pauses or resumes a stream between two ticks. Events since the pause reach the views that
    /// read the stream in the tick that resumes it.
    pub async fn redefine(&self, make: Redefine) -> Result<(), SqlError> {
        self.ask(|reply| Command::Redefine { make, reply }).await
    }

    /// Writes a last checkpoint, ends all subscriptions and stops the thread.
    pub fn close(&self) {
        let _ = self.0.commands.send(Command::Stop);
        if let Some(thread) = self.0.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// Nobody waits for the build any more.
struct CancelOnDrop(Arc<Build>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(super) fn stopped() -> SqlError {
    SqlError::new("57P01", "the server is shutting down")
}

//! Sinks that several processes share: each process knows them all, and delivers those whose lease it
//! holds.
//!
//! ```text
//!   every third of a lease:  renew what is held            another has it: end at once, write nothing
//!                            read the group's sinks        new, altered, gone: the same here
//!                            acquire what nobody holds     and what the log here reaches back to
//! ```
//!
//! # Not here
//! Leases, fences and the shared memory themselves (`delivery::group`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use ::sql::SqlError;
use async_trait::async_trait;
use base::ClusterTime;
use bytes::Bytes;
use delivery::Position;
use delivery::group::{Entry, Group, GroupError, GroupRecords, HeldLease, Published};
use delivery::runner::{Command, Lease, Memory, Records, RecordsError, Step, StoredLetter};
use document::DocBuf;
use rustc_hash::FxHashSet;

use super::definition::SinkDefinition;
use super::local::LocalRecords;
use super::status::{SinkStatus, State};
use super::{Deliveries, Running, journal};
use crate::sql::{ddl, definitions, interest};
use crate::{Headwater, Inner};

/// Letters shown anew in one commit.
const LETTERS_AT_ONCE: usize = 256;
/// How long a lease may take to be handed back when the process ends.
const RELEASE: Duration = Duration::from_secs(3);

pub(super) fn sql_error(error: GroupError) -> SqlError {
    match &error {
        GroupError::Exists(_) => SqlError::new("42710", error.to_string()),
        GroupError::Changed(_) => {
            SqlError::new("55000", error.to_string()).with_hint("Another process changed it meanwhile; try again.")
        }
        _ => SqlError::new("58000", error.to_string()),
    }
}

/// A name that no other process has, nor this one after a restart.
pub(super) fn holder() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "headwater" } else { host };
    let random = u32::from_le_bytes(base::random::os_bytes());
    format!("{host}:{}:{random:08x}", std::process::id())
}

/// The shared memory, and what people read of it here.
struct SharedRecords {
    shared: GroupRecords,
    local: LocalRecords,
}

impl SharedRecords {
    /// Shows the open letters here, which others may have written, and closes those that are none any more.
    async fn show_letters(&self) -> Result<(), RecordsError> {
        let mut open: FxHashSet<Position> = FxHashSet::default();
        let mut after = None;
        loop {
            let (letters, last) = self.shared.all_letters(after, LETTERS_AT_ONCE).await?;
            if letters.is_empty() {
                break;
            }
            open.extend(letters.iter().map(|letter| letter.position));
            let sink = Arc::clone(&self.local.sink);
            self.local.commit(move |txn| journal::letters(txn, &sink, &letters, txn.now_ms())).await?;
            after = last;
        }
        let (sink, open) = (Arc::clone(&self.local.sink), Arc::new(open));
        self.local.commit(move |txn| journal::close_letters(txn, sink.uid, |position| !open.contains(&position))).await
    }
}

#[async_trait]
impl Records for SharedRecords {
    async fn load(&self) -> Result<Memory, RecordsError> {
        let memory = self.shared.load().await?;
        self.show_letters().await?;
        Ok(memory)
    }

    async fn write(&self, step: Arc<Step>) -> Result<(), RecordsError> {
        self.shared.write(Arc::clone(&step)).await?;
        let own = Arc::new(self.local.share());
        self.local.commit(move |txn| own.journal(txn, &step)).await
    }

    async fn letters(&self, lane: &Bytes, limit: usize) -> Result<Vec<StoredLetter>, RecordsError> {
        self.shared.letters(lane, limit).await
    }

    async fn discard(&self, letters: &[(Bytes, Position)]) -> Result<usize, RecordsError> {
        let count = self.shared.discard(letters).await?;
        let (uid, gone) = (self.local.sink.uid, letters.to_vec());
        let mark = move |txn: &mut store::WriteTxn| {
            let now_ms = txn.now_ms();
            journal::mark_letters(txn, uid, gone.iter().map(|(_, position)| *position), "discarded", now_ms)
        };
        self.local.commit(mark).await?;
        Ok(count)
    }
}

type Key = (String, String);

impl Deliveries {
    /// Is this sink the group's?
    pub(super) fn shares(&self, sink: &SinkDefinition) -> Option<&Arc<Group>> {
        self.group.as_ref().filter(|_| !sink.statement.is_empty())
    }

    /// What a group cannot share.
    pub fn check_shared(&self, sink: &SinkDefinition) -> Result<(), SqlError> {
        if self.shares(sink).is_none() {
            return Ok(());
        }
        if !sink.reads_log() {
            return Err(SqlError::unsupported("a sink of a view in a group of processes")
                .with_hint("Each process has views of its own. Start one without --group for this sink."));
        }
        let scheme = sink.url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if scheme == "topic" {
            return Err(SqlError::unsupported("a sink into a topic in a group of processes")
                .with_hint("Browsers that follow another process than the one that delivers would see nothing."));
        }
        if scheme == "file" {
            return Err(SqlError::unsupported("a sink into a file in a group of processes")
                .with_hint("The file would be on whichever machine delivers at the time."));
        }
        Ok(())
    }

    /// Tells the group of a definition; `start` and `earlier` as in `save`.
    pub(super) async fn publish(
        &self,
        group: &Group,
        sink: &SinkDefinition,
        start: Option<Position>,
        earlier: Option<base::Uuid>,
    ) -> Result<(), SqlError> {
        let definitions = self.around.views.definitions();
        let stream = sink.stream().and_then(|(db, name)| definitions.stream(db, name));
        let stream = stream.ok_or_else(|| SqlError::internal("a shared sink without a stream"))?;
        let (definition, stream) = (sink.encode(), definitions::stored_stream(stream, 0).encode());
        let published =
            Published { db: &sink.db, name: &sink.name, uid: sink.uid, definition: &definition, stream: &stream };
        let told = match (start, earlier) {
            (Some(low), None) => group.create(&published, low).await,
            (Some(low), Some(earlier)) => group.alter(&published, Some((earlier, low))).await,
            (None, _) => group.alter(&published, None).await,
        };
        told.map_err(sql_error)
    }

    /// Begins to take part.
    pub(crate) fn follow_group(&self, engine: Weak<Inner>) {
        let Some(group) = &self.group else { return };
        let (following, renewing) = (Arc::clone(group), Arc::clone(group));
        let (kick, holder) = (Arc::clone(&self.kick), engine.clone());
        let started = self.spawn(follow(engine, following, kick)).and(self.spawn(keep_leases(holder, renewing)));
        if let Err(error) = started {
            tracing::error!(%error, "this process takes no part in its group");
        }
    }

    fn lease_of(&self, key: &Key) -> Option<Arc<HeldLease>> {
        self.held.lock().get(key).cloned()
    }

    /// Another process has the lease: what is under way here ends at once.
    fn abandon(&self, key: &Key) {
        let lease = self.held.lock().remove(key);
        if let Some(lease) = lease {
            lease.give_up();
            tracing::warn!(sink = format!("{}.{}", key.0, key.1), "the lease was lost");
        }
        if let Some(running) = self.running.lock().get(key) {
            let _ = running.commands.send(Command::Abandon);
        }
    }

    /// Hands the leases of these sinks back; waits a little for that.
    pub(super) fn release(&self, keys: impl IntoIterator<Item = Key>) {
        let Some(group) = &self.group else { return };
        let leases: Vec<Arc<HeldLease>> = {
            let mut held = self.held.lock();
            keys.into_iter().filter_map(|key| held.remove(&key)).collect()
        };
        if leases.is_empty() {
            return;
        }
        let (group, (done, wait)) = (Arc::clone(group), crossbeam_channel::bounded::<()>(0));
        let released = self.spawn(async move {
            for lease in leases {
                if let Err(error) = group.release(&lease).await {
                    tracing::warn!(%error, "a lease was not handed back; it ends by itself");
                }
            }
            drop(done);
        });
        if released.is_ok() {
            let _ = wait.recv_timeout(RELEASE);
        }
    }

    /// Delivers from now on what this process was given the lease of.
    fn take_over(&self, group: &Arc<Group>, entry: &Entry, lease: HeldLease) -> Result<(), SqlError> {
        let key = (entry.db.clone(), entry.name.clone());
        let lease = Arc::new(lease);
        let (sink, status) = match self.running.lock().get(&key) {
            Some(running) => (Arc::clone(&running.sink), Arc::clone(&running.status)),
            None => return Ok(()),
        };
        let target = self.target(&sink)?;
        tracing::info!(sink = sink.full_name(), fence = lease.fence(), "delivering for the group");
        status.holds(&group.holder, lease.fence(), entry.delivered);
        self.held.lock().insert(key.clone(), Arc::clone(&lease));
        let local = LocalRecords {
            sink: Arc::clone(&sink),
            store: self.around.store.clone(),
            status: Arc::clone(&status),
            captured: self.around.captured,
        };
        let records = SharedRecords { shared: GroupRecords::new(Arc::clone(group), Arc::clone(&lease)), local };
        let running = self.run(sink, target, Arc::new(records), lease, status)?;
        self.running.lock().insert(key, running);
        Ok(())
    }

    /// Knows a sink of the group without delivering it.
    pub(super) fn stand_by(&self, sink: Arc<SinkDefinition>, status: Arc<SinkStatus>) {
        let (commands, _) = tokio::sync::mpsc::unbounded_channel();
        let (_, ended) = crossbeam_channel::bounded::<()>(0);
        status.stands_by("", 0, 0);
        let key = (sink.db.clone(), sink.name.clone());
        self.running.lock().insert(key, Running { sink, status, commands, ended });
        self.kick.notify_one();
    }

    /// The shared sinks that are known here.
    fn shared_here(&self) -> Vec<(Key, Arc<SinkDefinition>)> {
        let running = self.running.lock();
        let shared = running.iter().filter(|(_, running)| self.is_shared(&running.sink));
        shared.map(|(key, running)| (key.clone(), Arc::clone(&running.sink))).collect()
    }

    /// Does the log here reach back to the sink's position, with everything that its stream has?
    fn reaches(&self, sink: &SinkDefinition, source: Option<&capture::Source>, low: Position) -> bool {
        let definitions = self.around.views.definitions();
        let stream = sink.stream().and_then(|(db, name)| definitions.stream(db, name));
        let since = source.zip(stream).map(|(source, stream)| source.captured_since(&interest::need_of(stream)));
        self.around.hub.source().removed_up_to().is_none_or(|removed| removed.0 < low.time)
            && since.is_some_and(|since| since.0 <= low.time)
    }

    /// What is known of a sink that another may deliver, and whether this process should.
    fn look_at(&self, entry: &Entry, source: Option<&capture::Source>) -> bool {
        let key = (entry.db.clone(), entry.name.clone());
        let Some((sink, status, over)) = self.running.lock().get(&key).map(|running| {
            let over = running.ended.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected);
            (Arc::clone(&running.sink), Arc::clone(&running.status), over)
        }) else {
            return false;
        };
        if let Some(lease) = self.lease_of(&key) {
            if !over {
                return false;
            }
            // One that failed keeps its lease: it would fail elsewhere too, and waits for RESUME.
            if status.snapshot().state == State::Failed {
                return false;
            }
            lease.give_up();
            self.held.lock().remove(&key);
        }
        if !over {
            return false;
        }
        self.around.store.pin_log(&sink.pin_name(), Some(ClusterTime(entry.low.time)));
        status.stands_by(&entry.holder, entry.fence, entry.delivered);
        if entry.free && !self.reaches(&sink, source, entry.low) {
            delivery::runner::Observer::waits(&*status, "the log of this process begins after the sink's position");
            return false;
        }
        entry.free
    }
}

/// Reads what the group shares, and takes what nobody holds.
async fn follow(engine: Weak<Inner>, group: Arc<Group>, kick: Arc<tokio::sync::Notify>) {
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Headwater { inner };
        if engine.deliveries().is_closing() {
            return;
        }
        if let Err(problem) = look(&engine, &group).await {
            tracing::warn!(group = group.name, problem, "the group's sinks cannot be read");
        }
        drop(engine);
        tokio::select! {
            () = kick.notified() => {}
            () = tokio::time::sleep(group.lease / 3) => {}
        }
    }
}

async fn look(engine: &Headwater, group: &Arc<Group>) -> Result<(), String> {
    let deliveries = engine.deliveries();
    let mut entries = group.entries().await.map_err(|error| error.to_string())?;
    if differs(engine, &entries) {
        let _changing = engine.sql().ddl.lock().await;
        // Read again: what differed may have been a statement under way here.
        entries = group.entries().await.map_err(|error| error.to_string())?;
        reconcile(engine, &entries).await;
    }
    for entry in entries {
        if deliveries.is_closing() || !deliveries.look_at(&entry, engine.source()) {
            continue;
        }
        let clock = &engine.inner.options.clock;
        let lease = group.acquire((&entry.db, &entry.name, entry.uid), clock).await.map_err(|e| e.to_string())?;
        if let Some(lease) = lease {
            deliveries.take_over(group, &entry, lease).map_err(|error| error.message)?;
        }
    }
    Ok(())
}

fn differs(engine: &Headwater, entries: &[Entry]) -> bool {
    let deliveries = engine.deliveries();
    let here = deliveries.shared_here();
    here.len() != entries.len()
        || entries.iter().any(|entry| {
            !here.iter().any(|((db, name), sink)| {
                *db == entry.db && *name == entry.name && sink.uid == entry.uid && sink.encode() == entry.definition
            })
        })
}

/// Makes the sinks here those of the group. The caller holds the definitions.
async fn reconcile(engine: &Headwater, entries: &[Entry]) {
    let deliveries = engine.deliveries();
    for ((db, name), sink) in deliveries.shared_here() {
        if !entries.iter().any(|entry| entry.db == db && entry.name == name) {
            stop(engine, &db, &name).await;
            if let Err(error) = deliveries.forget_here(&sink).await {
                tracing::error!(sink = sink.full_name(), %error, "a sink that is gone from the group");
            }
        }
    }
    for entry in entries {
        let known = deliveries.find(&entry.db, &entry.name);
        if known.as_ref().is_some_and(|known| known.uid == entry.uid && known.encode() == entry.definition) {
            continue;
        }
        if known.as_ref().is_some_and(|known| !deliveries.is_shared(known)) {
            tracing::error!(sink = entry.name, "a sink of this process has the name of one of the group");
            continue;
        }
        if let Err(error) = adopt(engine, entry, known).await {
            tracing::error!(sink = entry.name, %error, "a sink of the group cannot be defined here");
        }
    }
}

async fn adopt(engine: &Headwater, entry: &Entry, known: Option<Arc<SinkDefinition>>) -> Result<(), SqlError> {
    let deliveries = engine.deliveries();
    adopt_stream(engine, &entry.stream).await?;
    let definitions = engine.sql().views().definitions();
    let sink = SinkDefinition::decode(&entry.definition, |db| deliveries.catalog(db, &definitions))?;
    let target = deliveries.target(&sink)?;
    if known.is_some() {
        stop(engine, &entry.db, &entry.name).await;
    }
    let earlier = known.map(|known| known.uid).filter(|uid| *uid != sink.uid);
    deliveries.save_here(&sink, Some(entry.low), earlier).await?;
    deliveries.start(Arc::new(sink), target)
}

async fn adopt_stream(engine: &Headwater, stored: &DocBuf) -> Result<(), SqlError> {
    let stored = views::definition::StoredDefinition::decode(stored)?;
    match engine.sql().views().definitions().stream(&stored.db, &stored.name) {
        Some(_) => Ok(()),
        None => ddl::adopt(engine, stored).await,
    }
}

async fn stop(engine: &Headwater, db: &str, name: &str) {
    let (engine, db, name) = (engine.clone(), db.to_owned(), name.to_owned());
    let _ = tokio::task::spawn_blocking(move || engine.deliveries().stop(&db, &name)).await;
}

/// Renews what is held. Apart from `follow`, which may wait for a sink to stop.
async fn keep_leases(engine: Weak<Inner>, group: Arc<Group>) {
    loop {
        tokio::time::sleep(group.lease / 3).await;
        let Some(inner) = engine.upgrade() else { return };
        let deliveries = &inner.deliveries;
        let held: Vec<(Key, Arc<HeldLease>)> =
            deliveries.held.lock().iter().map(|(key, lease)| (key.clone(), Arc::clone(lease))).collect();
        let renewals = held.iter().map(|(key, lease)| async {
            match tokio::time::timeout(group.lease / 3, group.renew(lease)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => deliveries.abandon(key),
                // Out of reach: another may have it once it has run out.
                Ok(Err(_)) | Err(_) if !lease.is_held() => deliveries.abandon(key),
                Ok(Err(error)) => tracing::warn!(%error, "a lease was not renewed yet"),
                Err(_) => tracing::warn!("a lease was not renewed yet: the deployment does not answer"),
            }
        });
        futures::future::join_all(renewals).await;
    }
}

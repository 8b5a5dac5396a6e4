//! The capturing thread: connect, follow the change stream, commit, and begin again when it breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::ClusterTime;
use bytes::Bytes;
use changes::ResumeToken;
use document::{DocBuf, Raw, RawDoc};
use futures::StreamExt;
use mongodb::Client;
use mongodb::raw_batch_cursor::RawBatchCursor;
use rustc_hash::FxHashMap;
use store::{Namespace, Operation, Pending};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::apply::apply;
use crate::assemble::{Assembler, BatchEnd};
use crate::failure::Failure;
use crate::load::Loader;
use crate::lost::begin_again;
use crate::mirror;
use crate::needs::{self, Need};
use crate::options::HistoryLost;
use crate::position::{Position, save_beginning};
use crate::snapshot::apply_chunk;
use crate::source::{LookUp, Shared};
use crate::status::SourceState;
use crate::translate::{Captured, Translated, Translator, gap};
use crate::upstream::{
    BATCH_EVENTS, Scope, Upstream, client_options, id_to_bson, owned, reply_cursor, reply_documents,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the rest of a commit is waited for; longer than a round trip and a busy server.
const HOLD: Duration = Duration::from_millis(30);
/// Commits on their way to the disk before more is read from the deployment.
const COMMITS_IN_FLIGHT: usize = 4;
/// How often a quiet source's position is written down.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the deployment is asked how far its own log reaches back.
const WINDOW_EVERY: Duration = Duration::from_secs(30);
/// The window is too short when it is below this.
const WINDOW_ALARM_MS: i64 = 60 * 60 * 1000;
/// Documents looked up with one command.
const LOOK_UP_BATCH: usize = 1000;
/// A reply of at least this size may have been cut by its size.
const LARGE_REPLY: usize = 1024 * 1024;
/// Questions of clients that are answered at the same time.
const LOOK_UPS_AT_ONCE: usize = 64;
/// How long a question waits for the first connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long cursors may take to be closed when capturing ends.
const CLOSING: Duration = Duration::from_secs(2);

/// Runs until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, look_ups: mpsc::Receiver<LookUp>, mut stopped: watch::Receiver<bool>) {
    let upstream = watch::Sender::new(None::<Upstream>);
    let answering = tokio::spawn(answer(look_ups, upstream.subscribe()));
    let mut waiting = stopped.clone();
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {}
        () = async {
            keep_capturing(&shared, &upstream).await;
            let _ = waiting.wait_for(|stop| *stop).await;
        } => {}
    }
    answering.abort();
    let last = upstream.borrow().clone();
    if let Some(upstream) = last {
        // Lets the dropped cursor be closed at the server.
        let _ = tokio::time::timeout(CLOSING, upstream.client.shutdown()).await;
    }
}

/// Returns only when nothing can be captured any more.
async fn keep_capturing(shared: &Arc<Shared>, connected: &watch::Sender<Option<Upstream>>) {
    let mut pause = FIRST_PAUSE;
    let mut client: Option<Client> = None;
    let mut recover = None;
    if shared.options.only_needed {
        shared.needs.until_complete().await;
    }
    loop {
        let opened_before = shared.status.lock().events;
        let began = Instant::now();
        let failure = match capture(shared, connected, &mut client, recover.take()).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let captured = shared.status.lock().events > opened_before || began.elapsed() > LONGEST_PAUSE;
        if captured {
            pause = FIRST_PAUSE;
        }
        match failure {
            Failure::Wider => continue,
            Failure::Passing(problem) => {
                report(shared, SourceState::Connecting, &problem);
            }
            Failure::HistoryLost(problem) if shared.options.on_history_lost != HistoryLost::Fail => {
                report(shared, SourceState::Connecting, &problem);
                recover = Some(problem);
            }
            Failure::HistoryLost(problem) => {
                let problem = format!(
                    "{problem}. Restart with --on-history-lost resnapshot (compare the mirrored collections and go \
                     on) or gap (only mark what is missing)"
                );
                report(shared, SourceState::Failed, &problem);
                return;
            }
            Failure::Final(problem) => {
                report(shared, SourceState::Failed, &problem);
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn report(shared: &Shared, state: SourceState, problem: &str) {
    let news = {
        let mut status = shared.status.lock();
        let news = status.problem.as_deref() != Some(problem);
        status.state = state;
        status.problem = Some(problem.to_owned());
        news
    };
    // The same sentence every few seconds would bury the rest.
    match state {
        _ if !news => {}
        SourceState::Failed => tracing::error!("capturing has stopped: {problem}"),
        _ => tracing::warn!("capturing waits: {problem}"),
    }
    shared.tell();
}

/// Answers questions to the deployment, some at a time.
async fn answer(mut look_ups: mpsc::Receiver<LookUp>, upstream: watch::Receiver<Option<Upstream>>) {
    let places = Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE));
    while let Some(look_up) = look_ups.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let upstream = upstream.clone();
        tokio::spawn(async move {
            answer_one(look_up, upstream).await;
            drop(place);
        });
    }
}

async fn answer_one(look_up: LookUp, upstream: watch::Receiver<Option<Upstream>>) {
    let upstream = connection(upstream).await;
    match look_up {
        LookUp::Document { namespace, key, reply } => {
            let found = match upstream {
                Ok(upstream) => look_up_one(&upstream, &namespace, &key).await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(found);
        }
        LookUp::Present { reply } => {
            let found = match upstream {
                Ok(upstream) => upstream.present().await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(found);
        }
        LookUp::Collection { namespace, reply } => {
            let found = match upstream {
                Ok(upstream) => upstream.has_collection(&namespace).await,
                Err(failure) => Err(failure),
            };
            let _ = reply.send(found);
        }
    }
}

/// The connection, which may only just be made.
async fn connection(mut upstream: watch::Receiver<Option<Upstream>>) -> Result<Upstream, Failure> {
    let made = tokio::time::timeout(CONNECTING, upstream.wait_for(Option::is_some)).await;
    let made = made.ok().and_then(Result::ok).and_then(|upstream| upstream.clone());
    made.ok_or_else(|| Failure::Passing("the source is not connected".to_owned()))
}

async fn look_up_one(upstream: &Upstream, namespace: &Namespace, key: &DocBuf) -> Result<Option<DocBuf>, Failure> {
    let ids = id_to_bson(key)?.into_iter().collect();
    Ok(upstream.look_up(namespace, ids).await?.into_iter().next())
}

enum Never {}

/// One connection's worth of capturing.
async fn capture(
    shared: &Arc<Shared>,
    connected: &watch::Sender<Option<Upstream>>,
    client: &mut Option<Client>,
    recover: Option<String>,
) -> Result<Never, Failure> {
    let ready = connect(shared, client).await?;
    let stored = Position::load(&snapshot(shared)?).map_err(|error| Failure::store(&error))?;
    if let Some(stored) = stored.as_ref().filter(|stored| stored.cluster != ready.identity.cluster) {
        return Err(Failure::Final(format!(
            "the data directory holds changes of \"{}\", but --source is \"{}\"; use another --data-dir",
            stored.cluster, ready.identity.cluster
        )));
    }
    // The first time, questions wait until there is a cursor: a stream that was told of the present before
    // would miss what happened until then.
    if stored.is_some() {
        connected.send_replace(Some(ready.clone()));
    }
    let resume = stored.as_ref().filter(|_| recover.is_none());
    let (needs, needs_version) = shared.needs.current();
    let open = OpenCursor::new(shared, needs_version);
    let scope = Scope { options: &shared.options, needs: &needs };
    let mut cursor = ready.watch(scope, resume.map(|position| &position.token)).await?;
    let first = next_reply(&mut cursor).await?;
    let start = start_position(&first, &ready, resume)?;
    if let Some(reason) = recover {
        let from = stored.as_ref().map_or(ClusterTime::ZERO, |stored| stored.time);
        skip(shared, from, &start, &reason).await?;
    } else if stored.is_none() {
        let position = start.clone();
        let saved = shared.store.write(move |txn| {
            save_beginning(txn, position.time.next());
            apply(txn, Vec::new(), &position)
        });
        saved.await.map_err(|error| Failure::store(&error))?;
        *shared.beginning.write() = Some(start.time.next());
        fulfil(shared, &needs, start.time).await?;
        connected.send_replace(Some(ready.clone()));
    }
    if stored.is_some() {
        fulfil(shared, &needs, start.time).await?;
    }
    {
        let mut status = shared.status.lock();
        status.state = SourceState::Capturing;
        status.problem = None;
        status.cursors_opened += 1;
        status.captured = start.time;
    }
    tracing::info!(cluster = ready.identity.cluster, version = ready.identity.version, "capturing changes");
    shared.tell();
    let began = ResumeToken::parse(start.token.as_doc()).map_or(start.time, |token| token.cluster_time());
    let mut session = Session {
        shared,
        translator: Translator::new(ready.identity.has_recorded_images()),
        loader: Loader::new(ready.clone(), start.time),
        upstream: &ready,
        assembler: Assembler::default(),
        position: start,
        in_flight: VecDeque::new(),
        written: Instant::now(),
        window_asked: None,
        began,
    };
    session.reply(&first).await?;
    while shared.needs.version() == needs_version {
        session.step(&mut cursor).await?;
    }
    session.settle().await?;
    drop(open);
    Err(Failure::Wider)
}

/// While it lives, a cursor is open, or may be.
struct OpenCursor<'a>(&'a Shared);

impl<'a> OpenCursor<'a> {
    fn new(shared: &'a Shared, version: u64) -> Self {
        shared.needs.opened(Some(version));
        OpenCursor(shared)
    }
}

impl Drop for OpenCursor<'_> {
    fn drop(&mut self) {
        self.0.needs.opened(None);
    }
}

/// Writes down since when what is needed has been captured.
async fn fulfil(shared: &Shared, needs: &[Need], position: ClusterTime) -> Result<(), Failure> {
    if !shared.options.only_needed {
        return Ok(());
    }
    let fulfilled = shared.needs.fulfil(needs, position);
    let saved = shared.store.write(move |txn| {
        needs::save(txn, &fulfilled);
        Ok(())
    });
    saved.await.map_err(|error| Failure::store(&error)).map(|_| ())
}

/// Connects, or uses the connection that there is; the driver heals its own sockets.
async fn connect(shared: &Shared, client: &mut Option<Client>) -> Result<Upstream, Failure> {
    if client.is_none() {
        let options = client_options(&shared.options.uri, &shared.primary).await?;
        *client = Some(Client::with_options(options).map_err(|error| Failure::driver(&error, "connecting"))?);
    }
    let client = client.clone().expect("it was just made");
    let upstream = Upstream::identify(client).await?;
    *shared.hello.write() = Some(Arc::clone(&upstream.identity.hello));
    let mut status = shared.status.lock();
    status.cluster.clone_from(&upstream.identity.cluster);
    status.version.clone_from(&upstream.identity.version);
    status.limits = upstream.identity.limits();
    Ok(upstream)
}

fn snapshot(shared: &Shared) -> Result<store::Snapshot, Failure> {
    shared.store.snapshot().map_err(|error| Failure::store(&error))
}

/// Marks in the log what is missing between the last captured event and where the cursor begins.
async fn skip(shared: &Shared, from: ClusterTime, start: &Position, reason: &str) -> Result<(), Failure> {
    let as_events = shared.options.on_history_lost == HistoryLost::Resnapshot;
    let (position, reason) = (start.clone(), reason.to_owned());
    let written = shared.store.write(move |txn| {
        let gap = gap(from, position.time, txn.now_ms(), &reason);
        begin_again(txn, gap, &position, as_events)
    });
    written.await.map_err(|error| Failure::store(&error))?;
    shared.status.lock().gaps += 1;
    tracing::warn!(%from, to = %start.time, "changes are missing: a gap has been put into the log");
    shared.mirrors_changed();
    Ok(())
}

/// The next reply; its events are parts of it, so it lives as long as they do.
async fn next_reply(cursor: &mut RawBatchCursor) -> Result<Bytes, Failure> {
    match cursor.next().await {
        Some(Ok(batch)) => Ok(Bytes::copy_from_slice(batch.as_raw_document().as_bytes())),
        Some(Err(error)) => Err(Failure::driver(&error, "reading the change stream")),
        None => Err(Failure::Passing("the source closed the change stream".to_owned())),
    }
}

/// Where a cursor begins: at the position it was opened with, or where the first reply says.
fn start_position(first: &[u8], upstream: &Upstream, resume: Option<&Position>) -> Result<Position, Failure> {
    if let Some(resume) = resume {
        return Ok(resume.clone());
    }
    let token = post_batch_token(first)?.ok_or_else(|| Failure::reply("a change stream without its token"))?;
    let begun = ResumeToken::parse(token.as_doc()).map_err(Failure::reply)?.cluster_time();
    // Everything before the mark, which is now; nothing at its time has been read.
    let time = ClusterTime(begun.0.saturating_sub(1));
    Ok(Position { token, time, cluster: upstream.identity.cluster.clone() })
}

fn post_batch_token(reply: &[u8]) -> Result<Option<DocBuf>, Failure> {
    reply_cursor(reply)?.get("postBatchResumeToken").and_then(Raw::as_document).map(owned).transpose()
}

/// An open cursor and what came of it so far.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    upstream: &'a Upstream,
    translator: Translator,
    assembler: Assembler,
    /// Everything up to here has been handed to the store.
    position: Position,
    loader: Loader,
    in_flight: VecDeque<Pending<()>>,
    /// When the position was last written down.
    written: Instant,
    window_asked: Option<Instant>,
    /// The time of the token that the cursor was opened with.
    began: ClusterTime,
}

impl Session<'_> {
    async fn step(&mut self, cursor: &mut RawBatchCursor) -> Result<(), Failure> {
        self.load_mirrors().await?;
        let holding = self.assembler.is_holding();
        let has_room = self.loader.has_room();
        tokio::select! {
            biased;
            read = self.loader.next(), if has_room => self.loader.take(read)?,
            reply = next_reply(cursor) => {
                let reply = reply?;
                self.reply(&reply).await?;
            }
            () = tokio::time::sleep(HOLD), if holding => {
                let events = self.assembler.flush();
                self.write(events, None).await?;
            }
            () = self.shared.wake.notified() => {}
        }
        self.place_chunks().await
    }

    /// Takes in one reply of the change stream.
    async fn reply(&mut self, reply: &Bytes) -> Result<(), Failure> {
        let mut events = Vec::new();
        let mut invalidated = None;
        let (mut count, mut skipped) = (0, 0);
        let mut passed = None;
        for event in reply_documents(reply)? {
            count += 1;
            match self.translator.translate(reply.slice_ref(event.as_bytes())).map_err(Failure::reply)? {
                Translated::Entry(captured) => events.push(*captured),
                Translated::Invalidate(token) => invalidated = Some(token),
                Translated::Skipped(token) => {
                    skipped += 1;
                    passed = Some(token);
                }
                Translated::Part => {}
            }
        }
        self.shared.status.lock().skipped += skipped;
        self.look_up(&mut events).await?;
        let token = post_batch_token(reply)?;
        let end = self.batch_end(count, reply.len(), token.as_ref());
        let events = self.assembler.take(events, end);
        let complete = !self.assembler.is_holding();
        let after = token.or(passed).filter(|_| complete);
        self.write(events, after).await?;
        self.note_lag(reply);
        self.ask_window().await;
        match invalidated {
            None => Ok(()),
            Some(token) => {
                // The database was dropped. What is made under its name again is seen after this token.
                self.write(Vec::new(), Some(token)).await?;
                self.settle().await?;
                Err(Failure::Passing("the captured database was dropped".to_owned()))
            }
        }
    }

    fn batch_end(&self, count: usize, bytes: usize, token: Option<&DocBuf>) -> BatchEnd {
        let token = token.and_then(|token| ResumeToken::parse(token.as_doc()).ok());
        match token {
            Some(token) if token.facts().is_high_water_mark => BatchEnd::Complete(self.mark_time(&token)),
            _ if self.upstream.identity.sharded => BatchEnd::Cut,
            _ if count >= BATCH_EVENTS as usize || bytes >= LARGE_REPLY => BatchEnd::Cut,
            _ => BatchEnd::Drained,
        }
    }

    /// What a high-water mark promises: all before its time, and on a replica set, whose marks name
    /// what has been read, its time too.
    fn mark_time(&self, mark: &ResumeToken) -> ClusterTime {
        // The mark that a cursor began with promises nothing of its own time: nothing was read yet.
        let begun = mark.cluster_time() <= self.began;
        let one = u64::from(begun || self.upstream.identity.sharded);
        ClusterTime(mark.cluster_time().0.saturating_sub(one))
    }

    /// Gives updates whose document the deployment did not record the present one, where needed.
    async fn look_up(&self, events: &mut [Captured]) -> Result<(), Failure> {
        let mut wanted: FxHashMap<Namespace, Vec<usize>> = FxHashMap::default();
        for (at, captured) in events.iter().enumerate() {
            if let Operation::Update { document: None, .. } = &captured.entry.operation
                && self.shared.wants_image(&captured.entry.namespace)
            {
                wanted.entry(captured.entry.namespace.clone()).or_default().push(at);
            }
        }
        for (namespace, places) in wanted {
            for places in places.chunks(LOOK_UP_BATCH) {
                self.look_up_in(events, &namespace, places).await?;
            }
        }
        Ok(())
    }

    async fn look_up_in(
        &self,
        events: &mut [Captured],
        namespace: &Namespace,
        places: &[usize],
    ) -> Result<(), Failure> {
        let mut ids = Vec::with_capacity(places.len());
        for at in places {
            if let Operation::Update { key, .. } = &events[*at].entry.operation {
                ids.extend(id_to_bson(key)?);
            }
        }
        let found = self.upstream.look_up(namespace, ids).await?;
        let by_id: FxHashMap<Vec<u8>, &DocBuf> =
            found.iter().filter_map(|document| Some((identity(document.as_doc())?, document))).collect();
        for at in places {
            let captured = &mut events[*at];
            captured.exact = false;
            if let Operation::Update { key, document, .. } = &mut captured.entry.operation {
                *document = identity(key.as_doc()).and_then(|id| by_id.get(&id)).map(|found| (*found).clone());
            }
        }
        Ok(())
    }

    /// Hands events and the position after them to the store.
    async fn write(&mut self, events: Vec<Captured>, after: Option<DocBuf>) -> Result<(), Failure> {
        let before = self.position.time;
        if let Some(last) = events.last() {
            self.position.token = last.resume.clone();
            self.position.time = self.position.time.max(last.entry.position.time);
        }
        if let Some(token) = after {
            if let Ok(parsed) = ResumeToken::parse(token.as_doc()) {
                let is_mark = parsed.facts().is_high_water_mark;
                let time = if is_mark { self.mark_time(&parsed) } else { parsed.cluster_time() };
                self.position.time = self.position.time.max(time);
            }
            self.position.token = token;
        }
        let moved = self.position.time > before && self.written.elapsed() >= HEARTBEAT;
        if events.is_empty() && !moved {
            return Ok(());
        }
        self.written = Instant::now();
        self.loader.see(&events);
        self.loader.moved(self.position.time);
        self.count(events.len() as u64);
        let bytes = events.iter().map(|captured| size_of::<Captured>() + captured_bytes(captured)).sum();
        let position = self.position.clone();
        let dropped = events.iter().any(|captured| !changes_document(&captured.entry.operation));
        let pending = self.shared.store.write_sized(bytes, move |txn| apply(txn, events, &position));
        self.in_flight.push_back(pending);
        if dropped {
            self.settle().await?;
            self.shared.mirrors_changed();
        }
        while self.in_flight.len() > COMMITS_IN_FLIGHT {
            self.settle_one().await?;
        }
        Ok(())
    }

    fn count(&self, events: u64) {
        let mut status = self.shared.status.lock();
        status.events += events;
        status.captured = self.position.time;
        if let Some(token) = self.position.token.get("_data").and_then(Raw::as_str) {
            status.token.clear();
            status.token.push_str(token);
        }
    }

    async fn settle_one(&mut self) -> Result<(), Failure> {
        if let Some(pending) = self.in_flight.pop_front() {
            pending.await.map_err(|error| Failure::store(&error))?;
        }
        Ok(())
    }

    /// Waits until everything handed to the store is durable.
    async fn settle(&mut self) -> Result<(), Failure> {
        while !self.in_flight.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// Begins to load mirrors that are not complete.
    async fn load_mirrors(&mut self) -> Result<(), Failure> {
        let waiting: Vec<Namespace> = {
            let status = self.shared.status.lock();
            let incomplete = status.mirrors.iter().filter(|mirror| mirror.state != mirror::MirrorState::Live);
            incomplete.map(|mirror| Namespace::new(mirror.db.as_str(), mirror.collection.as_str())).collect()
        };
        for namespace in waiting {
            if !self.loader.may_start(&namespace) {
                continue;
            }
            self.settle().await?;
            let record = mirror::load(&snapshot(self.shared)?, &namespace).map_err(|error| Failure::store(&error))?;
            let Some(mut record) = record.filter(|record| record.state != mirror::MirrorState::Live) else { continue };
            if record.last.is_none() && record.loaded == 0 {
                record.estimated = self.upstream.estimated_count(&namespace).await?;
                let (name, begun) = (namespace.clone(), record.clone());
                let saved = self.shared.store.write(move |txn| {
                    begun.save(txn, &name);
                    Ok(())
                });
                saved.await.map_err(|error| Failure::store(&error))?;
            }
            self.loader.start(namespace, &record);
        }
        Ok(())
    }

    /// Puts chunks whose time has come into their mirrors.
    async fn place_chunks(&mut self) -> Result<(), Failure> {
        let mut placed = false;
        while let Some(chunk) = self.loader.due(self.position.time) {
            let (namespace, end) = (chunk.namespace.clone(), chunk.end().cloned());
            self.settle().await?;
            let bytes = chunk.bytes();
            let written = self.shared.store.write_sized(bytes, move |txn| apply_chunk(txn, chunk));
            match written.await.map_err(|error| Failure::store(&error))?.value {
                true => self.loader.placed(&namespace, end),
                false => self.loader.stop(&namespace),
            }
            placed = true;
        }
        if placed {
            self.shared.mirrors_changed();
        }
        Ok(())
    }

    fn note_lag(&self, reply: &[u8]) {
        let Some(Raw::Timestamp(newest)) = RawDoc::trusted(reply).get("operationTime") else { return };
        let behind = ClusterTime(newest).seconds().saturating_sub(self.position.time.seconds());
        let nothing = reply_documents(reply).is_ok_and(|mut events| events.next().is_none());
        self.shared.status.lock().lag_ms = if nothing { 0 } else { i64::from(behind) * 1000 };
    }

    /// How long the deployment will keep what has not been captured yet.
    async fn ask_window(&mut self) {
        if self.window_asked.is_some_and(|asked| asked.elapsed() < WINDOW_EVERY) {
            return;
        }
        self.window_asked = Some(Instant::now());
        let oldest = self.upstream.oldest_time().await;
        let window = oldest
            .map(|oldest| (i64::from(self.position.time.seconds()) - i64::from(oldest.seconds())).saturating_mul(1000));
        let mut status = self.shared.status.lock();
        status.window_ms = window;
        let lag_ms = status.lag_ms;
        drop(status);
        if let Some(window) = window
            && lag_ms > 0
            && window < WINDOW_ALARM_MS
        {
            tracing::warn!(window_ms = window, lag_ms, "the source's own log may pass us soon");
        }
    }
}

/// What makes two keys the same document's.
fn identity(document: RawDoc<'_>) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(24);
    document::key_string::encode_value(document.get("_id")?, &mut key, false, None);
    Some(key)
}

fn changes_document(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Insert { .. } | Operation::Update { .. } | Operation::Replace { .. } | Operation::Delete { .. }
    )
}

fn captured_bytes(captured: &Captured) -> usize {
    match &captured.entry.operation {
        Operation::Insert { document, .. } | Operation::Replace { document, .. } => document.len(),
        Operation::Update { description, document, .. } => description.len() + document.as_ref().map_or(0, DocBuf::len),
        _ => 0,
    }
}

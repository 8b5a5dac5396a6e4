//! The handle of an attached source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::ClusterTime;
use changes::source::{Deliver, Entries};
use changes::{Error, LogSource};
use document::DocBuf;
use mongodb::options::{ConnectionString, Tls};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use store::{LogEntry, LogPosition, Namespace, Operation, Store};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::failure::Failure;
use crate::mirror::{self, MirrorRecord, MirrorState};
use crate::needs::{Need, Needs};
use crate::options::{GROUP_DATABASE, SourceOptions, covers};
use crate::position::load_beginning;
use crate::run;
use crate::snapshot::Chosen;
use crate::status::{MirrorStatus, SourceState, SourceStatus};
use crate::upstream::Primary;

/// How long a client's stream waits for a document to be looked up.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Look-ups that may wait; more are refused.
const LOOK_UPS_QUEUED: usize = 1024;

/// An attached deployment. Clones are handles of the same one.
#[derive(Clone)]
pub struct Source(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What the capturing thread and the handles share.
pub(crate) struct Shared {
    pub options: SourceOptions,
    pub store: Store,
    pub status: Mutex<SourceStatus>,
    /// Counts what waiters wait for: mirrors, state.
    pub changed: watch::Sender<u64>,
    /// A mirror has work to do.
    pub wake: Notify,
    pub primary: Primary,
    /// Namespaces whose updates need their document, with how many need it. An empty collection is
    /// the database, an empty database everything.
    pub images_wanted: RwLock<FxHashMap<Namespace, usize>>,
    pub look_ups: mpsc::Sender<LookUp>,
    pub needs: Needs,
    /// Of mirrors that are being compared.
    pub chosen: Mutex<FxHashMap<Namespace, Chosen>>,
    /// The deployment's answer to `hello`, once there was one.
    pub hello: RwLock<Option<Arc<DocBuf>>>,
    /// Nothing before this time was captured.
    pub beginning: RwLock<Option<ClusterTime>>,
    pub login: Login,
}

/// What the connection string says of getting in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    credentials: bool,
    tls: Option<SourceTls>,
}

/// How the deployment is known to be the right one.
#[derive(Clone, Debug, Default)]
pub struct SourceTls {
    /// Authorities in PEM; none: those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    pub allow_invalid_certificates: bool,
}

fn login(parsed: &ConnectionString, uri: &str) -> Login {
    let tls = match &parsed.tls {
        Some(Tls::Enabled(options)) => Some(SourceTls {
            ca_file: options.ca_file_path.clone(),
            allow_invalid_certificates: options.allow_invalid_certificates.unwrap_or(false),
        }),
        Some(Tls::Disabled) => None,
        None => uri.starts_with("mongodb+srv").then(SourceTls::default),
    };
    Login { credentials: parsed.credential.is_some(), tls }
}

/// A question to the deployment.
pub(crate) enum LookUp {
    /// The document as it is now.
    Document { namespace: Namespace, key: DocBuf, reply: oneshot::Sender<Result<Option<DocBuf>, Failure>> },
    /// The time of the newest write.
    Present { reply: oneshot::Sender<Result<ClusterTime, Failure>> },
    /// Is there such a collection?
    Collection { namespace: Namespace, reply: oneshot::Sender<Result<bool, Failure>> },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("status", &*self.0.shared.status.lock()).finish()
    }
}

impl Source {
    /// Starts capturing into `store`, which nobody else may write entries to. Does not wait for the
    /// deployment: it may come later.
    ///
    /// # Errors
    /// A sentence, if the connection string cannot be read or the store fails.
    pub fn start(store: Store, options: SourceOptions) -> Result<Self, String> {
        let parsed = ConnectionString::parse(&options.uri)
            .map_err(|error| format!("--source is no connection string: {error}"))?;
        let login = login(&parsed, &options.uri);
        let uncovered = options
            .mirrored
            .iter()
            .find(|namespace| !covers(&options.watched, Some(&namespace.db), Some(&namespace.collection)));
        if let Some(namespace) = uncovered {
            return Err(format!("{namespace} cannot be mirrored, as its events are not captured"));
        }
        let (look_ups, requests) = mpsc::channel(LOOK_UPS_QUEUED);
        let status = SourceStatus { uri: without_password(&options.uri), ..SourceStatus::default() };
        let shared = Arc::new(Shared {
            options,
            store,
            status: Mutex::new(status),
            changed: watch::Sender::new(0),
            wake: Notify::new(),
            primary: Primary::default(),
            images_wanted: RwLock::default(),
            look_ups,
            needs: Needs::default(),
            chosen: Mutex::default(),
            hello: RwLock::default(),
            beginning: RwLock::default(),
            login,
        });
        let begun = shared.store.snapshot().and_then(|snapshot| load_beginning(&snapshot));
        let begun = begun.map_err(|error| format!("the local store failed: {error}"))?;
        if begun.is_none() && shared.store.applied() > ClusterTime::ZERO {
            return Err("it holds an embedded database, not changes of a source; use another --data-dir".to_owned());
        }
        *shared.beginning.write() = begun;
        let loaded = shared.store.snapshot().and_then(|snapshot| shared.needs.load(&snapshot));
        loaded.map_err(|error| format!("the local store failed: {error}"))?;
        shared.declare_mirrors().map_err(|error| format!("the local store failed: {error}"))?;
        let (stop, stopped) = watch::channel(false);
        let failed = |error: std::io::Error| format!("cannot start a thread for the source: {error}");
        // One more thread, which reads from the deployment while this one takes in what was read.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("source reader")
            .enable_all()
            .build()
            .map_err(failed)?;
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || runtime.block_on(run::run(worker, requests, stopped)))
            .map_err(failed)?;
        Ok(Source(Arc::new(Handle { shared, stop, thread: Mutex::new(Some(thread)) })))
    }

    /// Ends capturing; what was captured stays.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
        if let Some(thread) = self.0.thread.lock().take() {
            let _ = thread.join();
        }
    }

    pub fn options(&self) -> &SourceOptions {
        &self.0.shared.options
    }

    pub fn status(&self) -> SourceStatus {
        self.0.shared.status.lock().clone()
    }

    /// The deployment's answer to `hello`; `None` until it was reached.
    pub fn hello(&self) -> Option<Arc<DocBuf>> {
        self.0.shared.hello.read().clone()
    }

    /// Does the deployment want to know who asks?
    pub fn asks_for_login(&self) -> bool {
        self.0.shared.login.credentials
    }

    /// How connections to it are encrypted; `None`: they are not.
    pub fn tls(&self) -> Option<&SourceTls> {
        self.0.shared.login.tls.as_ref()
    }

    /// Where clients' commands go: the primary or a router, once one is known.
    pub fn primary(&self) -> Option<(String, u16)> {
        self.0.shared.primary.read().clone()
    }

    /// The log as streams read it.
    pub fn log(&self) -> CapturedLog {
        CapturedLog(Arc::clone(&self.0.shared))
    }

    /// Says what somebody follows. Counted: each `true` wants its `false`.
    pub fn need(&self, need: Need, on: bool) {
        let shared = &self.0.shared;
        if !shared.options.only_needed {
            return;
        }
        match on {
            true => shared.needs.add(need),
            false => shared.needs.remove(&need),
        }
        shared.wake.notify_one();
    }

    /// Everybody who followed something when the process ended has said so: capturing may begin.
    pub fn needs_are_complete(&self) {
        self.0.shared.needs.complete();
    }

    /// Waits until what happens from now on is captured for everybody who said what is needed.
    pub async fn needs_settled(&self) {
        self.0.shared.needs.settled().await;
    }

    /// From when on everything that is needed has been captured.
    pub fn captured_since(&self, need: &Need) -> ClusterTime {
        let shared = &self.0.shared;
        let beginning = shared.beginning.read().unwrap_or(ClusterTime::ZERO);
        if !shared.options.only_needed {
            return beginning;
        }
        // What no cursor has had yet, the next one has from the present position on.
        shared
            .needs
            .since(need)
            .unwrap_or_else(|| shared.status.lock().captured.max(shared.store.applied()))
            .max(beginning)
    }

    /// Can clients' change streams be served from the log? Not if it has only what others need.
    pub fn serves_clients(&self) -> bool {
        !self.0.shared.options.only_needed
    }

    /// Is everything in the namespace captured? `None` is the database, or the deployment.
    pub fn covers(&self, db: Option<&str>, collection: Option<&str>) -> bool {
        if self.0.shared.options.group.is_some() && db == Some(GROUP_DATABASE) {
            return false;
        }
        covers(&self.0.shared.options.watched, db, collection)
    }

    /// Whether updates of a namespace need their document although the deployment does not record
    /// it. Counted: each `true` wants its `false`.
    pub fn want_images(&self, pattern: &Namespace, on: bool) {
        let mut wanted = self.0.shared.images_wanted.write();
        let count = wanted.get(pattern).copied().unwrap_or(0);
        match if on { count + 1 } else { count.saturating_sub(1) } {
            0 => wanted.remove(pattern),
            more => wanted.insert(pattern.clone(), more),
        };
    }

    /// The mirror's state; `None` if there is no mirror.
    pub fn mirror_state(&self, namespace: &Namespace) -> store::Result<Option<MirrorState>> {
        let snapshot = self.0.shared.store.snapshot()?;
        Ok(mirror::load(&snapshot, namespace)?.map(|record| record.state))
    }

    /// The time of the deployment's newest write.
    ///
    /// # Errors
    /// A sentence, if it does not answer.
    pub async fn present(&self) -> Result<ClusterTime, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(LookUp::Present { reply }, answer).await
    }

    /// Does the deployment have such a collection (that is no view)?
    ///
    /// # Errors
    /// A sentence, if it does not answer.
    pub async fn exists(&self, namespace: &Namespace) -> Result<bool, String> {
        let (reply, answer) = oneshot::channel();
        self.ask(LookUp::Collection { namespace: namespace.clone(), reply }, answer).await
    }

    async fn ask<T>(&self, question: LookUp, answer: oneshot::Receiver<Result<T, Failure>>) -> Result<T, String> {
        let silent = || "the source does not answer".to_owned();
        self.0.shared.look_ups.send(question).await.map_err(|_| silent())?;
        let answer = tokio::time::timeout(LOOK_UP_TIMEOUT, answer).await.map_err(|_| silent())?;
        answer.map_err(|_| silent())?.map_err(|failure| failure.to_string())
    }

    /// Mirrors a collection, and returns when the mirror is complete.
    ///
    /// # Errors
    /// A sentence, if it cannot be mirrored.
    pub async fn mirror(&self, namespace: &Namespace) -> Result<(), String> {
        let shared = &self.0.shared;
        if !self.covers(Some(&namespace.db), Some(&namespace.collection)) {
            return Err(format!("{namespace} cannot be mirrored, as its events are not captured"));
        }
        shared.declare_mirror(namespace).await.map_err(|error| error.to_string())?;
        shared.wait_complete(namespace).await
    }

    /// Compares a mirror with its collection anew; what differs becomes events, or what is chosen of it. If
    /// the process ends meanwhile, everything that differs from there on does.
    ///
    /// # Errors
    /// A sentence, if there is no such mirror.
    pub async fn compare(&self, namespace: &Namespace, chosen: Option<Chosen>) -> Result<(), String> {
        let shared = &self.0.shared;
        match chosen {
            Some(chosen) => shared.chosen.lock().insert(namespace.clone(), chosen),
            None => shared.chosen.lock().remove(namespace),
        };
        let name = namespace.clone();
        let known = shared.store.write(move |txn| {
            let Some(record) = mirror::load(txn, &name)? else { return Ok(false) };
            record.again(true).save(txn, &name);
            Ok(true)
        });
        let known = known.await.map_err(|error| error.to_string())?.value;
        if !known {
            return Err(format!("collection \"{namespace}\" is not mirrored"));
        }
        shared.mirrors_changed();
        let compared = shared.wait_complete(namespace).await;
        shared.chosen.lock().remove(namespace);
        compared
    }

    /// The mirrors of a database, or of a collection.
    pub fn mirrors_in(&self, db: Option<&str>, collection: Option<&str>) -> store::Result<Vec<Namespace>> {
        let all = mirror::all(&self.0.shared.store.snapshot()?)?;
        let within = |namespace: &Namespace| {
            db.is_none_or(|db| *namespace.db == *db) && collection.is_none_or(|name| *namespace.collection == *name)
        };
        Ok(all.into_iter().map(|(namespace, _)| namespace).filter(within).collect())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.lock().take() {
            // The last handle may be dropped by the thread's own tasks.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// The mirrors that the options name.
    fn declare_mirrors(&self) -> store::Result<()> {
        let wanted = self.options.mirrored.clone();
        for namespace in mirror::all(&self.store.snapshot()?)?.into_iter().map(|(namespace, _)| namespace) {
            self.need_mirror(&namespace);
        }
        wanted.iter().for_each(|namespace| self.need_mirror(namespace));
        let declared = self.store.write(move |txn| {
            for namespace in &wanted {
                declare(txn, namespace)?;
            }
            Ok(())
        });
        declared.wait()?;
        self.mirrors_changed();
        Ok(())
    }

    async fn declare_mirror(&self, namespace: &Namespace) -> store::Result<()> {
        // Before the record: no chunk may be read beside a cursor that does not show the collection.
        self.need_mirror(namespace);
        let name = namespace.clone();
        self.store.write(move |txn| declare(txn, &name)).await?;
        self.mirrors_changed();
        Ok(())
    }

    /// Mirrors are never given up, so this is not counted.
    fn need_mirror(&self, namespace: &Namespace) {
        if self.options.only_needed {
            self.needs.add(Need {
                db: Some(namespace.db.to_string()),
                collection: Some(namespace.collection.to_string()),
                ..Need::default()
            });
            self.wake.notify_one();
        }
    }

    async fn wait_complete(&self, namespace: &Namespace) -> Result<(), String> {
        let mut changed = self.changed.subscribe();
        loop {
            let _ = changed.borrow_and_update();
            {
                let status = self.status.lock();
                let mirror = status.mirrors.iter().find(|mirror| is_of(mirror, namespace));
                match mirror {
                    Some(mirror) if mirror.state == MirrorState::Live => return Ok(()),
                    Some(_) => {}
                    None => return Err(format!("collection \"{namespace}\" is no longer mirrored")),
                }
                if status.state == SourceState::Failed {
                    return Err(status.problem.clone().unwrap_or_default());
                }
            }
            if changed.changed().await.is_err() {
                return Err("the source has been detached".to_owned());
            }
        }
    }

    /// Reads the mirrors' records into the status, and wakes whoever follows them.
    pub fn mirrors_changed(&self) {
        let read = self.store.snapshot().and_then(|snapshot| mirror::all(&snapshot));
        match read {
            Ok(mirrors) => {
                let status = |(namespace, record): (Namespace, MirrorRecord)| MirrorStatus {
                    db: namespace.db.to_string(),
                    collection: namespace.collection.to_string(),
                    state: record.state,
                    loaded: record.loaded,
                    estimated: record.estimated,
                };
                self.status.lock().mirrors = mirrors.into_iter().map(status).collect();
            }
            Err(error) => tracing::error!(%error, "the mirrors' records cannot be read"),
        }
        self.wake.notify_one();
        self.tell();
    }

    /// Wakes whoever waits for the status to change.
    pub fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Does somebody need the document of an update in the namespace?
    pub fn wants_image(&self, namespace: &Namespace) -> bool {
        let wanted = self.images_wanted.read();
        let named = !wanted.is_empty()
            && (wanted.contains_key(namespace)
                || wanted.contains_key(&Namespace::new(Arc::clone(&namespace.db), ""))
                || wanted.contains_key(&Namespace::new("", "")));
        let state =
            self.status.lock().mirrors.iter().find(|mirror| is_of(mirror, namespace)).map(|mirror| mirror.state);
        match state {
            // The mirror itself tells.
            Some(MirrorState::Live) => false,
            Some(MirrorState::Comparing) => true,
            Some(MirrorState::Loading) | None => named,
        }
    }
}

fn is_of(mirror: &MirrorStatus, namespace: &Namespace) -> bool {
    *mirror.db == *namespace.db && *mirror.collection == *namespace.collection
}

fn declare(txn: &mut store::WriteTxn, namespace: &Namespace) -> store::Result<()> {
    if mirror::load(txn, namespace)?.is_none() {
        MirrorRecord::fresh(0).save(txn, namespace);
        txn.unlogged(|txn| txn.ensure_collection(namespace).map(|_| ()))?;
    }
    Ok(())
}

/// Does the store hold what was captured from a source?
///
/// # Errors
/// The store's.
pub fn is_captured(store: &Store) -> store::Result<bool> {
    Ok(load_beginning(&store.snapshot()?)?.is_some())
}

/// The connection string as it may be shown.
fn without_password(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    match rest.split_once('@') {
        Some((user, hosts)) if !user.contains('/') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***@{hosts}")
        }
        _ => uri.to_owned(),
    }
}

/// The captured log, with the deployment behind it for documents as they are now.
pub struct CapturedLog(Arc<Shared>);

impl LogSource for CapturedLog {
    fn durable(&self) -> ClusterTime {
        LogSource::durable(&self.0.store)
    }

    fn removed_up_to(&self) -> Option<ClusterTime> {
        let before = self.0.beginning.read().map(|beginning| ClusterTime(beginning.0.saturating_sub(1)));
        self.0.store.removed_up_to().max(before)
    }

    fn read(&self, from: LogPosition, up_to: ClusterTime) -> Entries<'_> {
        LogSource::read(&self.0.store, from, up_to)
    }

    fn on_durable(&self, deliver: Deliver) {
        LogSource::on_durable(&self.0.store, deliver);
    }

    /// The image that the entry has is of the time of the change or looked up after it; both are what
    /// a look-up may give.
    fn current_document(&self, entry: &LogEntry) -> changes::Result<Option<DocBuf>> {
        let Operation::Update { key, document, .. } = &entry.operation else { return Ok(None) };
        if let Some(document) = document {
            return Ok(Some(document.clone()));
        }
        let (reply, answer) = oneshot::channel();
        let look_up = LookUp::Document { namespace: entry.namespace.clone(), key: key.clone(), reply };
        let unavailable = |why: String| Error::new(91, why);
        let sent = self.0.look_ups.try_send(look_up);
        sent.map_err(|_| unavailable("too many documents are being looked up".to_owned()))?;
        match wait(answer) {
            Some(Ok(found)) => found.map_err(|failure| unavailable(failure.to_string())),
            _ => Err(unavailable("the source does not answer".to_owned())),
        }
    }
}

/// Waits for an answer from a thread that may belong to a runtime.
fn wait<T>(answer: oneshot::Receiver<T>) -> Option<Result<T, oneshot::error::RecvError>> {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| {
            handle.block_on(async { tokio::time::timeout(LOOK_UP_TIMEOUT, answer).await.ok() })
        }),
        // The only thread of its runtime must not wait for itself.
        Ok(_) => None,
        Err(_) => Some(answer.blocking_recv()),
    }
}

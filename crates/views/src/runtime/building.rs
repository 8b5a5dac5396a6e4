//! Views on their way: created, altered, or without a checkpoint at the start.
//!
//! ```text
//!   CREATE ─> a view in phase Building keeps the place ──────────────> Built: takes the place, hears of
//!             └─ a thread: read the past, save, catch up ─────────────┘        what was committed since
//!   DROP, a cancel ─> the thread is told, and ends at its next look
//! ```
//!
//! A view over other views is built between two ticks, where those stand still.

use std::sync::Arc;

use sql::{Source, SqlError};
use store::Store;

use super::feeding::{Decoded, catch_up, contained, feed};
use super::handle::stopped;
use super::{Command, Reply, Runtime, build_at_present, is_outdated, orphan, supersede, wait_durable};
use crate::checkpoint::{self, Records};
use crate::definition::{Definitions, ViewDefinition};
use crate::progress::{Build, BuildPhase};
use crate::view::{Phase, RunningView};

/// A build that is no more entries than this behind takes its place; the rest is read there.
const CLOSE_ENOUGH: u64 = 2000;

/// Who waits for a view to be built.
pub(super) struct Creator {
    id: u64,
    /// Its CREATE: without it there is no view.
    is_new: bool,
    reply: Reply<()>,
}

impl Runtime {
    pub(super) fn create(&mut self, definition: Arc<ViewDefinition>, reply: Reply<()>) {
        match RunningView::new(Arc::clone(&definition), true) {
            Ok(view) => self.views.push(view),
            Err(error) => return drop(reply.send(Err(error))),
        }
        self.creators.push(Creator { id: definition.id, is_new: true, reply });
        self.build(self.views.len() - 1);
    }

    pub(super) fn alter(&mut self, definition: Arc<ViewDefinition>, rebuild: bool, reply: Reply<()>) {
        let at = match self.find(&definition.db, &definition.name) {
            Ok(at) => at,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let view = &mut self.views[at];
        if !matches!(view.phase, Phase::Running) {
            let message = format!("materialized view \"{}\" is still being built", definition.name);
            return drop(reply.send(Err(SqlError::new("55000", message))));
        }
        if !rebuild && view.error.is_none() {
            let before = std::mem::replace(&mut view.definition, definition);
            let fits = view.check_limits();
            if fits.is_err() {
                view.definition = before;
            }
            return drop(reply.send(fits));
        }
        // Readers wait for the new content; subscribers then hear the difference.
        let publishers = std::mem::take(&mut view.publishers);
        let rows = view.take_rows();
        let id = definition.id;
        let mut place = match RunningView::new(definition, true) {
            Ok(place) => place,
            Err(error) => return drop(reply.send(Err(error))),
        };
        rows.iter().for_each(|(row, count)| place.add_row(row, *count));
        place.publishers = publishers;
        place.position = self.position;
        self.views[at] = place;
        self.creators.push(Creator { id, is_new: false, reply });
        self.build(at);
    }

    /// Begins to build the view at a place, or builds it.
    fn build(&mut self, at: usize) {
        let started = if self.views[at].reads_views() { self.build_here(at) } else { self.start_build(at) };
        if let Err(error) = started {
            self.build_failed(at, error);
        }
    }

    fn build_here(&mut self, at: usize) -> Result<(), SqlError> {
        let definitions = self.definitions.load_full();
        let mut fresh = RunningView::new(Arc::clone(&self.views[at].definition), true)?;
        contained(|| self.rebuild(&mut fresh, &definitions))?;
        self.take_place(at, fresh);
        Ok(())
    }

    /// Starts a thread that builds a view; its place is kept. A view over views waits for those.
    pub(super) fn start_build(&mut self, at: usize) -> Result<(), SqlError> {
        if self.views[at].reads_views() {
            self.views[at].phase = Phase::Awaiting;
            return Ok(());
        }
        let definition = Arc::clone(&self.views[at].definition);
        let fresh = RunningView::new(Arc::clone(&definition), true)?;
        let build = Build::of(&definition);
        let commands = self.commands.upgrade().ok_or_else(stopped)?;
        let (told, removed) = std::sync::mpsc::channel();
        self.writer.remove(definition.id, Box::new(move |outcome| drop(told.send(outcome))));
        let worker = Worker {
            store: self.store.clone(),
            records: Arc::clone(&self.records),
            definitions: self.definitions.load_full(),
            build: Arc::clone(&build),
            gate: Arc::clone(&self.gate),
        };
        let thread = std::thread::Builder::new()
            .name("view-build".into())
            .spawn(move || {
                let result = contained(|| {
                    removed.recv().unwrap_or_else(|_| Err(stopped()))?;
                    worker.run(fresh)
                });
                if result.is_err()
                    && let Err(error) = checkpoint::remove(&worker.store, &*worker.records, worker.build.id)
                {
                    tracing::warn!(view = worker.build.name, %error, "what was saved of a build is left over");
                }
                let _ = commands.send(Command::Built { build: worker.build, result: result.map(Box::new) });
            })
            .map_err(|e| SqlError::new("58000", format!("cannot start a thread to build the view: {e}")))?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        self.builds.add(&build);
        self.views[at].phase = Phase::Building(build);
        Ok(())
    }

    /// A thread is done with a view.
    pub(super) fn built(&mut self, build: &Arc<Build>, result: Result<Box<RunningView>, SqlError>) {
        self.builds.remove(build);
        let is_it = |view: &RunningView| matches!(&view.phase, Phase::Building(own) if Arc::ptr_eq(own, build));
        let Some(at) = self.views.iter().position(is_it) else {
            // Dropped meanwhile, with what was saved of it by then.
            return self.remove_checkpoint(build.id);
        };
        let definitions = self.definitions.load_full();
        let joined = result.and_then(|mut fresh| {
            if !fresh.stale {
                self.writer.stored(build.id);
            }
            contained(|| match is_outdated(&fresh, &definitions) {
                true => self.rebuild(&mut fresh, &definitions),
                false => self.join(&mut fresh, &definitions),
            })?;
            Ok(*fresh)
        });
        match joined {
            Ok(fresh) => self.take_place(at, fresh),
            Err(error) => self.build_failed(at, error),
        }
    }

    fn take_place(&mut self, at: usize, mut fresh: RunningView) {
        fresh.position = self.position;
        fresh.built_with = None;
        let own = Source::View { db: fresh.definition.db.clone(), name: fresh.definition.name.clone() };
        let heard = !self.views[at].publishers.is_empty() || self.views.iter().any(|view| view.reads(&own));
        supersede(&mut self.views[at], fresh, heard);
        let wall_ms = self.clock.now_ms();
        self.views[at].publish(wall_ms);
        self.dirty = true;
        self.propagate(at, wall_ms);
        self.revive();
        self.answer_creator(self.views[at].definition.id, Ok(()));
        self.unblock();
    }

    /// A view that its CREATE waits for goes again; another one stays, stopped.
    fn build_failed(&mut self, at: usize, error: SqlError) {
        let id = self.views[at].definition.id;
        let is_new = self.creators.iter().any(|creator| creator.id == id && creator.is_new);
        if !self.answer_creator(id, Err(error.clone())) {
            tracing::error!(view = self.views[at].definition.name, %error, "a view could not be built");
        }
        self.remove_checkpoint(id);
        if is_new {
            self.views.remove(at);
        } else {
            self.views[at].fail(error);
        }
        self.revive();
        self.unblock();
    }

    /// False if nobody waits.
    pub(super) fn answer_creator(&mut self, id: u64, answer: Result<(), SqlError>) -> bool {
        let Some(at) = self.creators.iter().position(|creator| creator.id == id) else { return false };
        self.creators.swap_remove(at).reply.send(answer).is_ok()
    }

    /// Gives the readers of a view its output, between two ticks.
    fn propagate(&mut self, at: usize, wall_ms: i64) {
        let definitions = self.definitions.load_full();
        let now_us = self.clock.now_us();
        for (i, view) in self.views.iter_mut().enumerate() {
            if i != at {
                view.output.clear();
            }
        }
        for i in at + 1..self.views.len() {
            let (before, rest) = self.views.split_at_mut(i);
            let view = &mut rest[0];
            if !view.is_running() || view.stale || !view.reads_views() || orphan(view, before) {
                continue;
            }
            if let Err(error) = contained(|| feed(view, &[], before, &definitions, &mut Decoded::default(), now_us)) {
                tracing::error!(view = view.definition.name, %error, "a view has stopped");
                view.fail(error);
            }
            view.publish(wall_ms);
        }
    }

    /// Builds the views that waited for a view they read, or stopped with it, where all of those run.
    pub(super) fn revive(&mut self) {
        let definitions = self.definitions.load_full();
        for i in 0..self.views.len() {
            let (before, rest) = self.views.split_at_mut(i);
            let view = &mut rest[0];
            if !(matches!(view.phase, Phase::Awaiting) || view.orphaned) || !reads_only_built(view, before) {
                continue;
            }
            if orphan(view, before) {
                continue;
            }
            (view.phase, view.error, view.orphaned) = (Phase::Running, None, false);
            self.rebuild_at(i, &definitions);
            self.views[i].position = self.position;
            self.dirty = true;
        }
    }

    /// Must a reader of these views wait until one is built?
    pub(super) fn waits_for_build(&self, names: &[(String, String)]) -> bool {
        let mut wanted: Vec<(&str, &str)> = names.iter().map(|(db, name)| (&**db, &**name)).collect();
        // Readers stand after what they read, so one way back through the views finds all.
        for view in self.views.iter().rev().filter(|view| view.durable) {
            if !wanted.contains(&(&view.definition.db, &view.definition.name)) || view.error.is_some() {
                continue;
            }
            if !matches!(view.phase, Phase::Running) {
                return true;
            }
            let read = view.feeds.iter().filter_map(|feed| match &feed.source {
                Source::View { db, name } => Some((&**db, &**name)),
                _ => None,
            });
            wanted.extend(read);
        }
        false
    }

    /// Keeps a command until a build ends; those that nobody waits for any more go.
    pub(super) fn block(&mut self, command: Command) {
        let is_wanted = |command: &Command| match command {
            Command::Read { reply, .. } => !reply.is_closed(),
            Command::Subscribe { reply, .. } => !reply.is_closed(),
            _ => true,
        };
        self.blocked.retain(is_wanted);
        self.blocked.push(command);
    }

    pub(super) fn unblock(&mut self) {
        for command in std::mem::take(&mut self.blocked) {
            self.command(command);
        }
    }

    /// Ends the threads that build; at the next start they begin again.
    pub(super) fn end_builds(&mut self) {
        self.builds.cancel_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn reads_only_built(view: &RunningView, before: &[RunningView]) -> bool {
    view.feeds.iter().all(|feed| match &feed.source {
        Source::View { db, name } => before
            .iter()
            .filter(|up| up.durable && up.definition.db == *db && up.definition.name == *name)
            .all(|up| matches!(up.phase, Phase::Running)),
        _ => true,
    })
}

/// What a thread that builds works with.
struct Worker {
    store: Store,
    records: Arc<dyn Records>,
    definitions: Arc<Definitions>,
    build: Arc<Build>,
    gate: Arc<Gate>,
}

/// How many views are built at once. More would share the same disk and hold more memory.
const BUILDS_AT_ONCE: usize = 4;
/// How often a build that waits for its turn looks whether it is still wanted.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// Lets so many builds through.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: parking_lot::Mutex<usize>,
    left: parking_lot::Condvar,
}

struct Inside<'a>(&'a Gate);

impl Gate {
    fn enter(&self, build: &Build) -> Result<Inside<'_>, SqlError> {
        let mut inside = self.inside.lock();
        while *inside >= BUILDS_AT_ONCE {
            build.advance(0)?;
            self.left.wait_for(&mut inside, LOOK_EVERY);
        }
        *inside += 1;
        Ok(Inside(self))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.inside.lock() -= 1;
        self.0.left.notify_one();
    }
}

impl Worker {
    fn run(&self, mut view: RunningView) -> Result<RunningView, SqlError> {
        let build = &*self.build;
        let _inside = self.gate.enter(build)?;
        build_at_present(&self.store, &self.definitions, &mut view, build)?;
        if view.stale {
            return Ok(view);
        }
        build.enter(BuildPhase::Saving);
        checkpoint::write_built(&*self.records, &mut view, &|| build.advance(0))?;
        build.enter(BuildPhase::CatchingUp);
        loop {
            wait_durable(&self.store)?;
            let present = self.store.durable();
            let later = self.store.log_from_time(view.position.next(), present);
            let behind = later.count_entries().map_err(super::store_error)?;
            if behind <= CLOSE_ENOUGH {
                return Ok(view);
            }
            build.expect(behind);
            catch_up(&self.store, &self.definitions, &mut view, present, Some(build))?;
            if view.stale {
                return Ok(view);
            }
        }
    }
}

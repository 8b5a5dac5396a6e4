//! A change stream: the events of a scope, from a position on, through the client's stages.
//!
//! A stream is options plus a position in the log. It holds no events but those it has produced and
//! not yet handed out, so a slow reader costs nothing until retention passes it by.
//!
//! ```text
//! log entry ─ scope ─ resume check ─ early $match ─ images ─ event ─ stages ─ split ─> ready ─> batch
//!                                                     └─ ends the scope? ─> invalidate, closed
//! ```
//!
//! # Invariants
//! - Events leave in log order; none twice, none left out.
//! - The post-batch resume token never goes back, and never passes an entry that was not examined.
//!
//! Read next: `feed.rs` (where the entries come from), `resume.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use document::{Context, DocBuf, Raw, RawDoc};
use store::entry::{LogEntry, LogPosition, Operation};
use tokio::time::Instant;

use crate::error::{Error, Result, code, fatal, history_lost};
use crate::event::{Event, Image, Shape};
use crate::hub::{Hub, Watch};
use crate::options::{BeforeChange, FullDocument, StartPoint, StreamOptions, Target, check_stages};
use crate::split::{check_size, split, splits_above};
use crate::stages::Stages;
use crate::token::ResumeToken;

mod feed;
mod resume;
#[cfg(test)]
mod tests;

use feed::Feed;
use resume::{Resume, Seen};

/// What one batch may hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimit {
    pub documents: usize,
    /// At least one event is delivered whatever its size.
    pub bytes: usize,
}

/// What one read of a stream gives.
#[derive(Clone, Debug)]
pub struct Batch {
    pub events: Vec<DocBuf>,
    /// `{_data, _typeBits?}`: where to resume after this batch.
    pub post_batch_resume_token: DocBuf,
    /// The stream is invalidated and all its events are delivered; the cursor ends with this batch.
    pub closed: bool,
}

/// A parsed `aggregate` with `$changeStream`.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    pub options: StreamOptions,
    pub stages: Stages,
    /// `$changeStreamSplitLargeEvent` is the last stage.
    pub split_large_events: bool,
}

impl StreamRequest {
    /// From a pipeline that begins with `$changeStream`.
    ///
    /// # Errors
    /// Those of `StreamOptions::parse`, `check_stages` and the pipeline parser.
    pub fn parse(pipeline: &[RawDoc<'_>], target: Target<'_>, ctx: &Context) -> Result<Self> {
        let Some((first, rest)) = pipeline.split_first() else {
            return Err(Error::new(40602, "$changeStream is only valid as the first stage in a pipeline."));
        };
        let mut fields = first.iter();
        let spec = match (fields.next(), fields.next()) {
            (Some(("$changeStream", spec)), None) => spec,
            (Some(_), None) => {
                return Err(Error::new(40602, "$changeStream is only valid as the first stage in a pipeline."));
            }
            _ => {
                let message = "A pipeline stage specification object must contain exactly one field.";
                return Err(Error::new(40323, message));
            }
        };
        let (stages, split_large_events) = check_stages(rest)?;
        let options = StreamOptions::parse(spec, target)?;
        Ok(StreamRequest { options, stages: Stages::parse(&stages, ctx)?, split_large_events })
    }

    /// Everything that the options let through, without stages.
    pub fn all(options: StreamOptions) -> Self {
        StreamRequest { options, stages: Stages::default(), split_large_events: false }
    }
}

/// An open change stream. A call of `next_batch` that is dropped half-way loses nothing.
pub struct ChangeStream {
    request: StreamRequest,
    feed: Feed,
    resume: Resume,
    ready: VecDeque<Outgoing>,
    /// Taken into the batch under construction.
    batch: Vec<DocBuf>,
    position: ResumeToken,
    /// The invalidate token, once that event has been produced.
    ending: Option<Box<ResumeToken>>,
    closed: bool,
    /// Every later read gives the error that ended the stream.
    failed: Option<Box<Error>>,
}

/// A finished event that waits for its batch.
struct Outgoing {
    token: ResumeToken,
    event: DocBuf,
}

/// Why a batch is complete.
#[derive(PartialEq)]
enum Stop {
    /// No more entries.
    Exhausted,
    /// No more room.
    Full,
    Invalidated,
}

/// Log entries produced between two points at which other tasks may run.
const ENTRIES_PER_TURN: usize = 256;

impl std::fmt::Debug for ChangeStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeStream").field("options", &self.request.options).finish_non_exhaustive()
    }
}

impl ChangeStream {
    /// Opens a stream; nothing is read yet.
    ///
    /// # Errors
    /// 286 if the log no longer holds the start point; 280 for a fragment's token without the
    /// split stage.
    pub fn open(hub: &Hub, request: StreamRequest) -> Result<Self> {
        let (floor, position, resume) = match &request.options.start {
            StartPoint::Now => {
                let next = hub.source().durable().next();
                (LogPosition { time: next, index: 0 }, ResumeToken::high_water_mark(next), Resume::Done)
            }
            StartPoint::At(time) => {
                (LogPosition { time: *time, index: 0 }, ResumeToken::high_water_mark(*time), Resume::Done)
            }
            StartPoint::After(token) => {
                if token.facts().fragment.is_some() && !request.split_large_events {
                    return Err(fatal(
                        "To resume from a split event, the $changeStream pipeline must include a \
                         $changeStreamSplitLargeEvent stage",
                    ));
                }
                let index = if token.facts().is_high_water_mark { 0 } else { token.facts().txn_op_index };
                let floor = LogPosition { time: token.cluster_time(), index };
                (floor, token.clone(), Resume::after(token))
            }
        };
        if hub.source().removed_up_to().is_some_and(|removed| removed >= floor.time) {
            return Err(history_lost());
        }
        let has_images =
            request.options.full_document != FullDocument::Default || request.options.before != BeforeChange::Off;
        let watch = Watch {
            scope: request.options.scope.clone(),
            shown: request.options.shown,
            full_document: request.options.full_document,
            filter: request.stages.early(has_images).cloned(),
            conditions: request.stages.conditions().to_vec(),
        };
        Ok(ChangeStream {
            request,
            feed: Feed::new(hub.clone(), watch, floor),
            resume,
            ready: VecDeque::new(),
            batch: Vec::new(),
            position,
            ending: None,
            closed: false,
            failed: None,
        })
    }

    /// The post-batch resume token of the last batch, or of the start.
    pub fn post_batch_resume_token(&self) -> DocBuf {
        self.position.to_document()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The next events. Every write that was acknowledged before the call is looked at. If no event
    /// comes of them and `wait` is given, waits that long for one; writes that concern others, or
    /// that the stages reject, do not end the wait.
    ///
    /// # Errors
    /// 280 if the resume token was not found or a stage changed an `_id`, 286 if the log no longer
    /// holds the position, 47 for a missing required image, 10334 for a too large event, and the
    /// stages' own. An error ends the stream.
    pub async fn next_batch(&mut self, limit: BatchLimit, wait: Option<Duration>) -> Result<Batch> {
        if let Some(error) = &self.failed {
            return Err((**error).clone());
        }
        let batch = self.read(limit, wait).await;
        if let Err(error) = &batch {
            self.failed = Some(Box::new(error.clone()));
            self.feed.detach();
        }
        batch
    }

    async fn read(&mut self, limit: BatchLimit, wait: Option<Duration>) -> Result<Batch> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        if deadline.is_some() && !self.closed {
            self.feed.attach();
        }
        let stop = loop {
            let stop = self.collect(limit).await?;
            if stop != Stop::Exhausted || !self.batch.is_empty() {
                break stop;
            }
            let Some(deadline) = deadline else { break stop };
            if !self.feed.wait(deadline).await {
                // What came in the last moment still belongs to this batch.
                break self.collect(limit).await?;
            }
        };
        Ok(self.finish(stop))
    }

    /// Moves finished events into the batch and makes more, as long as there is room and a log.
    async fn collect(&mut self, limit: BatchLimit) -> Result<Stop> {
        let target = self.feed.durable();
        let mut bytes: usize = self.batch.iter().map(DocBuf::len).sum();
        let mut turn = 0;
        loop {
            while let Some(next) = self.ready.front() {
                let full = self.batch.len() >= limit.documents
                    || (!self.batch.is_empty() && bytes + next.event.len() > limit.bytes);
                if full {
                    return Ok(Stop::Full);
                }
                bytes += next.event.len();
                let next = self.ready.pop_front().expect("the front was just seen");
                self.position = next.token;
                self.batch.push(next.event);
            }
            if self.closed || self.ending.is_some() {
                return Ok(Stop::Invalidated);
            }
            if self.batch.len() >= limit.documents {
                return Ok(Stop::Full);
            }
            turn += 1;
            if turn % ENTRIES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            match self.feed.next(target).await? {
                Some(entry) => self.produce(&entry)?,
                None => return Ok(Stop::Exhausted),
            }
        }
    }

    fn finish(&mut self, stop: Stop) -> Batch {
        match stop {
            Stop::Full => {}
            Stop::Exhausted => {
                // Everything up to here was examined and gave nothing more.
                let scanned = self.feed.scanned();
                if scanned > self.position.cluster_time() {
                    self.position = ResumeToken::high_water_mark(scanned);
                }
            }
            Stop::Invalidated => {
                self.closed = true;
                self.feed.detach();
                if let Some(token) = self.ending.take() {
                    self.position = *token;
                }
            }
        }
        Batch {
            events: std::mem::take(&mut self.batch),
            post_batch_resume_token: self.position.to_document(),
            closed: self.closed,
        }
    }

    /// Makes an entry's events.
    fn produce(&mut self, entry: &LogEntry) -> Result<()> {
        let options = &self.request.options;
        if !options.scope.shows(entry, options.shown) {
            return Ok(());
        }
        if matches!(entry.operation, Operation::Gap { .. }) {
            return Err(history_lost());
        }
        let event = Event::new(entry);
        let token = event.token();
        match self.resume.check(&token)? {
            Seen::Before | Seen::ResumePoint => {}
            Seen::After => self.produce_event(event, token, 0)?,
            Seen::ResumeFragment(fragment) => self.produce_event(event, token, fragment as usize + 1)?,
        }
        if self.request.options.scope.is_invalidated_by(entry) {
            let token = event.invalidate_token();
            if self.resume.check(&token)? == Seen::After {
                let invalidate = event.to_invalidate(&token);
                self.ending = Some(Box::new(token.clone()));
                if let Some(invalidate) = self.through_stages(invalidate)? {
                    self.ready.push_back(Outgoing { token, event: invalidate });
                }
            }
        }
        Ok(())
    }

    /// `skip` is the number of leading fragments that the reader has already.
    fn produce_event(&mut self, event: Event<'_>, token: ResumeToken, skip: usize) -> Result<()> {
        let Some(shape) = self.shape_of(event, &token)? else { return Ok(()) };
        let Some(document) = self.through_stages(event.to_document(&token, &shape))? else { return Ok(()) };
        if self.request.split_large_events && document.len() > splits_above() {
            let fragments = split(&document, &token)?;
            if skip > fragments.len() {
                return Err(fatal(
                    "Attempted to resume from a split event fragment, but the split event in the resumed stream \
                     had fewer fragments than the original split event",
                ));
            }
            self.ready.extend(fragments.into_iter().skip(skip).map(|(token, event)| Outgoing { token, event }));
            return Ok(());
        }
        if skip > 0 {
            return Err(fatal(
                "Attempted to resume from a split event fragment, but the event in the resumed stream was not large \
                 enough to be split",
            ));
        }
        check_size(&document)?;
        self.ready.push_back(Outgoing { token, event: document });
        Ok(())
    }

    /// The images that the options ask for; `None` if the stages reject the event without them.
    fn shape_of(&self, event: Event<'_>, token: &ResumeToken) -> Result<Option<Shape>> {
        let options = &self.request.options;
        let mut shape = Shape { expanded: options.shown.expanded, ..Shape::default() };
        let wants_document = options.full_document != FullDocument::Default
            && matches!(event.entry().operation, Operation::Update { .. });
        let wants_before = options.before != BeforeChange::Off
            && matches!(
                event.entry().operation,
                Operation::Update { .. } | Operation::Replace { .. } | Operation::Delete { .. }
            );
        if !wants_document && !wants_before {
            return Ok(Some(shape));
        }
        if let Some(early) = self.request.stages.early(true)
            && !early.matches(event.to_document(token, &shape).as_doc())?
        {
            return Ok(None);
        }
        if wants_before {
            shape.before = match (event.before_by_option(), options.before) {
                (Some(before), _) => Image::Document(before.clone()),
                (None, BeforeChange::Required) => return Err(missing_image(event, token, "pre-image")),
                (None, _) => Image::Null,
            };
        }
        if wants_document {
            shape.full_document = self.full_document(event, token)?;
        }
        Ok(Some(shape))
    }

    /// The `fullDocument` of an update. A post-image is there where a pre-image was recorded, as
    /// the server makes one from the other.
    fn full_document(&self, event: Event<'_>, token: &ResumeToken) -> Result<Image> {
        let recorded = event.before_by_option().is_some();
        match self.request.options.full_document {
            FullDocument::Default => Ok(Image::Absent),
            FullDocument::UpdateLookup => {
                let current = self.feed.source().current_document(event.entry())?;
                Ok(current.map_or(Image::Null, Image::Document))
            }
            FullDocument::WhenAvailable | FullDocument::Required if recorded => {
                Ok(event.full_document().cloned().map_or(Image::Null, Image::Document))
            }
            FullDocument::WhenAvailable => Ok(Image::Null),
            FullDocument::Required => Err(missing_image(event, token, "post-image")),
        }
    }

    /// Runs the client's stages; they must leave `_id` as it is.
    fn through_stages(&self, event: DocBuf) -> Result<Option<DocBuf>> {
        let Some(result) = self.request.stages.apply(event.clone())? else { return Ok(None) };
        let expected = event.get("_id");
        if result.get("_id") == expected {
            return Ok(Some(result));
        }
        Err(fatal(format!(
            "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. \
             Modifying the _id field of an event makes it impossible to resume the stream from that point. Only \
             transformations that retain the unmodified _id field are allowed. Expected: {} but found: {}",
            shown_id(expected),
            shown_id(result.get("_id")),
        )))
    }
}

fn shown_id(id: Option<Raw<'_>>) -> String {
    match id {
        Some(id) => format!("{{ _id: {id:?} }}"),
        None => "{}".to_owned(),
    }
}

/// 47, naming the event.
fn missing_image(event: Event<'_>, token: &ResumeToken, image: &str) -> Error {
    let which = if image == "pre-image" { "all update, delete and replace events" } else { "all update events" };
    Error::new(
        code::NO_MATCHING_DOCUMENT,
        format!(
            "Change stream was configured to require a {image} for {which}, but the {image} was not found for event: \
             {{ _id: {{ _data: \"{}\" }}, operationType: \"{}\", ns: {{ db: \"{}\", coll: \"{}\" }}, clusterTime: \
             Timestamp({}, {}) }}",
            token.data(),
            event.operation_type(),
            event.namespace().db,
            event.namespace().collection,
            event.cluster_time().seconds(),
            event.cluster_time().increment(),
        ),
    )
}

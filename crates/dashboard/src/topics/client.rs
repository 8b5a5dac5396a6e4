//! One client of a topic: what it gets next, whatever it missed.

use std::sync::Arc;

use engine::{Feed, Headwater, Topic};
use tokio::sync::watch;

use super::frame::{Columns, Frame};
use super::hub::{Head, Hub};

/// Frames given at a time.
const FRAMES_AT_ONCE: usize = 64;

/// Why there is no client.
#[derive(Debug)]
pub enum Trouble {
    Missing(String),
    /// A token that cannot be resumed from, a view that is too large.
    Refused(String),
    Busy,
}

pub struct Client {
    hub: Arc<Hub>,
    head: watch::Receiver<Head>,
    /// The number of the frame that it gets next.
    next: u64,
    ready: Vec<Arc<Frame>>,
    /// A client that came back to events which the ring no longer has reads on its own.
    own: Option<(Feed, Columns)>,
    over: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hub.leave();
    }
}

impl Client {
    /// The hub has counted it already.
    pub async fn start(hub: Arc<Hub>, engine: &Headwater, since: Option<&str>) -> Result<Self, Trouble> {
        let head = hub.head();
        let mut client = Client { hub, head, next: 0, ready: Vec::new(), own: None, over: false };
        let topic = client.hub.topic.clone();
        if let Some(next) = since.and_then(|since| client.hub.resume(since)) {
            client.next = next;
            return Ok(client);
        }
        match (&topic, since) {
            (Topic::View { .. }, _) => client.snapshot().map_err(Trouble::Refused)?,
            (Topic::Stream { .. } | Topic::Messages(_), None) => (client.ready, client.next) = client.hub.now(),
            (Topic::Stream { db, name }, Some(since)) => {
                let feed = engine.follow_stream(db, name, Some(since)).await;
                let feed = feed.map_err(|error| Trouble::Refused(error.message))?;
                client.own = Some((feed, client.hub.columns()));
            }
            (Topic::Messages(_), Some(_)) => {
                client.next = client.hub.oldest();
                let gap = "messages after your last one are no longer kept; these are the oldest that are";
                client.ready.push(Arc::new(Frame::notice("gap", gap)));
            }
        }
        Ok(client)
    }

    fn snapshot(&mut self) -> Result<(), String> {
        let (frames, next) = self.hub.snapshot()?;
        (self.ready, self.next) = (frames, next);
        Ok(())
    }

    fn end(&mut self, reason: &str) -> Vec<Arc<Frame>> {
        self.over = true;
        vec![Arc::new(Frame::notice("failed", reason))]
    }

    /// Waits for the next frames, of which the last one says why, if there are no more after it.
    /// `None`: that was said. Safe to cancel.
    pub async fn next(&mut self) -> Option<Vec<Arc<Frame>>> {
        loop {
            if !self.ready.is_empty() {
                return Some(std::mem::take(&mut self.ready));
            }
            if self.over {
                return None;
            }
            if let Some((feed, columns)) = &mut self.own {
                let ended = match feed.next_progress().await {
                    Some(Ok(progress)) => return Some(vec![Arc::new(columns.events_of(&progress))]),
                    Some(Err(error)) => error.message,
                    None => "the stream has ended".to_owned(),
                };
                return Some(self.end(&ended));
            }
            match self.hub.from(self.next, FRAMES_AT_ONCE) {
                Some(frames) if !frames.is_empty() => {
                    self.next += frames.len() as u64;
                    return Some(frames);
                }
                Some(_) => {}
                // Fallen out of the ring: a view's rows as they are now make up for what was missed.
                None if matches!(self.hub.topic, Topic::View { .. }) => {
                    if let Err(reason) = self.snapshot() {
                        return Some(self.end(&reason));
                    }
                    continue;
                }
                None => return Some(self.end("too slow: too much waits for this client; go on after the last id")),
            }
            if let Some(reason) = self.hub.ended() {
                return Some(self.end(&reason));
            }
            let next = self.next;
            if self.head.wait_for(|head| head.ended || head.next > next).await.is_err() {
                return Some(self.end("the topic has ended"));
            }
        }
    }
}

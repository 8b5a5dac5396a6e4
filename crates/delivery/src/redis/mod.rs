//! Redis: messages of a channel, or entries of a stream.
//!
//! ```text
//!   redis://host/0?channel=orders     PUBLISH orders '{"id":…}'          nobody listens, nobody hears
//!   redis://host/0?stream=orders      XADD orders * id … key … event …   with the marks, in MULTI
//! ```
//!
//! A stream's entries and the sink's marks (`headwater:{sink}:…`) are one transaction, so each event
//! is added exactly once, as durably as the server is configured.

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, RedisError};
use tokio::sync::Mutex;

use crate::envelope::{Format, key_text, render};
use crate::event::Position;
use crate::target::{Delivery, Fault, Marks, Target};

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    Channel(String),
    Stream(String),
}

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/db]`, or `rediss`.
    pub url: String,
    pub into: Into,
    pub format: Format,
    /// Names the sink's marks.
    pub sink: String,
}

pub struct Redis {
    client: Client,
    options: RedisOptions,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Redis {
    /// # Errors
    /// A sentence, if the URL cannot be used.
    pub fn new(options: RedisOptions) -> Result<Self, String> {
        let client = Client::open(options.url.as_str()).map_err(|error| format!("the target: {error}"))?;
        Ok(Redis { client, options, connection: Mutex::new(None) })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Fault> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let made = self.client.get_multiplexed_async_connection().await;
        let connection = made.map_err(Fault::unreachable)?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Runs a pipeline; a connection that failed is not used again.
    async fn run<T: redis::FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Fault> {
        let mut connection = self.connection().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *self.connection.lock().await = None;
                Err(fault_of(&error))
            }
        }
    }

    fn mark_keys(&self) -> (String, String) {
        // One hash slot in a cluster.
        let base = format!("headwater:{{{}}}", self.options.sink);
        (format!("{base}:low"), format!("{base}:finished"))
    }
}

fn fault_of(error: &RedisError) -> Fault {
    let is_down = error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
    if is_down || matches!(error.code(), Some("LOADING" | "READONLY" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS" | "OOM")) {
        return Fault::unreachable(error);
    }
    Fault::failed(error)
}

#[async_trait]
impl Target for Redis {
    async fn check(&self) -> Result<(), Fault> {
        let mut ping = redis::pipe();
        ping.cmd("PING").ignore();
        self.run::<()>(&ping).await
    }

    fn keeps_marks(&self) -> bool {
        matches!(self.options.into, Into::Stream(_))
    }

    async fn marks(&self) -> Result<Option<Marks>, Fault> {
        if !self.keeps_marks() {
            return Ok(None);
        }
        let (low, finished) = self.mark_keys();
        let mut read = redis::pipe();
        read.cmd("GET").arg(low).cmd("ZRANGE").arg(finished).arg(0).arg(-1);
        let (low, finished): (Option<String>, Vec<String>) = self.run(&read).await?;
        let Some(low) = low else { return Ok(None) };
        let position = |text: &String| {
            text.parse::<Position>().map_err(|()| Fault::unreachable("the marks at the target are no positions"))
        };
        let finished: Result<_, _> = finished.iter().map(position).collect();
        Ok(Some(Marks { low: position(&low)?, finished: finished? }))
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        match &self.options.into {
            Into::Channel(channel) => {
                for event in &delivery.events {
                    pipeline.cmd("PUBLISH").arg(channel).arg(render(event, self.options.format)).ignore();
                }
            }
            Into::Stream(stream) => {
                pipeline.atomic();
                for event in &delivery.events {
                    pipeline.cmd("XADD").arg(stream).arg("*").arg("id").arg(&*event.id);
                    pipeline.arg("key").arg(key_text(event)).arg("operation").arg(&*event.operation);
                    pipeline.arg("event").arg(render(event, self.options.format)).ignore();
                }
                let (low, finished) = self.mark_keys();
                let at = delivery.marks.low.to_string();
                pipeline.cmd("SET").arg(low).arg(&at).ignore();
                for position in &delivery.marks.finished {
                    pipeline.cmd("ZADD").arg(&finished).arg(0).arg(position.to_string()).ignore();
                }
                pipeline.cmd("ZREMRANGEBYLEX").arg(&finished).arg("-").arg(format!("({at}")).ignore();
            }
        }
        self.run::<()>(&pipeline).await
    }
}

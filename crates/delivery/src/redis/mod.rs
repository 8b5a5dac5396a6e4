//! Redis: messages of a channel, or entries of a stream.
//!
//! ```text
//!   redis://host/0?channel=orders     PUBLISH orders '{"id":…}'          nobody listens, nobody hears
//!   redis://host/0?stream=orders      XADD orders * id … key … event …   with the marks, in one script
//! ```
//!
//! A stream's entries and the sink's marks (`headwater:{sink}:…`) are one script, which leaves out
//! what the marks have already: each event is added exactly once, as durably as the server is
//! configured, also when an answer is lost.

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

/// KEYS: stream, low, finished, fence. ARGV: fence, low, "1" for letters on their way again, how many
/// finished positions, these, then five for each event: position, id, key, operation, text.
const ADD: &str = "
local fence = tonumber(redis.call('GET', KEYS[4]) or '0')
if fence > tonumber(ARGV[1]) then return redis.error_reply('SUPERSEDED') end
local low = redis.call('GET', KEYS[2]) or ''
local count = tonumber(ARGV[4])
for at = 5 + count, #ARGV, 5 do
  local known = ARGV[3] == '0' and (ARGV[at] < low or redis.call('ZSCORE', KEYS[3], ARGV[at]))
  if not known then
    redis.call('XADD', KEYS[1], '*', 'id', ARGV[at + 1], 'key', ARGV[at + 2],
      'operation', ARGV[at + 3], 'event', ARGV[at + 4])
  end
end
if ARGV[2] > low then redis.call('SET', KEYS[2], ARGV[2]) end
for at = 5, 4 + count do redis.call('ZADD', KEYS[3], 0, ARGV[at]) end
redis.call('ZREMRANGEBYLEX', KEYS[3], '-', '(' .. ARGV[2])
return 'OK'";
/// KEYS: fence. ARGV: fence. Answers the fence that stands.
const RAISE_FENCE: &str = "
local fence = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) > fence then redis.call('SET', KEYS[1], ARGV[1]); return tonumber(ARGV[1]) end
return fence";

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

    fn mark_keys(&self) -> [String; 3] {
        // One hash slot in a cluster.
        ["low", "finished", "fence"].map(|name| format!("headwater:{{{}}}:{name}", self.options.sink))
    }

    /// A script, so that what was added before an answer was lost is not added again.
    fn script(&self, stream: &str, delivery: &Delivery) -> Pipeline {
        let mut pipeline = redis::pipe();
        let call = pipeline.cmd("EVAL").arg(ADD).arg(4).arg(stream);
        for key in self.mark_keys() {
            call.arg(key);
        }
        call.arg(delivery.fence).arg(delivery.marks.low.to_string()).arg(u8::from(delivery.redriven));
        call.arg(delivery.marks.finished.len());
        for position in &delivery.marks.finished {
            call.arg(position.to_string());
        }
        for event in &delivery.events {
            call.arg(event.position.to_string()).arg(&*event.id).arg(key_text(event)).arg(&*event.operation);
            call.arg(render(event, self.options.format));
        }
        call.ignore();
        pipeline
    }
}

fn fault_of(error: &RedisError) -> Fault {
    if error.code() == Some("SUPERSEDED") || error.to_string().contains("SUPERSEDED") {
        return Fault::superseded();
    }
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

    async fn marks(&self, fence: u64) -> Result<Option<Marks>, Fault> {
        if !self.keeps_marks() {
            return Ok(None);
        }
        let [low, finished, at] = self.mark_keys();
        let mut raise = redis::pipe();
        raise.cmd("EVAL").arg(RAISE_FENCE).arg(1).arg(at).arg(fence);
        let (stands,): (u64,) = self.run(&raise).await?;
        if stands > fence {
            return Err(Fault::superseded());
        }
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
        let pipeline = match &self.options.into {
            Into::Channel(channel) => {
                let mut pipeline = redis::pipe();
                for event in &delivery.events {
                    pipeline.cmd("PUBLISH").arg(channel).arg(render(event, self.options.format)).ignore();
                }
                pipeline
            }
            Into::Stream(stream) => self.script(stream, delivery),
        };
        self.run::<()>(&pipeline).await
    }
}

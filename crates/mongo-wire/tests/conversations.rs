//! Conversations over a real socket: what a client sends, what it gets.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use document::{Doc, Value};
use mongo_wire::codec::{self, HEADER_LEN, Incoming, ReplyFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Server {
    address: SocketAddr,
    engine: engine::Headwater,
    _dir: tempfile::TempDir,
}

async fn serve() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let options = engine::Options { enable_test_commands: true, ..engine::Options::new(dir.path()) };
    let engine = engine::Headwater::open(options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(mongo_wire::serve(listener, engine.clone(), None, std::future::pending()));
    Server { address, engine, _dir: dir }
}

struct Client(TcpStream);

impl Server {
    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }
}

impl Client {
    async fn send(&mut self, command: Doc) {
        self.send_flagged(command, 0).await;
    }

    async fn send_flagged(&mut self, mut command: Doc, flags: u32) {
        if !command.contains("$db") {
            command.push("$db", "t");
        }
        let mut message = codec::encode_msg(ReplyFrame::default(), &command.to_buf());
        message[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&flags.to_le_bytes());
        self.0.write_all(&message).await.unwrap();
    }

    /// The next reply, and whether another one follows.
    async fn receive(&mut self) -> Option<(Doc, bool)> {
        let mut header = [0; HEADER_LEN];
        self.0.read_exact(&mut header).await.ok()?;
        let header_read = codec::decode_header(&header).unwrap();
        let mut whole = header.to_vec();
        whole.resize(header_read.length, 0);
        self.0.read_exact(&mut whole[HEADER_LEN..]).await.ok()?;
        match codec::decode(header_read, Bytes::from(whole)).unwrap() {
            Incoming::Command(reply) => Some((reply.body.to_doc(), reply.more_to_come)),
            Incoming::Query(_) => None,
        }
    }

    async fn run(&mut self, command: Doc) -> Doc {
        self.send(command).await;
        self.receive().await.expect("the server answers").0
    }
}

fn command(name: &str, value: impl Into<Value>) -> Doc {
    Doc::new().with(name, value)
}

fn code(reply: &Doc) -> i64 {
    reply.get("code").and_then(Value::as_whole).unwrap_or(0)
}

fn cursor_of(reply: &Doc) -> &Doc {
    reply.get("cursor").and_then(Value::as_document).expect("a cursor reply")
}

fn id_of(reply: &Doc) -> i64 {
    cursor_of(reply).get("id").and_then(Value::as_whole).unwrap()
}

fn insert(id: i32) -> Doc {
    command("insert", "c").with("documents", vec![Value::Document(Doc::new().with("_id", id))])
}

fn watch() -> Doc {
    let stage = Doc::new().with("$changeStream", Doc::new());
    command("aggregate", "c").with("pipeline", vec![Value::Document(stage)]).with("cursor", Doc::new())
}

fn get_more(id: i64, max_time_ms: i32) -> Doc {
    command("getMore", id).with("collection", "c").with("maxTimeMS", max_time_ms)
}

/// Waits for something that another task is about to do.
async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_carries_the_cluster_time_and_every_error_its_name() {
    let server = serve().await;
    let mut client = server.connect().await;
    let reply = client.run(insert(1)).await;
    assert_eq!(reply.get("ok"), Some(&Value::Double(1.0)));
    assert!(reply.contains("$clusterTime") && reply.contains("operationTime"));
    let reply = client.run(insert(1)).await;
    let errors = reply.get("writeErrors").and_then(Value::as_array).unwrap();
    assert_eq!(errors[0].as_document().unwrap().get("code"), Some(&Value::Int32(11000)));
    let reply = client.run(command("nope", 1)).await;
    assert_eq!((code(&reply), reply.get("codeName").unwrap().as_str()), (59, Some("CommandNotFound")));
    assert!(reply.contains("$clusterTime"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_write_is_done_although_its_client_leaves() {
    let server = serve().await;
    let mut client = server.connect().await;
    let w0 = Doc::new().with("w", 0);
    client.send_flagged(insert(5).with("writeConcern", w0), 2).await;
    drop(client);
    let mut other = server.connect().await;
    eventually("the write", async || {
        let reply = other.run(command("count", "c")).await;
        reply.get("n").and_then(Value::as_whole) == Some(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_get_more_ends_when_its_client_leaves_or_its_cursor_is_killed() {
    let server = serve().await;
    let (mut waiting, mut other) = (server.connect().await, server.connect().await);
    let status = async |client: &mut Client, path: &[&str]| {
        let mut at = Value::Document(client.run(command("serverStatus", 1).with("$db", "admin")).await);
        for name in path {
            at = at.as_document().and_then(|doc| doc.get(name)).cloned().unwrap();
        }
        at.as_whole().unwrap()
    };
    let id = id_of(&waiting.run(watch()).await);
    waiting.send(get_more(id, 60_000)).await;
    let kill = command("killCursors", "c").with("cursors", vec![Value::Int64(id)]);
    other.run(kill).await;
    let (reply, _) = waiting.receive().await.unwrap();
    assert!(matches!(code(&reply), 237 | 43), "{reply:?}");

    let id = id_of(&waiting.run(watch()).await);
    let begun = status(&mut other, &["opcounters", "getmore"]).await;
    waiting.send(get_more(id, 60_000)).await;
    eventually("the getMore began", async || status(&mut other, &["opcounters", "getmore"]).await > begun).await;
    drop(waiting);
    let open = ["metrics", "cursor", "open", "total"];
    eventually("the cursor is gone", async || status(&mut other, &open).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_more_returns_as_soon_as_an_event_comes() {
    let server = serve().await;
    let mut client = server.connect().await;
    let id = id_of(&client.run(watch()).await);
    client.send(get_more(id, 60_000)).await;
    server.engine.insert(engine::Namespace::new("t", "c"), vec![Doc::new().with("_id", 1).to_buf()]).await.unwrap();
    let (reply, _) = client.receive().await.unwrap();
    let events = cursor_of(&reply).get("nextBatch").and_then(Value::as_array).unwrap();
    assert_eq!(events[0].as_document().unwrap().get("operationType").unwrap().as_str(), Some("insert"));
    assert!(cursor_of(&reply).contains("postBatchResumeToken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_is_held_for_a_client_that_knows_the_topology_and_streamed_if_it_may_be() {
    let server = serve().await;
    let mut client = server.connect().await;
    let hello = || command("hello", 1).with("$db", "admin");
    let first = client.run(hello()).await;
    assert_eq!(first.get("setName").unwrap().as_str(), Some("rs0"));
    assert_eq!(first.get("me").unwrap().as_str(), Some(server.address.to_string().as_str()));
    let version = first.get("topologyVersion").unwrap().clone();
    let await_ms = |ms: i32| hello().with("topologyVersion", version.clone()).with("maxAwaitTimeMS", ms);
    let start = Instant::now();
    client.run(await_ms(200)).await;
    assert!(start.elapsed() >= Duration::from_millis(190));
    client.send_flagged(await_ms(10), 1 << 16).await;
    for _ in 0..3 {
        assert!(client.receive().await.unwrap().1, "more to come");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_point_fails_what_it_names_with_the_labels_the_server_would_give() {
    let server = serve().await;
    let mut client = server.connect().await;
    let id = id_of(&client.run(watch()).await);
    let point = |name: &str, data: Doc| {
        let times = Doc::new().with("times", 1);
        command("configureFailPoint", name).with("mode", times).with("data", data).with("$db", "admin")
    };
    client.run(point("failGetMoreAfterCursorCheckout", Doc::new().with("errorCode", 91))).await;
    let reply = client.run(get_more(id, 1)).await;
    assert_eq!(code(&reply), 91);
    let labels = reply.get("errorLabels").and_then(Value::as_array).unwrap();
    assert_eq!(labels, [Value::from("ResumableChangeStreamError")]);
    let data = Doc::new().with("failCommands", vec!["insert".into()]).with("closeConnection", true);
    client.run(point("failCommand", data)).await;
    client.send(insert(1)).await;
    assert!(client.receive().await.is_none(), "the connection is closed");
    let mut again = server.connect().await;
    assert_eq!(again.run(insert(1)).await.get("n"), Some(&Value::Int32(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_the_transaction_it_happens_in() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.run(insert(1)).await;
    let session = |command: Doc, start: bool| {
        let lsid = Doc::new().with("id", base::Uuid([9; 16]));
        let command = command.with("lsid", lsid).with("txnNumber", 1i64).with("autocommit", false);
        if start { command.with("startTransaction", true) } else { command }
    };
    client.run(session(insert(2), true)).await;
    let bad = command("find", "c").with("filter", Doc::new().with("a", Doc::new().with("$nope", 1)));
    assert_eq!(code(&client.run(session(bad, false)).await), 2);
    let reply = client.run(session(insert(3), false)).await;
    assert_eq!(code(&reply), 251);
    let labels = reply.get("errorLabels").and_then(Value::as_array).unwrap();
    assert_eq!(labels, [Value::from("TransientTransactionError")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_its_own_connection_only() {
    let server = serve().await;
    let mut random = base::Random::seeded(7);
    for _ in 0..50 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let length = 16 + random.below(200) as i32;
        let mut noise: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        noise[..4].copy_from_slice(&length.to_le_bytes());
        noise[12..16].copy_from_slice(&2013i32.to_le_bytes());
        let _ = socket.write_all(&noise).await;
    }
    let mut client = server.connect().await;
    assert_eq!(client.run(command("ping", 1)).await.get("ok"), Some(&Value::Double(1.0)));
}

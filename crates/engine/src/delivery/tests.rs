//! Sinks against a database of their own, and an HTTP endpoint that misbehaves on demand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::sql::parser;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use document::{Doc, DocBuf, Value};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::documents::{Caller, DeleteStatement, Find, Modification, UpdateStatement, Write, WriteBatch};
use crate::sql::{Outcome, SqlSession};
use crate::{BatchLimit, Headwater, Namespace, Options, datum_text};

/// One request that the endpoint took.
#[derive(Clone, Debug)]
struct Taken {
    id: String,
    body: Json,
    headers: HeaderMap,
}

type Answer = Box<dyn FnMut(&Json) -> u16 + Send>;

/// An HTTP endpoint that answers as a closure says, and keeps what it answered 200 to.
#[derive(Clone)]
struct Endpoint {
    url: String,
    taken: Arc<Mutex<Vec<Taken>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Endpoint {
    async fn start(answer: impl FnMut(&Json) -> u16 + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let endpoint = Endpoint { url, taken: Arc::default(), answer: Arc::new(Mutex::new(Box::new(answer))) };
        let route = axum::routing::post(
            |State(endpoint): State<Endpoint>, headers: HeaderMap, axum::Json(body): axum::Json<Json>| async move {
                let status = StatusCode::from_u16((endpoint.answer.lock())(&body)).unwrap();
                if status.is_success() {
                    let id = headers["idempotency-key"].to_str().unwrap().to_owned();
                    endpoint.taken.lock().push(Taken { id, body, headers });
                }
                status
            },
        );
        let app = axum::Router::new().route("/hook", route).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        endpoint
    }

    fn answers(&self, answer: impl FnMut(&Json) -> u16 + Send + 'static) {
        *self.answer.lock() = Box::new(answer);
    }

    /// What was taken, shown as `operation key`.
    fn shown(&self) -> Vec<String> {
        let show = |taken: &Taken| format!("{} {}", taken.body["operation"].as_str().unwrap(), taken.body["key"]);
        self.taken.lock().iter().map(show).collect()
    }
}

struct Database {
    db: Headwater,
    dir: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Database { db: open(dir.path()), dir }
    }

    fn reopened(self) -> Self {
        self.db.close();
        let Database { db, dir } = self;
        drop(db);
        Database { db: open(dir.path()), dir }
    }

    /// The last statement's rows as `a|b` lines, or its tag, or its error.
    async fn run(&self, text: &str) -> String {
        let mut session = SqlSession::new(self.db.clone(), "shop", "me");
        let mut last = String::new();
        let statements = match parser::parse(text) {
            Ok(statements) => statements,
            Err(error) => return format!("{} {}", error.code, error.message),
        };
        for parsed in statements {
            let own = &text[parsed.range.clone()];
            last = match session.execute(&parsed.statement, own, vec![], &[]).await {
                Err(error) => return format!("{} {}", error.code, error.message),
                Ok(executed) => match executed.outcome {
                    Outcome::Command { tag } => tag,
                    Outcome::Rows { fields, rows, .. } => {
                        let line = |row: &::sql::Row| {
                            let cells = row.iter().zip(&fields).map(|(datum, field)| datum_text(datum, &field.ty));
                            cells.collect::<Vec<_>>().join("|")
                        };
                        rows.iter().map(line).collect::<Vec<_>>().join("\n")
                    }
                    other => format!("{other:?}"),
                },
            };
        }
        last
    }

    /// Waits until the query gives that.
    async fn becomes(&self, query: &str, wanted: &str) {
        let mut found = String::new();
        for _ in 0..3000 {
            found = self.run(query).await;
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{query} gave {found:?}, not {wanted:?}; sinks: {}", self.run("SHOW SINKS").await);
    }

    async fn insert(&self, id: i32, status: &str) {
        let doc = Doc::new().with("_id", id).with("status", status).to_buf();
        self.db.insert(Namespace::new("shop", "orders"), vec![doc]).await.unwrap();
    }

    async fn update(&self, id: i32, status: &str) {
        let update = Doc::new().with("$set", Value::Document(Doc::new().with("status", status))).to_buf();
        let filter = Doc::new().with("_id", id).to_buf();
        self.write(Write::Update(UpdateStatement::new(filter, Modification::Document(update)))).await;
    }

    async fn delete(&self, id: i32) {
        let filter = Doc::new().with("_id", id).to_buf();
        self.write(Write::Delete(DeleteStatement { filter, multi: false, collation: None, hint: None })).await;
    }

    async fn write(&self, write: Write) {
        let batch = WriteBatch::on(Namespace::new("shop", "orders"), [write]);
        let report = self.db.write(&Caller::default(), batch).await.unwrap();
        assert_eq!(report.errors().count(), 0);
    }

    async fn documents(&self, name: &str) -> Vec<String> {
        let find = Find::new(Namespace::new("shop", name), DocBuf::default());
        let mut cursor = self.db.find(&Caller::default(), find).unwrap();
        let batch = cursor.next_batch(BatchLimit::default(), None).await.unwrap();
        batch
            .documents
            .iter()
            .map(|doc| document::json::to_plain_string(document::Raw::Document(doc.as_doc())))
            .collect()
    }
}

fn open(dir: &Path) -> Headwater {
    Headwater::open(Options::new(dir)).unwrap()
}

const DELIVERED: &str = "SELECT delivered FROM sinks";

#[tokio::test(flavor = "multi_thread")]
async fn every_change_reaches_the_endpoint_once_and_in_order() {
    let endpoint = Endpoint::start(|_| 200).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders WITH (full_document = 'whenAvailable')").await;
    let create = format!("CREATE SINK k FROM CHANGE_STREAM('s') INTO '{}' WITH (secret = 'hush')", endpoint.url);
    assert_eq!(database.run(&create).await, "CREATE SINK");
    assert_eq!(database.run(&create).await, "42710 sink \"k\" already exists");
    for id in 0..20 {
        database.insert(id, "new").await;
    }
    database.becomes(DELIVERED, "20").await;
    // A restart neither forgets nor repeats.
    let database = database.reopened();
    database.insert(20, "new").await;
    database.becomes(DELIVERED, "21").await;
    let mut shown = endpoint.shown();
    shown.sort();
    let mut wanted: Vec<String> = (0..21).map(|id| format!("insert {{\"_id\":{id}}}")).collect();
    wanted.sort();
    assert_eq!(shown, wanted);
    let taken = endpoint.taken.lock()[0].clone();
    assert_eq!(taken.body["id"].as_str().unwrap(), taken.id);
    assert_eq!(taken.body["data"]["full_document"]["status"], "new");
    assert!(taken.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_key_parks_alone_until_it_is_redriven() {
    let endpoint = Endpoint::start(|body| if body["key"]["_id"] == 1 { 500 } else { 200 }).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    let options = "max_retries = 1, retry_delay = '1 ms'";
    database.run(&format!("CREATE SINK k FROM s INTO '{}' WITH ({options})", endpoint.url)).await;
    database.insert(1, "new").await;
    database.insert(2, "new").await;
    database.becomes("SELECT status, attempts FROM dead_letters", "dead|2").await;
    database.update(1, "paid").await;
    database.update(2, "paid").await;
    database.becomes("SELECT status FROM dead_letters ORDER BY event_id", "dead\nwaiting").await;
    database.becomes(DELIVERED, "2").await;
    // Also after a restart the later events of the key wait.
    let database = database.reopened();
    database.update(1, "shipped").await;
    database.becomes("SELECT status FROM dead_letters ORDER BY event_id", "dead\nwaiting\nwaiting").await;
    endpoint.answers(|_| 200);
    assert_eq!(database.run("REDRIVE DEAD LETTERS FROM k WHERE error LIKE 'HTTP 500%'").await, "REDRIVE 1");
    database.becomes("SELECT DISTINCT status FROM dead_letters", "delivered").await;
    database.update(1, "closed").await;
    database.becomes(DELIVERED, "6").await;
    let of_key: Vec<String> = endpoint.shown().into_iter().filter(|line| line.contains(":1}")).collect();
    assert_eq!(of_key, ["insert {\"_id\":1}", "update {\"_id\":1}", "update {\"_id\":1}", "update {\"_id\":1}"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_a_dead_letter_frees_what_waits_behind_it() {
    let endpoint = Endpoint::start(|body| if body["operation"] == "insert" { 422 } else { 200 }).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run(&format!("CREATE SINK k FROM s INTO '{}'", endpoint.url)).await;
    database.insert(1, "new").await;
    database.update(1, "paid").await;
    database.becomes("SELECT status, attempts FROM dead_letters ORDER BY event_id", "dead|1\nwaiting|0").await;
    assert_eq!(database.run("DISCARD DEAD LETTERS FROM k WHERE status = 'dead'").await, "DISCARD 1");
    database.becomes("SELECT status FROM dead_letters ORDER BY event_id", "discarded\ndelivered").await;
    database.insert(2, "new").await;
    database.becomes("SELECT count(*) FROM dead_letters WHERE status = 'dead'", "1").await;
    assert_eq!(endpoint.shown(), ["update {\"_id\":1}"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_mirrors_a_stream() {
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    assert_eq!(
        database.run("CREATE SINK k FROM s INTO 'collection:orders'").await,
        "42P16 the sink would write into what it reads: collection \"shop.orders\""
    );
    assert_eq!(database.run("CREATE SINK k FROM s INTO 'collection:mirror'").await, "CREATE SINK");
    database.insert(1, "new").await;
    database.insert(2, "new").await;
    database.update(1, "paid").await;
    database.delete(2).await;
    database.becomes(DELIVERED, "4").await;
    assert_eq!(database.documents("mirror").await, ["{\"_id\": 1, \"status\": \"paid\"}"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_kept_in_a_collection_across_restarts() {
    let database = Database::new();
    database.insert(1, "new").await;
    database
        .run("CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
        .await;
    assert_eq!(
        database.run("CREATE SINK k FROM v INTO 'collection:counts'").await,
        "22023 this sink needs the option \"key\""
    );
    database.run("CREATE SINK k FROM v INTO 'collection:counts' WITH (key = 'status')").await;
    database.becomes(DELIVERED, "1").await;
    database.run("ALTER SINK k PAUSE").await;
    database.insert(2, "new").await;
    database.update(1, "paid").await;
    let database = database.reopened();
    database.update(2, "paid").await;
    database.run("ALTER SINK k RESUME").await;
    database.becomes("SELECT document->>'n' FROM counts WHERE document->>'status' = 'paid'", "2").await;
    database.becomes("SELECT count(*) FROM counts", "1").await;
    assert_eq!(database.documents("counts").await, ["{\"_id\": \"paid\", \"status\": \"paid\", \"n\": 2}"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_makes_rows_of_events_and_a_file_keeps_them() {
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    let query =
        "SELECT change_id, full_document->>'status' AS status FROM CHANGE_STREAM('s') WHERE operation_type = 'insert'";
    assert_eq!(
        database.run(&format!("CREATE SINK k AS {query} INTO 'file:../x'")).await.split(' ').next(),
        Some("22023")
    );
    database.run(&format!("CREATE SINK k AS {query} INTO 'file:out.jsonl' WITH (format = 'plain')")).await;
    database.insert(1, "new").await;
    database.update(1, "paid").await;
    database.insert(2, "old").await;
    database.becomes(DELIVERED, "2").await;
    let text = std::fs::read_to_string(database.dir.path().join("sinks/out.jsonl")).unwrap();
    let statuses: Vec<String> =
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["status"].to_string()).collect();
    assert_eq!(statuses, ["\"new\"", "\"old\""]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_delivers_again_and_drop_forgets() {
    let endpoint = Endpoint::start(|_| 200).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run(&format!("CREATE SINK k FROM s INTO '{}'", endpoint.url)).await;
    database.insert(1, "new").await;
    database.insert(2, "new").await;
    database.becomes("SELECT delivered, last_error FROM sinks", "2|").await;
    let token = database.run("SELECT min(change_id) FROM CHANGE_STREAM('s')").await;
    assert_eq!(database.run(&format!("ALTER SINK k REPLAY FROM '{token}'")).await, "ALTER SINK");
    database.becomes(DELIVERED, "3").await;
    assert_eq!(database.run("ALTER SINK k REPLAY").await, "ALTER SINK");
    database.becomes(DELIVERED, "5").await;
    assert_eq!(database.run("DROP CHANGE STREAM s").await.split(' ').next(), Some("2BP01"));
    assert_eq!(database.run("DROP SINK k").await, "DROP SINK");
    assert_eq!(database.run("SELECT count(*) FROM sinks").await, "0");
    assert_eq!(database.run("DROP CHANGE STREAM s").await, "DROP CHANGE STREAM");
    let mut ids: Vec<String> = endpoint.taken.lock().iter().map(|taken| taken.id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "a replayed event keeps its id");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_logged_under_the_known_names() {
    let endpoint = Endpoint::start(|_| 200).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run(&format!("CREATE SINK k FROM s INTO '{}'", endpoint.url)).await;
    database.insert(1, "new").await;
    let query =
        "SELECT stream_name, sink_name, collection_name, processed_successfully FROM change_stream_processing_log";
    database.becomes(query, "s|shop.k|orders|t").await;
    database.becomes("SELECT operation_type, processed FROM change_event_log", "insert|t").await;
    let find = Find::new(Namespace::new("config", "change_stream_processing_log"), DocBuf::default());
    let mut cursor = database.db.find(&Caller::default(), find).unwrap();
    let batch = cursor.next_batch(BatchLimit::default(), None).await.unwrap();
    assert_eq!(batch.documents[0].get("stream_name").unwrap().as_str(), Some("shop.s"));
    let database = database.reopened();
    database.becomes("SELECT sink_name FROM change_stream_resume_tokens", "shop.k").await;
    database.becomes("SELECT processor_id, kind, event_count FROM event_processor_status", "shop.k|sink|1").await;
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_when_the_sink_is_created() {
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.insert(1, "new").await;
    database.run("CREATE MATERIALIZED VIEW v AS SELECT _id, document->>'status' AS status FROM orders").await;
    let check = async |statement: &str, wanted: &str| {
        let found = database.run(statement).await;
        assert!(found.starts_with(wanted), "{statement}\n gave {found}\n not  {wanted}");
    };
    check("CREATE SINK k FROM nothing INTO 'file:x'", "42P01 ").await;
    check("CREATE SINK k FROM CHANGE_STREAM('nothing') INTO 'file:x'", "42P01 ").await;
    check("CREATE SINK k FROM s INTO 'smtp://h/'", "0A000 a sink into 'smtp:'").await;
    check("CREATE SINK k FROM s INTO 'http:///hook'", "22023 ").await;
    check("CREATE SINK k FROM s INTO 'http://h/' WITH (headers = ['content-length: 5'])", "22023 ").await;
    check("CREATE SINK k FROM s INTO 'http://h/' WITH (colour = 'red')", "22023 unrecognized sink option").await;
    check("CREATE SINK k FROM s INTO 'http://h/' WITH (timeout = '0 s')", "22023 timeout").await;
    check("CREATE SINK k FROM s INTO 'http://h/' WITH (parallelism = 100000)", "22023 parallelism").await;
    check("CREATE SINK k FROM s INTO 'file:x' WITH (secret = 'x')", "22023 a sink into 'file:' has no option").await;
    check("CREATE SINK k FROM s INTO 'file:/etc/passwd'", "22023 ").await;
    check("CREATE SINK k FROM s INTO 'collection:config.dead_letters'", "42501 ").await;
    check("CREATE SINK k FROM v INTO 'collection:orders' WITH (key = '_id')", "42P16 ").await;
    check("CREATE SINK k FROM s INTO 'http://h/' WITH (key = 'x')", "0A000 ").await;
    check("CREATE SINK k FROM v INTO 'http://h/' WITH (key = 'x')", "42703 ").await;
    check("CREATE SINK k FROM v INTO 'http://h/' WITH (priority = 'status')", "42804 ").await;
    check("CREATE SINK k FROM v INTO 'http://h/' WITH (priority = 'status +')", "42601 the priority: ").await;
    check("CREATE SINK k FROM v INTO 'http://h/' WITH (priority = 'length(nothing)')", "42703 the priority: ").await;
    check("CREATE SINK k FROM v INTO 'http://h/' WITH (priority = 'extract(epoch FROM now())')", "0A000 ").await;
    check("CREATE SINK k FROM s INTO 'redis://127.0.0.1:1/0'", "22023 the target names no channel").await;
    check("CREATE SINK k FROM s INTO 'redis://127.0.0.1:1/0?stream=x'", "08001 ").await;
    check("CREATE SINK k FROM s INTO 'postgres://127.0.0.1:1/db'", "22023 the target names no table").await;
    check("CREATE SINK k FROM s INTO 'mongodb://127.0.0.1:1'", "22023 the target names no database").await;
    let counts = "SELECT operation_type, count(*) FROM CHANGE_STREAM('s') GROUP BY 1";
    check(&format!("CREATE SINK k AS {counts} INTO 'file:x'"), "0A000 a sink's query that combines").await;
    check("CREATE SINK k AS SELECT * FROM sinks INTO 'file:x'", "0A000 ").await;
    check("ALTER SINK k PAUSE", "42704 ").await;
    check("DROP SINK IF EXISTS k", "DROP SINK").await;
    check("REDRIVE DEAD LETTERS FROM k", "42704 ").await;
    check("SELECT count(*) FROM sinks", "0").await;
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_what_a_sink_reads_takes_the_sink_along_only_with_cascade() {
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM CHANGE_STREAM('s')").await;
    database.run("CREATE SINK of_s FROM s INTO 'file:s'; CREATE SINK of_v FROM v INTO 'file:v'").await;
    assert!(database.run("DROP MATERIALIZED VIEW v").await.starts_with("2BP01"));
    assert!(database.run("CREATE OR REPLACE CHANGE STREAM s ON orders").await.starts_with("2BP01"));
    assert_eq!(database.run("DROP CHANGE STREAM s CASCADE").await, "DROP CHANGE STREAM");
    assert_eq!(database.run("SELECT count(*) FROM sinks").await, "0");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_by_wish_stops_and_resumes_where_it_was() {
    let endpoint = Endpoint::start(|_| 422).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run(&format!("CREATE SINK k FROM s INTO '{}' WITH (on_error = 'fail')", endpoint.url)).await;
    database.insert(1, "new").await;
    database.becomes("SELECT status FROM sinks", "failed").await;
    endpoint.answers(|_| 200);
    assert_eq!(database.run("ALTER SINK k RESUME").await, "ALTER SINK");
    database.becomes(DELIVERED, "1").await;
    endpoint.answers(|_| 422);
    assert_eq!(database.run("ALTER SINK k SET (on_error = 'skip')").await, "ALTER SINK");
    database.insert(2, "new").await;
    database.becomes("SELECT skipped, status FROM sinks", "1|running").await;
    database.becomes("SELECT processed FROM change_event_log ORDER BY processed_at DESC LIMIT 1", "f").await;
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_stream_holds_its_sinks_and_loses_nothing() {
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run("CREATE CHANGE STREAM other ON orders; CREATE SINK free FROM other INTO 'file:y'").await;
    database.run("CREATE SINK k FROM s INTO 'collection:mirror'").await;
    database.run("CREATE SINK l AS SELECT change_id FROM CHANGE_STREAM('s') INTO 'file:x'").await;
    const HELD: &str = "SELECT sum(delivered) FROM sinks WHERE sink_name <> 'free'";
    database.insert(1, "new").await;
    database.becomes(HELD, "2").await;
    database.run("ALTER CHANGE STREAM s PAUSE").await;
    database.insert(2, "new").await;
    let database = database.reopened();
    database.insert(3, "new").await;
    database.becomes("SELECT delivered FROM sinks WHERE sink_name = 'free'", "3").await;
    assert_eq!(database.run(HELD).await, "2");
    database.run("ALTER CHANGE STREAM s RESUME").await;
    database.becomes(HELD, "6").await;
    assert_eq!(database.documents("mirror").await.len(), 3);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_urgent_goes_first_when_a_backlog_drains() {
    let query = "SELECT document_key, full_document->>'status' AS status FROM CHANGE_STREAM('s')";
    let named = "SELECT document_key, CASE full_document->>'status' WHEN 'urgent' THEN 1 ELSE 0 END AS urgency FROM CHANGE_STREAM('s')";
    let sources = [
        (format!("AS {named}"), "urgency"),
        (format!("AS {query}"), "CASE status WHEN ''urgent'' THEN 1 ELSE 0 END"),
        ("FROM CHANGE_STREAM('s')".to_owned(), "full_document->>''status'' = ''urgent''"),
        ("FROM v WITH_KEY".to_owned(), "CASE WHEN status = ''urgent'' THEN 1.5 ELSE -2 END"),
    ];
    for (source, priority) in sources {
        drains_by_priority(&source, priority).await;
    }
}

async fn drains_by_priority(source: &str, priority: &str) {
    let endpoint = Endpoint::start(|_| 503).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    let rows = "SELECT (document->>'_id')::int AS _id, document->>'status' AS status FROM orders";
    database.run(&format!("CREATE MATERIALIZED VIEW v AS {rows}")).await;
    let (source, key) = match source.strip_suffix(" WITH_KEY") {
        Some(source) => (source, "key = '_id', "),
        None => (source, ""),
    };
    let options =
        format!("{key}priority = '{priority}', parallelism = 1, retry_delay = '50 ms', max_retry_delay = '50 ms'");
    database.run(&format!("CREATE SINK k {source} INTO '{}' WITH ({options})", endpoint.url)).await;
    for id in 0..30 {
        database.insert(id, "usual").await;
    }
    database.insert(30, "urgent").await;
    database.becomes("SELECT waiting, circuit_open FROM sinks", "31|t").await;
    endpoint.answers(|_| 200);
    database.becomes(DELIVERED, "31").await;
    let id = |body: &serde_json::Value| {
        [&body["data"]["document_key"]["_id"], &body["key"]["_id"]].into_iter().find_map(serde_json::Value::as_u64)
    };
    let order: Vec<u64> = endpoint.taken.lock().iter().map(|taken| id(&taken.body).expect("a key")).collect();
    let place = order.iter().position(|id| *id == 30).unwrap();
    assert!(place <= 2, "by {priority} the urgent one came {place}th in {order:?}");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_blocks_or_never_returns_parks_only_its_documents() {
    let endpoint = Endpoint::start(|_| 200).await;
    let database = Database::new();
    database.run("CREATE CHANGE STREAM s ON orders").await;
    database.run(&format!("CREATE SINK k FROM s INTO '{}'", endpoint.url)).await;
    let handled: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (seen, (release, blocked)) = (Arc::clone(&handled), crossbeam_channel::bounded::<()>(0));
    let handler = database.db.handle("h").collection("shop", "orders").max_retries(0);
    handler
        .timeout(Duration::from_millis(100))
        .start(move |change| {
            let id = change.key().get("_id").and_then(|id| id.as_whole()).unwrap();
            assert_ne!(id, 1, "the closure panics");
            let (seen, blocked) = (Arc::clone(&seen), blocked.clone());
            async move {
                match id {
                    2 => std::future::pending().await,
                    3 => {
                        let _ = blocked.recv();
                    }
                    _ => seen.lock().push(id),
                }
                Ok(())
            }
        })
        .await
        .unwrap();
    for id in 1..8 {
        database.insert(id, "new").await;
    }
    database.becomes("SELECT status FROM dead_letters", "dead\ndead\ndead").await;
    database.becomes("SELECT delivered FROM sinks WHERE sink_name = 'k'", "7").await;
    database.becomes("SELECT delivered FROM sinks WHERE sink_name = 'h'", "4").await;
    let mut seen = handled.lock().clone();
    seen.sort_unstable();
    assert_eq!(seen, [4, 5, 6, 7]);
    drop(release);
    database.db.close();
}

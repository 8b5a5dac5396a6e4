//! Sessions against a database of their own.

use std::path::Path;

use ::sql::parser;
use document::Doc;

use super::*;
use crate::{Headwater, Namespace, Options};

struct Database {
    db: Headwater,
    dir: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Database { db: open(dir.path()), dir }
    }

    fn session(&self) -> SqlSession {
        SqlSession::new(self.db.clone(), "shop", "me")
    }

    fn reopened(self) -> Self {
        self.db.close();
        let Database { db, dir } = self;
        drop(db);
        Database { db: open(dir.path()), dir }
    }

    async fn insert(&self, id: i32, status: &str, total: i32) {
        let doc = Doc::new().with("_id", id).with("status", status).with("total", total);
        self.db.insert(Namespace::new("shop", "orders"), vec![doc.to_buf()]).await.unwrap();
    }
}

fn open(dir: &Path) -> Headwater {
    Headwater::open(Options::new(dir)).unwrap()
}

/// Runs statements; the last one's rows as `a|b` lines, or its tag, or its error as `code message`.
async fn run(session: &mut SqlSession, text: &str) -> String {
    let mut last = String::new();
    for parsed in parser::parse(text).unwrap() {
        let own = &text[parsed.range.clone()];
        match session.execute(&parsed.statement, own, vec![], &[]).await {
            Ok(executed) => last = shown(executed),
            Err(error) => {
                session.fail_transaction();
                return format!("{} {}", error.code, error.message);
            }
        }
    }
    last
}

fn shown(executed: Executed) -> String {
    let mut lines: Vec<String> = executed.notices.iter().map(|n| format!("NOTICE {}", n.message)).collect();
    match executed.outcome {
        Outcome::Rows { fields, rows, .. } => lines.extend(rows.iter().map(|row| line(&fields, row))),
        Outcome::Command { tag } => lines.push(tag),
        other => lines.push(format!("{other:?}")),
    }
    lines.join("\n")
}

fn line(fields: &[Field], row: &[Datum]) -> String {
    let values: Vec<String> = fields.iter().zip(row).map(|(f, v)| datum_text(v, &f.ty)).collect();
    values.join("|")
}

async fn feed(session: &mut SqlSession, text: &str) -> Feed {
    let parsed = parser::parse(text).unwrap();
    match session.execute(&parsed[0].statement, text, vec![], &[]).await.unwrap().outcome {
        Outcome::Stream { feed } => feed,
        other => panic!("no feed: {other:?}"),
    }
}

/// The next rows without their tokens, sorted.
async fn next(feed: &mut Feed) -> Vec<String> {
    let rows = tokio::time::timeout(std::time::Duration::from_secs(20), feed.next()).await.expect("rows in time");
    let rows = rows.expect("no end").expect("no error");
    let mut lines: Vec<String> = rows.iter().map(|row| line(&feed.fields[1..], &row[1..])).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_shown_and_given_back() {
    let database = Database::new();
    let mut session = database.session();
    assert_eq!(run(&mut session, "SHOW server_version_num").await, "150000");
    assert_eq!(run(&mut session, "SET TIME ZONE 'Europe/Berlin'; SHOW timezone").await, "Europe/Berlin");
    assert_eq!(
        run(&mut session, "SET timezone = 'Mars'").await,
        "22023 invalid value for parameter \"TimeZone\": \"Mars\""
    );
    assert_eq!(run(&mut session, "BEGIN; SET application_name = 'x'; ROLLBACK; SHOW application_name").await, "");
    assert_eq!(run(&mut session, "BEGIN; SET LOCAL application_name = 'x'; COMMIT; SHOW application_name").await, "");
    assert_eq!(run(&mut session, "SHOW nothing").await, "42704 unrecognized configuration parameter \"nothing\"");
    assert_eq!(
        run(&mut session, "SET server_version = '1'").await,
        "55P02 parameter \"server_version\" cannot be changed"
    );
    assert_eq!(run(&mut session, "SET app.user = '7'; SHOW app.user").await, "7");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_accepts_only_its_end() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "BEGIN").await;
    assert_eq!(session.transaction_status(), TransactionStatus::InTransaction);
    assert_eq!(
        run(&mut session, "CREATE CHANGE STREAM s ON orders").await,
        "25001 CREATE CHANGE STREAM cannot run inside a transaction block"
    );
    assert_eq!(session.transaction_status(), TransactionStatus::Failed);
    assert!(run(&mut session, "SHOW timezone").await.starts_with("25P02"));
    assert_eq!(run(&mut session, "COMMIT").await, "ROLLBACK");
    assert_eq!(run(&mut session, "COMMIT").await, "NOTICE there is no transaction in progress\nCOMMIT");
    assert_eq!(run(&mut session, "BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT").await, "COMMIT");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_defined_once_and_survive_a_restart() {
    let database = Database::new();
    let mut session = database.session();
    assert_eq!(
        run(&mut session, "CREATE CHANGE STREAM s ON orders WITH (retention = '1 day')").await,
        "CREATE CHANGE STREAM"
    );
    assert_eq!(run(&mut session, "CREATE CHANGE STREAM s ON orders").await, "42710 change stream \"s\" already exists");
    assert_eq!(
        run(&mut session, "CREATE CHANGE STREAM IF NOT EXISTS s ON orders").await,
        "NOTICE change stream \"s\" already exists, skipping\nCREATE CHANGE STREAM"
    );
    assert_eq!(run(&mut session, "ALTER CHANGE STREAM s SET (retention = '2 days')").await, "ALTER CHANGE STREAM");
    drop(session);
    let database = database.reopened();
    let mut session = database.session();
    let shown = run(&mut session, "SHOW CHANGE STREAMS").await;
    assert!(shown.starts_with("s|shop.orders|all|retention = 172800 seconds|"), "{shown}");
    assert_eq!(run(&mut session, "DROP CHANGE STREAM s").await, "DROP CHANGE STREAM");
    assert_eq!(run(&mut session, "DROP CHANGE STREAM s").await, "42P01 change stream \"s\" does not exist");
    assert_eq!(run(&mut session, "SHOW CHANGE STREAMS").await, "");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_stream_ends_where_it_was_paused_and_loses_nothing() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM CHANGE_STREAM('s')").await;
    run(&mut session, "CREATE MATERIALIZED VIEW w AS SELECT n * 10 AS m FROM v").await;
    database.insert(1, "new", 5).await;
    assert_eq!(run(&mut session, "ALTER CHANGE STREAM s PAUSE").await, "ALTER CHANGE STREAM");
    let again = run(&mut session, "ALTER CHANGE STREAM s PAUSE").await;
    assert_eq!(again, "NOTICE change stream \"s\" is already paused\nALTER CHANGE STREAM");
    database.insert(2, "new", 5).await;
    const READ: &str = "SELECT n, m, (SELECT count(*) FROM CHANGE_STREAM('s')) FROM v, w";
    assert_eq!(run(&mut session, READ).await, "1|10|1");
    drop(session);
    let database = database.reopened();
    let mut session = database.session();
    database.insert(3, "new", 5).await;
    assert_eq!(run(&mut session, READ).await, "1|10|1");
    assert_eq!(run(&mut session, "SELECT paused FROM change_streams").await, "t");
    assert_eq!(run(&mut session, "ALTER CHANGE STREAM s RESUME").await, "ALTER CHANGE STREAM");
    assert_eq!(run(&mut session, READ).await, "3|30|3");
    database.insert(4, "new", 5).await;
    assert_eq!(run(&mut session, READ).await, "4|40|4");
    drop(session);
    let database = database.reopened();
    let mut session = database.session();
    assert_eq!(run(&mut session, READ).await, "4|40|4");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_may_come_before_its_collection() {
    let database = Database::new();
    let mut session = database.session();
    let create = "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum((document->>'total')::int) AS t FROM orders";
    let notice = "NOTICE collection \"shop.orders\" does not exist yet; it is empty until it does";
    assert_eq!(run(&mut session, create).await, format!("{notice}\nCREATE MATERIALIZED VIEW"));
    assert_eq!(run(&mut session, "SELECT * FROM orders").await, "42P01 relation \"orders\" does not exist");
    assert_eq!(run(&mut session, "SELECT * FROM v").await, "0|");
    drop(session);
    let database = database.reopened();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    assert_eq!(run(&mut session, "SELECT * FROM v").await, "1|5");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_a_view_has_done() {
    let database = Database::new();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT status, count(*) AS n FROM orders GROUP BY status").await;
    database.insert(2, "new", 5).await;
    let text = run(&mut session, "EXPLAIN ANALYZE SELECT * FROM v").await;
    assert!(text.contains("Materialized View shop.v: rows=1 events=2 changes=3 failures=0 state="), "{text}");
    assert!(text.contains("Aggregate of #0: rows=3 time="), "{text}");
    let json = run(&mut session, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT n FROM v WHERE n > 0").await;
    assert!(json.contains("\"Node Type\": \"Filter\"") && json.contains("\"Actual Rows\": 1"), "{json}");
    assert!(json.contains("\"Name\": \"shop.v\", \"Rows\": 1, \"Events\": 2"), "{json}");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_the_moment_it_is_told() {
    let database = Database::new();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    let bad = run(&mut session, "SET headwater.read_after = 'yesterday'").await;
    assert!(bad.starts_with("22023"), "{bad}");
    let now = database.db.store().durable();
    let then = format!("{}.{:010}", now.seconds(), now.increment() + 2);
    assert_eq!(run(&mut session, &format!("SET headwater.read_after = '{then}'")).await, "SET");
    let (read, ()) = tokio::join!(run(&mut session, "SELECT count(*) >= 3 FROM orders"), async {
        for id in 2..5 {
            database.insert(id, "new", 5).await;
        }
    });
    assert_eq!(read, "t");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_is_accepted_and_notifying_refused() {
    let database = Database::new();
    let mut session = database.session();
    let listen = run(&mut session, "LISTEN jobs").await;
    assert_eq!(listen, "NOTICE channel \"jobs\" stays silent: there is no NOTIFY here\nLISTEN");
    assert_eq!(run(&mut session, "UNLISTEN *").await, "UNLISTEN");
    assert!(run(&mut session, "NOTIFY jobs").await.starts_with("0A000"));
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_the_moment_of_a_token() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders WITH (full_document_before_change = 'whenAvailable')").await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT status, count(*) AS n FROM orders GROUP BY status").await;
    run(&mut session, "CREATE MATERIALIZED VIEW w AS SELECT sum(n) AS n FROM v").await;
    database.insert(1, "new", 5).await;
    database.insert(2, "paid", 7).await;
    let token = run(&mut session, "SELECT max(change_id) FROM CHANGE_STREAM('s')").await;
    database.insert(3, "paid", 9).await;
    const READ: &str = "SELECT count(*), (SELECT count(*) FROM CHANGE_STREAM('s')), (SELECT n FROM w), \
                        (SELECT n FROM v WHERE status = 'paid') FROM orders";
    assert_eq!(run(&mut session, READ).await, "3|3|3|2");
    assert_eq!(run(&mut session, &format!("{READ} AS OF TOKEN '{token}'")).await, "2|2|2|1");
    let key = run(&mut session, &format!("SELECT _id FROM orders WHERE _id = 3 AS OF TOKEN '{token}'")).await;
    assert_eq!(key, "");
    assert!(run(&mut session, "SELECT 1 FROM orders AS OF TOKEN 'x'").await.starts_with("22023"));
    let system = run(&mut session, &format!("SELECT * FROM change_streams AS OF TOKEN '{token}'")).await;
    assert!(system.starts_with("0A000"), "{system}");
    let explained = run(&mut session, &format!("EXPLAIN SELECT * FROM v AS OF TOKEN '{token}'")).await;
    assert!(explained.starts_with("0A000"), "{explained}");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_read_goes_by_index() {
    let database = Database::new();
    let mut session = database.session();
    for id in 1..20 {
        database.insert(id, "new", id).await;
    }
    let text = run(&mut session, "EXPLAIN SELECT status FROM orders WHERE _id = 7 AND total > 1").await;
    let expected = "Collection shop.orders: by index _id_ where {\"$and\": [{\"_id\": {\"$in\": [7]}}]}";
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(run(&mut session, "SELECT _id, total FROM orders WHERE _id IN (7, 9, 77) AND total > 7").await, "9|9");
    assert_eq!(run(&mut session, "PREPARE p AS SELECT total FROM orders WHERE _id = $1::int; EXECUTE p(3)").await, "3");
    let unindexed = run(&mut session, "EXPLAIN SELECT status FROM orders WHERE total = 7").await;
    assert!(!unindexed.contains("by index"), "{unindexed}");
    database.db.close();
}

/// The statements that are read as their author meant them, T4 to T11: what the client is told, and
/// what the statement answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_how_its_statement_was_read() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    database.insert(1, "new", 5).await;
    database.insert(2, "paid", 7).await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT status::text AS status, total::int AS n FROM orders").await;
    for (what, statement, expected) in [
        ("T4", "SELECT count(*) FROM CHANGE_STREAM('s') WHERE updated_fields ? 'a.b'", "0"),
        ("T5", "WITH a AS (SELECT n FROM v), b AS (SELECT *, n + 1 AS m) SELECT sum(m) FROM b", "14"),
        ("T6", "SELECT n * 2 AS m FROM v WHERE m > 12", "14"),
        ("T7", "SELECT CASE status WHEN 'paid' AND n > 6 THEN 'x' ELSE 'y' END FROM v ORDER BY n", "y\nx"),
        (
            "T8",
            "SELECT s.operation_type, count(*) FROM CHANGE_STREAM('s') s GROUP BY s.change_id ORDER BY 1",
            "insert|1\ninsert|1",
        ),
        ("T9", "SELECT json_object_keys('{\"a\": 1, \"b\": 2}')", "{a,b}"),
    ] {
        let answer = run(&mut session, statement).await;
        let rows = answer.strip_prefix("NOTICE ").and_then(|rest| Some(rest.split_once('\n')?.1));
        assert_eq!(rows, Some(expected), "{what}: {answer}");
    }
    // T10: a ; inside a literal. T11: the cast binds to the filtered aggregate. Both as in PostgreSQL.
    assert_eq!(run(&mut session, "SELECT 'a;b'").await, "a;b");
    let share = "SELECT round(count(*) FILTER (WHERE n > 6)::decimal / count(*), 2) FROM v";
    assert_eq!(run(&mut session, share).await, "0.50");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_counts_changes_and_streams() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    let mut changes = database.db.follow_changes();
    database.insert(1, "new", 5).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(changes.next().await.unwrap());
    }
    assert_eq!(seen[1].operation, "insert");
    assert_eq!(seen[1].key.as_deref(), Some("1"));
    let status = database.db.status().await.unwrap();
    assert_eq!((status.collections, status.streams.len()), (1, 1));
    assert!(status.events >= 1);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_collections_streams_and_views() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    database.insert(1, "new", 5).await;
    database.insert(2, "paid", 7).await;
    let sums = "SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY status";
    assert_eq!(run(&mut session, sums).await, "\"new\"|1|5\n\"paid\"|1|7");
    let events = "SELECT operation_type, full_document->>'status' FROM CHANGE_STREAM('s') ORDER BY change_id";
    assert_eq!(run(&mut session, events).await, "insert|new\ninsert|paid");
    let view = "CREATE MATERIALIZED VIEW v AS SELECT status, count(*) AS n FROM orders GROUP BY status";
    assert_eq!(run(&mut session, view).await, "CREATE MATERIALIZED VIEW");
    assert_eq!(run(&mut session, view).await, "42P07 relation \"v\" already exists");
    database.insert(3, "paid", 1).await;
    assert_eq!(run(&mut session, "SELECT * FROM v ORDER BY 1").await, "\"new\"|1\n\"paid\"|2");
    assert_eq!(run(&mut session, "SELECT current_database(), current_user").await, "shop|me");
    drop(session);
    let database = database.reopened();
    let mut session = database.session();
    assert_eq!(run(&mut session, "SELECT * FROM v ORDER BY 1").await, "\"new\"|1\n\"paid\"|2");
    assert!(run(&mut session, "DROP CHANGE STREAM s").await.starts_with("DROP"));
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_views_read_is_not_dropped_under_them() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    run(
        &mut session,
        "CREATE MATERIALIZED VIEW v AS SELECT operation_type, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1",
    )
    .await;
    run(&mut session, "CREATE MATERIALIZED VIEW w AS SELECT sum(n) AS n FROM v").await;
    assert_eq!(
        run(&mut session, "DROP CHANGE STREAM s").await,
        "2BP01 cannot drop change stream s because other objects depend on it"
    );
    assert_eq!(
        run(&mut session, "DROP MATERIALIZED VIEW v").await,
        "2BP01 cannot drop materialized view v because other objects depend on it"
    );
    assert!(run(&mut session, "DROP CHANGE STREAM s CASCADE").await.ends_with("DROP CHANGE STREAM"));
    assert_eq!(run(&mut session, "SHOW VIEWS").await, "");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_with_the_rows_and_follows_them() {
    let database = Database::new();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT status, count(*) AS n FROM orders GROUP BY status").await;
    let mut followed = feed(&mut session, "SUBSCRIBE v").await;
    assert_eq!(next(&mut followed).await, ["1|\"new\"|1"]);
    database.insert(2, "new", 5).await;
    assert_eq!(next(&mut followed).await, ["-1|\"new\"|1", "1|\"new\"|2"]);
    let mut query = feed(&mut session, "SUBSCRIBE (SELECT total FROM orders WHERE total > 6)").await;
    database.insert(3, "paid", 7).await;
    assert_eq!(next(&mut query).await, ["1|7"]);
    let text = "SUBSCRIBE (SELECT total FROM orders WHERE total > $1) WITH (snapshot = false)";
    let parsed = parser::parse(text).unwrap();
    let bound = session.execute(&parsed[0].statement, text, vec![Datum::Int(100)], &[Some(Type::Int4)]).await;
    let Ok(Executed { outcome: Outcome::Stream { feed: mut bound }, .. }) = bound else { panic!("{bound:?}") };
    database.insert(4, "paid", 99).await;
    database.insert(5, "paid", 101).await;
    assert_eq!(next(&mut bound).await, ["1|101"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_query_resumes_after_a_token() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders").await;
    let query = "SELECT full_document->>'_id' AS id FROM CHANGE_STREAM('s')";
    let mut first = feed(&mut session, &format!("SUBSCRIBE ({query})")).await;
    database.insert(1, "new", 1).await;
    let rows = first.next().await.unwrap().unwrap();
    let Datum::Text(token) = &rows[0][0] else { panic!("no token") };
    drop(first);
    database.insert(2, "new", 2).await;
    let mut second = feed(&mut session, &format!("SUBSCRIBE ({query}) AS OF TOKEN '{token}'")).await;
    assert_eq!(next(&mut second).await, ["1|2"]);
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_reads_rows_and_feeds_in_parts() {
    let database = Database::new();
    let mut session = database.session();
    for id in 1..=3 {
        database.insert(id, "new", id).await;
    }
    run(&mut session, "BEGIN; DECLARE c CURSOR FOR SELECT total FROM orders ORDER BY total").await;
    assert_eq!(run(&mut session, "FETCH 2 FROM c").await, "1\n2");
    assert_eq!(run(&mut session, "FETCH ALL FROM c").await, "3");
    run(&mut session, "DECLARE f CURSOR FOR SUBSCRIBE (SELECT count(*) AS n FROM orders)").await;
    assert!(run(&mut session, "FETCH 1 FROM f").await.ends_with("|1|3"));
    assert_eq!(run(&mut session, "COMMIT").await, "COMMIT");
    assert_eq!(run(&mut session, "FETCH 1 FROM c").await, "34000 cursor \"c\" does not exist");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_arguments() {
    let database = Database::new();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    run(&mut session, "PREPARE p (int) AS SELECT total + $1 FROM orders").await;
    assert_eq!(run(&mut session, "EXECUTE p (2)").await, "7");
    assert!(run(&mut session, "EXECUTE p").await.starts_with("42601 wrong number of parameters"));
    assert_eq!(run(&mut session, "DEALLOCATE p; EXECUTE p (2)").await, "26000 prepared statement \"p\" does not exist");
    database.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_tables_and_views() {
    let database = Database::new();
    let mut session = database.session();
    database.insert(1, "new", 5).await;
    run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT status FROM orders").await;
    for (command, expected) in [
        ("d", "public|orders|table|headwater\npublic|v|materialized view|headwater"),
        ("dt", "public|orders|table|headwater"),
        ("dm", "public|v|materialized view|headwater"),
        ("dn", "public|headwater"),
    ] {
        let query = psql_query(command);
        assert_eq!(run(&mut session, query).await, expected, "\\{command}");
    }
    let found = run(&mut session, &psql_query("d_table_1").replace("^(t)$", "^(orders)$")).await;
    let oid = found.strip_suffix("|public|orders").expect("\\d finds the collection");
    for step in 2..=9 {
        let query = psql_query(&format!("d_table_{step}")).replace("16384", oid);
        let answer = run(&mut session, &query).await;
        let expected = match step {
            2 => "0|r|t|f|f|f|f|f|f||0||p|d|heap",
            3 => "_id|jsonb||t|||\ndocument|jsonb||f|||",
            4 => {
                "orders__id_|t|t|f|t|CREATE UNIQUE INDEX orders__id_ ON public.orders USING btree (_id)|PRIMARY KEY (_id)|p|f|f|f|0"
            }
            _ => "",
        };
        assert_eq!(answer, expected, "step {step} of \\d orders");
    }
    assert!(run(&mut session, psql_query("l")).await.contains("shop|headwater|UTF8"));
    let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'v'";
    assert_eq!(run(&mut session, columns).await, "status|jsonb");
    database.db.close();
}

/// What psql 15 sends for a backslash command.
fn psql_query(command: &str) -> &'static str {
    let all = include_str!("tests/psql.sql");
    all.split("-- \\").find_map(|part| part.strip_prefix(command)?.strip_prefix('\n')).expect("a known command")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processing_log_shows_what_streams_took_in() {
    let database = Database::new();
    let mut session = database.session();
    run(&mut session, "CREATE CHANGE STREAM s ON orders FILTER (full_document->>'status' = 'paid')").await;
    database.insert(1, "new", 5).await;
    database.insert(2, "paid", 7).await;
    let query = "SELECT stream_name, collection_name, processed_successfully FROM change_stream_processing_log";
    while run(&mut session, query).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(run(&mut session, query).await, "s|orders|t");
    assert_eq!(run(&mut session, "SELECT stream_name, events, retention FROM change_streams").await, "s|1|7 days");
    let maintained = format!("SUBSCRIBE ({query})");
    assert!(run(&mut session, &maintained).await.starts_with("0A000 a maintained query over the system table"));
    database.db.close();
}

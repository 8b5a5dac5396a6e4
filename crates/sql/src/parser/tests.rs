//! One statement of each kind, and the errors a client would see.

use super::*;

fn one(text: &str) -> Statement {
    let mut parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    assert_eq!(parsed.len(), 1, "{text}");
    parsed.remove(0).statement
}

/// SQLSTATE, message, position.
fn fails(text: &str, code: &str, message: &str, position: usize) {
    let error = parse(text).expect_err(text);
    assert_eq!((error.code, error.message.as_str(), error.position), (code, message, Some(position)), "{text}");
}

#[test]
fn the_lexer_splits_at_semicolons_that_are_tokens() {
    let text = "SELECT ';' /* ; */ -- ;\n; ; SELECT $$;$$; select \"a;b\" from t";
    let parsed = parse(text).unwrap();
    assert_eq!(parsed.len(), 3);
    assert_eq!(&text[parsed[1].range.clone()], "SELECT $$;$$");
}

#[test]
fn every_statement_has_a_spelling() {
    for text in [
        "TABLE orders",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT 1 EMIT CHANGES",
        "SELECT * FROM v AS OF TOKEN '8200'",
        "SELECT * FROM CHANGE_STREAM('s') SINCE '82AA' UP TO '82BB' WHERE true",
        "CREATE CHANGE STREAM s ON shop.orders WITH (retention = '7 days', start_at = 'earliest')",
        "CREATE OR REPLACE CHANGE STREAM IF NOT EXISTS s ON CLUSTER",
        "ALTER CHANGE STREAM s PAUSE",
        "ALTER CHANGE STREAM s SET (batch_size = 10)",
        "DROP CHANGE STREAM IF EXISTS s, t CASCADE",
        "SHOW CHANGE STREAMS",
        "DESCRIBE CHANGE STREAM s",
        "EXPLAIN CHANGE STREAM s",
        "CREATE MATERIALIZED VIEW v (a, b) WITH (retention = '1 hour') AS SELECT 1, 2",
        "DROP MATERIALIZED VIEW v",
        "DROP VIEW IF EXISTS v",
        "REFRESH MATERIALIZED VIEW v",
        "SUBSCRIBE v",
        "SUBSCRIBE TO (SELECT * FROM v) WITH (snapshot = false, progress)",
        "COPY (SUBSCRIBE TO v) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY orders (_id, status) TO STDOUT CSV HEADER",
        "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SUBSCRIBE v",
        "FETCH FORWARD 100 FROM c",
        "FETCH 5 c",
        "MOVE ALL IN c",
        "CLOSE ALL",
        "EXPLAIN (ANALYZE, FORMAT text) SELECT 1",
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "START TRANSACTION",
        "COMMIT WORK",
        "ROLLBACK TO SAVEPOINT a",
        "SET search_path TO a, b",
        "SET SESSION TIME ZONE 'Europe/Prague'",
        "SET LOCAL statement_timeout = 100",
        "SET extra_float_digits = -1",
        "SHOW ALL",
        "SHOW TIME ZONE",
        "SHOW transaction_isolation",
        "RESET ALL",
        "DISCARD ALL",
        "PREPARE p (int, text) AS SELECT $1, $2",
        "EXECUTE p (1, 'a')",
        "DEALLOCATE PREPARE p",
        "LISTEN c",
        "UNLISTEN *",
        "NOTIFY c, 'hello'",
        "CREATE SINK k FROM v INTO 'https://example.com/hook' WITH (key = 'id', max_retries = 5)",
        "CREATE SINK k AS SELECT a, b FROM v WHERE a > 1 INTO 'nats://h/s' WITH (timeout = '5s')",
        "CREATE SINK k FROM CHANGE_STREAM('s') INTO 'collection:copy' WITH (parallelism = 4, batch_delay = '5 ms')",
        "ALTER SINK k REPLAY SINCE '82AA'",
        "DROP SINK k",
        "REDRIVE DEAD LETTERS FROM k WHERE attempts < 3",
        "DISCARD DEAD LETTERS FROM k",
    ] {
        one(text);
    }
}

#[test]
fn options_are_typed() {
    let Statement::CreateChangeStream(stream) =
        one("CREATE CHANGE STREAM s ON c WITH (full_document = 'updateLookup', operation_types = ARRAY['insert'], \
         max_await_time_ms = 1000, retention = '1 day 12 hours') FILTER (operation_type = 'insert')")
    else {
        panic!("not a stream")
    };
    assert_eq!(stream.options.full_document, Some(statement::FullDocument::UpdateLookup));
    assert_eq!(stream.options.max_await_time, Some(std::time::Duration::from_secs(1)));
    assert_eq!(stream.options.retention, Some(std::time::Duration::from_secs(36 * 3600)));
    assert_eq!(stream.filter.map(|f| f.text).as_deref(), Some("operation_type = 'insert'"));
    fails(
        "CREATE CHANGE STREAM s ON c WITH (batchsize = 1)",
        "22023",
        "unrecognized change stream option \"batchsize\"",
        35,
    );
    fails(
        "CREATE CHANGE STREAM s ON c WITH (batch_size = 'x')",
        "22023",
        "invalid value for option \"batch_size\": 'x'",
        35,
    );
}

#[test]
fn errors_point_at_the_token() {
    fails("SELECT 1 FROM", "42601", "syntax error at end of input", 14);
    fails("SELECT\n 1 1", "42601", "syntax error at or near \"1\"", 11);
    fails("SELEC 1", "42601", "syntax error at or near \"SELEC\"", 1);
    fails("SELECT 1; FOO", "42601", "syntax error at or near \"FOO\"", 11);
    fails("INSERT INTO t VALUES (1)", "0A000", "INSERT is not supported", 1);
    fails("CREATE TABLE t (a int)", "0A000", "CREATE TABLE is not supported", 1);
    fails("SELECT * FROM (SELECT 1 EMIT CHANGES) t", "42601", "syntax error at or near \"EMIT CHANGES\"", 25);
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    for text in [
        deep("(", ")", 10_000),
        deep("f(", ")", 5_000),
        deep("ARRAY[", "]", 5_000),
        deep("- ", "", 100_000),
        deep("NOT ", "", 100_000),
        deep("CASE WHEN true THEN ", " END", 5_000),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(10_000)),
        format!("SELECT * FROM {}t{}", "(".repeat(90), ")".repeat(90)),
    ] {
        let error = parse(&text).expect_err("deep");
        assert!(["54001", "42601"].contains(&error.code), "{error:?}");
    }
    one(&format!("SELECT * FROM t WHERE {} true", "a = 1 OR ".repeat(150)));
}

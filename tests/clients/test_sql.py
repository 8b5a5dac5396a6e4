"""SQL over the changes that a driver makes: psql and psycopg."""

import pathlib
import threading
import time
from decimal import Decimal

import psycopg
import pytest

from conftest import Server


def wait_for(read, expected, seconds=10):
    end = time.monotonic() + seconds
    while (got := read()) != expected and time.monotonic() < end:
        time.sleep(0.02)
    assert got == expected


def test_stream_view_and_collection(server, database):
    database.create_collection("orders")
    sql = server.sql(database.name)
    sql.execute("""CREATE CHANGE STREAM s ON orders WITH (full_document = 'updateLookup')
                   FILTER (operation_type = 'insert' OR updated_fields ? 'status')""")
    sql.execute("""CREATE MATERIALIZED VIEW v AS SELECT full_document->>'status' AS status, count(*) AS n,
                   sum((full_document->>'total')::numeric) AS total FROM CHANGE_STREAM('s') GROUP BY 1""")
    sql.execute("CREATE MATERIALIZED VIEW now AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
    database.orders.insert_many([{"_id": i, "status": "new", "total": i} for i in range(10)])
    database.orders.update_many({"_id": {"$lt": 3}}, {"$set": {"status": "paid"}})
    database.orders.update_one({"_id": 9}, {"$set": {"note": "not in the stream"}})
    database.orders.delete_one({"_id": 0})
    events = sql.execute("SELECT operation_type, count(*) FROM CHANGE_STREAM('s') GROUP BY 1 ORDER BY 1").fetchall()
    assert events == [("insert", 10), ("update", 3)]
    view = sql.execute("SELECT * FROM v ORDER BY status").fetchall()
    assert view == [("new", 10, Decimal(45)), ("paid", 3, Decimal(3))]
    assert sql.execute("SELECT * FROM now ORDER BY status").fetchall() == [("new", 7), ("paid", 2)]
    assert sql.execute("SELECT status, total FROM orders WHERE total > 7 ORDER BY total").fetchall() == [("new", 8), ("new", 9)]


def test_subscribe_through_copy(server, database):
    sql = server.sql(database.name)
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM CHANGE_STREAM('s')")
    # psql buffers what it writes into a pipe, so a driver reads here.
    follower = server.sql(database.name)
    with pytest.raises(psycopg.errors.QueryCanceled), follower.cursor().copy("COPY (SUBSCRIBE v) TO STDOUT") as copy:
        rows = copy.rows()
        assert next(rows)[1:] == ("1", "0")
        database.c.insert_one({})
        assert {next(rows)[1:], next(rows)[1:]} == {("-1", "0"), ("1", "1")}
        follower.cancel()
        next(rows)


def test_a_subscription_hears_that_its_collection_is_dropped(server, database):
    database.c.insert_many([{"_id": 1}, {"_id": 2}])
    sql = server.sql(database.name)
    sql.execute("DECLARE f CURSOR WITH HOLD FOR SUBSCRIBE (SELECT _id FROM c)")
    total = {}

    def rows():
        for _, diff, key in sql.execute("FETCH ALL FROM f").fetchall():
            total[key] = total.get(key, 0) + diff
        return {key for key, count in total.items() if count}

    wait_for(rows, {1, 2})
    database.c.drop()
    wait_for(rows, set())
    database.c.insert_one({"_id": 3})
    wait_for(rows, {3})


def test_extended_protocol_with_parameters(server, database):
    database.c.insert_many([{"_id": i, "name": f"n{i}"} for i in range(5)])
    sql = server.sql(database.name)
    rows = sql.execute("SELECT document->>'name' FROM c WHERE (document->>'_id')::int >= %s ORDER BY 1", [3]).fetchall()
    assert rows == [("n3",), ("n4",)]
    assert sql.execute("SELECT %s::int + 1, %s::text", [41, "x"]).fetchone() == (42, "x")


def test_errors_have_codes_and_positions(server):
    sql = server.sql()
    with pytest.raises(psycopg.errors.UndefinedTable):
        sql.execute("SELECT * FROM nowhere")
    with pytest.raises(psycopg.errors.SyntaxError):
        sql.execute("SELEC 1")
    with pytest.raises(psycopg.errors.FeatureNotSupported) as refused:
        sql.execute("INSERT INTO t VALUES (1)")
    assert refused.value.sqlstate == "0A000"
    assert sql.execute("SELECT 1").fetchone() == (1,)


def test_psql_lists_collections_and_views(server, database):
    database.orders.insert_one({"_id": 1})
    server.sql(database.name).execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
    assert "orders" in server.psql("\\dt\n", database.name).stdout
    assert "v" in server.psql("\\dm\n", database.name).stdout
    assert "document" in server.psql("\\d orders\n", database.name).stdout


def test_a_view_over_a_view_and_a_collection_made_while_writes_go_on(server, database):
    database.c.insert_one({"_id": -1, "k": 0})
    sql = server.sql(database.name)
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("CREATE MATERIALIZED VIEW per_k AS SELECT full_document->>'k' AS k, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1")
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            database.c.insert_one({"_id": number, "k": number % 5})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(8):
            sql.execute(f"CREATE MATERIALIZED VIEW both{i} AS SELECT p.k, p.n, count(*) AS docs FROM per_k p "
                        "JOIN c ON c.document->>'k' = p.k GROUP BY p.k, p.n")
    finally:
        stop.set()
        writer.join()
    query = ("SELECT p.k, p.n, count(*) FROM per_k p JOIN c ON c.document->>'k' = p.k GROUP BY p.k, p.n ORDER BY p.k")
    afresh = sql.execute(query).fetchall()
    assert len(afresh) == 5
    for i in range(8):
        assert sql.execute(f"SELECT * FROM both{i} ORDER BY k").fetchall() == afresh


def test_a_view_follows_its_collection_through_drop_and_rename(server, database):
    database.c.insert_many([{"k": i % 2} for i in range(10)])
    sql = server.sql(database.name)
    sql.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM c")
    count = lambda: sql.execute("SELECT n FROM v").fetchone()[0]
    assert count() == 10
    database.c.drop()
    assert count() == 0
    database.other.insert_many([{} for _ in range(3)])
    database.other.rename("c")
    assert count() == 3
    database.c.insert_one({})
    database.c.delete_many({})
    assert count() == 0


def test_a_recursive_query_ends_or_fails(server, database):
    sql = server.sql(database.name)
    counted = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 500) SELECT count(*), max(n) FROM t"
    assert sql.execute(counted).fetchone() == (500, 500)
    endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t, (VALUES (1), (2), (3), (4)) v) SELECT count(*) FROM t"
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        sql.execute(endless)
    for maintained in ("CREATE MATERIALIZED VIEW v AS ", "DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE "):
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            sql.execute(maintained + (counted if "VIEW" in maintained else f"({counted})"))


ARTICLE = pathlib.Path(__file__).parents[3] / "shared/article"


@pytest.mark.skipif(not ARTICLE.exists(), reason="the article's statements are not beside this checkout")
def test_the_article_s_statements_run_unchanged(server):
    client = server.mongo()
    database = client.real_time_app
    text = {path.name[0]: path.read_text() for path in ARTICLE.glob("[0-9]_*.sql")}
    for number in "135":
        server.psql(text[number] + ";\n" if not text[number].rstrip().endswith(";") else text[number], "real_time_app")
    database.user_profiles.insert_one({"_id": 1, "email": "a@example.com", "status": "active"})
    database.user_profiles.update_one({"_id": 1}, {"$set": {"email": "b@example.com"}})
    database.orders.insert_one({"_id": 5, "customer_id": "c", "status": "new", "total_amount": 19.99,
                                "items": [{"product_id": "p", "quantity": 2}]})
    rows = server.psql(text["2"], "real_time_app").stdout
    assert "user_registration" in rows and "email_change" in rows
    client.drop_database("real_time_app")


def test_views_keep_rows_longer_than_any_key_of_the_store(tmp_path):
    """Their checkpoints are written, and a view goes on from one after SIGKILL."""
    server = Server(tmp_path)
    orders = server.mongo().shop.orders
    texts = [letter * 100_000 for letter in "abc"]
    orders.insert_many({"_id": n, "text": text} for n, text in enumerate(texts))
    sql = server.sql()
    sql.execute("CREATE MATERIALIZED VIEW texts AS SELECT document->>'text' AS text FROM orders")
    sql.execute("CREATE MATERIALIZED VIEW counts AS SELECT document->>'text' AS text, count(*) AS n FROM orders GROUP BY 1")
    sql.execute(f"CREATE SINK told FROM texts INTO 'file:told.jsonl'")
    told = server.directory / "sinks" / "told.jsonl"
    deadline = time.monotonic() + 60
    while not told.exists() or len(told.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.stop()
    server.start()
    orders = server.mongo().shop.orders
    orders.delete_one({"_id": 0})
    orders.insert_one({"_id": 3, "text": texts[1]})
    server.kill()
    server.start()
    sql = server.sql()
    assert sorted(row[0] for row in sql.execute("SELECT text FROM texts")) == [texts[1], texts[1], texts[2]]
    assert sorted(sql.execute("SELECT text, n FROM counts")) == [(texts[1], 2), (texts[2], 1)]
    server.stop()

"""Materialized views that meet bad rows, limits, kills and impatient clients."""

import json
import threading
import time
import urllib.request

import psycopg
import pytest

from conftest import Server
from test_sql import wait_for

# Reads an event in a millisecond or so, so that there is time to look at the build.
SLOW = "SELECT g, count(*) AS n FROM CHANGE_STREAM('s'), generate_series(1, 300) AS g GROUP BY g"


def rows(sql, text):
    return sorted(sql.execute(text).fetchall())


@pytest.mark.parametrize("policy, bad", [("null", [(2, None)]), ("skip", []), ("dead_letter", [])])
def test_a_bad_row_comes_and_goes_without_a_trace(server, database, policy, bad):
    database.create_collection("c")
    sql = server.sql(database.name)
    sql.execute(f"""CREATE MATERIALIZED VIEW v WITH (on_error = '{policy}') AS
                    SELECT (document->>'_id')::int AS id, (document->>'total')::int AS total FROM c""")
    sql.execute(f"CREATE MATERIALIZED VIEW sums WITH (on_error = '{policy}') AS SELECT sum((document->>'total')::int) AS s FROM c")
    database.c.insert_many([{"_id": 1, "total": "10"}, {"_id": 2, "total": "ten"}])
    assert rows(sql, "SELECT * FROM v") == [(1, 10), *bad]
    assert rows(sql, "SELECT * FROM sums") == [(10,)]
    database.c.update_one({"_id": 2}, {"$set": {"total": "11"}})
    assert rows(sql, "SELECT * FROM v") == [(1, 10), (2, 11)]
    database.c.update_one({"_id": 2}, {"$set": {"total": "x"}})
    database.c.delete_one({"_id": 2})
    assert rows(sql, "SELECT * FROM v") == [(1, 10)]
    assert rows(sql, "SELECT * FROM sums") == [(10,)]
    failures = sql.execute("SELECT view_name, status, failures FROM views WHERE database = %s ORDER BY 1", [database.name])
    assert failures.fetchall() == [("sums", "running", 2), ("v", "running", 2)]


def test_dead_letters_have_their_event_and_are_there_once_after_sigkill(tmp_path):
    server = Server(tmp_path)
    c = server.mongo().shop.c
    c.insert_one({"_id": 0})
    sql = server.sql()
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("""CREATE MATERIALIZED VIEW v WITH (on_error = 'dead_letter') AS
                   SELECT (full_document->>'n')::int AS n FROM CHANGE_STREAM('s') WHERE operation_type = 'insert'""")
    sql.execute("""CREATE MATERIALIZED VIEW now WITH (on_error = 'dead_letter') AS
                   SELECT (document->>'n')::int AS n, document->>'_id' AS id FROM c""")

    def letters():
        return sql.execute("SELECT view_name, token, error_code, error, row FROM view_dead_letters ORDER BY view_name, row->>'_id', token").fetchall()

    c.insert_many([{"_id": 1, "n": "1"}, {"_id": 2, "n": "two"}, {"_id": 3, "n": "two"}])
    c.update_one({"_id": 2}, {"$set": {"note": "nothing that the view reads"}})
    assert rows(sql, "SELECT n FROM v") == [(1,)]
    events = [row[0] for row in sql.execute(
        "SELECT change_id FROM CHANGE_STREAM('s') WHERE full_document->>'n' = 'two' ORDER BY change_id")]
    first = letters()
    error = 'invalid input syntax for type integer: "two"'
    assert [(name, code, text) for name, _, code, text, _ in first] == [(name, "22P02", error) for name in ("now", "now", "v", "v")]
    assert [token for name, token, *_ in first if name == "v"] == events
    assert [token for name, token, *_ in first if name == "now"] == events
    assert [row["_id"] for name, *_, row in first if name == "now"] in ([2, 3], ["2", "3"])
    assert all("two" in row.values() for *_, row in first)
    for _ in range(2):
        server.kill()
        server.start()
        sql = server.sql()
        assert rows(sql, "SELECT n FROM v") == [(1,)]
        assert letters() == first
        time.sleep(2.5)  # Past a checkpoint, so that the second round replays nothing.
    server.stop()


def test_a_stopped_view_goes_on_once_its_policy_changes(server, database):
    database.create_collection("c")
    sql = server.sql(database.name)
    sql.execute("CREATE MATERIALIZED VIEW v AS SELECT (document->>'n')::int AS n FROM c")
    sql.execute("CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM v")
    database.c.insert_many([{"n": "1"}, {"n": "x"}])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has stopped: invalid input") as stopped:
        sql.execute("SELECT * FROM v")
    assert "ALTER MATERIALIZED VIEW v SET (on_error" in stopped.value.diag.message_hint
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='"v" has stopped'):
        sql.execute("SELECT * FROM total")
    sql.execute("ALTER MATERIALIZED VIEW v SET (on_error = 'dead_letter')")
    assert rows(sql, "SELECT * FROM v") == [(1,)]
    database.c.insert_one({"n": "5"})
    assert rows(sql, "SELECT * FROM total") == [(6,)]
    with pytest.raises(psycopg.errors.UndefinedTable):
        sql.execute("ALTER MATERIALIZED VIEW absent SET (on_error = 'null')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="retention"):
        sql.execute("ALTER MATERIALIZED VIEW v SET (retention = '1 day')")


def test_a_limit_stops_its_view_alone_and_is_raised_for_good(tmp_path):
    server = Server(tmp_path, "--max-view-state=1MB")
    c = server.mongo().shop.c
    sql = server.sql()
    sql.execute("CREATE CHANGE STREAM s ON c")
    query = "SELECT full_document->>'k' AS k, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1"
    sql.execute(f"CREATE MATERIALIZED VIEW few WITH (max_state_rows = 20) AS {query}")
    sql.execute(f"CREATE MATERIALIZED VIEW small WITH (max_state_bytes = '16 kB') AS {query}")
    sql.execute(f"CREATE MATERIALIZED VIEW usual AS {query}")
    sql.execute(f"CREATE MATERIALIZED VIEW own WITH (max_state_bytes = 0) AS {query}")
    c.insert_many({"k": f"key {i}"} for i in range(1000))
    for name, limit in (("few", "max_state_rows of 20"), ("small", "max_state_bytes of 16384")):
        with pytest.raises(psycopg.errors.OutOfMemory, match=f"holds .*, more than its {limit}") as stopped:
            sql.execute(f"SELECT * FROM {name}")
        assert f"ALTER MATERIALIZED VIEW {name} SET (" in stopped.value.diag.message_hint
    assert len(rows(sql, "SELECT * FROM usual")) == 1000
    c.insert_many({"k": f"more {i} {'x' * 100}"} for i in range(5000))
    with pytest.raises(psycopg.errors.OutOfMemory, match="max_state_bytes of 1048576"):
        sql.execute("SELECT * FROM usual")
    assert len(rows(sql, "SELECT * FROM own")) == 6000
    sql.execute("ALTER MATERIALIZED VIEW few SET (max_state_rows = 100000, max_state_bytes = '100 MB')")
    assert rows(sql, "SELECT * FROM few") == rows(sql, "SELECT * FROM own")
    server.kill()
    server.start()
    sql = server.sql()
    assert len(rows(sql, "SELECT * FROM few")) == 6000
    limits = sql.execute("SELECT view_name, max_state_rows, max_state_bytes FROM views ORDER BY 1").fetchall()
    assert limits == [("few", 100000, 100 << 20), ("own", None, None), ("small", None, 16384), ("usual", None, 1 << 20)]
    server.stop()


def test_events_leave_a_view_with_retention(server, database):
    sql = server.sql(database.name)
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("""CREATE MATERIALIZED VIEW v WITH (retention = '2 seconds') AS
                   SELECT full_document->>'k' AS k, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1""")
    database.c.insert_one({"k": "a"})
    assert rows(sql, "SELECT * FROM v") == [("a", 1)]
    wait_for(lambda: rows(sql, "SELECT * FROM v"), [])
    database.c.insert_one({"k": "a"})
    assert rows(sql, "SELECT * FROM v") == [("a", 1)]
    sql.execute("ALTER MATERIALIZED VIEW v SET (retention = '1 hour')")
    assert rows(sql, "SELECT * FROM v") == [("a", 2)]


def test_a_query_that_keeps_every_event_is_named(server, database):
    database.create_collection("c")
    sql = server.sql(database.name)
    told = []
    sql.add_notice_handler(lambda notice: told.append((notice.message_primary, notice.message_hint or "")))
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("CREATE CHANGE STREAM t ON d")
    of_s, of_t = "CHANGE_STREAM('s')", "CHANGE_STREAM('t')"
    recent = "event_timestamp >= CURRENT_TIMESTAMP - INTERVAL '1 day'"
    unbounded = {
        "join": f"SELECT a.change_id AS x, b.change_id AS y FROM {of_s} a JOIN {of_t} b ON a.document_key = b.document_key",
        "window function": f"SELECT change_id, row_number() OVER (ORDER BY change_id) AS n FROM {of_s}",
        "DISTINCT": f"SELECT DISTINCT document_key FROM {of_s}",
        "GROUP BY": f"SELECT document_key, count(*) AS n FROM {of_s} GROUP BY document_key",
        "aggregate": f"SELECT operation_type, array_agg(change_id) AS all FROM {of_s} GROUP BY 1",
    }
    for i, (part, query) in enumerate(unbounded.items()):
        told.clear()
        sql.execute(f"CREATE MATERIALIZED VIEW u{i} AS {query}")
        assert len(told) == 1 and part in told[0][0] and "without bound" in told[0][0], (part, told)
        assert "retention" in told[0][1]
        told.clear()
        sql.execute(f"CREATE MATERIALIZED VIEW r{i} WITH (retention = '1 day') AS {query}")
        assert told == [], part
    bounded = [
        f"SELECT a.change_id AS x FROM {of_s} a JOIN {of_t} b ON a.document_key = b.document_key WHERE a.{recent} AND b.{recent}",
        f"SELECT operation_type, count(*) AS n FROM {of_s} GROUP BY 1",
        f"SELECT DISTINCT operation_type FROM {of_s}",
        f"SELECT date_bin('1 hour', event_timestamp, TIMESTAMP '2024-01-01') AS hour, count(*) AS n FROM {of_s} GROUP BY 1",
        "SELECT a._id, row_number() OVER (ORDER BY a._id) AS n FROM c a JOIN c b ON a._id = b._id",
        f"SELECT change_id FROM {of_s}",
    ]
    for i, query in enumerate(bounded):
        told.clear()
        sql.execute(f"CREATE MATERIALIZED VIEW b{i} AS {query}")
        assert told == [], query


def start_build(server, database, name="v"):
    """A CREATE that takes a while, on a thread of its own; returns it and its connection."""
    creator, outcome = server.sql(database), []

    def create():
        try:
            creator.execute(f"CREATE MATERIALIZED VIEW {name} AS {SLOW}")
            outcome.append("built")
        except psycopg.Error as error:
            outcome.append(error.sqlstate)

    thread = threading.Thread(target=create)
    thread.start()
    return thread, creator, outcome


def building(sql, name="v"):
    found = sql.execute("SELECT status, build_read, build_total, build_percent FROM views WHERE view_name = %s AND build_read > 0", [name])
    return found.fetchone()


@pytest.fixture
def busy(tmp_path):
    """A server with 8,000 events, and a view that follows them."""
    server = Server(tmp_path)
    sql = server.sql()
    sql.execute("CREATE CHANGE STREAM s ON c")
    sql.execute("CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM CHANGE_STREAM('s')")
    server.mongo().shop.c.insert_many({"k": i} for i in range(8000))
    yield server
    server.stop()


def wait_until_built_or(sql, look, seconds=60):
    end = time.monotonic() + seconds
    while not (found := look(sql)):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_a_build_shows_how_far_it_is_and_stalls_nobody(busy):
    sql = busy.sql()
    thread, _, outcome = start_build(busy, "shop")
    status, read, total, percent = wait_until_built_or(sql, building)
    assert status == "building" and 0 < read <= total and 8000 <= total < 8010 and 0 < percent <= 100
    metrics = urllib.request.urlopen(busy.http + "metrics").read().decode()
    assert f'headwater_view_build_total{{db="shop",view="v"}} {total}' in metrics
    view = next(view for view in json.load(urllib.request.urlopen(busy.http + "api/status"))["views"] if view["name"] == "v")
    assert view["state"] == "building" and view["build"]["total"] == total
    # A writer, another view, other definitions and a subscription go on meanwhile.
    busy.mongo().shop.c.insert_one({"k": -1})
    assert rows(sql, "SELECT n FROM other") == [(8001,)]
    sql.execute("CREATE MATERIALIZED VIEW quick AS SELECT count(*) AS n FROM CHANGE_STREAM('s')")
    assert rows(sql, "SELECT n FROM quick") == [(8001,)]
    for refused in ("ALTER CHANGE STREAM s PAUSE", "CREATE MATERIALIZED VIEW w AS SELECT * FROM v", "ALTER MATERIALIZED VIEW v SET (on_error = 'null')"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="still being built"):
            sql.execute(refused)
    assert building(sql), "all this happened while the view was built"
    thread.join()
    assert outcome == ["built"]
    assert rows(sql, "SELECT DISTINCT n FROM v") == [(8001,)]


def test_a_drop_and_a_cancel_end_a_build_at_once(busy):
    sql = busy.sql()
    for end in ("drop", "cancel"):
        thread, creator, outcome = start_build(busy, "shop")
        wait_until_built_or(sql, building)
        began = time.monotonic()
        if end == "drop":
            sql.execute("DROP MATERIALIZED VIEW v")
        else:
            creator.cancel()
        thread.join()
        assert outcome == [{"drop": "42P01", "cancel": "57014"}[end]]
        wait_for(lambda: rows(sql, "SELECT view_name FROM views"), [("other",)])
    busy.kill()
    busy.start()
    assert rows(busy.sql(), "SELECT view_name FROM views") == [("other",)]


def test_a_build_begins_again_after_sigkill(busy):
    sql = busy.sql()
    thread, _, outcome = start_build(busy, "shop")
    wait_until_built_or(sql, building)
    busy.kill()
    thread.join()
    busy.start()
    # The server is there at once; who reads the view waits for it, the others do not.
    sql = busy.sql()
    assert rows(sql, "SELECT n FROM other") == [(8000,)]
    assert sql.execute("SELECT status FROM views WHERE view_name = 'v'").fetchone() == ("building",)
    assert rows(sql, "SELECT DISTINCT n FROM v") == [(8000,)]


def test_views_equal_their_queries_whenever_the_process_dies_at_a_checkpoint(tmp_path):
    """Thousands of changes between two checkpoints: they are written in several batches."""
    server = Server(tmp_path)
    c = server.mongo().shop.c
    c.insert_many({"_id": i, "k": i, "n": 0} for i in range(12000))
    sql = server.sql()
    query = "SELECT document->>'k' AS k, sum((document->>'n')::int) AS n FROM c GROUP BY 1"
    sql.execute(f"CREATE MATERIALIZED VIEW v AS {query}")
    for pause in (1.2, 2.0, 2.2, 2.6):
        c = server.mongo().shop.c
        c.update_many({"k": {"$lt": 9000}}, {"$inc": {"n": 1}})
        time.sleep(pause)
        server.kill()
        server.start()
        sql = server.sql()
        assert rows(sql, "SELECT * FROM v") == rows(sql, query)
    server.stop()


def test_a_view_is_shown_in_its_own_order_unless_a_reader_asks_for_another(own_server):
    orders = own_server.mongo().shop.orders
    statuses = ["new"] * 3 + ["paid"] * 9 + ["sent"] * 5 + ["lost"] * 5 + [None]
    orders.insert_many([{"_id": n, "status": status} for n, status in enumerate(statuses)])
    with own_server.sql() as sql:
        counts = "SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1"
        sql.execute(f"CREATE MATERIALIZED VIEW v AS {counts} ORDER BY n DESC, status")
        sql.execute(f"CREATE MATERIALIZED VIEW top AS {counts} ORDER BY n DESC, status LIMIT 2")
        sql.execute("CREATE MATERIALIZED VIEW hidden AS SELECT document->>'status' AS status FROM orders ORDER BY _id DESC")
    ranked = [("paid", 9), ("lost", 5), ("sent", 5), ("new", 3), (None, 1)]
    for _ in range(2):
        with own_server.sql() as sql:
            read = lambda text: sql.execute(text).fetchall()  # noqa: E731
            assert read("SELECT * FROM v") == ranked
            assert read("SELECT * FROM v LIMIT 2 OFFSET 1") == ranked[1:3]
            assert read("SELECT n, status FROM v WHERE n < 9") == [(n, status) for status, n in ranked[1:]]
            assert read("SELECT n FROM v") == [(n,) for _, n in ranked]
            assert read("SELECT * FROM top") == ranked[:2]
            assert read("SELECT status FROM v ORDER BY status NULLS FIRST") == [(None,), ("lost",), ("new",), ("paid",), ("sent",)]
            assert sorted(read("SELECT count(*) FROM v")) == [(5,)]
            assert len(read("SELECT * FROM hidden")) == len(statuses)
            assert sql.execute("SELECT * FROM v WHERE n = %s", [5]).fetchall() == ranked[1:3]
        # The order belongs to the definition.
        own_server.kill()
        own_server.start()

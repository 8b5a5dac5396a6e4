"""A second server as the source: captured events, mirrors, faults on the way, the front.

The source is reached by the official driver over TCP, through a proxy that cuts, stalls and refuses.
"""

import collections
import random
import socket
import tempfile
import threading
import time

import psycopg
import pymongo
import pytest
from bson import Timestamp

from conftest import Server


class Proxy:
    """Forwards connections to a port, until told otherwise."""

    def __init__(self, port):
        self.port, self.pairs, self.lock = port, set(), threading.Lock()
        self.refusing, self.stalled = False, threading.Event()
        self.stalled.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.refusing:
                    raise OSError
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.pairs.add((client, server))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source, target):
        stalled = self.stalled
        try:
            while data := source.recv(65536):
                stalled.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends every connection, wherever in a message it is."""
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.stalled.set()
        self.cut()


class Pair:
    """A source, a proxy before it, and a server that captures through it."""

    def __init__(self, directory, *arguments, through="?directConnection=true", refusing=False):
        self.directory, self.arguments = directory, arguments
        self.source = Server(directory / "source", "--enable-test-commands")
        port = int(self.source.uri.split(":")[2].split("/")[0])
        self.proxy = Proxy(port)
        self.proxy.refusing = refusing
        self.uri = f"mongodb://{self.proxy.address}/{through}"
        self.server = Server(directory / "server", f"--source={self.uri}", *arguments)
        self.client = self.source.mongo()

    def status(self, *columns):
        with self.server.sql() as sql:
            return sql.execute(f"SELECT {', '.join(columns)} FROM source").fetchone()

    def wait_for(self, statement, expected, seconds=30):
        """Reads until the rows are the expected ones."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.server.sql() as sql:
                    rows = sql.execute(statement).fetchall()
            except psycopg.Error as error:
                rows = error
            if rows == expected:
                return
            assert time.monotonic() < deadline, f"{statement}: {difference(rows, expected)}"
            time.sleep(0.05)

    def fail(self, code, *commands, times=1):
        """The next commands of the capturing driver fail."""
        data = {"failCommands": list(commands), "errorCode": code, "appName": "headwater"}
        self.client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)

    def close(self):
        self.proxy.close()
        self.server.kill()
        self.client.close()
        self.source.kill()


def difference(rows, expected):
    if not isinstance(rows, list) or len(expected) < 20:
        return f"{rows!r} is not {expected!r}"
    missing = [row for row in expected if row not in rows]
    surplus = [row for row in rows if row not in expected]
    return f"{len(rows)} rows instead of {len(expected)}; missing {missing[:5]!r}, too many {surplus[:5]!r}"


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def events_at(pair, start, **options):
    """Every event of the source's collection since a time, by a driver."""
    events = []
    with pair.client.shop.orders.watch(start_at_operation_time=start, **options) as stream:
        while (event := stream.try_next()) is not None:
            events.append(event)
    return events


def now(client):
    return client.admin.command("ping")["operationTime"]


def after(time):
    return Timestamp(time.time, time.inc + 1)


def test_events_reach_streams_and_views_with_their_own_tokens(pair):
    start = after(now(pair.client))
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders WITH (full_document = 'updateLookup')")
        sql.execute("CREATE MATERIALIZED VIEW v AS SELECT operation_type, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1")
    orders = pair.client.shop.orders
    orders.insert_many([{"_id": i, "k": i % 3} for i in range(10)])
    orders.update_one({"_id": 1}, {"$set": {"a": 1}})
    orders.replace_one({"_id": 2}, {"k": "z"})
    orders.delete_one({"_id": 3})
    with pair.client.start_session() as session, session.start_transaction():
        orders.insert_one({"_id": "in a transaction"}, session=session)
        orders.update_one({"_id": 1}, {"$set": {"a": 2}}, session=session)
    expected = [("delete", 1), ("insert", 11), ("replace", 1), ("update", 2)]
    pair.wait_for("SELECT operation_type, n FROM v ORDER BY 1", expected)
    events = events_at(pair, start)
    tokens = [(event["_id"]["_data"],) for event in events]
    pair.wait_for("SELECT change_id FROM CHANGE_STREAM('s')", tokens)
    pair.wait_for(
        "SELECT full_document->>'a' IN ('1', '2') FROM CHANGE_STREAM('s') WHERE operation_type = 'update' AND txn_number IS NULL",
        [(True,)],
    )


def test_a_view_over_a_collection_mirrors_it_and_keeps_up(pair):
    orders = pair.client.shop.orders
    orders.insert_many([{"_id": i, "k": i % 3, "tags": [1, 2, 3], "in": {"x": 1}} for i in range(200)])
    for identifier in (None, "text", {"of": "document"}, True, 1.5, float("nan")):
        orders.insert_one({"_id": identifier, "k": 9})
    with pair.server.sql() as sql:
        with pytest.raises(psycopg.errors.UndefinedTable, match="mirror"):
            sql.execute("SELECT count(*) FROM orders")
        sql.execute("CREATE MATERIALIZED VIEW w AS SELECT document->>'k' AS k, count(*) AS n FROM orders GROUP BY 1")
        assert sql.execute("SELECT count(*) FROM orders").fetchone() == (206,)
    orders.update_many({"k": 0}, {"$set": {"k": 7, "in.y": 2, "tags.1": 9}, "$unset": {"in.x": ""}})
    orders.update_one({"_id": 5}, [{"$set": {"tags": {"$slice": ["$tags", 1]}}}])
    orders.delete_many({"k": 1})
    pair.wait_for("SELECT k, n FROM w ORDER BY 1", [("2", 66), ("7", 67), ("9", 6)])
    same_as_the_source(pair)
    orders.rename("moved")
    pair.client.shop.moved.rename("orders")
    orders.insert_one({"_id": "new"})
    pair.wait_for("SELECT count(*) FROM orders", [(140,)])
    same_as_the_source(pair)
    orders.drop()
    orders.insert_one({"_id": 1, "k": 5})
    pair.wait_for("SELECT k, n FROM w", [("5", 1)])
    same_as_the_source(pair)


def same_as_the_source(pair):
    """The mirror, and views over it, are what the source's collection is."""
    stored = collections.Counter(repr(sorted(d.items())) for d in read_mirror(pair))
    assert stored == collections.Counter(repr(sorted(d.items())) for d in pair.client.shop.orders.aggregate([
        {"$project": {"_id": 0}},
    ]))


def read_mirror(pair):
    with pair.server.sql() as sql:
        rows = sql.execute("SELECT document FROM orders").fetchall()
    return [{k: v for k, v in row[0].items() if k != "_id"} for row in rows]


def test_a_kill_loses_and_repeats_nothing(pair):
    start = after(now(pair.client))
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
        sql.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM CHANGE_STREAM('s')")
    stop = threading.Event()

    def write():
        for i in range(100_000):
            if stop.is_set():
                return
            pair.client.shop.orders.insert_one({"_id": i})

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        time.sleep(0.7)
        pair.server.kill()
        pair.server.start()
    stop.set()
    writer.join()
    tokens = [(event["_id"]["_data"],) for event in events_at(pair, start)]
    pair.wait_for("SELECT n FROM v", [(len(tokens),)])
    pair.wait_for("SELECT change_id FROM CHANGE_STREAM('s')", tokens)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_random_faults_everything_equals_the_source(pair, seed):
    choose = random.Random(seed)
    start = after(now(pair.client))
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
        sql.execute("CREATE MATERIALIZED VIEW v AS SELECT operation_type, count(*) AS n FROM CHANGE_STREAM('s') GROUP BY 1")
        pair.client.shop.orders.insert_one({"_id": -1, "n": 0, "k": 0})
        sql.execute("CREATE MATERIALIZED VIEW w AS SELECT document->>'k' AS k, count(*) AS c, sum((document->>'n')::bigint) AS n FROM orders GROUP BY 1")
    faults = [
        pair.proxy.cut,
        pair.proxy.cut,
        lambda: stall(pair.proxy),
        lambda: refuse(pair.proxy),
        lambda: pair.fail(choose.choice([6, 7, 89, 91, 189, 11600, 13435, 133, 234]), "getMore"),
        lambda: pair.fail(43, "getMore"),
        lambda: pair.fail(choose.choice([6, 91, 11602]), "aggregate"),
        lambda: (pair.server.kill(), pair.server.start()),
    ]
    for _ in range(12):
        write_at_random(pair.client, choose)
        choose.choice(faults)()
        write_at_random(pair.client, choose)
    pair.client.admin.command("configureFailPoint", "failCommand", mode="off")
    events = events_at(pair, start)
    pair.wait_for("SELECT change_id FROM CHANGE_STREAM('s')", [(event["_id"]["_data"],) for event in events])
    kinds = collections.Counter(event["operationType"] for event in events)
    pair.wait_for("SELECT operation_type, n FROM v ORDER BY 1", sorted(kinds.items()))
    groups = collections.defaultdict(lambda: [0, 0])
    for document in pair.client.shop.orders.find():
        group = groups[str(document["k"])]
        group[0] += 1
        group[1] += document["n"]
    expected = sorted((k, c, n) for k, (c, n) in groups.items())
    pair.wait_for("SELECT k, c, n::bigint FROM w ORDER BY k", expected)
    same_as_the_source(pair)


def stall(proxy):
    proxy.stalled.clear()
    time.sleep(0.3)
    proxy.stalled.set()


def refuse(proxy):
    proxy.refusing = True
    proxy.cut()
    time.sleep(0.3)
    proxy.refusing = False


def write_at_random(client, choose):
    orders = client.shop.orders
    for _ in range(choose.randrange(1, 20)):
        identifier = choose.randrange(60)
        what = choose.randrange(7)
        fields = {"n": choose.randrange(100), "k": choose.randrange(4)}
        if what < 2:
            orders.update_one({"_id": identifier}, {"$set": fields}, upsert=True)
        elif what == 2:
            orders.replace_one({"_id": identifier}, {**fields, "list": [1, 2, {"x": 1}]}, upsert=True)
        elif what == 3:
            orders.update_many({"k": fields["k"]}, {"$inc": {"n": 1}})
        elif what == 4:
            orders.delete_one({"_id": identifier})
        elif what == 5:
            orders.update_one({"_id": identifier, "list.1": {"$exists": True}}, {"$set": {"list.1": fields["n"]}, "$unset": {"list.2.x": ""}})
        else:
            with client.start_session() as session, session.start_transaction():
                for more in range(3):
                    orders.update_one({"_id": identifier + more}, {"$set": fields}, upsert=True, session=session)


def test_a_load_goes_on_after_a_kill(pair):
    orders = pair.client.shop.orders
    orders.insert_many([{"_id": i, "k": i % 5, "pad": "x" * 300} for i in range(30_000)])
    create = "CREATE MATERIALIZED VIEW w AS SELECT document->>'k' AS k, count(*) AS n FROM orders GROUP BY 1"

    def ask():
        with pytest.raises(psycopg.Error):
            pair.server.sql().execute(create)

    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 60
    while True:
        with pair.server.sql() as sql:
            loading = sql.execute("SELECT state, loaded FROM source_mirrors").fetchall()
        if loading and loading[0][1] >= 5000:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert loading[0][0] == "loading"
    pair.server.kill()
    asking.join()
    orders.delete_many({"k": 1})
    pair.server.start()
    with pair.server.sql() as sql:
        assert sql.execute("SELECT loaded FROM source_mirrors").fetchone()[0] >= 5000
    pair.wait_for("SELECT state FROM source_mirrors", [("live",)])
    with pair.server.sql() as sql:
        sql.execute(create)
        assert sql.execute("SELECT k, n FROM w ORDER BY 1").fetchall() == [(str(k), 6000) for k in (0, 2, 3, 4)]


@pytest.mark.parametrize("policy", ["fail", "resnapshot", "gap"])
def test_lost_history_is_told(tmp_path, policy):
    pair = Pair(tmp_path, f"--on-history-lost={policy}")
    try:
        orders = pair.client.shop.orders
        orders.insert_many([{"_id": i, "n": 1} for i in range(5)])
        with pair.server.sql() as sql:
            sql.execute("CREATE CHANGE STREAM s ON orders")
            sql.execute("CREATE MATERIALIZED VIEW w AS SELECT sum((document->>'n')::bigint) AS n FROM orders")
        watcher = pair.server.mongo().shop.orders.watch(max_await_time_ms=200)
        # While nobody listens there are changes that the source will not give any more.
        pair.proxy.refusing = True
        pair.proxy.cut()
        orders.update_one({"_id": 0}, {"$set": {"n": 10}})
        orders.delete_one({"_id": 1})
        orders.insert_one({"_id": 7, "n": 100})
        pair.fail(286, "aggregate")
        pair.proxy.refusing = False
        if policy == "fail":
            pair.wait_for("SELECT state, problem LIKE '%--on-history-lost%' FROM source", [("failed", True)])
            return
        pair.wait_for("SELECT state, gaps FROM source", [("capturing", 1)])
        pair.wait_for("SELECT n::bigint FROM w", [(113,)])
        orders.insert_one({"_id": 8, "n": 1})
        pair.wait_for("SELECT n::bigint FROM w", [(114,)])
        with pair.server.sql() as sql:
            events = sql.execute("SELECT operation_type, document_key FROM CHANGE_STREAM('s')").fetchall()
        net = [("delete", {"_id": 1}), ("insert", {"_id": 7}), ("replace", {"_id": 0})]
        told = events[events.index(("gap", None)) + 1:]
        assert told[-1] == ("insert", {"_id": 8})
        assert sorted(told[:-1], key=str) == (net if policy == "resnapshot" else [])
        # A driver that watched through the gap learns that it missed something.
        with pytest.raises(pymongo.errors.OperationFailure) as lost:
            while True:
                watcher.next()
        assert lost.value.code == 286
    finally:
        pair.close()


def test_resnapshot_compares_a_mirror_that_is_complete(pair):
    pair.client.shop.orders.insert_many([{"_id": i} for i in range(10)])
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
        with pytest.raises(psycopg.Error, match="mirrored"):
            sql.execute("ALTER CHANGE STREAM s RESNAPSHOT")
        sql.execute("CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM orders")
        sql.execute("ALTER CHANGE STREAM s RESNAPSHOT")
        assert sql.execute("SELECT n FROM w").fetchall() == [(10,)]
        assert sql.execute("SELECT count(*) FROM CHANGE_STREAM('s')").fetchone() == (0,)


def test_problems_are_one_sentence_and_heal(pair):
    def problem(like):
        pair.wait_for(f"SELECT state, problem LIKE '%{like}%' FROM source", [("connecting", True)])

    pair.fail(40573, "aggregate", times=1000)
    pair.proxy.cut()
    problem("--replSet")
    pair.fail(13, "aggregate", times=1000)
    problem("changeStream")
    pair.client.admin.command("configureFailPoint", "failCommand", mode="off")
    pair.wait_for("SELECT state, problem FROM source", [("capturing", None)])


@pytest.mark.parametrize("options, like", [("?replicaSet=other", "other"), ("?appName=x", "reached")])
def test_a_source_that_is_not_there_does_not_keep_the_server_down(tmp_path, options, like):
    source = Server(tmp_path / "source")
    address = source.uri.split("/")[2] if "replicaSet" in options else "127.0.0.1:1"
    server = Server(tmp_path / "server", f"--source=mongodb://{address}/{options}&serverSelectionTimeoutMS=500")
    try:
        deadline = time.monotonic() + 30
        while True:
            state, problem = server.sql().execute("SELECT state, problem FROM source").fetchone()
            if problem is not None:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert state == "connecting" and like in problem and "\n" not in problem, problem
    finally:
        server.kill()
        source.kill()


def test_the_front_serves_streams_from_the_log_and_passes_the_rest(pair):
    front = pair.server.mongo()
    orders = front.shop.orders
    orders.insert_one({"_id": 0})
    assert pair.client.shop.orders.find_one() == {"_id": 0}
    cursors = pair.client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]
    streams = [orders.watch(max_await_time_ms=500) for _ in range(20)]
    assert pair.client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"] == cursors == 1
    with front.start_session() as session, session.start_transaction():
        orders.insert_one({"_id": 1}, session=session)
        orders.insert_one({"_id": 2}, session=session)
    orders.update_one({"_id": 1}, {"$set": {"a": 1}})
    seen = [[stream.next() for _ in range(3)] for stream in streams]
    assert all(events == seen[0] for events in seen)
    assert [event["operationType"] for event in seen[0]] == ["insert", "insert", "update"]
    # Tokens are the source's: valid here and there.
    token = seen[0][1]["_id"]
    with pair.client.shop.orders.watch(resume_after=token) as there, orders.watch(resume_after=token) as here:
        assert there.next() == here.next() == seen[0][2]
    with orders.watch(full_document="updateLookup", resume_after=token) as stream:
        assert stream.next()["fullDocument"] == {"_id": 1, "a": 1}
    for stream in streams:
        stream.close()
    # Before what was captured, and what cannot be: the source answers.
    with pytest.raises(pymongo.errors.OperationFailure):
        orders.watch([{"$group": {"_id": 1}}]).next()
    with front.watch(max_await_time_ms=200) as everything, front.shop.watch(max_await_time_ms=200) as database:
        front.shop.other.insert_one({"_id": 9})
        assert everything.next()["ns"] == database.next()["ns"] == {"db": "shop", "coll": "other"}
    assert front.admin.command("buildInfo")["version"] == pair.client.admin.command("buildInfo")["version"]
    front.close()


def test_a_stream_through_the_front_begins_now_also_when_capturing_is_behind(pair):
    front = pair.server.mongo()
    with front.shop.orders.watch(max_await_time_ms=100) as stream:
        pair.client.shop.orders.insert_one({"_id": 1})
        assert stream.next()["documentKey"] == {"_id": 1}
    token = None
    for i in range(20):
        pair.client.shop.orders.insert_one({"_id": 100 + i})
        with front.shop.orders.watch(max_await_time_ms=100) as stream:
            pair.client.shop.orders.insert_one({"_id": 200 + i})
            event = stream.next()
            assert event["documentKey"] == {"_id": 200 + i}, "not what was written before"
            token = event["_id"]
    with front.shop.orders.watch(resume_after=token, max_await_time_ms=100) as stream:
        assert stream.try_next() is None
        assert stream.resume_token["_data"] >= token["_data"]
    front.close()


def test_only_what_is_chosen_is_captured(tmp_path):
    pair = Pair(tmp_path, "--capture=shop.orders,blog")
    try:
        with pair.server.sql() as sql:
            sql.execute("CREATE CHANGE STREAM s ON orders")
            sql.execute("CREATE CHANGE STREAM b ON DATABASE blog")
            for refused in ("CREATE CHANGE STREAM x ON users", "CREATE CHANGE STREAM x ON CLUSTER"):
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="captured"):
                    sql.execute(refused)
        for name in ("users", "orders"):
            pair.client.shop[name].insert_one({"_id": 1})
        pair.client.blog.posts.insert_one({"_id": 1})
        pair.wait_for("SELECT namespace_collection FROM CHANGE_STREAM('b')", [("posts",)])
        assert pair.status("events") <= (4,)
        # What is not captured is watched at the source.
        with pair.server.mongo().shop.users.watch() as stream:
            pair.client.shop.users.insert_one({"_id": 2})
            assert stream.next()["documentKey"] == {"_id": 2}
    finally:
        pair.close()


def test_a_large_event_that_was_split_is_whole_again(pair):
    pair.client.shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders WITH (full_document = 'required', full_document_before_change = 'required')")
    pair.client.shop.orders.insert_one({"_id": 1, "text": "a" * 10_000_000})
    pair.client.shop.orders.update_one({"_id": 1}, {"$set": {"text": "b" * 10_000_000}})
    pair.client.shop.orders.insert_one({"_id": 2})
    pair.wait_for(
        "SELECT operation_type, length(full_document->>'text'), left(full_document_before_change->>'text', 1) FROM CHANGE_STREAM('s')",
        [("insert", 10_000_000, None), ("update", 10_000_000, "a"), ("insert", None, None)],
    )
    pair.server.kill()
    pair.server.start()
    pair.client.shop.orders.insert_one({"_id": 3})
    pair.wait_for("SELECT count(*), count(DISTINCT change_id) FROM CHANGE_STREAM('s')", [(4, 4)])


def test_only_what_is_needed_is_captured_and_more_as_soon_as_it_is(tmp_path):
    pair = Pair(tmp_path, "--capture=needed")
    try:
        shop, blog = pair.client.shop, pair.client.blog
        pair.wait_for("SELECT state FROM source", [("capturing",)])
        shop.orders.insert_one({"_id": "before"})
        sql = pair.server.sql()
        sql.execute("CREATE CHANGE STREAM s ON orders WITH (operation_types = ARRAY['insert'])")
        stop, written = threading.Event(), []

        def write():
            for i in range(100_000):
                if stop.is_set():
                    return
                for collection in (shop.orders, shop.users, blog.posts):
                    collection.insert_one({"_id": i})
                shop.orders.update_one({"_id": i}, {"$set": {"a": 1}})
                written.append(i)

        writer = threading.Thread(target=write)
        writer.start()
        # Each makes the cursor wider while all of them are written to.
        starts = {}
        for name, definition in {
            "u": "users",
            "all_of_orders": "orders",
            "b": "DATABASE blog WITH (full_document = 'updateLookup')",
        }.items():
            seen = len(written)
            while len(written) < seen + 20:
                time.sleep(0.01)
            before = now(pair.client)
            sql.execute(f"CREATE CHANGE STREAM {name} ON {definition}")
            starts[name] = (before, now(pair.client))
        sql.execute("CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM users")
        pair.server.kill()
        pair.server.start()
        sql = pair.server.sql()
        stop.set()
        writer.join()
        for name, watched in (("u", shop.users), ("all_of_orders", shop.orders), ("b", blog)):
            with watched.watch(start_at_operation_time=after(starts[name][0])) as stream:
                tokens = []
                while (event := stream.try_next()) is not None:
                    tokens.append((event["_id"]["_data"], event["clusterTime"] > starts[name][1]))
            # Between the two times the stream was made; after the later one nothing is missing.
            last = tokens[-1][0]
            pair.wait_for(f"SELECT change_id FROM CHANGE_STREAM('{name}') ORDER BY change_id DESC LIMIT 1", [(last,)])
            mine = [change for change, in sql.execute(f"SELECT change_id FROM CHANGE_STREAM('{name}')").fetchall()]
            assert set(mine) <= {token for token, _ in tokens}
            assert {token for token, surely in tokens if surely} <= set(mine)
        count = shop.orders.count_documents({})
        pair.wait_for("SELECT count(*) FROM CHANGE_STREAM('s')", [(count - 1,)])
        pair.wait_for("SELECT n FROM w", [(shop.users.count_documents({}),)])
        # What nobody follows does not come here.
        pair.server.stop()
        pair.server.start()
        pair.wait_for("SELECT state FROM source", [("capturing",)])
        captured = pair.status("events")
        pair.client.warehouse.boxes.insert_many([{"_id": i} for i in range(100)])
        shop.users.insert_one({"_id": "last"})
        pair.wait_for("SELECT n FROM w", [(shop.users.count_documents({}),)])
        assert pair.status("events")[0] <= captured[0] + 2
        # Nor can what was not captured be had afterwards.
        late = pair.server.sql()
        late.execute("CREATE CHANGE STREAM boxes ON DATABASE warehouse WITH (start_at = 'earliest')")
        pair.client.warehouse.boxes.insert_one({"_id": "seen"})
        pair.wait_for("SELECT document_key->>'_id' FROM CHANGE_STREAM('boxes')", [("seen",)])
        # The front leaves change streams to the source.
        with pair.server.mongo().shop.nowhere.watch() as stream:
            shop.nowhere.insert_one({"_id": 1})
            assert stream.next()["documentKey"] == {"_id": 1}
    finally:
        pair.close()


@pytest.mark.parametrize("version", ["4.4", "5.0", "6.0", "7.0"])
def test_what_an_older_version_lacks_is_neither_sent_nor_promised(tmp_path, version):
    """The source refuses what servers of that version do not know."""
    pair = Pair(tmp_path, refusing=True)
    try:
        pair.client.admin.command("setParameter", 1, reportedVersion=version)
        pair.proxy.refusing = False
        pair.wait_for("SELECT state FROM source", [("capturing",)])
        assert pair.status("version")[0].startswith(version)
        limits = pair.status("limits::text")[0] or ""
        assert ("split events" in limits) == (version < "7.0"), limits
        assert ("images from 6.0" in limits) == (version < "6.0"), limits
        orders = pair.client.shop.orders
        orders.insert_many([{"_id": i, "k": i % 3, "n": 0} for i in range(12_000)])
        sql = pair.server.sql()
        sql.execute("SET client_min_messages = notice")
        notices = []
        sql.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        sql.execute("CREATE CHANGE STREAM s ON orders WITH (full_document = 'updateLookup', full_document_before_change = 'whenAvailable')")
        assert any("images from 6.0" in notice for notice in notices) == (version < "6.0"), notices
        # Mirrors are right while documents change under them.
        stop = threading.Event()
        writer = threading.Thread(target=keep_changing, args=(orders, stop))
        writer.start()
        sql.execute("CREATE MATERIALIZED VIEW w AS SELECT document->>'k' AS k, count(*) AS c, sum((document->>'n')::bigint)::bigint AS n FROM orders GROUP BY 1")
        sql.execute("ALTER CHANGE STREAM s RESNAPSHOT")
        stop.set()
        writer.join()
        pair.wait_for("SELECT k, c, n FROM w ORDER BY k", groups_of(orders))
        same_as_the_source(pair)
        orders.update_one({"_id": 1}, {"$set": {"n": -1}})
        pair.wait_for(
            "SELECT full_document->>'n' FROM CHANGE_STREAM('s') WHERE operation_type = 'update' ORDER BY change_id DESC LIMIT 1", [("-1",)]
        )
    finally:
        pair.close()


def keep_changing(orders, stop):
    choose = random.Random(7)
    while not stop.is_set():
        identifier = choose.randrange(12_000)
        what = choose.randrange(5)
        if what == 0:
            orders.delete_one({"_id": identifier})
        elif what == 1:
            orders.replace_one({"_id": identifier}, {"k": 1, "n": 5, "list": [1, 2, 3]}, upsert=True)
        elif what == 2:
            orders.update_one({"_id": identifier}, [{"$set": {"list": {"$slice": [{"$ifNull": ["$list", []]}, 1]}, "n": 2}}])
        else:
            orders.update_one({"_id": identifier}, {"$inc": {"n": 1}, "$set": {"in.x": choose.randrange(9)}}, upsert=True)


def groups_of(orders):
    groups = collections.defaultdict(lambda: [0, 0])
    for document in orders.find({}, {"k": 1, "n": 1}):
        group = groups[str(document["k"]) if "k" in document else None]
        group[0] += 1
        group[1] += document["n"]
    return sorted(((k, c, n) for k, (c, n) in groups.items()), key=lambda row: (row[0] is None, row[0]))


def test_several_mirrors_load_at_once_while_events_flow(pair):
    for name in "abcdef":
        pair.client.shop[name].insert_many([{"_id": i, "n": 1} for i in range(6000)])
    stop = threading.Event()
    writer = threading.Thread(target=keep_changing, args=(pair.client.shop.a, stop))
    writer.start()
    threads = []
    for name in "abcdef":
        create = f"CREATE MATERIALIZED VIEW v_{name} AS SELECT count(*) AS c, sum((document->>'n')::bigint)::bigint AS n FROM {name}"
        threads.append(threading.Thread(target=lambda statement=create: pair.server.sql().execute(statement)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    writer.join()
    for name in "bcdef":
        pair.wait_for(f"SELECT c, n FROM v_{name}", [(6000, 6000)])
    ns = [document["n"] for document in pair.client.shop.a.find()]
    pair.wait_for("SELECT c, n FROM v_a", [(len(ns), sum(ns))])


RESUMABLE = [6, 7, 63, 89, 91, 133, 150, 189, 234, 237, 262, 384, 9001, 10107, 11600, 11602, 13388, 13435, 13436]


def test_every_passing_error_is_passed(pair):
    start = after(now(pair.client))
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
    opened = pair.status("cursors_opened")[0]
    for i, code in enumerate([43, *RESUMABLE]):
        # Where the driver tries again by itself, so does the capturing.
        pair.fail(code, "getMore", "aggregate" if i % 2 else "getMore")
        pair.client.shop.orders.insert_one({"_id": code})
        pair.wait_for("SELECT count(*) FROM CHANGE_STREAM('s')", [(i + 1,)])
    data = {"failCommands": ["getMore"], "closeConnection": True, "appName": "headwater"}
    pair.client.admin.command("configureFailPoint", "failCommand", mode={"times": 3}, data=data)
    pair.client.shop.orders.insert_one({"_id": "closed"})
    tokens = [(event["_id"]["_data"],) for event in events_at(pair, start)]
    pair.wait_for("SELECT change_id FROM CHANGE_STREAM('s')", tokens)
    assert pair.status("cursors_opened")[0] > opened + len(RESUMABLE) // 2
    pair.wait_for("SELECT state, problem FROM source", [("capturing", None)])


@pytest.mark.parametrize("code", [280, 286, 260])
def test_a_position_that_is_not_known_is_history_lost(pair, code):
    pair.fail(code, "aggregate")
    pair.proxy.cut()
    pair.wait_for("SELECT state, problem LIKE '%--on-history-lost%' FROM source", [("failed", True)])


def test_a_half_open_connection_is_given_up(tmp_path):
    """The source hears nothing and says nothing, and no connection breaks."""
    pair = Pair(tmp_path, through="?directConnection=true&heartbeatFrequencyMS=500&connectTimeoutMS=1000&serverSelectionTimeoutMS=1000")
    try:
        with pair.server.sql() as sql:
            sql.execute("CREATE CHANGE STREAM s ON orders")
        pair.proxy.stalled.clear()
        pair.client.shop.orders.insert_one({"_id": 1})
        # Its old connections never come back; new ones work.
        with pair.proxy.lock:
            pair.proxy.pairs = set()
        pair.proxy.stalled = threading.Event()
        pair.proxy.stalled.set()
        pair.wait_for("SELECT count(*) FROM CHANGE_STREAM('s')", [(1,)])
    finally:
        pair.close()


def test_a_dropped_and_a_renamed_collection_and_database_are_events(pair):
    shop = pair.client.shop
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
        sql.execute("CREATE CHANGE STREAM d ON DATABASE shop")
    shop.orders.insert_one({"_id": 1})
    shop.orders.rename("moved")
    shop.orders.insert_one({"_id": 2})
    shop.orders.drop()
    shop.orders.insert_one({"_id": 3})
    pair.client.drop_database("shop")
    shop.orders.insert_one({"_id": 4})
    kinds = [("insert",), ("rename",), ("insert",), ("drop",), ("insert",), ("drop",), ("insert",)]
    pair.wait_for("SELECT operation_type FROM CHANGE_STREAM('s') WHERE operation_type <> 'dropDatabase' ORDER BY change_id", kinds)
    pair.wait_for("SELECT count(*) FROM CHANGE_STREAM('d') WHERE operation_type = 'dropDatabase'", [(1,)])
    pair.wait_for("SELECT state, problem FROM source", [("capturing", None)])


def test_a_source_that_starts_again_is_followed_on(pair):
    start = after(now(pair.client))
    with pair.server.sql() as sql:
        sql.execute("CREATE CHANGE STREAM s ON orders")
    for i in range(3):
        pair.client.shop.orders.insert_one({"_id": i})
        pair.source.kill()
        pair.source.start()
        pair.proxy.port = int(pair.source.uri.split(":")[2].split("/")[0])
        pair.proxy.cut()
        pair.client.close()
        pair.client = pair.source.mongo()
        pair.client.shop.orders.insert_one({"_id": 10 + i})
    tokens = [(event["_id"]["_data"],) for event in events_at(pair, start)]
    assert len(tokens) == 6
    pair.wait_for("SELECT change_id FROM CHANGE_STREAM('s')", tokens)

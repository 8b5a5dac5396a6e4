"""NATS, files of columns and topics for browsers, each read by its own kind of client; and targets that misbehave."""

import asyncio
import datetime
import decimal
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import nats
import psycopg
import pyarrow.dataset
import pyarrow.parquet
import pytest
import websockets.exceptions
import websockets.sync.client

from conftest import Server
from test_delivery import Endpoint, endpoint, free_port, one, postgres, redis_port, until  # noqa: F401


# ---- NATS --------------------------------------------------------------------------------------


class NatsServer:
    def __init__(self, directory, *arguments):
        self.port, self.directory, self.arguments = free_port(), directory, arguments
        self.start()

    def start(self):
        command = ["nats-server", "-js", "-a", "127.0.0.1", "-p", str(self.port), "-sd", self.directory, *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, what="NATS")

    def answers(self):
        try:
            return socket.create_connection(("127.0.0.1", self.port), 1).recv(4) == b"INFO"
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def messages(self, stream, count, **login):
        async def read():
            client = await nats.connect(f"nats://127.0.0.1:{self.port}", **login)
            jetstream = client.jetstream()
            found = [await jetstream.get_msg(stream, n + 1) for n in range(count)]
            info = await jetstream.stream_info(stream)
            await client.close()
            return info.state.messages, found

        return asyncio.run(read())


@pytest.fixture
def nats_server():
    if not shutil.which("nats-server"):
        pytest.skip("no NATS server is installed")
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(directory)
        yield server
        server.stop()


def test_nats_gets_every_event_once_though_both_sides_die(own_server, nats_server):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    url = f"nats://127.0.0.1:{nats_server.port}/orders.changes"
    refused = own_server.psql(f"CREATE SINK k FROM s INTO '{url}'", check=False)
    assert 'no stream takes the subject "orders.changes"' in refused.stderr
    own_server.psql(f"CREATE SINK k FROM s INTO '{url}?stream=ORDERS&create=true'")
    other = own_server.psql(f"CREATE SINK other FROM s INTO '{url}?stream=OTHER&create=true'", check=False)
    assert 'belongs to stream "ORDERS", not "OTHER"' in other.stderr
    client.shop.orders.insert_many([{"_id": n} for n in range(100)])
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (100,), what="100 deliveries")
    # A position that is behind what was delivered: the server's window knows the repetitions.
    own_server.kill()
    nats_server.stop()
    own_server.start()
    client = own_server.mongo()
    client.shop.orders.insert_many([{"_id": n} for n in range(100, 200)])
    nats_server.start()
    until(lambda: one(own_server, "SELECT delivered FROM sinks") >= (200,), what="200 deliveries")
    count, found = nats_server.messages("ORDERS", 200)
    assert count == 200
    bodies = [json.loads(message.data) for message in found]
    assert sorted(body["key"]["_id"] for body in bodies) == list(range(200))
    for message, body in zip(found, bodies):
        assert message.headers["headwater-event-id"] == body["id"]
        assert message.headers["Nats-Msg-Id"].startswith(body["id"] + "@")
    client.close()


def test_two_sinks_into_one_nats_stream_do_not_swallow_each_others_events(own_server, nats_server):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    url = f"nats://127.0.0.1:{nats_server.port}/orders"
    own_server.psql(f"CREATE SINK a FROM s INTO '{url}?stream=ORDERS&create=true'")
    own_server.psql(f"CREATE SINK b FROM s INTO '{url}' WITH (format = 'plain')")
    client.shop.orders.insert_one({"_id": 1})
    until(lambda: one(own_server, "SELECT sum(delivered) FROM sinks") == (2,), what="both deliveries")
    own_server.psql("ALTER SINK a REPLAY")
    until(lambda: one(own_server, "SELECT sum(delivered) FROM sinks") == (3,), what="the replay")
    assert nats_server.messages("ORDERS", 0)[0] == 3
    client.close()


def test_nats_credentials_are_told_apart_from_a_server_that_is_gone(own_server):
    if not shutil.which("nats-server"):
        pytest.skip("no NATS server is installed")
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(directory, "--user", "me", "--pass", "secret")
        own_server.psql("CREATE CHANGE STREAM s ON orders")
        create = "CREATE SINK k FROM s INTO 'nats://{}127.0.0.1:{}/orders?stream=O&create=true'"
        refused = own_server.psql(create.format("me:wrong@", server.port), check=False)
        assert "wrong user or password" in refused.stderr
        own_server.psql(create.format("me:secret@", server.port))
        assert "secret" not in own_server.psql("SHOW SINKS").stdout
        server.stop()
        refused = own_server.psql(create.format("me:secret@", server.port).replace("SINK k", "SINK l"), check=False)
        assert "cannot connect" in refused.stderr and "refused" in refused.stderr


# ---- files of columns --------------------------------------------------------------------------


def test_a_parquet_folder_has_every_row_once_with_its_types(own_server):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    query = """SELECT (full_document->>'_id')::int AS id, (full_document->>'total')::numeric(10,2) AS total,
        full_document->>'status' AS status, full_document->'tags' AS tags, event_timestamp AS at,
        (full_document->>'day')::date AS day, (full_document->>'weight')::float8 AS weight,
        full_document ? 'paid' AS paid FROM CHANGE_STREAM('s')"""
    own_server.psql(f"CREATE SINK k AS {query} INTO 'file:orders.parquet' WITH (batch_delay = '200 ms', batch_size = 40)")
    orders = client.shop.orders
    row = {"total": 2.5, "status": "new", "tags": ["a", {"b": 1}], "day": "2024-02-29", "weight": 0.5, "paid": True}
    orders.insert_many([{"_id": n, **row} for n in range(60)])
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (60,), what="60 rows")
    own_server.kill()
    own_server.start()
    client = own_server.mongo()
    client.shop.orders.insert_many([{"_id": n} for n in range(60, 100)])
    folder = own_server.directory / "sinks" / "orders.parquet"
    until(lambda: len(pyarrow.dataset.dataset(folder).to_table()) >= 100, what="100 rows")
    table = pyarrow.dataset.dataset(folder).to_table()
    rows = sorted(table.to_pylist(), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(100))
    first, last = rows[0], rows[99]
    assert (first["total"], first["status"], json.loads(first["tags"])) == (decimal.Decimal("2.50"), "new", ["a", {"b": 1}])
    assert (first["day"], first["weight"], first["paid"]) == (datetime.date(2024, 2, 29), 0.5, True)
    assert (last["total"], last["tags"], last["paid"], last["headwater_operation"]) == (None, None, False, "insert")
    assert abs(first["at"].timestamp() - time.time()) < 600
    assert str(table.schema.field("total").type) == "decimal128(10, 2)"
    assert str(table.schema.field("at").type) == "timestamp[ms, tz=UTC]"
    names = sorted(os.listdir(folder))
    assert names[0] == "part-00000001.parquet" and len(names) >= 3
    assert b"headwater.low" in pyarrow.parquet.read_metadata(folder / names[0]).metadata
    client.close()


# ---- topics ------------------------------------------------------------------------------------


class Events:
    """A browser's EventSource, as far as it matters: fields of events, and the last id."""

    def __init__(self, server, path, last_id=None, origin=None):
        host = server.http.removeprefix("http://").rstrip("/")
        self.connection = http.client.HTTPConnection(host, timeout=30)
        headers = {"Accept": "text/event-stream"}
        headers.update({"Last-Event-ID": last_id} if last_id else {})
        headers.update({"Origin": origin} if origin else {})
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        self.last_id = last_id

    def next(self):
        event, data, deadline = "message", [], time.monotonic() + 30
        while time.monotonic() < deadline:
            line = self.response.readline().decode()
            if not line:
                raise EOFError("the server ended the events")
            line = line.rstrip("\n")
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "id":
                self.last_id = value
            elif name == "data":
                data.append(value)
            elif line == "" and data:
                return event, json.loads("\n".join(data))
        raise TimeoutError("no event, only heartbeats")

    def close(self):
        self.connection.close()


def applied(rows, message):
    """What a page does with a view's message."""
    if message["type"] == "snapshot" and message["first"]:
        rows.clear()
    for diff, row in message["changes"]:
        key = json.dumps(row, sort_keys=True)
        rows[key] = rows.get(key, 0) + diff
        assert rows[key] >= 0
        if rows[key] == 0:
            del rows[key]
    return {(json.loads(key)["status"], json.loads(key)["n"]) for key in rows}


def test_a_browser_follows_a_view_and_comes_back_without_gap_or_repeat(own_server):
    client = own_server.mongo()
    orders = client.shop.orders
    orders.insert_many([{"_id": n, "status": "new"} for n in range(3)])
    own_server.psql("CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
    events, rows = Events(own_server, "/topics/shop.v"), {}
    kind, message = events.next()
    assert (kind, events.response.headers["content-type"]) == ("snapshot", "text/event-stream")
    assert applied(rows, message) == {("new", 3)}
    orders.update_one({"_id": 0}, {"$set": {"status": "paid"}})
    while applied(rows, events.next()[1]) != {("new", 2), ("paid", 1)}:
        pass
    events.close()
    orders.update_one({"_id": 1}, {"$set": {"status": "paid"}})
    orders.delete_one({"_id": 0})
    # What was missed comes as deltas: nothing that was seen comes again.
    events = Events(own_server, "/topics/shop.v", last_id=events.last_id)
    kind, message = events.next()
    assert kind == "delta"
    while applied(rows, message) != {("new", 1), ("paid", 1)}:
        kind, message = events.next()
        assert kind == "delta"
    # A server that was restarted knows no deltas of before: the rows come anew.
    orders.insert_one({"_id": 3, "status": "paid"})
    own_server.kill()
    own_server.start()
    events = Events(own_server, "/topics/shop.v", last_id=events.last_id)
    kind, message = events.next()
    assert kind == "snapshot" and applied(rows, message) == {("new", 1), ("paid", 2)}
    own_server.psql("DROP MATERIALIZED VIEW v")
    assert events.next()[0] == "failed"
    events.close()


def test_a_websocket_follows_a_stream_across_restarts(own_server):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    url = lambda: own_server.http.replace("http", "ws", 1) + "ws/shop.s"  # noqa: E731
    seen, last = [], None

    def read(socket, until_id):
        nonlocal last
        while not seen or seen[-1] != until_id:
            message = json.loads(socket.recv(timeout=30))
            last = message.get("id", last)
            seen.extend(event["document_key"]["_id"] for event in message.get("events", []))

    with websockets.sync.client.connect(url()) as socket:
        start = json.loads(socket.recv(timeout=30))
        assert start["type"] == "start"
        last = start["id"]
    client.shop.orders.insert_many([{"_id": n} for n in range(10)])
    with websockets.sync.client.connect(url() + f"?since={last}") as socket:
        read(socket, 9)
        client.shop.orders.insert_many([{"_id": n} for n in range(10, 20)])
        read(socket, 19)
    client.shop.orders.insert_many([{"_id": n} for n in range(20, 30)])
    own_server.kill()
    own_server.start()
    with websockets.sync.client.connect(url() + f"?since={last}") as socket:
        client = own_server.mongo()
        client.shop.orders.insert_one({"_id": 30})
        read(socket, 30)
    assert seen == list(range(31))
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        websockets.sync.client.connect(url() + "?since=nonsense")
    assert refused.value.response.status_code == 400
    client.close()


def test_a_sink_writes_a_topic_that_survives_sigkill(own_server):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql("CREATE SINK k FROM s INTO 'topic:orders' WITH (format = 'cloudevents')")
    taken = own_server.psql("CREATE SINK l FROM s INTO 'topic:orders'", check=False)
    assert 'topic "orders" is written by sink "shop.k"' in taken.stderr
    events = Events(own_server, "/topics/orders")
    assert events.next()[0] == "start"
    client.shop.orders.insert_many([{"_id": n} for n in range(5)])
    seen = [events.next()[1] for _ in range(5)]
    events.close()
    client.shop.orders.insert_many([{"_id": n} for n in range(5, 8)])
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (8,), what="8 deliveries")
    own_server.kill()
    own_server.start()
    client = own_server.mongo()
    client.shop.orders.insert_many([{"_id": n} for n in range(8, 10)])
    events = Events(own_server, "/topics/orders", last_id=events.last_id)
    seen += [events.next()[1] for _ in range(5)]
    assert [json.loads(message["subject"].replace("%22", '"').replace("%20", " "))["_id"] for message in seen] == list(range(10))
    assert len({message["id"] for message in seen}) == 10 and seen[0]["specversion"] == "1.0"
    own_server.psql("ALTER SINK k REPLAY")
    kind, message = events.next()
    assert (kind, message["message"]) == ("failed", "the topic has ended")
    events.close()
    # The ids of the topic's earlier life mean nothing in the new one: said, not guessed.
    until(lambda: one(own_server, "SELECT waiting FROM sinks") == (0,), what="the replay")
    events = Events(own_server, "/topics/orders", last_id=events.last_id)
    assert events.next()[0] == "gap"
    events.close()
    client.close()


def test_pages_of_other_origins_need_permission():
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory, "--http-allow-origin=https://shop.example")
        server.psql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
        assert Events(server, "/topics/shop.v", origin="https://evil.example").response.status == 403
        assert Events(server, "/topics/nothing").response.status == 404
        allowed = Events(server, "/topics/shop.v", origin="https://shop.example")
        assert allowed.response.headers["access-control-allow-origin"] == "https://shop.example"
        own = server.http.rstrip("/")
        assert Events(server, "/topics/shop.v", origin=own).next()[0] == "snapshot"
        socket = server.http.replace("http", "ws", 1) + "ws/shop.v"
        with pytest.raises(websockets.exceptions.InvalidStatus):
            websockets.sync.client.connect(socket, origin="https://evil.example")
        with websockets.sync.client.connect(socket, origin="https://shop.example") as allowed:
            assert json.loads(allowed.recv(timeout=30))["type"] == "snapshot"
        server.stop()


def test_a_client_that_does_not_read_is_given_the_rows_anew(own_server):
    """Far more changes than a socket and the topic hold: the sum is what counts."""
    client = own_server.mongo()
    orders = client.shop.orders
    own_server.psql("CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, (document->>'n')::int AS n FROM orders")
    orders.insert_one({"_id": 1, "status": "x" * 2_000_000, "n": 0})
    slow, rows = Events(own_server, "/topics/shop.v"), {}
    applied(rows, slow.next()[1])
    for n in range(1, 60):
        orders.update_one({"_id": 1}, {"$set": {"n": n}})
        time.sleep(0.1)  # each change a message of its own
    orders.update_one({"_id": 1}, {"$set": {"status": "done"}})
    kinds = set()
    while True:
        kind, message = slow.next()
        kinds.add(kind)
        if applied(rows, message) == {("done", 59)}:
            break
    assert "snapshot" in kinds
    slow.close()
    client.close()


# ---- targets that misbehave --------------------------------------------------------------------


def test_what_can_be_known_is_refused_at_create(own_server, postgres):
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql("CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("CREATE TABLE narrow (status text PRIMARY KEY)")
        target.execute("CREATE TABLE keyless (status text, n bigint)")
    with_db = postgres.rsplit("/", 1)[0]
    cases = [
        ("FROM s INTO 'gopher://h/x'", "a sink into 'gopher:' is not supported"),
        ("FROM s INTO 'http://h/' WITH (colour = 'red')", "colour"),
        ("FROM s INTO 'http://h/' WITH (format = 'xml')", "xml"),
        ("FROM s INTO 'http:///nowhere'", "no"),
        ("FROM s INTO 'http://h/' WITH (headers = ARRAY['no header'])", "is no header"),
        ("FROM s INTO 'kafka://127.0.0.1:1/orders'", "127.0.0.1:1"),
        ("FROM s INTO 'kafka://127.0.0.1:1/orders?colour=red'", 'unknown parameter "colour"'),
        ("FROM s INTO 'kafka://127.0.0.1:1/'", "names no topic"),
        ("FROM s INTO 'nats://127.0.0.1:1/orders'", "cannot connect"),
        ("FROM s INTO 'nats://127.0.0.1:1/orders.*'", "no subject to publish to"),
        ("FROM s INTO 'redis://127.0.0.1:1/0?channel=c'", "refused"),
        ("FROM s INTO 'redis://127.0.0.1:1/0'", "no channel or stream"),
        ("FROM s INTO 'mongodb://127.0.0.1:1/db?collection=c&serverSelectionTimeoutMS=200'", "refused"),
        (f"FROM v INTO '{postgres}' WITH (table = 'narrow', key = 'status')", 'has no column "n"'),
        (f"FROM v INTO '{postgres}' WITH (table = 'keyless', key = 'status')", "no primary key or unique index"),
        (f"FROM v INTO '{with_db}/nowhere' WITH (table = 't', key = 'status')", 'database "nowhere" does not exist'),
        (f"FROM v INTO '{postgres}?sslmode=require' WITH (table = 'narrow', key = 'status')", "TLS"),
        (f"FROM v INTO '{postgres}' WITH (table = 'narrow')", 'needs the option "key"'),
        ("FROM s INTO 'file:../escape.parquet'", "no name of a sink's file"),
        ("FROM s INTO 'file:x.parquet' WITH (format = 'plain')", 'no option "format"'),
        ("FROM s INTO 'topic:no/slash'", "no name of a topic"),
    ]
    for rest, wanted in cases:
        refused = own_server.psql(f"CREATE SINK k {rest}", check=False).stderr
        assert "ERROR" in refused and wanted in refused, (rest, refused)
    assert one(own_server, "SELECT count(*) FROM sinks") == (0,)
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("DROP TABLE narrow, keyless")


class Drip:
    """Answers 200 at once, and a body that never ends, a byte now and then or as fast as it goes."""

    def __init__(self, piece, pause):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.piece, self.pause, self.requests = piece, pause, 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=[connection], daemon=True).start()

    def answer(self, connection):
        try:
            connection.recv(65536)
            self.requests += 1
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            while True:
                connection.sendall(self.piece)
                time.sleep(self.pause)
        except OSError:
            pass


def resident_mb(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


@pytest.mark.parametrize(("piece", "pause"), [(b"x", 0.2), (b"x" * 65536, 0)], ids=["slowly", "hugely"])
def test_an_endpoint_that_answers_without_end_holds_up_nothing_else(own_server, endpoint, piece, pause):
    drip = Drip(piece, pause)
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK stuck FROM s INTO '{drip.url}' WITH (parallelism = 4)")
    own_server.psql(f"CREATE SINK well FROM s INTO '{endpoint.url}'")
    before = resident_mb(own_server)
    client.shop.orders.insert_many([{"_id": n} for n in range(20)])
    until(lambda: len(endpoint.taken) == 20, what="the other sink's deliveries")
    # A 200 is a success, whatever the body does after it.
    until(lambda: one(own_server, "SELECT delivered FROM sinks WHERE sink_name = 'stuck'") == (20,), what="the stuck one's")
    assert resident_mb(own_server) - before < 100
    drip.listener.close()
    client.close()


def test_an_endpoint_that_never_answers_times_out_and_is_told_in_the_status(own_server, endpoint):
    silent = socket.create_server(("127.0.0.1", 0))
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
    own_server.psql(f"CREATE SINK stuck FROM s INTO '{url}' WITH (timeout = '200 ms', max_retries = 1, retry_delay = '10 ms')")
    own_server.psql(f"CREATE SINK well FROM s INTO '{endpoint.url}'")
    client.shop.orders.insert_many([{"_id": n} for n in range(3)])
    until(lambda: len(endpoint.taken) == 3, what="the other sink's deliveries")
    until(lambda: one(own_server, "SELECT count(*) FROM dead_letters WHERE error LIKE 'no answer within%'") == (3,), what="letters")
    silent.close()
    client.close()


def test_an_endpoint_whose_certificate_nobody_knows_is_told_in_the_status(own_server):
    """The listener speaks no TLS at all, which fails as early as a bad certificate does."""
    plain = Endpoint()
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK k FROM s INTO '{plain.url.replace('http', 'https', 1)}'")
    client.shop.orders.insert_one({"_id": 1})
    error = until(lambda: one(own_server, "SELECT last_error FROM sinks")[0], what="the error")
    assert "certificate" in error or "InvalidContentType" in error or "corrupt" in error, error
    assert one(own_server, "SELECT delivered FROM sinks") == (0,)
    plain.stop()
    client.close()

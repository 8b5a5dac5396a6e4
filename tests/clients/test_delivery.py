"""Sinks into real servers, with the process killed while they deliver; ledgers compared at the end."""

import collections
import glob
import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import psycopg
import pymongo
import pytest

from conftest import BINARY


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds=60, what="the condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds} s")


class Endpoint:
    """An HTTP endpoint that refuses a share of requests and keeps what it accepted."""

    def __init__(self, failing=0.0):
        self.failing = failing
        self.random = random.Random(7)
        self.taken = []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fails = endpoint.random.random() < endpoint.failing
                if not fails:
                    endpoint.taken.append((self.headers["idempotency-key"], body))
                self.send_response(500 if fails else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of our own, as the user postgres if we are root."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory() as directory:
        if as_user:
            shutil.chown(directory, "postgres")
        data, port = os.path.join(directory, "data"), free_port()
        subprocess.run([*as_user, f"{found[-1]}/initdb", "-D", data, "-U", "tester", "-A", "trust"], check=True, capture_output=True)
        options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = [*as_user, f"{found[-1]}/pg_ctl", "-D", data, "-w"]
        log = os.path.join(directory, "log")
        subprocess.run([*control, "-l", log, "-o", options, "start"], check=True, capture_output=True)
        yield f"postgres://tester@127.0.0.1:{port}/postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def redis_port():
    if not shutil.which("redis-server"):
        pytest.skip("no Redis server is installed")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: redis(port, "PING") == "PONG", what="Redis")
        yield port
        process.terminate()
        process.wait()


def redis(port, *command):
    done = subprocess.run(["redis-cli", "-p", str(port), *command], capture_output=True, text=True)
    return done.stdout.strip()


def one(server, query):
    with server.sql() as connection:
        return connection.execute(query).fetchone()


def test_a_stopped_server_gives_back_what_is_under_way(own_server, endpoint):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK k FROM s INTO '{endpoint.url}'")
    client.shop.orders.insert_many([{"_id": n} for n in range(200)])
    client.close()
    assert own_server.stop() == 0
    own_server.start()
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (200,), what="every delivery")
    keys = [key for key, _ in endpoint.taken]
    assert len(keys) == len(set(keys)) == 200


def test_a_table_of_postgresql_mirrors_a_collection(own_server, postgres):
    client = own_server.mongo()
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric, tags jsonb, seen timestamptz DEFAULT now())")
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    refused = own_server.psql(f"CREATE SINK k FROM s INTO '{postgres}' WITH (table = 'nothing')", check=False)
    assert "does not exist at the target" in refused.stderr
    refused = own_server.psql("CREATE SINK k FROM s INTO 'postgres://tester@127.0.0.1:1/postgres' WITH (table = 'orders')", check=False)
    assert "onnection refused" in refused.stderr
    own_server.psql(f"CREATE SINK k FROM s INTO '{postgres}' WITH (table = 'orders')")
    orders = client.shop.orders
    orders.insert_one({"_id": 1, "status": "new", "total": 2.5, "tags": ["a", {"b": 1}], "more": True})
    orders.insert_one({"_id": 2, "status": "new"})
    orders.update_one({"_id": 1}, {"$set": {"status": "paid"}, "$unset": {"total": 1}})
    orders.delete_one({"_id": 2})
    orders.insert_one({"_id": "no number"})
    until(lambda: one(own_server, "SELECT status FROM dead_letters") == ("dead",), what="the dead letter")
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (4,), what="every delivery")
    with psycopg.connect(postgres) as target:
        rows = target.execute("SELECT id, status, total, tags, seen IS NOT NULL FROM orders").fetchall()
        target.execute("DROP TABLE orders")
    assert rows == [(1, "paid", None, ["a", {"b": 1}], True)]
    assert "invalid input syntax" in one(own_server, "SELECT error FROM dead_letters")[0]
    client.close()


def test_a_view_is_kept_up_to_date_in_postgresql(own_server, postgres):
    client = own_server.mongo()
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("CREATE TABLE by_status (status text PRIMARY KEY, n bigint)")
    client.shop.orders.insert_many([{"status": status} for status in ["new", "new", "paid"]])
    own_server.psql("CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
    own_server.psql(f"CREATE SINK k FROM v INTO '{postgres}' WITH (table = 'by_status', key = 'status')")

    def rows():
        with psycopg.connect(postgres) as target:
            return target.execute("SELECT status, n FROM by_status ORDER BY 1").fetchall()

    until(lambda: rows() == [("new", 2), ("paid", 1)], what="the rows that were there")
    client.shop.orders.update_many({"status": "new"}, {"$set": {"status": "shipped"}})
    until(lambda: rows() == [("paid", 1), ("shipped", 2)], what="the change")
    client.close()


def test_redis_gets_stream_entries_and_messages(own_server, redis_port):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK x FROM s INTO 'redis://127.0.0.1:{redis_port}/0?stream=entries'")
    own_server.psql(f"CREATE SINK p FROM s INTO 'redis://127.0.0.1:{redis_port}/0?channel=news' WITH (format = 'debezium')")
    listener = subprocess.Popen(["redis-cli", "-p", str(redis_port), "SUBSCRIBE", "news"], stdout=subprocess.PIPE, text=True)
    assert [listener.stdout.readline().strip() for _ in range(3)] == ["subscribe", "news", "1"]
    client.shop.orders.insert_many([{"_id": n} for n in range(50)])
    until(lambda: redis(redis_port, "XLEN", "entries") == "50", what="50 entries")
    heard = [listener.stdout.readline() for _ in range(150)]
    listener.terminate()
    listener.wait()
    assert [json.loads(line)["after"]["_id"] for line in heard[2::3]] == list(range(50))
    client.close()


def test_a_collection_of_another_server_mirrors_this_one(own_server, server):
    client, other = own_server.mongo(), server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    uri = server.uri.replace("/?", "/mirror_of_orders?") + "&collection=orders"
    own_server.psql(f"CREATE SINK k FROM s INTO '{uri}'")
    client.shop.orders.insert_many([{"_id": n, "n": 0} for n in range(20)])
    client.shop.orders.update_many({}, {"$inc": {"n": 1}})
    client.shop.orders.delete_many({"_id": {"$lt": 5}})
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (45,), what="every delivery")
    assert list(other.mirror_of_orders.orders.find().sort("_id")) == [{"_id": n, "n": 1} for n in range(5, 20)]
    other.drop_database("mirror_of_orders")
    client.close()
    other.close()


def test_the_records_are_collections_that_any_driver_reads(own_server, endpoint):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK k FROM s INTO '{endpoint.url}'")
    client.shop.orders.insert_one({"_id": 1})
    logged = until(lambda: client.config.change_event_log.find_one(), what="the log")
    assert (logged["streamId"], logged["operationType"], logged["processed"]) == ("shop.s", "insert", True)
    assert client.config.change_stream_processing_log.count_documents({"processed_successfully": True}) == 1
    assert client.config.event_processor_status.find_one()["_id"] == "shop.k"
    assert client.config.change_stream_resume_tokens.find_one()["resumeToken"]["_data"].startswith("82")
    client.close()


def test_the_status_is_told_in_the_terminal_as_json_and_as_metrics(own_server, endpoint):
    client = own_server.mongo()
    own_server.psql("CREATE CHANGE STREAM s ON orders")
    own_server.psql(f"CREATE SINK k FROM s INTO '{endpoint.url}'")
    client.shop.orders.insert_one({"_id": 1})
    until(lambda: one(own_server, "SELECT delivered FROM sinks") == (1,), what="the delivery")
    address = own_server.http.removeprefix("http://").rstrip("/")
    told = subprocess.run([BINARY, "status", "--http", address], capture_output=True, text=True, check=True).stdout
    line = next(line for line in told.splitlines() if "shop.k" in line)
    assert line.split()[:4] == ["shop.k", endpoint.url, "running", "1"]
    told = json.loads(subprocess.run([BINARY, "status", "--http", address, "--json"], capture_output=True, text=True, check=True).stdout)
    assert told["sinks"][0]["state"] == "running"
    metrics = urllib.request.urlopen(own_server.http + "metrics").read().decode()
    assert 'headwater_sink_delivered_total{db="shop",sink="k"} 1\n' in metrics
    refused = subprocess.run([BINARY, "status", "--http", "127.0.0.1:1"], capture_output=True, text=True)
    assert refused.returncode == 1 and "no answer" in refused.stderr
    client.close()


def test_nothing_is_lost_or_repeated_whatever_is_killed(own_server, postgres, redis_port):
    """One writer, five sinks, SIGKILL every second; the endpoint fails a tenth of its requests."""
    endpoint = Endpoint(failing=0.1)
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("CREATE TABLE ledger (id int PRIMARY KEY, n int)")
        target.execute("CREATE TABLE history (change_id text PRIMARY KEY, id int, n int)")
    own_server.psql("CREATE CHANGE STREAM s ON ledger")
    fast = "retry_delay = '10 ms', max_retries = 20"
    own_server.psql(f"CREATE SINK web FROM s INTO '{endpoint.url}' WITH ({fast})")
    own_server.psql(f"CREATE SINK pg FROM s INTO '{postgres}' WITH (table = 'ledger')")
    query = "SELECT change_id, (full_document->>'_id')::int AS id, (full_document->>'n')::int AS n FROM CHANGE_STREAM('s')"
    own_server.psql(f"CREATE SINK hist AS {query} INTO '{postgres}' WITH (table = 'history', key = 'change_id')")
    own_server.psql(f"CREATE SINK entries FROM s INTO 'redis://127.0.0.1:{redis_port}/1?stream=killed'")
    own_server.psql("CREATE SINK mirror FROM s INTO 'collection:copied.ledger'")
    written, stop = collections.Counter(), threading.Event()

    def write():
        client, keys = None, random.Random(3)
        while not stop.is_set():
            try:
                client = client or own_server.mongo(timeoutMS=5000)
                key = keys.randrange(40)
                client.shop.ledger.update_one({"_id": key}, {"$set": {"n": written[key] + 1}}, upsert=True)
                written[key] += 1
            except (pymongo.errors.PyMongoError, OSError):
                # What became of the write is unknown; setting the same number again changes nothing.
                if client:
                    client.close()
                client = None

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(6):
        time.sleep(1)
        own_server.kill()
        own_server.start()
    time.sleep(1)
    stop.set()
    writer.join()
    client = own_server.mongo()
    expected = {doc["_id"]: doc["n"] for doc in client.shop.ledger.find()}
    events = one(own_server, "SELECT count(*) FROM CHANGE_STREAM('s')")[0]
    assert events >= sum(expected.values()) > 50

    def drained():
        with own_server.sql() as connection:
            return connection.execute("SELECT sink_name, waiting, status FROM sinks WHERE waiting > 0 OR status <> 'running'").fetchall() == []

    until(lambda: len({key for key, _ in endpoint.taken}) >= events and drained(), what="the end of deliveries")
    # The webhook: nothing lost, every key's changes in order; a repetition has its first one's id.
    first = {}
    for key, body in endpoint.taken:
        first.setdefault(key, body)
    assert len(first) == events
    numbers = collections.defaultdict(list)
    for body in first.values():
        numbers[body["key"]["_id"]].append(body["data"].get("full_document", {}).get("n") or body["data"]["updated_fields"]["n"])
    assert all(seen == sorted(seen) for seen in numbers.values())
    assert {key: seen[-1] for key, seen in numbers.items()} == expected
    # The transactional ones: exactly once.
    def rows(text):
        with psycopg.connect(postgres) as target:
            return target.execute(text).fetchall()

    until(lambda: dict(rows("SELECT id, n FROM ledger")) == expected, what="the table")
    assert rows("SELECT count(*) FROM history") == [(events,)]
    assert redis(redis_port, "-n", "1", "XLEN", "killed") == str(events)
    assert {doc["_id"]: doc["n"] for doc in client.copied.ledger.find()} == expected
    assert one(own_server, "SELECT count(*) FROM dead_letters") == (0,)
    client.close()
    endpoint.stop()

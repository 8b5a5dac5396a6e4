"""Headwater beside what a user would pick instead, on one machine, over the same events.

`compare.py [--events N] [--only ours postgres flink]`: N events of about 500 bytes.

    postgres   PostgreSQL 15, durable, with the triggers that the article begins with: a log table with
               pg_notify, an aggregate table; and REFRESH MATERIALIZED VIEW
    flink      Flink SQL from PyPI in this machine's JVM: the same four queries over the events as a file of
               JSON lines, into nothing. Needs a Python with apache-flink: FLINK_PYTHON, or this one
    ours       inserts and latency as for PostgreSQL, and the four queries as views over retained events

What is not installed is skipped, with a message. One line per figure, as `cargo xtask bench` prints them.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psycopg

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/law"))
from servers import Postgres, Server, postgres_home  # noqa: E402  (the one home of how either is started)

BATCH = 1000
KEYS = 100_000
WRITES = 500
WARM_UP = 50
COLLECTIONS = ("user_profiles", "orders", "products", "reviews")
STATEMENT_6 = (ROOT / "crates/bench/src/statement_6.sql").read_text()

QUERIES = {
    "filter and three fields": "SELECT full_document->>'_id' AS id, full_document->>'status' AS status, full_document->>'total_amount' AS total FROM CHANGE_STREAM('s') WHERE full_document->>'kind' = 'a'",
    "GROUP BY of 100,000 keys": "SELECT full_document->>'customer_id' AS k, count(*) AS n, sum((full_document->>'total_amount')::numeric) AS total FROM CHANGE_STREAM('s') GROUP BY 1",
    "join of two streams by key": "SELECT a.full_document->>'_id' AS a, b.full_document->>'_id' AS b FROM CHANGE_STREAM('left_half') a JOIN CHANGE_STREAM('right_half') b ON a.full_document->>'pair' = b.full_document->>'pair'",
    "the article's statement 6": STATEMENT_6,
}


def report(name, value, unit):
    print(f"{name:<72} {value:>12,.{0 if abs(value) >= 100 else 2}f} {unit}", flush=True)


def latencies(name, samples):
    ordered = sorted(samples)
    report(f"{name}, p50", statistics.median(ordered) * 1e3, "ms")
    report(f"{name}, p99", ordered[int(len(ordered) * 0.99) - 1] * 1e3, "ms")


def events(count):
    """The same documents for every engine, by a fixed seed."""
    rng = random.Random(2026)
    filler = "The quick brown fox jumps over the lazy dog and keeps running until the document is long enough. " * 3
    for n in range(count):
        yield {
            "_id": n, "kind": "abcd"[n % 4], "customer_id": rng.randrange(KEYS), "pair": n // 2, "status": rng.choice(("active", "new", "paid")),
            "total_amount": rng.randrange(100_000) / 100, "inventory_count": rng.randrange(50), "low_stock_threshold": 10, "rating": rng.randrange(1, 6),
            "items": [{"sku": "x"}] * (n % 3), "name": f"item {n % 977}", "product_id": n % 977, "filler": filler[: 200 + n % 20],
        }


def batches(count):
    batch = []
    for event in events(count):
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []


class Ours:
    def __init__(self, count):
        self.count = count

    def run(self):
        with tempfile.TemporaryDirectory() as directory:
            server = Server(directory)
            try:
                self.writes(server)
                self.latency(server)
            finally:
                server.kill()
        with tempfile.TemporaryDirectory() as directory:
            server = Server(directory, "--no-sync")
            try:
                self.queries(server)
            finally:
                server.kill()

    def writes(self, server):
        """Batches of inserts while a grouped view follows, until it has them all."""
        sql = server.sql("shop")
        orders = server.mongo()["shop"].orders
        sql.execute("CREATE CHANGE STREAM s ON orders")
        made = list(batches(min(self.count, 50_000)))
        grouped = QUERIES["GROUP BY of 100,000 keys"].replace(" GROUP BY", " WHERE operation_type = 'insert' GROUP BY")
        rate = insert_rate(made, lambda batch: orders.insert_many([dict(event) for event in batch]))
        report("ours: inserts, no view", rate, "documents/s")
        orders.delete_many({})
        sql.execute(f"CREATE MATERIALIZED VIEW by_customer AS {grouped}")
        begun = time.perf_counter()
        rate = insert_rate(made, lambda batch: orders.insert_many([dict(event) for event in batch]))
        report("ours: inserts under a view with GROUP BY of 100,000 keys", rate, "documents/s")
        wanted = 2 * sum(map(len, made))
        while int(sql.execute("SELECT sum(n) FROM by_customer").fetchone()[0]) < wanted:
            pass
        report("ours: the same until the view has them", sum(map(len, made)) / (time.perf_counter() - begun), "documents/s")

    def latency(self, server):
        sql, orders = server.sql("shop"), server.mongo()["shop"].single
        sql.execute("CREATE CHANGE STREAM single ON single")
        sql.execute("CREATE MATERIALIZED VIEW singles AS SELECT full_document->>'k' AS k, count(*) AS n FROM CHANGE_STREAM('single') GROUP BY 1")
        arrivals, ready = Arrivals(), threading.Event()

        def follow():
            with server.sql("shop").cursor().copy("COPY (SUBSCRIBE singles) TO STDOUT") as rows:
                ready.set()
                with contextlib.suppress(psycopg.OperationalError):  # the server ends before its reader
                    for row in rows:
                        _, diff, _, n = bytes(row).decode().rstrip("\n").split("\t")
                        if diff == "1":
                            arrivals.seen(int(n))

        threading.Thread(target=follow, daemon=True).start()
        ready.wait(30)
        samples = arrivals.measure(lambda n: orders.insert_one({"_id": n, "k": "a"}))
        latencies("ours: insert sent to the view's new row at a subscriber", samples)

    def queries(self, server):
        database = server.mongo()["shop"]
        sql = server.sql("shop")
        sql.execute("CREATE CHANGE STREAM s ON DATABASE shop")
        sql.execute("CREATE CHANGE STREAM business_intelligence_stream ON DATABASE shop")
        sql.execute("CREATE CHANGE STREAM left_half ON DATABASE shop FILTER ((full_document->>'_id')::bigint % 2 = 0)")
        sql.execute("CREATE CHANGE STREAM right_half ON DATABASE shop FILTER ((full_document->>'_id')::bigint % 2 = 1)")
        for n, batch in enumerate(batches(self.count)):
            database[COLLECTIONS[n % len(COLLECTIONS)]].insert_many(batch)
        for number, (name, query) in enumerate(QUERIES.items()):
            begun = time.perf_counter()
            sql.execute(f"CREATE MATERIALIZED VIEW q{number} AS {query}")
            rows = sql.execute(f"SELECT count(*) FROM q{number}").fetchone()[0]
            took = time.perf_counter() - begun
            assert rows > 0, name
            report(f"ours: {name}, view built from the log", self.count / took, "events/s")
            sql.execute(f"DROP MATERIALIZED VIEW q{number}")


class Article:
    """PostgreSQL with triggers."""

    TABLES = """
        CREATE TABLE orders (id bigint PRIMARY KEY, document jsonb NOT NULL);
        CREATE TABLE order_changes (change_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), order_id bigint, change_type varchar(10),
            old_values jsonb, new_values jsonb, changed_fields text[], change_timestamp timestamp DEFAULT clock_timestamp(), session_info jsonb);
        CREATE TABLE by_customer (k text PRIMARY KEY, n bigint NOT NULL, total numeric);
    """
    # The article's trigger function, with this table's names. Its subquery for the newest change without an
    # index is left out: it makes each insert as slow as the log is long.
    LOG = """
        CREATE FUNCTION track() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE id uuid;
        BEGIN
            INSERT INTO order_changes (order_id, change_type, new_values, session_info) VALUES (NEW.id, TG_OP, row_to_json(NEW)::jsonb,
                jsonb_build_object('user', current_user, 'application_name', current_setting('application_name', true), 'client_addr', inet_client_addr()))
                RETURNING change_id INTO id;
            PERFORM pg_notify('order_changes', json_build_object('change_id', id, 'order_id', NEW.id, 'change_type', TG_OP, 'timestamp', CURRENT_TIMESTAMP)::text);
            RETURN NEW;
        END $$;
        CREATE TRIGGER track AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION track();
    """
    AGGREGATE = """
        CREATE FUNCTION aggregate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO by_customer VALUES (NEW.document->>'customer_id', 1, (NEW.document->>'total_amount')::numeric)
                ON CONFLICT (k) DO UPDATE SET n = by_customer.n + 1, total = by_customer.total + EXCLUDED.total;
            RETURN NEW;
        END $$;
        CREATE TRIGGER aggregate AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION aggregate();
    """

    def __init__(self, count):
        self.count = min(count, 50_000)

    def run(self):
        home = postgres_home()
        if home is None:
            print("skipped: PostgreSQL 15 is not installed (apt-get install postgresql-15)")
            return
        server = Postgres(home, fsync="on", autovacuum="on", shared_buffers="256MB", max_wal_size="2GB")
        try:
            self.sql = server.connect()
            self.server = server
            made = list(batches(self.count))
            self.sql.execute(self.TABLES)
            report("PostgreSQL: inserts, no trigger", insert_rate(made, self.insert), "rows/s")
            self.again(self.AGGREGATE, "DROP TRIGGER aggregate ON orders", "a trigger with an aggregate table of 100,000 keys", made)
            self.again(self.LOG, "DROP TRIGGER track ON orders", "the article's trigger: log table and pg_notify", made)
            self.refresh()
            self.latency()
        finally:
            server.stop()

    def insert(self, batch):
        rows = [json.dumps(event) for event in batch]
        self.sql.execute("INSERT INTO orders SELECT * FROM unnest(%s::bigint[], %s::jsonb[])", [[event["_id"] for event in batch], rows])

    def again(self, create, drop, name, made):
        self.sql.execute("TRUNCATE orders, order_changes, by_customer")
        self.sql.execute(create)
        report(f"PostgreSQL: inserts, {name}", insert_rate(made, self.insert), "rows/s")
        self.sql.execute(drop)

    def refresh(self):
        """What a materialized view costs after a thousand more rows."""
        self.sql.execute("CREATE MATERIALIZED VIEW mv AS SELECT document->>'customer_id' AS k, count(*) AS n, sum((document->>'total_amount')::numeric) AS total FROM orders GROUP BY 1")
        self.sql.execute("CREATE UNIQUE INDEX ON mv (k)")
        for form in ("", "CONCURRENTLY "):
            begun = time.perf_counter()
            self.sql.execute(f"REFRESH MATERIALIZED VIEW {form}mv")
            report(f"PostgreSQL: REFRESH MATERIALIZED VIEW {form}of {self.count:,} rows", (time.perf_counter() - begun) * 1e3, "ms")

    def latency(self):
        """From an insert to the listener having read the changed aggregate."""
        self.sql.execute("TRUNCATE orders, order_changes, by_customer")
        self.sql.execute(self.AGGREGATE.replace("FUNCTION aggregate()", "FUNCTION aggregate2()").replace("TRIGGER aggregate", "TRIGGER aggregate2"))
        self.sql.execute("CREATE TRIGGER track AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION track()")
        arrivals, ready = Arrivals(), threading.Event()

        def listen():
            listener, reader = self.server.connect(), self.server.connect()
            listener.execute("LISTEN order_changes")
            ready.set()
            with contextlib.suppress(psycopg.OperationalError):
                for _ in listener.notifies():
                    row = reader.execute("SELECT n FROM by_customer WHERE k = '1'").fetchone()
                    if row:
                        arrivals.seen(row[0])

        threading.Thread(target=listen, daemon=True).start()
        ready.wait(30)
        insert = lambda n: self.sql.execute("INSERT INTO orders VALUES (%s, %s)", [n, json.dumps({"customer_id": 1, "total_amount": 5})])
        samples = arrivals.measure(insert)
        latencies("PostgreSQL: insert sent to the listener having read the aggregate", samples)


class Arrivals:
    """When the n-th write was seen by who follows."""

    def __init__(self):
        self.condition, self.count, self.at = threading.Condition(), 0, 0.0

    def seen(self, count):
        at = time.perf_counter()
        with self.condition:
            self.count, self.at = count, at
            self.condition.notify()

    def measure(self, write):
        """One write at a time, the next when the last was seen."""
        samples = []
        for n in range(1, WARM_UP + WRITES + 1):
            sent = time.perf_counter()
            write(n)
            with self.condition:
                assert self.condition.wait_for(lambda: self.count >= n, 30), f"write {n} was never seen"
                assert self.count == n, f"write {n} is followed by {self.count}"
                samples.append(self.at - sent)
        return samples[WARM_UP:]


def insert_rate(made, insert):
    begun = time.perf_counter()
    for batch in made:
        insert(batch)
    return sum(map(len, made)) / (time.perf_counter() - begun)


def flink(count):
    python = os.environ.get("FLINK_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import pyflink"], capture_output=True)
    if found.returncode != 0:
        print("skipped: Flink is not installed (FLINK_PYTHON: a Python up to 3.11 with `pip install apache-flink`, and a JRE)")
        return
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "events.json"
        with path.open("w") as file:
            for n, event in enumerate(events(count)):
                event["collection"] = COLLECTIONS[n // BATCH % len(COLLECTIONS)]
                file.write(json.dumps(event) + "\n")
        done = subprocess.run([python, str(HERE / "flink.py"), str(path), str(count)], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"skipped: Flink does not run: {done.stderr.strip().splitlines()[-1:]}")
            return
        print(done.stdout, end="", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--events", type=int, default=400_000, help="events of the queries")
    arguments.add_argument("--only", nargs="+", choices=("ours", "postgres", "flink"), default=("ours", "postgres", "flink"))
    options = arguments.parse_args()
    if "ours" in options.only:
        Ours(options.events).run()
    if "postgres" in options.only:
        Article(options.events).run()
    if "flink" in options.only:
        flink(options.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())

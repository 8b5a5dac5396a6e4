"""Several processes over one deployment share sinks: killed, paused, stopped, and nothing lost or twice."""

import collections
import os
import random
import signal
import threading
import time

import psycopg
import pytest

from conftest import Server
from test_delivery import Endpoint, postgres, until  # noqa: F401

LEASE = 3


class Group:
    """A deployment and processes that deliver its changes together."""

    def __init__(self, directory, count):
        self.directory = directory
        self.source = Server(directory / "source")
        self.client = self.source.mongo()
        self.members = [self.member(n) for n in range(count)]

    def member(self, number):
        arguments = (f"--source={self.source.uri}", "--group=shop", f"--group-lease={LEASE}")
        return Server(self.directory / f"member{number}", *arguments)

    def status(self, member, sink="k"):
        """Status, holder and how many were delivered, as a member sees it."""
        with member.sql() as sql:
            query = "SELECT status, holder, delivered, fence, last_error FROM sinks WHERE sink_name = %s"
            return sql.execute(query, [sink]).fetchone()

    def holders(self, sink="k"):
        """The members that deliver the sink."""
        return [m for m in self.members if (self.status(m, sink) or ("",))[0] in ("running", "starting")]

    def wait_for_everyone(self, sink="k"):
        until(lambda: all(self.status(member, sink) for member in self.members), what="the sink at every member")

    def close(self):
        for member in self.members:
            member.process.send_signal(signal.SIGCONT)
            member.kill()
        self.client.close()
        self.source.kill()


@pytest.fixture
def trio(tmp_path):
    group = Group(tmp_path, 3)
    yield group
    group.close()


def keys(endpoint):
    return [body["key"]["_id"] for _, body in endpoint.taken]


def test_a_sink_is_defined_for_all_and_delivered_by_one(trio):
    endpoint = Endpoint()
    first, second, third = trio.members
    first.psql("CREATE CHANGE STREAM s ON orders")
    first.psql(f"CREATE SINK k FROM s INTO '{endpoint.url}'")
    for own in ("file:x.jsonl", "topic:x"):
        refused = first.psql(f"CREATE SINK f FROM s INTO '{own}'", check=False)
        assert "in a group of processes" in refused.stderr, own
    trio.wait_for_everyone()
    until(lambda: len(trio.holders()) == 1, what="one holder")
    trio.client.shop.orders.insert_many([{"_id": n} for n in range(50)])
    until(lambda: len(endpoint.taken) == 50, what="every delivery")
    # What one says of the sink holds for all.
    second.psql("ALTER SINK k PAUSE")
    # A member that takes up the new definition does not list the sink for a moment.
    until(lambda: all((trio.status(m) or ("",))[0] in ("paused", "standby") for m in trio.members), what="the pause")
    trio.client.shop.orders.insert_many([{"_id": n} for n in range(50, 60)])
    third.psql("ALTER SINK k RESUME")
    until(lambda: len(endpoint.taken) == 60, what="what came meanwhile")
    assert sorted(keys(endpoint)) == list(range(60))
    third.psql("DROP SINK k")
    until(lambda: not any(trio.status(m) for m in trio.members), what="the end of the sink")
    assert trio.client.headwater.sinks.count_documents({}) == 0
    endpoint.stop()


def test_a_stopped_process_hands_its_lease_over_at_once(trio):
    endpoint = Endpoint()
    trio.members[0].psql("CREATE CHANGE STREAM s ON orders")
    trio.members[0].psql(f"CREATE SINK k FROM s INTO '{endpoint.url}'")
    trio.wait_for_everyone()
    holder = until(lambda: trio.holders(), what="a holder")[0]
    trio.client.shop.orders.insert_many([{"_id": n} for n in range(20)])
    until(lambda: len(endpoint.taken) == 20, what="every delivery")
    fence = trio.status(holder)[3]
    assert holder.stop() == 0
    assert trio.client.headwater.sinks.find_one()["holder"] == "" or trio.client.headwater.sinks.find_one()["fence"] > fence
    trio.members.remove(holder)
    trio.client.shop.orders.insert_many([{"_id": n} for n in range(20, 40)])
    until(lambda: len(endpoint.taken) == 40, what="the deliveries of another")
    assert sorted(keys(endpoint)) == list(range(40))
    endpoint.stop()


def test_dead_letters_go_along(trio):
    endpoint = Endpoint()
    endpoint.failing = 1.0
    trio.members[0].psql("CREATE CHANGE STREAM s ON orders")
    trio.members[0].psql(f"CREATE SINK k FROM s INTO '{endpoint.url}' WITH (max_retries = 0)")
    trio.wait_for_everyone()
    trio.client.shop.orders.insert_one({"_id": 1})
    letters = "SELECT status FROM dead_letters ORDER BY event_id"
    holder = until(lambda: trio.holders(), what="a holder")[0]

    def shown(member):
        with member.sql() as sql:
            return [status for (status,) in sql.execute(letters).fetchall()]

    until(lambda: shown(holder) == ["dead"], what="the dead letter")
    trio.client.shop.orders.update_one({"_id": 1}, {"$set": {"a": 1}})
    until(lambda: shown(holder) == ["dead", "waiting"], what="what waits behind it")
    holder.kill()
    trio.members.remove(holder)
    other = until(lambda: trio.holders(), what="another holder")[0]
    until(lambda: shown(other) == ["dead", "waiting"], what="the letters there")
    bystander = next(m for m in trio.members if m is not other)
    refused = bystander.psql("REDRIVE DEAD LETTERS FROM k", check=False)
    assert "delivered by another process" in refused.stderr
    endpoint.failing = 0.0
    other.psql("REDRIVE DEAD LETTERS FROM k")
    until(lambda: shown(other) == ["delivered", "delivered"], what="the end of the letters")
    assert [body["operation"] for _, body in endpoint.taken] == ["insert", "update"]
    endpoint.stop()


def test_nothing_is_lost_or_repeated_whoever_is_killed_or_paused(trio, postgres):  # noqa: F811
    endpoint = Endpoint(failing=0.05)
    with psycopg.connect(postgres, autocommit=True) as target:
        target.execute("DROP TABLE IF EXISTS counted; CREATE TABLE counted (id int PRIMARY KEY, n int)")
        target.execute("DROP TABLE IF EXISTS told; CREATE TABLE told (change_id text PRIMARY KEY, id int, n int, at serial)")
    first = trio.members[0]
    first.psql("CREATE CHANGE STREAM s ON ledger WITH (full_document = 'whenAvailable')")
    fast = "retry_delay = '10 ms', max_retries = 50"
    first.psql(f"CREATE SINK web FROM s INTO '{endpoint.url}' WITH ({fast})")
    first.psql(f"CREATE SINK pg FROM s INTO '{postgres}' WITH (table = 'counted')")
    rows = "SELECT change_id, (full_document->>'_id')::int AS id, (full_document->>'n')::int AS n FROM CHANGE_STREAM('s')"
    first.psql(f"CREATE SINK hist AS {rows} INTO '{postgres}' WITH (table = 'told', key = 'change_id')")
    sinks = ("web", "pg", "hist")
    for sink in sinks:
        trio.wait_for_everyone(sink)
        until(lambda: trio.holders(sink), what="a holder")

    def fences():
        return {sink["_id"]: sink["fence"] for sink in trio.client.headwater.sinks.find()}

    before = fences()
    trio.client.shop.create_collection("ledger", changeStreamPreAndPostImages={"enabled": True})
    written, stop = collections.Counter(), threading.Event()
    ledger = trio.client.shop.ledger

    def write():
        choice = random.Random(5)
        while not stop.is_set():
            key = choice.randrange(30)
            written[key] += 1
            ledger.update_one({"_id": key}, {"$set": {"n": written[key]}}, upsert=True)
            time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    fate = random.Random(11)
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            time.sleep(fate.uniform(0.5, 2))
            # Mostly whoever delivers, for what happens to a bystander proves little.
            at_work = trio.holders(fate.choice(sinks)) if fate.random() < 0.8 else []
            member = fate.choice(at_work or trio.members)
            if fate.random() < 0.5:
                member.kill()
                time.sleep(fate.uniform(0, 2 * LEASE))
                member.start()
            else:
                os.kill(member.process.pid, signal.SIGSTOP)
                time.sleep(fate.uniform(0, 2 * LEASE))
                os.kill(member.process.pid, signal.SIGCONT)
    finally:
        stop.set()
        writer.join()
    expected = {doc["_id"]: doc["n"] for doc in ledger.find()}
    total = sum(expected.values())
    assert total > 500

    def table(query):
        with psycopg.connect(postgres) as target:
            return target.execute(query).fetchall()

    until(lambda: dict(table("SELECT id, n FROM counted")) == expected, what="the table")
    until(lambda: table("SELECT count(*) FROM told") == [(total,)], what="the history")
    until(lambda: len({key for key, _ in endpoint.taken}) == total, what="the requests")
    # Every change once, in order per key, at the transactional target.
    told = collections.defaultdict(list)
    for key, n in table("SELECT id, n FROM told ORDER BY at"):
        told[key].append(n)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in told.values())
    # The webhook may be told again, with the same id: the first of each id is in order.
    seen, numbers = set(), collections.defaultdict(list)
    for event_id, body in endpoint.taken:
        if event_id not in seen:
            seen.add(event_id)
            numbers[body["key"]["_id"]].append(body["data"]["full_document"]["n"])
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    assert trio.client.headwater.dead_letters.count_documents({}) == 0
    assert sum(fences().values()) > sum(before.values()), "nobody took over: the test has shown nothing"
    endpoint.stop()

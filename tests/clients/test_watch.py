"""watch() on a collection, a database and the deployment."""

import threading
import time

import pymongo
import pytest


def take(stream, count, seconds=10):
    """The next events; fails if they do not come."""
    events, end = [], time.monotonic() + seconds
    while len(events) < count and time.monotonic() < end:
        event = stream.try_next()
        if event is not None:
            events.append(event)
    assert len(events) == count, events
    return events


def test_every_kind_of_change(database):
    with database.orders.watch() as stream:
        database.orders.insert_one({"_id": 1, "status": "new", "tags": ["a"]})
        database.orders.update_one({"_id": 1}, {"$set": {"status": "paid"}, "$unset": {"tags": 1}})
        database.orders.replace_one({"_id": 1}, {"status": "gone"})
        database.orders.delete_one({"_id": 1})
        database.orders.drop()
        events = take(stream, 6)
    assert [e["operationType"] for e in events] == ["insert", "update", "replace", "delete", "drop", "invalidate"]
    assert events[1]["updateDescription"] == {
        "updatedFields": {"status": "paid"}, "removedFields": ["tags"], "truncatedArrays": []}
    assert events[0]["documentKey"] == {"_id": 1} and events[0]["ns"]["coll"] == "orders"


def test_pipeline_and_lookup(database):
    pipeline = [{"$match": {"operationType": "update"}}, {"$addFields": {"seen": True}}]
    with database.watch(pipeline, full_document="updateLookup") as stream:
        database.a.insert_one({"_id": 1, "n": 1})
        database.a.update_one({"_id": 1}, {"$inc": {"n": 1}})
        (event,) = take(stream, 1)
    assert event["fullDocument"] == {"_id": 1, "n": 2} and event["seen"] is True


def test_deployment_sees_all_databases(server, database):
    with server.mongo().watch([{"$match": {"ns.db": database.name}}]) as stream:
        database.x.insert_one({"_id": 1})
        (event,) = take(stream, 1)
    assert event["ns"] == {"db": database.name, "coll": "x"}


def test_resume_repeats_nothing_and_loses_nothing(database):
    with database.c.watch() as stream:
        database.c.insert_many([{"_id": i} for i in range(20)])
        first = take(stream, 8)
    with database.c.watch(resume_after=first[-1]["_id"]) as stream:
        rest = take(stream, 12)
    assert [e["documentKey"]["_id"] for e in first + rest] == list(range(20))


def test_commit_wakes_a_waiting_watcher_at_once(database):
    database.c.insert_one({"_id": 0})
    with database.c.watch(max_await_time_ms=10000) as stream:
        started = []

        def write():
            time.sleep(0.3)
            started.append(time.monotonic())
            database.c.insert_one({"_id": 1})

        writer = threading.Thread(target=write)
        writer.start()
        event = next(stream)
        waited = time.monotonic() - started[0]
        writer.join()
    assert event["documentKey"] == {"_id": 1} and waited < 5


def test_invalid_token_has_its_code(database):
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        database.c.watch(resume_after={"_data": "zz"})
    assert refused.value.code == 9

"""An unmodified driver writes and reads."""

import threading

import pymongo
import pytest
from bson import Decimal128, Int64


def test_hello_is_a_replica_set_member(server):
    hello = server.mongo().admin.command("hello")
    assert hello["setName"] == "rs0" and hello["isWritablePrimary"] and hello["maxWireVersion"] >= 21


def test_write_and_read_back(database):
    orders = database.orders
    orders.insert_many([{"_id": i, "status": "new" if i % 2 else "paid", "total": i * 10} for i in range(300)])
    assert orders.count_documents({"status": "new"}) == 150
    assert [d["_id"] for d in orders.find({"total": {"$gte": 2950}}).sort("_id", -1)] == [299, 298, 297, 296, 295]
    assert orders.update_many({"status": "new"}, {"$inc": {"total": 1}, "$set": {"seen": True}}).modified_count == 150
    assert orders.delete_one({"_id": 7}).deleted_count == 1
    found = orders.find_one_and_update({"_id": 9}, {"$push": {"log": "x"}}, return_document=pymongo.ReturnDocument.AFTER)
    assert found["log"] == ["x"] and found["total"] == 91


def test_types_survive(database):
    document = {"_id": 1, "d": Decimal128("1.10"), "l": Int64(2), "n": None, "a": [1, {"b": 2.5}], "s": "ünï"}
    database.types.insert_one(document)
    assert database.types.find_one() == document


def test_unique_index_refuses_a_duplicate(database):
    database.users.create_index("email", unique=True)
    database.users.insert_one({"email": "a@example.com"})
    with pytest.raises(pymongo.errors.DuplicateKeyError) as refused:
        database.users.insert_one({"email": "a@example.com"})
    assert refused.value.details["keyPattern"] == {"email": 1}


def test_explain_names_the_index(database):
    database.orders.insert_many([{"status": "s%d" % (i % 5), "n": i} for i in range(50)])
    database.orders.create_index([("status", 1), ("n", -1)])
    plan = str(database.orders.find({"status": "s1"}).explain()["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in plan and "status_1_n_-1" in plan


def test_aggregate_groups_and_joins(database):
    database.orders.insert_many([{"c": i % 3, "total": i} for i in range(9)])
    database.customers.insert_many([{"_id": i, "name": f"n{i}"} for i in range(3)])
    rows = list(database.orders.aggregate([
        {"$group": {"_id": "$c", "sum": {"$sum": "$total"}}},
        {"$lookup": {"from": "customers", "localField": "_id", "foreignField": "_id", "as": "who"}},
        {"$sort": {"_id": 1}},
    ]))
    assert [(r["sum"], r["who"][0]["name"]) for r in rows] == [(9, "n0"), (12, "n1"), (15, "n2")]


def test_unknown_command_is_refused_by_name(server):
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        server.mongo().admin.command("noSuchThing")
    assert refused.value.code == 59


def test_retryable_write_is_applied_once(database):
    session_id = database.client.start_session().session_id
    command = {"insert": "c", "documents": [{"_id": 1}], "lsid": session_id, "txnNumber": Int64(1)}
    for _ in range(2):
        assert database.command(dict(command))["n"] == 1
    assert database.c.count_documents({}) == 1


def test_min_max_and_the_key_that_led_there(database):
    database.c.insert_many([{"_id": n, "j": n, "k": -n, "tags": ["x", str(n)]} for n in range(10)])
    for index in ([("j", 1)], [("j", 1), ("k", -1)], [("j", -1)], [("tags", 1)]):
        database.c.create_index(index)

    def ids(minimum=None, maximum=None, hint="j_1", **more):
        find = {"find": "c", "hint": hint, "min": minimum or {}, "max": maximum or {}, **more}
        reply = database.command(find, check=False)
        return [document["_id"] for document in reply["cursor"]["firstBatch"]] if reply["ok"] else reply["code"]

    assert ids({"j": 3}, {"j": 6}) == [3, 4, 5]
    assert ids({"j": 8}) == [8, 9] and ids(None, {"j": 2}) == [0, 1]
    assert ids({"j": 6}, {"j": 3}, hint="j_-1") == [6, 5, 4]
    assert ids({"j": 3, "k": -3}, {"j": 5, "k": -5}, hint="j_1_k_-1") == [3, 4]
    assert ids({"j": 3}, {"j": 6}, filter={"k": {"$lt": -3}}, sort={"j": -1}) == [5, 4]
    assert [ids({"j": 3}, hint={"$natural": 1}), ids({"j": 3}, hint={}), ids({"k": 3})] == [51173, 51173, 51174]
    assert [ids({"j": 6}, {"j": 3}), ids({"j": 3}, {"k": 3})] == [51175, 51176]

    def keys(**find):
        return database.command({"find": "c", "returnKey": True, **find})["cursor"]["firstBatch"]

    assert keys(filter={"j": 3}, hint="j_1_k_-1") == [{"j": 3, "k": -3}]
    assert keys(filter={"tags": "7"}) == [{"tags": "7"}]
    assert keys(filter={"_id": 3}, showRecordId=True) == [{"_id": 3}] and keys(filter={"k": -3}) == [{}]


def test_a_replacement_is_reported_as_it_was_sent(database):
    database.c.insert_one({"_id": 1})
    with database.c.watch(max_await_time_ms=5000) as stream:
        database.c.replace_one({"_id": 1}, {"a": 1, "_id": 1})
        assert list(next(stream)["fullDocument"]) == ["a", "_id"]
    assert list(database.c.find_one()) == ["_id", "a"]


def test_indexes_are_built_while_others_write(database):
    database.c.insert_many([{"_id": n, "a": n, "text": "x" * 100} for n in range(3000)])
    done = threading.Event()

    def write():
        n = 3000
        while not done.is_set():
            database.c.insert_one({"_id": n, "a": n})
            database.c.update_one({"_id": n - 2500}, {"$set": {"a": -n}})
            database.c.delete_one({"_id": n - 2000})
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        database.c.create_index("a", unique=True)
    finally:
        done.set()
        writer.join()
    everything = sorted(document["a"] for document in database.c.find())
    assert [document["a"] for document in database.c.find(hint="a_1").sort("a", 1)] == everything
    database.c.drop_index("a_1")
    database.c.insert_one({"_id": "twin", "b": 1})
    database.c.insert_one({"_id": "other", "b": 1})
    reply = database.command({"createIndexes": "c", "indexes": [{"key": {"b": 1}, "name": "b_1", "unique": True}]}, check=False)
    assert reply["code"] == 11000 and "b_1" not in database.c.index_information()

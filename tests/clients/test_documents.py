"""An unmodified driver writes and reads."""

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

"""What a server refuses, with its code, and what it survives: options, tokens, large events, the idle."""

import random
import threading
import time

import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure

RIGHT = 0


def code_of(database, command):
    reply = database.command(command, check=False)
    return reply.get("code", RIGHT if reply["ok"] else None)


def watch(stage, *rest, target="c", **more):
    return {"aggregate": target, "pipeline": [{"$changeStream": stage}, *rest], "cursor": {}, **more}


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def prepared(database):
    """A collection, a view, and the token of an insert."""
    database.create_collection("c")
    database.command("create", "view", viewOn="c", pipeline=[])
    opened = database.command(watch({}))["cursor"]
    database.c.insert_one({"_id": 1})
    events = database.command({"getMore": opened["id"], "collection": "c"})["cursor"]["nextBatch"]
    return database, events[0]["_id"]


@pytest.mark.parametrize("stage, code", [
    ({"nope": 1}, 40415),
    ({"resumeAfter": 5}, 14), ({"startAfter": "x"}, 14), ({"startAtOperationTime": 5}, 14),
    ({"fullDocument": 5}, 14), ({"fullDocumentBeforeChange": 5}, 14),
    ({"allChangesForCluster": "x"}, 14), ({"showExpandedEvents": 1}, 14),
    ({"fullDocument": "nope"}, 2), ({"fullDocumentBeforeChange": "nope"}, 2),
    ({"resumeAfter": None, "startAfter": None, "startAtOperationTime": None, "fullDocument": None}, RIGHT),
    (5, 6188500), ("x", 6188500), (None, 6188500), ([], 6188500),
    ({"allChangesForCluster": True}, 72),
    ({"startAtOperationTime": Timestamp(2**32 - 1, 1)}, RIGHT),
])
def test_options(prepared, stage, code):
    assert code_of(prepared[0], watch(stage)) == code


REFUSED = {
    "$group": {"_id": 1}, "$sort": {"a": 1}, "$skip": 1, "$limit": 1, "$sample": {"size": 1}, "$unwind": "$a",
    "$lookup": {"from": "c", "localField": "a", "foreignField": "a", "as": "x"},
    "$graphLookup": {"from": "c", "startWith": "$a", "connectFromField": "a", "connectToField": "b", "as": "x"},
    "$bucketAuto": {"groupBy": "$a", "buckets": 2}, "$facet": {"a": [{"$match": {}}]}, "$out": "o", "$merge": "o",
    "$bucket": {"groupBy": "$a", "boundaries": [0, 1]}, "$count": "n", "$sortByCount": "$a", "$unionWith": "c",
    "$setWindowFields": {"sortBy": {"a": 1}, "output": {"x": {"$sum": 1}}},
    "$densify": {"field": "a", "range": {"step": 1, "bounds": "full"}}, "$fill": {"output": {"a": {"value": 1}}},
}
ALLOWED = {
    "$match": {}, "$project": {"a": 1}, "$addFields": {"a": 1}, "$set": {"a": 1}, "$unset": "a",
    "$replaceRoot": {"newRoot": "$$ROOT"}, "$replaceWith": "$$ROOT", "$redact": "$$KEEP", "$changeStreamSplitLargeEvent": {},
}


def test_stages(prepared):
    database, _ = prepared
    refused = {stage: code_of(database, watch({}, {stage: spec})) for stage, spec in REFUSED.items()}
    assert refused == dict.fromkeys(REFUSED, 20)
    allowed = {stage: code_of(database, watch({}, {stage: spec})) for stage, spec in ALLOWED.items()}
    assert allowed == dict.fromkeys(ALLOWED, RIGHT)
    stream, split = {"$changeStream": {}}, {"$changeStreamSplitLargeEvent": {}}
    inside = lambda *pipeline: {"aggregate": "c", "pipeline": list(pipeline), "cursor": {}}
    for pipeline, code in [
        ([stream, {"$nope": 1}], 40324), ([{"$match": {}}, stream], 40602), ([stream, stream], 40602),
        ([split], 20), ([stream, split, {"$match": {}}], 7182802), ([stream, split, split], 7182802),
        ([{"$lookup": {"from": "c", "pipeline": [stream], "as": "x"}}], 51047),
        ([{"$facet": {"a": [stream]}}], 40600), ([{"$unionWith": {"coll": "c", "pipeline": [stream]}}], 31441),
    ]:
        assert code_of(database, inside(*pipeline)) == code, pipeline
    assert code_of(database, {"create": "w", "viewOn": "c", "pipeline": [stream]}) == 167
    assert code_of(database, {"collMod": "view", "viewOn": "c", "pipeline": [stream]}) == 167


def test_namespaces_and_concerns(prepared):
    database, _ = prepared
    client = database.client
    assert code_of(database, watch({}, target="view")) == 166
    for target, code in [("system.x", 73), ("system.buckets.x", 73), ("systemindexes", RIGHT), ("not there", RIGHT)]:
        assert code_of(database, watch({}, target=target)) == code, target
    assert "not there" not in database.list_collection_names()
    for name in ("local", "config", "admin"):
        assert code_of(client[name], watch({})) == 73
        assert code_of(client[name], watch({}, target=1)) == 73
    assert code_of(client.admin, watch({"allChangesForCluster": True}, target=1)) == RIGHT
    assert code_of(client.admin, watch({"allChangesForCluster": True})) == 72
    for level, code in [("local", 72), ("available", 72), ("linearizable", 72), ("snapshot", 72), ("majority", RIGHT)]:
        assert code_of(database, watch({}, readConcern={"level": level})) == code, level
    with client.start_session() as session:
        session.start_transaction()
        database.c.insert_one({}, session=session)
        with pytest.raises(OperationFailure) as refused:
            database.command(watch({}), session=session)
        assert refused.value.code == 263
        session.abort_transaction()


def test_tokens(prepared):
    database, token = prepared
    data = token["_data"]
    for bad, code in [
        ({}, 40647), ({"_data": 5}, 40647), ({"_data": None}, 40647), ({"_data": ""}, 40649), ({"_data": "zz"}, 9),
        ({"_data": "826"}, 9), ({"_data": data, "_typeBits": 5}, 40648), (token, RIGHT), ({"_data": data.lower()}, RIGHT),
    ]:
        assert code_of(database, watch({"resumeAfter": bad})) == code, bad
    assert code_of(database, watch({"resumeAfter": token, "startAfter": token})) == 50865
    assert code_of(database, watch({"resumeAfter": token, "startAtOperationTime": Timestamp(1, 1)})) == 40674
    assert code_of(database, watch({"startAfter": token, "startAtOperationTime": Timestamp(1, 1)})) == 40674


def test_damaged_tokens_are_refused_or_wait_and_break_nothing(prepared):
    database, token = prepared
    whole = bytes.fromhex(token["_data"])
    chance = random.Random(1)
    damaged = [whole[:n] for n in range(1, len(whole) - 1)]
    for _ in range(300):
        copy = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 5])):
            copy[chance.randrange(len(copy))] = chance.randrange(256)
        damaged.append(bytes(copy))
    for data in damaged:
        reply = database.command(watch({"resumeAfter": {"_data": data.hex().upper()}}), check=False)
        assert reply["ok"] or (reply["code"] > 1 and reply["errmsg"]), data
        if reply["ok"] and reply["cursor"]["id"]:
            database.command({"killCursors": "c", "cursors": [reply["cursor"]["id"]]})
    assert database.command("ping")["ok"]


def test_a_token_of_an_event_that_is_not_there_is_fatal(prepared):
    """Of another deployment, that is: well made, but naming what never happened here."""
    database, token = prepared
    uuid = token["_data"].index("5A1004") + 6
    foreign = {"_data": token["_data"][:uuid] + "00" * 16 + token["_data"][uuid + 32:]}
    database.c.insert_one({"_id": 2})
    reply = database.command(watch({"resumeAfter": foreign}), check=False)
    assert (reply["code"], reply["errorLabels"]) == (280, ["NonResumableChangeStreamError"])


def test_an_event_over_the_limit_fails_unless_it_is_split(database):
    database.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    database.c.insert_one({"_id": 1, "a": "x" * 9_000_000})
    options = {"fullDocument": "required", "fullDocumentBeforeChange": "required"}
    split = {"$changeStreamSplitLargeEvent": {}}
    plain = database.command(watch(options))["cursor"]
    parted = database.command(watch(options, split))["cursor"]
    database.c.update_one({"_id": 1}, {"$set": {"a": "y" * 9_000_000}})
    reply = database.command({"getMore": plain["id"], "collection": "c"}, check=False)
    assert reply["code"] == 10334 and "errorLabels" not in reply
    assert code_of(database, {"getMore": plain["id"], "collection": "c"}) == 43
    fragments = []
    while not fragments or len(fragments) < fragments[0]["splitEvent"]["of"]:
        fragments += database.command({"getMore": parted["id"], "collection": "c"})["cursor"]["nextBatch"]
    assert [event["splitEvent"] for event in fragments] == [{"fragment": n, "of": len(fragments)} for n in range(1, len(fragments) + 1)]
    whole = {name: value for event in fragments for name, value in event.items()}
    assert whole["fullDocument"]["a"][0] == "y" and whole["fullDocumentBeforeChange"]["a"][0] == "x"
    first = fragments[0]["_id"]
    assert code_of(database, watch({"resumeAfter": first, **options})) == 280, "a fragment needs the stage"
    again = database.command(watch({"resumeAfter": first, **options}, split))["cursor"]["firstBatch"]
    assert [event["splitEvent"]["fragment"] for event in again][:1] == [2]


def test_a_cursor_has_one_reader_and_ends_when_it_is_killed(server, database):
    """143 for a second reader; 237 for the one that waits when it is killed; 43 afterwards."""
    database.create_collection("c")
    admin = server.mongo().admin
    # A cursor belongs to a session: both readers have to be of the same.
    with database.client.start_session() as session:
        opened = database.command(watch({}), session=session)["cursor"]["id"]
        more = {"getMore": opened, "collection": "c", "maxTimeMS": 30_000}

        def read():
            reply = database.command(more, check=False, session=session)
            return reply.get("code", RIGHT)

        answers = []
        waiting = threading.Thread(target=lambda: answers.append(read()))
        waiting.start()
        reads = lambda: [op for op in admin.aggregate([{"$currentOp": {}}]) if op.get("command", {}).get("getMore") == opened]
        until(reads, "the first reader waits")
        assert read() == 143
        killed = database.command({"killCursors": "c", "cursors": [opened]}, session=session)
        assert killed["cursorsKilled"] == [opened]
        waiting.join(20)
        assert answers == [237]
        assert read() == 43


def test_a_watcher_that_never_reads_is_forgotten_when_its_time_is_over(server, database):
    admin = database.client.admin
    idle = database.command(watch({}))["cursor"]["id"]
    busy = database.command(watch({}))["cursor"]["id"]
    admin.command({"setParameter": 1, "enableTimeoutOfInactiveSessionCursors": True})
    was = admin.command({"setParameter": 1, "cursorTimeoutMillis": 1000})["was"]
    try:
        end = time.monotonic() + 20
        total = lambda: admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]
        before = total()
        while total() >= before and time.monotonic() < end:
            assert code_of(database, {"getMore": busy, "collection": "c", "maxTimeMS": 10}) == RIGHT
        assert code_of(database, {"getMore": idle, "collection": "c"}) == 43
        assert code_of(database, {"getMore": busy, "collection": "c", "maxTimeMS": 10}) == RIGHT
    finally:
        admin.command({"setParameter": 1, "cursorTimeoutMillis": was})
        admin.command({"setParameter": 1, "enableTimeoutOfInactiveSessionCursors": False})


def test_a_transaction_left_open_ends_and_holds_nothing(database):
    admin = database.client.admin
    database.c.insert_many([{"_id": n, "n": 0} for n in range(300)])
    was = admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 1})["was"]
    try:
        with database.client.start_session() as session:
            session.start_transaction()
            database.c.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
            cursor = database.c.find({}, batch_size=2, session=session)
            next(cursor)
            # Waits for the document, and gets it when the transaction is over.
            assert database.c.update_one({"_id": 1}, {"$inc": {"n": 5}}).modified_count == 1
            with pytest.raises(OperationFailure) as late:
                database.c.update_one({"_id": 2}, {"$inc": {"n": 1}}, session=session)
            assert late.value.code == 251 and late.value.has_error_label("TransientTransactionError")
            cursor_id = cursor.cursor_id
        assert database.c.find_one({"_id": 1})["n"] == 5
        gone = lambda: code_of(database, {"getMore": cursor_id, "collection": "c"}) == 43
        until(gone, "the cursor of the transaction outlived it")
    finally:
        admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": was})


def test_images_expire(database):
    admin = database.client.admin
    parameter = lambda value: admin.command({"setClusterParameter": {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": value}}}})
    for bad in (0, -1, "nope"):
        with pytest.raises(OperationFailure) as refused:
            parameter(bad)
        assert refused.value.code == 2
    database.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
    database.c.insert_one({"_id": 1, "n": 1})
    start = database.command("ping")["operationTime"]
    database.c.update_one({"_id": 1}, {"$inc": {"n": 1}})

    def images(mode):
        stage = {"startAtOperationTime": start, "fullDocumentBeforeChange": mode}
        reply = database.command(watch(stage, {"$match": {"operationType": "update"}}), check=False)
        return [event["fullDocumentBeforeChange"] for event in reply["cursor"]["firstBatch"]] if reply["ok"] else reply["code"]

    assert images("required") == [{"_id": 1, "n": 1}]
    parameter(1)
    try:
        (shown,) = admin.command("getClusterParameter", "changeStreamOptions")["clusterParameters"]
        assert shown["preAndPostImages"] == {"expireAfterSeconds": 1}
        until(lambda: images("whenAvailable") == [None], "the image is still there")
        assert images("required") == 47
    finally:
        parameter("off")


def test_running_operations_are_listed_and_can_be_ended(server, database):
    database.command("create", "c")
    outcome = {}
    admin = database.client.admin
    listed = lambda: [op for op in admin.command("currentOp", 1)["inprog"] if op["op"] == "getmore" and op["command"].get("comment") == "mine"]
    session = database.client.start_session()
    mine = database.command(watch({}), session=session)["cursor"]["id"]

    def wait():
        command = {"getMore": mine, "collection": "c", "maxTimeMS": 60_000, "comment": "mine"}
        outcome.update(database.command(command, session=session, check=False))

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: len(listed()) == 1, "the getMore is not listed")
    (operation,) = listed()
    assert operation["ns"] == f"{database.name}.c" and operation["secs_running"] >= 0
    admin.command("killOp", op=operation["opid"])
    thread.join(timeout=20)
    assert outcome["code"] == 11601
    piped = list(admin.aggregate([{"$currentOp": {}}, {"$match": {"command.aggregate": {"$exists": True}}}]))
    assert len(piped) == 1
    assert code_of(database, {"aggregate": 1, "pipeline": [{"$currentOp": {}}], "cursor": {}}) == 73
    assert code_of(admin, {"aggregate": 1, "pipeline": [{"$currentOp": {"nope": True}}], "cursor": {}}) == 9

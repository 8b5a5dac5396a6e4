"""Starting, stopping, being killed."""

import json
import subprocess
import tempfile
import threading
import urllib.request

import pymongo

from conftest import BINARY, Server


def test_health_status_and_metrics(server):
    assert urllib.request.urlopen(server.http + "healthz").status == 200
    assert "views" in json.load(urllib.request.urlopen(server.http + "api/status"))
    assert b"headwater_changes_total" in urllib.request.urlopen(server.http + "metrics").read()
    assert b"<title>Headwater" in urllib.request.urlopen(server.http).read()


def refused(*arguments):
    done = subprocess.run([BINARY, "serve", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "panicked" not in done.stderr
    return done.stderr


def test_a_busy_port_is_one_sentence(server, tmp_path):
    port = server.uri.split("/")[2]
    message = refused(f"--data-dir={tmp_path}", f"--mongo-listen={port}", "--pg-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0")
    assert "in use" in message and message.count("\n") == 1


def test_a_locked_directory_is_one_sentence(server):
    ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
    message = refused(f"--data-dir={server.directory}", *ports)
    assert message.count("\n") == 1


def test_sigkill_loses_nothing_acknowledged():
    """Writers run, the process dies, and everything acknowledged is there with its event."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        sql = server.sql("shop")
        sql.execute("CREATE CHANGE STREAM s ON orders")
        sql.execute("CREATE MATERIALIZED VIEW v AS SELECT document_key->>'_id' AS id FROM CHANGE_STREAM('s') WHERE operation_type = 'insert'")
        with server.mongo().shop.orders.watch() as stream:
            token = stream.resume_token
        for round_number in range(3):
            acknowledged = write_until_killed(server, round_number)
            assert acknowledged
            server.start()
            client = server.mongo()
            stored = {d["_id"] for d in client.shop.orders.find({"round": round_number})}
            assert acknowledged <= stored
            events = []
            with client.shop.orders.watch([{"$match": {"fullDocument.round": round_number}}], resume_after=token) as stream:
                while (event := stream.try_next()) is not None or len(events) < len(stored):
                    if event is not None:
                        events.append(event["documentKey"]["_id"])
                token = stream.resume_token
            assert sorted(events) == sorted(stored)
            in_view = {int(row[0]) for row in server.sql("shop").execute("SELECT id FROM v").fetchall()}
            assert stored <= in_view
            client.close()
        assert server.stop() == 0


def write_until_killed(server, round_number):
    acknowledged, lock = set(), threading.Lock()

    def write(writer):
        client = server.mongo(retryWrites=False)
        try:
            for i in range(100000):
                identifier = round_number * 10_000_000 + writer * 1_000_000 + i
                client.shop.orders.insert_one({"_id": identifier, "round": round_number})
                with lock:
                    acknowledged.add(identifier)
        except pymongo.errors.PyMongoError:
            pass
        client.close()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    while len(acknowledged) < 400:
        pass
    server.kill()
    for writer in writers:
        writer.join()
    return acknowledged

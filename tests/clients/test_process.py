"""Starting, stopping, being killed."""

import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request

import pymongo
import pytest

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


def test_an_unusable_directory_is_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a directory")
    ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
    # Below a file, and where the kernel allows nobody to create anything: root is refused there too.
    for directory in (file / "data", pathlib.Path("/proc/headwater-data")):
        message = refused(f"--data-dir={directory}", *ports)
        assert message.count("\n") == 1 and str(directory) in message


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


def test_environment_and_file_configure_too(tmp_path):
    """The command line wins over the environment, the environment over the file."""
    config = tmp_path / "headwater.toml"
    config.write_text(f'data-dir = "{tmp_path / "from-file"}"\nmongo-listen = "127.0.0.1:1"\npg-listen = "127.0.0.1:0"\n')
    environment = dict(os.environ, HEADWATER_MONGO_LISTEN="127.0.0.1:0", HEADWATER_HTTP_LISTEN="not an address")
    command = [BINARY, "serve", f"--config={config}", "--http-listen=127.0.0.1:0", "--log=warn"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline().startswith("ready ")
    assert (tmp_path / "from-file").is_dir()
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("text", ["data-dri = 'x'", "data-dir = 5", "not toml"])
def test_a_wrong_configuration_is_refused(tmp_path, text):
    config = tmp_path / "headwater.toml"
    config.write_text(text)
    assert str(config) in refused(f"--config={config}")


def test_a_directory_of_a_newer_format_is_one_sentence(tmp_path):
    server = Server(tmp_path / "data")
    assert server.stop() == 0
    (tmp_path / "data/FORMAT").write_text("999\n")
    ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
    message = refused(f"--data-dir={tmp_path / 'data'}", *ports)
    assert "newer" in message and message.count("\n") == 1


def test_rubbish_on_every_port_harms_only_its_connection(server):
    ports = [int(server.uri.split("/")[2].split(":")[1]), server.pg_port, int(server.http.split(":")[2].strip("/"))]
    generator = random.Random(5)
    huge = struct.pack("<iiii", 0x7FFFFFFF, 1, 0, 2013)
    for port in ports:
        for _ in range(40):
            rubbish = generator.randbytes(generator.randrange(1, 300))
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(generator.choice([rubbish, huge + rubbish, rubbish[:4] + b"\0" * 8]))
        # One that says a word and leaves the rest unsaid.
        socket.create_connection(("127.0.0.1", port), timeout=5).send(b"\x10")
    assert server.mongo().admin.command("ping")["ok"] == 1
    assert server.sql().execute("SELECT 1").fetchone() == (1,)
    assert urllib.request.urlopen(server.http + "healthz").status == 200


def test_a_subscriber_that_stops_reading_delays_nobody(server):
    client = server.mongo()
    client.slow.c.insert_one({"_id": -1})
    sql = server.sql("slow")
    sql.execute("CREATE MATERIALIZED VIEW v AS SELECT document->>'pad' AS pad FROM c")
    with socket.create_connection((server.pg_host, server.pg_port)) as lazy:
        parameters = b"user\0x\0database\0slow\0\0"
        lazy.sendall(struct.pack(">ii", 8 + len(parameters), 196608) + parameters)
        query = b"COPY (SUBSCRIBE v) TO STDOUT\0"
        lazy.sendall(b"Q" + struct.pack(">i", 4 + len(query)) + query)
        for batch in range(20):
            client.slow.c.insert_many([{"_id": batch * 1000 + i, "pad": "x" * 2000} for i in range(1000)])
        assert sql.execute("SELECT count(*) FROM v").fetchone() == (20001,)
    client.drop_database("slow")


def demo(tmp_path, *arguments):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    return subprocess.Popen([BINARY, "demo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_demo_checks_itself_and_leaves_nothing_behind(tmp_path):
    process = demo(tmp_path, "--seconds=3")
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "psql" in shown + said and "pymongo" in shown + said and "mongodb" in shown + said
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_demo_and_leaves_nothing_behind(tmp_path):
    process = demo(tmp_path)
    try:
        # Interrupted in the middle of its life: the files are there, so it has begun to serve.
        while not list(tmp_path.rglob("FORMAT")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []

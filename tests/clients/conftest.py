"""A server per test session, and the clients that talk to it."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile

import psycopg
import pymongo
import pytest

BINARY = os.environ.get("HEADWATER_BIN", "target/debug/headwater")


class Server:
    """`headwater serve` on free ports over one directory."""

    def __init__(self, directory, *arguments):
        self.directory = pathlib.Path(directory)
        self.arguments = arguments
        self.process = None
        self.start()

    def start(self):
        ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
        command = [BINARY, "serve", f"--data-dir={self.directory}", "--log=warn", *ports, *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.match(r"ready (mongodb://\S+) postgres://([^:/]+):(\d+)/\S* (http://\S+)", line)
        assert match, f"no ready line, but {line!r}"
        self.uri, self.pg_host, self.pg_port, self.http = match[1], match[2], int(match[3]), match[4]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def mongo(self, **options):
        return pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=10000, **options)

    def sql(self, database="shop", **options):
        return psycopg.connect(host=self.pg_host, port=self.pg_port, dbname=database, user="tester", autocommit=True, **options)

    def psql(self, statement, database="shop", check=True):
        command = ["psql", "-h", self.pg_host, "-p", str(self.pg_port), "-d", database, "-U", "tester", "-X", "-At"]
        done = subprocess.run(command, input=statement, capture_output=True, text=True, timeout=60)
        if check:
            assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        return done


@pytest.fixture(scope="session")
def server():
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        yield server
        server.stop()


@pytest.fixture
def database(server, request):
    """A fresh database of the test's own name."""
    name = re.sub(r"\W", "_", request.node.name)[:50]
    client = server.mongo()
    yield client[name]
    client.drop_database(name)
    client.close()


@pytest.fixture
def own_server():
    """A server for one test, which may do with it what it likes."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        yield server
        server.stop()

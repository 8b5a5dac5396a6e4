"""The two sides: a server of ours, and PostgreSQL 15 on a private socket."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import psycopg

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "clients"))
from conftest import Server  # noqa: E402  (the one home of how a test starts a server)

HOMES = ("/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin", "/usr/local/pgsql/bin")


def postgres_home():
    """The folder of PostgreSQL 15's programs, or `None`."""
    found = [home for home in HOMES if (pathlib.Path(home) / "initdb").exists()]
    return found[0] if found else None


class Postgres:
    """A throw-away cluster, without durability unless `settings` say so. As root it runs as the user `postgres`."""

    def __init__(self, home, **settings):
        self.directory = tempfile.mkdtemp(prefix="law-pg-")
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.directory, self.user, self.user)
        data = f"{self.directory}/data"
        initdb = [f"{home}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, user=self.user, stdout=subprocess.DEVNULL, cwd=self.directory)
        settings = {"listen_addresses": "", "unix_socket_directories": self.directory, "fsync": "off", "jit": "off", "autovacuum": "off",
                    "timezone": "UTC", "shared_buffers": "16MB", "lc_messages": "C"} | settings
        command = [f"{home}/postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        self.log = open(f"{self.directory}/log", "wb")
        self.process = subprocess.Popen(command, user=self.user, stdout=self.log, stderr=self.log, cwd=self.directory)

    def connect(self):
        while True:
            try:
                return psycopg.connect(host=self.directory, dbname="postgres", user="postgres", autocommit=True)
            except psycopg.OperationalError:
                assert self.process.poll() is None, pathlib.Path(f"{self.directory}/log").read_text()

    def stop(self):
        self.process.send_signal(2)
        self.process.wait(timeout=30)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def version(connection):
    return re.match(r"\d+", connection.execute("SHOW server_version").fetchone()[0])[0]


__all__ = ["Postgres", "Server", "postgres_home", "version"]

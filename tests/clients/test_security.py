"""TLS, logins and roles on the MongoDB port, and a source that has them."""

import subprocess

import pymongo
import pytest

from conftest import Server

USERS = """\
# name role password
admin root all-powerful
app readWrite correct-horse
report read only,looking=
"""


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, a server's certificate, a client's, and another authority."""
    directory = tmp_path_factory.mktemp("pki")
    for name in ("ca", "other"):
        openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.crt")
    (directory / "client.pem").write_text((directory / "client.crt").read_text() + (directory / "client.key").read_text())
    (directory / "users").write_text(USERS)
    return directory


def secured(directory, pki, *arguments):
    return Server(directory, f"--tls-cert={pki}/server.crt", f"--tls-key={pki}/server.key", f"--users={pki}/users", *arguments)


@pytest.fixture(scope="module")
def server(pki, tmp_path_factory):
    server = secured(tmp_path_factory.mktemp("data"), pki, "--enable-test-commands")
    yield server
    server.stop()


def connect(server, pki, user=None, password=None, **options):
    return pymongo.MongoClient(
        server.uri,
        username=user,
        password=password,
        **{"tls": True, "tlsCAFile": str(pki / "ca.pem"), "serverSelectionTimeoutMS": 5000, **options},
    )


def code(action):
    with pytest.raises(pymongo.errors.OperationFailure) as failure:
        action()
    return failure.value.code


def test_only_those_who_log_in_get_in(server, pki):
    with connect(server, pki) as nobody:
        assert nobody.admin.command("ping")["ok"] == 1
        assert nobody.admin.command("hello")["isWritablePrimary"]
        assert code(lambda: nobody.shop.orders.find_one()) == 13
        assert code(lambda: nobody.shop.orders.watch()) == 13
        assert code(lambda: nobody.admin.command("saslContinue", 1, conversationId=1, payload=b"")) == 17
        assert code(lambda: nobody.admin.command("saslStart", 1, mechanism="PLAIN", payload=b"")) == 334
    for user, password in (("app", "wrong"), ("nobody", "correct-horse"), ("app", "correct-horse ")):
        with connect(server, pki, user, password) as client:
            assert code(lambda: client.shop.orders.find_one()) == 18
    for mechanism in ("DEFAULT", "SCRAM-SHA-256"):
        with connect(server, pki, "app", "correct-horse", authMechanism=mechanism) as app:
            app.shop.orders.insert_one({})
            who = app.admin.command("connectionStatus")["authInfo"]
            assert who["authenticatedUsers"] == [{"user": "app", "db": "admin"}]


def test_a_role_bounds_what_its_user_may_do(server, pki):
    with connect(server, pki, "app", "correct-horse") as app, connect(server, pki, "report", "only,looking=") as report:
        orders = app.role.orders
        with report.role.orders.watch(max_await_time_ms=500) as stream:
            orders.insert_one({"_id": 1})
            assert stream.next()["documentKey"] == {"_id": 1}
        assert report.role.orders.find_one() == {"_id": 1}
        assert list(report.role.orders.aggregate([{"$match": {}}])) == [{"_id": 1}]
        for forbidden in (
            lambda: report.role.orders.insert_one({}),
            lambda: report.role.orders.update_many({}, {"$set": {"a": 1}}),
            lambda: report.role.orders.delete_one({}),
            lambda: report.role.orders.find_one_and_delete({}),
            lambda: report.role.orders.drop(),
            lambda: report.drop_database("role"),
            lambda: report.role.orders.create_index("a"),
            lambda: report.role.orders.aggregate([{"$out": "other"}]),
            lambda: report.role.orders.aggregate([{"$match": {}}, {"$merge": {"into": "other"}}]),
            lambda: app.admin.command("configureFailPoint", "failCommand", mode="off"),
            lambda: app.admin.command("setParameter", 1, logLevel=1),
        ):
            assert code(forbidden) == 13
        assert app.role.list_collection_names() == ["orders"]
        with connect(server, pki, "admin", "all-powerful") as admin:
            admin.admin.command("configureFailPoint", "failCommand", mode="off")


def test_who_is_not_trusted_gets_no_connection(server, pki, tmp_path):
    unreachable = pymongo.errors.ServerSelectionTimeoutError
    stranger = connect(server, pki, "app", "correct-horse", tlsCAFile=str(pki / "other.pem"), serverSelectionTimeoutMS=1000)
    for client in (stranger, pymongo.MongoClient(server.uri, serverSelectionTimeoutMS=1000)):
        with client, pytest.raises(unreachable):
            client.admin.command("ping")
    strict = secured(tmp_path, pki, f"--tls-client-ca={pki}/ca.pem")
    try:
        with connect(strict, pki, "app", "correct-horse", serverSelectionTimeoutMS=1000) as client:
            with pytest.raises(unreachable):
                client.admin.command("ping")
        with connect(strict, pki, "app", "correct-horse", tlsCertificateKeyFile=str(pki / "client.pem")) as client:
            client.shop.orders.insert_one({})
    finally:
        strict.kill()


@pytest.fixture
def attached(pki, tmp_path):
    """A source with TLS and users, and a server that captures from it."""
    source = secured(tmp_path / "source", pki)
    address = source.uri.split("/")[2]
    options = f"?directConnection=true&tls=true&tlsCAFile={pki}/ca.pem"
    server = Server(tmp_path / "server", f"--source=mongodb://report:only%2Clooking%3D@{address}/{options}")
    yield source, server
    server.kill()
    source.kill()


def test_the_front_of_a_source_with_tls_and_users(attached, pki):
    source, front = attached
    with connect(source, pki, "app", "correct-horse") as there:
        there.shop.orders.insert_one({"_id": 0})
        with pymongo.MongoClient(front.uri, username="app", password="correct-horse", serverSelectionTimeoutMS=5000) as here:
            with here.shop.orders.watch(max_await_time_ms=500) as stream:
                here.shop.orders.insert_one({"_id": 1})
                event = stream.next()
                assert event["documentKey"] == {"_id": 1}
                there.shop.orders.insert_one({"_id": 2})
                after = stream.next()
            # The token holds on both ways.
            with there.shop.orders.watch(resume_after=event["_id"]) as direct:
                assert direct.next() == after
                token = direct.resume_token
            there.shop.orders.insert_one({"_id": 3})
            with here.shop.orders.watch(resume_after=token) as stream:
                assert stream.next()["documentKey"] == {"_id": 3}
        with pymongo.MongoClient(front.uri, serverSelectionTimeoutMS=5000) as nobody:
            assert code(lambda: nobody.shop.orders.find_one()) == 13
            assert code(lambda: nobody.shop.orders.watch()) == 13
        with pymongo.MongoClient(front.uri, username="app", password="wrong", serverSelectionTimeoutMS=5000) as client:
            assert code(lambda: client.shop.orders.find_one()) == 18
        with front.sql() as sql:
            sql.execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
            assert sql.execute("SELECT n FROM v").fetchone() == (4,)


def test_what_is_wrong_with_the_options_is_said(pki, tmp_path):
    from test_process import refused

    for arguments, like in (
        (["--users=nowhere"], "nowhere"),
        ([f"--users={pki}/server.crt"], "line 1"),
        ([f"--tls-cert={pki}/server.crt"], "--tls-key"),
        ([f"--tls-cert={pki}/server.crt", f"--tls-key={pki}/client.key"], "belong together"),
        ([f"--tls-cert={pki}/users", f"--tls-key={pki}/client.key"], "no certificate"),
        ([f"--users={pki}/users", "--source=mongodb://127.0.0.1:1"], "log in at the source"),
    ):
        assert like in refused(f"--data-dir={tmp_path}/d", *arguments), arguments

"""The Node driver and mongosh, where they are installed: HEADWATER_NODE_MODULES names their `node_modules`."""

import os
import pathlib
import shutil
import subprocess

import pytest

MODULES = pathlib.Path(os.environ.get("HEADWATER_NODE_MODULES", "node_modules")).absolute()
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def needs(package):
    return pytest.mark.skipif(not (MODULES / package).exists(), reason=f"{package} is not in {MODULES}")


def run(command, **options):
    environment = dict(os.environ, NODE_PATH=str(MODULES))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@needs_node
@needs("mongodb")
def test_an_application_of_the_node_driver(server):
    script = pathlib.Path(__file__).parent / "node_smoke.js"
    assert run(["node", script, server.uri, "node_smoke"]).strip() == "ok"


@needs_node
@needs("@mongosh/cli-repl")
def test_a_shell_session(server, tmp_path):
    script = """
        const shop = db.getSiblingDB('shell_smoke');
        shop.orders.insertMany([{_id: 1, n: 1}, {_id: 2, n: 2}]);
        shop.orders.createIndex({n: 1});
        print(shop.orders.find({n: {$gt: 1}}).toArray().length, shop.orders.countDocuments(),
              shop.orders.getIndexes().length, shop.getCollectionNames().join(),
              shop.orders.find({n: 1}).explain().queryPlanner.winningPlan.inputStage.stage,
              db.currentOp().inprog.length > 0, rs.status === undefined, db.version().startsWith('8.'));
        shop.dropDatabase();
    """
    command = ["node", MODULES / "@mongosh" / "cli-repl" / "bin" / "mongosh.js", server.uri, "--quiet", "--norc", "--eval", script]
    output = run(command, input="", cwd=tmp_path)
    assert output.strip().splitlines()[0] == "1 2 2 orders IXSCAN true false true"

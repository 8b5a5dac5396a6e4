"""The driver's own test files, unmodified, from its source package, against a server of ours.

Prints a table per file and fails if a file passes fewer tests than `baseline.json` says, or fails more.
`run.py FILE…` runs only those files; `run.py --record` rewrites the baseline; `-v` prints what pytest said.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).parent
VERSION = "4.20.0"
BASELINE = HERE / "baseline.json"
WORDS = ("passed", "failed", "skipped")
# Some tests connect to this port whatever they are told.
USUAL_PORT = 27017
# Tests of another kind of deployment than ours, which fail on any one-member set: they select a
# secondary, and wait half a minute for one.
DESELECTED = {
    "test_transactions_unified": [
        "test_run_command_fails_with_explicit_secondary_read_preference",
        "test_run_command_fails_with_secondary_read_preference_from_transaction_options",
        "test_secondary_readPreference",
    ],
}


def source(folder):
    """The tests of the unpacked source package, beside nothing that would hide the installed driver."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=pymongo", "-d", folder, f"pymongo=={VERSION}"], check=False, capture_output=True)
    archives = list(pathlib.Path(folder).glob("pymongo-*.tar.gz"))
    if not archives:
        sys.exit("cannot download the driver's source package")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    unpacked = pathlib.Path(folder) / f"pymongo-{VERSION}"
    tree = pathlib.Path(folder) / "tree"
    tree.mkdir()
    shutil.move(unpacked / "test", tree / "test")
    shutil.copy(unpacked / "pyproject.toml", tree)
    return tree


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start(directory):
    port = USUAL_PORT if is_free(USUAL_PORT) else 0
    if not port:
        print(f"port {USUAL_PORT} is taken: tests that insist on it will fail")
    ports = [f"--mongo-listen=127.0.0.1:{port}", "--pg-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"]
    binary = os.environ.get("HEADWATER_BIN", "target/debug/headwater")
    server = subprocess.Popen([binary, "serve", f"--data-dir={directory}", "--log=error", "--no-sync",
                               "--enable-test-commands", *ports], stdout=subprocess.PIPE, text=True)
    match = re.match(r"ready mongodb://([^:]+):(\d+)/", server.stdout.readline())
    assert match, "the server did not start"
    return server, match[1], match[2]


def run(tree, name, host, port):
    environment = dict(os.environ, DB_IP=host, DB_PORT=port)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test/{name}.py",
               "-o", "addopts=", "-m", "", "--tb=line", "-W", "ignore::pytest.PytestRemovedIn9Warning"]
    if name in DESELECTED:
        command += ["-k", " and ".join(f"not {test}" for test in DESELECTED[name])]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=900)
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    last = lines[-1] if lines else ""
    count = lambda word: int((re.search(rf"(\d+) {word}", last) or [0, 0])[1])
    return {"passed": count("passed"), "failed": count("failed") + count("error"), "skipped": count("skipped")}, output


def worse_than(result, before):
    return before and (result["passed"] < before["passed"] or result["failed"] > before["failed"])


def print_row(name, counts, seconds):
    print(f"{name:36} {counts['passed']:6} {counts['failed']:6} {counts['skipped']:7} {seconds:6.0f} s", flush=True)


def main():
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    record = "--record" in sys.argv
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or list(baseline)
    worse = []
    total = dict.fromkeys(WORDS, 0)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as data:
        tree = source(folder)
        server, host, port = start(data)
        began = time.monotonic()
        print(f"{'file':36} passed failed skipped   time")
        for name in names:
            since = time.monotonic()
            result, output = run(tree, name, host, port)
            print_row(name, result, time.monotonic() - since)
            if "-v" in sys.argv:
                print(output)
            if record:
                baseline[name] = result
            elif worse_than(result, baseline.get(name)):
                worse.append(f"{name}: {result}, before {baseline[name]}")
                print("\n".join(line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))) or output[-2000:])
            for word in WORDS:
                total[word] += result[word]
        print_row("all", total, time.monotonic() - began)
        server.terminate()
        server.wait(timeout=30)
    if record:
        BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
    if worse:
        sys.exit("worse than the baseline:\n  " + "\n  ".join(worse))


if __name__ == "__main__":
    main()

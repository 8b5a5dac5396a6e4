"""The driver's own test files, unmodified, from its source package, against a server of ours.

Prints a table per file and fails if a file passes fewer tests than `baseline.json` says.
`run.py FILE…` runs only those files; `run.py --record` rewrites the baseline.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).parent
VERSION = "4.20.0"
BASELINE = HERE / "baseline.json"


def source(folder):
    """The unpacked source package."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=pymongo", "-d", folder, f"pymongo=={VERSION}"], check=False, capture_output=True)
    archives = list(pathlib.Path(folder).glob("pymongo-*.tar.gz"))
    if not archives:
        sys.exit("cannot download the driver's source package")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return pathlib.Path(folder) / f"pymongo-{VERSION}"


def start(directory):
    ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
    binary = os.environ.get("HEADWATER_BIN", "target/debug/headwater")
    server = subprocess.Popen([binary, "serve", f"--data-dir={directory}", "--log=error", "--no-sync",
                               "--enable-test-commands", *ports], stdout=subprocess.PIPE, text=True)
    match = re.match(r"ready mongodb://([^:]+):(\d+)/", server.stdout.readline())
    assert match, "the server did not start"
    return server, match[1], match[2]


def run(tree, name, host, port):
    environment = dict(os.environ, DB_IP=host, DB_PORT=port)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test/{name}.py",
               "-o", "addopts=", "-m", "", "--tb=line"]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=900)
        output = done.stdout
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
    last = output.strip().splitlines()[-1] if output.strip() else ""
    count = lambda word: int((re.search(rf"(\d+) {word}", last) or [0, 0])[1])
    return {"passed": count("passed"), "failed": count("failed") + count("error"), "skipped": count("skipped")}, output


def main():
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    record = "--record" in sys.argv
    names = [a for a in sys.argv[1:] if not a.startswith("-")] or list(baseline)
    worse = []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as data:
        tree = source(folder)
        server, host, port = start(data)
        print(f"{'file':42} passed failed skipped")
        for name in names:
            result, output = run(tree, name, host, port)
            print(f"{name:42} {result['passed']:6} {result['failed']:6} {result['skipped']:7}", flush=True)
            if "-v" in sys.argv:
                print(output)
            if result["passed"] < baseline.get(name, {}).get("passed", 0) and not record:
                worse.append(f"{name}: {result['passed']} passed, {baseline[name]['passed']} before")
            if record:
                baseline[name] = result
        server.terminate()
        server.wait(timeout=30)
    if record:
        BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")
    if worse:
        sys.exit("worse than the baseline:\n  " + "\n  ".join(worse))


if __name__ == "__main__":
    main()

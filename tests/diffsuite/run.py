"""Runs the differential scenarios in a folder against a server of ours and compares the transcripts.

`run.py FOLDER TRANSCRIPT`; fails where an answer differs that `allow.json` does not name.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent


def main(folder, transcript):
    folder = pathlib.Path(folder).resolve()
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    with tempfile.TemporaryDirectory() as data:
        ports = [f"--{name}-listen=127.0.0.1:0" for name in ("mongo", "pg", "http")]
        server = subprocess.Popen([os.environ["HEADWATER_BIN"], "serve", f"--data-dir={data}", "--log=error", *ports],
                                  stdout=subprocess.PIPE, text=True)
        try:
            uri = re.match(r"ready (mongodb://\S+)", server.stdout.readline())[1]
            run = [sys.executable, str(folder / "run.py"), "--uri", uri, "--out", transcript]
            subprocess.run(run, check=True, env=environment)
        finally:
            server.terminate()
            server.wait(timeout=30)
    compare = [sys.executable, str(folder / "compare.py"), str(folder / "golden/mongod-5.0.jsonl"), transcript,
               "--allow", str(HERE / "allow.json"), "--quiet"]
    return subprocess.run(compare, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

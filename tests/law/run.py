"""The law: a view = its query run afresh = PostgreSQL 15's answer over the same rows.

`run.py [--seeds N] [--seed S]`: for every seed, a random history of changes to two collections and
random queries over them and over a change stream. The queries are views from some moment of the history
on. At several moments, and after a crash in the middle, the three answers are compared. What differs is
made smaller and printed; the seed brings it back.
"""

import argparse
import collections
import os
import sys
import tempfile
import time

from case import Case, Sides, Verdict
from servers import Postgres, Server, postgres_home, version

BATCH = 20


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=100, help="how many seeds")
    arguments.add_argument("--seed", type=int, help="the first seed; alone: only this one")
    arguments.add_argument("--seconds", type=float, default=float("inf"), help="begin no further batch after so long")
    arguments.add_argument("--keep-going", action="store_true", help="report every difference, not only the first batch's")
    arguments.add_argument("--no-shrink", action="store_true")
    arguments.add_argument("--refused", action="store_true", help="list what one side refuses")
    options = arguments.parse_args()
    home = postgres_home()
    if home is None:
        print("skipped: the law needs PostgreSQL 15 (apt-get install postgresql-15)")
        return 0
    first = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "big")
    count = 1 if options.seed is not None and "--seeds" not in sys.argv else options.seeds
    print(f"law: seeds {first} to {first + count - 1}", flush=True)
    postgres = Postgres(home)
    try:
        return Run(options, postgres).seeds(list(range(first, first + count)))
    finally:
        postgres.stop()


class Run:
    """Batches of seeds over one server each."""

    def __init__(self, options, postgres):
        self.options = options
        self.postgres = postgres
        self.tally = collections.Counter()
        self.refused = collections.Counter()
        self.failures = 0

    def seeds(self, seeds):
        started = time.monotonic()
        assert version(self.postgres.connect()) == "15"
        for start in range(0, len(seeds), BATCH):
            self.batch(seeds[start : start + BATCH])
            late = time.monotonic() - started > self.options.seconds
            if late or (self.failures and not self.options.keep_going):
                print(f"law: stopped after seed {seeds[: start + BATCH][-1]}")
                break
        print(f"law: {dict(self.tally)} in {time.monotonic() - started:.0f} s")
        if self.options.refused:
            for message, times in self.refused.most_common():
                print(f"  refused {times:4} × {message}")
        return 1 if self.failures else 0

    def batch(self, seeds):
        with tempfile.TemporaryDirectory(prefix="law-") as directory:
            server = Server(directory)
            sides = Sides(server, self.postgres)
            try:
                cases = [Case.of_seed(seed) for seed in seeds]
                for case in cases:
                    case.open(sides, f"seed{case.seed}")
                rounds = max(len(case.moments) for case in cases)
                for turn in range(rounds):
                    for case in cases:
                        if turn < len(case.moments):
                            case.advance(sides, turn)
                    if turn == rounds // 2:
                        sides.crash()
                    for case in cases:
                        if turn < len(case.moments):
                            self.judge(case, sides, turn)
                for case in cases:
                    case.close(sides)
            finally:
                sides.close()
                server.kill()

    def judge(self, case, sides, turn):
        for index, verdict in case.compare(sides):
            self.tally[verdict.kind] += 1
            if verdict.kind == "refused":
                self.refused[verdict.what] += 1
            if verdict.kind == "PostgreSQL fails":
                self.refused["(PostgreSQL) " + verdict.what] += 1
            if verdict.fails:
                self.failures += 1
                self.report(case, sides, turn, index, verdict)

    def report(self, case, sides, turn, index, verdict):
        query = case.queries[index]
        print(f"\nseed {case.seed}, query {index}, after step {case.moments[turn]}: {verdict.what}\n{query.render('ours')}")
        print(verdict.detail(), flush=True)
        case.dead.add(index)
        if self.options.no_shrink:
            return
        smaller = case.smaller(sides, turn, index, verdict)
        if smaller is None:
            print("not seen again when run alone (it may need the crash or the other queries)")
        else:
            print(f"smaller:\n{smaller}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

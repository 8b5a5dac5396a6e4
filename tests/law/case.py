"""One seed's case: a history, queries, and the comparison of the three answers."""

import copy
import random
import time

import history
from answer import Failed, ask, describe
from node import shrink
from query import Queries

QUERIES = 6
STEPS = 24
MOMENTS = 4
SHRINK_SECONDS = 40
STREAM = "change_id text, cluster_time numeric, event_timestamp timestamptz, processed_at timestamptz, operation_type text, " \
    "namespace_database text, namespace_collection text, document_key jsonb, full_document jsonb, full_document_before_change jsonb, " \
    "update_description jsonb, updated_fields jsonb, removed_fields jsonb, txn_number bigint, lsid jsonb"


class Sides:
    """Connections to both sides."""

    def __init__(self, server, postgres):
        self.server = server
        self.postgres = postgres.connect()
        self.client = server.mongo()
        self.sessions = {}

    def ours(self, database):
        if database not in self.sessions:
            self.sessions[database] = self.server.sql(database)
        return self.sessions[database]

    def crash(self):
        """SIGKILL, and a start over what is on disk."""
        self.forget()
        self.client.close()
        self.server.kill()
        self.server.start()
        self.client = self.server.mongo()

    def forget(self):
        for session in self.sessions.values():
            session.close()
        self.sessions.clear()

    def close(self):
        self.forget()
        self.client.close()
        self.postgres.close()


class Verdict:
    """What a comparison found."""

    def __init__(self, kind, what="", answers=()):
        self.kind, self.what, self.answers = kind, what, answers

    @property
    def fails(self):
        return self.kind == "DIFFERS"

    def detail(self):
        return "\n".join(f"{name}:\n{describe(answer)}" for name, answer in self.answers)


def verdict(expected, fresh, view):
    """Compares PostgreSQL's answer, ours, and the view's (`None`: no view)."""
    answers = [("PostgreSQL", expected), ("afresh", fresh)]
    if view is not None:
        answers.append(("view", view))
    if isinstance(fresh, Failed) and fresh.code == "0A000":
        return Verdict("refused", fresh.message) if not isinstance(expected, Failed) else Verdict("both fail")
    if isinstance(expected, Failed):
        # Which row is evaluated at all is a matter of plans: a failure of one side is not a difference.
        if isinstance(fresh, Failed) and fresh.code != expected.code:
            return Verdict("DIFFERS", f"PostgreSQL fails with {expected.code}, we with {fresh.code}", answers)
        return Verdict("both fail", expected.message) if isinstance(fresh, Failed) else Verdict("PostgreSQL fails", expected.message)
    if isinstance(fresh, Failed):
        return Verdict("DIFFERS", f"PostgreSQL answers, we fail with {fresh.code}", answers)
    if expected != fresh:
        return Verdict("DIFFERS", "the query afresh differs from PostgreSQL", answers)
    if view is not None and view != expected:
        return Verdict("DIFFERS", "the view differs", answers)
    return Verdict("agree" if view is not None else "agree without a view")


class Case:
    """Histories and queries, as a seed makes them."""

    def __init__(self, seed, steps, queries, created, moments):
        self.seed, self.steps, self.queries = seed, steps, queries
        self.created, self.moments = created, moments
        self.dead = set()
        self.views = set()
        self.database = None
        self.done = 0

    @classmethod
    def of_seed(cls, seed):
        rng = random.Random(seed)
        steps = history.history(rng, rng.randint(4, STEPS))
        queries = [Queries(rng).top() for _ in range(QUERIES)]
        moments = sorted(rng.sample(range(1, len(steps) + 1), min(MOMENTS, len(steps))))
        created = [rng.choice((0, 0, rng.randint(0, moments[-1] - 1))) for _ in queries]
        return cls(seed, steps, queries, created, moments)

    def open(self, sides, database):
        """The collections, the stream, and PostgreSQL's tables of the same names."""
        self.database = database
        self.dead, self.views, self.done = set(self.dead), set(), 0
        for name in history.COLLECTIONS:
            sides.client[database].create_collection(name)
        sides.ours(database).execute(
            "CREATE CHANGE STREAM s ON a WITH (full_document = 'updateLookup', full_document_before_change = 'whenAvailable')")
        tables = [f"CREATE TABLE {name} (_id jsonb, document jsonb)" for name in history.COLLECTIONS]
        for statement in (f"CREATE SCHEMA {database}", f"SET search_path = {database}", *tables, f"CREATE TABLE s ({STREAM})"):
            sides.postgres.execute(statement)
        self.create_views(sides)

    def close(self, sides):
        sides.client.drop_database(self.database)
        sides.postgres.execute(f"DROP SCHEMA {self.database} CASCADE")

    def create_views(self, sides):
        for index, query in enumerate(self.queries):
            if self.created[index] == self.done and index not in self.dead:
                made = ask(sides.ours(self.database), f"CREATE MATERIALIZED VIEW v{index} AS {query.render('ours')}")
                if not isinstance(made, Failed):
                    self.views.add(index)

    def advance(self, sides, turn):
        """Runs the history up to the turn's moment."""
        while self.done < self.moments[turn]:
            history.apply(sides.client, self.database, self.steps[self.done])
            self.done += 1
            self.create_views(sides)

    def load(self, sides):
        """Gives PostgreSQL the rows of this moment."""
        postgres = sides.postgres
        postgres.execute(f"SET search_path = {self.database}")
        for name in history.COLLECTIONS:
            rows = [(history.as_json(found["_id"]), history.as_json(found)) for found in sides.client[self.database][name].find()]
            postgres.execute(f"TRUNCATE {name}")
            insert(postgres, name, rows)
        events = sides.ours(self.database).execute("SELECT * FROM CHANGE_STREAM('s')").pgresult
        rows = [tuple(events.get_value(row, column) for column in range(events.nfields)) for row in range(events.ntuples)]
        postgres.execute("TRUNCATE s")
        insert(postgres, "s", [tuple(None if value is None else value.decode() for value in row) for row in rows])

    def compare(self, sides):
        """The verdict on each query at this moment."""
        self.load(sides)
        for index, query in enumerate(self.queries):
            if index in self.dead:
                continue
            expected = ask(sides.postgres, query.render("postgres"))
            fresh = ask(sides.ours(self.database), query.render("ours"))
            view = ask(sides.ours(self.database), f"SELECT * FROM v{index}") if index in self.views else None
            yield index, verdict(expected, fresh, view)

    def smaller(self, sides, turn, index, found):
        """The same difference from a smaller query and history, as text; `None` if it does not come back."""
        return Shrink(self, sides, turn, index, found).run()


def insert(postgres, table, rows):
    if rows:
        holes = ", ".join(["(" + ", ".join(["%s"] * len(rows[0])) + ")"] * len(rows))
        # As text: PostgreSQL reads each value as its column's type.
        postgres.execute(f"INSERT INTO {table} VALUES {holes}", [value for row in rows for value in row])


class Shrink:
    """Search for the smallest case that fails in the same way."""

    def __init__(self, case, sides, turn, index, found):
        self.sides = sides
        self.found = found
        self.query = copy.deepcopy(case.queries[index])
        self.created = case.created[index]
        self.steps = copy.deepcopy(case.steps[: case.moments[turn]])
        self.tries = 0
        self.seed = case.seed
        self.until = time.monotonic() + SHRINK_SECONDS

    def run(self):
        if not self.differs():
            return None
        self.whole = False
        for _ in range(2):
            shrink(_Root(self.query, self), self.differs)
            self.shrink_steps()
            self.shrink_values()
        lines = [f"  {step}" for step in self.steps]
        lines.insert(min(self.created, len(self.steps)), "  -- the view is created")
        final = self.verdict()
        return "\n".join([*lines, f"  {self.query.render('ours')}", f"  -- PostgreSQL: {self.query.render('postgres')}", final.detail()])

    def verdict(self):
        self.tries += 1
        case = Case(self.seed, self.steps, [self.query], [min(self.created, len(self.steps))], [len(self.steps)])
        case.open(self.sides, f"small{self.seed}x{self.tries}")
        try:
            if self.steps:
                case.advance(self.sides, 0)
            return next(found for _, found in case.compare(self.sides))
        finally:
            case.close(self.sides)

    def differs(self):
        if time.monotonic() > self.until:
            return False
        return self.verdict().what == self.found.what

    def shrink_steps(self):
        size = len(self.steps)
        while size:
            start = 0
            while start < len(self.steps):
                before = self.steps, self.created
                self.steps = self.steps[:start] + self.steps[start + size :]
                self.created = max(min(self.created, start), self.created - size) if self.created > start else self.created
                if not self.differs():
                    self.steps, self.created = before
                    start += size
            size //= 2

    def shrink_values(self):
        for step in self.steps:
            for write in step:
                if write[0] == "put":
                    for name in [name for name in write[3] if name != "_id"]:
                        kept = write[3].pop(name)
                        if not self.differs():
                            write[3][name] = kept


class _Root:
    """Stands above a query, so that the whole of it can be replaced too."""

    def __init__(self, query, owner):
        self.owner = owner
        self.parts = _Parts(query, owner)


class _Parts(list):
    def __init__(self, query, owner):
        super().__init__([query])
        self.owner = owner

    def __setitem__(self, index, value):
        super().__setitem__(index, value)
        self.owner.query = value

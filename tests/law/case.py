"""One seed's case: a history, queries, and the comparison of the three answers."""

import collections
import copy
import itertools
import random
import re
import time

import history
from answer import Failed, ask, describe
from node import shrink
from query import Queries

QUERIES = 6
STEPS = 24
MOMENTS = 4
SHRINK_SECONDS = 40
# A view whose query failed at some moment has stopped for good, or could not be made.
STOPPED = ("55000", "22P02", "22003", "22012", "22007", "22008", "22023", "42P01")
# Failures that we do not share: NULL with us (and in PostgreSQL since 18); text with us.
LENIENT = ("jsonb null", "polymorphic type", "is not unique")
COUNTER = itertools.count(1)
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

    def leave(self, database):
        self.sessions.pop(database).close()

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


def verdict(expected, fresh, view, rule):
    """Compares PostgreSQL's answer, ours, and the view's (`None`: no view)."""
    answers = [("PostgreSQL", expected), ("afresh", fresh)]
    if view is not None:
        answers.append(("view", view))
    if isinstance(fresh, Failed) and fresh.code == "0A000":
        return Verdict("refused", fresh.message) if not isinstance(expected, Failed) else Verdict("both fail")
    if isinstance(expected, Failed):
        return failures(expected, fresh, rule == "strict", answers)
    if isinstance(fresh, Failed):
        if rule == "unsafe":
            return Verdict("we fail", fresh.message)
        return Verdict("DIFFERS", f"PostgreSQL answers, we fail with {fresh.code}", answers)
    if expected != fresh:
        return Verdict("DIFFERS", "the query afresh differs from PostgreSQL", answers)
    if view is None or (isinstance(view, Failed) and view.code in STOPPED):
        return Verdict("agree without a view")
    if view != expected:
        return Verdict("DIFFERS", "the view differs", answers)
    return Verdict("agree")


def failures(expected, fresh, strict, answers):
    """Which row is evaluated at all is a matter of plans: one side's failure need not be the other's."""
    if any(words in expected.message for words in LENIENT):
        return Verdict("PostgreSQL fails", expected.message)
    if not isinstance(fresh, Failed):
        what = f"PostgreSQL fails with {expected.code}, we answer"
        # Where one operand is NULL we do not look at the other, which may be the one that fails.
        strict = strict and not any(None in row for row in fresh[1:])
        return Verdict("DIFFERS", what, answers) if strict else Verdict("PostgreSQL fails", expected.message)
    if fresh.code != expected.code and strict:
        return Verdict("DIFFERS", f"PostgreSQL fails with {expected.code}, we with {fresh.code}", answers)
    return Verdict("both fail", expected.message)


class Case:
    """Histories and queries, as a seed makes them."""

    def __init__(self, seed, steps, queries, created, moments):
        self.seed, self.steps, self.queries = seed, steps, queries
        self.created, self.moments = created, moments
        self.dead = set()
        self.views = set()
        # Views that could not be created, with the reason.
        self.refused = {}
        # Queries that must fail alike.
        self.strict = set()
        # Queries that may fail for some rows.
        self.unsafe = set()
        self.database = None
        # Tokens of earlier moments, with PostgreSQL's answers then.
        self.past = []
        # Per view: the session of its subscription, and the rows that its deltas have added up to.
        self.followed = {}
        self.dialect = "ours"
        self.done = 0

    @classmethod
    def of_seed(cls, seed):
        rng = random.Random(seed)
        steps = history.history(rng, rng.randint(4, STEPS))
        moments = sorted(rng.sample(range(1, len(steps) + 1), min(MOMENTS, len(steps))))
        case = cls(seed, steps, [], [], moments)
        earlier = []
        for number in range(QUERIES):
            roll = rng.random()
            queries = Queries(rng, unsafe=roll < 0.2, earlier=earlier if roll > 0.7 else [])
            query, types = queries.simple() if roll < 0.1 else queries.top()
            created = rng.choice((0, 0, rng.randint(0, moments[-1] - 1)))
            if earlier and roll > 0.7:
                created = max(created, *case.created)
            if roll < 0.2:
                case.unsafe.add(number)
            else:
                earlier.append((number, query, types))
            # PostgreSQL computes constants before it knows whether they are wanted.
            if roll < 0.1 and not any(word in query.render("ours") for word in ("CASE", "COALESCE")):
                case.strict.add(number)
            case.queries.append(query)
            case.created.append(created)
        return case

    def open(self, sides, database):
        """The collections, the stream, and PostgreSQL's tables of the same names."""
        self.database = database
        self.dead, self.views, self.refused, self.done = set(self.dead), set(), {}, 0
        self.past, self.followed = [], {}
        for name in history.COLLECTIONS:
            # With pre-images, so that earlier moments can be read.
            sides.client[database].create_collection(name, changeStreamPreAndPostImages={"enabled": True})
        sides.ours(database).execute(f"CREATE CHANGE STREAM everything ON DATABASE {database}")
        sides.ours(database).execute(
            "CREATE CHANGE STREAM s ON a WITH (full_document = 'updateLookup', full_document_before_change = 'whenAvailable')")
        tables = [f"CREATE TABLE {name} (_id jsonb, document jsonb)" for name in history.COLLECTIONS]
        for statement in (f"CREATE SCHEMA {database}", f"SET search_path = {database}", *tables, f"CREATE TABLE s ({STREAM})"):
            sides.postgres.execute(statement)
        self.create_views(sides)

    def close(self, sides):
        sides.ours(self.database).execute("DROP CHANGE STREAM s, everything CASCADE")
        for index in self.views:
            sides.ours(self.database).execute(f"DROP MATERIALIZED VIEW IF EXISTS v{index} CASCADE")
        sides.leave(self.database)
        sides.client.drop_database(self.database)
        sides.postgres.execute(f"DROP SCHEMA {self.database} CASCADE")

    def create_views(self, sides):
        for index, query in enumerate(self.queries):
            if self.created[index] == self.done and index not in self.dead:
                made = ask(sides.ours(self.database), f"CREATE MATERIALIZED VIEW v{index} AS {query.render(self.dialect)}")
                if isinstance(made, Failed):
                    self.refused[index] = made
                else:
                    self.views.add(index)

    def advance(self, sides, turn):
        """Runs the history up to the turn's moment."""
        while self.done < self.moments[turn]:
            history.apply(sides.client, sides.ours(self.database), self.database, self.steps[self.done])
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
        """The verdict on each query at this moment, and at the end on the moments before."""
        self.load(sides)
        token = sides.ours(self.database).execute("SELECT max(change_id) FROM CHANGE_STREAM('everything')").fetchone()[0]
        answers = {}
        for index, query in enumerate(self.queries):
            if index in self.dead or self.done < self.created[index] or not self.reads(query).isdisjoint(self.refused):
                continue
            expected = ask(sides.postgres, query.render("postgres"))
            fresh = ask(sides.ours(self.database), query.render(self.dialect))
            view = ask(sides.ours(self.database), f"SELECT * FROM v{index}") if index in self.views else self.refused.get(index)
            answers[index] = expected
            yield index, verdict(expected, fresh, view, self.rule(index))
            if isinstance(view, list) and self.follow(sides, index) != view[1:]:
                yield index, Verdict("DIFFERS", "the sum of the subscription's deltas differs", [("view", view), ("deltas", [view[0], *self.follow(sides, index)])])
        if self.done == self.moments[-1] and not self.pauses():
            yield from self.compare_past(sides)
        self.past.append((token, answers))

    def follow(self, sides, index):
        """What the deltas of a subscription to the view add up to; it begins anew after a crash."""
        session = sides.ours(self.database)
        if self.followed.get(index, (None,))[0] is not session:
            ask(session, f"DECLARE f{index} CURSOR WITH HOLD FOR SUBSCRIBE v{index}")
            self.followed[index] = (session, collections.Counter())
        rows = self.followed[index][1]
        for _, diff, *row in ask(session, f"FETCH ALL FROM f{index}", (25, 20))[1:]:
            rows[tuple(row)] += int(diff)
        assert all(count >= 0 for count in rows.values()), f"seed {self.seed}: the deltas of v{index} take away what is not there"
        return sorted(rows.elements(), key=repr)

    def pauses(self):
        return any(write[0] in ("PAUSE", "RESUME") for step in self.steps for write in step)

    def compare_past(self, sides):
        """What was asked at earlier moments, asked AS OF their tokens."""
        for token, answers in self.past:
            for index, expected in answers.items():
                if token is None or index in self.dead or isinstance(expected, Failed):
                    continue
                query = f"{self.queries[index].render(self.dialect)} AS OF TOKEN '{token}'"
                then = ask(sides.ours(self.database), query)
                if isinstance(then, Failed) and then.code == "0A000":
                    yield index, Verdict("refused", then.message)
                elif then == expected:
                    yield index, Verdict("agree as of a token")
                elif self.rule(index) == "safe" or not isinstance(then, Failed):
                    yield index, Verdict("DIFFERS", "the query as of an earlier token differs", [("PostgreSQL", expected), ("as of the token", then)])

    def rule(self, index):
        """How failures count: alike on both sides, on either, or never."""
        return "strict" if index in self.strict else "unsafe" if index in self.unsafe else "safe"

    def reads(self, query):
        """The numbers of the views that a query reads."""
        return {int(number) for number in re.findall(r"\bv(\d) AS t", query.render(self.dialect))}

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
        self.database = case.database
        self.query = copy.deepcopy(case.queries[index])
        self.created = case.created[index]
        self.steps = copy.deepcopy(case.steps[: case.moments[turn]])
        self.seed = case.seed
        self.strict, self.unsafe = ({0} if index in of else set() for of in (case.strict, case.unsafe))
        self.until = time.monotonic() + SHRINK_SECONDS

    def run(self):
        if not self.differs():
            return None
        for _ in range(2):
            shrink(_Root(self.query, self), self.differs)
            self.shrink_steps()
            self.shrink_values()
        lines = [f"  {step}" for step in self.steps]
        lines.insert(min(self.created, len(self.steps)), "  -- the view is created")
        final = self.verdict()
        return "\n".join([*lines, f"  {self.query.render('alone')}", f"  -- PostgreSQL: {self.query.render('postgres')}", final.detail()])

    def verdict(self):
        case = Case(self.seed, self.steps, [self.query], [min(self.created, len(self.steps))], [len(self.steps)])
        case.strict, case.unsafe, case.dialect = self.strict, self.unsafe, "alone"
        case.open(self.sides, f"small{next(COUNTER)}")
        try:
            if self.steps:
                case.advance(self.sides, 0)
            return next(found for _, found in case.compare(self.sides))
        finally:
            case.close(self.sides)
            self.sides.postgres.execute(f"SET search_path = {self.database}")

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

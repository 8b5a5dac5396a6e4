"""Constructs by name: each statement of `constructs/*.sql` as PostgreSQL 15 answers it, as a SELECT and as a view.

`constructs.py [word…]`: over the views `o`, `c` and `e` (orders, customers, and the events of a stream), each
statement is asked as a bounded SELECT and read from a materialized view made before the data was there; after
inserts, after updates and deletes, after a SIGKILL, and when nearly all is gone. The answers are compared with
PostgreSQL's over the same rows. With words: only the files whose names contain one.

A line is a statement. Before it may stand `@select` (not as a view: the reason is the file's comment),
`@refused` (as a view it is refused by name), or `@ours` (PostgreSQL does not know it: the view is compared
with the query afresh).
"""

import pathlib
import re
import sys
import tempfile

import history
from answer import Failed, ask
from servers import Postgres, Server, postgres_home

HERE = pathlib.Path(__file__).parent / "constructs"
ORDERS = """(document->>'_id')::int AS id, (document->>'customer')::int AS customer, document->>'status' AS status,
    (document->>'total')::numeric AS total, (document->>'qty')::int AS qty, (document->>'at')::timestamptz AS at,
    document->'tags' AS tags, document->'items' AS items, document->>'note' AS note, (document->>'paid')::boolean AS paid,
    (document->>'score')::float8 AS score, document AS doc"""
CUSTOMERS = "(document->>'_id')::int AS id, document->>'name' AS name, document->>'city' AS city, (document->>'boss')::int AS boss"
EVENTS = """(document_key->>'_id')::int AS id, operation_type AS op, (full_document->>'total')::numeric AS total,
    full_document->>'status' AS status, full_document AS doc"""
VIEWS = {"o": (ORDERS, "orders"), "c": (CUSTOMERS, "customers")}
STATUSES = ("new", "paid", "shipped", None)


def order(n, shift=0):
    """A document that differs in its kind: fields missing, NULL, equal and extreme values."""
    total = (19.99, 5, 120.5, 0, 19.99, 1000, 7.25)[(n + shift) % 7]
    found = {
        "_id": n, "customer": (n * 7 + shift) % 5 + 1, "status": STATUSES[(n + shift) % 4], "total": total, "qty": (n * 3 + shift) % 6,
        "at": f"2024-0{1 + (n + shift) % 3}-{1 + (n * 5 + shift) % 28:02}T{(n * 7) % 24:02}:{(n * 13) % 60:02}:00Z",
        "tags": [["a", "b"], ["b", "c", "b"], [], ["c"]][(n + shift) % 4],
        "items": [{"sku": "abc"[(n + i) % 3], "n": i + 1, "price": 1.5 * (i + 1)} for i in range((n + shift) % 4)],
        "note": (None, "rush", "call Müller", "x_y%", "")[(n + shift) % 5], "paid": (True, False, None)[(n + shift) % 3],
        "score": (0.5, 2.25, -1.0, 1e10)[(n + shift) % 4],
    }
    if n % 6 == 0:
        del found["note"], found["score"]
    return found


def customer(n, shift=0):
    return {"_id": n, "name": f"name{(n + shift) % 4}", "city": ("Rome", "Oslo", None)[(n + shift) % 3], "boss": n // 2 or None}


def fill(client):
    client["k"].orders.insert_many([order(n) for n in range(1, 21)])
    client["k"].customers.insert_many([customer(n) for n in range(1, 8)])


def change(client):
    for n in range(1, 21, 2):
        client["k"].orders.replace_one({"_id": n}, order(n, 1))
    client["k"].orders.delete_many({"_id": {"$in": [4, 8, 12]}})
    with client.start_session() as session, session.start_transaction():
        client["k"].orders.update_many({"qty": {"$gt": 3}}, {"$set": {"status": "shipped", "total": 42}}, session=session)
        client["k"].customers.replace_one({"_id": 3}, customer(3, 1), session=session)
        client["k"].customers.delete_one({"_id": 5}, session=session)


def empty(client):
    client["k"].orders.delete_many({"_id": {"$ne": 7}})
    client["k"].customers.delete_many({"_id": {"$gt": 3}})


MOMENTS = (("after the inserts", fill), ("after updates and deletes", change), ("when nearly all is gone", empty))


class Statement:
    def __init__(self, place, line):
        self.place = place
        marked = re.match(r"@(\w+) (.*)", line)
        self.mark, self.text = (marked[1], marked[2]) if marked else ("", line)
        self.ordered = bool(re.search(r"ORDER BY [^()]*$", self.text)) and "WITH TIES" not in self.text

    def postgres(self):
        return self.text.replace("CHANGE_STREAM('s')", "s")


def statements(words):
    for path in sorted(HERE.glob("*.sql")):
        if words and not any(word in path.stem for word in words):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line and not line.startswith("--"):
                yield Statement(f"{path.name}:{number}", line)


def as_ours(answer):
    """Our one JSON type has jsonb's number."""
    if isinstance(answer, Failed):
        return answer
    return [tuple(3802 if ty == 114 else ty for ty in answer[0]), *answer[1:]]


def in_any_order(answer):
    return [answer[0], *sorted(answer[1:], key=repr)]


def differences(expected, found):
    """The first rows that only one side has."""
    if isinstance(found, Failed):
        return f"PostgreSQL answers, we: {found!r}"
    if expected[0] != found[0]:
        return f"types {expected[0]}, ours {found[0]}"
    wanted, ours = [row for row in expected[1:] if row not in found], [row for row in found[1:] if row not in expected]
    if not wanted and not ours:
        return "the rows' order or number"
    return "\n".join(["PostgreSQL:", *map(str, wanted[:3]), "we:", *map(str, ours[:3])])


class Comparison:
    """Both sides, and what was found."""

    def __init__(self, server, postgres, wanted):
        self.server, self.postgres, self.wanted = server, postgres, wanted
        self.client, self.sql = server.mongo(), server.sql("k")
        self.problems = []

    def prepare(self):
        self.sql.execute("CREATE CHANGE STREAM s ON orders WITH (full_document = 'updateLookup')")
        for name in ("orders", "customers"):
            self.postgres.execute(f"CREATE TABLE {name} (_id jsonb, document jsonb)")
        self.postgres.execute("CREATE TABLE s (change_id text, operation_type text, document_key jsonb, full_document jsonb)")
        for name, (columns, table) in VIEWS.items():
            self.sql.execute(f"CREATE MATERIALIZED VIEW {name} AS SELECT {columns} FROM {table}")
            self.postgres.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {table}")
        self.sql.execute(f"CREATE MATERIALIZED VIEW e AS SELECT {EVENTS} FROM CHANGE_STREAM('s')")
        self.postgres.execute(f"CREATE VIEW e AS SELECT {EVENTS} FROM s")
        for number, statement in enumerate(self.wanted):
            if statement.mark == "select":
                continue
            fresh = ask(self.sql, statement.text)
            # With names of its own: PostgreSQL's would repeat.
            names = ", ".join(f"c{n + 1}" for n in range(1 if isinstance(fresh, Failed) else len(fresh[0])))
            made = ask(self.sql, f"CREATE MATERIALIZED VIEW v{number} ({names}) AS {statement.text}")
            refused = isinstance(made, Failed)
            if refused != (statement.mark == "refused") or (refused and made.code != "0A000"):
                self.complain(statement, f"as a view: {made!r}")

    def complain(self, statement, what):
        self.problems.append(statement)
        print(f"\n{statement.place}: {statement.text}\n{what}", flush=True)

    def load(self):
        for name in ("orders", "customers"):
            self.postgres.execute(f"TRUNCATE {name}")
            for found in self.client["k"][name].find():
                self.postgres.execute(f"INSERT INTO {name} VALUES (%s, %s)", [history.as_json(found["_id"]), history.as_json(found)])
        self.postgres.execute("TRUNCATE s")
        for row in self.sql.execute("SELECT change_id, operation_type, document_key::text, full_document::text FROM CHANGE_STREAM('s')"):
            self.postgres.execute("INSERT INTO s VALUES (%s, %s, %s, %s)", row)

    def compare(self, moment):
        self.load()
        for number, statement in enumerate(self.wanted):
            if statement in self.problems:
                continue
            fresh = ask(self.sql, statement.text, ordered=statement.ordered)
            expected = fresh if statement.mark == "ours" else ask(self.postgres, statement.postgres(), ordered=statement.ordered)
            if isinstance(fresh, list):
                expected = as_ours(expected)
            if isinstance(expected, Failed):
                self.complain(statement, f"{moment}: PostgreSQL: {expected!r}")
            elif fresh != expected:
                self.complain(statement, f"{moment}: {differences(expected, fresh)}")
            elif statement.mark not in ("select", "refused"):
                # A view has no order of its own.
                view = ask(self.sql, f"SELECT * FROM v{number}")
                if view != in_any_order(expected):
                    self.complain(statement, f"{moment}, the view: {differences(in_any_order(expected), view)}")

    def crash(self):
        self.sql.close()
        self.client.close()
        self.server.kill()
        self.server.start()
        self.client, self.sql = self.server.mongo(), self.server.sql("k")

    def run(self):
        self.prepare()
        for moment, write in MOMENTS:
            write(self.client)
            self.compare(moment)
            self.crash()
        self.compare("after the last crash")
        return self.problems


def main():
    home = postgres_home()
    if home is None:
        print("skipped: the comparison needs PostgreSQL 15 (apt-get install postgresql-15)")
        return 0
    wanted = list(statements(sys.argv[1:]))
    postgres = Postgres(home)
    try:
        with tempfile.TemporaryDirectory(prefix="law-") as directory:
            server = Server(directory)
            try:
                problems = Comparison(server, postgres.connect(), wanted).run()
            finally:
                server.kill()
    finally:
        postgres.stop()
    print(f"constructs: {len(wanted) - len(problems)} of {len(wanted)} agree with PostgreSQL")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

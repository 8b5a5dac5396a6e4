"""Random documents and random histories of changes to them."""

import datetime
import decimal
import json

from bson import Decimal128, Int64

COLLECTIONS = ("a", "b")
TEXTS = ("", "a", "b", "ab", "B", "x y", "ä", "10", "-3", "1e2", "true", "f", "2024-02-29", "%", "a_b")
TIMES = ("2024-01-01T00:00:00Z", "2024-02-29T12:34:56.789Z", "2023-12-31T23:59:59Z", "1999-07-01T08:00:00+02:00", "2024-03-10 06:30:00")
NUMBERS = (0, 1, -1, 2, 7, 10, 1.5, -0.25, 0.1, 2.5, 1e10, 123456789, Int64(5_000_000_000), 3.0)


def value(rng, name):
    """A value for the field of this name: what its queries cast it to, NULL, or absent."""
    if rng.random() < 0.08:
        return None
    match name:
        case "i":
            return rng.choice((0, 1, 1, 2, 3, 5, -2, 40))
        case "n":
            return rng.choice(NUMBERS) if rng.random() < 0.8 else Decimal128(rng.choice(("1.50", "0.001", "-7", "12345.75")))
        case "s":
            return rng.choice(TEXTS)
        case "g":
            return rng.choice("abc")
        case "b":
            return rng.random() < 0.5
        case "t":
            if rng.random() < 0.3:
                return datetime.datetime(2024, 1, rng.randint(1, 3), rng.randint(0, 23), 0, 0, 250000 * rng.randint(0, 3))
            return rng.choice(TIMES)
        case "r":
            return [rng.choice((1, 2, 2, None, "a", 1.5)) for _ in range(rng.choice((0, 1, 2, 2, 3, 4)))]
        case "l":
            return [{"p": rng.choice("abc"), "q": rng.choice((1, 2, 3, None))} for _ in range(rng.choice((0, 1, 2, 3)))]
        case "o":
            return {key: value(rng, rng.choice("isb")) for key in ("k", "v", "w") if rng.random() < 0.7}
        case "m":
            return value(rng, rng.choice("insbro"))
    raise KeyError(name)


FIELDS = ("i", "n", "s", "g", "b", "t", "r", "l", "o", "m")


def document(rng, key):
    fields = {name: value(rng, name) for name in FIELDS if rng.random() < 0.88}
    return {"_id": key, **fields}


def write(rng):
    """One write, as a list that an eye reads: what, collection, key, and its argument."""
    collection = "a" if rng.random() < 0.6 else "b"
    key = rng.randint(1, 9)
    roll = rng.random()
    if roll < 0.35:
        return ["put", collection, key, document(rng, key)]
    if roll < 0.5:
        return ["delete", collection, key]
    changes = {}
    for name in rng.sample(FIELDS, rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.2:
            changes.setdefault("$unset", {})[name] = ""
        else:
            changes.setdefault("$set", {})[name] = value(rng, name)
    if rng.random() < 0.3:
        used = changes.get("$set", {}).keys() | changes.get("$unset", {}).keys()
        if "o" not in used:
            changes.setdefault("$set", {})["o.k"] = rng.randint(0, 3)
    if roll < 0.9:
        return ["update", collection, key, changes]
    return ["update_many", collection, rng.choice("abc"), changes]


def history(rng, length):
    """Single writes and, as lists of them, transactions."""
    steps = []
    while len(steps) < length:
        if rng.random() < 0.05:
            steps.append([[rng.choice(("PAUSE", "RESUME"))]])
            continue
        steps.append([write(rng) for _ in range(1 if rng.random() < 0.85 else rng.randint(2, 4))])
    return steps


def apply(client, sql, database, step):
    """Runs a step: one write by itself, more as a transaction; or a stream's pause."""
    if step[0][0] in ("PAUSE", "RESUME"):
        return sql.execute(f"ALTER CHANGE STREAM s {step[0][0]}")
    if len(step) == 1:
        return run(client[database], step[0], None)
    with client.start_session() as session, session.start_transaction():
        for one in step:
            run(client[database], one, session)


def run(database, step, session):
    what, collection, key, *argument = step
    target = database[collection]
    match what:
        case "put":
            target.replace_one({"_id": key}, argument[0], upsert=True, session=session)
        case "delete":
            target.delete_one({"_id": key}, session=session)
        case "update":
            target.update_one({"_id": key, "o": {"$not": {"$type": "null"}}}, argument[0], session=session)
        case "update_many":
            target.update_many({"g": key, "o": {"$not": {"$type": "null"}}}, argument[0], session=session)


def as_json(found):
    """A stored value as JSON text, numbers and times spelled as SQL shows them."""
    if isinstance(found, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {as_json(inner)}" for name, inner in found.items()) + "}"
    if isinstance(found, list):
        return "[" + ", ".join(map(as_json, found)) + "]"
    if isinstance(found, Decimal128):
        return format(found.to_decimal(), "f")
    if isinstance(found, float):
        return str(int(found)) if found.is_integer() else format(decimal.Decimal(repr(found)), "f")
    if isinstance(found, datetime.datetime):
        return f'"{found.isoformat(timespec="milliseconds")}Z"'
    return json.dumps(found, ensure_ascii=False)

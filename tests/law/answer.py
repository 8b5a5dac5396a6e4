"""Answers of either side in one form: a multiset of rows of text, or an error's code."""

import json

import psycopg

JSON_TYPES = (114, 3802)
FLOATS = (700, 701)


class Failed:
    """An error instead of rows."""

    def __init__(self, error):
        self.code = error.sqlstate or "?????"
        self.message = str(error).splitlines()[0]

    def __repr__(self):
        return f"error {self.code}: {self.message}"


def ask(connection, query, first_types=(), ordered=False):
    """Runs a query: its rows with the columns' types first, or how it failed; rows whose order the query
    does not say are sorted. A subscription's rows begin with columns of their own, of `first_types`."""
    try:
        cursor = connection.execute(query)
    except psycopg.Error as error:
        return Failed(error)
    result = cursor.pgresult
    assert tuple(result.ftype(column) for column in range(len(first_types))) == tuple(first_types)
    types = [result.ftype(column) for column in range(result.nfields)]
    rows = [tuple(spelled(result.get_value(row, column), ty) for column, ty in enumerate(types)) for row in range(result.ntuples)]
    return [tuple(types), *(rows if ordered else sorted(rows, key=repr))]


def spelled(value, ty):
    """A value's text. JSON is compared by what it says: order of names and blanks aside."""
    if value is None:
        return None
    value = value.decode()
    if ty in JSON_TYPES:
        return json.dumps(json.loads(value, parse_float=str, parse_int=str), sort_keys=True, ensure_ascii=False)
    # Which of two equal zeros stands for both is not said.
    return "0" if ty in FLOATS and value == "-0" else value


def describe(answer, limit=12):
    if isinstance(answer, Failed):
        return f"  {answer!r}"
    lines = [f"  {row}" for row in answer[1:]]
    more = [f"  … {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join([f"  types {answer[0]}", *lines[:limit], *more])

"""Random expressions, each of a type, over the columns that a scope offers."""

from node import Leaf, Node, text

TYPES = ("int", "numeric", "float", "text", "bool", "time", "json")
LITERALS = {
    "int": ("0", "1", "2", "3", "-1", "5", "40"),
    "numeric": ("0.5", "1.50", "2", "-0.25", "10", "100.125"),
    "float": ("0.5::float8", "1.5::float8", "-2::float8", "4::float8"),
    "text": ("''", "'a'", "'b'", "'ab'", "'10'", "'x y'", "'ä'", "'%'"),
    "bool": ("true", "false"),
    "time": ("'2024-01-01 00:00:00Z'::timestamptz", "'2024-02-29 12:34:56.789Z'::timestamptz", "'2023-12-31 23:00:00+02'::timestamptz"),
    "json": ("'1'::jsonb", "'\"a\"'::jsonb", "'null'::jsonb", "'[1, 2]'::jsonb", "'{\"k\": 1}'::jsonb", "'{}'::jsonb"),
}
NAMES = {"int": "int", "numeric": "numeric", "float": "float8", "text": "text", "bool": "boolean", "time": "timestamptz", "json": "jsonb"}


class Scope:
    """What an expression may read: columns by type, and the database's tables for its subqueries."""

    def __init__(self, columns=(), subquery=None):
        self.columns = list(columns)
        self.subquery = subquery

    def of(self, ty):
        return [column for column, its in self.columns if its == ty]


class Expressions:
    """A generator with its randomness. `unsafe`: casts and divisions that may fail are allowed."""

    def __init__(self, rng, unsafe=False):
        self.rng = rng
        self.unsafe = unsafe

    def literal(self, ty):
        if self.rng.random() < 0.06:
            return text("e:" + ty, f"NULL::{NAMES[ty]}")
        return text("e:" + ty, self.rng.choice(LITERALS[ty]))

    def column(self, scope, ty):
        columns = scope.of(ty)
        if not columns:
            return self.literal(ty)
        column = self.rng.choice(columns)
        postgres, ours = column if isinstance(column, tuple) else (column, column)
        return Leaf("e:" + ty, postgres, ours)

    def of(self, scope, ty, depth=2):
        """An expression of the type, at most so deep."""
        if depth <= 0 or self.rng.random() < 0.3:
            return self.column(scope, ty) if self.rng.random() < 0.85 else self.literal(ty)
        if self.rng.random() < 0.2:
            return self.anyway(scope, ty, depth - 1)
        return getattr(self, ty)(scope, depth - 1)

    def any_type(self, scope, depth=2, types=TYPES):
        ty = self.rng.choice(types)
        return self.of(scope, ty, depth), ty

    def build(self, ty, template, scope, depth):
        """A template with `{type}` where an expression of the type goes."""
        first, *pieces = template.split("{")
        parts = [first]
        for piece in pieces:
            wanted, closed, rest = piece.partition("}")
            if closed and wanted in TYPES:
                parts += [self.of(scope, wanted, depth), rest]
            else:
                parts.append("{" + piece)
        return Node("e:" + ty, parts, LITERALS[ty][:1])

    def pick(self, ty, templates, scope, depth):
        return self.build(ty, self.rng.choice(templates), scope, depth)

    def anyway(self, scope, ty, depth):
        """The forms that every type has."""
        t = "{" + ty + "}"
        forms = [f"CASE WHEN {{bool}} THEN {t} ELSE {t} END", f"CASE WHEN {{bool}} THEN {t} WHEN {{bool}} THEN {t} END", f"COALESCE({t}, {t})"]
        if ty != "json":
            forms += [f"NULLIF({t}, {t})", f"CASE {{int}} WHEN 1 THEN {t} WHEN {{int}} THEN {t} ELSE {t} END"]
        if ty not in ("json", "bool"):
            forms += [f"GREATEST({t}, {t})", f"LEAST({t}, {t}, {t})"]
        if scope.subquery and self.rng.random() < 0.15:
            return scope.subquery.scalar(scope, ty)
        return self.pick(ty, forms, scope, depth)

    def int(self, scope, depth):
        forms = ["({int} + {int})", "({int} - {int})", "abs({int})", "({int} % NULLIF({int}, 0))", "({int} / NULLIF({int}, 0))", "length({text})",
                 "({bool})::int", "extract(year FROM {time})::int", "extract(dow FROM {time})::int", "position({text} IN {text})", "(-{int})",
                 "jsonb_array_length(CASE WHEN jsonb_typeof({json}) = 'array' THEN '[1]'::jsonb END)", "mod(round({numeric}), 7)::int", "ascii({text})", "regexp_instr({text}, '[b-z]')",
                 "date_part('hour', {time})::int", "octet_length({text})", "sign({numeric})::int", "cardinality(string_to_array({text}, ' '))",
                 "gcd({int}, 6)", "({int} & 5)", "({int} | 2)", "({int} # 3)", "width_bucket({int}, 0, 10, 4)", "char_length({text})",
                 "extract(week FROM {time})::int", "extract(doy FROM {time})::int", "(({time})::date - '2024-01-01'::date)",
                 "array_position(ARRAY[1, 2, {int}], 2)", "(ARRAY[{int}, {int}, 7])[2]", "array_length(ARRAY[{int}, 1], 1)", "num_nulls({int}, {text}, {json})",
                 "scale({numeric})", "bit_length({text})", "extract(isodow FROM {time})::int", "cardinality((string_to_array({text}, ' '))[2:])"]
        if self.unsafe:
            forms += ["({text})::int", "({int} / {int})", "({int} % {int})", "({int} * 1000000000)", "({json})::int"] * 2
        return self.pick("int", forms, scope, depth)

    def numeric(self, scope, depth):
        forms = ["({numeric} + {numeric})", "({numeric} - {numeric})", "({numeric} * {numeric})", "round({numeric}, 1)", "round({numeric})", "floor({numeric})",
                 "ceil({numeric})", "trunc({numeric}, 1)", "abs({numeric})", "({int})::numeric", "({numeric} / NULLIF({int}, 0))", "mod({numeric}, 3)",
                 "extract(epoch FROM {time})", "({int} * {numeric})", "({numeric} % NULLIF({numeric}, 0))", "({numeric})::numeric(38, 2)", "(-{numeric})",
                 "extract(epoch FROM {time} - {time})", "div({numeric}, 3)", "ln(abs({numeric}) + 1)", "exp(mod({numeric}, 3))", "log(abs({numeric}) + 1)", "power(abs({numeric}) + 1, 0.5)",
                 "round({numeric}, -1)", "trim_scale({numeric})", "cbrt({int})::numeric(12, 4)", "extract(second FROM {time})", "sign({numeric})",
                 "extract(epoch FROM ({time} - {time}))", "to_number(({int})::text, '99')", "power({int}, 2)::numeric", "sqrt(abs({numeric}))"]
        if self.unsafe:
            forms += ["({text})::numeric", "({numeric} / {numeric})", "({json})::numeric"] * 2
        return self.pick("numeric", forms, scope, depth)

    def float(self, scope, depth):
        forms = ["({float} + {float})", "({float} * 0.5)", "abs({float})", "({int})::float8", "({numeric})::float8", "floor({float})", "sqrt(abs({float}))",
                 "({float} - {int})", "({float} / NULLIF({float}, 0))", "round({float})", "(-{float})"]
        return self.pick("float", forms, scope, depth)

    def text(self, scope, depth):
        forms = ["({text} || {text})", "upper({text})", "lower({text})", "substr({text}, 1, 2)", "left({text}, {int} % 4)", "right({text}, 1)",
                 "replace({text}, 'a', 'cc')", "trim({text})", "concat({text}, {int}, {bool})", "concat_ws('-', {text}, {text}, {int})", "({int})::text",
                 "({numeric})::text", "({bool})::text", "to_char({time}, 'YYYY-MM-DD HH24:MI')", "jsonb_typeof({json})", "split_part({text}, ' ', 1)",
                 "lpad({text}, 4, '*')", "md5({text})", "reverse({text})", "initcap({text})", "translate({text}, 'ab', 'xy')", "({time})::text",
                 "rpad({text}, 3)", "repeat({text}, 2)", "substring({text} FROM 2)", "({float})::text", "overlay({text} placing 'zz' from 1)",
                 "regexp_replace({text}, '[ab]+', '<\\&>', 'g')", "format('%s/%s', {text}, {int})", "({text} || {int})", "quote_literal({text})",
                 "chr(65 + abs({int}) % 20)", "strpos({text}, 'a')::text", "to_char({numeric}, 'FM9990.00')", "array_to_string(string_to_array({text}, ' '), '+')",
                 "left({text}, 2)::char(3)::text", "({time})::date::text", "starts_with({text}, 'a')::text", "btrim({text}, 'ax')", "ltrim({text})",
                 "({time} - {time})::text", "({time} - '2024-01-01Z'::timestamptz)::text", "justify_hours({time} - {time})::text", "age({time}, {time})::text",
                 "(string_to_array({text}, ' '))::text", "(ARRAY[{int}, {int}])::text", "(ARRAY[{text}, 'a b', NULL])::text", "encode(convert_to({text}, 'UTF8'), 'hex')",
                 "regexp_match({text}, '([a-z])')::text", "to_char({time}, 'Day DD Mon YYYY, HH12:MI:SS.MS AM, Q, IW, DDD')", "left({text}, -1)", "right({text}, -1)",
                 "to_char({int}, 'S0999')", "to_char({numeric}, '9,999.99MI')", "substring({text} FROM '[a-c]+')", "regexp_replace({text}, '(.)(.)', '\\2\\1')",
                 "split_part({text}, ' ', -1)", "({numeric})::float8::text", "make_interval(mins => {int})::text", "(interval '1 day 02:03' * {int})::text",
                 "array_to_string(array_remove(ARRAY[{int}, 1, 2], 1), ',', '-')", "(({time})::time)::text", "({time} AT TIME ZONE 'America/New_York')::text",
                 "sha256(convert_to({text}, 'UTF8'))::text", "({json}) #>> '{k}'", "quote_nullable({text})"]
        return self.pick("text", forms, scope, depth)

    def bool(self, scope, depth):
        roll = self.rng.random()
        if roll < 0.4:
            return self.comparison(scope, depth)
        if roll < 0.5 and scope.subquery and depth > 0:
            return scope.subquery.predicate(scope, depth)
        forms = ["({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})", "({int} IS NULL)", "({json} IS NOT NULL)", "({text} IN ('a', 'b', '10'))",
                 "({text} NOT IN ('a', 'B'))", "({int} IN (1, 2, {int}))", "({text} LIKE '%a%')", "({text} ILIKE 'a%')", "({text} ~ '^[a-c]')",
                 "({text} NOT LIKE '_')", "({bool} IS TRUE)", "({bool} IS NOT FALSE)", "({bool} IS UNKNOWN)", "({json} ? 'k')", "({json} ?| ARRAY['k', 'v'])",
                 "({json} ?& ARRAY['k', 'v'])", "({json} @> '{\"k\": 1}')", "({json} @> '[1]')", "({json} <@ '{\"k\": 1, \"v\": \"a\"}')",
                 "({int} = ANY(ARRAY[1, 2, {int}]))", "({int} <> ALL(ARRAY[1, 2]))", "({text} = ANY(string_to_array('a b 10', ' ')))",
                 "(jsonb_typeof({json}) = 'array')", "({int} BETWEEN 0 AND {int})", "({int} NOT BETWEEN 1 AND 2)", "({time} < {time} + interval '1 day')",
                 "(({int}, {text}) = ({int}, {text}))", "(({int}, {text}) < (2, 'a'))", "({text} SIMILAR TO '(a|b)%')", "jsonb_path_exists({json}, '$.k ? (@ > 0)')",
                 "({text} <> '' AND {text} IS NOT NULL)", "({json} @? '$[*] ? (@ == 1)')", "(ARRAY[{int}, 2] @> ARRAY[2])", "(ARRAY[{text}] && ARRAY['a', 'b'])", "(jsonb_path_match(jsonb_build_object('k', {int}), '$.k > 1'))", "({text} ^@ 'a')", "({text} ~* 'A.')",
                 "(({time}, interval '1 day') OVERLAPS ('2024-01-01Z'::timestamptz, '2024-01-02Z'::timestamptz))",
                 "({int} BETWEEN SYMMETRIC {int} AND {int})", "({text} LIKE ANY (ARRAY['%a%', 'b_', {text}]))", "({text} NOT LIKE ALL (ARRAY['a%', '%b']))",
                 "(ROW({int}, {text}) IS NULL)", "(({int}, {json}) IS NOT NULL)", "regexp_like({text}, '[ab]+')",
                 "(({int}, {int}) IN ((1, 2), (2, {int})))", "({json} @@ '$.k == 1')", "(ROW({int}, {text}) IS DISTINCT FROM ROW({int}, 'a'))", "isfinite({time})"]
        if self.unsafe:
            forms += ["({text})::boolean"]
        return self.pick("bool", forms, scope, depth)

    def comparison(self, scope, depth):
        ty = self.rng.choice(TYPES)
        operator = self.rng.choice(("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"))
        other = {"int": "numeric", "numeric": "int", "float": "int"}.get(ty, ty) if self.rng.random() < 0.3 else ty
        return text("e:bool", "(", self.of(scope, ty, depth), f" {operator} ", self.of(scope, other, depth), ")", smaller=["true", "false"])

    def time(self, scope, depth):
        forms = ["date_trunc('hour', {time})", "date_trunc('month', {time})", "({time} + interval '1 day')", "({time} - interval '2 hours 30 minutes')",
                 "({time} + {int} * interval '1 minute')", "to_timestamp({int})", "date_bin('15 minutes', {time}, '2024-01-01Z'::timestamptz)",
                 "({time} + interval '1 month')", "({time})::date::timestamptz", "date_trunc('week', {time})",
                 "make_timestamptz(2024, 1 + abs({int}) % 12, 1, 0, 0, 0)", "({time} AT TIME ZONE 'Europe/Berlin') AT TIME ZONE 'UTC'",
                 "date_trunc('day', {time}, 'America/New_York')", "date_trunc('quarter', {time})", "({time} - ({time} - '2024-01-01Z'::timestamptz))",
                 "to_timestamp(to_char({time}, 'YYYYMMDD HH24'), 'YYYYMMDD HH24')", "({time} + make_interval(months => {int} % 30))"]
        if self.unsafe:
            forms += ["({text})::timestamptz"]
        return self.pick("time", forms, scope, depth)

    def json(self, scope, depth):
        forms = ["({json} -> 'k')", "({json} #> '{k}')", "jsonb_build_object('x', {int}, 'y', {text})",
                 "jsonb_build_array({int}, {text}, {bool})", "to_jsonb({int})", "to_jsonb({text})", "to_jsonb({numeric})", "to_jsonb({bool})",
                 "jsonb_strip_nulls({json})", "to_jsonb(string_to_array({text}, ' '))", "jsonb_build_object('j', {json})",
                 "(CASE WHEN jsonb_typeof({json}) = 'object' THEN {json} END)", "(jsonb_build_object('k', {int}) || jsonb_build_object('v', {text}))",
                 "jsonb_set(jsonb_build_object('k', {int}), '{k}', COALESCE({json}, 'null'))", "(jsonb_build_object('k', {int}, 'v', {json}) - 'k')",
                 "jsonb_set_lax(jsonb_build_object('k', {int}), '{k}', {json}, true, 'delete_key')",
                 "jsonb_path_query_first({json}, '$.k')", "jsonb_path_query_array({json}, '$[*]')", "(jsonb_build_array({int}, {json}) - 0)",
                 "jsonb_insert('[1]'::jsonb, '{0}', COALESCE({json}, 'null'))", "to_jsonb(ARRAY[{int}, {int}])",
                 "jsonb_object(ARRAY['a', 'b'], ARRAY[{text}, 'x'])", "to_jsonb({time})", "jsonb_build_object('k', {numeric}, 'l', {time}, 'm', ARRAY[{text}])",
                 "(jsonb_build_object('k', jsonb_build_array({int}, {int})) #- '{k,0}')", "jsonb_path_query_array({json}, '$.* ? (@ != \"a\")')",
                 "jsonb_path_query_array(jsonb_build_array({int}, {numeric}), '$[*] ? (@ >= 1)')", "to_jsonb({float})"]
        if self.rng.random() < 0.15:
            return self.element(scope, depth)
        if scope.subquery:
            # Where an expression is not said twice: two subqueries are never the same expression for us.
            forms += ["(SELECT jsonb_agg(x) FROM unnest(ARRAY[{int}, 3, {int}]) x)", "to_jsonb(ARRAY(SELECT regexp_split_to_table({text}, ' ')))"]
        return self.pick("json", forms, scope, depth)

    def element(self, scope, depth):
        """An element of an array: of a scalar, PostgreSQL's `-> 0` gives the scalar, and ours nothing."""
        of, index = self.of(scope, "json", depth), self.rng.choice(("0", "-1", "1"))
        return text("e:json", "((CASE WHEN jsonb_typeof(", of, ") = 'array' THEN ", of, f" END) -> {index})", smaller=["'1'::jsonb"])

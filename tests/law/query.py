"""Random queries whose answer is one multiset: whatever may be picked is ordered in full first."""

from expression import NAMES, TYPES, Expressions, Scope
from node import Leaf, Node, joined, text

# How a field of a document is read as a type.
READS = {
    "int": ("({d}->>'i')::int",),
    "numeric": ("({d}->>'n')::numeric", "({d}#>>'{{n}}')::numeric"),
    "float": ("({d}->>'n')::float8",),
    "text": ("{d}->>'s'", "{d}->>'g'", "{d}#>>'{{l,0,p}}'", "{d}->'l'->0->>'p'", "{d}->>'m'"),
    "bool": ("({d}->>'b')::boolean",),
    "time": ("({d}->>'t')::timestamptz",),
    "json": ("{d}->'o'", "{d}->'r'", "{d}->'m'", "{d}->'l'", "{d}#>'{{o,k}}'", "{d}->'n'", "{d}"),
}
# The same through a field's name, which is ours alone.
FIELDS = {"{d}->'o'": "o", "{d}->'r'": "r", "{d}->'m'": "m", "{d}->'l'": "l", "{d}->>'s'": "s", "{d}->>'g'": "g", "({d}->>'i')::int": "i"}
# Whether PostgreSQL knows how to order and compare it; all of ours do.
AGGREGATED = ("int", "numeric", "text", "time", "json", "bool", "float")


def document_columns(rng, alias, column):
    """The typed columns of a document, spelled for each side."""
    document = f"{alias}.{column}"
    columns = []
    for ty, reads in READS.items():
        for read in reads:
            postgres = f"({read.format(d=document)})"
            ours = postgres
            if column == "document" and read in FIELDS and rng.random() < 0.3:
                field = f"{alias}.{FIELDS[read]}"
                ours = field if ty == "json" else f"({field}#>>'{{}}')" if ty == "text" else f"({field})::int"
            columns.append(((postgres, ours), ty))
    return columns


class Queries:
    """A generator of queries over the collections `a` and `b` and the change stream `s` of `a`."""

    def __init__(self, rng, unsafe=False, earlier=()):
        self.rng = rng
        self.expressions = Expressions(rng, unsafe)
        self.aliases = 0
        # Queries that are views v0, v1, … and may be read as such: (number, query, types).
        self.earlier = list(earlier)

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    def top(self):
        """A whole query; its columns are c1, c2, …"""
        rng = self.rng
        roll = rng.random()
        arity = rng.choice((1, 2, 2, 3, 4))
        types = [rng.choice(TYPES) for _ in range(arity)]
        if roll < 0.12:
            query, types = self.set_operation(types, 2), types
        elif roll < 0.2:
            query, types = self.with_cte()
        else:
            query, types = self.select(types, 3)
        if rng.random() < 0.25:
            query = self.limited(query, types)
        return query, types

    def simple(self):
        """One expression for each document: it fails here if and only if it fails there."""
        alias, ty = self.alias(), self.rng.choice(TYPES)
        scope = Scope(document_columns(self.rng, alias, "document"))
        return text("q", "SELECT ", *named([self.expressions.of(scope, ty, 2)]), f" FROM a AS {alias}"), [ty]

    def limited(self, query, types):
        """The first rows in an order of all columns."""
        keys = [f"{n + 1}{self.rng.choice((' ', ' DESC ', ' NULLS FIRST ', ' DESC NULLS LAST '))}" for n in range(len(types))]
        self.rng.shuffle(keys)
        limit = self.rng.choice(("LIMIT 1", "LIMIT 3", "LIMIT 2 OFFSET 1", "OFFSET 2", "LIMIT 5", "FETCH FIRST 2 ROWS ONLY", "FETCH FIRST 2 ROWS WITH TIES", "OFFSET 1 FETCH NEXT 2 ROWS WITH TIES"))
        wrapped = f"SELECT * FROM ("
        return text("q", wrapped, query, ") AS q ORDER BY ", ", ".join(keys), text("limit", " " + limit, smaller=[""]))

    # Rows to read.

    def source(self, depth):
        """An item of FROM and its scope."""
        rng, roll, alias = self.rng, self.rng.random(), self.alias()
        if depth > 0 and roll < 0.25:
            types = [rng.choice(TYPES) for _ in range(rng.choice((2, 3)))]
            query, types = self.select(types, depth - 1) if rng.random() < 0.8 else (self.set_operation(types, depth - 1), types)
            return text("from", "(", query, f") AS {alias}"), [(f"{alias}.c{n + 1}", ty) for n, ty in enumerate(types)]
        if roll < 0.4:
            columns = document_columns(rng, alias, rng.choice(("full_document", "full_document", "full_document_before_change")))
            columns += [(f"{alias}.operation_type", "text"), (f"{alias}.document_key", "json"), (f"{alias}.updated_fields", "json"),
                        (f"{alias}.event_timestamp", "time"), (f"{alias}.removed_fields", "json"), (f"({alias}.document_key->>'_id')::int", "int")]
            return Leaf("from", f"s AS {alias}", f"CHANGE_STREAM('s') AS {alias}"), columns
        if roll < 0.44:
            windows, columns = self.time_windows(alias)
            return windows, columns + document_columns(rng, alias, "document")
        if self.earlier and roll < 0.5:
            number, query, types = rng.choice(self.earlier)
            inlined = {dialect: f"({query.render(dialect)}) AS {alias}" for dialect in ("postgres", "alone")}
            columns = [(f"{alias}.c{n + 1}", ty) for n, ty in enumerate(types)]
            return Leaf("from", inlined["postgres"], f"v{number} AS {alias}", alone=inlined["alone"]), columns
        name = rng.choice("aab")
        columns = document_columns(rng, alias, "document") + [((f"({alias}.document->>'_id')::int", f"({alias}._id)::int"), "int"), (f"{alias}._id", "json")]
        return text("from", f"{name} AS {alias}"), columns

    def time_windows(self, alias):
        """Documents with the windows of time that they lie in; rows without a time lie in none."""
        time = "(document->>'t')::timestamptz"
        begins = f"date_bin('2 hours', {time}, '1970-01-01Z')"
        if self.rng.random() < 0.5:
            ours, starts = f"TUMBLE(a, {time}, INTERVAL '2 hours')", f"(SELECT {begins}) w(window_start)"
        else:
            ours = f"HOP(a, {time}, INTERVAL '2 hours', INTERVAL '6 hours')"
            starts = f"generate_series({begins} - INTERVAL '4 hours', {begins}, '2 hours') w(window_start)"
        postgres = f"(SELECT a.*, window_start FROM a CROSS JOIN LATERAL {starts} WHERE {time} IS NOT NULL)"
        return Leaf("from", f"{postgres} AS {alias}", f"{ours} AS {alias}"), [(f"{alias}.window_start", "time")]

    def from_clause(self, depth):
        """FROM with joins, and the scope of all of it."""
        item, columns = self.source(depth)
        parts = [item]
        for _ in range(self.rng.choice((0, 0, 0, 1, 1, 2)) if depth > 0 else 0):
            joined_part, more = self.join(columns, depth - 1)
            parts.append(joined_part)
            columns = columns + more
        if self.rng.random() < 0.2:
            part, more = self.lateral(columns)
            parts.append(part)
            columns = columns + more
        return Node("froms", parts), columns

    def join(self, columns, depth):
        rng = self.rng
        item, more = self.source(depth)
        kind = rng.choice(("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"))
        if kind == "CROSS JOIN":
            return text("join", f" {kind} ", item, smaller=[""]), more
        left, right = Scope(columns), Scope(more)
        ty = rng.choice(("int", "int", "text", "text", "json", "time", "numeric", "bool"))
        condition = [self.expressions.of(left, ty, 1), " = ", self.expressions.of(right, ty, 1)]
        if kind == "FULL JOIN":
            # PostgreSQL wants to hash or merge it: no constants.
            condition = [self.expressions.column(left, ty), " = ", self.expressions.column(right, ty)]
            if not left.of(ty) or not right.of(ty):
                kind = "LEFT JOIN"
        if kind != "FULL JOIN" and rng.random() < 0.4:
            condition += [rng.choice((" AND ", " AND ", " OR ")), self.expressions.of(Scope(columns + more), "bool", 2)]
        return text("join", f" {kind} ", item, " ON ", *condition, smaller=[""]), more

    def lateral(self, columns):
        """Rows made from a row before."""
        rng, alias, scope = self.rng, self.alias(), Scope(columns)
        json = self.expressions.of(scope, "json", 1)
        arrays = ["(CASE WHEN jsonb_typeof(", json, ") = 'array' THEN ", json, " END)"]
        objects = ["(CASE WHEN jsonb_typeof(", json, ") = 'object' THEN ", json, " END)"]
        options = [
            (["jsonb_array_elements(", *arrays, f") AS {alias}(v)"], [(f"{alias}.v", "json")]),
            (["jsonb_array_elements_text(", *arrays, f") AS {alias}(v)"], [(f"{alias}.v", "text")]),
            (["jsonb_each(", *objects, f") AS {alias}(k, v)"], [(f"{alias}.k", "text"), (f"{alias}.v", "json")]),
            (["jsonb_each_text(", *objects, f") AS {alias}(k, v)"], [(f"{alias}.k", "text"), (f"{alias}.v", "text")]),
            (["jsonb_to_record(", *objects, f") AS {alias}(k text, v jsonb)"], [(f"{alias}.k", "text"), (f"{alias}.v", "json")]),
            (["regexp_split_to_table(", self.expressions.of(scope, "text", 1), f", '[ab]') AS {alias}(w)"], [(f"{alias}.w", "text")]),
            (["jsonb_object_keys(", *objects, f") AS {alias}(k)"], [(f"{alias}.k", "text")]),
            (["unnest(ARRAY[", self.expressions.of(scope, "int", 1), ", 7, NULL]) ", f"AS {alias}(n)"], [(f"{alias}.n", "int")]),
            (["jsonb_array_elements(", *arrays, f") WITH ORDINALITY AS {alias}(v, n)"], [(f"{alias}.v", "json"), (f"({alias}.n)::int", "int")]),
            (["generate_series(1, ", self.expressions.of(scope, "int", 1), f" % 4) AS {alias}(n)"], [(f"{alias}.n", "int")]),
            (["unnest(string_to_array(", self.expressions.of(scope, "text", 1), f", ' ')) AS {alias}(w)"], [(f"{alias}.w", "text")]),
        ]
        call, more = rng.choice(options)
        if rng.random() < 0.5:
            return text("join", " CROSS JOIN LATERAL ", *call, smaller=[""]), more
        return text("join", " LEFT JOIN LATERAL ", *call, " ON ", self.expressions.of(Scope(columns + more), "bool", 1) if rng.random() < 0.3 else "true", smaller=[""]), more

    def where(self, scope, chance=0.5):
        if self.rng.random() > chance:
            return text("where", "")
        return text("where", " WHERE ", self.expressions.of(scope, "bool", 3), smaller=[""])

    # Queries.

    def select(self, types, depth):
        """SELECT … and the types of its columns c1, c2, …"""
        roll = self.rng.random()
        if roll < 0.35:
            return self.grouped(depth)
        if roll < 0.45:
            return self.windowed(depth)
        if roll < 0.5:
            return self.distinct_on(depth)
        froms, columns = self.from_clause(depth)
        scope = Scope(columns, Subqueries(self, depth))
        outputs = [self.expressions.of(scope, ty, 3) for ty in types]
        distinct = text("distinct", "DISTINCT " if self.rng.random() < 0.15 else "", smaller=[""])
        return text("q", "SELECT ", distinct, *named(outputs), " FROM ", froms, self.where(scope)), types

    def distinct_on(self, depth):
        froms, columns = self.from_clause(depth)
        scope = Scope(columns)
        types = [self.rng.choice(TYPES) for _ in range(3)]
        outputs = [self.expressions.of(scope, ty, 2) for ty in types]
        inner = text("q", "SELECT ", *named(outputs), " FROM ", froms, self.where(scope))
        order = self.rng.choice(("c1, c2, c3", "c1, c2 DESC, c3", "c1 DESC, c2 NULLS FIRST, c3 DESC"))
        return text("q", "SELECT DISTINCT ON (c1) c1, c2, c3 FROM (", inner, f") AS {self.alias()} ORDER BY {order}"), types

    def grouped(self, depth):
        rng = self.rng
        froms, columns = self.from_clause(depth)
        scope = Scope(columns)
        keys = [(self.expressions.of(scope, ty, 1), ty) for ty in rng.choices(("text", "int", "bool", "json", "time", "numeric"), k=rng.choice((0, 1, 1, 2)))]
        aggregates = [self.aggregate(scope) for _ in range(rng.choice((1, 1, 2, 3)))]
        outputs = [node for node, _ in keys] + [node for node, _ in aggregates]
        types = [ty for _, ty in keys] + [ty for _, ty in aggregates]
        if keys and rng.random() < 0.3:
            outputs.append(text("e:int", "grouping(", *joined([node for node, _ in keys], ", "), ")"))
            types.append("int")
        parts = ["SELECT ", *named(outputs), " FROM ", froms, self.where(scope, 0.35)]
        if keys:
            parts.append(self.group_by(len(keys)))
        if rng.random() < 0.25:
            having = Scope([])
            condition = text("e:bool", self.aggregate(scope, "int")[0], rng.choice((" > ", " <> ", " <= ")), self.expressions.literal("int"))
            parts.append(text("having", " HAVING ", condition, smaller=[""]))
        return Node("q", parts), types

    def group_by(self, count):
        if count == 1:
            return text("group", " GROUP BY ", text("sets", self.rng.choice(("1", "1", "1", "ROLLUP (1)")), smaller=["1"]))
        forms = ("1, 2",) * 4 + ("ROLLUP (1, 2)", "CUBE (1, 2)", "GROUPING SETS ((1), (2), ())", "1, ROLLUP (2)")
        return text("group", " GROUP BY ", text("sets", self.rng.choice(forms), smaller=["1, 2"]))

    def aggregate(self, scope, wanted=None):
        """An aggregate call and its type."""
        rng, e = self.rng, self.expressions
        distinct = rng.choice(("", "", "", "DISTINCT "))
        options = [
            (["count(*)"], "int"),
            (["count(", distinct, e.any_type(scope, 2)[0], ")"], "int"),
            (["sum(", distinct, e.of(scope, "int", 2), ")"], "int"),
            (["max(", e.of(scope, "int", 2), ")"], "int"),
            (["sum(", distinct, e.of(scope, "numeric", 2), ")"], "numeric"),
            (["avg(", distinct, e.of(scope, "numeric", 2), ")"], "numeric"),
            (["avg(", e.of(scope, "int", 2), ")"], "numeric"),
            (["min(", e.of(scope, "numeric", 1), ")"], "numeric"),
            (["round(stddev(", e.of(scope, "int", 1), "), 6)"], "numeric"),
            (["round(var_pop(", e.of(scope, "numeric", 1), "), 6)"], "numeric"),
            (["min(", e.of(scope, "text", 1), ")"], "text"),
            (["max(", e.of(scope, "text", 2), ")"], "text"),
            (["max(", e.of(scope, "time", 1), ")"], "time"),
            (["bool_and(", e.of(scope, "bool", 2), ")"], "bool"),
            (["bool_or(", e.of(scope, "bool", 2), ")"], "bool"),
            (["percentile_disc(0.5) WITHIN GROUP (ORDER BY ", e.of(scope, "int", 1), ")"], "int"),
            (["percentile_cont(0.5) WITHIN GROUP (ORDER BY ", e.of(scope, "float", 1), ")"], "float"),
            (["min(", e.of(scope, "float", 1), ")"], "float"),
            (["bit_and(", e.of(scope, "int", 1), ")"], "int"),
            (["bit_or(", distinct, e.of(scope, "int", 1), ")"], "int"),
            (["count(DISTINCT (", e.of(scope, "int", 1), ", ", e.of(scope, "text", 1), "))"], "int"),
            (["bit_xor(", distinct, e.of(scope, "int", 1), ")"], "int"),
            (["regr_count(", e.of(scope, "float", 1), ", ", e.of(scope, "int", 1), ")"], "int"),
            (["every(", e.of(scope, "bool", 1), ")"], "bool"),
            (["array_length(array_agg(", distinct, e.of(scope, "int", 1), "), 1)"], "int"),
            (["percentile_disc(0.25) WITHIN GROUP (ORDER BY ", e.of(scope, "text", 1), " DESC)"], "text"),
            (["mode() WITHIN GROUP (ORDER BY ", e.of(scope, "text", 1), ")"], "text"),
        ]
        ordered = [
            lambda x: (["string_agg(", x, ", ',' ORDER BY ", x, ")"], "text"),
            lambda x: (["array_to_string(array_agg(", distinct, x, " ORDER BY ", x, "), ',', '~')"], "text"),
        ]
        if wanted is None and rng.random() < 0.2:
            x = e.of(scope, "text", 1)
            parts, ty = rng.choice(ordered)(x)
            return text("e:" + ty, *parts), ty
        if wanted is None and rng.random() < 0.15:
            inner = rng.choice(("int", "text", "json", "numeric"))
            x = e.of(scope, inner, 1)
            return text("e:json", rng.choice(("jsonb_agg(", "jsonb_agg(DISTINCT ") if inner != "text" else ("jsonb_agg(",)), x, " ORDER BY ", x, ")"), "json"
        parts, ty = rng.choice([option for option in options if wanted in (None, option[1])])
        if rng.random() < 0.25 and not parts[0].startswith("round"):
            parts = [*parts, " FILTER (WHERE ", e.of(scope, "bool", 1), ")"]
        return text("e:" + ty, f"(", *parts, f")::{NAMES[ty]}"), ty

    def windowed(self, depth):
        """Window functions over a subquery, ordered by all of its columns or indifferent to ties."""
        rng = self.rng
        types = [rng.choice(("int", "text", "numeric", "time", "bool")) for _ in range(3)]
        froms, columns = self.from_clause(depth)
        scope = Scope(columns)
        inner = text("q", "SELECT ", *named([self.expressions.of(scope, ty, 1) for ty in types]), " FROM ", froms, self.where(scope))
        partition = rng.choice(("", "PARTITION BY c1 ", "PARTITION BY c1 ", "PARTITION BY c2 "))
        total = rng.choice(("ORDER BY c2, c1, c3", "ORDER BY c1 DESC, c2, c3 DESC", "ORDER BY c3 NULLS FIRST, c1, c2"))
        frame = rng.choice(("", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", " ROWS 2 PRECEDING",
                            " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING", " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                            " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES",
                            " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP"))
        number = f"c{types.index('int') + 1}" if "int" in types else "length(c1::text)"
        calls = [("row_number()", "int", ""), ("rank()", "int", ""), ("dense_rank()", "int", ""), (f"sum({number})", "int", frame), ("count(*)", "int", frame),
                 (f"max({number})", "int", frame), (f"lag({number})", "int", ""), (f"lead({number}, 2, -1)", "int", ""), (f"first_value({number})", "int", frame),
                 (f"last_value({number})", "int", frame), (f"nth_value({number}, 2)", "int", frame), ("ntile(2)", "int", ""),
                 ("percent_rank()", "float", ""), ("cume_dist()", "float", ""), (f"avg({number})", "numeric", frame),
                 ("string_agg(c1::text, ',')", "text", frame), (f"bit_xor({number})", "int", frame)]
        outputs, result = [], []
        for _ in range(rng.choice((1, 2))):
            call, ty, own_frame = rng.choice(calls)
            order = total if rng.random() < 0.8 or own_frame else ("ORDER BY c2" if "rank" in call or "dist" in call else total)
            outputs.append(text("e:" + ty, f"({call} OVER ({partition}{order}{own_frame}))::{NAMES[ty]}"))
            result.append(ty)
        outputs += [text("e:" + ty, f"c{n + 1}") for n, ty in enumerate(types)]
        result += types
        query = text("q", "SELECT ", *named(outputs), " FROM (", inner, f") AS {self.alias()}")
        if rng.random() < 0.3:
            query = text("q", "SELECT * FROM (", query, f") AS {self.alias()} WHERE c1 <= 2")
        return query, result

    def set_operation(self, types, depth):
        left, right = self.flat(types, depth), self.flat(types, depth)
        operation = self.rng.choice(("UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"))
        return text("q", "(", left, f") {operation} (", right, ")")

    def flat(self, types, depth):
        """A plain SELECT with exactly these columns."""
        froms, columns = self.from_clause(depth - 1)
        scope = Scope(columns)
        return text("q", "SELECT ", *named([self.expressions.of(scope, ty, 1) for ty in types]), " FROM ", froms, self.where(scope))

    def with_cte(self):
        inner, types = self.select([self.rng.choice(TYPES) for _ in range(2)], 2)
        scope = Scope([(f"w1.c{n + 1}", ty) for n, ty in enumerate(types)] + [(f"w2.c{n + 1}", ty) for n, ty in enumerate(types)])
        out = [self.expressions.any_type(scope, 2) for _ in range(2)]
        body = text("q", "SELECT ", *named([node for node, _ in out]), " FROM w AS w1 ", self.rng.choice(("JOIN", "LEFT JOIN")), " w AS w2 ON ",
                    f"w1.c1 = w2.c1 AND ", self.expressions.of(scope, "bool", 1))
        return text("q", "WITH w AS (", inner, ") ", body), [ty for _, ty in out]


class Subqueries:
    """Subqueries in expressions, correlated or not."""

    def __init__(self, queries, depth):
        self.queries = queries
        self.depth = depth

    def inner(self, outer):
        """FROM and WHERE of a subquery, perhaps correlated by an equality, and its own scope."""
        queries = self.queries
        item, columns = queries.source(0)
        own = Scope(columns)
        parts = [" FROM ", item]
        if queries.rng.random() < 0.7:
            ty = queries.rng.choice(("int", "text", "text", "json"))
            parts += [" WHERE ", queries.expressions.column(own, ty), queries.rng.choice((" = ", " = ", " = ", " < ")), queries.expressions.column(outer, ty)]
            if queries.rng.random() < 0.4:
                parts += [" AND ", queries.expressions.of(own, "bool", 1)]
        return parts, own

    def scalar(self, outer, ty):
        parts, own = self.inner(outer)
        wanted = ty if ty in ("int", "numeric", "text", "time", "bool") else None
        if wanted is None:
            return self.queries.expressions.literal(ty)
        call, _ = self.queries.aggregate(own, wanted)
        return text("e:" + ty, "(SELECT ", call, *parts, ")")

    def predicate(self, outer, depth):
        rng, e = self.queries.rng, self.queries.expressions
        plain = Scope(outer.columns)
        parts, own = self.inner(plain)
        roll = rng.random()
        negated = rng.choice(("", "NOT "))
        if roll < 0.5:
            return text("e:bool", f"({negated}EXISTS (SELECT 1", *parts, "))", smaller=["true", "false"])
        ty = rng.choice(("int", "text", "numeric", "json"))
        inner = ["SELECT ", e.of(own, ty, 1), *parts]
        if roll < 0.9:
            return text("e:bool", "(", e.of(plain, ty, 1), f" {negated}IN (", *inner, "))", smaller=["true", "false"])
        quantifier = rng.choice(("= ANY", "< ALL", ">= ANY", "<> ALL"))
        return text("e:bool", "(", e.of(plain, ty, 1), f" {quantifier} (", *inner, "))", smaller=["true", "false"])


def named(outputs):
    """The SELECT list: each output under its name."""
    return joined([Node("output", [node, f" AS c{n + 1}"]) for n, node in enumerate(outputs)], ", ")

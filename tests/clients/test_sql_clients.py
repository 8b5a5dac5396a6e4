"""Clients that ask the catalogue before they work: SQLAlchemy, asyncpg, JDBC, psql, Grafana's queries."""

import asyncio
import datetime
import pathlib
import shutil
import subprocess
from decimal import Decimal

import psycopg
import pytest

HERE = pathlib.Path(__file__).parent
JDBC = pathlib.Path("/usr/share/java/postgresql.jar")


@pytest.fixture
def shop(server, database):
    """A collection and a view over it."""
    database.orders.insert_many([{"_id": 1, "status": "paid", "total": 5}, {"_id": 2, "status": "new", "total": 7.5}])
    server.sql(database.name).execute(
        "CREATE MATERIALIZED VIEW v AS SELECT document->>'status' AS status, count(*) AS n FROM orders GROUP BY 1")
    return database.name


def test_sqlalchemy_reflects_collections_and_views(server, shop):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://tester@{server.pg_host}:{server.pg_port}/{shop}")
    inspector = sqlalchemy.inspect(engine)
    assert inspector.default_schema_name == "public"
    assert inspector.get_table_names() == ["orders"]
    assert inspector.get_materialized_view_names() == ["v"]
    assert [column["name"] for column in inspector.get_columns("orders")] == ["_id", "document"]
    assert [str(column["type"]) for column in inspector.get_columns("v")] == ["TEXT", "BIGINT"]
    assert inspector.get_pk_constraint("orders")["constrained_columns"] == ["_id"]
    assert (inspector.get_foreign_keys("orders"), inspector.get_indexes("orders"), inspector.get_unique_constraints("orders")) == ([], [], [])
    assert inspector.get_check_constraints("orders") == [] and inspector.get_table_comment("orders") == {"text": None}
    assert "count(*)" in inspector.get_view_definition("v")
    assert inspector.has_table("orders") and not inspector.has_table("nothing")
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine, views=True)
    assert "orders" in metadata.tables
    view = sqlalchemy.Table("v", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(view.c.status, view.c.n).where(view.c.n >= 1).order_by(view.c.status)).all()
    assert [tuple(row) for row in rows] == [("new", 1), ("paid", 1)]
    engine.dispose()


def test_asyncpg_introspects_types_and_pools(server, shop):
    asyncpg = pytest.importorskip("asyncpg")

    async def session():
        pool = await asyncpg.create_pool(host=server.pg_host, port=server.pg_port, user="tester", database=shop, min_size=1, max_size=2)
        noon = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone.utc)
        for _ in range(2):
            async with pool.acquire() as connection:
                row = await connection.fetchrow("SELECT $1::text, $2::numeric, $3::timestamptz, $4::int[], $5::bool", "x", Decimal("1.50"), noon, [1, 2], True)
                assert tuple(row) == ("x", Decimal("1.50"), noon, [1, 2], True)
                assert [row["n"] for row in await connection.fetch("SELECT n FROM v WHERE status = ANY($1::text[])", ["paid"])] == [1]
                async with connection.transaction():
                    assert [row[0] async for row in connection.cursor("SELECT * FROM generate_series(1, 5)", prefetch=2)] == [1, 2, 3, 4, 5]
        await pool.close()

    asyncio.run(session())


def test_psycopg_binary_and_server_side_cursors(server, shop):
    sql = server.sql(shop)
    with sql.cursor(binary=True) as cursor:
        row = cursor.execute("SELECT 1::int8, 1.50::numeric, ARRAY['a', NULL], '2024-01-01Z'::timestamptz, true, 2.5::float8, '{\"a\": 1}'::jsonb").fetchone()
    noon = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    assert row == (1, Decimal("1.50"), ["a", None], noon, True, 2.5, {"a": 1})
    with sql.transaction(), sql.cursor(name="c") as cursor:
        cursor.execute("SELECT * FROM generate_series(1, 10)")
        assert [row[0] for row in cursor.fetchmany(3)] == [1, 2, 3]
        assert [row[0] for row in cursor] == [4, 5, 6, 7, 8, 9, 10]


def test_jdbc_reads_its_metadata(server, shop, tmp_path):
    if not JDBC.exists() or shutil.which("javac") is None:
        pytest.skip("needs libpostgresql-jdbc-java and a JDK")
    subprocess.run(["javac", "-cp", JDBC, "-d", tmp_path, HERE / "Jdbc.java"], check=True)
    done = subprocess.run(["java", "-cp", f"{tmp_path}:{JDBC}", "Jdbc", f"//{server.pg_host}:{server.pg_port}/{shop}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "tables orders TABLE, v MATERIALIZED VIEW",
        "columns orders._id jsonb, orders.document jsonb, v.n int8, v.status text",
        "primary key _id 1",
        "index orders__id_ _id",
        "prepared paid 1",
        "values 1 2 1.5 [1, 2] {} 2024-01-02 2.5",
        "fetched 7",
    ]


def test_psql_describes_what_is_there(server, shop):
    def shown(command):
        done = server.psql("\\t off\n" + command + "\n", shop)
        assert "ERROR" not in done.stderr, f"{command}: {done.stderr}"
        return done.stdout

    assert "PRIMARY KEY, btree (_id)" in shown("\\d+ orders")
    assert "count(*)" in shown("\\d+ v")
    assert "public|v|materialized view" in shown("\\d")
    assert shop in shown("\\l")
    assert "tester|Superuser" in shown("\\du")
    for command in ("\\dt+", "\\dv", "\\dm+", "\\dn+", "\\df", "\\di", "\\ds", "\\dT", "\\dp", "\\db", "\\dx", "\\dD", "\\dRp", "\\dconfig"):
        shown(command)


def test_grafanas_queries(server, shop):
    """What the PostgreSQL data source sends after it has replaced its macros."""
    sql = server.sql(shop)
    sql.execute("CREATE CHANGE STREAM s ON orders")
    server.mongo()[shop].orders.insert_one({"_id": 3, "status": "new", "total": 1})
    series = sql.execute("""
        SELECT floor(extract(epoch from event_timestamp)/60)*60 AS "time", full_document->>'status' AS metric, count(*) AS value
        FROM CHANGE_STREAM('s')
        WHERE event_timestamp BETWEEN '2020-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'
        GROUP BY 1, 2 ORDER BY 1, 2""").fetchall()
    assert [(metric, value) for _, metric, value in series] == [("new", 1)]
    assert sql.execute("SELECT status AS __text, n AS __value FROM v ORDER BY 1 LIMIT 1000").fetchall() == [("new", 2), ("paid", 1)]
    tables = sql.execute("""
        SELECT quote_ident(table_name) AS "table" FROM information_schema.tables
        WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog',
          '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental')
        AND table_type = 'BASE TABLE' AND quote_ident(table_schema) IN (
          SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
                               array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
               string_to_array(current_setting('search_path'), ',') s)""").fetchall()
    assert tables == [("orders",)]
    columns = sql.execute("SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns WHERE quote_ident(table_name) = 'v'").fetchall()
    assert columns == [("status", "text"), ("n", "bigint")]
    assert sql.execute("SELECT current_setting('server_version_num')::int/100 AS version").fetchone() == (1500,)


def test_set_config_and_listen(server, shop):
    sql = server.sql(shop)
    assert sql.execute("SELECT set_config('application_name', 'grid', false)").fetchone() == ("grid",)
    assert sql.execute("SHOW application_name").fetchone() == ("grid",)
    sql.execute("LISTEN changes")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        sql.execute("NOTIFY changes")


def test_rows_become_json_with_their_names(server, shop):
    sql = server.sql(shop)
    assert sql.execute("SELECT json_agg(v ORDER BY status) FROM v").fetchone() == ([{"status": "new", "n": 1}, {"status": "paid", "n": 1}],)
    assert sql.execute("SELECT row_to_json(t) FROM (SELECT status, n FROM v WHERE status = 'new') t").fetchone() == ({"status": "new", "n": 1},)
    joined = sql.execute("SELECT to_jsonb(b.*) FROM v a LEFT JOIN v b ON a.status = b.status AND b.status = 'new' ORDER BY a.status")
    assert joined.fetchall() == [({"status": "new", "n": 1},), (None,)]

"""The article's statements, unchanged, over what a driver writes: as SELECT, as view, as subscription;
and where we read a statement otherwise than PostgreSQL would, that the client hears of it."""

import pathlib
import re

import psycopg
import pytest

PLANS = pathlib.Path(__file__).parents[2] / "crates/sql/tests/plans"
TIMES = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00(:00)?)?")


def statement(number):
    """Text of the article, as the plans' test keeps it."""
    path = next(PLANS.glob(f"article_{number}_*.txt"))
    lines = [line[2:] for line in path.read_text().splitlines() if line.startswith("> ") or line == ">"]
    return "\n".join(lines).rstrip().removesuffix(";")


@pytest.fixture
def shop(server):
    """The article's streams in its database, and changes that each of its conditions is about."""
    client = server.mongo()
    database = client.real_time_app
    streams = ("user_activity_stream", "order_processing_stream", "business_intelligence_stream")
    with server.sql(database.name) as sql:
        # Other tests have the article's names in this database, too.
        for stream in streams:
            sql.execute(f"DROP CHANGE STREAM IF EXISTS {stream} CASCADE")
        client.drop_database(database.name)
        for number in "135":
            sql.execute(statement(number))
        fill(database)
        yield database
        for view in ("v", "o", "read"):
            sql.execute(f"DROP MATERIALIZED VIEW IF EXISTS {view} CASCADE")
        for stream in streams:
            sql.execute(f"DROP CHANGE STREAM {stream} CASCADE")
    client.drop_database(database.name)
    client.close()


def fill(database):
    users, orders, products, reviews = (database[name] for name in ("user_profiles", "orders", "products", "reviews"))
    users.insert_one({"_id": 1, "username": "ann", "email": "a@example.com", "status": "active", "created_at": "2026-01-01"})
    users.update_one({"_id": 1}, {"$set": {"email": "b@example.com"}})
    users.update_one({"_id": 1}, {"$set": {"status": "suspended"}})
    users.insert_one({"_id": 2, "email": "c@example.com", "status": "active", "profile_data": {"preferences": {"theme": "dark"}}})
    users.update_one({"_id": 2}, {"$set": {"profile_data.preferences.theme": "light"}})
    products.insert_one({"_id": 9, "name": "lamp", "inventory_count": 3, "low_stock_threshold": 5})
    reviews.insert_one({"_id": 4, "product_id": 9, "customer_id": "c", "rating": 1, "sentiment": "negative"})
    for n in range(3):
        orders.insert_one({"_id": n, "customer_id": "c", "status": "new", "total_amount": 19.99 + n,
                           "items": [{"product_id": 9, "quantity": 2}, {"product_id": 8, "quantity": 1}]})
    orders.update_one({"_id": 0}, {"$set": {"payment_status": "failed"}})
    orders.update_one({"_id": 1}, {"$set": {"status": "cancelled"}})
    orders.delete_one({"_id": 2})


def rows(cursor):
    """Rows without the times at which they were computed, in an order of their own."""
    return sorted(TIMES.sub("time", repr(row)) for row in cursor)


@pytest.mark.parametrize("number", "246")
def test_a_statement_answers_alike_as_select_view_and_subscription(server, shop, number):
    sql = server.sql(shop.name)
    text = statement(number)
    selected = rows(sql.execute(text))
    assert selected, "the changes are what the statement is about"
    sql.execute(f"CREATE MATERIALIZED VIEW v AS {text}")
    assert rows(sql.execute("SELECT * FROM v")) == selected
    # Continued by what is written now, too.
    shop.orders.insert_one({"_id": 20, "customer_id": "d", "status": "new", "total_amount": 5, "items": [{"product_id": 9, "quantity": 1}]})
    shop.user_profiles.insert_one({"_id": 20, "email": "d@example.com", "status": "active"})
    continued = rows(sql.execute(text))
    assert continued != selected
    assert rows(sql.execute("SELECT * FROM v")) == continued
    sql.execute(f"DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE ({text})")
    deltas = sql.execute("FETCH ALL FROM c").fetchall()
    assert all(diff == 1 for _, diff, *_ in deltas)
    assert rows(row[2:] for row in deltas) == continued


def test_what_the_statements_say(server, shop):
    sql = server.sql(shop.name, row_factory=psycopg.rows.dict_row)
    events = sql.execute(statement("2")).fetchall()
    assert len(events) >= 4
    orders = sql.execute(statement("4")).fetchall()
    assert {row["order_id"] for row in orders} >= {"0", "1"}
    (hour,) = sql.execute(statement("6")).fetchall()
    assert hour["new_orders"] == 3 and hour["new_user_registrations"] == 2 and hour["low_stock_alerts"] == 1
    assert hour["hourly_revenue"] == pytest.approx(3 * 19.99 + 3, abs=0.001) if isinstance(hour["hourly_revenue"], float) else str(hour["hourly_revenue"]) == "62.97"
    assert {alert["alert_type"] for alert in hour["real_time_alerts"]} == {"low_stock", "negative_review"}
    # Over the processing log, which is read when the query runs.
    sql.execute(statement("7"))
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        sql.execute(f"CREATE MATERIALIZED VIEW health AS {statement('7')}")


READINGS = {
    "T4": ("SELECT count(*) FROM CHANGE_STREAM('user_activity_stream') WHERE updated_fields ? 'profile_data.preferences'", [(1,)], "profile_data.preferences"),
    "T5": ("WITH a AS (SELECT id FROM o), b AS (SELECT *) SELECT count(*) FROM b", [(2,)], "reads"),
    "T6": ("SELECT id, id * 2 AS twice FROM o WHERE twice > 1", [(1, 2)], "twice"),
    "T7": ("SELECT CASE status WHEN 'cancelled' AND id > 0 THEN 'gone' ELSE 'here' END FROM o ORDER BY id", [("here",), ("gone",)], "WHEN"),
    "T8": ("SELECT s.operation_type, count(*) FROM CHANGE_STREAM('order_processing_stream') s WHERE s.document_key->>'_id' = '0' GROUP BY s.change_id ORDER BY 1",
           [("insert", 1), ("update", 1)], "operation_type"),
    "T9": ("SELECT json_object_keys('{\"a\": 1, \"b\": 2}'::json)", [(["a", "b"],)], "json_object_keys"),
    "T10": ("SELECT ';', 'a;b' /* ; */ FROM o WHERE id = 0 -- ;", [(";", "a;b")], None),
    "T11": ("SELECT COUNT(*) FILTER (WHERE id = 0)::DECIMAL / COUNT(*) FROM o", [("0.50000000000000000000",)], None),
}


@pytest.mark.parametrize("decision", READINGS)
def test_a_reading_of_our_own_comes_with_a_notice(server, shop, decision):
    query, expected, word = READINGS[decision]
    sql = server.sql(shop.name)
    heard = []
    sql.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    sql.execute("CREATE MATERIALIZED VIEW o AS SELECT _id::int AS id, document->>'status' AS status FROM orders")
    heard.clear()
    shown = [tuple(str(value) if decision == "T11" else value for value in row) for row in sql.execute(query)]
    assert shown == expected
    assert (word is None and not heard) or any(word in message for message in heard), heard
    if decision == "T10":
        return
    # A view is told of it as well, and reads it the same way.
    heard.clear()
    sql.execute(f"CREATE MATERIALIZED VIEW read AS {query}")
    assert (word is None and not heard) or any(word in message for message in heard), heard
    assert sorted(map(repr, sql.execute("SELECT * FROM read"))) == sorted(map(repr, sql.execute(query)))

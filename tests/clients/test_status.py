"""How everything does: the same numbers in SQL, as JSON, as metrics, in the terminal."""

import json
import subprocess
import time
import urllib.request

from conftest import BINARY


def rows(server, query):
    with server.sql() as connection:
        cursor = connection.execute(query)
        return [dict(zip([column.name for column in cursor.description], row)) for row in cursor.fetchall()]


def status(server):
    return json.load(urllib.request.urlopen(server.http + "api/status"))


def metrics(server):
    lines = urllib.request.urlopen(server.http + "metrics").read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def until(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.05)


def test_lag_rate_and_errors_are_the_same_everywhere(own_server):
    server, client = own_server, own_server.mongo()
    server.psql("""
        CREATE CHANGE STREAM good ON orders;
        CREATE CHANGE STREAM picky ON orders FILTER ((full_document->>'total')::int > 0);
        CREATE MATERIALIZED VIEW v WITH (on_error = 'skip') AS
          SELECT (full_document->>'total')::int AS total FROM CHANGE_STREAM('good');
        CREATE SINK k FROM CHANGE_STREAM('good') INTO 'collection:copies.orders';
    """)
    client.shop.orders.insert_many([{"_id": n, "total": n + 1} for n in range(40)])
    until(lambda: rows(server, "SELECT delivered, lag_events FROM sinks")[0] == {"delivered": 40, "lag_events": 0}, "deliveries")
    server.psql("ALTER SINK k PAUSE")
    client.shop.orders.insert_many([{"_id": n, "total": "none"} for n in range(40, 47)])
    until(lambda: rows(server, "SELECT errors FROM change_streams WHERE stream_name = 'picky'")[0]["errors"] == 7, "the filter's errors")

    streams = {row["stream_name"]: row for row in rows(server, "SELECT * FROM change_streams")}
    assert (streams["good"]["events"], streams["good"]["errors"], streams["good"]["lag_events"]) == (47, 0, 0)
    assert "integer" in streams["picky"]["last_error"]
    assert streams["good"]["rate"] > 0
    week_ms = 7 * 24 * 3600 * 1000
    assert week_ms - 600_000 < streams["good"]["retention_left_ms"] <= week_ms
    assert streams["good"]["kept_from"] <= streams["good"]["last_event_at"]

    [view] = rows(server, "SELECT * FROM views")
    assert (view["events_processed"], view["row_count"], view["failures"], view["lag_events"]) == (47, 40, 7, 0)
    assert view["rate"] > 0 and view["last_heartbeat"] >= view["last_event_at"]

    # The paused sink has everything after its position before it; its lag grows while it stands.
    [sink] = rows(server, "SELECT * FROM sinks")
    assert (sink["status"], sink["delivered"], sink["lag_events"]) == ("paused", 40, 7)
    until(lambda: rows(server, "SELECT lag_ms FROM sinks")[0]["lag_ms"] > max(sink["lag_ms"], 100), "an older lag")

    told = status(server)
    assert told["sinks"][0]["lag_events"] == 7 and told["sinks"][0]["lag_ms"] > 0
    assert {stream["name"]: stream["errors"] for stream in told["streams"]} == {"good": 0, "picky": 7}
    assert told["views"][0]["failures"] == 7 and told["views"][0]["fields"] == [{"name": "total", "type": "integer", "numeric": True}]
    measured = metrics(server)
    assert measured['headwater_sink_lag_events{db="shop",sink="k"}'] == 7
    assert measured['headwater_sink_up{db="shop",sink="k"}'] == 0
    assert measured['headwater_stream_errors_total{db="shop",stream="picky"}'] == 7
    assert measured['headwater_view_events_total{db="shop",view="v"}'] == 47
    address = server.http.removeprefix("http://").rstrip("/")
    printed = subprocess.run([BINARY, "status", "--http", address], capture_output=True, text=True, check=True).stdout
    assert "7 / " in next(line for line in printed.splitlines() if "shop.k" in line)

    server.psql("ALTER SINK k RESUME")
    until(lambda: rows(server, "SELECT delivered, lag_events FROM sinks")[0] == {"delivered": 47, "lag_events": 0}, "the sink")
    client.close()


def test_a_sink_that_has_nothing_to_do_still_says_that_it_lives(own_server):
    own_server.psql("CREATE CHANGE STREAM s ON orders; CREATE SINK k FROM CHANGE_STREAM('s') INTO 'collection:copies.orders'")
    beat = "SELECT last_heartbeat FROM event_processor_status WHERE processor_id = 'shop.k'"
    until(lambda: rows(own_server, beat)[0]["last_heartbeat"] is not None, "the first heartbeat")
    first = rows(own_server, beat)[0]["last_heartbeat"]
    until(lambda: rows(own_server, beat)[0]["last_heartbeat"] > first, "the next heartbeat")

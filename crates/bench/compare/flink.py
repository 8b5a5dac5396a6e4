"""The four queries in Flink SQL, over a file of JSON lines: `flink.py events.json COUNT`.

One job per query in this process's JVM, on as many slots as there are processors, results counted and
thrown away. What a job of no events takes is subtracted, so that starting the JVM's machinery is not counted.
"""

import os
import sys
import time

from pyflink.table import EnvironmentSettings, TableEnvironment

SOURCE = """CREATE TABLE {name} (
    `_id` BIGINT, kind STRING, customer_id STRING, pair BIGINT, status STRING, total_amount DECIMAL(18, 2), inventory_count INT,
    low_stock_threshold INT, rating DECIMAL(4, 2), items ARRAY<ROW<sku STRING>>, name STRING, product_id STRING, collection STRING, filler STRING
) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json')"""

GROUPED = "SELECT customer_id, COUNT(*) AS n, SUM(total_amount) AS total FROM {events} GROUP BY customer_id"

# The article's statement 6 as Flink can say it: its JSON objects as columns, its list of alerts as a count.
STATEMENT_6 = """
WITH cross_collection_events AS (
  SELECT CASE collection WHEN 'user_profiles' THEN 'user_activity' WHEN 'orders' THEN 'sales_activity'
      WHEN 'products' THEN 'inventory_activity' WHEN 'reviews' THEN 'customer_feedback' END AS metric_type,
    total_amount AS order_value, rating, inventory_count < low_stock_threshold AS low_stock_alert,
    `_id` / 1000000000 AS event_hour
  FROM {events}),
realtime_kpis AS (
  SELECT event_hour,
    COUNT(*) FILTER (WHERE metric_type = 'user_activity') AS total_user_events,
    COUNT(*) FILTER (WHERE metric_type = 'sales_activity') AS new_orders,
    SUM(order_value) FILTER (WHERE metric_type = 'sales_activity') AS hourly_revenue,
    AVG(order_value) FILTER (WHERE metric_type = 'sales_activity') AS avg_order_value,
    COUNT(*) FILTER (WHERE metric_type = 'inventory_activity' AND low_stock_alert) AS low_stock_alerts,
    COUNT(*) FILTER (WHERE metric_type = 'customer_feedback') AS new_reviews,
    AVG(rating) FILTER (WHERE metric_type = 'customer_feedback') AS avg_rating_hour,
    COUNT(*) FILTER (WHERE (metric_type = 'inventory_activity' AND low_stock_alert) OR (metric_type = 'customer_feedback' AND rating <= 2)) AS alerts
  FROM cross_collection_events GROUP BY event_hour)
SELECT event_hour, ROUND(hourly_revenue, 2) AS hourly_revenue, ROUND(avg_order_value, 2) AS avg_order_value, low_stock_alerts, new_reviews,
  ROUND(avg_rating_hour, 2) AS avg_rating,
  CASE WHEN new_orders > 50 THEN 'high_activity' WHEN new_orders > 20 THEN 'normal_activity' ELSE 'low_activity' END AS level,
  CASE WHEN low_stock_alerts > 0 THEN 'restock_required' WHEN alerts > 5 THEN 'multiple_alerts' ELSE 'normal_operations' END AS operational_status,
  total_user_events + new_orders + new_reviews AS events_processed
FROM realtime_kpis"""

QUERIES = {
    "filter and three fields": ("id BIGINT, status STRING, total DECIMAL(18, 2)", "SELECT `_id`, status, total_amount FROM {events} WHERE kind = 'a'"),
    "GROUP BY of 100,000 keys": ("k STRING, n BIGINT, total DECIMAL(38, 2)", GROUPED),
    "join of two streams by key": (
        "a BIGINT, b BIGINT",
        "SELECT x.`_id`, y.`_id` FROM (SELECT * FROM {events} WHERE `_id` % 2 = 0) x JOIN (SELECT * FROM {events} WHERE `_id` % 2 = 1) y ON x.pair = y.pair",
    ),
    "the article's statement 6": (
        "event_hour BIGINT, hourly_revenue DECIMAL(38, 2), avg_order_value DECIMAL(38, 2), low_stock_alerts BIGINT, new_reviews BIGINT, avg_rating DECIMAL(38, 2), "
        "level STRING, operational_status STRING, events_processed BIGINT",
        STATEMENT_6,
    ),
}


def seconds(environment, sink, query):
    begun = time.perf_counter()
    environment.execute_sql(f"INSERT INTO {sink} {query}").wait()
    return time.perf_counter() - begun


def main(path, count):
    environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    configuration = environment.get_config()
    configuration.set("parallelism.default", str(os.cpu_count()))
    configuration.set("table.exec.mini-batch.enabled", "true")
    configuration.set("table.exec.mini-batch.allow-latency", "100 ms")
    configuration.set("table.exec.mini-batch.size", "1000")
    empty = path + ".empty"
    open(empty, "w").close()
    environment.execute_sql(SOURCE.format(name="events", path=path))
    environment.execute_sql(SOURCE.format(name="nothing", path=empty))
    for number, (name, (columns, query)) in enumerate(QUERIES.items()):
        environment.execute_sql(f"CREATE TABLE sink{number} ({columns}) WITH ('connector' = 'blackhole')")
        seconds(environment, f"sink{number}", query.format(events="nothing"))
        overhead = seconds(environment, f"sink{number}", query.format(events="nothing"))
        took = seconds(environment, f"sink{number}", query.format(events="events"))
        name = f"Flink, {os.cpu_count()} slots: {name}"
        if took < 2 * overhead:
            print(f"{name:<72} too few events: {took:.1f} s, of which a job of none takes {overhead:.1f} s", flush=True)
        else:
            print(f"{name:<72} {count / (took - overhead):>12,.0f} events/s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

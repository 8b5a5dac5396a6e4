//! The demo's streams and views. Each works in psql as it stands here.

/// Run in order when the demo starts.
pub const STATEMENTS: [&str; 6] = [
    "CREATE CHANGE STREAM user_activity_stream ON user_profiles
     WITH (full_document = 'updateLookup', full_document_before_change = 'whenAvailable',
           operation_types = ARRAY['insert', 'update', 'delete'])
     FILTER (operation_type <> 'update' OR updated_fields ? 'status' OR updated_fields ? 'profile_data.preferences')",
    "CREATE CHANGE STREAM order_processing_stream ON orders
     WITH (full_document = 'updateLookup', operation_types = ARRAY['insert', 'update'])
     FILTER (operation_type = 'insert' OR updated_fields ? 'status')",
    "CREATE CHANGE STREAM business_intelligence_stream ON DATABASE real_time_app
     WITH (full_document = 'updateLookup', operation_types = ARRAY['insert', 'update', 'delete'])
     FILTER (namespace_collection IN ('user_profiles', 'orders', 'products', 'reviews'))",
    "CREATE MATERIALIZED VIEW sales AS
     SELECT full_document->>'status' AS status, count(*) AS events,
            sum((full_document->>'total_cents')::bigint) AS cents,
            max((full_document->>'total_cents')::bigint) AS largest
     FROM CHANGE_STREAM('order_processing_stream') GROUP BY 1",
    "CREATE MATERIALIZED VIEW activity AS
     SELECT namespace_collection AS collection, operation_type AS operation, count(*) AS events
     FROM CHANGE_STREAM('business_intelligence_stream') GROUP BY 1, 2",
    "CREATE MATERIALIZED VIEW orders_now AS
     SELECT document->>'status' AS status, count(*) AS orders, sum((document->>'total_cents')::bigint) AS cents
     FROM orders GROUP BY 1",
];

pub const READ_SALES: &str = "SELECT status, events, cents, largest FROM sales ORDER BY status";
pub const READ_ACTIVITY: &str = "SELECT collection, operation, events FROM activity ORDER BY collection, operation";
pub const READ_ORDERS_NOW: &str = "SELECT status, orders, cents FROM orders_now ORDER BY status";

//! A shop's change-stream manager as one program: users, orders, stock and a live dashboard, each by
//! handlers that keep their place, are retried, and stand in order per document.
//!
//! ```text
//! cargo run -p engine --example article
//! ```
//!
//! The effects are documents in other collections, written under the change's own id, so that a
//! repeated delivery changes nothing.

use std::collections::BTreeMap;

use document::{Doc, DocBuf, Raw, Value};
use engine::documents::{Caller, Modification, UpdateStatement, Write, WriteBatch};
use engine::{Change, Error, Failure, Headwater, Namespace, Options};
use tokio::sync::broadcast;

pub const APP: &str = "realtime_application";

/// What the browser is sent.
pub type Dashboard = broadcast::Receiver<String>;

/// A field of a document as text; empty if it is not there.
fn text<'a>(doc: Option<&'a DocBuf>, field: &str) -> &'a str {
    doc.and_then(|doc| doc.get(field)?.as_str()).unwrap_or_default()
}

fn id(change: &Change) -> Value {
    change.key().get("_id").map_or(Value::Null, Raw::to_value)
}

#[derive(Clone)]
struct Manager {
    db: Headwater,
    dashboard: broadcast::Sender<String>,
}

impl Manager {
    fn calls<R, M: Fn(Manager, Change) -> R>(&self, method: M) -> impl Fn(Change) -> R + use<R, M> {
        let manager = self.clone();
        move |change| method(manager.clone(), change)
    }

    async fn update(&self, collection: &str, filter: Doc, update: Doc, upsert: bool) -> Result<(), Failure> {
        let update = UpdateStatement {
            upsert,
            ..UpdateStatement::new(filter.to_buf(), Modification::Document(update.to_buf()))
        };
        let batch = WriteBatch::on(Namespace::new(APP, collection), [Write::Update(update)]);
        let report = self.db.write(&Caller::default(), batch).await?;
        report.errors().next().map_or(Ok(()), |(_, error)| Err(Failure::retry(error)))
    }

    /// Records an effect once, however often the change is delivered.
    async fn record(&self, collection: &str, change: &Change, what: &str, fields: Doc) -> Result<(), Failure> {
        let key = Doc::new().with("_id", format!("{}:{what}", change.id()));
        let effect = Doc::new().with("kind", what).with("of", id(change)).with("at", Value::Date(change.time_ms()));
        let effect = Doc(effect.0.into_iter().chain(fields.0).collect());
        self.update(collection, key, Doc::new().with("$setOnInsert", Value::Document(effect)), true).await
    }

    // ---- users ---------------------------------------------------------------------------------

    async fn user_registered(self, change: Change) -> Result<(), Failure> {
        let user = change.document();
        if text(user, "email").is_empty() {
            return Err(Failure::refuse("a user without an e-mail address cannot be welcomed"));
        }
        let to = Doc::new().with("to", text(user, "email"));
        self.record("outgoing_mail", &change, "welcome", to).await?;
        self.record("analytics", &change, "user_registered", Doc::new()).await
    }

    async fn user_changed(self, change: Change) -> Result<(), Failure> {
        let (before, now) = (change.before(), change.document());
        if change.touches("email") {
            let request = Doc::new().with("oldEmail", text(before, "email")).with("newEmail", text(now, "email"));
            self.record("email_verification_requests", &change, "email_changed", request).await?;
            let pending =
                Doc::new().with("$set", Value::Document(Doc::new().with("emailVerificationStatus", "pending")));
            self.update("user_profiles", Doc::new().with("_id", id(&change)), pending, false).await?;
        }
        if change.touches("status") {
            let what = match (text(before, "status"), text(now, "status")) {
                (_, "suspended") => "user_suspended",
                ("suspended", "active") => "user_reactivated",
                (_, "deleted") => "user_deleted",
                _ => "status_changed",
            };
            let status = Doc::new().with("old", text(before, "status")).with("new", text(now, "status"));
            self.record("notifications", &change, what, status).await?;
        }
        if change.touches("profile_data.preferences") {
            self.record("notifications", &change, "preferences_changed", Doc::new()).await?;
        }
        self.record("analytics", &change, "user_updated", Doc::new()).await
    }

    // ---- orders --------------------------------------------------------------------------------

    async fn order_created(self, change: Change) -> Result<(), Failure> {
        let order = change.document().ok_or_else(|| Failure::refuse("an order without its document"))?;
        let items = order.get("items").and_then(Raw::as_array);
        for item in items.into_iter().flat_map(|items| items.values()).filter_map(Raw::as_document) {
            let product = item.get("product_id").map_or(Value::Null, Raw::to_value);
            let quantity = item.get("quantity").and_then(Raw::as_whole).unwrap_or(1);
            // The order's id in the filter makes the second delivery find nothing to change.
            let filter = Doc::new()
                .with("_id", product)
                .with("reserved_by", Value::Document(Doc::new().with("$ne", id(&change))));
            let reserve = Doc::new()
                .with("$inc", Value::Document(Doc::new().with("inventory_count", -quantity)))
                .with("$push", Value::Document(Doc::new().with("reserved_by", id(&change))));
            self.update("products", filter, reserve, false).await?;
        }
        if text(Some(order), "payment_method") == "credit_card" {
            self.record("payments", &change, "payment_started", Doc::new()).await?;
        }
        self.record("outgoing_mail", &change, "order_confirmation", Doc::new()).await?;
        self.record("analytics", &change, "order_created", Doc::new()).await
    }

    async fn order_changed(self, change: Change) -> Result<(), Failure> {
        for field in ["status", "payment_status", "fulfillment_status"] {
            if change.touches(field) {
                let what = match (field, text(change.document(), field)) {
                    ("payment_status", "failed") => "payment_failed".to_owned(),
                    (field, value) => format!("{field}_{value}"),
                };
                self.record("notifications", &change, &what, Doc::new()).await?;
            }
        }
        Ok(())
    }

    // ---- everything ----------------------------------------------------------------------------

    async fn broadcast(self, change: Change) -> Result<(), Failure> {
        // Nobody looking is no failure.
        let _ = self.dashboard.send(document::json::to_plain_string(Raw::Document(change.event().as_doc())));
        Ok(())
    }
}

/// Registers every handler. Their names keep their place across restarts.
pub async fn start(db: &Headwater) -> Result<Dashboard, Error> {
    let (dashboard, receiver) = broadcast::channel(1024);
    let manager = Manager { db: db.clone(), dashboard };
    let users = db.handle("user-registered").collection(APP, "user_profiles").operations(&["insert"]);
    users.start(manager.calls(Manager::user_registered)).await?;
    let users = db.handle("user-changed").collection(APP, "user_profiles").operations(&["update"]).with_before();
    let users = users.updated_fields(&["email", "status", "profile_data.preferences"]);
    users.start(manager.calls(Manager::user_changed)).await?;
    let orders = db.handle("order-created").collection(APP, "orders").operations(&["insert"]);
    orders.start(manager.calls(Manager::order_created)).await?;
    let orders = db.handle("order-changed").collection(APP, "orders").operations(&["update"]);
    let orders = orders.updated_fields(&["status", "payment_status", "fulfillment_status"]);
    orders.start(manager.calls(Manager::order_changed)).await?;
    let name = ["$ns.coll", "_", "$operationType"].map(Value::from).to_vec();
    let name = Doc::new().with("$concat", name);
    let shown = Doc::new().with("eventType", Value::Document(name)).with("documentKey", 1).with("fullDocument", 1);
    let everything = db.handle("dashboard").database(APP).operations(&["insert", "update"]);
    let everything = everything.pipeline(vec![Doc::new().with("$project", Value::Document(shown)).to_buf()]);
    everything.start(manager.calls(Manager::broadcast)).await?;
    Ok(receiver)
}

/// Counts the dashboard's updates by type until it has been quiet for a while.
pub async fn watch(mut dashboard: Dashboard) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let quiet = std::time::Duration::from_secs(2);
    while let Ok(Ok(update)) = tokio::time::timeout(quiet, dashboard.recv()).await {
        let kind = update.split("\"eventType\": \"").nth(1).and_then(|rest| rest.split('"').next());
        *seen.entry(kind.unwrap_or("unknown").to_owned()).or_default() += 1;
    }
    seen
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = Headwater::open(Options::new("./article-data"))?;
    let dashboard = start(&db).await?;
    let now = db.clock().now_ms();
    let user =
        Doc::new().with("email", "john@example.com").with("status", "active").with("created_at", Value::Date(now));
    db.insert(Namespace::new(APP, "user_profiles"), vec![user.with("_id", now).to_buf()]).await?;
    let order = Doc::new().with("_id", now).with("status", "pending").with("payment_method", "credit_card");
    db.insert(Namespace::new(APP, "orders"), vec![order.to_buf()]).await?;
    let mut out = std::io::stdout().lock();
    for (kind, count) in watch(dashboard).await {
        std::io::Write::write_fmt(&mut out, format_args!("{kind}: {count}\n"))?;
    }
    db.close();
    Ok(())
}

//! The example of handlers, run: every effect once, across a restart and with failures.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../examples/article.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod article;

use article::APP;
use document::{Doc, DocBuf, Raw, Value};
use engine::documents::{Caller, Find, Modification, UpdateStatement, Write, WriteBatch};
use engine::{BatchLimit, Headwater, Namespace, Options};

async fn insert(db: &Headwater, collection: &str, doc: Doc) {
    db.insert(Namespace::new(APP, collection), vec![doc.to_buf()]).await.unwrap();
}

async fn set(db: &Headwater, collection: &str, id: i32, fields: Doc) {
    let update = Doc::new().with("$set", Value::Document(fields)).to_buf();
    let statement = UpdateStatement::new(Doc::new().with("_id", id).to_buf(), Modification::Document(update));
    let batch = WriteBatch::on(Namespace::new(APP, collection), [Write::Update(statement)]);
    assert_eq!(db.write(&Caller::default(), batch).await.unwrap().errors().count(), 0);
}

/// The values of a field, sorted.
async fn field(db: &Headwater, collection: &str, name: &str) -> Vec<String> {
    let find = Find::new(Namespace::new(APP, collection), DocBuf::default());
    let mut cursor = db.find(&Caller::default(), find).unwrap();
    let batch = cursor.next_batch(BatchLimit::default(), None).await.unwrap();
    let shown = |doc: &DocBuf| document::json::to_plain_string(doc.get(name).unwrap_or(Raw::Null)).replace('"', "");
    let mut found: Vec<String> = batch.documents.iter().map(shown).collect();
    found.sort();
    found
}

async fn until(db: &Headwater, collection: &str, name: &str, wanted: &[&str]) {
    let mut found = Vec::new();
    for _ in 0..1500 {
        found = field(db, collection, name).await;
        if found == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{collection}.{name} is {found:?}, not {wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_does_all_its_work_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = Headwater::open(Options::new(dir.path())).unwrap();
    let dashboard = article::start(&db).await.unwrap();
    insert(&db, "products", Doc::new().with("_id", "p1").with("inventory_count", 10)).await;
    let preferences = Doc::new().with("theme", "dark");
    let profile = Doc::new().with("preferences", Value::Document(preferences));
    let user = Doc::new().with("_id", 1).with("email", "john@example.com").with("status", "active");
    insert(&db, "user_profiles", user.with("profile_data", Value::Document(profile))).await;
    set(
        &db,
        "user_profiles",
        1,
        Doc::new().with("email", "john.doe@example.com").with("profile_data.preferences.theme", "light"),
    )
    .await;
    let item = Doc::new().with("product_id", "p1").with("quantity", 2);
    let order = Doc::new().with("_id", 7).with("payment_method", "credit_card").with("status", "pending");
    insert(&db, "orders", order.with("items", Value::Array(vec![Value::Document(item)]))).await;
    until(&db, "email_verification_requests", "oldEmail", &["john@example.com"]).await;
    until(&db, "email_verification_requests", "newEmail", &["john.doe@example.com"]).await;
    until(&db, "user_profiles", "emailVerificationStatus", &["pending"]).await;
    until(&db, "notifications", "kind", &["preferences_changed"]).await;
    until(&db, "outgoing_mail", "kind", &["order_confirmation", "welcome"]).await;
    until(&db, "payments", "kind", &["payment_started"]).await;
    until(&db, "products", "inventory_count", &["8"]).await;
    until(&db, "analytics", "kind", &["order_created", "user_registered", "user_updated"]).await;
    let seen = article::watch(dashboard).await;
    assert_eq!(seen["orders_insert"], 1);
    assert_eq!(seen["user_profiles_update"], 2, "the change, and that verification is pending");
    db.close();
    drop(db);
    // While the program is away the log is kept for its handlers.
    let db = Headwater::open(Options::new(dir.path())).unwrap();
    set(&db, "user_profiles", 1, Doc::new().with("status", "suspended")).await;
    set(&db, "user_profiles", 1, Doc::new().with("status", "active")).await;
    set(&db, "orders", 7, Doc::new().with("payment_status", "failed")).await;
    insert(&db, "user_profiles", Doc::new().with("_id", 2)).await;
    article::start(&db).await.unwrap();
    let wanted = ["payment_failed", "preferences_changed", "user_reactivated", "user_suspended"];
    until(&db, "notifications", "kind", &wanted).await;
    until(&db, "products", "inventory_count", &["8"]).await;
    // The user without an address is a dead letter, under the name that any driver reads.
    let find = Find::new(Namespace::new("config", "dead_letters"), DocBuf::default());
    let mut letters = Vec::new();
    while letters.is_empty() {
        let mut cursor = db.find(&Caller::default(), find.clone()).unwrap();
        letters = cursor.next_batch(BatchLimit::default(), None).await.unwrap().documents;
    }
    assert_eq!(letters[0].get("sink_name").and_then(Raw::as_str), Some("handlers.user-registered"));
    assert_eq!(letters[0].get("attempts").and_then(Raw::as_whole), Some(1));
    db.close();
}

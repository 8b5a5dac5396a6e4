//! Listing and ending what runs.

use super::*;

fn info(command: Doc) -> OperationInfo {
    OperationInfo {
        db: "shop".to_owned(),
        command: command.to_buf(),
        connection: 7,
        client: "127.0.0.1:5".parse().unwrap(),
        app_name: None,
        lsid: None,
    }
}

#[test]
fn a_command_is_listed_while_it_runs() {
    let operations = Arc::new(Operations::default());
    for (command, kind, namespace) in [
        (Doc::new().with("find", "orders"), "query", "shop.orders"),
        (Doc::new().with("getMore", 5i64).with("collection", "orders"), "getmore", "shop.orders"),
        (Doc::new().with("ping", 1), "command", "shop.$cmd"),
        (Doc::new().with("insert", "orders").with("x", "y".repeat(5000)), "insert", "shop.orders"),
    ] {
        let running = operations.begin(info(command), 0);
        let listed = operations.list("here");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].get("op").and_then(Value::as_str), Some(kind));
        assert_eq!(listed[0].get("ns").and_then(Value::as_str), Some(namespace));
        assert!(listed[0].to_buf().len() < 2048, "a long command is cut");
        drop(running);
        assert!(operations.list("here").is_empty());
    }
}

#[tokio::test]
async fn a_kill_reaches_its_command_whether_it_waits_already_or_not() {
    let operations = Arc::new(Operations::default());
    let (one, other) = (operations.begin(info(Doc::new()), 0), operations.begin(info(Doc::new()), 0));
    operations.kill(one.id);
    one.killed().await;
    let killing = Arc::clone(&operations);
    let id = other.id;
    let waiting = tokio::spawn(async move { other.killed().await });
    tokio::task::yield_now().await;
    killing.kill(id);
    waiting.await.unwrap();
    operations.kill(id);
}

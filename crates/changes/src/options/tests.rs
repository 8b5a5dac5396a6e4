//! Tests of `options`.

use super::*;
use crate::testing::doc;

const ORDERS: Target<'static> = Target { db: "shop", collection: Some("orders") };

fn parse(spec: &str, target: Target<'_>) -> Result<StreamOptions> {
    let spec = doc(&format!(r#"{{"spec": {spec}}}"#));
    StreamOptions::parse(spec.get("spec").expect("just written"), target)
}

#[track_caller]
fn refused(spec: &str, target: Target<'_>, code: i32, message: &str) {
    let error = parse(spec, target).expect_err(spec);
    assert_eq!((error.code, error.message.as_str()), (code, message), "{spec}");
}

#[test]
fn shapes() {
    for spec in ["5", r#""x""#, "null", "[]", "true"] {
        refused(spec, ORDERS, 6_188_500, "$changeStream must take a nested object");
    }
    refused(r#"{"foo": 1}"#, ORDERS, 40415, "BSON field '$changeStream.foo' is an unknown field.");
    refused(r#"{"foo": null}"#, ORDERS, 40415, "BSON field '$changeStream.foo' is an unknown field.");
    refused(
        r#"{"FullDocument": "default"}"#,
        ORDERS,
        40415,
        "BSON field '$changeStream.FullDocument' is an unknown field.",
    );
    refused(
        r#"{"resumeAfter": 5}"#,
        ORDERS,
        14,
        "BSON field '$changeStream.resumeAfter' is the wrong type 'int', expected type 'object'",
    );
    refused(
        r#"{"startAtOperationTime": "now"}"#,
        ORDERS,
        14,
        "BSON field '$changeStream.startAtOperationTime' is the wrong type 'string', expected type 'timestamp'",
    );
    refused(
        r#"{"allChangesForCluster": null}"#,
        ORDERS,
        14,
        "Field 'allChangesForCluster' should be a boolean value, but found: null",
    );
    refused(
        r#"{"fullDocument": "nosuch"}"#,
        ORDERS,
        2,
        "Enumeration value 'nosuch' for field '$changeStream.fullDocument' is not a valid value.",
    );
    refused(
        r#"{"fullDocument": true}"#,
        ORDERS,
        14,
        "BSON field '$changeStream.fullDocument' is the wrong type 'bool', expected type 'string'",
    );
}

#[test]
fn null_is_absent() {
    let spec = r#"{"fullDocument": null, "resumeAfter": null, "startAfter": null, "startAtOperationTime": null,
                   "fullDocumentBeforeChange": null, "showExpandedEvents": null}"#;
    assert_eq!(parse(spec, ORDERS), parse("{}", ORDERS));
    assert_eq!(parse("{}", ORDERS).map(|o| o.start), Ok(StartPoint::Now));
}

#[test]
fn values() {
    let options = parse(
        r#"{"fullDocument": "required", "fullDocumentBeforeChange": "whenAvailable", "showExpandedEvents": true,
            "startAtOperationTime": {"$timestamp": {"t": 5, "i": 2}}}"#,
        ORDERS,
    )
    .expect("valid");
    assert_eq!(options.full_document, FullDocument::Required);
    assert_eq!(options.before, BeforeChange::WhenAvailable);
    assert_eq!(options.start, StartPoint::At(ClusterTime::new(5, 2)));
    assert_eq!(options.shown, Shown { expanded: true, system: false });
}

#[test]
fn namespaces() {
    let target = |db, collection| Target { db, collection };
    for db in ["admin", "config", "local"] {
        let message = format!("$changeStream may not be opened on the internal {db} database");
        refused("{}", target(db, Some("x")), 73, &message);
        refused("{}", target(db, None), 73, &message);
    }
    let message = "$changeStream may not be opened on the internal shop.system.js collection";
    refused("{}", target("shop", Some("system.js")), 73, message);
    for name in ["systemindexes", "system_users", "$cmd", "a$b"] {
        assert!(parse("{}", target("shop", Some(name))).is_ok(), "{name}");
    }
    let cluster = r#"{"allChangesForCluster": true}"#;
    for (target, shown) in [
        (target("shop", None), "shop.$cmd.aggregate"),
        (target("shop", Some("c")), "shop.c"),
        (target("admin", Some("c")), "admin.c"),
    ] {
        let message = format!(
            "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, and with \
             no collection name; found {shown}"
        );
        refused(cluster, target, 72, &message);
    }
    assert_eq!(parse(cluster, target("admin", None)).map(|o| o.scope), Ok(Scope::Cluster));
    assert!(parse(r#"{"allowToRunOnConfigDB": true}"#, target("config", Some("c"))).is_ok());
}

#[test]
fn start_points() {
    let identifier = doc(r#"{"operationType": "drop"}"#);
    let token = |uuid, from_invalidate| {
        let parts = crate::token::TokenParts {
            cluster_time: ClusterTime::new(7, 7),
            txn_op_index: 0,
            from_invalidate,
            uuid,
            identifier: identifier.as_doc(),
            fragment: None,
        };
        format!(r#"{{"_data": "{}"}}"#, ResumeToken::event(&parts).data())
    };
    let uuid = Some(base::Uuid([1; 16]));
    let (plain, invalidate, whole_db) = (token(uuid, false), token(uuid, true), token(None, false));
    let code = |spec: String| parse(&spec, ORDERS).err().map(|error| error.code);
    assert_eq!(code(format!(r#"{{"resumeAfter": {plain}, "startAfter": {plain}}}"#)), Some(50865));
    let time = r#""startAtOperationTime": {"$timestamp": {"t": 5, "i": 2}}"#;
    assert_eq!(code(format!(r#"{{"resumeAfter": {plain}, {time}}}"#)), Some(40674));
    assert_eq!(code(format!(r#"{{"startAfter": {plain}, {time}}}"#)), Some(40674));
    assert_eq!(code(format!(r#"{{"resumeAfter": {invalidate}}}"#)), Some(260));
    assert_eq!(code(format!(r#"{{"startAfter": {invalidate}}}"#)), None);
    assert_eq!(code(format!(r#"{{"resumeAfter": {whole_db}}}"#)), Some(260));
    assert_eq!(
        parse(&format!(r#"{{"resumeAfter": {whole_db}}}"#), Target { db: "shop", collection: None }).err(),
        None
    );
    let mark = ResumeToken::high_water_mark(ClusterTime::new(7, 7)).data();
    assert_eq!(code(format!(r#"{{"resumeAfter": {{"_data": "{mark}"}}}}"#)), None);
}

#[test]
fn stages_by_name() {
    let check = |stages: &[&str], expected: Option<i32>| {
        let stages: Vec<_> = stages.iter().map(|stage| doc(stage)).collect();
        let stages: Vec<_> = stages.iter().map(|stage| stage.as_doc()).collect();
        assert_eq!(check_stages(&stages).err().map(|error| error.code), expected, "{stages:?}");
    };
    check(&[], None);
    check(&[r#"{"$match": {}}"#, r#"{"$set": {"a": 1}}"#, r#"{"$redact": "$$KEEP"}"#], None);
    check(&[r#"{"$group": {"_id": 1}}"#], Some(20));
    check(&[r#"{"$match": {}}"#, r#"{"$out": "z"}"#], Some(20));
    check(&[r#"{"$changeStream": {}}"#], Some(40602));
    check(&[r#"{"$nosuch": 1}"#], Some(40324));
    check(&[r#"{"$group": {}}"#, r#"{"$nosuch": 1}"#], Some(40324));
    check(&["{}"], Some(40323));
    check(&[r#"{"$match": {}, "$project": {}}"#], Some(40323));
    check(&[r#"{"$currentOp": {}}"#], Some(73));
    check(&[r#"{"$changeStreamSplitLargeEvent": {}}"#], None);
    check(&[r#"{"$changeStreamSplitLargeEvent": {}}"#, r#"{"$match": {}}"#], Some(7182802));
    check(&[r#"{"$changeStreamSplitLargeEvent": {}}"#, r#"{"$changeStreamSplitLargeEvent": {}}"#], Some(7182802));
    let bucket = doc(r#"{"$count": "n"}"#);
    let error = check_stages(&[bucket.as_doc()]).expect_err("refused");
    assert_eq!(error.message, "$group is not permitted in a $changeStream pipeline");
}

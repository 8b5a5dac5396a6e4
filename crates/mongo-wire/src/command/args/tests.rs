//! The codes of malformed arguments.

use document::{Doc, Value};

use super::*;

fn code(doc: &Doc, read: impl Fn(&Args<'_>) -> Result<()>) -> i32 {
    let buf = doc.to_buf();
    match Args::command("insert", buf.as_doc(), &["ordered", "documents", "limit"]) {
        Ok(args) => read(&args).map_or_else(|error| error.code(), |_| 0),
        Err(error) => error.code(),
    }
}

#[test]
fn codes_of_the_argument_parser() {
    let base = Doc::new().with("insert", "c").with("$db", "x");
    assert_eq!(code(&base.clone().with("foo", 1), |_| Ok(())), 40415);
    assert_eq!(code(&base.clone().with("ordered", true).with("ordered", true), |_| Ok(())), 40413);
    assert_eq!(
        code(&base, |args| args.array("documents")?.map(|_| ()).ok_or_else(|| args.missing("documents"))),
        40414
    );
    assert_eq!(code(&base.clone().with("ordered", "x"), |args| args.bool("ordered").map(|_| ())), 14);
    assert_eq!(code(&base.clone().with("ordered", Value::Null), |args| args.bool("ordered").map(|_| ())), 0);
    assert_eq!(code(&base.clone().with("limit", -1), |args| args.size("limit").map(|_| ())), 51024);
    assert_eq!(code(&base.clone().with("limit", 2.7), |args| args.size("limit").map(|_| ())), 0);
    assert_eq!(code(&base.with("documents", vec![5.into()]), |args| args.documents("documents").map(|_| ())), 14);
}

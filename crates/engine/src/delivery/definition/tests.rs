//! What is shown of definitions.

use super::without_password;

#[test]
fn passwords_are_not_shown() {
    let check = |url: &str, shown: &str| assert_eq!(without_password(url), shown);
    check("postgres://me:se@cret@h:5432/db?table=t", "postgres://me:********@h:5432/db?table=t");
    check("mongodb://u:p@a:1,b:2/db", "mongodb://u:********@a:1,b:2/db");
    check("postgres://h/db?password=x&table=t", "postgres://h/db?password=********&table=t");
    check("https://h:8080/a@b:c", "https://h:8080/a@b:c");
    check("file:out.jsonl", "file:out.jsonl");
}

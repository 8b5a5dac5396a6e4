//! Files that a crash left in the middle of a line.

use document::Doc;

use super::JsonLines;
use crate::envelope::Format;
use crate::event::Kind;
use crate::fixture;
use crate::target::{Delivery, Target};

fn delivery(n: i32) -> Delivery {
    fixture::delivery(vec![fixture::event(1, n, Kind::Upsert, Doc::new().with("n", n))], 2)
}

#[tokio::test]
async fn a_torn_line_is_cut_off_before_the_next_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    JsonLines::new(path.clone(), Format::Plain).deliver(&delivery(1)).await.unwrap();
    let torn = format!("{}{{\"n\": {}", std::fs::read_to_string(&path).unwrap(), "2".repeat(100_000));
    std::fs::write(&path, torn).unwrap();
    let file = JsonLines::new(path.clone(), Format::Plain);
    file.deliver(&delivery(3)).await.unwrap();
    file.deliver(&delivery(4)).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"n\": 1}\n{\"n\": 3}\n{\"n\": 4}\n");
}

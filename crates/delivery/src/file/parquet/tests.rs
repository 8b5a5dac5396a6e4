//! Folders as a restart finds them, and values that do or do not fit.

use std::path::Path;

use document::{Doc, Value};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::columns::unscaled;
use super::{Column, ColumnKind, Parquet, ParquetOptions};
use crate::FaultKind;
use crate::event::{Event, Kind, Position};
use crate::fixture::{delivery, event};
use crate::target::{Marks, Target};

fn target(dir: &Path, sink: &str) -> Parquet {
    let column = |name: &str, kind| Column { name: name.to_owned(), kind };
    let columns = vec![column("n", ColumnKind::Int32), column("at", ColumnKind::Timestamp { utc: true })];
    let directory = dir.join("t.parquet");
    Parquet::new(ParquetOptions { directory, columns, changes: true, sink: sink.to_owned() }).unwrap()
}

fn row(time: u64, n: i32) -> Event {
    event(time, n, Kind::Upsert, Doc::new().with("n", n).with("at", Value::Date(0)))
}

/// The files' names and the rows in them.
fn shown(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("t.parquet")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let show = |path: &std::path::PathBuf| {
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        format!("{}: {}", path.file_name().unwrap().to_str().unwrap(), rows.join(" "))
    };
    files.iter().map(show).collect()
}

fn marks(low: u64) -> Marks {
    Marks { low: Position::at(low), finished: Vec::new() }
}

#[tokio::test]
async fn a_restart_goes_on_after_the_last_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = target(dir.path(), "a");
    assert_eq!(first.marks(0).await.unwrap(), None);
    first.deliver(&delivery(vec![row(1, 10), row(2, 20)], 3)).await.unwrap();
    // The process dies in the middle of the next file.
    std::fs::write(dir.path().join("t.parquet/.part-00000002.tmp"), "PAR1 torn").unwrap();
    let second = target(dir.path(), "a");
    assert_eq!(second.marks(0).await.unwrap(), Some(marks(3)));
    second.deliver(&delivery(vec![row(2, 20), row(3, 30)], 4)).await.unwrap();
    // Another life of the sink begins anew, beside what is there.
    assert_eq!(target(dir.path(), "b").marks(0).await.unwrap(), None);
    let shown = shown(dir.path());
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(
        shown[0].starts_with("part-00000001.parquet: ") && shown[0].contains("n: 10") && shown[0].contains("n: 20")
    );
    assert!(
        shown[1].starts_with("part-00000002.parquet: ") && shown[1].contains("n: 30") && !shown[1].contains("n: 20")
    );
    assert!(shown[1].contains("headwater_operation: \"insert\""), "{shown:?}");
}

#[tokio::test]
async fn what_does_not_fit_its_column_is_refused_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = target(dir.path(), "a");
    let bad = event(1, 1, Kind::Upsert, Doc::new().with("n", "ten"));
    let fault = file.deliver(&delivery(vec![bad], 2)).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Refused, "\"ten\" does not fit the column \"n\" (Int32)")
    );
    file.deliver(&delivery(vec![row(2, 20)], 3)).await.unwrap();
    assert_eq!(shown(dir.path()).len(), 1);
}

#[test]
fn decimals_keep_every_digit_or_are_refused() {
    assert_eq!(unscaled("12.5", 10, 2), Some(1250));
    assert_eq!(unscaled("-0.01", 10, 2), Some(-1));
    assert_eq!(unscaled("1E+3", 10, 2), Some(100_000));
    assert_eq!(unscaled("1.500", 10, 2), Some(150));
    assert_eq!(unscaled("1.505", 10, 2), None);
    assert_eq!(unscaled("100000000", 10, 2), None);
    assert_eq!(unscaled("1E+2147483647", 10, 2), None);
    assert_eq!(unscaled("NaN", 10, 2), None);
}

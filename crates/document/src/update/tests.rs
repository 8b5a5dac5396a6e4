//! Tests of updates: tables of what a server answers, and laws over random updates.
//!
//! The tables (`tests/*.txt`) are blocks of `key: value` lines, one block per case; `PAD` stands for
//! 300 letters. `after` is compared byte for byte, `error` with its text.

mod laws;
mod limits;

use super::{Outcome, Update, UpdateDescription, upsert};
use crate::collation::Collation;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::json::parse_extended_json;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};

fn context() -> Context {
    Context { now_ms: 1_700_000_000_000, ..Context::default() }
}

fn doc(text: &str) -> DocBuf {
    parse_extended_json(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_buf()
}

/// A value of any kind: JSON wrapped in a document under the name `v`.
fn wrapped(text: &str) -> DocBuf {
    doc(&format!("{{\"v\": {text}}}"))
}

fn parse(update: &str, filters: &str, ctx: &Context) -> Result<Update> {
    let filters = wrapped(filters);
    let Some(Raw::Array(filters)) = filters.get("v") else { panic!("filters are an array") };
    let filters: Vec<RawDoc<'_>> = filters
        .values()
        .map(|filter| match filter {
            Raw::Document(filter) => filter,
            other => panic!("{other:?} is no filter"),
        })
        .collect();
    Update::parse(wrapped(update).get("v").unwrap(), &filters, ctx)
}

fn apply(before: &str, update: &str) -> Result<Outcome> {
    parse(update, "[]", &context())?.apply(&doc(before), None)
}

fn error_of(before: &str, update: &str) -> Error {
    match apply(before, update) {
        Err(error) => error,
        Ok(outcome) => panic!("{update} on {before} gave {outcome:?}"),
    }
}

/// One block of a table.
struct Case<'t>(&'t str);

impl<'t> Case<'t> {
    fn get(&self, key: &str) -> Option<&'t str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    }

    fn has(&self, word: &str) -> bool {
        self.0.lines().any(|line| line == word)
    }

    fn context(&self) -> Context {
        let collation =
            self.get("collation").map(|spec| Collation::parse(doc(spec).as_doc()).unwrap().expect("a locale"));
        Context { collation: collation.map(std::sync::Arc::new), ..context() }
    }

    fn run(&self) -> Result<Outcome> {
        let ctx = self.context();
        let update = parse(self.get("update").unwrap(), self.get("filters").unwrap_or("[]"), &ctx)?;
        match self.get("doc") {
            Some(before) => {
                let outcome = update.apply(&doc(before), self.get("position").map(|i| i.parse().unwrap()))?;
                if let Outcome::Updated { document, description } = &outcome {
                    laws::assert_replays(&doc(before), document, description);
                }
                Ok(outcome)
            }
            None => {
                let filter = doc(self.get("filter").unwrap());
                Ok(Outcome::Replaced { document: upsert(filter.as_doc(), &update, &ctx)?, sent: None })
            }
        }
    }

    /// What differs from the table, if anything.
    fn complaint(&self) -> Option<String> {
        let text = |key: &str| self.get(key);
        match (self.run(), text("error")) {
            (Err(error), Some(wanted)) => {
                let got = format!("{} {}", error.code, error.message);
                (got != wanted).then_some(got)
            }
            (Err(error), None) => Some(format!("error {} {}", error.code, error.message)),
            (Ok(outcome), Some(_)) => Some(format!("{outcome:?}")),
            (Ok(outcome), None) => {
                let wanted = self.wanted();
                (outcome != wanted).then(|| format!("got {outcome:?}\nnot {wanted:?}"))
            }
        }
    }

    fn wanted(&self) -> Outcome {
        if self.has("unchanged") {
            return Outcome::Unchanged;
        }
        let document = doc(self.get("after").unwrap());
        if self.has("replaced") || self.get("doc").is_none() {
            return Outcome::Replaced { document, sent: None };
        }
        let list = |key: &str| match wrapped(self.get(key).unwrap_or("[]")).to_doc().0.remove(0).1 {
            Value::Array(items) => items,
            other => panic!("{other:?} is no list"),
        };
        let description = UpdateDescription {
            updated_fields: doc(self.get("updated").unwrap_or("{}")).to_doc(),
            removed_fields: list("removed").iter().map(|path| path.as_str().unwrap().to_owned()).collect(),
            truncated_arrays: list("truncated").iter().map(truncation).collect(),
            disambiguated_paths: doc(self.get("disambiguated").unwrap_or("{}")).to_doc(),
        };
        Outcome::Updated { document, description }
    }
}

fn truncation(value: &Value) -> (String, i32) {
    let doc = value.as_document().unwrap();
    let length = doc.get("newSize").unwrap().as_whole().unwrap();
    (doc.get("field").unwrap().as_str().unwrap().to_owned(), length as i32)
}

fn check_table(table: &str) {
    let table = table.replace("PAD", &"x".repeat(300));
    let mut complaints = Vec::new();
    let mut count = 0;
    for block in table.split("\n\n").map(str::trim).filter(|block| block.starts_with("case:")) {
        count += 1;
        if let Some(complaint) = Case(block).complaint() {
            complaints.push(format!("{block}\n  {complaint}"));
        }
    }
    assert!(count > 10, "the table has been read");
    assert!(complaints.is_empty(), "{} of {count}\n\n{}", complaints.len(), complaints.join("\n\n"));
}

#[test]
fn operators_change_and_report_what_a_server_does() {
    check_table(include_str!("tests/operators.txt"));
}

#[test]
fn pipelines_are_reported_as_the_shorter_of_diff_and_replacement() {
    check_table(include_str!("tests/pipelines.txt"));
}

#[test]
fn upserts_start_from_what_the_filter_fixes() {
    check_table(include_str!("tests/upserts.txt"));
}

#[test]
fn details_that_no_server_table_covers() {
    check_table(include_str!("tests/details.txt"));
}

#[test]
fn a_description_touches_a_path_itself_below_and_above() {
    let description = UpdateDescription {
        updated_fields: Doc::new().with("a.b", 1),
        removed_fields: vec!["c".into()],
        truncated_arrays: vec![("l.m".into(), 2)],
        disambiguated_paths: Doc::new(),
    };
    for path in ["a", "a.b", "a.b.c", "c", "c.x", "l", "l.m", "l.m.0"] {
        assert!(description.touches(path), "{path}");
    }
    for path in ["a.c", "ab", "a.bc", "d", "cx", "l.n"] {
        assert!(!description.touches(path), "{path}");
    }
}

#[test]
fn a_description_is_written_with_all_four_fields_in_order() {
    let written = UpdateDescription::default().to_buf().to_doc();
    let names: Vec<&str> = written.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["updatedFields", "removedFields", "truncatedArrays", "disambiguatedPaths"]);
}

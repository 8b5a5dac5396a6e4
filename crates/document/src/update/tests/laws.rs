//! Laws over random documents and updates.

use base::Random;

use super::{context, doc};
use crate::context::Context;
use crate::diff;
use crate::raw::{DocBuf, Raw};
use crate::update::{Outcome, Update, UpdateDescription};
use crate::value::{Doc, Value};

const RUNS: u64 = 20_000;

/// Applies a description to the old document, as the reader of a change stream would.
pub(super) fn assert_replays(before: &DocBuf, after: &DocBuf, description: &UpdateDescription) {
    let mut replayed = Value::Document(before.to_doc());
    for path in &description.removed_fields {
        remove(&mut replayed, &components(description, path));
    }
    for (path, length) in &description.truncated_arrays {
        match find(&mut replayed, &components(description, path)) {
            Some(Value::Array(items)) => items.truncate(*length as usize),
            other => panic!("truncated {path} of {other:?}"),
        }
    }
    for (path, value) in description.updated_fields.iter() {
        set(&mut replayed, &components(description, path), value.clone());
    }
    let Value::Document(replayed) = replayed else { unreachable!("a document stays one") };
    assert_eq!(normal(&replayed), normal(&after.to_doc()), "{before:?} -> {after:?} by {description:?}");
}

fn components(description: &UpdateDescription, path: &str) -> Vec<String> {
    match description.disambiguated_paths.get(path) {
        Some(Value::Array(components)) => components
            .iter()
            .map(|component| match component {
                Value::Int32(index) => index.to_string(),
                other => other.as_str().expect("a name or an index").to_owned(),
            })
            .collect(),
        _ => path.split('.').map(str::to_owned).collect(),
    }
}

/// Field order is not told by a description; bits are.
fn normal(doc: &Doc) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Document(doc) => {
                let mut fields: Vec<_> = doc.iter().map(|(name, value)| (name.to_owned(), sorted(value))).collect();
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Value::Document(Doc(fields))
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    format!("{:?}", sorted(&Value::Document(doc.clone())))
}

fn step<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    match value {
        Value::Document(doc) => doc.get_mut(name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn find<'v>(root: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(root, |value, name| step(value, name))
}

fn set(root: &mut Value, path: &[String], new: Value) {
    let (last, parents) = path.split_last().expect("a path is not empty");
    match find(root, parents).unwrap_or_else(|| panic!("{path:?} has no parent")) {
        Value::Document(doc) => doc.set(last.as_str(), new),
        Value::Array(items) => {
            let index: usize = last.parse().expect("an index");
            if index >= items.len() {
                items.resize(index + 1, Value::Null);
            }
            items[index] = new;
        }
        other => panic!("{path:?} goes through {other:?}"),
    }
}

fn remove(root: &mut Value, path: &[String]) {
    let (last, parents) = path.split_last().expect("a path is not empty");
    match find(root, parents) {
        Some(Value::Document(doc)) => assert!(doc.remove(last).is_some(), "{path:?} was there"),
        other => panic!("{path:?} removed from {other:?}"),
    }
}

/// Random documents and updates over few names and values, so that they meet often.
struct Generator(Random);

impl Generator {
    fn pick<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.0.below(choices.len() as u64) as usize]
    }

    fn name(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "0", "1", "2"])
    }

    fn scalar(&mut self) -> Value {
        match self.0.below(8) {
            0 => Value::Null,
            1 => Value::from("x".repeat(self.0.below(40) as usize)),
            2 => Value::Double(1.0),
            3 => Value::Int64(2),
            4 => Value::Double(f64::NAN),
            _ => Value::Int32(self.0.below(4) as i32),
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.0.below(5) {
            0 | 1 if depth > 0 => Value::Document(self.document(depth - 1)),
            2 | 3 if depth > 0 => Value::Array((0..self.0.below(5)).map(|_| self.value(depth - 1)).collect()),
            _ => self.scalar(),
        }
    }

    fn document(&mut self, depth: u32) -> Doc {
        let mut doc = Doc::new();
        for _ in 0..self.0.below(5) {
            let name = self.name();
            if !doc.contains(name) {
                doc.push(name, self.value(depth));
            }
        }
        doc
    }

    fn stored(&mut self) -> DocBuf {
        let mut doc = Doc::new().with("_id", 1);
        doc.0.extend(self.document(3).0);
        doc.to_buf()
    }

    fn path(&mut self) -> String {
        let mut path = self.name().to_owned();
        for _ in 0..self.0.below(3) {
            path.push('.');
            path.push_str(match self.0.below(8) {
                0 => "$[]",
                1 => "$[e]",
                2 => "$",
                _ => self.name(),
            });
        }
        path
    }

    fn push_argument(&mut self) -> Value {
        let mut spec = Doc::new().with("$each", Value::Array((0..self.0.below(4)).map(|_| self.value(1)).collect()));
        if self.0.below(2) == 0 {
            spec.push("$position", self.0.below(7) as i32 - 3);
        }
        if self.0.below(2) == 0 {
            spec.push("$slice", self.0.below(7) as i32 - 3);
        }
        if self.0.below(3) == 0 {
            spec.push("$sort", 1);
        }
        Value::Document(spec)
    }

    fn modifier(&mut self) -> (&'static str, Doc) {
        let operators = [
            "$set",
            "$set",
            "$unset",
            "$inc",
            "$mul",
            "$min",
            "$max",
            "$rename",
            "$push",
            "$push",
            "$addToSet",
            "$pop",
            "$pull",
            "$pullAll",
            "$bit",
            "$currentDate",
            "$setOnInsert",
        ];
        let operator = self.pick(&operators);
        let mut fields = Doc::new();
        for _ in 0..=self.0.below(3) {
            let argument = match operator {
                "$rename" => Value::from(self.path()),
                "$push" if self.0.below(2) == 0 => self.push_argument(),
                "$addToSet" if self.0.below(2) == 0 => {
                    Doc::new().with("$each", Value::Array(vec![self.value(1), self.value(1)])).into()
                }
                "$pop" => Value::Int32(if self.0.below(2) == 0 { 1 } else { -1 }),
                "$pull" if self.0.below(2) == 0 => Doc::new().with("$gte", 1).into(),
                "$pullAll" => Value::Array(vec![self.value(1), self.value(1)]),
                "$bit" => Doc::new().with(self.pick(&["and", "or", "xor"]), self.0.below(9) as i32).into(),
                "$currentDate" => Value::Bool(true),
                "$inc" | "$mul" => Value::Int32(self.0.below(3) as i32),
                _ => self.value(2),
            };
            let path = self.path();
            if !fields.contains(&path) {
                fields.push(path, argument);
            }
        }
        (operator, fields)
    }

    /// Mostly valid, sometimes conflicting.
    fn update(&mut self) -> DocBuf {
        let mut update = Doc::new();
        for _ in 0..=self.0.below(3) {
            let (operator, fields) = self.modifier();
            if !update.contains(operator) {
                update.push(operator, fields);
            }
        }
        update.to_buf()
    }
}

#[test]
fn a_description_applied_to_the_old_document_gives_the_new_one() {
    let ctx = context();
    let filter = doc(r#"{"e": {"$gte": 1}}"#);
    let (mut updated, mut unchanged) = (0, 0);
    for seed in 0..RUNS {
        let mut generator = Generator(Random::seeded(seed));
        let (before, update) = (generator.stored(), generator.update());
        let uses_filter = format!("{update:?}").contains("$[e]");
        let filters = if uses_filter { vec![filter.as_doc()] } else { vec![] };
        let Ok(update) = Update::parse(Raw::Document(update.as_doc()), &filters, &ctx) else { continue };
        match update.apply(&before, Some(generator.0.below(3) as usize)) {
            Ok(Outcome::Updated { document, description }) => {
                updated += 1;
                assert!(!description.is_empty(), "seed {seed}: a change is told");
                assert_replays(&before, &document, &description);
                DocBuf::validate(document.bytes().clone()).expect("the new document is sound");
                DocBuf::validate(description.to_buf().bytes().clone()).expect("the description is sound");
            }
            Ok(Outcome::Unchanged) => unchanged += 1,
            Ok(Outcome::Replaced { .. }) => panic!("seed {seed}: operators do not replace"),
            Err(error) => assert!(error.code > 0, "seed {seed}"),
        }
    }
    assert!(updated > RUNS / 20 && unchanged > 100, "{updated} updated, {unchanged} unchanged");
}

#[test]
fn a_difference_applied_to_the_old_document_gives_the_new_one() {
    let mut described = 0;
    for seed in 0..RUNS {
        let mut generator = Generator(Random::seeded(seed));
        let before = generator.stored();
        let after = if generator.0.below(2) == 0 { generator.stored() } else { mutate(&before, &mut generator) };
        if let Some(description) = diff::describe(before.as_doc(), after.as_doc()) {
            described += 1;
            assert_replays(&before, &after, &description);
        }
    }
    assert!(described > RUNS / 20, "{described} described");
}

/// A copy with one field set, so that the difference is small.
fn mutate(before: &DocBuf, generator: &mut Generator) -> DocBuf {
    let mut after = before.to_doc();
    let name = generator.name();
    after.set(name, generator.value(2));
    after.to_buf()
}

#[test]
fn random_update_documents_never_panic() {
    for seed in 0..RUNS {
        let mut generator = Generator(Random::seeded(seed));
        let (before, operator) = (generator.stored(), generator.modifier().0);
        let mut fields = Doc::new();
        fields.push(generator.path(), generator.value(3));
        let update = Doc::new().with(operator, fields).to_buf();
        if let Ok(update) = Update::parse(Raw::Document(update.as_doc()), &[], &Context::default()) {
            let _ = update.apply(&before, None).map_err(|error| assert!(error.code > 0, "seed {seed}"));
        }
    }
}

//! Pipelines, projections and expressions against a real server's answers (`tests/*.txt`), and laws.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::json::{Dialect, parse_extended_json, to_extended_json};
use crate::projection::{Mode, Projection};
use crate::raw::Raw;
use crate::value::Value;

fn doc(json: &str) -> DocBuf {
    parse_extended_json(json).unwrap_or_else(|e| panic!("{json}: {e}")).to_buf()
}

fn text(doc: &DocBuf) -> String {
    to_extended_json(Raw::Document(doc.as_doc()), Dialect::Canonical)
}

#[derive(Default)]
struct Collections(HashMap<String, Vec<DocBuf>>);

impl Environment for Collections {
    fn collection(&self, _: Option<&str>, name: &str, _: Option<&Doc>) -> Result<DocStream<'_>> {
        let docs = self.0.get(name).map_or(&[][..], Vec::as_slice);
        Ok(Box::new(docs.iter().cloned().map(Ok)))
    }
}

impl Collections {
    fn aggregate(&self, from: &str, stages: &[RawDoc<'_>]) -> Result<Vec<DocBuf>> {
        let pipeline = Pipeline::parse(stages, &Context::default())?;
        pipeline.run(self.collection(None, from, None)?, self).collect()
    }

    /// The answer to one line of a script, as the script writes it.
    fn answer(&self, command: &str) -> Result<Doc> {
        let mut words = command.splitn(3, ' ');
        let (verb, collection, argument) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let argument = doc(argument);
        let argument = argument.get("v").unwrap();
        let docs = match verb {
            "agg" => {
                let stages: Vec<RawDoc<'_>> =
                    argument.as_array().unwrap().values().filter_map(Raw::as_document).collect();
                self.aggregate(collection, &stages)?
            }
            "find" => {
                let spec = argument.as_document().unwrap();
                let projection = Projection::parse(spec, &Context::default(), Mode::Find)?;
                let docs = self.0[collection].iter();
                docs.map(|doc| projection.apply(doc.as_doc(), None)).collect::<Result<_>>()?
            }
            _ => {
                let spec = Doc::new().with("_id", 0).with("v", argument.to_value());
                let stage = Doc::new().with("$project", spec).to_buf();
                let found = self.aggregate(collection, &[stage.as_doc()])?;
                return Ok(found[0].to_doc());
            }
        };
        Ok(Doc::new().with("v", docs.iter().map(|doc| Value::Document(doc.to_doc())).collect::<Vec<_>>()))
    }
}

/// Runs a script: `insert c {…}`, then a command line and its answer, `= {…}` or `! code message`.
fn check_script(script: &str) {
    let mut collections = Collections::default();
    let (mut command, mut failures) = ("", Vec::new());
    for line in script.lines() {
        if line.starts_with("##") {
            collections = Collections::default();
        } else if let Some(insert) = line.strip_prefix("insert ") {
            let (name, json) = insert.split_once(' ').unwrap();
            collections.0.entry(name.to_owned()).or_default().push(doc(json));
        } else if let Some(expected) = line.strip_prefix("= ") {
            let got = collections.answer(command).map(|doc| text(&doc.to_buf()));
            let expected = text(&doc(expected));
            if got.as_ref() != Ok(&expected) {
                failures.push(format!("{command}\n  expected {expected}\n  got      {got:?}"));
            }
        } else if let Some(expected) = line.strip_prefix("! ") {
            let code = expected.split(' ').next().unwrap().parse::<i32>().unwrap();
            let got = collections.answer(command);
            if got.as_ref().map_err(|e| e.code) != Err(code) {
                failures.push(format!("{command}\n  expected {expected}\n  got      {got:?}"));
            }
        } else if !line.starts_with('#') {
            command = line;
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn expressions_answer_like_the_server() {
    check_script(include_str!("tests/expressions.txt"));
}

#[test]
fn stages_answer_like_the_server() {
    check_script(include_str!("tests/stages.txt"));
}

#[test]
fn projections_answer_like_the_server() {
    check_script(include_str!("tests/projections.txt"));
}

#[test]
fn later_stages_and_operators() {
    check_script(include_str!("tests/more.txt"));
}

#[test]
fn positional_projection_takes_the_matched_element() {
    let spec = doc(r#"{"l.$": 1}"#);
    let projection = Projection::parse(spec.as_doc(), &Context::default(), Mode::Find).unwrap();
    let row = doc(r#"{"_id": 1, "l": [5, 6, 7], "x": 1}"#);
    let projected = projection.apply(row.as_doc(), Some(1)).unwrap();
    assert_eq!(text(&projected), text(&doc(r#"{"_id": 1, "l": [6]}"#)));
    assert_eq!(projection.apply(row.as_doc(), None).unwrap_err().code, 51246);
}

#[test]
fn merge_pipelines_see_the_new_document() {
    let stage = doc(
        r#"{"$merge": {"into": {"db": "d", "coll": "c"}, "whenMatched": [{"$set": {"n": {"$add": ["$n", "$$new.n"]}}}]}}"#,
    );
    let pipeline = Pipeline::parse(&[stage.as_doc()], &Context::default()).unwrap();
    let Some(Output::Merge(merge)) = pipeline.output() else { panic!("a merge") };
    assert_eq!(merge.target, Target { db: Some("d".to_owned()), collection: "c".to_owned() });
    let merged = merge.apply_pipeline(doc(r#"{"_id": 1, "n": 1}"#), doc(r#"{"_id": 1, "n": 2}"#).as_doc()).unwrap();
    assert_eq!(text(&merged), text(&doc(r#"{"_id": 1, "n": 3}"#)));
}

#[test]
fn a_limit_stops_pulling() {
    let stage = doc(r#"{"$limit": 2}"#);
    let pipeline = Pipeline::parse(&[stage.as_doc()], &Context::default()).unwrap();
    let input = (0..3).map(|i| {
        assert!(i < 2, "the third document is never asked for");
        Ok(DocBuf::default())
    });
    assert_eq!(pipeline.run(Box::new(input), &NoCollections).count(), 2);
}

/// Names of every operator, and some that are none.
fn operator() -> impl Strategy<Value = String> {
    let names: Vec<String> = crate::expression::operator_names()
        .chain([
            "$cond",
            "$and",
            "$or",
            "$ifNull",
            "$switch",
            "$let",
            "$map",
            "$filter",
            "$reduce",
            "$literal",
            "$sortArray",
        ])
        .map(str::to_owned)
        .collect();
    prop::sample::select(names)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        (-3..20i32).prop_map(Value::Int32),
        any::<f64>().prop_map(Value::Double),
        any::<[u8; 16]>().prop_map(|bytes| Value::Decimal128(crate::number::Decimal::from_bytes(bytes).to_bytes())),
        prop::sample::select(vec![
            "$a",
            "$b.c",
            "$$ROOT",
            "$$this",
            "x",
            "äß漢",
            "%Y-%m",
            "day",
            "int",
            "2024-02-29",
            "$$NOW"
        ])
        .prop_map(Value::from),
        any::<i64>().prop_map(Value::Date),
        any::<u64>().prop_map(Value::Timestamp),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::MinKey),
    ]
}

fn expression() -> impl Strategy<Value = Value> {
    let name = || {
        prop::sample::select(vec![
            "input",
            "in",
            "cond",
            "as",
            "date",
            "unit",
            "amount",
            "startDate",
            "endDate",
            "timezone",
            "format",
            "to",
            "n",
            "initialValue",
            "find",
            "replacement",
            "regex",
            "a",
            "b",
            "year",
            "month",
            "day",
            "field",
            "value",
            "inputs",
            "dateString",
            "chars",
            "vars",
            "binSize",
        ])
    };
    scalar().prop_recursive(4, 24, 4, move |inner| {
        let object = prop::collection::vec((name(), inner.clone()), 0..5)
            .prop_map(|fields| Value::Document(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()));
        let list = prop::collection::vec(inner, 0..4).prop_map(Value::Array);
        prop_oneof![
            (operator(), prop_oneof![object.clone(), list.clone()])
                .prop_map(|(name, argument)| Value::from(Doc::new().with(name, argument))),
            object,
            list,
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_expression_panics(expression in expression(), a in scalar(), b in scalar()) {
        let spec = Doc::new().with("v", expression).to_buf();
        let document = Doc::new().with("a", a).with("b", vec![Value::from(Doc::new().with("c", b))]).to_buf();
        if let Ok(parsed) = crate::expression::Expression::parse(spec.get("v").unwrap(), &Context::default()) {
            let _ = parsed.evaluate(document.as_doc());
        }
    }

    #[test]
    fn decimals_round_once(a in any::<i64>(), b in any::<i64>()) {
        use crate::number::Decimal;
        let sum = Decimal::from_i64(a).add(Decimal::from_i64(b));
        prop_assert_eq!(sum.to_string(), (i128::from(a) + i128::from(b)).to_string());
        let back = sum.subtract(Decimal::from_i64(b));
        prop_assert_eq!(back.to_i64(crate::number::Rounding::HalfEven), Some(a));
    }

    #[test]
    fn civil_dates_round_trip(ms in any::<i64>()) {
        let civil = crate::expression::date::civil::Civil::from_local_ms(ms);
        prop_assert_eq!(civil.to_local_ms(), Some(ms));
    }
}

//! `$out` and `$merge`: where results go. Parsed here, executed by the caller.

use std::sync::Arc;

use super::Pipeline;
use super::lookup::stage_list;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::evaluate_let;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::Doc;

/// The last stage of a pipeline that writes.
#[derive(Debug)]
pub enum Output {
    /// Replaces the whole collection.
    Out(Target),
    Merge(Box<Merge>),
}

/// A collection to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `None` is the pipeline's own database.
    pub db: Option<String>,
    pub collection: String,
}

/// A parsed `$merge`.
#[derive(Debug)]
pub struct Merge {
    pub target: Target,
    /// The fields that identify a document; `_id` if not given.
    pub on: Vec<String>,
    pub when_matched: WhenMatched,
    pub when_not_matched: WhenNotMatched,
    /// Unevaluated variables of the pipeline.
    variables: DocBuf,
    ctx: Context,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenMatched {
    Replace,
    KeepExisting,
    Merge,
    Fail,
    /// An update pipeline; see `Merge::apply_pipeline`.
    Pipeline(Vec<DocBuf>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenNotMatched {
    Insert,
    Discard,
    Fail,
}

impl Target {
    fn parse(stage: &str, value: Raw<'_>, code: i32) -> Result<Target> {
        let target = match value {
            Raw::String(collection) => Target { db: None, collection: collection.to_owned() },
            Raw::Document(doc) => {
                if let Some((name, _)) = doc.iter().find(|(name, _)| !matches!(*name, "db" | "coll")) {
                    return Err(Error::new(40415, format!("BSON field '{stage}.{name}' is an unknown field.")));
                }
                match (doc.get("db"), doc.get("coll")) {
                    (db @ (None | Some(Raw::String(_))), Some(Raw::String(collection))) => {
                        Target { db: db.and_then(Raw::as_str).map(str::to_owned), collection: collection.to_owned() }
                    }
                    _ => return Err(Error::new(code, format!("{stage} requires 'db' and 'coll' to be strings"))),
                }
            }
            other => {
                return Err(Error::new(
                    code,
                    format!("{stage} only supports a string or object argument, but found {}", other.type_name()),
                ));
            }
        };
        if target.collection.is_empty() || target.db.as_deref() == Some("") {
            return Err(Error::new(73, format!("Invalid {stage} target namespace")));
        }
        Ok(target)
    }
}

impl Output {
    pub(super) fn parse_out(value: Raw<'_>) -> Result<Output> {
        Target::parse("$out", value, 16990).map(Output::Out)
    }

    pub(super) fn parse_merge(value: Raw<'_>, ctx: &Context) -> Result<Output> {
        let plain = |target| Merge {
            target,
            on: vec!["_id".to_owned()],
            when_matched: WhenMatched::Merge,
            when_not_matched: WhenNotMatched::Insert,
            variables: Doc::new().with("new", "$$ROOT").to_buf(),
            ctx: ctx.clone(),
        };
        let spec = match value {
            Raw::String(_) => return Ok(Output::Merge(Box::new(plain(Target::parse("$merge", value, 51182)?)))),
            Raw::Document(spec) => spec,
            other => {
                return Err(Error::new(
                    51182,
                    format!("$merge only supports a string or object argument, not {}", other.type_name()),
                ));
            }
        };
        let into = spec
            .get("into")
            .ok_or_else(|| Error::new(40414, "BSON field '$merge.into' is missing but a required field"))?;
        let mut merge = plain(Target::parse("$merge", into, 51178)?);
        let mut variables = None;
        for (name, value) in spec.iter() {
            match name {
                "into" => {}
                "on" => merge.on = parse_on(value)?,
                "let" => match value {
                    Raw::Document(doc) => variables = Some(doc),
                    other => {
                        return Err(Error::type_mismatch(format!(
                            "BSON field '$merge.let' is the wrong type '{}', expected type 'object'",
                            other.type_name()
                        )));
                    }
                },
                "whenMatched" => merge.when_matched = parse_matched(value)?,
                "whenNotMatched" => merge.when_not_matched = parse_not_matched(value)?,
                _ => return Err(Error::new(40415, format!("BSON field '$merge.{name}' is an unknown field."))),
            }
        }
        merge.check_modes(variables)?;
        Ok(Output::Merge(Box::new(merge)))
    }

    pub fn target(&self) -> &Target {
        match self {
            Output::Out(target) => target,
            Output::Merge(merge) => &merge.target,
        }
    }
}

fn parse_on(value: Raw<'_>) -> Result<Vec<String>> {
    match value {
        Raw::String(name) => Ok(vec![name.to_owned()]),
        Raw::Array(items) => {
            let mut names: Vec<String> = Vec::new();
            for item in items.values() {
                let Raw::String(name) = item else {
                    return Err(Error::new(
                        51134,
                        format!("$merge 'on' array elements must be strings, but found {}", item.type_name()),
                    ));
                };
                if names.iter().any(|seen| seen == name) {
                    return Err(Error::new(31465, format!("Found a duplicate field '{name}'")));
                }
                names.push(name.to_owned());
            }
            if names.is_empty() {
                return Err(Error::new(51187, "If explicitly specifying $merge 'on', must include at least one field"));
            }
            Ok(names)
        }
        other => Err(Error::new(
            51186,
            format!(
                "$merge 'on' field  must be either a string or an array of strings, but found {}",
                other.type_name()
            ),
        )),
    }
}

fn unknown_mode(field: &str, value: &str) -> Error {
    Error::bad_value(format!("Enumeration value '{value}' for field '{field}' is not a valid value."))
}

fn parse_matched(value: Raw<'_>) -> Result<WhenMatched> {
    match value {
        Raw::String("replace") => Ok(WhenMatched::Replace),
        Raw::String("keepExisting") => Ok(WhenMatched::KeepExisting),
        Raw::String("merge") => Ok(WhenMatched::Merge),
        Raw::String("fail") => Ok(WhenMatched::Fail),
        Raw::String(other) => Err(unknown_mode("$merge.whenMatched", other)),
        Raw::Array(_) => Ok(WhenMatched::Pipeline(stage_list("$merge", value)?)),
        other => Err(Error::new(
            51191,
            format!("$merge 'whenMatched' field  must be either a string or an array, but found {}", other.type_name()),
        )),
    }
}

fn parse_not_matched(value: Raw<'_>) -> Result<WhenNotMatched> {
    match value {
        Raw::String("insert") => Ok(WhenNotMatched::Insert),
        Raw::String("discard") => Ok(WhenNotMatched::Discard),
        Raw::String("fail") => Ok(WhenNotMatched::Fail),
        Raw::String(other) => Err(unknown_mode("$merge.whenNotMatched", other)),
        other => Err(Error::type_mismatch(format!(
            "BSON field '$merge.whenNotMatched' is the wrong type '{}', expected type 'string'",
            other.type_name()
        ))),
    }
}

impl Merge {
    fn check_modes(&mut self, variables: Option<RawDoc<'_>>) -> Result<()> {
        let restricted = matches!(self.when_matched, WhenMatched::KeepExisting | WhenMatched::Fail);
        if restricted && self.when_not_matched != WhenNotMatched::Insert {
            return Err(Error::new(
                51181,
                "Combination of $merge modes 'whenMatched' and 'whenNotMatched' is not supported",
            ));
        }
        let WhenMatched::Pipeline(stages) = &self.when_matched else {
            return match variables {
                Some(_) => Err(Error::new(51199, "Cannot use 'let' variables with this 'whenMatched' mode")),
                None => Ok(()),
            };
        };
        if let Some(variables) = variables {
            let mut all = variables.to_doc();
            if let Some(new) = all.get("new")
                && new.as_str() != Some("$$ROOT")
            {
                return Err(Error::new(
                    51273,
                    "'let' may not define a value for the reserved 'new' variable other than '$$ROOT'",
                ));
            }
            all.set("new", "$$ROOT");
            self.variables = all.to_buf();
        }
        let stages: Vec<RawDoc<'_>> = stages.iter().map(DocBuf::as_doc).collect();
        self.pipeline(&stages, RawDoc::EMPTY).map(|_| ())
    }

    fn pipeline(&self, stages: &[RawDoc<'_>], new: RawDoc<'_>) -> Result<Pipeline> {
        let mut variables = Doc::clone(&self.ctx.variables);
        for (name, value) in evaluate_let(self.variables.as_doc(), &self.ctx, new)?.0 {
            variables.set(name, value);
        }
        Pipeline::parse(stages, &Context { variables: Arc::new(variables), ..self.ctx.clone() })
    }

    /// The existing document after the pipeline of `whenMatched`, to which `$$new` and the variables
    /// of `let` show the new document. Unchanged if there is no such pipeline.
    pub fn apply_pipeline(&self, existing: DocBuf, new: RawDoc<'_>) -> Result<DocBuf> {
        let WhenMatched::Pipeline(stages) = &self.when_matched else { return Ok(existing) };
        let stages: Vec<RawDoc<'_>> = stages.iter().map(DocBuf::as_doc).collect();
        let result = self.pipeline(&stages, new)?.apply_one(existing.clone())?;
        Ok(result.unwrap_or(existing))
    }
}

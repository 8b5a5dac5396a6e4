//! `$lookup` and `$unionWith`: documents of other collections.

use std::sync::Arc;

use super::edit::{Edit, edited};
use super::{Budget, DocStream, Environment, Pipeline, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{FieldPath, evaluate_let};
use crate::matcher::Matcher;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};

/// A collection that a stage names: its own database's, or another's.
#[derive(Clone, Debug)]
pub struct From {
    pub db: Option<String>,
    pub collection: String,
}

impl From {
    pub(super) fn parse(stage: &str, name: &str, value: Raw<'_>) -> Result<From> {
        match value {
            Raw::String(collection) => Ok(From { db: None, collection: collection.to_owned() }),
            Raw::Document(doc) => match (doc.get("db"), doc.get("coll")) {
                (Some(Raw::String(db)), Some(Raw::String(collection))) => {
                    Ok(From { db: Some(db.to_owned()), collection: collection.to_owned() })
                }
                _ => Err(Error::failed_to_parse(format!("{stage} argument '{name}' must name 'db' and 'coll'"))),
            },
            other => Err(must_be_string(stage, name, other)),
        }
    }

    pub(super) fn open<'a>(&self, env: &'a dyn Environment, filter: Option<&Doc>) -> Result<DocStream<'a>> {
        env.collection(self.db.as_deref(), &self.collection, filter)
    }
}

fn must_be_string(stage: &str, name: &str, value: Raw<'_>) -> Error {
    let text = crate::expression::text::value_text(Some(&value.to_value()));
    Error::failed_to_parse(format!(
        "{stage} argument '{name}' must be a string, found {name}: {text}: {}",
        value.type_name()
    ))
}

/// A parsed `$lookup`.
#[derive(Debug)]
pub struct Lookup {
    /// `None` if the sub-pipeline begins with `$documents`.
    pub from: Option<From>,
    equality: Option<Equality>,
    sub: Option<SubPipeline>,
    path: FieldPath,
    ctx: Context,
}

/// `localField` and `foreignField`.
#[derive(Debug)]
struct Equality {
    local: FieldPath,
    foreign: String,
}

/// A pipeline over other documents; parsed again for each outer document, because the variables of
/// `let` are constants to it.
#[derive(Debug)]
struct SubPipeline {
    variables: DocBuf,
    stages: Vec<DocBuf>,
    /// The pipeline itself if no variable can change it.
    fixed: Option<Pipeline>,
}

impl SubPipeline {
    fn parse(
        variables: RawDoc<'_>,
        stages: Vec<DocBuf>,
        ctx: &Context,
        forbidden: fn(&str) -> Error,
    ) -> Result<SubPipeline> {
        let mut names = Doc::clone(&ctx.variables);
        for (name, value) in variables.iter() {
            crate::expression::Expression::parse(value, ctx)?;
            names.set(name, Value::Undefined);
        }
        let inner = Context { variables: Arc::new(names), ..ctx.clone() };
        let docs: Vec<RawDoc<'_>> = stages.iter().map(DocBuf::as_doc).collect();
        let parsed = Pipeline::parse(&docs, &inner)?;
        for stage in parsed.stages() {
            match stage {
                Stage::Output(_) => return Err(forbidden(stage.name())),
                Stage::Source { name, .. } if name.starts_with("$changeStream") => return Err(forbidden(name)),
                _ => {}
            }
        }
        let fixed = variables.is_empty().then_some(parsed);
        Ok(SubPipeline { variables: variables.to_buf(), stages, fixed })
    }

    /// Runs for one outer document.
    fn run(
        &self,
        outer: RawDoc<'_>,
        from: Option<&From>,
        joined: Option<(&Doc, &Matcher)>,
        env: &dyn Environment,
        ctx: &Context,
    ) -> Result<Vec<DocBuf>> {
        let mut bound = None;
        let pipeline = match &self.fixed {
            Some(pipeline) => pipeline,
            None => {
                let mut variables = Doc::clone(&ctx.variables);
                for (name, value) in evaluate_let(self.variables.as_doc(), ctx, outer)?.0 {
                    variables.set(name, value);
                }
                let inner = Context { variables: Arc::new(variables), ..ctx.clone() };
                let docs: Vec<RawDoc<'_>> = self.stages.iter().map(DocBuf::as_doc).collect();
                bound.insert(Pipeline::parse(&docs, &inner)?)
            }
        };
        let input: DocStream<'_> = match (from, joined) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(from), Some((filter, matcher))) => matching(from.open(env, Some(filter))?, matcher),
            (Some(from), None) => {
                let hint = self.leading_filter();
                from.open(env, hint.as_ref())?
            }
        };
        Budget::new("$lookup").gather(pipeline.run(input, env))
    }

    /// A leading `$match` without expressions or variables, as a hint for the source.
    fn leading_filter(&self) -> Option<Doc> {
        let filter = self.stages.first()?.get("$match")?.as_document()?;
        (!filter.iter().any(|(name, _)| name.starts_with('$'))).then(|| filter.to_doc())
    }
}

fn matching<'a>(input: DocStream<'a>, matcher: &'a Matcher) -> DocStream<'a> {
    Box::new(input.filter_map(move |doc| match doc {
        Ok(doc) => match matcher.matches(doc.as_doc()) {
            Ok(true) => Some(Ok(doc)),
            Ok(false) => None,
            Err(e) => Some(Err(e)),
        },
        Err(e) => Some(Err(e)),
    }))
}

pub(super) fn stage_list(stage: &str, value: Raw<'_>) -> Result<Vec<DocBuf>> {
    let Raw::Array(items) = value else {
        return Err(Error::type_mismatch(format!("'pipeline' option of {stage} must be specified as an array")));
    };
    items
        .values()
        .map(|item| match item {
            Raw::Document(doc) => Ok(doc.to_buf()),
            _ => Err(Error::type_mismatch("Each element of the 'pipeline' array must be an object")),
        })
        .collect()
}

fn begins_with_documents(stages: &[DocBuf]) -> bool {
    stages.first().is_some_and(|stage| stage.get("$documents").is_some())
}

impl Lookup {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<Lookup> {
        let Raw::Document(spec) = spec else {
            return Err(Error::failed_to_parse(format!(
                "the $lookup stage specification must be an object, but found {}",
                spec.type_name()
            )));
        };
        let text = |name: &str, value: Raw<'_>| match value {
            Raw::String(text) => Ok(text.to_owned()),
            other => Err(must_be_string("$lookup", name, other)),
        };
        let (mut from, mut path, mut local, mut foreign) = (None, None, None, None);
        let (mut variables, mut stages) = (None, None);
        for (name, value) in spec.iter() {
            match name {
                "from" => from = Some(From::parse("$lookup", name, value)?),
                "as" => path = Some(text(name, value)?),
                "localField" => local = Some(text(name, value)?),
                "foreignField" => foreign = Some(text(name, value)?),
                "let" => match value {
                    Raw::Document(doc) => variables = Some(doc),
                    other => {
                        return Err(Error::failed_to_parse(format!(
                            "$lookup argument 'let: {}' must be an object, is type {}",
                            crate::expression::text::value_text(Some(&other.to_value())),
                            other.type_name()
                        )));
                    }
                },
                "pipeline" => stages = Some(stage_list("$lookup", value)?),
                _ => {
                    text(name, value)?;
                    return Err(Error::failed_to_parse(format!("unknown argument to $lookup: {name}")));
                }
            }
        }
        if from.is_none() && !stages.as_deref().is_some_and(begins_with_documents) {
            return Err(Error::failed_to_parse(format!(
                "missing 'from' option to $lookup stage specification: {}",
                crate::expression::text::doc_text(spec)
            )));
        }
        let path = path.ok_or_else(|| Error::failed_to_parse("must specify 'as' field for a $lookup"))?;
        let equality = match (local, foreign) {
            (Some(local), Some(foreign)) => {
                FieldPath::parse(&foreign)?;
                Some(Equality { local: FieldPath::parse(&local)?, foreign })
            }
            (None, None) if stages.is_some() => None,
            _ if stages.is_some() => {
                return Err(Error::failed_to_parse(
                    "$lookup requires both or neither of 'localField' and 'foreignField' to be specified",
                ));
            }
            _ => {
                return Err(Error::failed_to_parse(
                    "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified",
                ));
            }
        };
        if variables.is_some() && stages.is_none() {
            return Err(Error::failed_to_parse("$lookup with a 'let' argument must also specify 'pipeline'"));
        }
        let forbidden =
            |name: &str| Error::new(51047, format!("{name} is not allowed within a $lookup's sub-pipeline"));
        let sub = stages
            .map(|stages| SubPipeline::parse(variables.unwrap_or(RawDoc::EMPTY), stages, ctx, forbidden))
            .transpose()?;
        Ok(Lookup { from, equality, sub, path: FieldPath::parse(&path)?, ctx: ctx.clone() })
    }

    /// The names of `$lookup` stages further in, for callers that check namespaces.
    pub(super) fn run<'a>(&'a self, input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
        // A sub-pipeline that sees nothing of the outer document gives the same every time.
        let mut cached: Option<Vec<DocBuf>> = None;
        Box::new(input.map(move |doc| {
            let doc = doc?;
            if let Some(found) = &cached {
                return Ok(edited(doc.as_doc(), self.path.parts(), Edit::Documents(found)));
            }
            let found = self.find(doc.as_doc(), env)?;
            let result = edited(doc.as_doc(), self.path.parts(), Edit::Documents(&found));
            if self.equality.is_none() && self.sub.as_ref().is_some_and(|sub| sub.fixed.is_some()) {
                cached = Some(found);
            }
            Ok(result)
        }))
    }

    fn find(&self, outer: RawDoc<'_>, env: &dyn Environment) -> Result<Vec<DocBuf>> {
        let joined = match &self.equality {
            Some(equality) => {
                let filter = equality.filter(outer);
                let matcher = Matcher::parse(filter.to_buf().as_doc(), &self.ctx)?;
                Some((filter, matcher))
            }
            None => None,
        };
        let joined = joined.as_ref().map(|(filter, matcher)| (filter, matcher));
        match (&self.sub, joined, &self.from) {
            (Some(sub), joined, from) => sub.run(outer, from.as_ref(), joined, env, &self.ctx),
            (None, Some((filter, matcher)), Some(from)) => {
                Budget::new("$lookup").gather(matching(from.open(env, Some(filter))?, matcher))
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Equality {
    /// The foreign documents that one outer document joins with, as a query.
    fn filter(&self, outer: RawDoc<'_>) -> Doc {
        let mut values = Vec::new();
        collect(Raw::Document(outer), self.local.parts(), &mut values);
        if values.is_empty() {
            values.push(Value::Null);
        }
        // A regex in $in would be searched for, not compared.
        let has_regex = values.iter().any(|value| matches!(value, Value::Regex(_)));
        let equal = |value: Value| Doc::new().with(self.foreign.as_str(), Doc::new().with("$eq", value));
        if values.len() == 1 {
            return equal(values.remove(0));
        }
        if has_regex {
            return Doc::new().with("$or", values.into_iter().map(|v| Value::from(equal(v))).collect::<Vec<_>>());
        }
        Doc::new().with(self.foreign.as_str(), Doc::new().with("$in", values))
    }
}

/// Every value at a path, arrays opened on the way and at its end.
pub(super) fn collect(value: Raw<'_>, path: &[String], out: &mut Vec<Value>) {
    match (path.split_first(), value) {
        (None, Raw::Array(items)) => out.extend(items.values().map(Raw::to_value)),
        (None, other) => out.push(other.to_value()),
        (Some((first, rest)), Raw::Document(doc)) => {
            if let Some(value) = doc.get(first) {
                collect(value, rest, out);
            }
        }
        (Some(_), Raw::Array(items)) => {
            for item in items.values() {
                if matches!(item, Raw::Document(_)) {
                    collect(item, path, out);
                }
            }
        }
        _ => {}
    }
}

/// A parsed `$unionWith`.
#[derive(Debug)]
pub struct UnionWith {
    /// `None` if the sub-pipeline begins with `$documents`.
    pub from: Option<From>,
    pipeline: Pipeline,
}

impl UnionWith {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<UnionWith> {
        let (mut from, mut stages) = (None, Vec::new());
        match spec {
            Raw::String(name) => from = Some(From { db: None, collection: name.to_owned() }),
            Raw::Document(doc) => {
                for (name, value) in doc.iter() {
                    match name {
                        "coll" => match value {
                            Raw::String(coll) => from = Some(From { db: None, collection: coll.to_owned() }),
                            other => {
                                return Err(Error::type_mismatch(format!(
                                    "BSON field '$unionWith.coll' is the wrong type '{}', expected type 'string'",
                                    other.type_name()
                                )));
                            }
                        },
                        "db" => {}
                        "pipeline" => stages = stage_list("$unionWith", value)?,
                        _ => {
                            return Err(Error::new(
                                40415,
                                format!("BSON field '$unionWith.{name}' is an unknown field."),
                            ));
                        }
                    }
                }
            }
            other => {
                return Err(Error::failed_to_parse(format!(
                    "the $unionWith stage specification must be an object or string, but found {}",
                    other.type_name()
                )));
            }
        }
        if from.is_none() && !begins_with_documents(&stages) {
            return Err(Error::failed_to_parse(
                "$unionWith stage without explicit collection must have a pipeline with $documents as first stage",
            ));
        }
        let forbidden =
            |name: &str| Error::new(31441, format!("{name} is not allowed within a $unionWith's sub-pipeline"));
        let sub = SubPipeline::parse(RawDoc::EMPTY, stages, ctx, forbidden)?;
        let pipeline = sub.fixed.expect("a sub-pipeline without variables is fixed");
        Ok(UnionWith { from, pipeline })
    }

    /// The own input, then the other collection's.
    pub(super) fn run<'a>(&'a self, input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
        let other = std::iter::once_with(move || -> DocStream<'a> {
            let source: Result<DocStream<'a>> = match &self.from {
                Some(from) => from.open(env, None),
                None => Ok(Box::new(std::iter::empty())),
            };
            match source {
                Ok(source) => self.pipeline.run(source, env),
                Err(e) => Box::new(std::iter::once(Err(e))),
            }
        });
        Box::new(input.chain(other.flatten()))
    }
}

//! `$graphLookup`: what can be reached from a value by following a field.

use rustc_hash::FxHashSet;

use super::edit::{Edit, edited};
use super::group::key_of;
use super::lookup::{From, collect};
use super::{Budget, DocStream, Environment};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{Expression, FieldPath};
use crate::matcher::Matcher;
use crate::number::Number;
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::{Doc, Value};

/// A parsed `$graphLookup`.
#[derive(Debug)]
pub struct GraphLookup {
    pub from: From,
    start: Expression,
    connect_from: FieldPath,
    connect_to: String,
    path: FieldPath,
    max_depth: Option<u64>,
    depth_field: Option<FieldPath>,
    restrict: Option<Doc>,
    ctx: Context,
}

impl GraphLookup {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<GraphLookup> {
        let Raw::Document(spec) = spec else {
            return Err(Error::failed_to_parse(format!(
                "the $graphLookup stage specification must be an object, but found {}",
                spec.type_name()
            )));
        };
        let (mut from, mut start, mut connect_from, mut connect_to, mut path) = (None, None, None, None, None);
        let (mut max_depth, mut depth_field, mut restrict) = (None, None, None);
        for (name, value) in spec.iter() {
            let text = || {
                value.as_str().map(str::to_owned).ok_or_else(|| {
                    Error::new(40103, format!("expected string as argument for {name}, found: {}", value.type_name()))
                })
            };
            match name {
                "from" => {
                    from =
                        Some(From::parse("$graphLookup", name, value).map_err(|e| Error::failed_to_parse(e.message))?)
                }
                "startWith" => start = Some(Expression::parse(value, ctx)?),
                "connectFromField" => connect_from = Some(FieldPath::parse(&text()?)?),
                "connectToField" => connect_to = Some(text()?),
                "as" => path = Some(FieldPath::parse(&text()?)?),
                "depthField" => depth_field = Some(FieldPath::parse(&text()?)?),
                "maxDepth" => max_depth = Some(parse_depth(value)?),
                "restrictSearchWithMatch" => match value {
                    Raw::Document(filter) => {
                        Matcher::parse(filter, ctx)?;
                        restrict = Some(filter.to_doc());
                    }
                    other => {
                        return Err(Error::new(
                            40185,
                            format!("restrictSearchWithMatch must be an object, found {}", other.type_name()),
                        ));
                    }
                },
                _ => return Err(Error::new(40104, format!("Unknown argument to $graphLookup: {name}"))),
            }
        }
        let (Some(from), Some(start), Some(connect_from), Some(connect_to), Some(path)) =
            (from, start, connect_from, connect_to, path)
        else {
            return Err(Error::new(
                40105,
                "$graphLookup requires 'from', 'as', 'startWith', 'connectFromField', and 'connectToField' to be specified.",
            ));
        };
        FieldPath::parse(&connect_to)?;
        Ok(GraphLookup {
            from,
            start,
            connect_from,
            connect_to,
            path,
            max_depth,
            depth_field,
            restrict,
            ctx: ctx.clone(),
        })
    }

    pub(super) fn run<'a>(&'a self, input: DocStream<'a>, env: &'a dyn Environment) -> DocStream<'a> {
        Box::new(input.map(move |doc| {
            let doc = doc?;
            let found = self.search(doc.as_doc(), env)?;
            Ok(edited(doc.as_doc(), self.path.parts(), Edit::Documents(&found)))
        }))
    }

    /// Breadth first; a document is reported at its smallest depth, once.
    fn search(&self, doc: RawDoc<'_>, env: &dyn Environment) -> Result<Vec<DocBuf>> {
        let mut budget = Budget::new("$graphLookup");
        let mut frontier = match self.start.evaluate(doc)? {
            Some(Value::Array(items)) => items,
            Some(value) => vec![value],
            None => Vec::new(),
        };
        let mut asked: FxHashSet<Vec<u8>> = FxHashSet::default();
        let mut visited: FxHashSet<Vec<u8>> = FxHashSet::default();
        let mut found = Vec::new();
        let mut depth = 0u64;
        loop {
            frontier.retain(|value| asked.insert(key_of(value, &self.ctx)));
            if frontier.is_empty() {
                return Ok(found);
            }
            let filter = self.filter(std::mem::take(&mut frontier));
            let matcher = Matcher::parse(filter.to_buf().as_doc(), &self.ctx)?;
            for next in self.from.open(env, Some(&filter))? {
                let next = next?;
                let id = next.get("_id").map_or(Value::Null, |id| id.to_value());
                if !matcher.matches(next.as_doc())? || !visited.insert(key_of(&id, &self.ctx)) {
                    continue;
                }
                budget.charge(next.len() * 2 + 64)?;
                collect(Raw::Document(next.as_doc()), self.connect_from.parts(), &mut frontier);
                found.push(match &self.depth_field {
                    Some(field) => edited(next.as_doc(), field.parts(), Edit::Raw(Raw::Int64(depth as i64))),
                    None => next,
                });
            }
            if self.max_depth == Some(depth) {
                return Ok(found);
            }
            depth += 1;
        }
    }

    fn filter(&self, values: Vec<Value>) -> Doc {
        let reach = Doc::new().with(self.connect_to.as_str(), Doc::new().with("$in", values));
        match &self.restrict {
            Some(restrict) => Doc::new().with("$and", vec![Value::from(reach), Value::from(restrict.clone())]),
            None => reach,
        }
    }
}

fn parse_depth(value: Raw<'_>) -> Result<u64> {
    let Some(n) = Number::from_raw(value) else {
        return Err(Error::new(40100, format!("maxDepth must be numeric, found type: {}", value.type_name())));
    };
    match n.as_whole() {
        Some(n) if n >= 0 => Ok(n as u64),
        Some(n) => Err(Error::new(40101, format!("maxDepth requires a nonnegative argument, found: {n}"))),
        None => Err(Error::new(40102, format!("maxDepth could not be represented as a long long: {n}"))),
    }
}

//! What filters, updates and pipelines of one command are evaluated with.

use std::sync::Arc;

use base::{Clock, ClusterTime};
use document::collation::Collation;
use document::expression::Expression;
use document::{Context, Doc, DocBuf, Raw, RawDoc};
use store::Collection;

use crate::Result;

/// Builds contexts: the collation is the command's own or the collection's.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    pub clock: &'a dyn Clock,
    pub applied: ClusterTime,
    pub variables: Option<&'a DocBuf>,
}

impl Evaluation<'_> {
    pub fn context(&self, collation: Option<&DocBuf>, collection: Option<&Collection>) -> Result<Context> {
        let mut context = Context {
            collation: resolve_collation(collation, collection)?,
            variables: Arc::default(),
            now_ms: self.clock.now_ms(),
            cluster_time: self.applied,
        };
        if let Some(variables) = self.variables {
            context.variables = Arc::new(evaluate_variables(variables.as_doc(), &context)?);
        }
        Ok(context)
    }
}

/// `let`: expressions without a document, in order.
fn evaluate_variables(variables: RawDoc<'_>, context: &Context) -> Result<Doc> {
    let mut values = Doc::new();
    for (name, expression) in variables.iter() {
        let value = Expression::parse(expression, context)?.evaluate(RawDoc::EMPTY)?;
        // A missing value stays missing: the variable exists, but is nothing.
        if let Some(value) = value {
            values.set(name, value);
        }
    }
    Ok(values)
}

fn resolve_collation(given: Option<&DocBuf>, collection: Option<&Collection>) -> Result<Option<Arc<Collation>>> {
    let default = collection.and_then(|collection| collection.options.get("collation")).and_then(Raw::as_document);
    let spec = match given {
        Some(given) => Some(given.as_doc()),
        None => default,
    };
    Ok(match spec {
        None => None,
        Some(spec) => Collation::parse(spec)?.map(Arc::new),
    })
}

//! The rule that a collection's documents must obey, and what 121 says about one that does not.

mod explain;
mod schema;

use document::matcher::Matcher;
use document::{Context, Doc, DocBuf, Raw, RawDoc, Value};
use store::Collection;

use crate::{Error, Result};

/// A collection's `validator` with its level and action.
pub struct Validator {
    matcher: Matcher,
    filter: DocBuf,
    /// Only documents that were valid must stay so.
    moderate: bool,
    /// A violation is logged and let through.
    warn: bool,
}

impl Validator {
    pub fn of(collection: &Collection, context: &Context) -> Result<Option<Self>> {
        let options = &collection.options;
        let Some(Raw::Document(filter)) = options.get("validator") else { return Ok(None) };
        let level = options.get("validationLevel").and_then(Raw::as_str).unwrap_or("strict");
        if filter.is_empty() || level == "off" {
            return Ok(None);
        }
        Ok(Some(Validator {
            matcher: Matcher::parse(filter, context)?,
            filter: options.share(filter),
            moderate: level == "moderate",
            warn: options.get("validationAction").and_then(Raw::as_str) == Some("warn"),
        }))
    }

    /// 121 if the document breaks the rule. `before` is what it replaces.
    pub fn check(&self, document: RawDoc<'_>, before: Option<RawDoc<'_>>) -> Result<()> {
        if self.matcher.matches(document)? {
            return Ok(());
        }
        if self.moderate
            && let Some(before) = before
            && !self.matcher.matches(before)?
        {
            return Ok(());
        }
        if self.warn {
            tracing::warn!(id = ?document.get("_id"), "document fails validation and is let through");
            return Ok(());
        }
        let id = document.get("_id").map_or(Value::Null, Raw::to_value);
        let details = explain::explain(self.filter.as_doc(), document);
        let info = Doc::new().with("failingDocumentId", id).with("details", details);
        Err(Error::new(121, "Document failed validation").with_details(Doc::new().with("errInfo", info)))
    }
}

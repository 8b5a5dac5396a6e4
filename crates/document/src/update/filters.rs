//! `arrayFilters`: named conditions that pick the elements behind `$[name]`.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::matcher::Matcher;
use crate::raw::{Raw, RawDoc};

/// The filters of one update by identifier, and which of them its paths use.
#[derive(Clone, Debug, Default)]
pub(super) struct ArrayFilters(Vec<ArrayFilter>);

#[derive(Clone, Debug)]
struct ArrayFilter {
    identifier: String,
    matcher: Matcher,
    is_used: bool,
}

impl ArrayFilters {
    pub fn parse(filters: &[RawDoc<'_>], ctx: &Context) -> Result<Self> {
        let mut parsed = ArrayFilters::default();
        for filter in filters {
            let identifier = identifier_of(*filter)?;
            if parsed.0.iter().any(|other| other.identifier == identifier) {
                return Err(Error::failed_to_parse(format!(
                    "Found multiple array filters with the same top-level field name {identifier}"
                )));
            }
            let matcher = Matcher::parse(*filter, ctx).map_err(|e| in_filter(e.code, &e.message))?;
            parsed.0.push(ArrayFilter { identifier: identifier.to_owned(), matcher, is_used: false });
        }
        Ok(parsed)
    }

    /// Marks a filter as used by a path; false if there is no such filter.
    pub fn note_use(&mut self, identifier: &str) -> bool {
        let found = self.0.iter_mut().find(|filter| filter.identifier == identifier);
        found.map(|filter| filter.is_used = true).is_some()
    }

    /// Errors with 9 if a filter is used by no path of `update`.
    pub fn check_all_used(&self, update: RawDoc<'_>) -> Result<()> {
        match self.0.iter().find(|filter| !filter.is_used) {
            None => Ok(()),
            Some(ArrayFilter { identifier, .. }) => Err(Error::failed_to_parse(format!(
                "The array filter for identifier '{identifier}' was not used in the update {}",
                super::print::document(update)
            ))),
        }
    }

    /// Whether `$[identifier]` stands for this element; the empty identifier stands for all.
    pub fn picks(&self, identifier: &str, element: Raw<'_>) -> Result<bool> {
        match self.0.iter().find(|filter| filter.identifier == identifier) {
            Some(filter) => filter.matcher.match_named(identifier, element),
            None => Ok(identifier.is_empty()),
        }
    }
}

fn in_filter(code: i32, message: &str) -> Error {
    Error::new(code, format!("Error parsing array filter :: caused by :: {message}"))
}

/// The one first path component that all predicates of a filter share.
fn identifier_of(filter: RawDoc<'_>) -> Result<&str> {
    let mut found = None;
    collect_identifier(filter, &mut found)?;
    let identifier = found.ok_or_else(|| {
        Error::failed_to_parse("Cannot use an expression without a top-level field name in arrayFilters")
    })?;
    let starts_lower = identifier.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_lower || !identifier.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(in_filter(
            2,
            &format!(
                "The top-level field name must be an alphanumeric string beginning with a lowercase letter, found '{identifier}'"
            ),
        ));
    }
    Ok(identifier)
}

fn collect_identifier<'a>(filter: RawDoc<'a>, found: &mut Option<&'a str>) -> Result<()> {
    for (name, value) in filter.iter() {
        match (name, value) {
            ("$and" | "$or" | "$nor", Raw::Array(branches)) => {
                for branch in branches.values() {
                    if let Raw::Document(branch) = branch {
                        collect_identifier(branch, found)?;
                    }
                }
            }
            (operator, _) if operator.starts_with('$') => {}
            (path, _) => {
                let first = path.split('.').next().unwrap_or(path);
                match found {
                    Some(other) if *other != first => {
                        let message = format!("Expected a single top-level field name, found '{other}' and '{first}'");
                        return Err(in_filter(9, &message));
                    }
                    _ => *found = Some(first),
                }
            }
        }
    }
    Ok(())
}

//! The `$changeStream` stage: its options, and which stages may follow it.
//!
//! Everything a client can get wrong when it opens a stream is refused here, with the code that the
//! server gives; what opens has a valid `StreamOptions`.

use base::ClusterTime;
use document::{Raw, RawDoc};
use store::entry::Namespace;

use crate::error::{Error, Result, code};
use crate::scope::{Scope, Shown, is_internal_db};
use crate::token::ResumeToken;

mod stages;
#[cfg(test)]
mod tests;

pub use stages::{check_stages, is_change_stream};

/// The `fullDocument` option: what an update event shows of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FullDocument {
    #[default]
    Default,
    /// The document as it is when the event is read.
    UpdateLookup,
    /// The document right after the change, or null.
    WhenAvailable,
    /// The document right after the change, or error 47.
    Required,
}

/// The `fullDocumentBeforeChange` option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeforeChange {
    #[default]
    Off,
    WhenAvailable,
    Required,
}

/// Where a stream begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StartPoint {
    /// After the last committed write.
    #[default]
    Now,
    /// `startAtOperationTime`: with the first event at or after this time.
    At(ClusterTime),
    /// `resumeAfter` or `startAfter`.
    After(ResumeToken),
}

/// A validated `$changeStream` specification on a validated namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOptions {
    pub scope: Scope,
    pub full_document: FullDocument,
    pub before: BeforeChange,
    pub start: StartPoint,
    pub shown: Shown,
}

/// Where the aggregate command was sent.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub db: &'a str,
    /// `None` for `{aggregate: 1}`.
    pub collection: Option<&'a str>,
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.db, self.collection.unwrap_or("$cmd.aggregate"))
    }
}

/// The specification's fields before they are checked against each other.
#[derive(Debug, Default)]
struct Fields {
    all_changes_for_cluster: bool,
    full_document: FullDocument,
    before: BeforeChange,
    resume_after: Option<ResumeToken>,
    start_after: Option<ResumeToken>,
    start_at: Option<ClusterTime>,
    shown: Shown,
    allow_internal_db: bool,
    allow_system_collection: bool,
}

impl StreamOptions {
    /// A stream of everything in `scope` from now on, with all options at their defaults.
    pub fn new(scope: Scope) -> Self {
        StreamOptions {
            scope,
            full_document: FullDocument::Default,
            before: BeforeChange::Off,
            start: StartPoint::Now,
            shown: Shown::default(),
        }
    }

    /// From the value of the `$changeStream` stage.
    ///
    /// # Errors
    /// Those of the server: 6188500, 40415, 14 and 2 for the shape; 72 and 73 for the namespace;
    /// 50865, 40674 and 260 for what cannot be combined; and those of `ResumeToken::parse`.
    pub fn parse(spec: Raw<'_>, target: Target<'_>) -> Result<Self> {
        let Raw::Document(spec) = spec else {
            return Err(Error::new(6_188_500, "$changeStream must take a nested object"));
        };
        let fields = Fields::parse(spec)?;
        let scope = scope_of(&fields, target)?;
        let start = start_of(fields.resume_after, fields.start_after, fields.start_at, &scope)?;
        Ok(StreamOptions {
            scope,
            full_document: fields.full_document,
            before: fields.before,
            start,
            shown: fields.shown,
        })
    }
}

impl Fields {
    fn parse(spec: RawDoc<'_>) -> Result<Self> {
        let mut fields = Fields::default();
        for (name, value) in spec.iter() {
            if name == "allChangesForCluster" {
                fields.all_changes_for_cluster = strict_bool(name, value)?;
            } else if !matches!(value, Raw::Null | Raw::Undefined) {
                fields.take(name, value)?;
            } else if !is_known(name) {
                return Err(unknown_field(name));
            }
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: Raw<'_>) -> Result<()> {
        match name {
            "fullDocument" => self.full_document = full_document(name, value)?,
            "fullDocumentBeforeChange" => self.before = before_change(name, value)?,
            "resumeAfter" => self.resume_after = Some(token(name, value)?),
            "startAfter" => self.start_after = Some(token(name, value)?),
            "startAtOperationTime" => match value {
                Raw::Timestamp(time) => self.start_at = Some(ClusterTime(time)),
                _ => return Err(wrong_type(name, value, "timestamp")),
            },
            "showExpandedEvents" => self.shown.expanded = boolean(name, value)?,
            "showSystemEvents" => self.shown.system = boolean(name, value)?,
            "allowToRunOnConfigDB" => self.allow_internal_db = boolean(name, value)?,
            "allowToRunOnSystemNS" => self.allow_system_collection = boolean(name, value)?,
            // Chunk migrations happen in sharded clusters only, so there is nothing to show.
            "showMigrationEvents" => {
                boolean(name, value)?;
            }
            "showRawUpdateDescription" => {
                if boolean(name, value)? {
                    return Err(Error::new(code::INVALID_OPTIONS, "showRawUpdateDescription is not supported"));
                }
            }
            _ => return Err(unknown_field(name)),
        }
        Ok(())
    }
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "fullDocument"
            | "fullDocumentBeforeChange"
            | "resumeAfter"
            | "startAfter"
            | "startAtOperationTime"
            | "showExpandedEvents"
            | "showSystemEvents"
            | "allowToRunOnConfigDB"
            | "allowToRunOnSystemNS"
            | "showMigrationEvents"
            | "showRawUpdateDescription"
    )
}

fn unknown_field(name: &str) -> Error {
    Error::new(code::UNKNOWN_FIELD, format!("BSON field '$changeStream.{name}' is an unknown field."))
}

fn wrong_type(name: &str, value: Raw<'_>, expected: &str) -> Error {
    Error::type_mismatch(format!(
        "BSON field '$changeStream.{name}' is the wrong type '{}', expected type '{expected}'",
        value.type_name()
    ))
}

/// The stage is looked at once before it is parsed, and that look takes no null for absent.
fn strict_bool(name: &str, value: Raw<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| {
        Error::type_mismatch(format!("Field '{name}' should be a boolean value, but found: {}", value.type_name()))
    })
}

fn boolean(name: &str, value: Raw<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong_type(name, value, "bool"))
}

fn token(name: &str, value: Raw<'_>) -> Result<ResumeToken> {
    let document = value.as_document().ok_or_else(|| wrong_type(name, value, "object"))?;
    ResumeToken::parse(document)
}

fn full_document(name: &str, value: Raw<'_>) -> Result<FullDocument> {
    match value.as_str().ok_or_else(|| wrong_type(name, value, "string"))? {
        "default" => Ok(FullDocument::Default),
        "updateLookup" => Ok(FullDocument::UpdateLookup),
        "whenAvailable" => Ok(FullDocument::WhenAvailable),
        "required" => Ok(FullDocument::Required),
        other => Err(bad_enumeration(name, other)),
    }
}

fn before_change(name: &str, value: Raw<'_>) -> Result<BeforeChange> {
    match value.as_str().ok_or_else(|| wrong_type(name, value, "string"))? {
        "off" => Ok(BeforeChange::Off),
        "whenAvailable" => Ok(BeforeChange::WhenAvailable),
        "required" => Ok(BeforeChange::Required),
        other => Err(bad_enumeration(name, other)),
    }
}

fn bad_enumeration(name: &str, value: &str) -> Error {
    Error::new(
        code::BAD_VALUE,
        format!("Enumeration value '{value}' for field '$changeStream.{name}' is not a valid value."),
    )
}

fn scope_of(fields: &Fields, target: Target<'_>) -> Result<Scope> {
    if fields.all_changes_for_cluster {
        if target.db != "admin" || target.collection.is_some() {
            return Err(Error::new(
                code::INVALID_OPTIONS,
                format!(
                    "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, \
                     and with no collection name; found {target}"
                ),
            ));
        }
        return Ok(Scope::Cluster);
    }
    if is_internal_db(target.db) && !(target.db == "config" && fields.allow_internal_db) {
        return Err(Error::new(
            code::INVALID_NAMESPACE,
            format!("$changeStream may not be opened on the internal {} database", target.db),
        ));
    }
    match target.collection {
        None => Ok(Scope::Database(target.db.into())),
        Some(name) if name.starts_with("system.") && !fields.allow_system_collection => Err(Error::new(
            code::INVALID_NAMESPACE,
            format!("$changeStream may not be opened on the internal {target} collection"),
        )),
        Some(name) => Ok(Scope::Collection(Namespace::new(target.db, name))),
    }
}

fn start_of(
    resume_after: Option<ResumeToken>,
    start_after: Option<ResumeToken>,
    start_at: Option<ClusterTime>,
    scope: &Scope,
) -> Result<StartPoint> {
    if resume_after.is_some() && start_after.is_some() {
        return Err(Error::new(50865, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage"));
    }
    if resume_after.as_ref().is_some_and(|token| token.facts().from_invalidate) {
        return Err(Error::new(
            code::INVALID_RESUME_TOKEN,
            "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.",
        ));
    }
    match (resume_after.or(start_after), start_at) {
        (Some(_), Some(_)) => {
            Err(Error::new(40674, "Only one type of resume option is allowed, but multiple were found."))
        }
        (Some(token), None) if lacks_collection(&token, scope) => Err(Error::new(
            code::INVALID_RESUME_TOKEN,
            "Attempted to resume a single-collection stream, but the resume token does not include a UUID.",
        )),
        (Some(token), None) => Ok(StartPoint::After(token)),
        (None, Some(time)) => Ok(StartPoint::At(time)),
        (None, None) => Ok(StartPoint::Now),
    }
}

/// Every event that a stream on a collection shows belongs to a collection.
fn lacks_collection(token: &ResumeToken, scope: &Scope) -> bool {
    let facts = token.facts();
    matches!(scope, Scope::Collection(_)) && !facts.is_high_water_mark && facts.uuid.is_none()
}

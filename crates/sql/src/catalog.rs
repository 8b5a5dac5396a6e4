//! What the binder asks about names.

use crate::plan::{Field, Source};
use crate::types::Type;

/// A relation that FROM can name.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    pub source: Source,
    pub columns: Vec<Field>,
    /// The JSON column whose fields answer to names that are no column (collections: `document`).
    pub open: Option<usize>,
    /// Columns that determine a whole row (streams: `change_id`; collections: `_id`), if any.
    pub key: Vec<usize>,
}

/// Looks names up. Names arrive folded (lower case unless quoted).
pub trait Catalog {
    /// The connection's database.
    fn database(&self) -> &str;

    /// A table-like name: view, collection or system table, in that order. `qualifier` is a
    /// database, or `pg_catalog` / `information_schema`.
    fn relation(&self, qualifier: Option<&str>, name: &str) -> Option<Relation>;

    /// A change stream by the name in `CHANGE_STREAM('…')`, possibly `db.name`.
    fn stream(&self, name: &str) -> Option<Relation>;

    /// The number (`regclass`) of a relation by its name as in SQL, perhaps qualified.
    fn relation_number(&self, _name: &str) -> Option<i64> {
        None
    }
}

/// The columns of every change stream, in this order.
pub fn stream_columns() -> Vec<Field> {
    [
        ("change_id", Type::Text),
        // Seconds since the epoch; the increment is the fraction's last ten digits.
        ("cluster_time", Type::Numeric(None)),
        ("event_timestamp", Type::Timestamptz),
        ("processed_at", Type::Timestamptz),
        ("operation_type", Type::Text),
        ("namespace_database", Type::Text),
        ("namespace_collection", Type::Text),
        ("document_key", Type::Json),
        ("full_document", Type::Json),
        ("full_document_before_change", Type::Json),
        ("update_description", Type::Json),
        ("updated_fields", Type::Json),
        ("removed_fields", Type::Json),
        ("txn_number", Type::Int8),
        ("lsid", Type::Json),
    ]
    .map(|(name, ty)| Field::new(name, ty))
    .into()
}

/// The columns of every collection.
pub fn collection_columns() -> Vec<Field> {
    vec![Field::new("_id", Type::Json), Field::new("document", Type::Json)]
}

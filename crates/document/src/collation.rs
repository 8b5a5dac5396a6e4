//! Language-aware string comparison, as the `collation` option describes it.

/// A parsed collation document.
#[derive(Debug)]
pub struct Collation {}

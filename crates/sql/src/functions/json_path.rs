//! SQL/JSON paths.

use super::Registry;
use crate::datum::{Datum, Json};
use crate::error::{Result, SqlError};

pub(super) fn register(_: &mut Registry) {}

/// The values that a path leads to.
pub fn query(_: &Json, _: &str) -> Result<Vec<Datum>> {
    Err(SqlError::unsupported("jsonb_path_query"))
}

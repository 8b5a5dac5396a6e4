//! Queries of clients that need what this dialect lacks, each with one of ours that gives their answer.

use ::sql::SqlError;
use ::sql::parser::statement::Query;

use super::queries::only_query;

/// asyncpg asks for the types below a type with WITH RECURSIVE. Here a type is scalar or an array of
/// a scalar, so one step is the whole recursion.
const ASYNCPG_TYPES: &str = "
    SELECT DISTINCT t.oid, ns.nspname AS ns, t.typname AS name, t.typtype AS kind, NULL::oid AS basetype,
           t.typelem AS elemtype, element.typdelim AS elemdelim, NULL::oid AS range_subtype,
           NULL::oid[] AS attrtypoids, NULL::text[] AS attrnames, CASE WHEN t.oid = ANY($1::oid[]) THEN 0 ELSE 1 END AS depth,
           NULL::text AS basetype_name, t.typelem::regtype::text AS elemtype_name, NULL::text AS range_subtype_name
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_namespace ns ON ns.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type element ON t.typlen = -1 AND t.typelem <> 0 AND t.typelem = element.oid
    WHERE t.oid = ANY($1::oid[])
       OR t.oid IN (SELECT typelem FROM pg_catalog.pg_type WHERE oid = ANY($1::oid[]))
    ORDER BY depth DESC";

/// The query to run in place of a client's, if there is one.
pub(super) fn instead_of(query: &Query) -> Result<Option<Query>, SqlError> {
    let text = query.text.trim_start();
    if text.starts_with("WITH RECURSIVE typeinfo_tree(") && text.contains("range_subtype_name") {
        return only_query(ASYNCPG_TYPES).map(Some);
    }
    Ok(None)
}

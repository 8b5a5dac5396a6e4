//! Tables that are computed when they are read: our own status, `pg_catalog`, `information_schema`.
//!
//! ```text
//!   columns.rs    names and columns of PostgreSQL's catalogue, most of it empty here
//!   objects.rs    what stands in the catalogue: collections and views, with stable numbers
//!   catalogue.rs  rows of pg_catalog        information.rs  rows of information_schema
//!   deliveries.rs what sinks left behind: letters, logs, positions
//!   tables.rs     change_streams, views, collections, sources of truth about ourselves
//! ```
//!
//! Collections are tables, materialized views are materialized views, all in the schema `public` of
//! the database that the connection is in; another MongoDB database is another database.

mod catalogue;
mod columns;
mod deliveries;
mod information;
mod objects;
mod tables;

use std::collections::HashMap;
use std::sync::LazyLock;

use ::sql::{Datum, Field, Relation, Row, Source, SqlError, Type};
use views::SystemTables;

pub(super) use deliveries::letter_rows;

use super::session::Identity;
use crate::Headwater;

/// The system tables as one session sees them.
pub(super) struct SystemCatalog {
    engine: Headwater,
    identity: Identity,
}

/// A table's columns, in order.
type Columns = Vec<Field>;

/// PostgreSQL's tables by schema and name.
static KNOWN: LazyLock<HashMap<(&str, &str), Columns>> = LazyLock::new(|| {
    let columns = |spec: &str| spec.split(", ").filter_map(column).collect();
    columns::SPECS.iter().map(|(schema, name, spec)| ((*schema, *name), columns(spec))).collect()
});

fn column(spec: &str) -> Option<Field> {
    let (name, ty) = spec.split_once(' ')?;
    Some(Field::new(name, type_named(ty)))
}

fn type_named(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "name" => Type::Name,
        "oid" => Type::Oid,
        "regproc" => Type::Regproc,
        "char" => Type::Char,
        "timestamptz" => Type::Timestamptz,
        "jsonb" => Type::Json,
        _ => match name.strip_suffix("[]") {
            Some(element) => Type::array_of(type_named(element)),
            None => Type::Text,
        },
    }
}

impl SystemCatalog {
    pub fn new(engine: Headwater, identity: Identity) -> Self {
        SystemCatalog { engine, identity }
    }

    /// Full rows from pairs of column and value; what is not named is NULL.
    fn rows_of(columns: &[Field], found: Vec<Vec<(&str, Datum)>>) -> Vec<Row> {
        let row = |values: Vec<(&str, Datum)>| -> Row {
            let mut row = vec![Datum::Null; columns.len()];
            for (name, value) in values {
                let at = columns.iter().position(|column| column.name == name);
                debug_assert!(at.is_some(), "column {name} is not in this table");
                if let Some(at) = at {
                    row[at] = value;
                }
            }
            row.into()
        };
        found.into_iter().map(row).collect()
    }
}

impl SystemTables for SystemCatalog {
    fn relation(&self, _: &str, schema: Option<&str>, name: &str) -> Option<Relation> {
        let (schema, columns) = match schema {
            Some(schema @ ("pg_catalog" | "information_schema")) => (schema, KNOWN.get(&(schema, name))?.clone()),
            None | Some("public" | "headwater") => match (tables::columns(name), schema) {
                (Some(columns), _) => ("headwater", columns),
                // PostgreSQL looks into pg_catalog for every unqualified name.
                (None, None) => ("pg_catalog", KNOWN.get(&("pg_catalog", name))?.clone()),
                (None, _) => return None,
            },
            Some(_) => return None,
        };
        let source = Source::System { schema: schema.to_owned(), name: name.to_owned() };
        Some(Relation { source, columns, open: None, key: Vec::new() })
    }

    fn number(&self, db: &str, name: &str) -> Option<i64> {
        objects::Objects::of(&self.engine, &self.identity, db).number(name)
    }

    fn rows(&self, db: &str, schema: &str, name: &str) -> Result<Vec<Row>, SqlError> {
        if schema == "headwater" {
            if let Some(rows) = deliveries::whole_rows(&self.engine, name)? {
                return Ok(rows);
            }
            let columns = tables::columns(name).ok_or_else(|| views::build::missing("relation", name))?;
            return Ok(Self::rows_of(&columns, tables::rows(&self.engine, name)?));
        }
        let columns = KNOWN.get(&(schema, name)).ok_or_else(|| views::build::missing("relation", name))?;
        let objects = objects::Objects::of(&self.engine, &self.identity, db);
        let found = match schema {
            "pg_catalog" => catalogue::rows(&objects, name),
            _ => information::rows(&objects, name),
        };
        Ok(Self::rows_of(columns, found))
    }
}

fn text(value: impl AsRef<str>) -> Datum {
    Datum::text(value.as_ref())
}

fn int(value: impl Into<i64>) -> Datum {
    Datum::Int(value.into())
}

fn no() -> Datum {
    Datum::Bool(false)
}

fn yes() -> Datum {
    Datum::Bool(true)
}

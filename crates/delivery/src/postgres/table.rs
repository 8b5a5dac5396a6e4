//! The table as it stands, and the statements that write to it.

use std::fmt::Write;

use document::json::quote;
use tokio_postgres::Client;

use super::{PostgresOptions, fault_of};
use crate::event::Event;
use crate::target::Fault;
use crate::text::{Values, document};

/// One row per sink. A table of an earlier version has no fence yet.
pub const CREATE_MARKS: &str = "DO $$ BEGIN \
     IF to_regclass('headwater_marks') IS NULL THEN \
       CREATE TABLE IF NOT EXISTS headwater_marks (sink text PRIMARY KEY, low text NOT NULL, finished text[] NOT NULL, \
         fence bigint NOT NULL DEFAULT 0); \
     ELSIF NOT EXISTS (SELECT 1 FROM pg_attribute \
       WHERE attrelid = to_regclass('headwater_marks') AND attname = 'fence' AND NOT attisdropped) THEN \
       ALTER TABLE headwater_marks ADD COLUMN IF NOT EXISTS fence bigint NOT NULL DEFAULT 0; \
     END IF; END $$";
pub const READ_MARKS: &str = "SELECT low, finished FROM headwater_marks WHERE sink = $1";
/// Waits for a transaction of an earlier holder that is under way, and lets none begin after it.
pub const RAISE_FENCE: &str = "INSERT INTO headwater_marks AS m (sink, low, finished, fence) \
     VALUES ($1, repeat('0', 32), '{}', $2) \
     ON CONFLICT (sink) DO UPDATE SET fence = greatest(m.fence, EXCLUDED.fence) RETURNING fence";
/// A position never goes back; what is below it needs no mention. No row: the fence has been raised.
pub const WRITE_MARKS: &str = "INSERT INTO headwater_marks AS m (sink, low, finished, fence) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (sink) DO UPDATE SET low = greatest(m.low COLLATE \"C\", EXCLUDED.low COLLATE \"C\"), \
     finished = ARRAY(SELECT f FROM unnest(m.finished || EXCLUDED.finished) AS f \
     WHERE f COLLATE \"C\" >= greatest(m.low COLLATE \"C\", EXCLUDED.low COLLATE \"C\")) \
     WHERE m.fence <= EXCLUDED.fence";

const COLUMNS: &str = "SELECT a.attname::text, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' \
     FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
/// The columns of the unique indexes that any row is in.
const UNIQUE: &str = "SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) AS k \
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k ORDER BY 1) \
     FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL";

pub struct Table {
    /// Quoted, with its schema.
    name: String,
    columns: Vec<Column>,
    /// Names in the table.
    key: Vec<String>,
    /// `_id` of the rows is the column `id`.
    renames_id: bool,
    /// A jsonb column that takes the whole row.
    whole: bool,
}

struct Column {
    name: String,
    /// Left alone when no row of a batch has it.
    has_default: bool,
}

/// A statement and the JSON array that is its parameter.
pub struct Statements {
    pub text: String,
    pub rows: Json,
}

/// JSON text as a parameter of type jsonb.
#[derive(Debug)]
pub struct Json(pub String);

impl tokio_postgres::types::ToSql for Json {
    fn to_sql(
        &self,
        ty: &tokio_postgres::types::Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        if *ty == tokio_postgres::types::Type::JSONB {
            // The version of jsonb's binary format.
            out.extend_from_slice(&[1]);
        }
        out.extend_from_slice(self.0.as_bytes());
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(ty: &tokio_postgres::types::Type) -> bool {
        *ty == tokio_postgres::types::Type::JSONB || *ty == tokio_postgres::types::Type::JSON
    }

    tokio_postgres::types::to_sql_checked!();
}

pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Reads what the table is like.
    ///
    /// # Errors
    /// If it does not exist, lacks a column, or has no unique index on the key.
    pub async fn read(client: &Client, options: &PostgresOptions) -> Result<Table, Fault> {
        let name = match options.table.split_once('.') {
            Some((schema, table)) => format!("{}.{}", identifier(schema), identifier(table)),
            None => identifier(&options.table),
        };
        let found = client.query(COLUMNS, &[&name]).await.map_err(|error| fault_of(&error))?;
        if found.is_empty() {
            return Err(Fault::failed(format!("table {name} does not exist at the target")));
        }
        let columns: Vec<Column> = found
            .iter()
            .filter(|row| !row.get::<_, bool>(2))
            .map(|row| Column { name: row.get(0), has_default: row.get(1) })
            .collect();
        let has = |wanted: &str| columns.iter().any(|column| column.name == wanted);
        let renames_id = !has("_id") && has("id");
        let there = |wanted: &String| if renames_id && wanted == "_id" { "id".to_owned() } else { wanted.clone() };
        let key: Vec<String> = options.key.iter().map(there).collect();
        for wanted in key.iter().cloned().chain(options.columns.iter().map(there)) {
            if !has(&wanted) {
                return Err(Fault::failed(format!("table {name} has no column {}", identifier(&wanted))));
            }
        }
        let mut sorted = key.clone();
        sorted.sort();
        let unique = client.query(UNIQUE, &[&name]).await.map_err(|error| fault_of(&error))?;
        let mut indexes = unique.iter().map(|row| {
            let mut columns = row.get::<_, Vec<String>>(0);
            columns.sort();
            columns
        });
        if !indexes.any(|columns| columns == sorted) {
            let key = key.join(", ");
            return Err(Fault::failed(format!("table {name} has no primary key or unique index on ({key})")));
        }
        let whole = options.columns.is_empty() && has("document");
        Ok(Table { name, columns, key, renames_id, whole })
    }

    /// What writes these rows and removes those.
    pub fn statements(&self, rows: &[&Event], gone: &[&Event]) -> Vec<Statements> {
        let mut statements = Vec::new();
        if !gone.is_empty() {
            statements.push(self.delete(gone));
        }
        if !rows.is_empty() {
            statements.push(self.upsert(rows));
        }
        statements
    }

    fn upsert(&self, events: &[&Event]) -> Statements {
        let given = |column: &Column| events.iter().any(|event| self.field(event, &column.name));
        let written: Vec<&Column> = self.columns.iter().filter(|column| !column.has_default || given(column)).collect();
        let names: Vec<String> = written.iter().map(|column| identifier(&column.name)).collect();
        let key: Vec<String> = self.key.iter().map(|name| identifier(name)).collect();
        let updates: Vec<String> = written
            .iter()
            .filter(|column| !self.key.contains(&column.name))
            .map(|column| identifier(&column.name))
            .map(|name| format!("{name} = EXCLUDED.{name}"))
            .collect();
        let action =
            if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(", ")) };
        let (table, columns) = (&self.name, names.join(", "));
        let text = format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb) \
             ON CONFLICT ({}) DO {action}",
            key.join(", ")
        );
        Statements { text, rows: Json(array(events, |event, out| self.row(event, out))) }
    }

    fn delete(&self, events: &[&Event]) -> Statements {
        let table = &self.name;
        let same: Vec<String> =
            self.key.iter().map(|name| identifier(name)).map(|k| format!("t.{k} = r.{k}")).collect();
        let text = format!(
            "DELETE FROM {table} AS t USING jsonb_populate_recordset(NULL::{table}, $1::jsonb) AS r WHERE {}",
            same.join(" AND ")
        );
        let key = |event: &Event, out: &mut String| {
            if self.renames_id && event.key.get("_id").is_some() {
                out.push_str("{\"id\":");
                value_of(event.key.get("_id"), out);
                out.push('}');
            } else {
                document(&event.key, Values::Plain, out);
            }
        };
        Statements { text, rows: Json(array(events, key)) }
    }

    /// Does the event's row have the column?
    fn field(&self, event: &Event, column: &str) -> bool {
        let name = if self.renames_id && column == "id" { "_id" } else { column };
        event.row.get(name).is_some() || (self.whole && column == "document")
    }

    fn row(&self, event: &Event, out: &mut String) {
        if !self.renames_id && !self.whole {
            return document(&event.row, Values::Plain, out);
        }
        out.push('{');
        for (name, value) in event.row.iter() {
            let name = if self.renames_id && name == "_id" { "id" } else { name };
            quote(name, out);
            out.push(':');
            document::json::to_plain_json(value, out);
            out.push(',');
        }
        if self.whole {
            out.push_str("\"document\":");
            document(&event.row, Values::Plain, out);
        } else {
            out.pop();
        }
        out.push('}');
    }
}

fn value_of(value: Option<document::Raw<'_>>, out: &mut String) {
    document::json::to_plain_json(value.unwrap_or(document::Raw::Null), out);
}

fn array(events: &[&Event], write: impl Fn(&Event, &mut String)) -> String {
    let mut out = String::from("[");
    for (i, event) in events.iter().enumerate() {
        if i > 0 {
            let _ = out.write_char(',');
        }
        write(event, &mut out);
    }
    out.push(']');
    out
}

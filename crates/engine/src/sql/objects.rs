//! SHOW CHANGE STREAMS and its kin, DESCRIBE.

use ::sql::catalog::{collection_columns, stream_columns};
use ::sql::parser::statement::{Name, ShowObjects};
use ::sql::{Catalog, Datum, Field, Row, SqlError, Type};
use views::{StreamDefinition, StreamScope};

use super::session::SqlSession;
use super::{Outcome, sinks, system};

pub(super) fn text_fields(names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| Field::new(*name, Type::Text)).collect()
}

fn table(fields: Vec<Field>, rows: Vec<Row>) -> Outcome {
    Outcome::Rows { fields, rows, tag: "SHOW".to_owned() }
}

/// `collection shop.orders`.
pub(crate) fn scope_text(scope: &StreamScope) -> String {
    match scope {
        StreamScope::Collection { db, name } => format!("{db}.{name}"),
        StreamScope::Database(db) => format!("DATABASE {db}"),
        StreamScope::Cluster => "CLUSTER".to_owned(),
    }
}

fn options_text(stream: &StreamDefinition) -> String {
    stream.options.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn show_fields(kind: ShowObjects) -> Vec<Field> {
    match kind {
        ShowObjects::ChangeStreams => {
            let mut fields = text_fields(&["name", "on", "operation_types", "options", "filter"]);
            fields.push(Field::new("events", Type::Int8));
            fields.push(Field::new("created_at", Type::Timestamptz));
            fields.push(Field::new("paused", Type::Bool));
            fields
        }
        ShowObjects::Views => {
            let mut fields = text_fields(&["name"]);
            fields.push(Field::new("rows", Type::Int8));
            fields.push(Field::new("changes", Type::Int8));
            fields.push(Field::new("subscribers", Type::Int8));
            fields.extend(text_fields(&["error", "query"]));
            fields
        }
        ShowObjects::Collections => text_fields(&["name", "kind"]),
        ShowObjects::Sinks => sinks::show_fields(),
        ShowObjects::DeadLetters => sinks::letter_columns(),
    }
}

/// SHOW CHANGE STREAMS, VIEWS, COLLECTIONS: of the session's database.
pub(super) async fn show(session: &SqlSession, kind: ShowObjects) -> Result<Outcome, SqlError> {
    let db = session.database();
    let sql = session.engine().sql();
    let text = |text: &str| Datum::text(text);
    let rows = match kind {
        ShowObjects::ChangeStreams => {
            let definitions = sql.views.definitions();
            let counters = sql.counters.lock();
            let streams = definitions.streams.values().filter(|stream| stream.db == db);
            let row = |stream: &StreamDefinition| -> Row {
                let counted = counters.streams.get(&(stream.db.clone(), stream.name.clone()));
                let types = match stream.operation_types.as_slice() {
                    [] => "all".to_owned(),
                    some => some.join(", "),
                };
                [
                    text(&stream.name),
                    text(&scope_text(&stream.scope)),
                    text(&types),
                    text(&options_text(stream)),
                    stream.filter_text.as_deref().map_or(Datum::Null, text),
                    Datum::Int(counted.map_or(0, |counted| counted.events as i64)),
                    Datum::Timestamp(stream.created_ms.saturating_mul(1000)),
                    Datum::Bool(stream.paused_at.is_some()),
                ]
                .into()
            };
            streams.map(|stream| row(stream)).collect()
        }
        ShowObjects::Views => {
            let status = sql.views.status(false).await?;
            let row = |view: &views::runtime::ViewStatus| -> Row {
                [
                    text(&view.name),
                    Datum::Int(view.rows as i64),
                    Datum::Int(view.counters.changes as i64),
                    Datum::Int(view.subscribers as i64),
                    view.error.as_deref().map_or(Datum::Null, text),
                    text(&view.query),
                ]
                .into()
            };
            status.iter().filter(|view| view.db == db).map(row).collect()
        }
        ShowObjects::Collections => {
            let catalog = session.engine().store().catalog();
            let row = |collection: &store::Collection| -> Row {
                let kind = if collection.is_view() { "view" } else { "collection" };
                [text(&collection.namespace.collection), text(kind)].into()
            };
            catalog.collections(db).map(|collection| row(collection)).collect()
        }
        ShowObjects::Sinks => sinks::show(session.engine(), db),
        ShowObjects::DeadLetters => {
            let own = |row: &Row| matches!(row.first(), Some(Datum::Text(name)) if name.starts_with(&format!("{db}.")));
            system::letter_rows(session.engine())?.into_iter().filter(own).collect()
        }
    };
    Ok(table(show_fields(kind), rows))
}

pub(super) fn describe_fields() -> Vec<Field> {
    text_fields(&["property", "value"])
}

fn column_fields() -> Vec<Field> {
    text_fields(&["column", "type"])
}

fn columns(fields: &[Field]) -> Vec<Row> {
    fields.iter().map(|field| [Datum::text(&*field.name), Datum::text(field.ty.to_string())].into()).collect()
}

pub(super) fn describe_fields_of(session: &SqlSession, name: &Name) -> Result<Vec<Field>, SqlError> {
    let catalog = session.catalog();
    let db = name.db.as_deref().unwrap_or(session.database());
    match catalog.relation(name.db.as_deref(), &name.name) {
        Some(_) => Ok(column_fields()),
        None if catalog.definitions.stream(db, &name.name).is_some() => Ok(describe_fields()),
        None => Err(views::build::missing("relation", &name.name).at(name.position)),
    }
}

/// DESCRIBE: the columns of a view, collection or system table; a stream's properties.
pub(super) fn describe(session: &SqlSession, name: &Name) -> Result<Outcome, SqlError> {
    let catalog = session.catalog();
    match catalog.relation(name.db.as_deref(), &name.name) {
        Some(relation) => Ok(table(column_fields(), columns(&relation.columns))),
        None => {
            describe_stream(session, name).map_err(|_| views::build::missing("relation", &name.name).at(name.position))
        }
    }
}

/// DESCRIBE CHANGE STREAM.
pub(super) fn describe_stream(session: &SqlSession, name: &Name) -> Result<Outcome, SqlError> {
    let definitions = session.engine().sql().views.definitions();
    let db = name.db.as_deref().unwrap_or(session.database());
    let stream = definitions
        .stream(db, &name.name)
        .ok_or_else(|| views::build::missing("change stream", &name.name).at(name.position))?;
    let mut properties = vec![("name", format!("{}.{}", stream.db, stream.name)), ("on", scope_text(&stream.scope))];
    properties.extend(stream.options.iter().map(|(name, value)| (name.as_str(), value.clone())));
    if let Some(filter) = &stream.filter_text {
        properties.push(("filter", filter.clone()));
    }
    properties.push(("start", stream.start.to_string()));
    if let Some(paused_at) = stream.paused_at {
        properties.push(("paused at", paused_at.to_string()));
    }
    let readers = definitions
        .readers(|s| matches!(s, ::sql::Source::Stream { db: d, name: n, .. } if d == db && *n == name.name));
    for view in readers {
        properties.push(("read by", format!("{}.{}", view.db, view.name)));
    }
    properties.push(("statement", stream.statement.clone()));
    let columns: Vec<String> = stream_columns().iter().map(|field| format!("{} {}", field.name, field.ty)).collect();
    properties.push(("columns", columns.join(", ")));
    let rows = properties.into_iter().map(|(name, value)| [Datum::text(name), Datum::text(value)].into()).collect();
    Ok(table(describe_fields(), rows))
}

/// The columns by which a relation is known to PostgreSQL clients.
pub(super) fn collection_fields() -> Vec<Field> {
    collection_columns()
}

//! A small catalogue: streams, collections, a view, a system table.

use sql::catalog::{Catalog, Relation, collection_columns, stream_columns};
use sql::{Field, Source, Type};

pub struct TestCatalog;

pub fn catalog() -> TestCatalog {
    TestCatalog
}

pub fn stream(name: &str) -> Relation {
    Relation {
        source: Source::Stream { db: "shop".into(), name: name.into(), since: None, up_to: None },
        columns: stream_columns(),
        open: None,
        key: vec![0],
    }
}

fn fields(columns: &[(&str, Type)]) -> Vec<Field> {
    columns.iter().map(|(name, ty)| Field::new(*name, ty.clone())).collect()
}

fn view(name: &str, columns: &[(&str, Type)]) -> Relation {
    Relation {
        source: Source::View { db: "shop".into(), name: name.into() },
        columns: fields(columns),
        open: None,
        key: vec![],
    }
}

impl Catalog for TestCatalog {
    fn database(&self) -> &str {
        "shop"
    }

    fn relation(&self, qualifier: Option<&str>, name: &str) -> Option<Relation> {
        match (qualifier, name) {
            (None | Some("shop"), "orders" | "customers" | "products") => Some(Relation {
                source: Source::Collection { db: "shop".into(), name: name.into() },
                columns: collection_columns(),
                open: Some(1),
                key: vec![0],
            }),
            (None, "t") => Some(view(
                name,
                &[("a", Type::Int4), ("b", Type::Text), ("c", Type::Numeric(None)), ("d", Type::Timestamptz)],
            )),
            (None, "u") => {
                Some(view(name, &[("a", Type::Int4), ("x", Type::Int8), ("tags", Type::array_of(Type::Text))]))
            }
            // The views of the comparison with PostgreSQL.
            (None, "o") => Some(view(
                name,
                &[
                    ("id", Type::Int4),
                    ("customer", Type::Int4),
                    ("status", Type::Text),
                    ("total", Type::Numeric(None)),
                    ("qty", Type::Int4),
                    ("at", Type::Timestamptz),
                    ("tags", Type::Json),
                    ("items", Type::Json),
                    ("note", Type::Text),
                    ("paid", Type::Bool),
                    ("score", Type::Float8),
                    ("doc", Type::Json),
                ],
            )),
            (None, "c") => Some(view(
                name,
                &[("id", Type::Int4), ("name", Type::Text), ("city", Type::Text), ("boss", Type::Int4)],
            )),
            (None, "e") => Some(view(
                name,
                &[
                    ("id", Type::Int4),
                    ("op", Type::Text),
                    ("total", Type::Numeric(None)),
                    ("status", Type::Text),
                    ("doc", Type::Json),
                ],
            )),
            (None, "change_stream_processing_log") => Some(Relation {
                source: Source::System { schema: String::new(), name: name.into() },
                columns: fields(&[
                    ("stream_name", Type::Text),
                    ("collection_name", Type::Text),
                    ("event_timestamp", Type::Timestamptz),
                    ("processed_at", Type::Timestamptz),
                    ("processing_duration_ms", Type::Int8),
                    ("processed_successfully", Type::Bool),
                    ("error_message", Type::Text),
                ]),
                open: None,
                key: vec![],
            }),
            _ => None,
        }
    }

    fn stream(&self, name: &str) -> Option<Relation> {
        ["s", "user_activity_stream", "order_processing_stream", "business_intelligence_stream"]
            .contains(&name)
            .then(|| stream(name))
    }
}

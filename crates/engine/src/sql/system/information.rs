//! Rows of `information_schema`.

use ::sql::{Datum, Field, Type};

use super::objects::{Kind, Object, Objects, type_name};
use super::{int, text};

type Found = Vec<Vec<(&'static str, Datum)>>;

/// A table that is not here has no rows.
pub(super) fn rows(objects: &Objects, name: &str) -> Found {
    match name {
        // As PostgreSQL has it, materialized views are not part of the standard's tables; tools that
        // only read this schema would not find them, so they stand here as views.
        "tables" => objects.relations.iter().map(|object| table(object, objects)).collect(),
        "views" => objects.views().map(|view| view_row(view, objects)).collect(),
        "columns" => objects.relations.iter().flat_map(|object| columns(object, objects)).collect(),
        "schemata" => schemata(objects),
        "table_constraints" => objects.tables().map(|table| constraint(table, objects)).collect(),
        "key_column_usage" => objects.tables().map(|table| key_column(table, objects)).collect(),
        _ => Vec::new(),
    }
}

fn table(object: &Object, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("table_catalog", text(&objects.database)),
        ("table_schema", text("public")),
        ("table_name", text(&object.name)),
        ("table_type", text(if object.kind == Kind::Table { "BASE TABLE" } else { "VIEW" })),
        ("is_insertable_into", text("NO")),
        ("is_typed", text("NO")),
    ]
}

fn view_row(view: &Object, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("table_catalog", text(&objects.database)),
        ("table_schema", text("public")),
        ("table_name", text(&view.name)),
        ("view_definition", view.query.as_ref().map_or(Datum::Null, text)),
        ("check_option", text("NONE")),
        ("is_updatable", text("NO")),
        ("is_insertable_into", text("NO")),
        ("is_trigger_updatable", text("NO")),
        ("is_trigger_deletable", text("NO")),
        ("is_trigger_insertable_into", text("NO")),
    ]
}

fn columns<'a>(object: &'a Object, objects: &'a Objects) -> impl Iterator<Item = Vec<(&'static str, Datum)>> + 'a {
    object.columns.iter().enumerate().map(move |(i, field)| column(object, objects, i, field))
}

fn column(object: &Object, objects: &Objects, i: usize, field: &Field) -> Vec<(&'static str, Datum)> {
    let key = object.kind == Kind::Table && i == 0;
    let number = |n: Option<i64>| n.map_or(Datum::Null, Datum::Int);
    let (precision, radix, scale) = match &field.ty {
        Type::Int2 => (Some(16), Some(2), Some(0)),
        Type::Int4 => (Some(32), Some(2), Some(0)),
        Type::Int8 => (Some(64), Some(2), Some(0)),
        Type::Float4 => (Some(24), Some(2), None),
        Type::Float8 => (Some(53), Some(2), None),
        Type::Numeric(Some((precision, scale))) => (Some(i64::from(*precision)), Some(10), Some(i64::from(*scale))),
        Type::Numeric(None) => (None, Some(10), None),
        _ => (None, None, None),
    };
    let length = match &field.ty {
        Type::Varchar(Some(length)) => Some(i64::from(*length)),
        _ => None,
    };
    let data_type = if matches!(field.ty, Type::Array(_)) { "ARRAY".to_owned() } else { field.ty.to_string() };
    vec![
        ("table_catalog", text(&objects.database)),
        ("table_schema", text("public")),
        ("table_name", text(&object.name)),
        ("column_name", text(&field.name)),
        ("ordinal_position", int(i as i64 + 1)),
        ("is_nullable", text(if key { "NO" } else { "YES" })),
        ("data_type", text(data_type)),
        ("character_maximum_length", number(length)),
        ("numeric_precision", number(precision)),
        ("numeric_precision_radix", number(radix)),
        ("numeric_scale", number(scale)),
        ("udt_catalog", text(&objects.database)),
        ("udt_schema", text("pg_catalog")),
        ("udt_name", text(type_name(&field.ty))),
        ("dtd_identifier", text((i + 1).to_string())),
        ("is_self_referencing", text("NO")),
        ("is_identity", text("NO")),
        ("identity_cycle", text("NO")),
        ("is_generated", text("NEVER")),
        ("is_updatable", text("NO")),
    ]
}

fn schemata(objects: &Objects) -> Found {
    ["information_schema", "pg_catalog", "public"]
        .into_iter()
        .map(|name| {
            vec![
                ("catalog_name", text(&objects.database)),
                ("schema_name", text(name)),
                ("schema_owner", text(&objects.user)),
            ]
        })
        .collect()
}

fn constraint(table: &Object, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("constraint_catalog", text(&objects.database)),
        ("constraint_schema", text("public")),
        ("constraint_name", text(format!("{}__id_", table.name))),
        ("table_catalog", text(&objects.database)),
        ("table_schema", text("public")),
        ("table_name", text(&table.name)),
        ("constraint_type", text("PRIMARY KEY")),
        ("is_deferrable", text("NO")),
        ("initially_deferred", text("NO")),
        ("enforced", text("YES")),
    ]
}

fn key_column(table: &Object, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("constraint_catalog", text(&objects.database)),
        ("constraint_schema", text("public")),
        ("constraint_name", text(format!("{}__id_", table.name))),
        ("table_catalog", text(&objects.database)),
        ("table_schema", text("public")),
        ("table_name", text(&table.name)),
        ("column_name", text("_id")),
        ("ordinal_position", int(1)),
    ]
}

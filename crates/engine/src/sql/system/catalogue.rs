//! Rows of `pg_catalog`: what psql, JDBC and their kin ask for.

use ::sql::{Datum, Field, Type};

use super::objects::{
    HEAP, INFORMATION_SCHEMA, Kind, OWNER, Object, Objects, PG_CATALOG, PUBLIC, oid_of, type_of, types,
};
use super::{int, no, text, yes};

type Found = Vec<Vec<(&'static str, Datum)>>;

/// A table that is not here has no rows.
pub(super) fn rows(objects: &Objects, name: &str) -> Found {
    match name {
        "pg_namespace" => namespaces(),
        "pg_class" => objects.relations.iter().flat_map(classes).collect(),
        "pg_attribute" => objects.relations.iter().flat_map(attributes).collect(),
        "pg_type" => all_types(),
        "pg_database" => objects.databases.iter().map(|name| database(name)).collect(),
        "pg_roles" | "pg_user" | "pg_group" => roles(objects, name),
        "pg_settings" => objects.settings.iter().map(setting).collect(),
        "pg_am" => access_methods(),
        "pg_index" => objects.tables().map(index).collect(),
        "pg_constraint" => objects.tables().map(constraint).collect(),
        "pg_tables" => objects.tables().map(|table| listed(table, "tablename", "tableowner", objects)).collect(),
        "pg_matviews" => objects.views().map(|view| materialized_view(view, objects)).collect(),
        "pg_indexes" => objects.tables().map(listed_index).collect(),
        "pg_definitions" => definitions(objects),
        "pg_opclass" => operator_classes(),
        "pg_tablespace" => tablespaces(),
        "pg_collation" => collations(),
        "pg_language" => languages(),
        _ => Vec::new(),
    }
}

fn namespaces() -> Found {
    [(PG_CATALOG, "pg_catalog"), (PUBLIC, "public"), (INFORMATION_SCHEMA, "information_schema")]
        .into_iter()
        .map(|(oid, name)| vec![("oid", int(oid)), ("nspname", text(name)), ("nspowner", int(OWNER))])
        .collect()
}

fn index_oid(table: &Object) -> i64 {
    oid_of("index", &format!("{}.{}", table.oid, table.name))
}

fn constraint_oid(table: &Object) -> i64 {
    oid_of("constraint", &format!("{}.{}", table.oid, table.name))
}

fn index_name(table: &Object) -> String {
    format!("{}__id_", table.name)
}

fn classes(object: &Object) -> Found {
    let class = |oid: i64, name: &str, kind: &str, am: i64, columns: usize, has_index: Datum| {
        vec![
            ("oid", int(oid)),
            ("relname", text(name)),
            ("relnamespace", int(PUBLIC)),
            ("reltype", int(0)),
            ("reloftype", int(0)),
            ("relowner", int(OWNER)),
            ("relam", int(am)),
            ("relfilenode", int(0)),
            ("reltablespace", int(0)),
            ("relpages", int(0)),
            ("reltuples", Datum::Float(-1.0)),
            ("relallvisible", int(0)),
            ("reltoastrelid", int(0)),
            ("relhasindex", has_index),
            ("relisshared", no()),
            ("relpersistence", text("p")),
            ("relkind", text(kind)),
            ("relnatts", int(columns as i64)),
            ("relchecks", int(0)),
            ("relhasrules", no()),
            ("relhastriggers", no()),
            ("relhassubclass", no()),
            ("relrowsecurity", no()),
            ("relforcerowsecurity", no()),
            ("relispopulated", yes()),
            ("relreplident", text("d")),
            ("relispartition", no()),
            ("relrewrite", int(0)),
            ("relfrozenxid", int(0)),
            ("relminmxid", int(0)),
        ]
    };
    match object.kind {
        Kind::Table => vec![
            class(object.oid, &object.name, "r", HEAP, object.columns.len(), yes()),
            class(index_oid(object), &index_name(object), "i", 403, 1, no()),
        ],
        Kind::MaterializedView => vec![class(object.oid, &object.name, "m", HEAP, object.columns.len(), no())],
    }
}

fn attributes(object: &Object) -> Found {
    let attribute = |(i, field): (usize, &Field)| {
        let (ty, length) = type_of(&field.ty);
        let key = object.kind == Kind::Table && i == 0;
        vec![
            ("attrelid", int(object.oid)),
            ("attname", text(&field.name)),
            ("atttypid", int(ty)),
            ("attstattarget", int(-1)),
            ("attlen", int(length)),
            ("attnum", int(i as i64 + 1)),
            ("attndims", int(i64::from(matches!(field.ty, Type::Array(_))))),
            ("attcacheoff", int(-1)),
            ("atttypmod", int(modifier(&field.ty))),
            ("attbyval", Datum::Bool((1..=8).contains(&length))),
            ("attalign", text("i")),
            ("attstorage", text(if length < 0 { "x" } else { "p" })),
            ("attcompression", text("")),
            ("attnotnull", Datum::Bool(key)),
            ("atthasdef", no()),
            ("atthasmissing", no()),
            ("attidentity", text("")),
            ("attgenerated", text("")),
            ("attisdropped", no()),
            ("attislocal", yes()),
            ("attinhcount", int(0)),
            ("attcollation", int(if field.ty.is_text() { 100 } else { 0 })),
        ]
    };
    object.columns.iter().enumerate().map(attribute).collect()
}

/// PostgreSQL's type modifier: declared length, or precision and scale, with 4 added.
fn modifier(ty: &Type) -> i64 {
    match ty {
        Type::Varchar(Some(length)) => i64::from(*length) + 4,
        Type::Numeric(Some((precision, scale))) => (i64::from(*precision) << 16 | (i64::from(*scale) & 0x7ff)) + 4,
        _ => -1,
    }
}

fn all_types() -> Found {
    let mut found = Found::new();
    for entry in types() {
        let common = |oid: i64, name: String, length: i64, category: &str, element: i64, array: i64| {
            vec![
                ("oid", int(oid)),
                ("typname", text(name)),
                ("typnamespace", int(PG_CATALOG)),
                ("typowner", int(OWNER)),
                ("typlen", int(length)),
                ("typbyval", Datum::Bool((1..=8).contains(&length))),
                ("typtype", text(if category == "P" || category == "X" { "p" } else { "b" })),
                ("typcategory", text(category)),
                ("typispreferred", Datum::Bool(matches!(oid, 16 | 25 | 26 | 701 | 1184 | 1186))),
                ("typisdefined", yes()),
                ("typdelim", text(",")),
                ("typrelid", int(0)),
                ("typsubscript", int(0)),
                ("typelem", int(element)),
                ("typarray", int(array)),
                ("typinput", int(if category == "A" { 750 } else { 0 })),
                ("typoutput", int(0)),
                ("typreceive", int(0)),
                ("typsend", int(0)),
                ("typmodin", int(0)),
                ("typmodout", int(0)),
                ("typanalyze", int(0)),
                ("typalign", text("i")),
                ("typstorage", text(if length < 0 { "x" } else { "p" })),
                ("typnotnull", no()),
                ("typbasetype", int(0)),
                ("typtypmod", int(-1)),
                ("typndims", int(0)),
                ("typcollation", int(if category == "S" { 100 } else { 0 })),
            ]
        };
        let (name, array) = (entry.name.to_owned(), entry.array);
        found.push(common(entry.oid, name.clone(), entry.length, entry.category, 0, array));
        if array != 0 {
            found.push(common(array, format!("_{name}"), -1, "A", entry.oid, 0));
        }
    }
    found
}

fn database(name: &str) -> Vec<(&'static str, Datum)> {
    vec![
        ("oid", int(oid_of("database", name))),
        ("datname", text(name)),
        ("datdba", int(OWNER)),
        ("encoding", int(6)),
        ("datlocprovider", text("c")),
        ("datistemplate", no()),
        ("datallowconn", yes()),
        ("datconnlimit", int(-1)),
        ("datfrozenxid", int(0)),
        ("datminmxid", int(0)),
        ("dattablespace", int(1663)),
        ("datcollate", text("C")),
        ("datctype", text("C.UTF-8")),
    ]
}

fn roles(objects: &Objects, table: &str) -> Found {
    match table {
        "pg_roles" => vec![vec![
            ("rolname", text(&objects.user)),
            ("rolsuper", yes()),
            ("rolinherit", yes()),
            ("rolcreaterole", no()),
            ("rolcreatedb", no()),
            ("rolcanlogin", yes()),
            ("rolreplication", no()),
            ("rolconnlimit", int(-1)),
            ("rolpassword", text("********")),
            ("rolbypassrls", yes()),
            ("oid", int(OWNER)),
        ]],
        "pg_user" => vec![vec![
            ("usename", text(&objects.user)),
            ("usesysid", int(OWNER)),
            ("usecreatedb", no()),
            ("usesuper", yes()),
            ("userepl", no()),
            ("usebypassrls", yes()),
            ("passwd", text("********")),
        ]],
        _ => Vec::new(),
    }
}

fn setting((name, value, about): &(&'static str, String, &'static str)) -> Vec<(&'static str, Datum)> {
    vec![
        ("name", text(name)),
        ("setting", text(value)),
        ("category", text("Headwater")),
        ("short_desc", text(about)),
        ("context", text("user")),
        ("vartype", text("string")),
        ("source", text("default")),
        ("boot_val", text(value)),
        ("reset_val", text(value)),
        ("pending_restart", no()),
    ]
}

fn access_methods() -> Found {
    [(HEAP, "heap", "t"), (403, "btree", "i")]
        .into_iter()
        .map(|(oid, name, kind)| {
            vec![("oid", int(oid)), ("amname", text(name)), ("amhandler", int(0)), ("amtype", text(kind))]
        })
        .collect()
}

fn index(table: &Object) -> Vec<(&'static str, Datum)> {
    vec![
        ("indexrelid", int(index_oid(table))),
        ("indrelid", int(table.oid)),
        ("indnatts", int(1)),
        ("indnkeyatts", int(1)),
        ("indisunique", yes()),
        ("indnullsnotdistinct", no()),
        ("indisprimary", yes()),
        ("indisexclusion", no()),
        ("indimmediate", yes()),
        ("indisclustered", no()),
        ("indisvalid", yes()),
        ("indcheckxmin", no()),
        ("indisready", yes()),
        ("indislive", yes()),
        ("indisreplident", no()),
        ("indkey", Datum::Array([int(1)].into())),
        ("indcollation", Datum::Array([int(0)].into())),
        ("indclass", Datum::Array([int(JSONB_OPS)].into())),
        ("indoption", Datum::Array([int(0)].into())),
    ]
}

fn constraint(table: &Object) -> Vec<(&'static str, Datum)> {
    vec![
        ("oid", int(constraint_oid(table))),
        ("conname", text(index_name(table))),
        ("connamespace", int(PUBLIC)),
        ("contype", text("p")),
        ("condeferrable", no()),
        ("condeferred", no()),
        ("convalidated", yes()),
        ("conrelid", int(table.oid)),
        ("contypid", int(0)),
        ("conindid", int(index_oid(table))),
        ("conparentid", int(0)),
        ("confrelid", int(0)),
        ("confupdtype", text(" ")),
        ("confdeltype", text(" ")),
        ("confmatchtype", text(" ")),
        ("conislocal", yes()),
        ("coninhcount", int(0)),
        ("connoinherit", yes()),
        ("conkey", Datum::Array([int(1)].into())),
    ]
}

fn listed(object: &Object, name: &'static str, owner: &'static str, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("schemaname", text("public")),
        (name, text(&object.name)),
        (owner, text(&objects.user)),
        ("hasindexes", yes()),
        ("hasrules", no()),
        ("hastriggers", no()),
        ("rowsecurity", no()),
    ]
}

fn materialized_view(view: &Object, objects: &Objects) -> Vec<(&'static str, Datum)> {
    vec![
        ("schemaname", text("public")),
        ("matviewname", text(&view.name)),
        ("matviewowner", text(&objects.user)),
        ("hasindexes", no()),
        ("ispopulated", yes()),
        ("definition", view.query.as_ref().map_or(Datum::Null, text)),
    ]
}

fn listed_index(table: &Object) -> Vec<(&'static str, Datum)> {
    vec![
        ("schemaname", text("public")),
        ("tablename", text(&table.name)),
        ("indexname", text(index_name(table))),
        ("indexdef", text(index_definition(table))),
    ]
}

/// Views, indexes and constraints as `pg_get_viewdef` and its kin print them.
fn definitions(objects: &Objects) -> Found {
    let found = |oid: i64, definition: String| {
        vec![("defoid", int(oid)), ("deftext", text(definition)), ("defcolumn", text("_id"))]
    };
    let mut all: Found = objects
        .views()
        .filter_map(|view| Some(found(view.oid, view.query.as_ref().map(|query| format!(" {query};"))?)))
        .collect();
    for table in objects.tables() {
        all.push(found(index_oid(table), index_definition(table)));
        all.push(found(constraint_oid(table), "PRIMARY KEY (_id)".to_owned()));
    }
    all
}

fn index_definition(table: &Object) -> String {
    format!("CREATE UNIQUE INDEX {} ON public.{} USING btree (_id)", index_name(table), table.name)
}

/// The one that indexes name.
const JSONB_OPS: i64 = 4033;

fn operator_classes() -> Found {
    vec![vec![
        ("oid", int(JSONB_OPS)),
        ("opcmethod", int(403)),
        ("opcname", text("jsonb_ops")),
        ("opcnamespace", int(PG_CATALOG)),
        ("opcowner", int(OWNER)),
        ("opcfamily", int(4033)),
        ("opcintype", int(3802)),
        ("opcdefault", yes()),
        ("opckeytype", int(0)),
    ]]
}

fn tablespaces() -> Found {
    [(1663, "pg_default"), (1664, "pg_global")]
        .into_iter()
        .map(|(oid, name)| vec![("oid", int(oid)), ("spcname", text(name)), ("spcowner", int(OWNER))])
        .collect()
}

fn collations() -> Found {
    [(100, "default"), (950, "C"), (951, "POSIX")]
        .into_iter()
        .map(|(oid, name)| {
            vec![
                ("oid", int(oid)),
                ("collname", text(name)),
                ("collnamespace", int(PG_CATALOG)),
                ("collowner", int(OWNER)),
                ("collprovider", text("c")),
                ("collisdeterministic", yes()),
                ("collencoding", int(-1)),
            ]
        })
        .collect()
}

fn languages() -> Found {
    vec![vec![
        ("oid", int(14)),
        ("lanname", text("sql")),
        ("lanowner", int(OWNER)),
        ("lanispl", no()),
        ("lanpltrusted", yes()),
    ]]
}

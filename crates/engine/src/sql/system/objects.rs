//! What stands in the catalogue: databases, collections and views as relations with numbers.
//!
//! A number is a hash of the name, so that it survives restarts and is the same for every session.

use std::hash::{Hash, Hasher};

use ::sql::{Field, Type};
use rustc_hash::FxHasher;

use super::super::objects::collection_fields;
use super::super::session::Identity;
use crate::Headwater;

pub(super) const PG_CATALOG: i64 = 11;
pub(super) const PUBLIC: i64 = 2200;
pub(super) const INFORMATION_SCHEMA: i64 = 13_000;
pub(super) const OWNER: i64 = 10;
pub(super) const HEAP: i64 = 2;
/// Numbers below are PostgreSQL's own.
const FIRST_FREE: i64 = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    MaterializedView,
}

/// A relation of the database.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub oid: i64,
    pub name: String,
    pub kind: Kind,
    pub columns: Vec<Field>,
    /// A view's query.
    pub query: Option<String>,
}

#[derive(Debug)]
pub(super) struct Objects {
    pub database: String,
    pub user: String,
    /// All databases, the connection's among them even if it is empty.
    pub databases: Vec<String>,
    pub relations: Vec<Object>,
    /// Name, value, description.
    pub settings: Vec<(&'static str, String, &'static str)>,
}

/// A stable number for a name.
pub(super) fn oid_of(kind: &str, name: &str) -> i64 {
    let mut hasher = FxHasher::default();
    (kind, name).hash(&mut hasher);
    // Positive as a signed 32-bit number, which some clients take it for.
    FIRST_FREE + (hasher.finish() % (0x7fff_0000 - FIRST_FREE as u64)) as i64
}

impl Objects {
    pub fn of(engine: &Headwater, identity: &Identity, db: &str) -> Self {
        let catalog = engine.store().catalog();
        let mut databases: Vec<String> = catalog.databases().map(|name| name.to_string()).collect();
        let definitions = engine.sql().views.definitions();
        let defined = definitions.views.keys().chain(definitions.streams.keys()).map(|(db, _)| db.clone());
        databases.extend(defined.chain([identity.database.clone()]));
        databases.sort();
        databases.dedup();
        let mut relations: Vec<Object> = Vec::new();
        for view in definitions.views.values().filter(|view| view.db == db) {
            relations.push(Object {
                oid: oid_of("relation", &format!("{db}.{}", view.name)),
                name: view.name.clone(),
                kind: Kind::MaterializedView,
                columns: view.plan.fields().to_vec(),
                query: Some(view.query.clone()),
            });
        }
        for collection in catalog.collections(db).filter(|collection| !collection.is_view()) {
            let name = collection.namespace.collection.to_string();
            relations.push(Object {
                oid: oid_of("relation", &format!("{db}.{name}")),
                name,
                kind: Kind::Table,
                columns: collection_fields(),
                query: None,
            });
        }
        relations.sort_by(|a, b| a.name.cmp(&b.name));
        let settings = identity.settings.all().map(|(name, value, about)| (name, value.to_owned(), about)).collect();
        Objects { database: db.to_owned(), user: identity.user.clone(), databases, relations, settings }
    }

    /// A relation's number by its name as SQL spells it.
    pub fn number(&self, name: &str) -> Option<i64> {
        let name = name.trim();
        let name = name.strip_prefix("public.").unwrap_or(name);
        let folded = match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => name.to_lowercase(),
        };
        self.relations.iter().find(|object| object.name == folded).map(|object| object.oid)
    }

    pub fn tables(&self) -> impl Iterator<Item = &Object> {
        self.relations.iter().filter(|object| object.kind == Kind::Table)
    }

    pub fn views(&self) -> impl Iterator<Item = &Object> {
        self.relations.iter().filter(|object| object.kind == Kind::MaterializedView)
    }
}

/// What `pg_type` says of a type: number, name, array's number, length, category.
pub(super) struct TypeEntry {
    pub ty: Type,
    pub oid: i64,
    pub name: &'static str,
    pub array: i64,
    pub length: i64,
    pub category: &'static str,
}

pub(super) fn types() -> Vec<TypeEntry> {
    let entry = |ty, oid, name, array, length, category| TypeEntry { ty, oid, name, array, length, category };
    vec![
        entry(Type::Bool, 16, "bool", 1000, 1, "B"),
        entry(Type::Bytea, 17, "bytea", 1001, -1, "U"),
        entry(Type::Char, 18, "char", 1002, 1, "Z"),
        entry(Type::Name, 19, "name", 1003, 64, "S"),
        entry(Type::Int8, 20, "int8", 1016, 8, "N"),
        entry(Type::Int2, 21, "int2", 1005, 2, "N"),
        entry(Type::Int4, 23, "int4", 1007, 4, "N"),
        entry(Type::Regproc, 24, "regproc", 1008, 4, "N"),
        entry(Type::Text, 25, "text", 1009, -1, "S"),
        entry(Type::Oid, 26, "oid", 1028, 4, "N"),
        entry(Type::Float4, 700, "float4", 1021, 4, "N"),
        entry(Type::Float8, 701, "float8", 1022, 8, "N"),
        entry(Type::Unknown, 705, "unknown", 0, -2, "X"),
        entry(Type::Varchar(None), 1043, "varchar", 1015, -1, "S"),
        entry(Type::Date, 1082, "date", 1182, 4, "D"),
        entry(Type::Time, 1083, "time", 1183, 8, "D"),
        entry(Type::Timestamp, 1114, "timestamp", 1115, 8, "D"),
        entry(Type::Timestamptz, 1184, "timestamptz", 1185, 8, "D"),
        entry(Type::Interval, 1186, "interval", 1187, 16, "T"),
        entry(Type::Numeric(None), 1700, "numeric", 1231, -1, "N"),
        entry(Type::Regclass, 2205, "regclass", 2210, 4, "N"),
        entry(Type::Regtype, 2206, "regtype", 2211, 4, "N"),
        entry(Type::Record, 2249, "record", 2287, -1, "P"),
        entry(Type::Void, 2278, "void", 0, 4, "P"),
        entry(Type::Uuid, 2950, "uuid", 2951, 16, "U"),
        entry(Type::Json, 3802, "jsonb", 3807, -1, "U"),
        entry(Type::Regnamespace, 4089, "regnamespace", 4090, 4, "N"),
    ]
}

/// Number and length of a column's type.
pub(super) fn type_of(ty: &Type) -> (i64, i64) {
    let plain = match ty {
        Type::Varchar(_) => Type::Varchar(None),
        Type::Numeric(_) => Type::Numeric(None),
        Type::Array(element) => {
            let element = type_of(element).0;
            let array = types().iter().find(|entry| entry.oid == element).map_or(1009, |entry| entry.array);
            return (array, -1);
        }
        other => other.clone(),
    };
    types().iter().find(|entry| entry.ty == plain).map_or((25, -1), |entry| (entry.oid, entry.length))
}

/// PostgreSQL's short name of a type.
pub(super) fn type_name(ty: &Type) -> String {
    let (oid, _) = type_of(ty);
    match ty {
        Type::Array(element) => format!("_{}", type_name(element)),
        _ => types().iter().find(|entry| entry.oid == oid).map_or("text", |entry| entry.name).to_owned(),
    }
}

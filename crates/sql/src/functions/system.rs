//! System information: types by number, session facts, and what catalogue queries call.
//!
//! What depends on the session (`current_user`, `pg_backend_pid()`, …) is registered so that it
//! resolves; the binder puts the session's answer in its place. Evaluated all the same, it is
//! refused.

use super::Registry;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::types::Type;

/// What `version()` says: drivers parse the beginning.
pub const VERSION: &str = concat!("PostgreSQL 15.0 (Headwater ", env!("CARGO_PKG_VERSION"), ")");

pub(super) fn register(r: &mut Registry) {
    r.strict("version() -> text", |_, _| Ok(Datum::text(VERSION))).stable();
    session(r);
    r.lenient_typed("pg_typeof(any) -> regtype", |_, types, _| Ok(Datum::Int(oid_of(types.get(0))))).stable();
    r.lenient("format_type(oid, int4) -> text", |args, _| format_type(args)).stable();
    r.strict("gen_random_uuid() -> uuid", |_, _| Ok(Datum::Uuid(Box::new(base::Uuid::random().0)))).volatile();
    nothing(r);
    visible(r);
    privileges(r);
    r.strict("pg_encoding_to_char(int4) -> name", |args, _| {
        Ok(Datum::text(if args[0].as_int()? == 6 { "UTF8" } else { "" }))
    });
    r.strict("pg_char_to_encoding(name) -> int4", |args, _| {
        let known = args[0].as_text()?.to_ascii_lowercase().replace('-', "");
        Ok(Datum::Int(if known == "utf8" { 6 } else { -1 }))
    });
    for ty in ["oid", "regclass"] {
        r.strict(&format!("pg_relation_size({ty}) -> int8"), |_, _| Ok(Datum::Int(0))).stable();
        r.strict(&format!("pg_table_size({ty}) -> int8"), |_, _| Ok(Datum::Int(0))).stable();
        r.strict(&format!("pg_total_relation_size({ty}) -> int8"), |_, _| Ok(Datum::Int(0))).stable();
    }
    r.strict("pg_size_pretty(int8) -> text", |args, _| Ok(Datum::text(pretty_size(args[0].as_int()?))));
    r.strict_typed("pg_column_size(any) -> int4", |args, types, ctx| {
        Ok(Datum::Int(crate::text::to_string(&args[0], types.get(0), ctx.time_zone).len() as i64))
    });
    r.strict("to_regclass(text) -> regclass", |_, _| Ok(Datum::Null)).stable();
    r.strict("to_regtype(text) -> regtype", |args, _| {
        Ok(oid_of_type_name(args[0].as_text()?).map_or(Datum::Null, Datum::Int))
    })
    .stable();
    // Pools release what a session may have locked; nothing here takes advisory locks.
    r.strict("pg_advisory_unlock_all() -> void", |_, _| Ok(Datum::Null)).volatile();
    r.strict("pg_is_in_recovery() -> bool", |_, _| Ok(Datum::Bool(false))).stable();
    r.strict("pg_sleep(float8) -> void", |_, _| Err(SqlError::unsupported("pg_sleep"))).volatile();
}

/// Functions without arguments whose answer is the session's.
fn session(r: &mut Registry) {
    fn refuse(_: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
        Err(SqlError::unsupported("a session function in this place"))
    }
    for (name, ty) in [
        ("current_database", "name"),
        ("current_catalog", "name"),
        ("current_schema", "name"),
        ("current_user", "name"),
        ("session_user", "name"),
        ("current_role", "name"),
        ("user", "name"),
        ("pg_backend_pid", "int4"),
        ("pg_postmaster_start_time", "timestamptz"),
        ("pg_conf_load_time", "timestamptz"),
        ("inet_client_addr", "text"),
        ("inet_client_port", "int4"),
        ("inet_server_addr", "text"),
        ("inet_server_port", "int4"),
        ("txid_current", "int8"),
        ("pg_current_xact_id", "int8"),
    ] {
        r.strict(&format!("{name}() -> {ty}"), refuse).volatile();
    }
    r.strict("current_schemas(bool) -> name[]", refuse).volatile();
    r.strict("current_setting(text) -> text", refuse).volatile();
    r.strict("current_setting(text, bool) -> text", refuse).volatile();
    r.strict("set_config(text, text, bool) -> text", refuse).volatile();
    r.strict("pg_cancel_backend(int4) -> bool", refuse).volatile();
    r.strict("pg_terminate_backend(int4) -> bool", refuse).volatile();
}

/// Descriptions and definitions of which there are none here.
fn nothing(r: &mut Registry) {
    fn null(_: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
        Ok(Datum::Null)
    }
    for signature in [
        "obj_description(oid) -> text",
        "obj_description(oid, name) -> text",
        "col_description(oid, int4) -> text",
        "shobj_description(oid, name) -> text",
        "pg_get_constraintdef(oid) -> text",
        "pg_get_constraintdef(oid, bool) -> text",
        "pg_get_indexdef(oid) -> text",
        "pg_get_indexdef(oid, int4, bool) -> text",
        "pg_get_viewdef(oid) -> text",
        "pg_get_viewdef(oid, bool) -> text",
        "pg_get_triggerdef(oid) -> text",
        "pg_get_triggerdef(oid, bool) -> text",
        "pg_get_ruledef(oid) -> text",
        "pg_get_ruledef(oid, bool) -> text",
        "pg_get_functiondef(oid) -> text",
        "pg_get_function_result(oid) -> text",
        "pg_get_function_arguments(oid) -> text",
        "pg_get_function_identity_arguments(oid) -> text",
        "pg_get_serial_sequence(text, text) -> text",
        "pg_get_statisticsobjdef_columns(oid) -> text",
        "pg_get_partkeydef(oid) -> text",
        "pg_tablespace_location(oid) -> text",
        "pg_relation_filenode(regclass) -> oid",
        "pg_partition_ancestors(regclass) -> oid",
    ] {
        r.lenient(signature, null).stable();
    }
    // An expression node prints as itself.
    r.strict("pg_get_expr(text, oid) -> text", |args, _| Ok(args[0].clone())).stable();
    r.strict("pg_get_expr(text, oid, bool) -> text", |args, _| Ok(args[0].clone())).stable();
    // There is one role.
    r.strict("pg_get_userbyid(oid) -> name", |_, _| Ok(Datum::text("headwater"))).stable();
    r.strict("pg_relation_is_publishable(regclass) -> bool", |_, _| Ok(Datum::Bool(false))).stable();
    r.strict("pg_is_other_temp_schema(oid) -> bool", |_, _| Ok(Datum::Bool(false))).stable();
    r.strict("pg_my_temp_schema() -> oid", |_, _| Ok(Datum::Int(0))).stable();
    r.strict("pg_relation_is_updatable(regclass, bool) -> int4", |_, _| Ok(Datum::Int(0))).stable();
    r.strict("pg_column_is_updatable(regclass, int2, bool) -> bool", |_, _| Ok(Datum::Bool(false))).stable();
}

fn yes(_: &[Datum], _: &EvalContext<'_>) -> Result<Datum> {
    Ok(Datum::Bool(true))
}

fn visible(r: &mut Registry) {
    for what in [
        "table",
        "type",
        "function",
        "operator",
        "opclass",
        "opfamily",
        "collation",
        "conversion",
        "ts_config",
        "ts_dict",
        "ts_parser",
        "ts_template",
        "statistics_obj",
    ] {
        r.strict(&format!("pg_{what}_is_visible(oid) -> bool"), yes).stable();
    }
}

/// Whoever is connected may read everything.
fn privileges(r: &mut Registry) {
    for what in ["table", "schema", "database", "function", "sequence", "type", "any_column", "language", "tablespace"]
    {
        for object in ["oid", "text"] {
            r.strict(&format!("has_{what}_privilege({object}, text) -> bool"), yes).stable();
            r.strict(&format!("has_{what}_privilege(name, {object}, text) -> bool"), yes).stable();
            r.strict(&format!("has_{what}_privilege(oid, {object}, text) -> bool"), yes).stable();
        }
    }
    r.strict("has_column_privilege(oid, text, text) -> bool", yes).stable();
    r.strict("has_column_privilege(oid, int2, text) -> bool", yes).stable();
    r.strict("has_column_privilege(text, text, text) -> bool", yes).stable();
    for user in ["name", "oid"] {
        r.strict(&format!("pg_has_role({user}, text) -> bool"), yes).stable();
        r.strict(&format!("pg_has_role({user}, {user}, text) -> bool"), yes).stable();
    }
    r.strict("row_security_active(oid) -> bool", |_, _| Ok(Datum::Bool(false))).stable();
}

/// PostgreSQL's numbers of the types: scalar, then its array.
const TYPE_OIDS: &[(Type, i64, i64)] = &[
    (Type::Bool, 16, 1000),
    (Type::Bytea, 17, 1001),
    (Type::Char, 18, 1002),
    (Type::Name, 19, 1003),
    (Type::Int8, 20, 1016),
    (Type::Int2, 21, 1005),
    (Type::Int4, 23, 1007),
    (Type::Regproc, 24, 1008),
    (Type::Text, 25, 1009),
    (Type::Oid, 26, 1028),
    (Type::Float4, 700, 1021),
    (Type::Float8, 701, 1022),
    (Type::Unknown, 705, 0),
    (Type::Varchar(None), 1043, 1015),
    (Type::Date, 1082, 1182),
    (Type::Time, 1083, 1183),
    (Type::Timestamp, 1114, 1115),
    (Type::Timestamptz, 1184, 1185),
    (Type::Interval, 1186, 1187),
    (Type::Numeric(None), 1700, 1231),
    (Type::Regclass, 2205, 2210),
    (Type::Regtype, 2206, 2211),
    (Type::Record, 2249, 2287),
    (Type::Void, 2278, 0),
    (Type::Uuid, 2950, 2951),
    (Type::Json, 3802, 3807),
    (Type::Regnamespace, 4089, 4090),
];

/// PostgreSQL's number of a type.
pub fn oid_of(ty: &Type) -> i64 {
    let (base, is_array) = match ty {
        Type::Array(element) => match element.as_ref() {
            // Further dimensions are the same type.
            Type::Array(_) => return oid_of(element),
            element => (crate::cast::base(element), true),
        },
        other => (crate::cast::base(other), false),
    };
    TYPE_OIDS
        .iter()
        .find(|(known, _, _)| *known == base)
        .map_or(0, |(_, scalar, array)| if is_array { *array } else { *scalar })
}

/// The type of a number.
pub fn type_of_oid(oid: i64) -> Option<Type> {
    TYPE_OIDS.iter().find_map(|(ty, scalar, array)| {
        if *scalar == oid {
            Some(ty.clone())
        } else if *array == oid && oid != 0 {
            Some(Type::array_of(ty.clone()))
        } else if oid == 114 {
            // PostgreSQL's json is jsonb here.
            Some(Type::Json)
        } else if oid == 1042 {
            Some(Type::Varchar(None))
        } else {
            None
        }
    })
}

/// A type by any of its SQL names.
pub fn type_by_name(name: &str) -> Option<Type> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    if let Some(element) = name.strip_suffix("[]") {
        return type_by_name(element).map(Type::array_of);
    }
    let name = name.split_once('(').map_or(name, |(name, _)| name.trim());
    Some(match name {
        "bool" | "boolean" => Type::Bool,
        "int2" | "smallint" => Type::Int2,
        "int4" | "int" | "integer" => Type::Int4,
        "int8" | "bigint" => Type::Int8,
        "float4" | "real" => Type::Float4,
        "float8" | "double precision" | "float" => Type::Float8,
        "numeric" | "decimal" | "dec" => Type::Numeric(None),
        "text" => Type::Text,
        "varchar" | "character varying" | "bpchar" | "char" | "character" => Type::Varchar(None),
        "name" => Type::Name,
        "\"char\"" => Type::Char,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" | "time without time zone" => Type::Time,
        "timestamp" | "timestamp without time zone" => Type::Timestamp,
        "timestamptz" | "timestamp with time zone" => Type::Timestamptz,
        "interval" => Type::Interval,
        "uuid" => Type::Uuid,
        "json" | "jsonb" => Type::Json,
        "oid" => Type::Oid,
        "regclass" => Type::Regclass,
        "regtype" => Type::Regtype,
        "regproc" => Type::Regproc,
        "regnamespace" => Type::Regnamespace,
        "record" => Type::Record,
        "void" => Type::Void,
        _ => return None,
    })
}

/// The number of a type by name. Errors with 42704.
pub fn oid_of_type_name(name: &str) -> Result<i64> {
    if let Ok(oid) = name.parse::<u32>() {
        return Ok(i64::from(oid));
    }
    type_by_name(name)
        .map(|ty| oid_of(&ty))
        .ok_or_else(|| SqlError::new("42704", format!("type \"{name}\" does not exist")))
}

fn format_type(args: &[Datum]) -> Result<Datum> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let oid = args[0].as_int()?;
    let Some(ty) = type_of_oid(oid) else { return Ok(Datum::text(if oid == 0 { "-" } else { "???" })) };
    let modifier = match &args[1] {
        Datum::Int(n) if *n >= 4 => Some(*n - 4),
        _ => None,
    };
    Ok(Datum::text(match (&ty, modifier) {
        (Type::Varchar(_), Some(length)) => format!("{ty}({length})"),
        (Type::Numeric(_), Some(packed)) => format!("numeric({},{})", packed >> 16 & 0xffff, packed & 0x7ff),
        _ => ty.to_string(),
    }))
}

fn pretty_size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let mut size = i128::from(bytes);
    let mut unit = 0;
    // Ten units of the next smaller one are shown as such.
    let mut divided = false;
    while size.abs() >= if divided { 20_480 } else { 10_240 } && unit + 1 < UNITS.len() {
        size = if unit == 0 { size >> 9 } else { size >> 10 };
        divided = true;
        unit += 1;
    }
    if divided {
        size = (size + size.signum()) / 2;
    }
    format!("{size} {}", UNITS[unit])
}

/// PostgreSQL's numbers of its own tables and functions that clients cast to `regclass` and `regproc`.
pub fn oid_of_system_name(ty: &Type, name: &str) -> Option<i64> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let known: &[(&str, i64)] = match ty {
        Type::Regclass => &[
            ("pg_type", 1247),
            ("pg_attribute", 1249),
            ("pg_proc", 1255),
            ("pg_class", 1259),
            ("pg_authid", 1260),
            ("pg_database", 1262),
            ("pg_attrdef", 2604),
            ("pg_constraint", 2606),
            ("pg_description", 2609),
            ("pg_index", 2610),
            ("pg_namespace", 2615),
            ("pg_opclass", 2616),
            ("pg_operator", 2617),
            ("pg_rewrite", 2618),
            ("pg_trigger", 2620),
            ("pg_collation", 3456),
            ("pg_extension", 3079),
            ("pg_tablespace", 1213),
        ],
        Type::Regproc => &[("array_in", 750), ("array_recv", 2400), ("record_in", 2290), ("domain_in", 2597)],
        _ => &[],
    };
    known.iter().find_map(|(known, oid)| (*known == name).then_some(*oid))
}

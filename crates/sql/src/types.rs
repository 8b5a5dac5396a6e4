//! The types of columns and expressions.

/// A SQL type. Documents are one JSON type (`jsonb` on the wire) that keeps BSON's types inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// An undecorated string literal or NULL before its context gives it a type.
    Unknown,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Precision and scale, if declared: `numeric(10,2)`.
    Numeric(Option<(u16, i16)>),
    Text,
    /// `varchar(n)`, `char(n)` casts truncate; otherwise text.
    Varchar(Option<u32>),
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    /// json and jsonb alike.
    Json,
    Array(Box<Type>),
    Record,
    /// Catalogue types: numbers (`Datum::Int`) …
    Oid,
    Regclass,
    Regtype,
    Regproc,
    Regnamespace,
    /// … and texts.
    Name,
    Char,
    Void,
}

impl Type {
    pub fn array_of(element: Type) -> Type {
        Type::Array(Box::new(element))
    }

    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    pub fn is_numeric(&self) -> bool {
        self.is_integer() || matches!(self, Type::Float4 | Type::Float8 | Type::Numeric(_))
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Type::Text | Type::Varchar(_) | Type::Name | Type::Char)
    }

    pub fn is_temporal(&self) -> bool {
        matches!(self, Type::Date | Type::Time | Type::Timestamp | Type::Timestamptz | Type::Interval)
    }
}

/// PostgreSQL's spelling, as `pg_typeof` and error messages give it.
impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Type::Unknown => "unknown",
            Type::Bool => "boolean",
            Type::Int2 => "smallint",
            Type::Int4 => "integer",
            Type::Int8 => "bigint",
            Type::Float4 => "real",
            Type::Float8 => "double precision",
            Type::Numeric(_) => "numeric",
            Type::Text => "text",
            Type::Varchar(_) => "character varying",
            Type::Bytea => "bytea",
            Type::Date => "date",
            Type::Time => "time without time zone",
            Type::Timestamp => "timestamp without time zone",
            Type::Timestamptz => "timestamp with time zone",
            Type::Interval => "interval",
            Type::Uuid => "uuid",
            Type::Json => "jsonb",
            Type::Array(element) => return write!(f, "{element}[]"),
            Type::Record => "record",
            Type::Oid => "oid",
            Type::Regclass => "regclass",
            Type::Regtype => "regtype",
            Type::Regproc => "regproc",
            Type::Regnamespace => "regnamespace",
            Type::Name => "name",
            Type::Char => "\"char\"",
            Type::Void => "void",
        };
        f.write_str(name)
    }
}

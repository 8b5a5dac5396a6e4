//! Constants and type names.

use sqlparser::ast::{self, ArrayElemTypeDef, CharacterLength, DataType, DateTimeField, ExactNumberInfo, TimezoneInfo};
use sqlparser::ast::{TypeModifier, Value};

use super::Binder;
use crate::cast;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::parser::fold;
use crate::types::Type;

/// Most parameters a statement may have, PostgreSQL's protocol limit.
const MAX_PARAMETERS: usize = 65_535;

impl Binder<'_> {
    pub(super) fn bind_value(&mut self, value: &Value) -> Result<Expr> {
        use Value::*;
        match value {
            Number(digits, false) => self.number(digits),
            Number(_, true) => Err(SqlError::unsupported("a number with the suffix L")),
            SingleQuotedString(text)
            | EscapedStringLiteral(text)
            | UnicodeStringLiteral(text)
            | NationalStringLiteral(text) => Ok(Expr::literal(Datum::text(text.as_str()), Type::Unknown)),
            DollarQuotedString(quoted) => Ok(Expr::literal(Datum::text(quoted.value.as_str()), Type::Unknown)),
            Boolean(b) => Ok(Expr::literal(Datum::Bool(*b), Type::Bool)),
            Null => Ok(Expr::literal(Datum::Null, Type::Unknown)),
            Placeholder(name) => self.parameter(name),
            HexStringLiteral(_) | SingleQuotedByteStringLiteral(_) => Err(SqlError::unsupported("a bit string")),
            TripleSingleQuotedString(_)
            | TripleDoubleQuotedString(_)
            | DoubleQuotedByteStringLiteral(_)
            | TripleSingleQuotedByteStringLiteral(_)
            | TripleDoubleQuotedByteStringLiteral(_)
            | SingleQuotedRawStringLiteral(_)
            | DoubleQuotedRawStringLiteral(_)
            | TripleSingleQuotedRawStringLiteral(_)
            | TripleDoubleQuotedRawStringLiteral(_)
            | QuoteDelimitedStringLiteral(_)
            | NationalQuoteDelimitedStringLiteral(_)
            | DoubleQuotedString(_) => Err(SqlError::unsupported("this kind of literal")),
        }
    }

    /// int4 if it fits, else int8, else numeric.
    fn number(&mut self, digits: &str) -> Result<Expr> {
        if digits.bytes().all(|b| b.is_ascii_digit())
            && let Ok(n) = digits.parse::<i64>()
        {
            let ty = if i32::try_from(n).is_ok() { Type::Int4 } else { Type::Int8 };
            return Ok(Expr::literal(Datum::Int(n), ty));
        }
        let ty = Type::Numeric(None);
        Ok(Expr::literal(self.parse_literal(digits, &ty)?, ty))
    }

    fn parameter(&mut self, name: &str) -> Result<Expr> {
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let Some(index) = number.filter(|n| (1..=MAX_PARAMETERS).contains(n)).map(|n| n - 1) else {
            return Err(SqlError::new("42P02", format!("there is no parameter {name}")));
        };
        if self.parameters.len() <= index {
            self.parameters.resize(index + 1, None);
        }
        let ty = self.parameters[index].clone().unwrap_or(Type::Unknown);
        Ok(Expr::new(ExprKind::Parameter(index), ty))
    }

    /// Reads a literal's text as a value of a type.
    pub(super) fn parse_literal(&self, text: &str, ty: &Type) -> Result<Datum> {
        cast::parse_literal(text, ty, &self.constant_context())
    }

    /// `DATE '2024-01-01'` and the like.
    pub(super) fn typed_string(&mut self, typed: &ast::TypedString) -> Result<Expr> {
        let ast::TypedString { data_type, value, uses_odbc_syntax: _ } = typed;
        let ty = self.bind_type(data_type)?;
        let literal = self.bind_value(&value.value)?;
        if !matches!(literal.kind, ExprKind::Literal(Datum::Text(_))) {
            return Err(SqlError::syntax("a typed literal must be a string"));
        }
        self.explicit_cast(literal, &ty)
    }

    /// `INTERVAL '1' DAY`: the unit is that of a bare number.
    pub(super) fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let ast::Interval { value, leading_field, leading_precision, last_field, fractional_seconds_precision } =
            interval;
        if leading_precision.is_some() || fractional_seconds_precision.is_some() {
            return Err(SqlError::unsupported("interval precision"));
        }
        let literal = self.bind_constant(value)?;
        let ExprKind::Literal(Datum::Text(text)) = &literal.kind else {
            return Err(SqlError::syntax("INTERVAL needs a string literal"));
        };
        let bare = text.trim().parse::<f64>().is_ok();
        let unit = last_field.as_ref().or(leading_field.as_ref());
        let text = match unit {
            Some(field) if bare => format!("{text} {}", interval_unit(field)?),
            _ => text.to_string(),
        };
        let datum = self.parse_literal(&text, &Type::Interval)?;
        Ok(Expr::literal(datum, Type::Interval))
    }

    fn bind_constant(&mut self, expr: &ast::Expr) -> Result<Expr> {
        match expr {
            ast::Expr::Value(value) => self.bind_value(&value.value),
            _ => Err(SqlError::syntax("a constant is expected here")),
        }
    }

    // ---- types ---------------------------------------------------------------------------------

    /// A type's name. Errors with 42704 for names PostgreSQL does not know either.
    pub(super) fn bind_type(&self, data_type: &DataType) -> Result<Type> {
        use DataType::*;
        Ok(match data_type {
            Bool | Boolean => Type::Bool,
            SmallInt(None) | Int2(None) => Type::Int2,
            Int(None) | Int4(None) | Integer(None) => Type::Int4,
            BigInt(None) | Int8(None) => Type::Int8,
            Real | Float4 => Type::Float4,
            Float8 | DoublePrecision | Double(ExactNumberInfo::None) => Type::Float8,
            Float(ExactNumberInfo::None) => Type::Float8,
            Float(ExactNumberInfo::Precision(bits)) => match bits {
                1..=24 => Type::Float4,
                25..=53 => Type::Float8,
                _ => return Err(SqlError::new("22023", "precision for type float must be from 1 to 53 bits")),
            },
            Numeric(info) | Decimal(info) | Dec(info) => Type::Numeric(numeric_modifier(info)?),
            Text => Type::Text,
            Varchar(length) | CharacterVarying(length) | CharVarying(length) => Type::Varchar(text_length(length)?),
            Char(length) | Character(length) => Type::Varchar(Some(text_length(length)?.unwrap_or(1))),
            Bytea => Type::Bytea,
            Date => Type::Date,
            Time(precision, zone) => match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => with_precision(Type::Time, precision)?,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => {
                    return Err(SqlError::unsupported("type time with time zone"));
                }
            },
            Timestamp(precision, zone) => match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => with_precision(Type::Timestamp, precision)?,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => with_precision(Type::Timestamptz, precision)?,
            },
            Interval { fields: None, precision: None } => Type::Interval,
            Interval { .. } => return Err(SqlError::unsupported("interval fields or precision in a type")),
            Uuid => Type::Uuid,
            JSON | JSONB => Type::Json,
            Regclass => Type::Regclass,
            Array(ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::Qualified(element, _)) => {
                match self.bind_type(element)? {
                    // PostgreSQL's arrays have any number of dimensions, and one type for them.
                    Type::Array(inner) => Type::Array(inner),
                    element => Type::array_of(element),
                }
            }
            Custom(name, modifiers) => self.named_type(name, modifiers)?,
            other => return Err(SqlError::new("42704", format!("type \"{}\" does not exist", lower(other)))),
        })
    }

    fn named_type(&self, name: &ast::ObjectName, modifiers: &[TypeModifier]) -> Result<Type> {
        let parts = super::name_parts(name)?;
        let (last, schema) = parts.split_last().ok_or_else(|| SqlError::internal("a type without a name"))?;
        let unknown = || SqlError::new("42704", format!("type \"{}\" does not exist", parts.join(".")));
        if schema.len() > 1 || schema.iter().any(|schema| schema != "pg_catalog" && schema != "public") {
            return Err(unknown());
        }
        let quoted = matches!(name.0.last(), Some(ast::ObjectNamePart::Identifier(i)) if i.quote_style.is_some());
        if !modifiers.is_empty() && !matches!(last.as_str(), "varchar" | "bpchar" | "numeric") {
            return Err(SqlError::new("42601", format!("type modifier is not allowed for type \"{last}\"")));
        }
        Ok(match last.as_str() {
            "bool" => Type::Bool,
            "int2" => Type::Int2,
            "int4" | "serial" => Type::Int4,
            "int8" => Type::Int8,
            "float4" => Type::Float4,
            "float8" => Type::Float8,
            "numeric" => Type::Numeric(modifier_numbers(modifiers)?),
            "text" => Type::Text,
            "varchar" | "bpchar" => Type::Varchar(modifier_length(modifiers)?),
            "char" if quoted => Type::Char,
            "bytea" => Type::Bytea,
            "date" => Type::Date,
            "time" => Type::Time,
            "timestamp" => Type::Timestamp,
            "timestamptz" => Type::Timestamptz,
            "interval" => Type::Interval,
            "uuid" => Type::Uuid,
            "json" | "jsonb" => Type::Json,
            "oid" => Type::Oid,
            "regclass" => Type::Regclass,
            "regtype" => Type::Regtype,
            "regproc" | "regprocedure" => Type::Regproc,
            "regnamespace" => Type::Regnamespace,
            "name" => Type::Name,
            "record" => return Err(SqlError::new("0A000", "input of anonymous composite types is not implemented")),
            "unknown" => Type::Text,
            "money" | "xml" | "inet" | "cidr" | "macaddr" | "timetz" | "tsvector" | "tsquery" | "point" | "bit"
            | "varbit" | "pg_lsn" => return Err(SqlError::unsupported(format!("type {last}"))),
            other => match other.strip_prefix('_') {
                // PostgreSQL's own names of array types.
                Some(element) if !element.is_empty() && !element.starts_with('_') => {
                    let ident = ast::Ident::new(element);
                    Type::array_of(self.named_type(&ast::ObjectName::from(vec![ident]), &[]).map_err(|_| unknown())?)
                }
                _ => return Err(unknown()),
            },
        })
    }
}

fn lower(ty: &DataType) -> String {
    ty.to_string().to_ascii_lowercase()
}

fn numeric_modifier(info: &ExactNumberInfo) -> Result<Option<(u16, i16)>> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(None),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    check_numeric(precision, scale).map(Some)
}

fn check_numeric(precision: u64, scale: i64) -> Result<(u16, i16)> {
    if !(1..=1000).contains(&precision) {
        return Err(SqlError::new("22023", format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(SqlError::new("22023", format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    Ok((precision as u16, scale as i16))
}

fn modifier_numbers(modifiers: &[TypeModifier]) -> Result<Option<(u16, i16)>> {
    let numbers = modifiers.iter().map(modifier_number).collect::<Result<Vec<_>>>()?;
    match numbers[..] {
        [] => Ok(None),
        [precision] => check_numeric(precision, 0).map(Some),
        [precision, scale] => check_numeric(precision, scale as i64).map(Some),
        _ => Err(SqlError::new("22023", "invalid NUMERIC type modifier")),
    }
}

fn modifier_number(modifier: &TypeModifier) -> Result<u64> {
    match modifier {
        TypeModifier::Number(digits, _) => digits.parse().ok(),
        TypeModifier::Identifier(_) | TypeModifier::String(_) => None,
    }
    .ok_or_else(|| SqlError::syntax(format!("invalid type modifier {modifier}")))
}

fn modifier_length(modifiers: &[TypeModifier]) -> Result<Option<u32>> {
    match modifiers {
        [] => Ok(None),
        [length] => check_length(modifier_number(length)?).map(Some),
        _ => Err(SqlError::syntax("too many type modifiers")),
    }
}

fn text_length(length: &Option<CharacterLength>) -> Result<Option<u32>> {
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length, unit: None }) => check_length(*length).map(Some),
        Some(_) => Err(SqlError::unsupported("this length of a character type")),
    }
}

fn check_length(length: u64) -> Result<u32> {
    if length == 0 {
        return Err(SqlError::new("22023", "length for type varchar must be at least 1"));
    }
    u32::try_from(length)
        .ok()
        .filter(|n| *n <= 10_485_760)
        .ok_or_else(|| SqlError::new("22023", "length for type varchar cannot exceed 10485760"))
}

/// Microseconds are the precision there is.
fn with_precision(ty: Type, precision: &Option<u64>) -> Result<Type> {
    match precision {
        None | Some(6) => Ok(ty),
        Some(_) => Err(SqlError::unsupported(format!("a precision of {ty} other than 6"))),
    }
}

fn interval_unit(field: &DateTimeField) -> Result<&'static str> {
    use DateTimeField::*;
    Ok(match field {
        Year | Years => "years",
        Month | Months => "months",
        Week(None) | Weeks => "weeks",
        Day | Days => "days",
        Hour | Hours => "hours",
        Minute | Minutes => "minutes",
        Second | Seconds => "seconds",
        other => return Err(SqlError::syntax(format!("syntax error at or near \"{other}\""))),
    })
}

/// The name of EXTRACT's field, as date_part takes it.
pub(super) fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => fold(ident),
        other => other.to_string().to_ascii_lowercase().trim_matches('\'').to_string(),
    }
}

//! Expressions as SQL, with parentheses only where the grammar needs them.

use crate::binder::aggregate_name;
use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};
use crate::plan::{AggregateExpr, Exclude, Field, Frame, FrameBound, FrameUnit, SortKey, WindowExpr, WindowFunction};
use crate::text;
use crate::types::Type;

/// How tightly a text holds together; PostgreSQL's operator table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Is,
    Comparison,
    Range,
    Other,
    Additive,
    Multiplicative,
    Power,
    Sign,
    Subscript,
    Atom,
}

/// The expression over an input with these columns.
pub fn expr_to_sql(expr: &Expr, fields: &[Field]) -> String {
    write(expr, fields).0
}

/// A constant with its type, as it could be written.
pub fn literal_to_sql(datum: &Datum, ty: &Type) -> String {
    literal(datum, ty).0
}

/// A name, quoted where it must be.
pub(super) fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn list(exprs: &[Expr], fields: &[Field]) -> String {
    exprs.iter().map(|e| expr_to_sql(e, fields)).collect::<Vec<_>>().join(", ")
}

/// The text, in parentheses if it holds less tightly than `least`.
fn at_least(expr: &Expr, fields: &[Field], least: Binding) -> String {
    let (text, binding) = write(expr, fields);
    if binding < least { format!("({text})") } else { text }
}

fn write(expr: &Expr, fields: &[Field]) -> (String, Binding) {
    use ExprKind::*;
    let inner = |e: &Expr, least| at_least(e, fields, least);
    match &expr.kind {
        Column(index) => {
            let name = fields.get(*index).map_or_else(|| format!("${index}"), |field| identifier(&field.name));
            let repeated = fields.iter().filter(|f| fields.get(*index).is_some_and(|g| g.name == f.name)).count() > 1;
            (if repeated { format!("{name}#{}", index + 1) } else { name }, Binding::Atom)
        }
        Literal(datum) => literal(datum, &expr.ty),
        Parameter(index) => (format!("${}", index + 1), Binding::Atom),
        Now => ("now()".into(), Binding::Atom),
        Call { function, args } => call(function.name, args, fields),
        Cast { input, .. } => {
            (format!("{}::{}", inner(input, Binding::Subscript), type_to_sql(&expr.ty)), Binding::Subscript)
        }
        And(list) => (joined(list, fields, " AND ", Binding::Not), Binding::And),
        Or(list) => (joined(list, fields, " OR ", Binding::And), Binding::Or),
        Not(operand) => match &operand.kind {
            IsNull(e) => (format!("{} IS NOT NULL", inner(e, Binding::Comparison)), Binding::Is),
            NotDistinct(a, b) => {
                (format!("{} IS DISTINCT FROM {}", inner(a, Binding::Other), inner(b, Binding::Other)), Binding::Is)
            }
            _ => (format!("NOT {}", inner(operand, Binding::Is)), Binding::Not),
        },
        IsNull(operand) => (format!("{} IS NULL", inner(operand, Binding::Comparison)), Binding::Is),
        NotDistinct(a, b) => {
            (format!("{} IS NOT DISTINCT FROM {}", inner(a, Binding::Other), inner(b, Binding::Other)), Binding::Is)
        }
        Case { branches, otherwise } => {
            let mut text = String::from("CASE");
            for (condition, result) in branches {
                text += &format!(" WHEN {} THEN {}", expr_to_sql(condition, fields), expr_to_sql(result, fields));
            }
            if let Some(otherwise) = otherwise {
                text += &format!(" ELSE {}", expr_to_sql(otherwise, fields));
            }
            (text + " END", Binding::Atom)
        }
        Coalesce(args) => (format!("coalesce({})", list(args, fields)), Binding::Atom),
        InList { input, list: items, negated } => {
            let not = if *negated { "NOT " } else { "" };
            (format!("{} {not}IN ({})", inner(input, Binding::Other), list(items, fields)), Binding::Range)
        }
        Quantified { function, input, array, all } => {
            let word = if *all { "ALL" } else { "ANY" };
            let array = expr_to_sql(array, fields);
            (format!("{} {} {word} ({array})", inner(input, Binding::Other), function.name), Binding::Comparison)
        }
        Array(items) => (format!("ARRAY[{}]", list(items, fields)), Binding::Atom),
        Record(items) => (format!("ROW({})", list(items, fields)), Binding::Atom),
        Subscript { array, index } => {
            (format!("{}[{}]", inner(array, Binding::Subscript), expr_to_sql(index, fields)), Binding::Subscript)
        }
    }
}

fn joined(operands: &[Expr], fields: &[Field], word: &str, least: Binding) -> String {
    operands.iter().map(|e| at_least(e, fields, least)).collect::<Vec<_>>().join(word)
}

fn call(name: &str, args: &[Expr], fields: &[Field]) -> (String, Binding) {
    let symbolic = !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !symbolic {
        return (format!("{name}({})", list(args, fields)), Binding::Atom);
    }
    let binding = match name {
        "=" | "<>" | "<" | ">" | "<=" | ">=" => Binding::Comparison,
        "+" | "-" => Binding::Additive,
        "*" | "/" | "%" => Binding::Multiplicative,
        "^" => Binding::Power,
        _ => Binding::Other,
    };
    let next = match binding {
        Binding::Comparison => Binding::Range,
        Binding::Other => Binding::Additive,
        Binding::Additive => Binding::Multiplicative,
        Binding::Multiplicative => Binding::Power,
        _ => Binding::Sign,
    };
    let word = match name {
        "~~" => "LIKE",
        "~~*" => "ILIKE",
        "!~~" => "NOT LIKE",
        "!~~*" => "NOT ILIKE",
        other => other,
    };
    match args {
        [operand] => (format!("{name}{}", at_least(operand, fields, Binding::Subscript)), Binding::Sign),
        [left, right] => {
            // Comparisons do not associate; the others do to the left.
            let least = if binding == Binding::Comparison { next } else { binding };
            let (left, right) = (at_least(left, fields, least), at_least(right, fields, next));
            let tight = matches!(name, "->" | "->>" | "#>" | "#>>");
            (if tight { format!("{left}{name}{right}") } else { format!("{left} {word} {right}") }, binding)
        }
        _ => (format!("{name}({})", list(args, fields)), Binding::Atom),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn literal(datum: &Datum, ty: &Type) -> (String, Binding) {
    let text = || text::to_string(datum, ty, "UTC");
    match (datum, ty) {
        (Datum::Null, _) => ("NULL".into(), Binding::Atom),
        (Datum::Bool(b), _) => (b.to_string(), Binding::Atom),
        (Datum::Int(n), Type::Int2 | Type::Int4 | Type::Int8) if *n < 0 => (format!("({n})"), Binding::Atom),
        (Datum::Int(_), Type::Int2 | Type::Int4 | Type::Int8) | (Datum::Numeric(_), _) => (text(), Binding::Atom),
        (Datum::Text(text), Type::Text | Type::Unknown) => (quoted(text), Binding::Atom),
        _ => (format!("{}::{}", quoted(&text()), type_to_sql(ty)), Binding::Subscript),
    }
}

/// A type with its modifiers, as it could be written.
pub(super) fn type_to_sql(ty: &Type) -> String {
    match ty {
        Type::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
        Type::Varchar(Some(length)) => format!("varchar({length})"),
        Type::Varchar(None) => "varchar".into(),
        Type::Timestamptz => "timestamptz".into(),
        Type::Timestamp => "timestamp".into(),
        Type::Time => "time".into(),
        Type::Array(element) => format!("{}[]", type_to_sql(element)),
        other => other.to_string(),
    }
}

pub(super) fn sort_key_to_sql(key: &SortKey, fields: &[Field]) -> String {
    let direction = if key.descending { " DESC" } else { "" };
    let nulls = match (key.descending, key.nulls_first) {
        (false, true) => " NULLS FIRST",
        (true, false) => " NULLS LAST",
        _ => "",
    };
    format!("{}{direction}{nulls}", expr_to_sql(&key.expr, fields))
}

fn sort_keys(keys: &[SortKey], fields: &[Field]) -> String {
    keys.iter().map(|key| sort_key_to_sql(key, fields)).collect::<Vec<_>>().join(", ")
}

pub(super) fn aggregate_to_sql(aggregate: &AggregateExpr, fields: &[Field]) -> String {
    use crate::plan::AggregateFunction as F;
    let name = aggregate_name(aggregate.function);
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let args = if aggregate.function == F::CountStar { "*".into() } else { list(&aggregate.args, fields) };
    let ordered_set = crate::aggregates::is_ordered_set(aggregate.function);
    let mut text = match aggregate.order_by.is_empty() {
        true => format!("{name}({distinct}{args})"),
        false if ordered_set => {
            format!("{name}({args}) WITHIN GROUP (ORDER BY {})", sort_keys(&aggregate.order_by, fields))
        }
        false => format!("{name}({distinct}{args} ORDER BY {})", sort_keys(&aggregate.order_by, fields)),
    };
    if let Some(filter) = &aggregate.filter {
        text += &format!(" FILTER (WHERE {})", expr_to_sql(filter, fields));
    }
    text
}

pub(super) fn window_to_sql(window: &WindowExpr, fields: &[Field]) -> String {
    let name = match window.function {
        WindowFunction::RowNumber => "row_number",
        WindowFunction::Rank => "rank",
        WindowFunction::DenseRank => "dense_rank",
        WindowFunction::PercentRank => "percent_rank",
        WindowFunction::CumeDist => "cume_dist",
        WindowFunction::Ntile => "ntile",
        WindowFunction::Lag => "lag",
        WindowFunction::Lead => "lead",
        WindowFunction::FirstValue => "first_value",
        WindowFunction::LastValue => "last_value",
        WindowFunction::NthValue => "nth_value",
        WindowFunction::Aggregate(function) => aggregate_name(function),
    };
    let star = window.function == WindowFunction::Aggregate(crate::plan::AggregateFunction::CountStar);
    let args = if star { "*".into() } else { list(&window.args, fields) };
    let mut over = Vec::new();
    if !window.partition_by.is_empty() {
        over.push(format!("PARTITION BY {}", list(&window.partition_by, fields)));
    }
    if !window.order_by.is_empty() {
        over.push(format!("ORDER BY {}", sort_keys(&window.order_by, fields)));
    }
    over.extend(frame_to_sql(&window.frame, fields));
    let filter = window.filter.as_ref().map(|f| format!(" FILTER (WHERE {})", expr_to_sql(f, fields)));
    format!("{name}({args}){} OVER ({})", filter.unwrap_or_default(), over.join(" "))
}

fn frame_to_sql(frame: &Frame, fields: &[Field]) -> Option<String> {
    let default = frame.unit == FrameUnit::Range
        && frame.start == FrameBound::UnboundedPreceding
        && frame.end == FrameBound::CurrentRow
        && frame.exclude == Exclude::NoOthers;
    if default {
        return None;
    }
    let unit = match frame.unit {
        FrameUnit::Rows => "ROWS",
        FrameUnit::Range => "RANGE",
        FrameUnit::Groups => "GROUPS",
    };
    let bound = |bound: &FrameBound| match bound {
        FrameBound::UnboundedPreceding => "UNBOUNDED PRECEDING".to_string(),
        FrameBound::Preceding(e) => format!("{} PRECEDING", expr_to_sql(e, fields)),
        FrameBound::CurrentRow => "CURRENT ROW".to_string(),
        FrameBound::Following(e) => format!("{} FOLLOWING", expr_to_sql(e, fields)),
        FrameBound::UnboundedFollowing => "UNBOUNDED FOLLOWING".to_string(),
    };
    let exclude = match frame.exclude {
        Exclude::NoOthers => "",
        Exclude::CurrentRow => " EXCLUDE CURRENT ROW",
        Exclude::Group => " EXCLUDE GROUP",
        Exclude::Ties => " EXCLUDE TIES",
    };
    Some(format!("{unit} BETWEEN {} AND {}{exclude}", bound(&frame.start), bound(&frame.end)))
}

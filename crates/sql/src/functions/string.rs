//! Text functions.

use super::{MAX_RESULT, Registry, Types};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::text;

pub(super) fn register(r: &mut Registry) {
    concatenation(r);
    lengths(r);
    parts(r);
    padding(r);
    changes(r);
    quoting(r);
    r.lenient_typed("format(text, variadic any) -> text", format_text).stable();
    r.lenient("string_to_array(text, text) -> text[]", |args, _| {
        if args[0].is_null() { Ok(Datum::Null) } else { split(&args[0], &args[1], None) }
    });
    r.lenient("string_to_array(text, text, text) -> text[]", |args, _| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        split(&args[0], &args[1], (!args[2].is_null()).then(|| args[2].as_text()).transpose()?)
    });
    r.strict("starts_with(text, text) -> bool", |args, _| {
        Ok(Datum::Bool(args[0].as_text()?.starts_with(args[1].as_text()?)))
    });
    r.strict("^@(text, text) -> bool", |args, _| Ok(Datum::Bool(args[0].as_text()?.starts_with(args[1].as_text()?))));
}

/// 54000, before a function builds what would not fit.
pub(super) fn check_length(length: Option<usize>) -> Result<usize> {
    length.filter(|n| *n <= MAX_RESULT).ok_or_else(|| SqlError::new("54000", "requested length too large"))
}

fn concatenation(r: &mut Registry) {
    r.strict("||(text, text) -> text", |args, _| concat(args[0].as_text()?, args[1].as_text()?));
    r.strict_typed("||(text, anynonarray) -> text", concat_any).stable();
    r.strict_typed("||(anynonarray, text) -> text", concat_any).stable();
    r.strict("||(bytea, bytea) -> bytea", |args, _| {
        let (a, b) = (args[0].as_bytes()?, args[1].as_bytes()?);
        check_length(a.len().checked_add(b.len()))?;
        Ok(Datum::Bytea([a.as_ref(), b.as_ref()].concat().into()))
    });
    r.lenient_typed("concat(variadic any) -> text", |args, types, ctx| join(args, 0, "", types, ctx)).stable();
    r.lenient_typed("concat_ws(text, variadic any) -> text", |args, types, ctx| match &args[0] {
        Datum::Null => Ok(Datum::Null),
        separator => join(&args[1..], 1, separator.as_text()?, types, ctx),
    })
    .stable();
}

fn concat(a: &str, b: &str) -> Result<Datum> {
    check_length(a.len().checked_add(b.len()))?;
    let mut out = String::with_capacity(a.len() + b.len());
    out.push_str(a);
    out.push_str(b);
    Ok(Datum::text(out))
}

/// `||` casts its other operand to text: a boolean is `true`, not `t`.
fn concat_any(args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    let side = |i: usize| crate::cast::cast(&args[i], types.get(i), &crate::types::Type::Text, true, ctx);
    match (side(0)?, side(1)?) {
        (Datum::Null, _) | (_, Datum::Null) => Ok(Datum::Null),
        (a, b) => concat(a.as_text()?, b.as_text()?),
    }
}

fn join(args: &[Datum], first: usize, separator: &str, types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    let mut out = String::new();
    let mut any = false;
    for (i, arg) in args.iter().enumerate().filter(|(_, arg)| !arg.is_null()) {
        if any {
            out.push_str(separator);
        }
        text::output(arg, types.get(first + i), ctx.time_zone, &mut out);
        check_length(Some(out.len()))?;
        any = true;
    }
    Ok(Datum::text(out))
}

fn lengths(r: &mut Registry) {
    for name in ["length", "char_length", "character_length"] {
        r.strict(&format!("{name}(text) -> int4"), |args, _| Ok(Datum::Int(args[0].as_text()?.chars().count() as i64)));
    }
    r.strict("length(bytea) -> int4", |args, _| Ok(Datum::Int(args[0].as_bytes()?.len() as i64)));
    r.strict("octet_length(text) -> int4", |args, _| Ok(Datum::Int(args[0].as_text()?.len() as i64)));
    r.strict("octet_length(bytea) -> int4", |args, _| Ok(Datum::Int(args[0].as_bytes()?.len() as i64)));
    r.strict("bit_length(text) -> int4", |args, _| Ok(Datum::Int(args[0].as_text()?.len() as i64 * 8)));
    r.strict("ascii(text) -> int4", |args, _| {
        Ok(Datum::Int(args[0].as_text()?.chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    });
    r.strict("chr(int4) -> text", |args, _| match args[0].as_int()? {
        0 => Err(SqlError::new("54000", "null character not permitted")),
        n => u32::try_from(n)
            .ok()
            .and_then(char::from_u32)
            .map(|c| Datum::text(c.to_string()))
            .ok_or_else(|| SqlError::new("54000", format!("requested character not valid for encoding: {n}"))),
    });
    for name in ["position", "strpos"] {
        // `position(x in y)` has its arguments as written: the part first.
        let eval: super::PlainEval = match name {
            "position" => |args, _| Ok(Datum::Int(place(args[1].as_text()?, args[0].as_text()?))),
            _ => |args, _| Ok(Datum::Int(place(args[0].as_text()?, args[1].as_text()?))),
        };
        r.strict(&format!("{name}(text, text) -> int4"), eval);
    }
}

/// 1-based character position, 0 if it does not occur.
fn place(text: &str, part: &str) -> i64 {
    text.find(part).map_or(0, |at| text[..at].chars().count() as i64 + 1)
}

/// Characters from a 1-based position on, so many of them; outside is empty.
fn slice(text: &str, from: i64, length: Option<i64>) -> Result<&str> {
    if length.is_some_and(|n| n < 0) {
        return Err(SqlError::new("22011", "negative substring length not allowed"));
    }
    let end = length.map(|n| from.saturating_add(n));
    let start = from.max(1);
    let byte_at = |position: i64| {
        let index = usize::try_from(position - 1).unwrap_or(0);
        text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
    };
    match end {
        Some(end) if end <= start => Ok(""),
        Some(end) => Ok(&text[byte_at(start)..byte_at(end)]),
        None => Ok(&text[byte_at(start)..]),
    }
}

fn parts(r: &mut Registry) {
    for name in ["substring", "substr"] {
        r.strict(&format!("{name}(text, int4) -> text"), |args, _| {
            Ok(Datum::text(slice(args[0].as_text()?, args[1].as_int()?, None)?))
        });
        r.strict(&format!("{name}(text, int4, int4) -> text"), |args, _| {
            Ok(Datum::text(slice(args[0].as_text()?, args[1].as_int()?, Some(args[2].as_int()?))?))
        });
        r.strict(&format!("{name}(bytea, int4, int4) -> bytea"), |args, _| {
            let bytes = args[0].as_bytes()?;
            let (from, length) = (args[1].as_int()?, args[2].as_int()?);
            if length < 0 {
                return Err(SqlError::new("22011", "negative substring length not allowed"));
            }
            let clamp = |n: i64| usize::try_from(n - 1).unwrap_or(0).min(bytes.len());
            let (start, end) = (clamp(from), clamp(from.saturating_add(length)));
            Ok(Datum::Bytea(bytes.slice(start..end.max(start))))
        });
    }
    r.strict("left(text, int4) -> text", |args, _| {
        let (text, n) = (args[0].as_text()?, args[1].as_int()?);
        let count = if n >= 0 { n } else { (text.chars().count() as i64 + n).max(0) };
        Ok(Datum::text(slice(text, 1, Some(count))?))
    });
    r.strict("right(text, int4) -> text", |args, _| {
        let (text, n) = (args[0].as_text()?, args[1].as_int()?);
        let count = text.chars().count() as i64;
        let skip = if n >= 0 { (count - n).max(0) } else { (-n).min(count) };
        Ok(Datum::text(slice(text, skip + 1, None)?))
    });
    r.strict("split_part(text, text, int4) -> text", |args, _| {
        split_part(args[0].as_text()?, args[1].as_text()?, args[2].as_int()?)
    });
    r.strict("overlay(text, text, int4) -> text", |args, _| {
        let length = args[1].as_text()?.chars().count() as i64;
        overlay(args[0].as_text()?, args[1].as_text()?, args[2].as_int()?, length)
    });
    r.strict("overlay(text, text, int4, int4) -> text", |args, _| {
        overlay(args[0].as_text()?, args[1].as_text()?, args[2].as_int()?, args[3].as_int()?)
    });
}

fn split_part(text: &str, delimiter: &str, n: i64) -> Result<Datum> {
    if n == 0 {
        return Err(SqlError::new("22023", "field position must not be zero"));
    }
    let fields: Vec<&str> = match (text, delimiter) {
        ("", _) => return Ok(Datum::text("")),
        (_, "") => vec![text],
        _ => text.split(delimiter).collect(),
    };
    let index = if n > 0 { n - 1 } else { fields.len() as i64 + n };
    let field = usize::try_from(index).ok().and_then(|i| fields.get(i).copied());
    Ok(Datum::text(field.unwrap_or("")))
}

fn overlay(text: &str, new: &str, from: i64, length: i64) -> Result<Datum> {
    if from <= 0 {
        return Err(SqlError::new("22011", "negative substring length not allowed"));
    }
    let tail = from.checked_add(length).ok_or_else(|| crate::numeric::out_of_range("integer"))?;
    let (head, tail) = (slice(text, 1, Some(from - 1))?, slice(text, tail, None)?);
    check_length(Some(head.len() + new.len() + tail.len()))?;
    Ok(Datum::text([head, new, tail].concat()))
}

fn padding(r: &mut Registry) {
    r.strict("lpad(text, int4) -> text", |args, _| pad(&args[0], &args[1], " ", true));
    r.strict("lpad(text, int4, text) -> text", |args, _| pad(&args[0], &args[1], args[2].as_text()?, true));
    r.strict("rpad(text, int4) -> text", |args, _| pad(&args[0], &args[1], " ", false));
    r.strict("rpad(text, int4, text) -> text", |args, _| pad(&args[0], &args[1], args[2].as_text()?, false));
    r.strict("repeat(text, int4) -> text", |args, _| {
        let (text, n) = (args[0].as_text()?, usize::try_from(args[1].as_int()?).unwrap_or(0));
        check_length(text.len().checked_mul(n))?;
        Ok(Datum::text(text.repeat(n)))
    });
    for (name, start, end) in
        [("btrim", true, true), ("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)]
    {
        let (blank, given): (super::PlainEval, super::PlainEval) = match (start, end) {
            (true, true) => (
                |args, _| Ok(Datum::text(args[0].as_text()?.trim_matches(' '))),
                |args, _| trim(&args[0], &args[1], true, true),
            ),
            (true, false) => (
                |args, _| Ok(Datum::text(args[0].as_text()?.trim_start_matches(' '))),
                |args, _| trim(&args[0], &args[1], true, false),
            ),
            _ => (
                |args, _| Ok(Datum::text(args[0].as_text()?.trim_end_matches(' '))),
                |args, _| trim(&args[0], &args[1], false, true),
            ),
        };
        r.strict(&format!("{name}(text) -> text"), blank);
        r.strict(&format!("{name}(text, text) -> text"), given);
    }
}

fn trim(text: &Datum, set: &Datum, start: bool, end: bool) -> Result<Datum> {
    let set: Vec<char> = set.as_text()?.chars().collect();
    let mut text = text.as_text()?;
    if start {
        text = text.trim_start_matches(set.as_slice());
    }
    if end {
        text = text.trim_end_matches(set.as_slice());
    }
    Ok(Datum::text(text))
}

fn pad(text: &Datum, width: &Datum, fill: &str, left: bool) -> Result<Datum> {
    let text = text.as_text()?;
    let width = usize::try_from(width.as_int()?).unwrap_or(0);
    let length = text.chars().count();
    if width <= length || fill.is_empty() {
        return Ok(Datum::text(slice(text, 1, Some(width as i64))?));
    }
    check_length(width.checked_mul(4))?;
    let padding: String = fill.chars().cycle().take(width - length).collect();
    Ok(Datum::text(if left { padding + text } else { text.to_owned() + &padding }))
}

fn changes(r: &mut Registry) {
    r.strict("lower(text) -> text", |args, _| Ok(Datum::text(args[0].as_text()?.to_lowercase())));
    r.strict("upper(text) -> text", |args, _| Ok(Datum::text(args[0].as_text()?.to_uppercase())));
    r.strict("initcap(text) -> text", |args, _| {
        let mut out = String::new();
        let mut inside = false;
        for c in args[0].as_text()?.chars() {
            if inside {
                out.extend(c.to_lowercase());
            } else {
                out.extend(c.to_uppercase());
            }
            inside = c.is_alphanumeric();
        }
        Ok(Datum::text(out))
    });
    r.strict("reverse(text) -> text", |args, _| Ok(Datum::text(args[0].as_text()?.chars().rev().collect::<String>())));
    r.strict("replace(text, text, text) -> text", |args, _| {
        let (text, from, to) = (args[0].as_text()?, args[1].as_text()?, args[2].as_text()?);
        if from.is_empty() {
            return Ok(args[0].clone());
        }
        if to.len() > from.len() {
            let growth = text.matches(from).count().checked_mul(to.len() - from.len());
            check_length(growth.and_then(|g| g.checked_add(text.len())))?;
        }
        Ok(Datum::text(text.replace(from, to)))
    });
    r.strict("translate(text, text, text) -> text", |args, _| {
        let to: Vec<char> = args[2].as_text()?.chars().collect();
        let mut table = rustc_hash::FxHashMap::default();
        for (i, c) in args[1].as_text()?.chars().enumerate() {
            table.entry(c).or_insert(to.get(i).copied());
        }
        let translated = args[0].as_text()?.chars().filter_map(|c| table.get(&c).copied().unwrap_or(Some(c)));
        Ok(Datum::text(translated.collect::<String>()))
    });
    r.strict("to_hex(int4) -> text", |args, _| Ok(Datum::text(format!("{:x}", args[0].as_int()? as i32))));
    r.strict("to_hex(int8) -> text", |args, _| Ok(Datum::text(format!("{:x}", args[0].as_int()?))));
}

fn quoting(r: &mut Registry) {
    r.strict("quote_ident(text) -> text", |args, _| Ok(Datum::text(quote_identifier(args[0].as_text()?))));
    r.strict("quote_literal(text) -> text", |args, _| Ok(Datum::text(quote_literal(args[0].as_text()?))));
    r.lenient("quote_nullable(text) -> text", |args, _| {
        Ok(Datum::text(if args[0].is_null() { "NULL".to_owned() } else { quote_literal(args[0].as_text()?) }))
    });
}

/// Reserved words that must be quoted as identifiers; the common ones of PostgreSQL's list.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier, quoted where it has to be.
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A string literal; with backslashes it needs the `E` form.
pub fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

/// `string_to_array`: a NULL delimiter splits into characters; `null` is the text that means NULL.
pub(super) fn split(text: &Datum, delimiter: &Datum, null: Option<&str>) -> Result<Datum> {
    let text = text.as_text()?;
    let item = |s: &str| if null == Some(s) { Datum::Null } else { Datum::text(s) };
    let mut buffer = [0; 4];
    let items: Vec<Datum> = match delimiter {
        _ if text.is_empty() => Vec::new(),
        Datum::Null => text.chars().map(|c| item(c.encode_utf8(&mut buffer))).collect(),
        delimiter => match delimiter.as_text()? {
            "" => vec![item(text)],
            delimiter => text.split(delimiter).map(item).collect(),
        },
    };
    Ok(Datum::Array(items.into()))
}

fn format_text(args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let bad = |message: &str| SqlError::new("22023", message);
    let mut out = String::new();
    let mut next = 1;
    let mut chars = args[0].as_text()?.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut spec = String::new();
        let conversion = loop {
            match chars.next() {
                Some(c @ ('s' | 'I' | 'L')) => break c,
                Some(c) if c.is_ascii_digit() || "$-*".contains(c) => spec.push(c),
                Some(c) => {
                    return Err(bad(&format!("unrecognized format() type specifier \"{c}\""))
                        .with_hint("For a single \"%\" use \"%%\"."));
                }
                None => {
                    return Err(bad("unterminated format() type specifier").with_hint("For a single \"%\" use \"%%\"."));
                }
            }
        };
        let field = FormatField::parse(&spec, &mut next, args)?;
        if field.argument >= args.len() {
            return Err(bad("too few arguments for format()"));
        }
        let value = &args[field.argument];
        let shown = text::to_string(value, types.get(field.argument), ctx.time_zone);
        let piece = match conversion {
            's' => shown,
            'I' if value.is_null() => {
                return Err(SqlError::new("22004", "null values cannot be formatted as an SQL identifier"));
            }
            'I' => quote_identifier(&shown),
            _ if value.is_null() => "NULL".to_owned(),
            _ => quote_literal(&shown),
        };
        let width = usize::try_from(field.width.unsigned_abs()).unwrap_or(usize::MAX);
        let missing = width.saturating_sub(piece.chars().count());
        check_length(out.len().checked_add(missing).and_then(|n| n.checked_add(piece.len())))?;
        let blanks = " ".repeat(missing);
        if field.width < 0 {
            out.push_str(&piece);
            out.push_str(&blanks);
        } else {
            out.push_str(&blanks);
            out.push_str(&piece);
        }
    }
    Ok(Datum::text(out))
}

/// `[n$][-][width]`; a negative width aligns left.
struct FormatField {
    argument: usize,
    width: i64,
}

impl FormatField {
    fn parse(spec: &str, next: &mut usize, args: &[Datum]) -> Result<FormatField> {
        let bad = || SqlError::new("22023", "unrecognized format() type specifier");
        let (position, rest) = match spec.split_once('$') {
            Some((n, rest)) => (Some(n.parse::<usize>().map_err(|_| bad())?), rest),
            None => (None, spec),
        };
        let (left, digits) = match rest.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, rest),
        };
        let width = match digits {
            "" => 0,
            "*" => {
                let value = args.get(*next).ok_or_else(|| SqlError::new("22023", "too few arguments for format()"))?;
                *next += 1;
                match value {
                    Datum::Int(n) => *n,
                    Datum::Null => 0,
                    other => other.as_text()?.parse().map_err(|_| bad())?,
                }
            }
            digits => digits.parse().map_err(|_| bad())?,
        };
        if position == Some(0) {
            return Err(SqlError::new("22023", "format specifies argument 0, but arguments are numbered from 1"));
        }
        let argument = position.unwrap_or(*next);
        *next = argument + 1;
        Ok(FormatField { argument, width: if left { -width.abs() } else { width } })
    }
}

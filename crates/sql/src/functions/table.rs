//! Set-returning functions: their columns, and their rows for some arguments.

use document::Raw;

use super::{MAX_RESULT, json_read, pattern};
use crate::compare::compare;
use crate::datetime;
use crate::datum::{Datum, Interval};
use crate::error::{Result, SqlError};
use crate::json::{self, Plain};
use crate::numeric::Numeric;
use crate::plan::TableFunction;
use crate::types::Type;

/// Most rows that one call returns.
const MAX_ROWS: usize = 10_000_000;

/// The function of a name, if it returns a set.
pub fn by_name(name: &str) -> Option<TableFunction> {
    Some(match name {
        "unnest" => TableFunction::Unnest,
        "json_array_elements" | "jsonb_array_elements" => TableFunction::JsonArrayElements,
        "json_array_elements_text" | "jsonb_array_elements_text" => TableFunction::JsonArrayElementsText,
        "json_each" | "jsonb_each" => TableFunction::JsonEach,
        "json_each_text" | "jsonb_each_text" => TableFunction::JsonEachText,
        "json_object_keys" | "jsonb_object_keys" => TableFunction::JsonObjectKeys,
        "generate_series" => TableFunction::GenerateSeries,
        "regexp_matches" => TableFunction::RegexpMatches,
        "string_to_table" => TableFunction::StringToTable,
        "jsonb_path_query" => TableFunction::JsonPathQuery,
        "generate_subscripts" => TableFunction::GenerateSubscripts,
        "_pg_expandarray" => TableFunction::ExpandArray,
        "pg_get_keywords" => TableFunction::Keywords,
        _ => return None,
    })
}

/// Names and types of a function's columns.
pub type Columns = Vec<(&'static str, Type)>;

/// What the arguments must be cast to, and the names and types of the columns. Errors with 42883.
pub fn columns(function: TableFunction, args: &[Type]) -> Result<(Vec<Type>, Columns)> {
    use TableFunction::*;
    let mismatch = |name: &str| {
        let types: Vec<String> = args.iter().map(Type::to_string).collect();
        SqlError::new("42883", format!("function {name}({}) does not exist", types.join(", "))).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )
    };
    let json = |name: &str, columns: Vec<(&'static str, Type)>| match args {
        [Type::Json | Type::Unknown] => Ok((vec![Type::Json], columns)),
        _ => Err(mismatch(name)),
    };
    match function {
        Unnest => {
            let element = |ty: &Type| match ty {
                Type::Array(element) => Ok(("unnest", (**element).clone())),
                _ => Err(mismatch("unnest")),
            };
            if args.is_empty() {
                return Err(mismatch("unnest"));
            }
            Ok((args.to_vec(), args.iter().map(element).collect::<Result<_>>()?))
        }
        JsonArrayElements => json("jsonb_array_elements", vec![("value", Type::Json)]),
        JsonArrayElementsText => json("jsonb_array_elements_text", vec![("value", Type::Text)]),
        JsonEach => json("jsonb_each", vec![("key", Type::Text), ("value", Type::Json)]),
        JsonEachText => json("jsonb_each_text", vec![("key", Type::Text), ("value", Type::Text)]),
        JsonObjectKeys => json("jsonb_object_keys", vec![("jsonb_object_keys", Type::Text)]),
        GenerateSeries => series_types(args)
            .map(|(args, ty)| (args, vec![("generate_series", ty)]))
            .ok_or_else(|| mismatch("generate_series")),
        RegexpMatches => match args.len() {
            2 | 3 if args.iter().all(|ty| ty.is_text() || *ty == Type::Unknown) => {
                Ok((vec![Type::Text; args.len()], vec![("regexp_matches", Type::array_of(Type::Text))]))
            }
            _ => Err(mismatch("regexp_matches")),
        },
        StringToTable => match args.len() {
            2 | 3 if args.iter().all(|ty| ty.is_text() || *ty == Type::Unknown) => {
                Ok((vec![Type::Text; args.len()], vec![("string_to_table", Type::Text)]))
            }
            _ => Err(mismatch("string_to_table")),
        },
        JsonPathQuery => match args {
            [Type::Json | Type::Unknown, second] if second.is_text() || *second == Type::Unknown => {
                Ok((vec![Type::Json, Type::Text], vec![("jsonb_path_query", Type::Json)]))
            }
            _ => Err(mismatch("jsonb_path_query")),
        },
        GenerateSubscripts => match args {
            [array @ Type::Array(_), second] if second.is_integer() || *second == Type::Unknown => {
                Ok((vec![array.clone(), Type::Int4], vec![("generate_subscripts", Type::Int4)]))
            }
            _ => Err(mismatch("generate_subscripts")),
        },
        ExpandArray => match args {
            [array @ Type::Array(_)] => Ok((vec![array.clone()], vec![("_pg_expandarray", Type::Json)])),
            _ => Err(mismatch("_pg_expandarray")),
        },
        Keywords => match args {
            [] => Ok((
                vec![],
                vec![("word", Type::Text), ("catcode", Type::Char), ("barelabel", Type::Bool), ("catdesc", Type::Text)],
            )),
            _ => Err(mismatch("pg_get_keywords")),
        },
        HopWindows => match args {
            [ty @ (Type::Timestamp | Type::Timestamptz), ..] if args.len() == 3 => Ok((
                vec![ty.clone(), Type::Interval, Type::Interval],
                vec![("window_start", ty.clone()), ("window_end", ty.clone())],
            )),
            _ => Err(mismatch("hop")),
        },
    }
}

fn series_types(args: &[Type]) -> Option<(Vec<Type>, Type)> {
    let count = args.len();
    if !(2..=3).contains(&count) {
        return None;
    }
    let ends = &args[..2];
    let any = |wanted: fn(&Type) -> bool| ends.iter().any(wanted);
    if any(|ty| matches!(ty, Type::Timestamp | Type::Timestamptz | Type::Date)) {
        if count != 3 || !matches!(args[2], Type::Interval | Type::Unknown) {
            return None;
        }
        let zoned = any(|ty| matches!(ty, Type::Timestamptz | Type::Date));
        let ty = if zoned { Type::Timestamptz } else { Type::Timestamp };
        return Some((vec![ty.clone(), ty.clone(), Type::Interval], ty));
    }
    let numbers = args.iter().all(|ty| ty.is_integer() || matches!(ty, Type::Numeric(_) | Type::Unknown));
    if !numbers {
        return None;
    }
    let ty = if args.iter().any(|ty| matches!(ty, Type::Numeric(_))) {
        Type::Numeric(None)
    } else if args.contains(&Type::Int8) {
        Type::Int8
    } else {
        Type::Int4
    };
    Some((vec![ty.clone(); count], ty))
}

/// The rows for some arguments.
pub fn rows(function: TableFunction, args: &[Datum]) -> Result<Vec<Vec<Datum>>> {
    use TableFunction::*;
    if function != Unnest && function != StringToTable && args.iter().any(Datum::is_null) {
        return Ok(Vec::new());
    }
    let one = |items: Vec<Datum>| Ok(items.into_iter().map(|item| vec![item]).collect());
    match function {
        Unnest => unnest(args),
        JsonArrayElements => {
            let whole = args[0].as_json()?;
            one(elements(whole, |item| Datum::Json(whole.share(item)))?)
        }
        JsonArrayElementsText => one(elements(args[0].as_json()?, json::as_text)?),
        JsonEach => {
            let whole = args[0].as_json()?;
            each(whole, |item| Datum::Json(whole.share(item)), "jsonb_each")
        }
        JsonEachText => each(args[0].as_json()?, json::as_text, "jsonb_each_text"),
        JsonObjectKeys => {
            let plain = Plain::of(args[0].as_json()?.raw());
            let object = json_read::object(&plain, "jsonb_object_keys")?;
            one(object.iter().map(|(name, _)| Datum::text(name)).collect())
        }
        GenerateSeries => one(series(args, MAX_ROWS)?),
        RegexpMatches => one(matches(args)?),
        StringToTable => {
            if args[0].is_null() {
                return Ok(Vec::new());
            }
            let null = match args.get(2) {
                Some(Datum::Text(s)) => Some(s.as_ref()),
                _ => None,
            };
            one(super::string::split(&args[0], &args[1], null)?.as_array()?.to_vec())
        }
        JsonPathQuery => one(super::json_path::query(args[0].as_json()?, args[1].as_text()?)?),
        HopWindows => hop(args),
        // An array here has one dimension; further ones are arrays inside it.
        GenerateSubscripts => match args[1].as_int()? {
            1 => one((1..=args[0].as_array()?.len() as i64).map(Datum::Int).collect()),
            _ => Ok(Vec::new()),
        },
        ExpandArray => expanded(args[0].as_array()?),
        Keywords => {
            let row = |word: &&str| {
                let (code, description) = (Datum::text("R"), Datum::text("reserved"));
                vec![Datum::text(*word), code, Datum::Bool(true), description]
            };
            Ok(KEYWORDS.iter().map(row).collect())
        }
    }
}

/// The words that are no names without quotes.
const KEYWORDS: [&str; 77] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

fn expanded(items: &[Datum]) -> Result<Vec<Vec<Datum>>> {
    let object = |(i, item): (usize, &Datum)| {
        let Datum::Int(item) = item else {
            return Err(SqlError::unsupported("_pg_expandarray of anything but integers"));
        };
        let text = format!("{{\"x\": {item}, \"n\": {}}}", i + 1);
        Ok(vec![Datum::Json(json::parse::parse(&text)?)])
    };
    items.iter().enumerate().map(object).collect()
}

fn unnest(args: &[Datum]) -> Result<Vec<Vec<Datum>>> {
    let mut columns: Vec<Vec<Datum>> = Vec::with_capacity(args.len());
    for arg in args {
        let mut flat = Vec::new();
        if !arg.is_null() {
            flatten(arg, &mut flat)?;
        }
        columns.push(flat);
    }
    let longest = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<Datum>, i: usize| column.get(i).cloned().unwrap_or(Datum::Null);
    Ok((0..longest).map(|i| columns.iter().map(|column| cell(column, i)).collect()).collect())
}

/// All dimensions in one.
fn flatten(array: &Datum, out: &mut Vec<Datum>) -> Result<()> {
    for item in array.as_array()?.iter() {
        match item {
            Datum::Array(_) => flatten(item, out)?,
            item => out.push(item.clone()),
        }
    }
    Ok(())
}

fn elements(value: &crate::datum::Json, convert: impl Fn(Raw<'_>) -> Datum) -> Result<Vec<Datum>> {
    let plain = Plain::of(value.raw());
    match &plain {
        Plain::Array(array) => Ok(array.values().map(convert).collect()),
        // A missing list has no elements.
        Plain::Null => Ok(Vec::new()),
        _ if plain.as_object().is_some() => Err(SqlError::new("22023", "cannot extract elements from an object")),
        _ => Err(SqlError::new("22023", "cannot extract elements from a scalar")),
    }
}

fn each(value: &crate::datum::Json, convert: impl Fn(Raw<'_>) -> Datum, function: &str) -> Result<Vec<Vec<Datum>>> {
    let plain = Plain::of(value.raw());
    match plain.as_object() {
        Some(doc) => Ok(doc.iter().map(|(name, item)| vec![Datum::text(name), convert(item)]).collect()),
        None if matches!(plain, Plain::Null) => Ok(Vec::new()),
        None => Err(SqlError::new("22023", format!("cannot call {function} on a non-object"))),
    }
}

fn too_many(most: usize) -> SqlError {
    SqlError::new("54000", format!("set-returning function returns more than {most} rows"))
}

/// `generate_series` beside other set-returning functions of one SELECT list.
pub(super) fn series_as_array(args: &[Datum]) -> Result<Datum> {
    /// Most rows of it there.
    const MOST: usize = 100_000;
    Ok(Datum::Array(series(args, MOST)?.into()))
}

fn series(args: &[Datum], most: usize) -> Result<Vec<Datum>> {
    let zero = || SqlError::new("22023", "step size cannot equal zero");
    let mut out = Vec::new();
    let mut at = args[0].clone();
    let end = &args[1];
    let step = match (args.get(2), &at) {
        (Some(step), _) => step.clone(),
        (None, Datum::Int(_)) => Datum::Int(1),
        (None, _) => Datum::Numeric(Numeric::ONE),
    };
    let descending = match &step {
        Datum::Int(0) => return Err(zero()),
        Datum::Int(n) => *n < 0,
        Datum::Numeric(n) if n.is_zero() => return Err(zero()),
        Datum::Numeric(n) if !n.is_finite() => {
            return Err(SqlError::new("22023", "step size cannot be NaN or infinity"));
        }
        Datum::Numeric(n) => n.signum() < 0,
        Datum::Interval(value) if **value == Interval::default() => return Err(zero()),
        Datum::Interval(value) => datetime::interval::total_us(value) < 0,
        _ => return Err(SqlError::internal("generate_series takes numbers or timestamps")),
    };
    loop {
        let order = compare(&at, end);
        if if descending { order.is_lt() } else { order.is_gt() } {
            return Ok(out);
        }
        if out.len() >= most {
            return Err(too_many(most));
        }
        out.push(at.clone());
        let next = match (&at, &step) {
            (Datum::Int(n), Datum::Int(by)) => n.checked_add(*by).map(Datum::Int),
            (Datum::Numeric(n), Datum::Numeric(by)) => Some(Datum::Numeric(n.add(by)?)),
            (Datum::Timestamp(us), Datum::Interval(by)) => Some(Datum::Timestamp(datetime::add_interval(*us, by)?)),
            _ => return Err(SqlError::internal("generate_series takes numbers or timestamps")),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(out),
        }
        if matches!(&at, Datum::Timestamp(us) if datetime::is_infinite(*us)) {
            return Ok(out);
        }
    }
}

fn matches(args: &[Datum]) -> Result<Vec<Datum>> {
    let flags = args.get(2).map_or(Ok(""), Datum::as_text)?;
    let regex = pattern::compile(args[1].as_text()?, flags)?;
    let most = if flags.contains('g') { MAX_RESULT } else { 1 };
    Ok(regex.captures_iter(args[0].as_text()?).take(most).map(|captures| pattern::groups(&captures)).collect())
}

/// All windows of a width, one beginning every slide, that hold an instant; earliest first.
fn hop(args: &[Datum]) -> Result<Vec<Vec<Datum>>> {
    let us = args[0].as_timestamp()?;
    let span = |datum: &Datum| -> Result<i64> {
        let value = datum.as_interval()?;
        if value.months != 0 {
            return Err(SqlError::unsupported("a window of months or years"));
        }
        i64::try_from(datetime::interval::total_us(value))
            .ok()
            .filter(|us| *us > 0)
            .ok_or_else(|| SqlError::new("22023", "window width and slide must be greater than zero"))
    };
    let (width, slide) = (span(&args[1])?, span(&args[2])?);
    if datetime::is_infinite(us) {
        return Ok(Vec::new());
    }
    if width / slide > 10_000 {
        return Err(SqlError::new("22023", "an instant lies in more than 10000 windows"));
    }
    let last = us - us.rem_euclid(slide);
    let mut windows = Vec::new();
    let mut start = last;
    while i128::from(start) + i128::from(width) > i128::from(us) {
        let end = datetime::check_timestamp(i128::from(start) + i128::from(width))?;
        windows.push(vec![Datum::Timestamp(start), Datum::Timestamp(end)]);
        match start.checked_sub(slide) {
            Some(earlier) => start = earlier,
            None => break,
        }
    }
    windows.reverse();
    Ok(windows)
}

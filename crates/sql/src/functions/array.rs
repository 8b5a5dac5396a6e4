//! Array functions and operators.

use super::{MAX_RESULT, Registry, Types};
use crate::compare::sql_equal;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::EvalContext;
use crate::json::Plain;
use crate::plan::TableFunction;
use crate::text;
use crate::types::Type;

pub(super) fn register(r: &mut Registry) {
    sizes(r);
    building(r);
    searching(r);
    r.strict_typed("array_to_string(anyarray, text) -> text", to_string).stable();
    r.lenient_typed("array_to_string(anyarray, text, text) -> text", to_string).stable();
    r.strict("@>(anyarray, anyarray) -> bool", |args, _| contains_all(&args[0], &args[1]));
    r.strict("<@(anyarray, anyarray) -> bool", |args, _| contains_all(&args[1], &args[0]));
    r.strict("&&(anyarray, anyarray) -> bool", |args, _| {
        let other = args[1].as_array()?;
        Ok(Datum::Bool(args[0].as_array()?.iter().any(|x| !x.is_null() && other.iter().any(|y| same(x, y)))))
    });
}

/// Equal and not NULL.
fn same(x: &Datum, y: &Datum) -> bool {
    !x.is_null() && !y.is_null() && sql_equal(x, y)
}

fn contains_all(whole: &Datum, part: &Datum) -> Result<Datum> {
    let whole = whole.as_array()?;
    Ok(Datum::Bool(part.as_array()?.iter().all(|wanted| whole.iter().any(|item| same(item, wanted)))))
}

/// The size of each dimension; none for an empty array.
fn dimensions(array: &Datum) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut level = array;
    while let Datum::Array(items) = level {
        match items.first() {
            None => break,
            Some(first) => {
                sizes.push(items.len());
                level = first;
            }
        }
    }
    sizes
}

fn dimension(args: &[Datum]) -> Result<Datum> {
    let sizes = dimensions(&args[0]);
    let index = args[1].as_int()?.checked_sub(1).and_then(|i| usize::try_from(i).ok());
    Ok(index.and_then(|i| sizes.get(i)).map_or(Datum::Null, |n| Datum::Int(*n as i64)))
}

fn sizes(r: &mut Registry) {
    r.strict("array_length(anyarray, int4) -> int4", |args, _| dimension(args));
    r.strict("array_upper(anyarray, int4) -> int4", |args, _| dimension(args));
    r.strict("array_lower(anyarray, int4) -> int4", |args, _| {
        Ok(if dimension(args)?.is_null() { Datum::Null } else { Datum::Int(1) })
    });
    r.strict("array_ndims(anyarray) -> int4", |args, _| {
        let n = dimensions(&args[0]).len();
        Ok(if n == 0 { Datum::Null } else { Datum::Int(n as i64) })
    });
    r.strict("array_dims(anyarray) -> text", |args, _| {
        let sizes = dimensions(&args[0]);
        if sizes.is_empty() {
            return Ok(Datum::Null);
        }
        Ok(Datum::text(sizes.iter().map(|n| format!("[1:{n}]")).collect::<String>()))
    });
    // `array[lower:upper]`: what lies inside the array, counted from 1.
    r.strict("[:](anyarray, int4, int4) -> anyarray", |args, _| {
        let items = args[0].as_array()?;
        let (lower, upper) = (args[1].as_int()?.max(1), args[2].as_int()?.min(items.len() as i64));
        let slice = if lower > upper { &[][..] } else { &items[lower as usize - 1..upper as usize] };
        Ok(Datum::Array(slice.into()))
    });
    // The rows of generate_subscripts and _pg_expandarray as arrays, for several in one SELECT list.
    r.strict("[#](anyarray, int4) -> int4[]", |args, _| rows_as_array(TableFunction::GenerateSubscripts, args));
    r.strict("[x, n](anyarray) -> json[]", |args, _| rows_as_array(TableFunction::ExpandArray, args));
    r.strict("[elements](json) -> json[]", |args, _| rows_as_array(TableFunction::JsonArrayElements, args));
    r.strict("[elements_text](json) -> text[]", |args, _| rows_as_array(TableFunction::JsonArrayElementsText, args));
    for ty in ["int4", "int8", "numeric"] {
        r.strict(&format!("[series]({ty}, {ty}) -> {ty}[]"), |args, _| super::table::series_as_array(args));
        r.strict(&format!("[series]({ty}, {ty}, {ty}) -> {ty}[]"), |args, _| super::table::series_as_array(args));
    }
    for ty in ["timestamp", "timestamptz"] {
        r.strict(&format!("[series]({ty}, {ty}, interval) -> {ty}[]"), |args, _| super::table::series_as_array(args));
    }
    // What jsonb_to_record and jsonb_to_recordset take, and the arrays in it.
    r.strict("[record](json) -> json", |args, _| record(args, "cannot call jsonb_to_record on a non-object"));
    r.strict("[records](json) -> json", |args, _| {
        record(args, "argument of jsonb_to_recordset must be an array of objects")
    });
    r.strict("[array](json) -> text[]", |args, _| {
        let list = Plain::of(args[0].as_json()?.raw());
        match list {
            Plain::Null => Ok(Datum::Null),
            Plain::Array(_) => rows_as_array(TableFunction::JsonArrayElementsText, args),
            _ => Err(SqlError::new("22P02", "expected JSON array")),
        }
    });
    r.strict("[strings](text, text) -> text[]", |args, _| rows_as_array(TableFunction::StringToTable, args));
    r.strict("[path](json, text) -> json[]", |args, _| rows_as_array(TableFunction::JsonPathQuery, args));
    r.strict("cardinality(anyarray) -> int4", |args, _| {
        let sizes = dimensions(&args[0]);
        Ok(Datum::Int(if sizes.is_empty() { 0 } else { sizes.iter().product::<usize>() as i64 }))
    });
}

fn record(args: &[Datum], refusal: &str) -> Result<Datum> {
    match Plain::of(args[0].as_json()?.raw()).as_object() {
        Some(_) => Ok(args[0].clone()),
        None => Err(SqlError::new("22023", refusal)),
    }
}

fn items(array: &Datum) -> Result<&[Datum]> {
    if array.is_null() { Ok(&[]) } else { Ok(array.as_array()?) }
}

fn building(r: &mut Registry) {
    for name in ["array_append", "||"] {
        r.lenient(&format!("{name}(anyarray, anyelement) -> anyarray"), |args, _| {
            let list = items(&args[0])?;
            Ok(Datum::Array(list.iter().chain([&args[1]]).cloned().collect()))
        });
    }
    for name in ["array_prepend", "||"] {
        r.lenient(&format!("{name}(anyelement, anyarray) -> anyarray"), |args, _| {
            let list = items(&args[1])?;
            Ok(Datum::Array([&args[0]].into_iter().chain(list).cloned().collect()))
        });
    }
    for name in ["array_cat", "||"] {
        r.lenient(&format!("{name}(anyarray, anyarray) -> anyarray"), |args, _| concat(&args[0], &args[1]));
    }
    r.lenient("array_remove(anyarray, anyelement) -> anyarray", |args, _| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let keep = |item: &&Datum| !not_distinct(item, &args[1]);
        Ok(Datum::Array(args[0].as_array()?.iter().filter(keep).cloned().collect()))
    });
    r.lenient("array_replace(anyarray, anyelement, anyelement) -> anyarray", |args, _| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let replace = |item: &Datum| if not_distinct(item, &args[1]) { args[2].clone() } else { item.clone() };
        Ok(Datum::Array(args[0].as_array()?.iter().map(replace).collect()))
    });
    r.lenient("array_fill(anyelement, int4[]) -> anyarray", |args, _| {
        if args[1].is_null() {
            return Err(SqlError::new("22004", "dimension array or low bound array cannot be null"));
        }
        let sizes = args[1].as_array()?;
        if sizes.len() > 6 {
            return Err(SqlError::new("54000", "number of array dimensions exceeds the maximum allowed (6)"));
        }
        let mut filled = args[0].clone();
        let mut total = 1usize;
        if sizes.iter().any(Datum::is_null) {
            return Err(SqlError::new("22004", "dimension values cannot be null"));
        }
        for size in sizes.iter().rev() {
            let size =
                usize::try_from(size.as_int()?).map_err(|_| SqlError::new("22023", "invalid array dimensions"))?;
            total = super::string::check_length(total.checked_mul(size.max(1)))?;
            filled = Datum::Array(std::iter::repeat_n(filled, size).collect());
        }
        Ok(if sizes.is_empty() { Datum::Array([].into()) } else { filled })
    });
    r.strict("trim_array(anyarray, int4) -> anyarray", |args, _| {
        let list = args[0].as_array()?;
        let keep =
            usize::try_from(args[1].as_int()?).ok().and_then(|n| list.len().checked_sub(n)).ok_or_else(|| {
                SqlError::new("2202E", format!("number of elements to trim must be between 0 and {}", list.len()))
            })?;
        Ok(Datum::Array(list[..keep].into()))
    });
}

fn not_distinct(a: &Datum, b: &Datum) -> bool {
    a.is_null() && b.is_null() || same(a, b)
}

fn concat(a: &Datum, b: &Datum) -> Result<Datum> {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ok(Datum::Null),
        (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
        _ => {
            let (x, y) = (a.as_array()?, b.as_array()?);
            if x.len() + y.len() > MAX_RESULT {
                return Err(SqlError::new("54000", "array size exceeds the maximum allowed"));
            }
            // A row may be added to a table of rows.
            let (x_deep, y_deep) =
                (matches!(x.first(), Some(Datum::Array(_))), matches!(y.first(), Some(Datum::Array(_))));
            Ok(Datum::Array(match (x_deep, y_deep) {
                (true, false) if !y.is_empty() => x.iter().chain([b]).cloned().collect(),
                (false, true) if !x.is_empty() => [a].into_iter().chain(y.iter()).cloned().collect(),
                _ => x.iter().chain(y.iter()).cloned().collect(),
            }))
        }
    }
}

fn searching(r: &mut Registry) {
    r.lenient("array_position(anyarray, anyelement) -> int4", |args, _| position(args, 1));
    r.lenient("array_position(anyarray, anyelement, int4) -> int4", |args, _| {
        if args[2].is_null() {
            return Err(SqlError::new("22004", "initial position must not be null"));
        }
        position(args, args[2].as_int()?)
    });
    r.lenient("array_positions(anyarray, anyelement) -> int4[]", |args, _| {
        if args[0].is_null() {
            return Ok(Datum::Null);
        }
        let found = args[0].as_array()?.iter().enumerate().filter(|(_, item)| not_distinct(item, &args[1]));
        Ok(Datum::Array(found.map(|(i, _)| Datum::Int(i as i64 + 1)).collect()))
    });
}

fn position(args: &[Datum], from: i64) -> Result<Datum> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let skip = usize::try_from(from - 1).unwrap_or(0);
    let found = args[0].as_array()?.iter().enumerate().skip(skip).find(|(_, item)| not_distinct(item, &args[1]));
    Ok(found.map_or(Datum::Null, |(i, _)| Datum::Int(i as i64 + 1)))
}

fn to_string(args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
    if args[0].is_null() || args[1].is_null() {
        return Ok(Datum::Null);
    }
    let element = match types.get(0) {
        Type::Array(element) => element,
        other => other,
    };
    let null = match args.get(2) {
        Some(Datum::Text(s)) => Some(s.as_ref()),
        _ => None,
    };
    let mut out = String::new();
    let mut any = false;
    join(&args[0], element, args[1].as_text()?, null, ctx, &mut out, &mut any)?;
    Ok(Datum::text(out))
}

fn join(
    array: &Datum,
    element: &Type,
    separator: &str,
    null: Option<&str>,
    ctx: &EvalContext<'_>,
    out: &mut String,
    any: &mut bool,
) -> Result<()> {
    for item in array.as_array()?.iter() {
        if matches!(item, Datum::Array(_)) {
            let inner = if let Type::Array(inner) = element { inner } else { element };
            join(item, inner, separator, null, ctx, out, any)?;
            continue;
        }
        if item.is_null() && null.is_none() {
            continue;
        }
        if *any {
            out.push_str(separator);
        }
        *any = true;
        match (item, null) {
            (Datum::Null, Some(null)) => out.push_str(null),
            _ => text::output(item, element, ctx.time_zone, out),
        }
        super::string::check_length(Some(out.len()))?;
    }
    Ok(())
}

fn rows_as_array(function: TableFunction, args: &[Datum]) -> Result<Datum> {
    let rows = super::table::rows(function, args)?;
    Ok(Datum::Array(rows.into_iter().filter_map(|row| row.into_iter().next()).collect()))
}

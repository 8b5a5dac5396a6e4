//! The values an index or a sort sees at one or several paths, where arrays multiply keys.
//!
//! ```text
//!   (a.x, b, a.y)  over  {a: [{x: 1, y: 2}, {x: 3}], b: 5}   gives  (1, 5, 2) (3, 5, null)
//! ```
//!
//! Paths that meet the same array go through it together, one key per element. An empty array at the
//! end of a path is `undefined`; what is missing is `null`; an array inside an array is one value.
//!
//! # Invariants
//! - At least one key per document.
//! - Two different arrays are refused, so keys never multiply by each other.

use smallvec::SmallVec;

use super::{Part, Path};
use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};

/// 171 CannotIndexParallelArrays.
pub const PARALLEL_ARRAYS: i32 = 171;

/// How far one path has come.
#[derive(Clone, Copy)]
enum Reached<'a, 'p> {
    Value(Raw<'a>),
    /// An array, and what of the path lies behind it.
    Array(RawDoc<'a>, &'p [Part]),
}

type Row<'a, 'p> = SmallVec<[Reached<'a, 'p>; 4]>;

/// Emits every key of a document. Errors with 171 if paths meet different arrays, 16746 where a
/// numeric component is both a position and a field name.
pub fn index_keys<'a>(paths: &[&Path], doc: RawDoc<'a>, emit: &mut dyn FnMut(&[Raw<'a>])) -> Result<()> {
    let row: Row<'a, '_> = paths.iter().map(|path| enter(path.parts(), doc)).collect::<Result<_>>()?;
    expand(&row, paths, emit)
}

/// Follows a path through documents and positions up to a value or an array.
fn enter<'a, 'p>(parts: &'p [Part], doc: RawDoc<'a>) -> Result<Reached<'a, 'p>> {
    let mut current = doc;
    for (at, part) in parts.iter().enumerate() {
        let rest = &parts[at + 1..];
        match current.get(&part.name) {
            Some(Raw::Document(embedded)) if !rest.is_empty() => current = embedded,
            Some(Raw::Array(array)) => return enter_array(rest, array),
            Some(value) if rest.is_empty() => return Ok(Reached::Value(value)),
            _ => return Ok(Reached::Value(Raw::Null)),
        }
    }
    Ok(Reached::Value(Raw::Null))
}

/// A numeric component that has its position goes there; otherwise the array waits to be expanded.
fn enter_array<'a, 'p>(parts: &'p [Part], array: RawDoc<'a>) -> Result<Reached<'a, 'p>> {
    let Some((next, below)) = parts.split_first() else { return Ok(Reached::Array(array, parts)) };
    let Some(element) = next.index.and_then(|i| array.values().nth(i)) else {
        return Ok(Reached::Array(array, parts));
    };
    if array.values().any(|e| e.as_document().is_some_and(|doc| doc.contains(&next.name))) {
        return Err(Error::new(
            16746,
            format!(
                "Ambiguous field name found in array (do not use numeric field names in embedded elements in an array), field: '{}' for array: {}",
                next.name,
                crate::json::to_plain_string(Raw::Array(array))
            ),
        ));
    }
    match element {
        Raw::Array(inner) => enter_array(below, inner),
        _ if below.is_empty() => Ok(Reached::Value(element)),
        Raw::Document(embedded) => enter(below, embedded),
        _ => Ok(Reached::Value(Raw::Null)),
    }
}

fn expand<'a>(row: &Row<'a, '_>, paths: &[&Path], emit: &mut dyn FnMut(&[Raw<'a>])) -> Result<()> {
    let mut arrays = row.iter().enumerate().filter_map(|(i, reached)| match reached {
        Reached::Array(array, _) => Some((i, *array)),
        Reached::Value(_) => None,
    });
    let Some((first, array)) = arrays.next() else {
        let key: SmallVec<[Raw<'a>; 4]> = row
            .iter()
            .map(|reached| match reached {
                Reached::Value(value) => *value,
                Reached::Array(..) => unreachable!("the search above found no array"),
            })
            .collect();
        emit(&key);
        return Ok(());
    };
    // The same array is the same bytes, not only equal ones.
    if let Some((other, _)) = arrays.find(|(_, other)| !std::ptr::eq(other.as_bytes(), array.as_bytes())) {
        let name = |i: usize| paths[i].dotted().to_owned();
        return Err(Error::new(
            PARALLEL_ARRAYS,
            format!("cannot index parallel arrays [{}] [{}]", name(other), name(first)),
        ));
    }
    if array.is_empty() {
        let at_end = |rest: &[Part]| if rest.is_empty() { Raw::Undefined } else { Raw::Null };
        return expand(&replaced(row, |rest| Ok(Reached::Value(at_end(rest))))?, paths, emit);
    }
    for element in array.values() {
        let next = replaced(row, |rest| match element {
            _ if rest.is_empty() => Ok(Reached::Value(element)),
            Raw::Document(embedded) => enter(rest, embedded),
            _ => Ok(Reached::Value(Raw::Null)),
        })?;
        expand(&next, paths, emit)?;
    }
    Ok(())
}

/// The row with its arrays replaced by what lies behind them.
fn replaced<'a, 'p>(
    row: &Row<'a, 'p>,
    mut behind: impl FnMut(&'p [Part]) -> Result<Reached<'a, 'p>>,
) -> Result<Row<'a, 'p>> {
    row.iter()
        .map(|reached| match *reached {
            Reached::Array(_, rest) => behind(rest),
            value => Ok(value),
        })
        .collect()
}

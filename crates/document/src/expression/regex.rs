//! `$regexMatch`, `$regexFind`, `$regexFindAll`.

use super::operator::{Args, Named, Operator, Shape};
use super::{Scope, shallow_size};
use crate::error::{Error, Result};
use crate::matcher::Pattern;
use crate::value::{Doc, Value};

const REGEX: Named =
    Named { fields: &[("input", 31022), ("regex", 31023), ("options", 0)], not_object: 51103, unknown: 31024 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$regexMatch", shape: Shape::Named(&REGEX), run: |args, _| is_match(&args) },
    Operator { name: "$regexFind", shape: Shape::Named(&REGEX), run: |args, _| find(&args) },
    Operator { name: "$regexFindAll", shape: Shape::Named(&REGEX), run: |args, scope| find_all(&args, scope) },
];

/// Input and compiled pattern; `None` if one is nullish.
fn prepare(args: &Args) -> Result<Option<(&str, Pattern)>> {
    let input = match args.get(0) {
        Some(Value::String(s)) => Some(s.as_str()),
        _ if args.nullish(0) => None,
        _ => return Err(Error::new(51104, format!("{} needs 'input' to be of type string", args.op))),
    };
    let options = match args.get(2) {
        Some(Value::String(s)) => Some(s.as_str()),
        _ if args.nullish(2) => None,
        _ => return Err(Error::new(51106, format!("{} needs 'options' to be of type string", args.op))),
    };
    let (source, flags) = match args.get(1) {
        Some(Value::String(s)) => (s.as_str(), options.unwrap_or("")),
        Some(Value::Regex(regex)) if options.is_some() && !regex.options.is_empty() => {
            return Err(Error::new(
                51107,
                format!("{}: found regex option(s) specified in both 'regex' and 'option' fields", args.op),
            ));
        }
        Some(Value::Regex(regex)) => (regex.pattern.as_str(), options.unwrap_or(&regex.options)),
        _ if args.nullish(1) => return Ok(None),
        _ => return Err(Error::new(51105, format!("{} needs 'regex' to be of type string or regex", args.op))),
    };
    if source.contains('\0') {
        return Err(Error::new(51109, format!("{}: regular expression cannot contain an embedded null byte", args.op)));
    }
    if let Some(flag) = flags.chars().find(|flag| !"imsxu".contains(*flag)) {
        return Err(Error::new(51108, format!("{} invalid flag in regex options: {flag}", args.op)));
    }
    let pattern = Pattern::new(source, flags)
        .map_err(|e| Error::new(51111, format!("Invalid Regex in {}: {}", args.op, e.message)))?;
    Ok(input.map(|input| (input, pattern)))
}

fn is_match(args: &Args) -> Result<Option<Value>> {
    Ok(Some(Value::Bool(match prepare(args)? {
        Some((input, pattern)) => pattern.is_match(input)?,
        None => false,
    })))
}

/// What a match looks like; `idx` counts code points.
fn describe(input: &str, groups: &[Option<(usize, usize)>], idx: usize) -> Value {
    let text = |group: &Option<(usize, usize)>| {
        group.and_then(|(start, end)| input.get(start..end)).map_or(Value::Null, Value::from)
    };
    let whole = groups.first().map_or(Value::Null, text);
    let captures = groups.iter().skip(1).map(text).collect::<Vec<_>>();
    Value::Document(Doc::new().with("match", whole).with("idx", idx as i32).with("captures", captures))
}

fn find(args: &Args) -> Result<Option<Value>> {
    let Some((input, pattern)) = prepare(args)? else { return Ok(Some(Value::Null)) };
    Ok(Some(match pattern.captures_from(input, 0)? {
        Some(groups) => {
            let start = groups[0].map_or(0, |(start, _)| start);
            describe(input, &groups, input[..start].chars().count())
        }
        None => Value::Null,
    }))
}

fn find_all(args: &Args, scope: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some((input, pattern)) = prepare(args)? else { return Ok(Some(Value::Array(Vec::new()))) };
    let mut found = Vec::new();
    // `points` code points lie before byte `counted`.
    let (mut from, mut counted, mut points) = (0, 0, 0);
    while from <= input.len() {
        let Some(groups) = pattern.captures_from(input, from)? else { break };
        let Some((start, end)) = groups[0] else { break };
        points += input[counted..start].chars().count();
        counted = start;
        let described = describe(input, &groups, points);
        scope.charge(shallow_size(&described) + (end - start) * groups.len() + 128)?;
        found.push(described);
        // An empty match must not be found again.
        from = if end > start { end } else { end + input[end..].chars().next().map_or(1, char::len_utf8) };
    }
    Ok(Some(Value::Array(found)))
}

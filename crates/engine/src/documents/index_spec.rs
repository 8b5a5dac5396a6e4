//! What `createIndexes` refuses before it looks at the collection.

use document::{DocBuf, Raw, RawDoc};
use store::Namespace;

use crate::{Error, Result};

/// 67 CannotCreateIndex.
const CANNOT_CREATE: i32 = 67;
/// 197 InvalidIndexSpecificationOption.
const INVALID_OPTION: i32 = 197;

/// The specifications without options that mean nothing any more.
pub fn modernized(specs: Vec<DocBuf>) -> Vec<DocBuf> {
    let modern = |spec: DocBuf| match spec.as_doc().contains("dropDups") {
        false => spec,
        true => {
            let mut spec = spec.to_doc();
            spec.remove("dropDups");
            spec.to_buf()
        }
    };
    specs.into_iter().map(modern).collect()
}

/// Checks the specifications of one command.
pub fn check(specs: &[DocBuf], namespace: &Namespace) -> Result<()> {
    for (i, spec) in specs.iter().enumerate() {
        check_one(spec.as_doc())?;
        if specs[..i].iter().any(|other| other.bytes() == spec.bytes()) {
            let message = format!(
                "Index build failed: Collection {namespace} :: caused by :: \
                 Cannot build two identical indexes. Try again without duplicate indexes."
            );
            return Err(Error::new(96, message));
        }
    }
    Ok(())
}

fn check_one(spec: RawDoc<'_>) -> Result<()> {
    if spec.get("key").is_some() && spec.get("name").is_none() {
        return Err(Error::new(9, "The 'name' field is a required property of an index specification"));
    }
    if spec.get("name").and_then(Raw::as_str) == Some("*") {
        return Err(Error::new(2, "The index name '*' is not valid."));
    }
    if let Some(Raw::Document(key)) = spec.get("key") {
        check_id_index(spec, key)?;
    }
    if let Some(Raw::Document(filter)) = spec.get("partialFilterExpression") {
        check_partial(filter, 0)?;
    }
    Ok(())
}

fn check_id_index(spec: RawDoc<'_>, key: RawDoc<'_>) -> Result<()> {
    let mut fields = key.iter();
    let (Some(("_id", direction)), None) = (fields.next(), fields.next()) else { return Ok(()) };
    match direction {
        number if number.is_number() && number.as_whole() == Some(1) => {}
        number if number.is_number() => {
            return Err(Error::new(2, "The field 'key' for an _id index must be {_id: 1}"));
        }
        _ => return Ok(()),
    }
    let allowed = ["key", "name", "v", "ns", "collation", "background"];
    match spec.iter().find(|(option, _)| !allowed.contains(option)) {
        Some((option, _)) => Err(Error::new(
            INVALID_OPTION,
            format!("The field '{option}' is not valid for an _id index specification."),
        )),
        None => Ok(()),
    }
}

/// Operators that a partial index's filter may have.
const PARTIAL_OPERATORS: &[&str] = &["$eq", "$lt", "$lte", "$gt", "$gte", "$exists", "$type", "$in"];
/// How deep `$and` and `$or` may nest in it.
const MAX_DEPTH: usize = 20;

fn check_partial(filter: RawDoc<'_>, depth: usize) -> Result<()> {
    let refuse = |what: &str| Error::new(CANNOT_CREATE, format!("unsupported expression in partial index: {what}"));
    if depth > MAX_DEPTH {
        return Err(refuse("nested too deeply"));
    }
    for (name, value) in filter.iter() {
        match (name, value) {
            ("$and" | "$or", Raw::Array(branches)) => {
                for branch in branches.values() {
                    if let Raw::Document(branch) = branch {
                        check_partial(branch, depth + 1)?;
                    }
                }
            }
            (operator, _) if operator.starts_with('$') => return Err(refuse(operator)),
            (_, Raw::Document(operators)) if document::matcher::is_operator_document(operators) => {
                for (operator, argument) in operators.iter() {
                    let known = PARTIAL_OPERATORS.contains(&operator);
                    let absent = operator == "$exists" && matches!(argument, Raw::Bool(false) | Raw::Int32(0));
                    if !known || absent {
                        return Err(refuse(operator));
                    }
                }
            }
            (_, Raw::Regex { .. }) => return Err(refuse("a regular expression")),
            _ => {}
        }
    }
    Ok(())
}

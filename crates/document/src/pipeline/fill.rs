//! `$fill`, written as the `$setWindowFields` and `$addFields` it is.

use super::Stage;
use super::window::SetWindowFields;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::projection::Projection;
use crate::raw::{Raw, RawDoc};
use crate::value::{Doc, Value};

pub(super) fn parse(spec: Raw<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    let Raw::Document(spec) = spec else {
        return Err(Error::failed_to_parse("the $fill stage specification must be an object"));
    };
    let (mut partition, mut fields, mut sort_by, mut output) = (None, None, None, None);
    for (name, value) in spec.iter() {
        match (name, value) {
            ("partitionBy", Raw::Document(_) | Raw::String(_)) => partition = Some(value.to_value()),
            ("partitionByFields", Raw::Array(items)) => fields = Some(partition_of(items)?),
            ("sortBy", Raw::Document(doc)) => sort_by = Some(doc),
            ("output", Raw::Document(doc)) => output = Some(doc),
            ("partitionBy" | "partitionByFields" | "sortBy" | "output", other) => {
                return Err(Error::type_mismatch(format!(
                    "BSON field '$fill.{name}' is the wrong type '{}'",
                    other.type_name()
                )));
            }
            _ => return Err(Error::new(40415, format!("BSON field '$fill.{name}' is an unknown field."))),
        }
    }
    if partition.is_some() && fields.is_some() {
        return Err(Error::new(
            6050204,
            "Maximum one of 'partitionBy' and 'partitionByFields can be specified in '$fill'",
        ));
    }
    let output =
        output.ok_or_else(|| Error::new(40414, "BSON field '$fill.output' is missing but a required field"))?;
    let (windows, values) = split_output(output, sort_by.is_some())?;
    if !windows.is_empty() {
        let mut stage = Doc::new();
        if let Some(partition) = partition.or(fields) {
            stage.push("partitionBy", partition);
        }
        if let Some(sort_by) = sort_by {
            stage.push("sortBy", sort_by.to_doc());
        }
        stage.push("output", windows);
        let stage = stage.to_buf();
        let fields = SetWindowFields::parse(Raw::Document(stage.as_doc()), ctx)?;
        out.push(Stage::SetWindowFields(Box::new(fields)));
    }
    if !values.is_empty() {
        let projection = Projection::add_fields(values.to_buf().as_doc(), ctx)?;
        out.push(Stage::Project { name: "$addFields", projection });
    }
    Ok(())
}

/// `["a", "b.c"]` as the expression `{"0": "$a", "1": "$b.c"}`.
fn partition_of(items: RawDoc<'_>) -> Result<Value> {
    let mut fields = Doc::new();
    for item in items.values() {
        let Raw::String(path) = item else {
            return Err(Error::type_mismatch("'partitionByFields' elements must be strings"));
        };
        if path.starts_with('$') {
            return Err(Error::new(
                16410,
                "FieldPath field names may not start with '$'. Consider using $getField or $setField.",
            ));
        }
        fields.push(fields.len().to_string(), format!("${path}"));
    }
    Ok(Value::Document(fields))
}

/// What windows compute, and what expressions replace.
fn split_output(output: RawDoc<'_>, sorted: bool) -> Result<(Doc, Doc)> {
    let (mut windows, mut values) = (Doc::new(), Doc::new());
    for (path, spec) in output.iter() {
        let Raw::Document(spec) = spec else {
            return Err(Error::type_mismatch(format!("$fill output '{path}' must be an object")));
        };
        let own = format!("${path}");
        let mut parts = spec.iter();
        match (parts.next(), parts.next()) {
            (Some(("value", value)), None) => {
                values.push(path, Doc::new().with("$ifNull", vec![Value::from(own), value.to_value()]));
            }
            (Some(("method", Raw::String("linear"))), None) => {
                windows.push(path, Doc::new().with("$linearFill", own));
            }
            (Some(("method", Raw::String("locf"))), None) => {
                if !sorted {
                    return Err(Error::new(6050203, "$fill with method 'locf' requires a sortBy"));
                }
                windows.push(path, Doc::new().with("$locf", own));
            }
            (Some(("method", _)), None) => {
                return Err(Error::new(6050202, "Method must be either locf or linear"));
            }
            _ => {
                return Err(Error::new(
                    6050200,
                    "Each fill output specification must be an object with exactly one of 'method' and 'value'",
                ));
            }
        }
    }
    Ok((windows, values))
}

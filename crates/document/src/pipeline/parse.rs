//! From BSON to stages.

use super::Stage;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::projection::{Mode, Projection};
use crate::raw::{Raw, RawDoc};

/// Parses one stage; a stage that is short for others pushes those.
pub(super) fn stage(spec: RawDoc<'_>, ctx: &Context, out: &mut Vec<Stage>) -> Result<()> {
    let mut fields = spec.iter();
    let (Some((name, value)), None) = (fields.next(), fields.next()) else {
        return Err(Error::new(40323, "A pipeline stage specification object must contain exactly one field."));
    };
    match name {
        "$project" => {
            let Raw::Document(spec) = value else {
                return Err(Error::new(15969, "$project specification must be an object"));
            };
            let projection = Projection::parse(spec, ctx, Mode::Aggregate).map_err(|e| invalid(name, e))?;
            out.push(Stage::Project { name: "$project", projection });
        }
        "$addFields" | "$set" => {
            let Raw::Document(spec) = value else {
                return Err(Error::new(
                    40272,
                    format!("{name} specification stage must be an object, got {}", value.type_name()),
                ));
            };
            let projection = Projection::add_fields(spec, ctx).map_err(|e| invalid(name, e))?;
            out.push(Stage::Project { name: if name == "$set" { "$set" } else { "$addFields" }, projection });
        }
        "$unset" => out.push(unset(value)?),
        "$replaceRoot" => {
            let Raw::Document(spec) = value else {
                return Err(Error::new(
                    40229,
                    format!("expected an object as specification for $replaceRoot stage, got {}", value.type_name()),
                ));
            };
            let mut new_root = None;
            for (name, value) in spec.iter() {
                if name != "newRoot" {
                    return Err(Error::new(40415, format!("BSON field '$replaceRoot.{name}' is an unknown field.")));
                }
                new_root = Some(value);
            }
            let new_root = new_root.ok_or_else(|| {
                Error::new(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field")
            })?;
            out.push(Stage::ReplaceRoot { name: "$replaceRoot", expression: Expression::parse(new_root, ctx)? });
        }
        "$replaceWith" => {
            out.push(Stage::ReplaceRoot { name: "$replaceWith", expression: Expression::parse(value, ctx)? });
        }
        "$redact" => out.push(Stage::Redact(Expression::parse(value, ctx)?)),
        _ => return Err(Error::new(40324, format!("Unrecognized pipeline stage name: '{name}'"))),
    }
    Ok(())
}

fn invalid(stage: &str, e: Error) -> Error {
    if e.message.starts_with("Failed to optimize") {
        return e;
    }
    Error::new(e.code, format!("Invalid {stage} :: caused by :: {}", e.message))
}

fn unset(value: Raw<'_>) -> Result<Stage> {
    let mut paths = Vec::new();
    match value {
        Raw::String(path) => paths.push(path),
        Raw::Array(items) => {
            for item in items.values() {
                let Raw::String(path) = item else {
                    return Err(Error::new(
                        31120,
                        "$unset specification must be a string or an array containing only string values",
                    ));
                };
                paths.push(path);
            }
            if paths.is_empty() {
                return Err(Error::new(
                    31119,
                    "$unset specification must be a string or an array with at least one field",
                ));
            }
        }
        _ => return Err(Error::new(31002, "$unset specification must be a string or an array")),
    }
    let projection = Projection::unset(&paths).map_err(|e| invalid("$unset", e))?;
    Ok(Stage::Project { name: "$unset", projection })
}

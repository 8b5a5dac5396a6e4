//! `jsonb_to_record(x) AS t(a int, b text)` and `jsonb_to_recordset`: JSON objects as rows.

use std::sync::Arc;

use sqlparser::ast;

use super::table_function::Columns;
use super::{Binder, edit};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::parser::fold;
use crate::plan::{Field, Plan};
use crate::types::Type;

/// Whether the function of the name gives a set of records; `None` if it gives no record.
pub(super) fn record_function(name: &str) -> Option<bool> {
    match name {
        "json_to_record" | "jsonb_to_record" => Some(false),
        "json_to_recordset" | "jsonb_to_recordset" => Some(true),
        _ => None,
    }
}

impl Binder<'_> {
    /// The input's rows with the columns that the definition list names.
    pub(super) fn records(
        &mut self,
        input: Arc<Plan>,
        (name, set): (&str, bool),
        mut args: Vec<Expr>,
        alias: Option<&ast::TableAlias>,
        (ordinality, outer): (bool, bool),
    ) -> Result<(Arc<Plan>, Columns)> {
        let columns = self.definitions(alias)?;
        if ordinality {
            return Err(SqlError::syntax("WITH ORDINALITY cannot be used with a column definition list"));
        }
        let (Some(json), true) = (args.pop(), args.is_empty()) else {
            return Err(SqlError::new("42883", format!("function {name} takes one argument")));
        };
        let json = self.coerce(json, &Type::Json)?;
        let width = input.fields().len();
        let rows = match set {
            true => self.flat_map(input, "jsonb_array_elements", vec![json], None, (false, outer))?.0,
            false => edit::extend(input, vec![json], "record"),
        };
        let object = self.call(if set { "[records]" } else { "[record]" }, vec![Expr::column(width, Type::Json)])?;
        let mut fields: Vec<Field> = rows.fields()[..width].to_vec();
        let mut exprs: Vec<Expr> = edit::columns(&rows)[..width].to_vec();
        for (name, ty) in &columns {
            exprs.push(self.record_field(object.clone(), name, ty)?);
            fields.push(Field::new(name.clone(), ty.clone()));
        }
        Ok((edit::project(rows, exprs, fields), columns))
    }

    fn definitions(&mut self, alias: Option<&ast::TableAlias>) -> Result<Columns> {
        let list = alias.map_or(&[][..], |alias| &alias.columns);
        let missing = || SqlError::syntax("a column definition list is required for functions returning \"record\"");
        if list.is_empty() {
            return Err(missing());
        }
        list.iter()
            .map(|column| {
                let ty = column.data_type.as_ref().ok_or_else(missing)?;
                Ok((fold(&column.name), self.bind_type(ty)?))
            })
            .collect()
    }

    /// A field as a type reads it: JSON as it is, an array from its elements, anything else from its text.
    fn record_field(&mut self, object: Expr, name: &str, ty: &Type) -> Result<Expr> {
        let key = Expr::literal(Datum::text(name), Type::Text);
        match ty {
            Type::Json => self.operator("->", object, key),
            Type::Array(_) => {
                let list = self.operator("->", object, key)?;
                let texts = self.call("[array]", vec![list])?;
                self.explicit_cast(texts, ty)
            }
            _ => {
                let text = self.operator("->>", object, key)?;
                self.explicit_cast(text, ty)
            }
        }
    }
}

//! The order and the cut in which a result is read: ORDER BY, LIMIT and OFFSET at the top of a query.
//!
//! A view holds a multiset; order applies when it is read.

use sql::plan::SortKey;
use sql::{Datum, Expr, Row, SqlError};

use crate::operator::StepContext;
use crate::operator::ordered::Directions;

/// What stood above the outermost relation.
#[derive(Clone, Debug, Default)]
pub struct Presentation {
    pub order: Vec<SortKey>,
    pub offset: Option<Expr>,
    pub limit: Option<Expr>,
    /// The columns that are shown, if not all.
    pub columns: Option<Vec<usize>>,
}

impl Presentation {
    pub fn is_none(&self) -> bool {
        self.order.is_empty() && self.offset.is_none() && self.limit.is_none() && self.columns.is_none()
    }

    /// Rows as the client sees them. Equal sort keys keep the given order.
    pub fn apply(&self, mut rows: Vec<Row>, ctx: &mut StepContext<'_>) -> Result<Vec<Row>, SqlError> {
        if !self.order.is_empty() {
            let directions = Directions::of(&self.order);
            let mut keyed = Vec::with_capacity(rows.len());
            for row in rows {
                if let Some(keys) = ctx.eval_all(self.order.iter().map(|k| &k.expr), &row)? {
                    keyed.push((keys, row));
                }
            }
            keyed.sort_by(|(a, _), (b, _)| directions.compare(a, b));
            rows = keyed.into_iter().map(|(_, row)| row).collect();
        }
        if let Some(offset) = count(self.offset.as_ref(), "OFFSET", ctx)? {
            rows.drain(..offset.min(rows.len()));
        }
        if let Some(limit) = count(self.limit.as_ref(), "LIMIT", ctx)? {
            rows.truncate(limit);
        }
        if let Some(columns) = &self.columns {
            rows = rows.iter().map(|row| columns.iter().map(|c| row[*c].clone()).collect()).collect();
        }
        Ok(rows)
    }
}

fn count(expr: Option<&Expr>, clause: &str, ctx: &mut StepContext<'_>) -> Result<Option<usize>, SqlError> {
    let Some(expr) = expr else { return Ok(None) };
    match ctx.eval(expr, &[])? {
        None | Some(Datum::Null) => Ok(None),
        Some(Datum::Int(n)) if n >= 0 => Ok(Some(usize::try_from(n).unwrap_or(usize::MAX))),
        Some(_) => {
            let code = if clause == "LIMIT" { "2201W" } else { "2201X" };
            Err(SqlError::new(code, format!("{clause} must not be negative")))
        }
    }
}

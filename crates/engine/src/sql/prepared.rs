//! PREPARE, EXECUTE, DEALLOCATE.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::sql::parser::Statement;
use ::sql::parser::statement::Predicate;
use ::sql::{Datum, EvalContext, SqlError, Type};

use super::queries::only_query;
use super::session::SqlSession;

/// Prepared statements of one session.
const MAX_PREPARED: usize = 4096;

#[derive(Debug)]
pub(super) struct PreparedStatement {
    pub statement: Statement,
    /// As PREPARE named them.
    pub types: Vec<Option<Type>>,
}

#[derive(Debug, Default)]
pub(super) struct Prepared(BTreeMap<String, Arc<PreparedStatement>>);

fn missing(name: &str) -> SqlError {
    SqlError::new("26000", format!("prepared statement \"{name}\" does not exist"))
}

impl Prepared {
    pub fn get(&self, name: &str) -> Result<Arc<PreparedStatement>, SqlError> {
        self.0.get(name).cloned().ok_or_else(|| missing(name))
    }

    pub fn deallocate(&mut self, name: Option<&str>) -> Result<(), SqlError> {
        match name {
            Some(name) => self.0.remove(name).map(|_| ()).ok_or_else(|| missing(name)),
            None => {
                self.0.clear();
                Ok(())
            }
        }
    }
}

impl SqlSession {
    pub(super) fn prepare<T: std::fmt::Display>(
        &mut self,
        name: &str,
        types: &[T],
        statement: &Statement,
    ) -> Result<(), SqlError> {
        if self.prepared.0.contains_key(name) {
            return Err(SqlError::new("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.prepared.0.len() >= MAX_PREPARED {
            return Err(SqlError::new("53400", format!("more than {MAX_PREPARED} prepared statements"))
                .with_hint("Deallocate some."));
        }
        let mut known = Vec::with_capacity(types.len());
        for ty in types {
            // A cast says what the type's name means.
            let cast = self.bind(&only_query(&format!("SELECT CAST(NULL AS {ty})"))?, &[])?;
            known.push(cast.plan.fields().first().map(|field| field.ty.clone()));
        }
        self.describe(statement, &known)?;
        let prepared = PreparedStatement { statement: statement.clone(), types: known };
        self.prepared.0.insert(name.to_owned(), Arc::new(prepared));
        Ok(())
    }

    /// The statement of an EXECUTE and the values of its parameters.
    pub(super) async fn arguments(
        &self,
        name: &str,
        arguments: &[Predicate],
    ) -> Result<(Arc<PreparedStatement>, Vec<Datum>), SqlError> {
        let prepared = self.prepared.get(name)?;
        let wanted = self.describe(&prepared.statement, &prepared.types)?.parameters;
        if wanted.len() != arguments.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", wanted.len(), arguments.len());
            return Err(SqlError::syntax(message).with_detail(detail));
        }
        if wanted.is_empty() {
            return Ok((prepared, Vec::new()));
        }
        let list: Vec<String> = arguments.iter().map(|argument| format!("({})", argument.text)).collect();
        let bound = self.bind(&only_query(&format!("SELECT {}", list.join(", ")))?, &[])?;
        let given: Vec<Type> = bound.plan.fields().iter().map(|field| field.ty.clone()).collect();
        let result = self.run_plan(bound.plan, Vec::new()).await?;
        let row = result.rows.first().ok_or_else(|| SqlError::internal("arguments without a row"))?;
        let ctx = EvalContext { now_us: self.now_us(), parameters: &[], time_zone: self.time_zone() };
        let mut values = Vec::with_capacity(wanted.len());
        for ((value, from), to) in row.iter().zip(&given).zip(&wanted) {
            values.push(match value {
                // A literal of no type of its own is read as the parameter's.
                Datum::Text(text) if !to.is_text() => ::sql::cast::parse_literal(text, to, &ctx)?,
                value => ::sql::cast::cast(value, from, to, false, &ctx)?,
            });
        }
        Ok((prepared, values))
    }
}

//! WITH RECURSIVE: a base and a step, run to their fixed point where the query runs once.
//!
//! While the step is bound, its own name reads `Source::Working`: what the step before has found. The
//! whole is a scan of `Source::Recursive`, which holds both plans.

use std::sync::Arc;

use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};

use super::query::rename;
use super::scope::{Bound, Origin, Scope};
use super::{Binder, edit};
use crate::error::{Result, SqlError};
use crate::plan::{Field, Plan, Recursion, ScanColumn, Source};

impl Binder<'_> {
    /// A CTE that reads itself; `None` if it does not, or has another form. The last of `ctes` is the
    /// one that is being bound.
    pub(super) fn bind_recursive(
        &mut self,
        query: &ast::Query,
        alias: &ast::TableAlias,
        parent: Option<&Scope<'_>>,
    ) -> Result<Option<Bound>> {
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } = &*query.body else {
            return Ok(None);
        };
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty();
        // Bound once to see whether it reads itself at all; most lists of CTEs have but one that does.
        let Some(base) = self.base_of(left, parent)? else { return Ok(None) };
        let mut base = self.known(base)?;
        rename(&mut base, alias)?;
        let id = self.recursions;
        self.recursions += 1;
        let fields: Vec<Field> = base
            .names
            .iter()
            .zip(base.plan.fields())
            .map(|(name, field)| Field::new(name.clone(), field.ty.clone()))
            .collect();
        let current = self.ctes.len() - 1;
        self.ctes[current].bound = Some(rows_of(Source::Working(id), &fields));
        let notices = self.notices.len();
        let step = self.bind_body(right, &[], parent);
        self.ctes[current].bound = None;
        let step = step?.without_order();
        let reads = reads(&step.plan, id);
        if reads == 0 {
            self.notices.truncate(notices);
            return Ok(None);
        }
        if !plain {
            return Err(SqlError::new("0A000", "ORDER BY, LIMIT or WITH in a recursive query is not implemented"));
        }
        self.check_step(&step.plan, reads, current)?;
        if edit::is_correlated(&base.plan) || edit::is_correlated(&step.plan) {
            return Err(SqlError::unsupported("a recursive query that reads an outer query's columns"));
        }
        let step = self.step_like(step, &fields)?;
        let (base, step) = (self.finish(base.plan)?, self.finish(step)?);
        let all = matches!(set_quantifier, SetQuantifier::All);
        Ok(Some(rows_of(Source::Recursive(Recursion { id, base, step, all }), &fields)))
    }

    /// The non-recursive term; `None` where it cannot be bound without the recursive one.
    fn base_of(&mut self, left: &SetExpr, parent: Option<&Scope<'_>>) -> Result<Option<Bound>> {
        match self.bind_body(left, &[], parent) {
            Ok(ordered) => Ok(Some(ordered.without_order())),
            Err(error) if error.code == "42P19" => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check_step(&self, step: &Arc<Plan>, reads: usize, current: usize) -> Result<()> {
        let name = &self.ctes[current].name;
        if reads > 1 {
            let message = format!("recursive reference to query \"{name}\" must not appear more than once");
            return Err(SqlError::new("42P19", message));
        }
        let mut aggregates = false;
        edit::walk(step, &mut |node| aggregates |= matches!(**node, Plan::Aggregate { .. }));
        if aggregates {
            let message = "aggregate functions are not allowed in a recursive query's recursive term";
            return Err(SqlError::new("42P19", message));
        }
        Ok(())
    }

    /// The step with the base's columns.
    fn step_like(&mut self, step: Bound, fields: &[Field]) -> Result<Arc<Plan>> {
        if step.width() != fields.len() {
            return Err(SqlError::syntax("each UNION query must have the same number of columns"));
        }
        for (n, (field, other)) in fields.iter().zip(step.plan.fields()).enumerate() {
            let overall = self.common_type(&[field.ty.clone(), other.ty.clone()], "UNION")?;
            if overall != field.ty {
                let message = format!(
                    "recursive query column {} has type {} in non-recursive term but type {overall} overall",
                    n + 1,
                    field.ty
                );
                return Err(SqlError::new("42804", message)
                    .with_hint("Cast the output of the non-recursive term to the correct type."));
            }
        }
        let types: Vec<_> = fields.iter().map(|field| field.ty.clone()).collect();
        self.with_types(step.plan, &types)
    }
}

fn rows_of(source: Source, fields: &[Field]) -> Bound {
    let columns = (0..fields.len()).map(ScanColumn::Whole).collect();
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    Bound {
        plan: Arc::new(Plan::Scan { source, columns, fields: fields.to_vec() }),
        origins: vec![Origin::Any; names.len()],
        names,
        key: vec![],
        open: None,
    }
}

/// How often a plan reads the rows of a recursion's last step.
fn reads(plan: &Arc<Plan>, id: usize) -> usize {
    let own = matches!(&**plan, Plan::Scan { source: Source::Working(of), .. } if *of == id);
    usize::from(own) + plan.inputs().into_iter().map(|input| reads(input, id)).sum::<usize>()
}

//! FROM: relations, common table expressions, subqueries, and what joins them.

use std::sync::Arc;

use sqlparser::ast::{self, JoinOperator, TableFactor, TableWithJoins};

use super::Binder;
use super::edit;
use super::join::{JoinType, Side};
use super::query::rename;
use super::scope::{Bound, Origin, Scope};
use crate::catalog::Relation;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::parser::fold;
use crate::plan::{Plan, ScanColumn, Source};
use crate::types::Type;

/// Reads a relation whole; the optimizer narrows it.
pub(super) fn scan(relation: &Relation) -> Bound {
    let is_stream = matches!(relation.source, Source::Stream { .. });
    let origin = |name: &str| match name {
        "updated_fields" if is_stream => Origin::UpdatedFields,
        "update_description" if is_stream => Origin::UpdateDescription,
        _ => Origin::Any,
    };
    Bound {
        names: relation.columns.iter().map(|c| c.name.clone()).collect(),
        origins: relation.columns.iter().map(|c| origin(&c.name)).collect(),
        plan: Arc::new(Plan::Scan {
            source: relation.source.clone(),
            columns: (0..relation.columns.len()).map(ScanColumn::Whole).collect(),
            fields: relation.columns.clone(),
        }),
        key: relation.key.clone(),
        open: relation.open,
    }
}

impl Binder<'_> {
    /// All of FROM: items separated by commas are cross joins, later ones see earlier ones if lateral.
    pub(super) fn bind_from<'p>(
        &mut self,
        from: &[TableWithJoins],
        parent: Option<&'p Scope<'p>>,
    ) -> Result<(Arc<Plan>, Scope<'p>)> {
        let mut left: Option<Side<'p>> = None;
        for item in from {
            let TableWithJoins { relation, joins } = item;
            // A comma binds looser than JOIN, but the left of a lateral item is all before it.
            left = Some(self.join_factor(left, relation, &JoinType::Cross, parent)?);
            for join in joins {
                let kind = join_type(join)?;
                let side = left.take().ok_or_else(|| SqlError::internal("a join without a left side"))?;
                left = Some(self.join_factor(Some(side), &join.relation, &kind, parent)?);
            }
        }
        Ok(match left {
            Some(side) => (side.plan, side.scope),
            None => (edit::one_row(), Scope::child_of(parent)),
        })
    }

    /// Parenthesized joins: a unit of their own.
    fn nested_join<'p>(
        &mut self,
        table: &TableWithJoins,
        alias: Option<&ast::TableAlias>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let (plan, mut scope) = self.bind_from(std::slice::from_ref(table), parent)?;
        if let Some(alias) = alias {
            let listed: Vec<_> = scope.columns.iter().filter(|c| c.listed).cloned().collect();
            let exprs: Vec<Expr> = listed.iter().map(|c| c.expr.clone()).collect();
            let fields = listed.iter().map(|c| crate::plan::Field::new(c.name.clone(), c.expr.ty.clone())).collect();
            let mut bound = Bound {
                plan: edit::project(plan, exprs, fields),
                names: listed.iter().map(|c| c.name.clone()).collect(),
                origins: listed.iter().map(|c| c.origin).collect(),
                key: vec![],
                open: None,
            };
            rename(&mut bound, alias)?;
            scope = Scope::of(parent, &bound, Some(fold(&alias.name)), None);
            return Ok(Side { plan: bound.plan, scope });
        }
        Ok(Side { plan, scope })
    }

    fn join_factor<'p>(
        &mut self,
        left: Option<Side<'p>>,
        factor: &TableFactor,
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        self.count_relation()?;
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_directives,
                inheritance,
            } => {
                let only = matches!(inheritance, Some(ast::TableInheritance::Only { .. }));
                let refused = [
                    (!with_hints.is_empty() || !index_directives.is_empty(), "a table hint"),
                    (version.is_some(), "a table version"),
                    (!partitions.is_empty(), "PARTITION in FROM"),
                    (json_path.is_some(), "a JSON path in FROM"),
                    (sample.is_some(), "TABLESAMPLE"),
                    (only, "ONLY"),
                ];
                let position = self.position(super::name_location(name));
                if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
                    return Err(SqlError::unsupported(what).at(position));
                }
                match args {
                    Some(ast::TableFunctionArgs { args, settings: None }) => {
                        let call = super::table_function::FunctionItem {
                            name,
                            args,
                            ordinality: *with_ordinality,
                            alias: alias.as_ref(),
                        };
                        self.function_item(left, call, kind, parent).map_err(|e| e.at(position))
                    }
                    Some(_) => Err(SqlError::unsupported("SETTINGS in FROM").at(position)),
                    None => {
                        let right = self.table_item(name, alias.as_ref(), parent).map_err(|e| e.at(position))?;
                        self.join(left, right, kind)
                    }
                }
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality, alias } => {
                let position = self.position(super::name_location(name));
                let call = super::table_function::FunctionItem {
                    name,
                    args,
                    ordinality: *with_ordinality,
                    alias: alias.as_ref(),
                };
                self.function_item(left, call, kind, parent).map_err(|e| e.at(position))
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality } => {
                if *with_offset || with_offset_alias.is_some() {
                    return Err(SqlError::unsupported("UNNEST … WITH OFFSET"));
                }
                self.unnest_item(left, array_exprs, *with_ordinality, alias.as_ref(), kind, parent)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if sample.is_some() {
                    return Err(SqlError::unsupported("TABLESAMPLE"));
                }
                self.derived_item(left, *lateral, subquery, alias.as_ref(), kind, parent)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let right = self.nested_join(table_with_joins, alias.as_ref(), parent)?;
                self.join(left, right, kind)
            }
            TableFactor::TableFunction { .. } => Err(SqlError::unsupported("TABLE(…) in FROM")),
            TableFactor::JsonTable { .. } => Err(SqlError::unsupported("JSON_TABLE")),
            TableFactor::OpenJsonTable { .. } => Err(SqlError::unsupported("OPENJSON")),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } | TableFactor::UnpivotExpr { .. } => {
                Err(SqlError::unsupported("PIVOT"))
            }
            TableFactor::MatchRecognize { .. } => Err(SqlError::unsupported("MATCH_RECOGNIZE")),
            TableFactor::XmlTable { .. } => Err(SqlError::unsupported("XMLTABLE")),
            TableFactor::SemanticView { .. } => Err(SqlError::unsupported("SEMANTIC_VIEW")),
        }
    }

    fn table_item<'p>(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let (mut bound, db, relation) = self.bind_relation(name, parent)?;
        let (db, relation) = match alias {
            Some(alias) => {
                rename(&mut bound, alias)?;
                (None, fold(&alias.name))
            }
            None => (db, relation),
        };
        let scope = Scope::of(parent, &bound, Some(relation), db);
        Ok(Side { plan: bound.plan, scope })
    }

    /// A CTE or a relation of the catalogue, with the names it answers to.
    pub(super) fn bind_relation(
        &mut self,
        name: &ast::ObjectName,
        parent: Option<&Scope<'_>>,
    ) -> Result<(Bound, Option<String>, String)> {
        let mut parts = super::name_parts(name)?;
        if parts.len() == 3 && parts[0] == self.catalog.database() {
            parts.remove(0);
        }
        let position = self.position(super::name_location(name));
        let (qualifier, relation) = match &parts[..] {
            [relation] => (None, relation.clone()),
            [qualifier, relation] => (Some(qualifier.clone()), relation.clone()),
            _ => {
                let message = format!("improper relation name (too many dotted names): {}", parts.join("."));
                return Err(SqlError::syntax(message).at(position));
            }
        };
        if qualifier.is_none()
            && let Some(bound) = self.cte(&relation, parent).map_err(|e| e.at(position))?
        {
            return Ok((bound, None, relation));
        }
        let found = match qualifier.as_deref() {
            // The one schema that PostgreSQL's clients expect; its relations are the database's.
            Some("public") => self.catalog.relation(None, &relation),
            qualifier => self.catalog.relation(qualifier, &relation),
        };
        match found {
            Some(found) => Ok((scan(&found), qualifier, relation)),
            None => {
                let full = parts.join(".");
                let error = SqlError::new("42P01", format!("relation \"{full}\" does not exist")).at(position);
                Err(match self.catalog.stream(&full) {
                    Some(_) => error.with_hint(format!("Read the change stream as CHANGE_STREAM('{full}').")),
                    None => error,
                })
            }
        }
    }

    fn derived_item<'p>(
        &mut self,
        left: Option<Side<'p>>,
        lateral: bool,
        subquery: &ast::Query,
        alias: Option<&ast::TableAlias>,
        kind: &JoinType<'_>,
        parent: Option<&'p Scope<'p>>,
    ) -> Result<Side<'p>> {
        let lateral = lateral && left.is_some();
        let ordered = match (&left, lateral) {
            (Some(side), true) => self.bind_query(subquery, Some(&side.scope))?,
            _ => self.bind_query(subquery, parent)?,
        };
        let mut bound = self.known(ordered.without_order())?;
        let name = match alias {
            Some(alias) => {
                rename(&mut bound, alias)?;
                Some(fold(&alias.name))
            }
            None => None,
        };
        let scope = Scope::of(parent, &bound, name, None);
        let right = Side { plan: bound.plan, scope };
        match left {
            Some(left) if lateral => self.lateral_join(left, right, kind),
            left => self.join(left, right, kind),
        }
    }
}

fn join_type(join: &ast::Join) -> Result<JoinType<'_>> {
    use JoinOperator::*;
    let ast::Join { relation: _, global, join_operator } = join;
    if *global {
        return Err(SqlError::unsupported("GLOBAL JOIN"));
    }
    Ok(match join_operator {
        Join(constraint) | Inner(constraint) => JoinType::Inner(constraint),
        Left(constraint) | LeftOuter(constraint) => JoinType::Left(constraint),
        Right(constraint) | RightOuter(constraint) => JoinType::Right(constraint),
        FullOuter(constraint) => JoinType::Full(constraint),
        CrossJoin(ast::JoinConstraint::None) => JoinType::Cross,
        CrossJoin(_) => return Err(SqlError::syntax("CROSS JOIN takes no condition")),
        Semi(_) | LeftSemi(_) | RightSemi(_) => return Err(SqlError::unsupported("SEMI JOIN")),
        Anti(_) | LeftAnti(_) | RightAnti(_) => return Err(SqlError::unsupported("ANTI JOIN")),
        CrossApply | OuterApply => return Err(SqlError::unsupported("APPLY")),
        AsOf { .. } => return Err(SqlError::unsupported("ASOF JOIN")),
        StraightJoin(_) => return Err(SqlError::unsupported("STRAIGHT_JOIN")),
        ArrayJoin | LeftArrayJoin | InnerArrayJoin => return Err(SqlError::unsupported("ARRAY JOIN")),
    })
}

/// A constant TRUE.
pub(super) fn is_true(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Literal(crate::datum::Datum::Bool(true))) && expr.ty == Type::Bool
}

//! Functions with a grammar of their own, as calls of ordinary ones.

use sqlparser::ast::{self, CeilFloorKind, DateTimeField, TrimWhereField};

use super::Binder;
use super::literal::field_name;
use super::operator::negated;
use super::select::Env;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::Expr;
use crate::types::Type;

impl Binder<'_> {
    pub(super) fn bind_special(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        use ast::Expr::*;
        match ast {
            AtTimeZone { timestamp, time_zone } => {
                let zone = self.bind_expr(time_zone, env)?;
                let time = self.bind_expr(timestamp, env)?;
                let time = if time.ty == Type::Json { self.explicit_cast(time, &Type::Timestamptz)? } else { time };
                self.call("timezone", vec![zone, time])
            }
            Extract { field, syntax: _, expr } => {
                let field = Expr::literal(Datum::text(field_name(field)), Type::Text);
                let value = self.bind_expr(expr, env)?;
                self.flexible_call("extract", vec![field, value])
            }
            Ceil { expr, field } => self.rounding("ceil", expr, field, env),
            Floor { expr, field } => self.rounding("floor", expr, field, env),
            Position { expr, r#in } => {
                let (needle, text) = (self.bind_expr(expr, env)?, self.bind_expr(r#in, env)?);
                self.flexible_call("strpos", vec![text, needle])
            }
            Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let mut args = vec![self.bind_expr(expr, env)?];
                match substring_from {
                    Some(from) => args.push(self.bind_expr(from, env)?),
                    None => args.push(Expr::literal(Datum::Int(1), Type::Int4)),
                }
                if let Some(length) = substring_for {
                    args.push(self.bind_expr(length, env)?);
                }
                self.flexible_call("substring", args)
            }
            Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.bind_expr(expr, env)?];
                let characters = trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten());
                for what in characters {
                    args.push(self.bind_expr(what, env)?);
                }
                self.flexible_call(name, args)
            }
            Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let parts = [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()];
                let args = parts.into_iter().flatten().map(|e| self.bind_expr(e, env)).collect::<Result<_>>()?;
                self.flexible_call("overlay", args)
            }
            Collate { expr, collation } => {
                let name = super::name_parts(collation)?.pop().unwrap_or_default();
                // Text is ordered by its bytes, which is what these mean.
                if !matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
                    return Err(SqlError::new(
                        "42704",
                        format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
                    ));
                }
                self.bind_known(expr, env)
            }
            IsNormalized { .. } => Err(SqlError::unsupported("IS NORMALIZED")),
            _ => Err(SqlError::internal("not a special form")),
        }
    }

    fn rounding(&mut self, name: &str, expr: &ast::Expr, field: &CeilFloorKind, env: &mut Env<'_, '_>) -> Result<Expr> {
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                let value = self.bind_expr(expr, env)?;
                self.flexible_call(name, vec![value])
            }
            _ => Err(SqlError::unsupported(format!("{name} with a unit"))),
        }
    }

    /// `x LIKE ANY (array)` and `x LIKE ALL (array)`, which the grammar reads as a call.
    fn pattern_list(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        use ast::BinaryOperator::*;
        let (negated, any, value, pattern, escape, operators) = match ast {
            ast::Expr::Like { negated, any, expr, pattern, escape_char } => {
                (negated, any, expr, pattern, escape_char, (PGLikeMatch, PGNotLikeMatch))
            }
            ast::Expr::ILike { negated, any, expr, pattern, escape_char } => {
                (negated, any, expr, pattern, escape_char, (PGILikeMatch, PGNotILikeMatch))
            }
            _ => return Ok(None),
        };
        let all = match &**pattern {
            ast::Expr::Function(call) if !any => match &call.args {
                ast::FunctionArguments::List(list) if super::call::function_name(&call.name)? == "all" => {
                    match &super::call::arguments(&list.args)?[..] {
                        [super::call::Arg::Expr(array)] => Some(*array),
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        };
        if !any && all.is_none() {
            return Ok(None);
        }
        if escape.is_some() {
            return Err(SqlError::syntax("syntax error at or near \"ESCAPE\""));
        }
        let operator = if *negated { operators.1 } else { operators.0 };
        self.quantified(value, &operator, all.unwrap_or(pattern), all.is_some(), env).map(Some)
    }

    /// LIKE, ILIKE, SIMILAR TO.
    pub(super) fn bind_pattern(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        use ast::Expr::*;
        if let Some(expr) = self.pattern_list(ast, env)? {
            return Ok(expr);
        }
        let (operator, function, not, value, pattern, escape) = match ast {
            Like { negated, any: false, expr, pattern, escape_char } => {
                ("~~", "like", *negated, expr, pattern, escape_char)
            }
            ILike { negated, any: false, expr, pattern, escape_char } => {
                ("~~*", "ilike", *negated, expr, pattern, escape_char)
            }
            SimilarTo { negated, expr, pattern, escape_char } => {
                ("", "similar_to", *negated, expr, pattern, escape_char)
            }
            _ => return Err(SqlError::internal("not a pattern")),
        };
        let value = self.bind_expr(value, env)?;
        let value = self.pattern_operand(value)?;
        let pattern = self.bind_expr(pattern, env)?;
        let pattern = self.pattern_operand(pattern)?;
        let matched = match escape {
            None if !operator.is_empty() => self.operator(operator, value, pattern)?,
            None => self.call(function, vec![value, pattern])?,
            Some(escape) => {
                let escape = self.bind_expr(escape, env)?;
                self.call(function, vec![value, pattern, escape])?
            }
        };
        Ok(if not { negated(matched) } else { matched })
    }
}

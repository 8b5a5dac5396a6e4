//! Conversions: what an expression must become where it stands.
//!
//! An undecorated literal or parameter has no type until its place gives it one. JSON values, which
//! have no schema, convert where PostgreSQL would ask for a cast: see `operator.rs` for the rules.

use super::Binder;
use crate::cast::{self, CastContext};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::functions;
use crate::types::Type;

impl Binder<'_> {
    /// The expression as `to`, where PostgreSQL converts unasked. Errors with 42804.
    pub(super) fn coerce(&mut self, expr: Expr, to: &Type) -> Result<Expr> {
        self.convert(expr, to, CastContext::Implicit)
    }

    /// `CAST(expr AS to)`.
    pub(super) fn explicit_cast(&mut self, expr: Expr, to: &Type) -> Result<Expr> {
        if expr.ty == Type::Unknown || expr.ty != *to {
            return self.convert(expr, to, CastContext::Explicit);
        }
        Ok(expr)
    }

    fn convert(&mut self, mut expr: Expr, to: &Type, context: CastContext) -> Result<Expr> {
        if expr.ty == Type::Unknown {
            match &expr.kind {
                ExprKind::Literal(Datum::Null) => return Ok(Expr { ty: to.clone(), ..expr }),
                ExprKind::Literal(Datum::Text(text)) => {
                    let text = text.clone();
                    return self.typed_literal(expr, &text, to, context);
                }
                ExprKind::Parameter(index) => {
                    let index = *index;
                    let ty = cast::base(to);
                    self.parameters[index] = Some(ty.clone());
                    expr.ty = ty;
                }
                _ => expr.ty = Type::Text,
            }
        }
        if expr.ty == *to {
            return Ok(expr);
        }
        if matches!(to, Type::Unknown) {
            return Ok(expr);
        }
        let allowed = cast::can_cast(&expr.ty, to).is_some_and(|needed| needed <= context);
        if !allowed {
            return Err(match context {
                CastContext::Explicit => SqlError::new("42846", format!("cannot cast type {} to {to}", expr.ty)),
                _ => SqlError::new("42804", format!("type {} cannot be used as type {to} here", expr.ty)),
            });
        }
        Ok(relabeled_or_cast(expr, to, context == CastContext::Explicit))
    }

    fn typed_literal(&mut self, expr: Expr, text: &str, to: &Type, context: CastContext) -> Result<Expr> {
        if *to == Type::Unknown {
            return Ok(expr);
        }
        let position = expr.position;
        let placed = |datum, ty| Expr { kind: ExprKind::Literal(datum), ty, position };
        // Names of catalogue objects are looked up when the statement runs.
        if matches!(to, Type::Regclass | Type::Regtype | Type::Regproc | Type::Regnamespace)
            && text.parse::<u32>().is_err()
        {
            if *to == Type::Regclass
                && let Some(number) = self.catalog.relation_number(text)
            {
                return Ok(placed(Datum::Int(number), to.clone()));
            }
            let text = placed(Datum::text(text), Type::Text);
            return Ok(Expr {
                kind: ExprKind::Cast { input: Box::new(text), explicit: true },
                ty: to.clone(),
                position,
            });
        }
        let base = cast::base(to);
        let datum = match self.parse_literal(text, &base) {
            Ok(datum) => datum,
            // Where a literal meets JSON without a cast, text that is no JSON is a JSON string.
            Err(_) if *to == Type::Json && context != CastContext::Explicit => json_string(text),
            Err(e) => return Err(e.at(position.map(|p| p as usize))),
        };
        if base == *to {
            return Ok(placed(datum, base));
        }
        Ok(relabeled_or_cast(placed(datum, base), to, context == CastContext::Explicit))
    }

    /// A condition. Errors with 42804 in PostgreSQL's words.
    pub(super) fn boolean(&mut self, expr: Expr, clause: &str) -> Result<Expr> {
        match expr.ty {
            Type::Bool => Ok(expr),
            Type::Unknown => self.coerce(expr, &Type::Bool),
            Type::Json => self.explicit_cast(expr, &Type::Bool),
            _ => {
                let message = format!("argument of {clause} must be type boolean, not type {}", expr.ty);
                Err(SqlError::new("42804", message).at(expr.position.map(|p| p as usize)))
            }
        }
    }

    /// All expressions as their common type, as UNION, CASE, COALESCE, ARRAY and VALUES do it; JSON
    /// beside another type makes that JSON too.
    pub(super) fn unify(&mut self, exprs: Vec<Expr>, construct: &str) -> Result<(Vec<Expr>, Type)> {
        let types: Vec<Type> = exprs.iter().map(|e| e.ty.clone()).collect();
        let ty = self.common_type(&types, construct)?;
        let exprs = exprs.into_iter().map(|e| self.unified(e, &ty)).collect::<Result<_>>()?;
        Ok((exprs, ty))
    }

    pub(super) fn common_type(&self, types: &[Type], construct: &str) -> Result<Type> {
        cast::common_type_for(construct, types)
            .or_else(|e| if types.contains(&Type::Json) { Ok(Type::Json) } else { Err(e) })
    }

    pub(super) fn unified(&mut self, expr: Expr, ty: &Type) -> Result<Expr> {
        if *ty == Type::Json && expr.ty != Type::Json && expr.ty != Type::Unknown {
            return self.to_json(expr);
        }
        self.coerce(expr, ty)
    }

    /// `to_jsonb(expr)`.
    #[allow(clippy::wrong_self_convention, reason = "converts the argument, not the binder")]
    pub(super) fn to_json(&mut self, expr: Expr) -> Result<Expr> {
        if expr.ty == Type::Json {
            return Ok(expr);
        }
        if let ExprKind::Literal(Datum::Text(text)) = &expr.kind {
            return Ok(Expr { kind: ExprKind::Literal(json_string(text)), ty: Type::Json, position: expr.position });
        }
        let constant = matches!(expr.kind, ExprKind::Literal(_)) && !expr.ty.is_temporal();
        let json = self.call("to_jsonb", vec![expr])?;
        match constant.then(|| json.eval(&[], &self.constant_context())) {
            Some(Ok(datum)) => Ok(Expr { kind: ExprKind::Literal(datum), ..json }),
            _ => Ok(json),
        }
    }

    /// A function of the registry over bound arguments.
    pub(super) fn call(&mut self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let types: Vec<Type> = args.iter().map(|a| a.ty.clone()).collect();
        let resolved = functions::resolve(name, &types)?;
        self.apply(resolved, args)
    }

    pub(super) fn apply(&mut self, resolved: functions::Resolved, args: Vec<Expr>) -> Result<Expr> {
        let position = args.first().and_then(|a| a.position);
        let args = args
            .into_iter()
            .zip(&resolved.parameter_types)
            .map(|(arg, ty)| self.argument(arg, ty))
            .collect::<Result<Vec<_>>>()?;
        Ok(Expr { kind: ExprKind::Call { function: resolved.function, args }, ty: resolved.result, position })
    }

    /// Parameters of type `any` leave unknown literals as text.
    fn argument(&mut self, arg: Expr, ty: &Type) -> Result<Expr> {
        match (&arg.ty, ty) {
            (Type::Unknown, Type::Unknown) => self.coerce(arg, &Type::Text),
            _ => self.coerce(arg, ty),
        }
    }
}

/// Text types share their representation, and a declared length only matters when it is imposed.
fn relabeled_or_cast(expr: Expr, to: &Type, explicit: bool) -> Expr {
    let imposes = matches!(to, Type::Varchar(Some(_)) | Type::Numeric(Some(_)) | Type::Name | Type::Char);
    let same_values = cast::same_base(&expr.ty, to) || (expr.ty.is_text() && to.is_text());
    let nested = matches!(to, Type::Array(_));
    if same_values && !imposes && !nested && !matches!(expr.kind, ExprKind::Cast { .. }) {
        return Expr { ty: to.clone(), ..expr };
    }
    let position = expr.position;
    Expr { kind: ExprKind::Cast { input: Box::new(expr), explicit }, ty: to.clone(), position }
}

/// Text as a JSON string.
pub(super) fn json_string(text: &str) -> Datum {
    Datum::Json(crate::datum::Json::copy(document::Raw::String(text)))
}

//! Expressions: one syntax node at a time, exhaustively.

use sqlparser::ast::{self, AccessExpr, CastKind, InTarget, Spanned, Subscript};
use sqlparser::tokenizer::{Location, Span};

use super::Binder;
use super::operator::{and, negated, or};
use super::scope::{Found, Origin, Resolved};
use super::select::{Clause, Env};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::parser::fold;
use crate::types::Type;

/// Stack that one step of the recursion may need, and what is added when less is left.
const STACK_STEP: usize = 256 * 1024;
const STACK_GROWTH: usize = 4 * 1024 * 1024;

/// A node's place in the text, found without looking at all of it where possible.
pub(super) fn start(ast: &ast::Expr) -> Location {
    use ast::Expr::*;
    let mut at = ast;
    loop {
        at = match at {
            Identifier(ident) => return ident.span.start,
            Value(value) => return value.span.start,
            Function(function) => return super::name_location(&function.name),
            Case { case_token, .. } => return case_token.0.span.start,
            BinaryOp { left, .. } | AnyOp { left, .. } | AllOp { left, .. } => left,
            Nested(inner) | IsNull(inner) | IsNotNull(inner) => inner,
            Like { expr, .. } | ILike { expr, .. } | In { expr, .. } | Between { expr, .. } => expr,
            Cast { expr, .. } => expr,
            other => return other.span().start,
        };
    }
}

pub(super) fn span(ast: &ast::Expr) -> Span {
    ast.span()
}

impl Binder<'_> {
    /// The position of a node, for messages.
    pub(super) fn position_of(&self, ast: &ast::Expr) -> Option<usize> {
        self.position(start(ast))
    }

    pub(super) fn bind_expr(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        stacker::maybe_grow(STACK_STEP, STACK_GROWTH, || {
            let mut expr = self.bind_node(ast, env).map_err(|e| e.at(self.position_of(ast)))?;
            if expr.position.is_none() {
                expr.position = self.position_of(ast).and_then(|p| u32::try_from(p).ok());
            }
            Ok(expr)
        })
    }

    fn bind_node(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        use ast::Expr::*;
        match ast {
            Identifier(ident) => self.bind_name(std::slice::from_ref(ident), env),
            CompoundIdentifier(idents) => self.bind_name(idents, env),
            CompoundFieldAccess { root, access_chain } => self.bind_access(root, access_chain, env),
            Value(value) => self.bind_value(&value.value),
            TypedString(typed) => self.typed_string(typed),
            Interval(interval) => self.interval(interval),
            Nested(inner) => self.bind_expr(inner, env),
            BinaryOp { op: ast::BinaryOperator::And | ast::BinaryOperator::Or, .. } => self.bind_chain(ast, env),
            BinaryOp { left, op, right } => self.binary(left, op, right, env),
            UnaryOp { op, expr } => self.unary(op, expr, env),
            IsNull(inner) => {
                let operand = self.bind_expr(inner, env)?;
                Ok(is_null(operand))
            }
            IsNotNull(inner) => {
                let operand = self.bind_expr(inner, env)?;
                Ok(match operand.kind {
                    // Of a row: whether each of its values is there, which is not the opposite of IS NULL.
                    ExprKind::Record(items) => and(items.into_iter().map(|item| negated(is_null(item))).collect()),
                    _ => negated(is_null(operand)),
                })
            }
            IsTrue(inner) => self.truth(inner, Some(true), false, env),
            IsNotTrue(inner) => self.truth(inner, Some(true), true, env),
            IsFalse(inner) => self.truth(inner, Some(false), false, env),
            IsNotFalse(inner) => self.truth(inner, Some(false), true, env),
            IsUnknown(inner) => self.truth(inner, None, false, env),
            IsNotUnknown(inner) => self.truth(inner, None, true, env),
            IsDistinctFrom(a, b) => Ok(negated(self.not_distinct(a, b, env)?)),
            IsNotDistinctFrom(a, b) => self.not_distinct(a, b, env),
            In { expr, target, negated, global: false } => match target {
                InTarget::List(list) => self.in_list(expr, list, *negated, env),
                InTarget::Subquery(query) => self.in_subquery(expr, query, *negated, env),
                InTarget::Unnest(_) | InTarget::Table { .. } => Err(SqlError::unsupported("this form of IN")),
            },
            In { global: true, .. } => Err(SqlError::unsupported("GLOBAL IN")),
            Between { expr, negated, low, high } => self.between(expr, (low, high), *negated, env),
            Like { .. } | ILike { .. } | SimilarTo { .. } => self.bind_pattern(ast, env),
            AnyOp { left, compare_op, right, is_some: _ } => match unnested(right) {
                Subquery(query) => self.quantified_subquery(left, compare_op, query, false, env),
                _ => self.quantified(left, compare_op, right, false, env),
            },
            AllOp { left, compare_op, right } => match unnested(right) {
                Subquery(query) => self.quantified_subquery(left, compare_op, query, true, env),
                _ => self.quantified(left, compare_op, right, true, env),
            },
            Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, format: None } => {
                let ty = self.bind_type(data_type)?;
                let input = self.bind_expr(expr, env)?;
                self.explicit_cast(input, &ty)
            }
            Cast { format: Some(_), .. } => Err(SqlError::unsupported("CAST with FORMAT")),
            Cast { .. } => Err(SqlError::unsupported("TRY_CAST")),
            Case { operand, conditions, else_result, case_token: _, end_token: _ } => {
                self.bind_case(operand.as_deref(), conditions, else_result.as_deref(), env)
            }
            Exists { subquery, negated } => self.exists_subquery(subquery, *negated, env),
            Subquery(query) => self.scalar_subquery(query, env),
            Tuple(items) => {
                let items = items.iter().map(|item| self.bind_known(item, env)).collect::<Result<_>>()?;
                Ok(Expr::new(ExprKind::Record(items), Type::Record))
            }
            Array(array) => self.bind_array(array, env),
            Function(function) => self.bind_function(function, env),
            AtTimeZone { .. }
            | Extract { .. }
            | Ceil { .. }
            | Floor { .. }
            | Position { .. }
            | Substring { .. }
            | Trim { .. }
            | Overlay { .. }
            | Collate { .. }
            | IsNormalized { .. } => self.bind_special(ast, env),
            GroupingSets(_) | Cube(_) | Rollup(_) => {
                Err(SqlError::syntax("grouping operations are only allowed in GROUP BY"))
            }
            Wildcard(_) | QualifiedWildcard(..) => Err(SqlError::syntax("* is not allowed here")),
            JsonAccess { .. } => Err(SqlError::unsupported("this form of JSON access")),
            IsJson { .. } => Err(SqlError::unsupported("IS JSON")),
            RLike { .. } => Err(SqlError::unsupported("RLIKE")),
            Convert { .. } => Err(SqlError::unsupported("CONVERT")),
            Prefixed { .. } => Err(SqlError::unsupported("a prefixed literal")),
            Struct { .. } | Named { .. } => Err(SqlError::unsupported("STRUCT")),
            Dictionary(_) | Map(_) => Err(SqlError::unsupported("a map literal")),
            MatchAgainst { .. } => Err(SqlError::unsupported("MATCH AGAINST")),
            OuterJoin(_) => Err(SqlError::unsupported("(+)")),
            Prior(_) => Err(SqlError::unsupported("PRIOR")),
            Lambda(_) => Err(SqlError::unsupported("a lambda expression")),
            MemberOf(_) => Err(SqlError::unsupported("MEMBER OF")),
        }
    }

    /// An expression whose unknown literals are text.
    pub(super) fn bind_known(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let expr = self.bind_expr(ast, env)?;
        if expr.ty == Type::Unknown { self.coerce(expr, &Type::Text) } else { Ok(expr) }
    }

    // ---- names ---------------------------------------------------------------------------------

    fn bind_name(&mut self, idents: &[ast::Ident], env: &mut Env<'_, '_>) -> Result<Expr> {
        Ok(self.find_name(idents, env)?.expr)
    }

    fn find_name(&mut self, idents: &[ast::Ident], env: &mut Env<'_, '_>) -> Result<Found> {
        let names: Vec<String> = idents.iter().map(fold).collect();
        if let [name] = &names[..] {
            if let Some(found) = env.scope.column(name)? {
                return Ok(found);
            }
            if let Some(expr) = self.alias_in_where(name, &idents[0], env)? {
                return Ok(Found { expr, origin: Origin::Any });
            }
        }
        match env.scope.resolve(&names)? {
            Resolved::Found(found) => Ok(found),
            Resolved::Path(document, keys) => {
                let expr = keys.iter().try_fold(document, |document, key| {
                    let key = Expr::literal(Datum::text(key.as_str()), Type::Text);
                    self.operator("->", document, key)
                })?;
                Ok(Found { expr, origin: Origin::Any })
            }
        }
    }

    /// T6: an alias of the SELECT list in WHERE, if nothing else has the name.
    fn alias_in_where(&mut self, name: &str, ident: &ast::Ident, env: &mut Env<'_, '_>) -> Result<Option<Expr>> {
        let Some(aliases) = env.aliases.filter(|_| !env.scope.is_open()) else { return Ok(None) };
        let Some(ast) = crate::rewrite::alias_definition(name, aliases) else { return Ok(None) };
        let position = self.at(ident.span);
        let mut inner = env.without_aliases();
        let expr = self.bind_expr(ast, &mut inner)?;
        self.notice(crate::rewrite::alias_in_where(name, position));
        Ok(Some(expr))
    }

    /// What is known of the value besides its type.
    pub(super) fn origin(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Origin {
        match ast {
            ast::Expr::Nested(inner) => self.origin(inner, env),
            ast::Expr::Identifier(ident) => self.name_origin(std::slice::from_ref(ident), env),
            ast::Expr::CompoundIdentifier(idents) => self.name_origin(idents, env),
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Arrow, right } => match &**right {
                ast::Expr::Value(value)
                    if value.value == ast::Value::SingleQuotedString("updatedFields".into())
                        && self.origin(left, env) == Origin::UpdateDescription =>
                {
                    Origin::UpdatedFields
                }
                _ => Origin::Any,
            },
            _ => Origin::Any,
        }
    }

    fn name_origin(&mut self, idents: &[ast::Ident], env: &Env<'_, '_>) -> Origin {
        let names: Vec<String> = idents.iter().map(fold).collect();
        let found = match &names[..] {
            [name] => env.scope.column(name).ok().flatten(),
            _ => match env.scope.resolve(&names) {
                Ok(Resolved::Found(found)) => Some(found),
                _ => None,
            },
        };
        found.map(|found| found.origin).unwrap_or_default()
    }

    /// `root.field`, `root[index]`.
    fn bind_access(&mut self, root: &ast::Expr, chain: &[AccessExpr], env: &mut Env<'_, '_>) -> Result<Expr> {
        // `a.b[1]`: the identifiers at the front are one name.
        let mut idents: Vec<ast::Ident> = match unnested(root) {
            ast::Expr::Identifier(ident) => vec![ident.clone()],
            ast::Expr::CompoundIdentifier(idents) => idents.clone(),
            _ => vec![],
        };
        let mut rest = chain;
        if !idents.is_empty() {
            while let [AccessExpr::Dot(ast::Expr::Identifier(ident)), tail @ ..] = rest {
                idents.push(ident.clone());
                rest = tail;
            }
        }
        let mut expr = if idents.is_empty() { self.bind_expr(root, env)? } else { self.bind_name(&idents, env)? };
        for access in rest {
            expr = self.access(expr, access, env)?;
        }
        Ok(expr)
    }

    fn access(&mut self, expr: Expr, access: &AccessExpr, env: &mut Env<'_, '_>) -> Result<Expr> {
        match access {
            AccessExpr::Dot(ast::Expr::Identifier(ident)) if expr.ty == Type::Json => {
                let key = Expr::literal(Datum::text(fold(ident)), Type::Text);
                self.operator("->", expr, key)
            }
            AccessExpr::Dot(field) => Err(SqlError::new(
                "42809",
                format!("column notation .{field} applied to type {}, which is not a composite type", expr.ty),
            )),
            AccessExpr::Subscript(Subscript::Index { index }) => {
                let index = self.bind_expr(index, env)?;
                match &expr.ty {
                    Type::Array(element) => {
                        let ty = (**element).clone();
                        // A field of a document is a number without a declared size.
                        let index = match index.ty {
                            Type::Json | Type::Numeric(_) => self.explicit_cast(index, &Type::Int4)?,
                            _ => self.coerce(index, &Type::Int4)?,
                        };
                        let index = Box::new(index);
                        Ok(Expr::new(ExprKind::Subscript { array: Box::new(expr), index }, ty))
                    }
                    // jsonb's subscripts count from 0 and take keys, as `->` does.
                    Type::Json => {
                        let index = if index.ty == Type::Unknown { self.coerce(index, &Type::Text)? } else { index };
                        self.operator("->", expr, index)
                    }
                    other => Err(SqlError::new(
                        "42804",
                        format!("cannot subscript type {other} because it does not support subscripting"),
                    )),
                }
            }
            AccessExpr::Subscript(Subscript::Slice { stride: Some(_), .. }) => {
                Err(SqlError::unsupported("an array slice with a stride"))
            }
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride: None }) => {
                if !matches!(expr.ty, Type::Array(_)) {
                    let message = format!("cannot subscript type {} with a slice", expr.ty);
                    return Err(SqlError::new("42804", message));
                }
                let lower = self.slice_bound(lower_bound.as_ref(), 1, env)?;
                let upper = self.slice_bound(upper_bound.as_ref(), i32::MAX, env)?;
                self.call("[:]", vec![expr, lower, upper])
            }
        }
    }

    fn slice_bound(&mut self, bound: Option<&ast::Expr>, absent: i32, env: &mut Env<'_, '_>) -> Result<Expr> {
        match bound {
            Some(bound) => {
                let bound = self.bind_expr(bound, env)?;
                self.coerce(bound, &Type::Int4)
            }
            None => Ok(Expr::literal(Datum::Int(i64::from(absent)), Type::Int4)),
        }
    }

    // ---- logic ---------------------------------------------------------------------------------

    /// A chain of ANDs (or ORs), which the grammar nests to the left, as one list.
    fn bind_chain(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let ast::Expr::BinaryOp { op, .. } = ast else { return Err(SqlError::internal("no chain")) };
        let mut operands = Vec::new();
        let mut at = ast;
        while let ast::Expr::BinaryOp { left, op: inner, right } = at
            && inner == op
        {
            operands.push(&**right);
            at = left;
        }
        operands.push(at);
        let all = *op == ast::BinaryOperator::And;
        let clause = if all { "AND" } else { "OR" };
        let mut list = Vec::with_capacity(operands.len());
        for operand in operands.into_iter().rev() {
            let expr = self.bind_expr(operand, env)?;
            list.push(self.boolean(expr, clause)?);
        }
        Ok(if all { and(list) } else { or(list) })
    }

    fn truth(&mut self, ast: &ast::Expr, value: Option<bool>, not: bool, env: &mut Env<'_, '_>) -> Result<Expr> {
        let name = match value {
            Some(true) => "IS TRUE",
            Some(false) => "IS FALSE",
            None => "IS UNKNOWN",
        };
        let expr = self.bind_expr(ast, env)?;
        let operand = self.boolean(expr, name)?;
        let expr = match value {
            None => is_null(operand),
            Some(value) => {
                let literal = Expr::literal(Datum::Bool(value), Type::Bool);
                Expr::new(ExprKind::NotDistinct(Box::new(operand), Box::new(literal)), Type::Bool)
            }
        };
        Ok(if not { negated(expr) } else { expr })
    }

    fn not_distinct(&mut self, a: &ast::Expr, b: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let (a, b) = (self.operand(a, env)?, self.operand(b, env)?);
        let (left, right) = self.comparable(a, b)?;
        // The types must have an equality; its arguments are what is compared.
        let equality = self.operator("=", left, right)?;
        match equality.kind {
            ExprKind::Call { args, .. } => {
                let mut args = args.into_iter();
                match (args.next(), args.next()) {
                    (Some(a), Some(b)) => Ok(Expr::new(ExprKind::NotDistinct(Box::new(a), Box::new(b)), Type::Bool)),
                    _ => Err(SqlError::internal("an equality without operands")),
                }
            }
            _ => Err(SqlError::internal("an equality that is no call")),
        }
    }

    fn bind_case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            tests.push(self.case_condition(operand, &when.condition, env)?);
            results.push(self.bind_expr(&when.result, env)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.bind_expr(otherwise, env)?);
        }
        let (mut results, ty) = self.unify(results, "CASE")?;
        let otherwise = otherwise.and_then(|_| results.pop()).map(Box::new);
        let branches = tests.into_iter().zip(results).collect();
        Ok(Expr::new(ExprKind::Case { branches, otherwise }, ty))
    }

    fn case_condition(
        &mut self,
        operand: Option<&ast::Expr>,
        condition: &ast::Expr,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let Some(operand) = operand else {
            let expr = self.bind_expr(condition, env)?;
            return self.boolean(expr, "CASE/WHEN");
        };
        // T7: `CASE x WHEN 'a' AND cond` means `x = 'a' AND cond`.
        if let Some((value, rest)) = crate::rewrite::when_with_condition(condition) {
            let (a, b) = (self.operand(operand, env)?, self.operand(value, env)?);
            if a.expr.ty != Type::Bool {
                self.notice(crate::rewrite::case_condition(self.position_of(condition)));
                let mut list = vec![self.compare(a, "=", b)?];
                for condition in rest {
                    let expr = self.bind_expr(condition, env)?;
                    list.push(self.boolean(expr, "AND")?);
                }
                return Ok(and(list));
            }
        }
        let (a, b) = (self.operand(operand, env)?, self.operand(condition, env)?);
        self.compare(a, "=", b).map_err(|e| e.at(self.position_of(condition)))
    }

    fn bind_array(&mut self, array: &ast::Array, env: &mut Env<'_, '_>) -> Result<Expr> {
        let ast::Array { elem, named: _ } = array;
        let items = elem.iter().map(|item| self.bind_expr(item, env)).collect::<Result<Vec<_>>>()?;
        if items.is_empty() {
            // `ARRAY[]` takes its type from the cast around it, and has none otherwise.
            return Ok(Expr::literal(Datum::text("{}"), Type::Unknown));
        }
        let (items, ty) = self.unify(items, "ARRAY")?;
        if matches!(ty, Type::Array(_)) {
            return Err(SqlError::unsupported("a multidimensional array"));
        }
        Ok(Expr::new(ExprKind::Array(items), Type::array_of(ty)))
    }

    /// A set of rows is refused where PostgreSQL refuses one.
    pub(super) fn refuse_clause(&self, env: &Env<'_, '_>, what: &str, code: &'static str) -> SqlError {
        SqlError::new(code, format!("{what} are not allowed in {}", env.clause.name()))
    }
}

fn unnested(ast: &ast::Expr) -> &ast::Expr {
    match ast {
        ast::Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

pub(super) fn is_null(expr: Expr) -> Expr {
    if let ExprKind::Record(items) = expr.kind {
        return and(items.into_iter().map(|item| Expr::new(ExprKind::IsNull(Box::new(item)), Type::Bool)).collect());
    }
    Expr::new(ExprKind::IsNull(Box::new(expr)), Type::Bool)
}

impl Clause {
    /// As PostgreSQL's messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::JoinOn => "JOIN conditions",
            Clause::From => "functions in FROM",
            Clause::Limit => "LIMIT",
            Clause::Values => "VALUES",
            Clause::Filter => "FILTER",
            Clause::Window => "window definitions",
            Clause::AggregateArgument => "aggregate arguments",
        }
    }
}

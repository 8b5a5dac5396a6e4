//! Operators, and comparisons in all their spellings.
//!
//! # JSON operands
//! A document's field has no declared type, so beside a typed operand it takes that operand's:
//! - comparison with text, numbers and booleans compares JSON values (`to_jsonb` of the other side) in
//!   jsonb's order, so that a document whose field has another type is no error;
//! - with dates, times, intervals and UUIDs the field is converted;
//! - a string literal means a JSON string beside a plain name (`status = 'paid'`), unless it is
//!   spelled as an object, array or quoted string; beside an explicit `->` it is JSON text as in
//!   PostgreSQL, and a JSON string where it is no JSON;
//! - arithmetic converts to numeric (but `x->'a' - 0` removes an element, as in PostgreSQL; only a
//!   plain name is a number beside an integer), LIKE and regular expressions to text.

use sqlparser::ast::{self, BinaryOperator, UnaryOperator};

use super::Binder;
use super::scope::Origin;
use super::select::Env;
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::functions;
use crate::types::Type;

/// A bound operand and how it was written.
pub(super) struct Operand {
    pub expr: Expr,
    /// A plain name, not an expression.
    pub named: bool,
}

impl Binder<'_> {
    pub(super) fn operand(&mut self, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Operand> {
        let expr = self.bind_expr(ast, env)?;
        Ok(Operand { expr, named: is_name(ast) })
    }

    pub(super) fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        if let BinaryOperator::Overlaps = op {
            return self.overlaps(left, right, env);
        }
        let symbol = symbol(op)?;
        if symbol == "?" && self.origin(left, env) == Origin::UpdatedFields {
            return self.path_touched(left, right, env);
        }
        if is_comparison(&symbol) && (is_row(left) || is_row(right)) {
            return self.compare_rows(left, &symbol, right, env);
        }
        let (a, b) = (self.operand(left, env)?, self.operand(right, env)?);
        self.combine(a, &symbol, b).map_err(|e| e.at(self.operator_position(left)))
    }

    fn operator_position(&self, left: &ast::Expr) -> Option<usize> {
        self.source.position_after(super::expr::span(left).end)
    }

    /// T4: whether a path changed, in a map whose keys are dotted paths.
    fn path_touched(&mut self, left: &ast::Expr, right: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let (fields, path) = (self.bind_expr(left, env)?, self.bind_expr(right, env)?);
        if let ExprKind::Literal(Datum::Text(text)) = &path.kind
            && text.contains('.')
        {
            let position = path.position.map(|p| p as usize);
            self.notice(crate::rewrite::touched_path(text, position));
        }
        self.call("json_path_touched", vec![fields, path])
    }

    /// `a op b` with the JSON rules.
    pub(super) fn combine(&mut self, a: Operand, op: &str, b: Operand) -> Result<Expr> {
        if is_comparison(op) {
            return self.compare(a, op, b);
        }
        let (mut left, mut right) = (a.expr, b.expr);
        if is_arithmetic(op) {
            let removes = op == "-" && left.ty == Type::Json && right.ty == Type::Int4 && !a.named;
            if !removes {
                left = self.arithmetic_operand(left, &right.ty, op)?;
                right = self.arithmetic_operand(right, &left.ty, op)?;
            }
        }
        if op == "||" {
            // What is joined to JSON is JSON: here a string literal is its text, as in PostgreSQL.
            left = self.json_literal(left, &right.ty)?;
            right = self.json_literal(right, &left.ty)?;
        }
        if op.contains('~') {
            left = self.pattern_operand(left)?;
            right = self.pattern_operand(right)?;
        }
        self.operator(op, left, right)
    }

    /// `op` of the registry.
    pub(super) fn operator(&mut self, op: &str, left: Expr, right: Expr) -> Result<Expr> {
        let resolved = functions::resolve_operator(op, Some(&left.ty), &right.ty)?;
        self.apply(resolved, vec![left, right])
    }

    fn arithmetic_operand(&mut self, expr: Expr, other: &Type, op: &str) -> Result<Expr> {
        // `-` removes a key, and so does it with JSON on the left of text or an array.
        let removes = op == "-" && (other.is_text() || matches!(other, Type::Array(_) | Type::Unknown));
        if expr.ty != Type::Json || removes {
            return Ok(expr);
        }
        let wanted = match other {
            Type::Interval | Type::Timestamp | Type::Timestamptz | Type::Date if matches!(op, "+" | "-") => {
                Type::Timestamptz
            }
            _ => Type::Numeric(None),
        };
        self.explicit_cast(expr, &wanted)
    }

    fn json_literal(&mut self, expr: Expr, other: &Type) -> Result<Expr> {
        let is_literal = expr.ty == Type::Unknown && matches!(expr.kind, ExprKind::Literal(Datum::Text(_)));
        if is_literal && *other == Type::Json { self.explicit_cast(expr, &Type::Json) } else { Ok(expr) }
    }

    pub(super) fn pattern_operand(&mut self, expr: Expr) -> Result<Expr> {
        if expr.ty == Type::Json { self.explicit_cast(expr, &Type::Text) } else { Ok(expr) }
    }

    pub(super) fn compare(&mut self, a: Operand, op: &str, b: Operand) -> Result<Expr> {
        let (left, right) = self.comparable(a, b)?;
        self.operator(op, left, right)
    }

    /// Two operands as types that compare.
    pub(super) fn comparable(&mut self, a: Operand, b: Operand) -> Result<(Expr, Expr)> {
        Ok(match (&a.expr.ty, &b.expr.ty) {
            (Type::Json, other) if *other != Type::Json => {
                let named = a.named;
                let (json, other) = self.json_beside(a.expr, b.expr, named)?;
                (json, other)
            }
            (other, Type::Json) if *other != Type::Json => {
                let named = b.named;
                let (json, other) = self.json_beside(b.expr, a.expr, named)?;
                (other, json)
            }
            _ => (a.expr, b.expr),
        })
    }

    fn json_beside(&mut self, json: Expr, other: Expr, named: bool) -> Result<(Expr, Expr)> {
        if let (Type::Unknown, ExprKind::Literal(Datum::Text(text))) = (&other.ty, &other.kind) {
            let spelled = text.trim_start().starts_with(['{', '[', '"']);
            let other = if named && !spelled { self.to_json(other)? } else { self.coerce(other, &Type::Json)? };
            return Ok((json, other));
        }
        Ok(match &other.ty {
            Type::Unknown => {
                let other = self.coerce(other, &Type::Json)?;
                (json, other)
            }
            Type::Date | Type::Time | Type::Timestamp | Type::Timestamptz | Type::Interval | Type::Uuid => {
                let ty = other.ty.clone();
                (self.explicit_cast(json, &ty)?, other)
            }
            _ => (json, self.to_json(other)?),
        })
    }

    // ---- unary ---------------------------------------------------------------------------------

    pub(super) fn unary(&mut self, op: &UnaryOperator, ast: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        // In PostgreSQL a sign binds tighter than `^`: -2 ^ 2 is 4. The grammar has it the other way.
        if let (UnaryOperator::Minus | UnaryOperator::Plus, ast::Expr::BinaryOp { left, op: power, right }) = (op, ast)
            && *power == BinaryOperator::PGExp
        {
            let base = Operand { expr: self.unary(op, left, env)?, named: false };
            let exponent = self.operand(right, env)?;
            return self.combine(base, "^", exponent);
        }
        let symbol = match op {
            UnaryOperator::Not => {
                let expr = self.bind_expr(ast, env)?;
                let operand = self.boolean(expr, "NOT")?;
                return Ok(negated(operand));
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => {
                // A negative number is a literal: -2147483648 is an integer, and `-5` an index.
                if let ast::Expr::Value(value) = ast
                    && let ast::Value::Number(digits, false) = &value.value
                {
                    return self.negative_number(digits);
                }
                "-"
            }
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            UnaryOperator::AtDashAt
            | UnaryOperator::BangNot
            | UnaryOperator::DoubleAt
            | UnaryOperator::Hash
            | UnaryOperator::PGPostfixFactorial
            | UnaryOperator::PGPrefixFactorial
            | UnaryOperator::QuestionDash
            | UnaryOperator::QuestionPipe => return Err(SqlError::unsupported(format!("operator {op}"))),
        };
        let mut expr = self.bind_expr(ast, env)?;
        if expr.ty == Type::Json {
            expr = self.explicit_cast(expr, &Type::Numeric(None))?;
        }
        let resolved = functions::resolve_operator(symbol, None, &expr.ty)?;
        self.apply(resolved, vec![expr])
    }

    fn negative_number(&mut self, digits: &str) -> Result<Expr> {
        if let Ok(n) = format!("-{digits}").parse::<i64>() {
            let ty = if i32::try_from(n).is_ok() { Type::Int4 } else { Type::Int8 };
            return Ok(Expr::literal(Datum::Int(n), ty));
        }
        let ty = Type::Numeric(None);
        Ok(Expr::literal(self.parse_literal(&format!("-{digits}"), &ty)?, ty))
    }

    // ---- rows ----------------------------------------------------------------------------------

    /// `(a, b) < (c, d)`, element by element.
    fn compare_rows(&mut self, left: &ast::Expr, op: &str, right: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let (Some(a), Some(b)) = (row_items(left), row_items(right)) else {
            return Err(SqlError::unsupported("a comparison of a row with something else"));
        };
        if a.len() != b.len() {
            return Err(SqlError::syntax("unequal number of entries in row expressions"));
        }
        let pairs = a
            .iter()
            .zip(b)
            .map(|(x, y)| Ok((self.operand(x, env)?, self.operand(y, env)?)))
            .collect::<Result<Vec<_>>>()?;
        self.compare_pairs(pairs, op)
    }

    pub(super) fn compare_pairs(&mut self, pairs: Vec<(Operand, Operand)>, op: &str) -> Result<Expr> {
        let mut typed = Vec::with_capacity(pairs.len());
        for (a, b) in pairs {
            typed.push(self.comparable(a, b)?);
        }
        match op {
            "=" => {
                let list = typed.into_iter().map(|(a, b)| self.operator("=", a, b)).collect::<Result<_>>()?;
                Ok(and(list))
            }
            "<>" => {
                let list = typed.into_iter().map(|(a, b)| self.operator("<>", a, b)).collect::<Result<_>>()?;
                Ok(or(list))
            }
            _ => {
                // (a, b) < (c, d)  is  a < c OR (a = c AND b < d).
                let strict = op.trim_end_matches('=');
                let last = typed.len() - 1;
                let mut result: Option<Expr> = None;
                for (n, (a, b)) in typed.into_iter().enumerate().rev() {
                    let decides = if n == last { op } else { strict };
                    let here = self.operator(decides, a.clone(), b.clone())?;
                    result = Some(match result {
                        None => here,
                        Some(rest) => or(vec![here, and(vec![self.operator("=", a, b)?, rest])]),
                    });
                }
                result.ok_or_else(|| SqlError::syntax("cannot compare rows of zero length"))
            }
        }
    }

    fn overlaps(&mut self, left: &ast::Expr, right: &ast::Expr, env: &mut Env<'_, '_>) -> Result<Expr> {
        let (Some([a, b]), Some([c, d])) = (row_items(left), row_items(right)) else {
            return Err(SqlError::syntax("wrong number of parameters on OVERLAPS expression"));
        };
        let mut args = Vec::with_capacity(4);
        for (start, end) in [(a, b), (c, d)] {
            let (start, mut end) = (self.bind_expr(start, env)?, self.bind_expr(end, env)?);
            // A period is two times, or a time and how long it lasts.
            if end.ty == Type::Interval {
                end = self.operator("+", start.clone(), end)?;
            }
            args.extend([start, end]);
        }
        self.call("overlaps", args)
    }

    // ---- IN, BETWEEN, ANY over lists -----------------------------------------------------------

    pub(super) fn in_list(
        &mut self,
        ast: &ast::Expr,
        list: &[ast::Expr],
        negated_in: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        if is_row(ast) {
            let rows = list.iter().map(|item| self.compare_rows(ast, "=", item, env)).collect::<Result<Vec<_>>>()?;
            let any = or(rows);
            return Ok(if negated_in { negated(any) } else { any });
        }
        let input = self.operand(ast, env)?;
        let items = list.iter().map(|item| self.operand(item, env)).collect::<Result<Vec<_>>>()?;
        self.in_items(input, items, negated_in)
    }

    /// One type for all if they have one, else comparisons one by one.
    fn in_items(&mut self, input: Operand, items: Vec<Operand>, negated_in: bool) -> Result<Expr> {
        let named = input.named;
        if input.expr.ty != Type::Json {
            let mut types = vec![input.expr.ty.clone()];
            types.extend(items.iter().map(|item| item.expr.ty.clone()));
            if let Ok(ty) = crate::cast::common_type(&types)
                && ty != Type::Unknown
                && functions::resolve_operator("=", Some(&ty), &ty).is_ok()
            {
                let input = Box::new(self.coerce(input.expr, &ty)?);
                let list = items.into_iter().map(|item| self.coerce(item.expr, &ty)).collect::<Result<_>>()?;
                return Ok(Expr::new(ExprKind::InList { input, list, negated: negated_in }, Type::Bool));
            }
        }
        let mut pairs = Vec::with_capacity(items.len());
        for item in items {
            pairs.push(self.comparable(Operand { expr: input.expr.clone(), named }, item)?);
        }
        let same_input = pairs.windows(2).all(|w| w[0].0.ty == w[1].0.ty) && pairs.iter().all(|(a, b)| a.ty == b.ty);
        if same_input && let Some((first, _)) = pairs.first() {
            let input = Box::new(first.clone());
            let list = pairs.into_iter().map(|(_, item)| item).collect();
            return Ok(Expr::new(ExprKind::InList { input, list, negated: negated_in }, Type::Bool));
        }
        let tests = pairs.into_iter().map(|(a, b)| self.operator("=", a, b)).collect::<Result<_>>()?;
        Ok(if negated_in { negated(or(tests)) } else { or(tests) })
    }

    pub(super) fn between(
        &mut self,
        ast: &ast::Expr,
        bounds: (&ast::Expr, &ast::Expr),
        negated_between: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let input = self.operand(ast, env)?;
        let copy = Operand { expr: input.expr.clone(), named: input.named };
        if let Some(low) = symmetric(bounds.0) {
            let other = Operand { expr: input.expr.clone(), named: input.named };
            let last = Operand { expr: input.expr.clone(), named: input.named };
            let (a, b) = (self.operand(low, env)?, self.operand(bounds.1, env)?);
            let again = |of: &Operand| Operand { expr: of.expr.clone(), named: of.named };
            let (c, d) = (again(&a), again(&b));
            let either = or(vec![
                and(vec![self.compare(input, ">=", a)?, self.compare(copy, "<=", b)?]),
                and(vec![self.compare(other, ">=", d)?, self.compare(last, "<=", c)?]),
            ]);
            return Ok(if negated_between { negated(either) } else { either });
        }
        let (low, high) = (self.operand(bounds.0, env)?, self.operand(bounds.1, env)?);
        let both = vec![self.compare(input, ">=", low)?, self.compare(copy, "<=", high)?];
        Ok(if negated_between { negated(and(both)) } else { and(both) })
    }

    /// `x op ANY (array)` and `ALL`.
    pub(super) fn quantified(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        env: &mut Env<'_, '_>,
    ) -> Result<Expr> {
        let op = symbol(op)?;
        let (mut input, mut array) = (self.bind_expr(left, env)?, self.bind_expr(right, env)?);
        if array.ty == Type::Unknown {
            let element = if input.ty == Type::Unknown { Type::Text } else { input.ty.clone() };
            array = self.coerce(array, &Type::array_of(element))?;
        }
        let Type::Array(element) = array.ty.clone() else {
            return Err(SqlError::new("42809", "op ANY/ALL (array) requires array on right side"));
        };
        if input.ty == Type::Json && *element != Type::Json {
            input = self.explicit_cast(input, &element)?;
        }
        let resolved = functions::resolve_operator(&op, Some(&input.ty), &element)?;
        if resolved.result != Type::Bool {
            return Err(SqlError::new("42809", "op ANY/ALL (array) requires operator to yield boolean"));
        }
        let input = Box::new(self.coerce(input, &resolved.parameter_types[0])?);
        let array = Box::new(self.coerce(array, &Type::array_of(resolved.parameter_types[1].clone()))?);
        let function = resolved.function;
        Ok(Expr::new(ExprKind::Quantified { function, input, array, all }, Type::Bool))
    }
}

/// The low bound of BETWEEN SYMMETRIC, as the lexer marks it.
fn symmetric(low: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(call) = low else { return None };
    let marked =
        matches!(&call.name.0[..], [ast::ObjectNamePart::Identifier(name)] if name.value == crate::parser::SYMMETRIC);
    match &call.args {
        ast::FunctionArguments::List(list) if marked => match &list.args[..] {
            [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))] => Some(expr),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn is_comparison(op: &str) -> bool {
    matches!(op, "=" | "<>" | "<" | ">" | "<=" | ">=")
}

fn is_arithmetic(op: &str) -> bool {
    matches!(op, "+" | "-" | "*" | "/" | "%" | "^")
}

pub(super) fn is_name(ast: &ast::Expr) -> bool {
    match ast {
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => true,
        ast::Expr::Nested(inner) => is_name(inner),
        _ => false,
    }
}

fn is_row(ast: &ast::Expr) -> bool {
    row_items(ast).is_some()
}

/// The items of `(a, b)` or `ROW(a, b)`.
pub(super) fn row_items(ast: &ast::Expr) -> Option<&[ast::Expr]> {
    match ast {
        ast::Expr::Tuple(items) => Some(items),
        _ => None,
    }
}

pub(super) fn and(list: Vec<Expr>) -> Expr {
    connect(list, true)
}

pub(super) fn or(list: Vec<Expr>) -> Expr {
    connect(list, false)
}

fn connect(mut list: Vec<Expr>, all: bool) -> Expr {
    if list.len() == 1 {
        return list.pop().expect("one element");
    }
    if list.is_empty() {
        return Expr::literal(Datum::Bool(all), Type::Bool);
    }
    let kind = if all { ExprKind::And(list) } else { ExprKind::Or(list) };
    Expr::new(kind, Type::Bool)
}

pub(super) fn negated(expr: Expr) -> Expr {
    match expr.kind {
        ExprKind::InList { input, list, negated } => {
            Expr { kind: ExprKind::InList { input, list, negated: !negated }, ..expr }
        }
        _ => Expr::new(ExprKind::Not(Box::new(expr)), Type::Bool),
    }
}

/// PostgreSQL's symbol of an operator.
pub(super) fn symbol(op: &BinaryOperator) -> Result<String> {
    use BinaryOperator::*;
    let known = match op {
        Plus | Minus | Multiply | Divide | Modulo | StringConcat | Gt | Lt | GtEq | LtEq | Eq | NotEq | BitwiseOr
        | BitwiseAnd | PGBitwiseXor | PGBitwiseShiftLeft | PGBitwiseShiftRight | PGExp | PGOverlap | PGRegexMatch
        | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch | PGLikeMatch | PGILikeMatch | PGNotLikeMatch
        | PGNotILikeMatch | PGStartsWith | Arrow | LongArrow | HashArrow | HashLongArrow | AtAt | AtArrow | ArrowAt
        | HashMinus | AtQuestion | Question | QuestionAnd | QuestionPipe => op.to_string(),
        BitwiseXor => "#".into(),
        PGCustomBinaryOperator(parts) => match &parts[..] {
            [schema, symbol] if schema.eq_ignore_ascii_case("pg_catalog") => symbol.clone(),
            [symbol] => symbol.clone(),
            _ => return Err(SqlError::new("42883", format!("operator does not exist: {op}"))),
        },
        Custom(symbol) => symbol.clone(),
        And | Or | Overlaps => return Err(SqlError::internal(format!("{op} is no plain operator"))),
        Xor | Spaceship | DuckIntegerDivide | MyIntegerDivide | Match | Regexp | Glob | DoubleHash | LtDashGt
        | AndLt | AndGt | LtLtPipe | PipeGtGt | AndLtPipe | PipeAndGt | LtCaret | GtCaret | QuestionHash
        | QuestionDash | QuestionDashPipe | QuestionDoublePipe | At | TildeEq | Assignment | Is | IsNot => {
            return Err(SqlError::unsupported(format!("operator {op}")));
        }
    };
    Ok(if known == "!=" { "<>".into() } else { known })
}

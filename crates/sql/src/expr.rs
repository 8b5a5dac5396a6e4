//! Bound expressions: typed, over the columns of an input row.

use crate::datum::Datum;
use crate::functions::ScalarFunction;
use crate::types::Type;

/// An expression and its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub ty: Type,
    /// 1-based character offset of the text it came from, for errors at run time.
    pub position: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// The n-th column of the input row.
    Column(usize),
    Literal(Datum),
    /// The n-th parameter of a prepared statement, from 0.
    Parameter(usize),
    /// The statement's (or the event's) time: CURRENT_TIMESTAMP, now(). Type timestamptz.
    Now,
    /// A function or operator of the registry, with arguments already of its parameter types.
    Call {
        function: &'static ScalarFunction,
        args: Vec<Expr>,
    },
    /// A conversion to this expression's type. `explicit` casts may truncate text.
    Cast {
        input: Box<Expr>,
        explicit: bool,
    },
    /// Three-valued logic over two or more operands.
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    /// `IS [NOT] TRUE|FALSE|UNKNOWN` are built from this: equal, with NULL as an ordinary value.
    NotDistinct(Box<Expr>, Box<Expr>),
    /// The first branch whose condition is true.
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Coalesce(Vec<Expr>),
    /// `x IN (…)` / `x = ANY(ARRAY[…])` over a list.
    InList {
        input: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// `x op ANY/ALL (array)`; `function` takes (x, element).
    Quantified {
        function: &'static ScalarFunction,
        input: Box<Expr>,
        array: Box<Expr>,
        all: bool,
    },
    Array(Vec<Expr>),
    Record(Vec<Expr>),
    /// `array[i]`, from 1.
    Subscript {
        array: Box<Expr>,
        index: Box<Expr>,
    },
}

/// What evaluation may read besides the row.
#[derive(Clone, Debug)]
pub struct EvalContext<'a> {
    /// Microseconds since the epoch.
    pub now_us: i64,
    pub parameters: &'a [Datum],
    /// The session's TimeZone, an IANA name; views always use UTC.
    pub time_zone: &'a str,
}

impl EvalContext<'static> {
    pub fn at(now_us: i64) -> Self {
        EvalContext { now_us, parameters: &[], time_zone: "UTC" }
    }
}

impl Expr {
    pub fn new(kind: ExprKind, ty: Type) -> Self {
        Expr { kind, ty, position: None }
    }

    pub fn column(index: usize, ty: Type) -> Self {
        Expr::new(ExprKind::Column(index), ty)
    }

    pub fn literal(datum: Datum, ty: Type) -> Self {
        Expr::new(ExprKind::Literal(datum), ty)
    }

    /// Calls `visit` on this expression and everything below it, parents first.
    pub fn walk(&self, visit: &mut dyn FnMut(&Expr)) {
        visit(self);
        self.for_each_child(&mut |child| child.walk(visit));
    }

    /// Calls `visit` on each direct operand.
    pub fn for_each_child(&self, visit: &mut dyn FnMut(&Expr)) {
        use ExprKind::*;
        match &self.kind {
            Column(_) | Literal(_) | Parameter(_) | Now => {}
            Call { args, .. } => args.iter().for_each(visit),
            Cast { input, .. } | Not(input) | IsNull(input) => visit(input),
            And(list) | Or(list) | Coalesce(list) | Array(list) | Record(list) => list.iter().for_each(visit),
            NotDistinct(a, b) => {
                visit(a);
                visit(b);
            }
            Case { branches, otherwise } => {
                for (condition, result) in branches {
                    visit(condition);
                    visit(result);
                }
                if let Some(otherwise) = otherwise {
                    visit(otherwise);
                }
            }
            InList { input, list, .. } => {
                visit(input);
                list.iter().for_each(visit);
            }
            Quantified { input, array, .. } => {
                visit(input);
                visit(array);
            }
            Subscript { array, index } => {
                visit(array);
                visit(index);
            }
        }
    }

    /// Like `for_each_child`, mutably.
    pub fn for_each_child_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        use ExprKind::*;
        match &mut self.kind {
            Column(_) | Literal(_) | Parameter(_) | Now => {}
            Call { args, .. } => args.iter_mut().for_each(visit),
            Cast { input, .. } | Not(input) | IsNull(input) => visit(input),
            And(list) | Or(list) | Coalesce(list) | Array(list) | Record(list) => list.iter_mut().for_each(visit),
            NotDistinct(a, b) => {
                visit(a);
                visit(b);
            }
            Case { branches, otherwise } => {
                for (condition, result) in branches {
                    visit(condition);
                    visit(result);
                }
                if let Some(otherwise) = otherwise {
                    visit(otherwise);
                }
            }
            InList { input, list, .. } => {
                visit(input);
                list.iter_mut().for_each(visit);
            }
            Quantified { input, array, .. } => {
                visit(input);
                visit(array);
            }
            Subscript { array, index } => {
                visit(array);
                visit(index);
            }
        }
    }

    /// Equal but for positions: the same expression, perhaps written twice.
    pub fn same(&self, other: &Expr) -> bool {
        if self.ty != other.ty || !same_head(&self.kind, &other.kind) {
            return false;
        }
        let (left, right) = (self.children(), other.children());
        left.len() == right.len() && left.iter().zip(&right).all(|(x, y)| x.same(y))
    }

    fn children(&self) -> Vec<&Expr> {
        use ExprKind::*;
        match &self.kind {
            Column(_) | Literal(_) | Parameter(_) | Now => vec![],
            Call { args, .. } => args.iter().collect(),
            Cast { input, .. } | Not(input) | IsNull(input) => vec![input],
            And(list) | Or(list) | Coalesce(list) | Array(list) | Record(list) => list.iter().collect(),
            NotDistinct(a, b) => vec![a, b],
            Case { branches, otherwise } => {
                branches.iter().flat_map(|(c, r)| [c, r]).chain(otherwise.as_deref()).collect()
            }
            InList { input, list, .. } => std::iter::once(&**input).chain(list).collect(),
            Quantified { input, array, .. } => vec![input, array],
            Subscript { array, index } => vec![array, index],
        }
    }

    /// Does the value depend on the time of evaluation?
    pub fn reads_now(&self) -> bool {
        let mut found = false;
        self.walk(&mut |e| found |= matches!(e.kind, ExprKind::Now));
        found
    }
}

/// Of one kind, with equal parts that are no expressions.
fn same_head(a: &ExprKind, b: &ExprKind) -> bool {
    use ExprKind::*;
    match (a, b) {
        (Column(x), Column(y)) | (Parameter(x), Parameter(y)) => x == y,
        (Literal(x), Literal(y)) => x == y,
        (Call { function: f, .. }, Call { function: g, .. }) => std::ptr::eq(*f, *g) || f == g,
        (Cast { explicit: x, .. }, Cast { explicit: y, .. }) => x == y,
        (Case { branches: x, otherwise: ox }, Case { branches: y, otherwise: oy }) => {
            x.len() == y.len() && ox.is_some() == oy.is_some()
        }
        (InList { negated: x, .. }, InList { negated: y, .. }) => x == y,
        (Quantified { function: f, all: x, .. }, Quantified { function: g, all: y, .. }) => f == g && x == y,
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

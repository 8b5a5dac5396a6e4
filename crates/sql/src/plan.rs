//! Bound queries: typed relational algebra, ready to be run once or kept up to date.
//!
//! Inputs are shared (`Arc`): a CTE that is read twice is one node with two readers.

use std::sync::Arc;

use crate::datum::Datum;
use crate::expr::{Expr, ExprKind};
use crate::functions::Volatility;
use crate::types::Type;

/// A column of a plan's output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    pub name: String,
    pub ty: Type,
}

impl Field {
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Field { name: name.into(), ty }
    }
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The retained events of a change stream, append-only. The bounds are resume tokens
    /// (`_data`): `SINCE` is exclusive, `UP TO` inclusive.
    Stream { db: String, name: String, since: Option<String>, up_to: Option<String> },
    /// The current documents of a collection.
    Collection { db: String, name: String },
    /// A materialized view's rows.
    View { db: String, name: String },
    /// A system table, also `pg_catalog.*` and `information_schema.*`: read when the query runs.
    System { schema: String, name: String },
    /// A recursive query's rows; only where a query runs once.
    Recursive(Recursion),
    /// Inside a recursive query, the rows that its last step has found.
    Working(usize),
}

/// `WITH RECURSIVE`: the base's rows, and those of the step over what was found last, until it finds
/// nothing more. The step reads `Source::Working(id)`.
#[derive(Clone, Debug)]
pub struct Recursion {
    /// One per statement and recursion.
    pub id: usize,
    pub base: Arc<Plan>,
    pub step: Arc<Plan>,
    /// UNION ALL: rows may come again.
    pub all: bool,
}

impl Recursion {
    /// Two of one number are the same; what else makes sources comparable must agree with that.
    fn rank(&self) -> (usize, *const Plan) {
        (self.id, Arc::as_ptr(&self.step))
    }
}

impl PartialEq for Recursion {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Recursion {}

impl std::hash::Hash for Recursion {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

impl PartialOrd for Recursion {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Recursion {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A column that a scan delivers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScanColumn {
    /// The relation's n-th column.
    Whole(usize),
    /// A path inside the relation's n-th (JSON) column, found in the one pass over the document
    /// that serves all paths of the scan. `text` is `->>`, otherwise `->`.
    Path { column: usize, path: Vec<PathStep>, text: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathStep {
    Key(String),
    /// An array index; negative counts from the end.
    Index(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows with a match (IN, EXISTS).
    Semi,
    /// Left rows without a match (NOT EXISTS).
    Anti,
    /// NOT IN: a NULL on either side makes the answer unknown, so the row is dropped.
    NullAwareAnti,
    /// Left rows with their only match, an error (21000) if there are more: a scalar subquery.
    /// Without a match, NULLs.
    Single,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    CountStar,
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    StringAgg,
    ArrayAgg,
    JsonAgg,
    JsonObjectAgg,
    StddevPop,
    StddevSamp,
    VarPop,
    VarSamp,
    PercentileCont,
    PercentileDisc,
    Mode,
    BitAnd,
    BitOr,
    BitXor,
    CovarPop,
    CovarSamp,
    Corr,
    RegrCount,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
    RegrSlope,
    RegrIntercept,
    RegrR2,
    /// An arbitrary value of the group (functionally dependent columns).
    AnyValue,
}

impl AggregateFunction {
    /// Does the result hold all values, in an order?
    pub fn is_list(self) -> bool {
        use AggregateFunction::*;
        matches!(self, ArrayAgg | JsonAgg | StringAgg | JsonObjectAgg)
    }
}

/// One aggregate of an `Aggregate` node.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateExpr {
    pub function: AggregateFunction,
    /// For the ordered-set aggregates: the direct arguments, then the aggregated ones in `order_by`.
    pub args: Vec<Expr>,
    pub distinct: bool,
    pub order_by: Vec<SortKey>,
    pub filter: Option<Expr>,
    pub ty: Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowFunction {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
    Aggregate(AggregateFunction),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameUnit {
    Rows,
    Range,
    Groups,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FrameBound {
    UnboundedPreceding,
    Preceding(Expr),
    CurrentRow,
    Following(Expr),
    UnboundedFollowing,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub unit: FrameUnit,
    pub start: FrameBound,
    pub end: FrameBound,
    pub exclude: Exclude,
}

impl Frame {
    /// Up to the current row and its peers.
    pub const DEFAULT: Frame = Frame {
        unit: FrameUnit::Range,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::CurrentRow,
        exclude: Exclude::NoOthers,
    };
}

/// Rows of a frame that are left out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exclude {
    NoOthers,
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// Its peers.
    Ties,
}

/// One window function of a `Window` node.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowExpr {
    pub function: WindowFunction,
    pub args: Vec<Expr>,
    pub filter: Option<Expr>,
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<SortKey>,
    pub frame: Frame,
    pub ty: Type,
}

/// Set-returning functions in FROM (LATERAL) or, where PostgreSQL allows it, in a SELECT list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableFunction {
    /// One or more arrays side by side.
    Unnest,
    JsonArrayElements,
    JsonArrayElementsText,
    JsonEach,
    JsonEachText,
    JsonObjectKeys,
    GenerateSeries,
    RegexpMatches,
    StringToTable,
    /// `jsonb_path_query`.
    JsonPathQuery,
    /// `(input timestamp, width, slide)` -> window_start, window_end: HOP; TUMBLE has slide = width.
    HopWindows,
    /// An array's subscripts.
    GenerateSubscripts,
    /// `information_schema._pg_expandarray`: elements and their numbers, as JSON objects with x and n.
    ExpandArray,
    /// `pg_get_keywords()`.
    Keywords,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetOperation {
    Union,
    Intersect,
    Except,
}

/// A node. Output columns are `fields()`.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Scan {
        source: Source,
        columns: Vec<ScanColumn>,
        fields: Vec<Field>,
    },
    Values {
        rows: Vec<Vec<Expr>>,
        fields: Vec<Field>,
    },
    Filter {
        input: Arc<Plan>,
        predicate: Expr,
    },
    Project {
        input: Arc<Plan>,
        exprs: Vec<Expr>,
        fields: Vec<Field>,
    },
    /// Output: the group expressions, then the aggregates. `sets` lists which groups each grouping
    /// set keeps (others are NULL); a plain GROUP BY has the one set of all. With `sets`, a last
    /// Int4 column per GROUPING() call is computed by the binder from the hidden set-number column
    /// that follows the aggregates when there is more than one set.
    Aggregate {
        input: Arc<Plan>,
        groups: Vec<Expr>,
        sets: Vec<Vec<usize>>,
        aggregates: Vec<AggregateExpr>,
        fields: Vec<Field>,
    },
    Distinct {
        input: Arc<Plan>,
    },
    /// The first row of each group of equal `on` under `order` (DISTINCT ON), or the first
    /// `limit` rows per `partition` (ROW_NUMBER() <= n), or, without partition, ORDER BY … LIMIT.
    /// Ties beyond `order` are broken by the whole row, so that the answer is a function of the input.
    TopN {
        input: Arc<Plan>,
        partition: Vec<Expr>,
        order: Vec<SortKey>,
        offset: u64,
        limit: Option<u64>,
    },
    /// Column types are equal on both sides. UNION ALL is `all: true`.
    SetOp {
        operation: SetOperation,
        all: bool,
        left: Arc<Plan>,
        right: Arc<Plan>,
        fields: Vec<Field>,
    },
    /// Output: left columns, then right columns (Semi, Anti, NullAwareAnti: left only). `keys` are
    /// equalities (left expression, right expression) that hold with SQL equality (NULL never
    /// matches); `null_safe` keys match NULL with NULL. `residual` is over both sides' columns.
    Join {
        left: Arc<Plan>,
        right: Arc<Plan>,
        kind: JoinKind,
        keys: Vec<JoinKey>,
        residual: Option<Expr>,
        fields: Vec<Field>,
    },
    /// Each input row with each row that the function returns for it; `outer` keeps input rows
    /// without any (LEFT JOIN LATERAL … ON true). `ordinality` appends a bigint from 1.
    FlatMap {
        input: Arc<Plan>,
        function: TableFunction,
        args: Vec<Expr>,
        outer: bool,
        ordinality: bool,
        fields: Vec<Field>,
    },
    /// Output: input columns, then one column per window expression.
    Window {
        input: Arc<Plan>,
        exprs: Vec<WindowExpr>,
        fields: Vec<Field>,
    },
    /// Presentation order; only at the top of a query (or below a Limit there).
    Sort {
        input: Arc<Plan>,
        keys: Vec<SortKey>,
    },
    /// Only at the top, over Sort; elsewhere it is a TopN.
    Limit {
        input: Arc<Plan>,
        offset: Option<Expr>,
        limit: Option<Expr>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinKey {
    pub left: Expr,
    pub right: Expr,
    pub null_safe: bool,
}

impl Plan {
    pub fn fields(&self) -> &[Field] {
        match self {
            Plan::Scan { fields, .. }
            | Plan::Values { fields, .. }
            | Plan::Project { fields, .. }
            | Plan::Aggregate { fields, .. }
            | Plan::SetOp { fields, .. }
            | Plan::Join { fields, .. }
            | Plan::FlatMap { fields, .. }
            | Plan::Window { fields, .. } => fields,
            Plan::Filter { input, .. }
            | Plan::Distinct { input }
            | Plan::TopN { input, .. }
            | Plan::Sort { input, .. }
            | Plan::Limit { input, .. } => input.fields(),
        }
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> Vec<&Arc<Plan>> {
        match self {
            Plan::Scan { .. } | Plan::Values { .. } => vec![],
            Plan::Filter { input, .. }
            | Plan::Project { input, .. }
            | Plan::Aggregate { input, .. }
            | Plan::Distinct { input }
            | Plan::TopN { input, .. }
            | Plan::FlatMap { input, .. }
            | Plan::Window { input, .. }
            | Plan::Sort { input, .. }
            | Plan::Limit { input, .. } => vec![input],
            Plan::SetOp { left, right, .. } | Plan::Join { left, right, .. } => vec![left, right],
        }
    }

    /// The node with other inputs, given in the order of `Plan::inputs`.
    pub fn with_inputs(&self, inputs: Vec<Arc<Plan>>) -> Plan {
        let mut plan = self.clone();
        let mut inputs = inputs.into_iter();
        let mut next = |slot: &mut Arc<Plan>| {
            if let Some(input) = inputs.next() {
                *slot = input;
            }
        };
        match &mut plan {
            Plan::Scan { .. } | Plan::Values { .. } => {}
            Plan::Filter { input, .. }
            | Plan::Project { input, .. }
            | Plan::Aggregate { input, .. }
            | Plan::Distinct { input }
            | Plan::TopN { input, .. }
            | Plan::FlatMap { input, .. }
            | Plan::Window { input, .. }
            | Plan::Sort { input, .. }
            | Plan::Limit { input, .. } => next(input),
            Plan::SetOp { left, right, .. } | Plan::Join { left, right, .. } => {
                next(left);
                next(right);
            }
        }
        plan
    }

    /// Does any expression depend on the time of evaluation?
    pub fn reads_now(&self) -> bool {
        let mut found = false;
        crate::binder::edit::node_exprs(self, &mut |expr| found |= expr.reads_now());
        found || self.inputs().iter().any(|input| input.reads_now())
    }

    /// A function in it that gives another value each time, as `random` does: what it made of a row
    /// cannot be made again to take the row back.
    pub fn volatile_function(self: &Arc<Self>) -> Option<&'static str> {
        let mut found = None;
        crate::binder::edit::walk(self, &mut |node| {
            crate::binder::edit::node_exprs(node, &mut |expr| {
                expr.walk(&mut |part| match &part.kind {
                    ExprKind::Call { function, .. } | ExprKind::Quantified { function, .. }
                        if function.volatility == Volatility::Volatile =>
                    {
                        found = Some(function.name);
                    }
                    _ => {}
                });
            });
        });
        found
    }

    /// Every source read anywhere in the plan, without repeats.
    pub fn sources(&self) -> Vec<Source> {
        fn collect(plan: &Plan, into: &mut Vec<Source>) {
            if let Plan::Scan { source, .. } = plan
                && !into.contains(source)
            {
                into.push(source.clone());
                if let Source::Recursive(recursion) = source {
                    collect(&recursion.base, into);
                    collect(&recursion.step, into);
                }
            }
            plan.inputs().iter().for_each(|input| collect(input, into));
        }
        let mut sources = Vec::new();
        collect(self, &mut sources);
        sources
    }
}

/// A row of literals, for `Values` and system tables.
pub type LiteralRow = Vec<Datum>;

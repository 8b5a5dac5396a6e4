//! From an accumulator's state to the aggregate's value, with PostgreSQL's result types and scales.

use sql::datum::Numeric;
use sql::numeric::statistics;
use sql::plan::{AggregateExpr, AggregateFunction as Function};
use sql::{Datum, Expr, SqlError, Type};

use super::accumulator::sorted::Sorted;
use super::accumulator::sums::{DecimalSum, FloatMoments};
use super::accumulator::{BitCounts, IntervalSum, interval_from};

fn out_of_range(ty: &str) -> SqlError {
    SqlError::new("22003", format!("{ty} out of range"))
}

/// `sum` and `avg` over integers.
pub fn int(aggregate: &AggregateExpr, sum: i128, count: i64) -> Result<Datum, SqlError> {
    if count == 0 {
        return Ok(Datum::Null);
    }
    if aggregate.function == Function::Avg {
        return Ok(Datum::Numeric(Numeric::average(&Numeric::from_i128(sum, 0), count)?));
    }
    if matches!(aggregate.ty, Type::Numeric(_)) {
        return Ok(Datum::Numeric(Numeric::from_i128(sum, 0)));
    }
    i64::try_from(sum).map(Datum::Int).map_err(|_| out_of_range("bigint"))
}

/// `sum`, `avg` and the variances over numeric (the variances also over integers).
pub fn decimal(aggregate: &AggregateExpr, state: &DecimalSum) -> Result<Datum, SqlError> {
    let sample = matches!(aggregate.function, Function::VarSamp | Function::StddevSamp);
    if state.count == 0 || (sample && state.count == 1) {
        return Ok(Datum::Null);
    }
    let [nans, infinities, negatives] = state.specials;
    let is_sum = matches!(aggregate.function, Function::Sum | Function::Avg);
    if nans > 0 || (infinities > 0 && negatives > 0) || (!is_sum && infinities + negatives > 0) {
        return Ok(Datum::Numeric(Numeric::NaN));
    }
    if infinities + negatives > 0 {
        return Ok(Datum::Numeric(if infinities > 0 { Numeric::Infinity } else { Numeric::NegativeInfinity }));
    }
    // The sum's display scale is that of the values now there, not of those that have left.
    let sum = state.sum.round(i32::from(state.scale()))?;
    let numeric = match aggregate.function {
        Function::Sum => Some(sum),
        Function::Avg => Some(Numeric::average(&sum, state.count)?),
        function => {
            let squares = state.sum_of_squares.round(2 * i32::from(state.scale()))?;
            match function {
                Function::VarPop | Function::VarSamp => statistics::variance(state.count, &sum, &squares, sample)?,
                _ => statistics::standard_deviation(state.count, &sum, &squares, sample)?,
            }
        }
    };
    Ok(numeric.map_or(Datum::Null, Datum::Numeric))
}

/// Everything over doubles.
pub fn float(aggregate: &AggregateExpr, state: &FloatMoments) -> Datum {
    let n = state.count as f64;
    if state.count == 0 {
        return if aggregate.function == Function::RegrCount { Datum::Int(0) } else { Datum::Null };
    }
    let sum = state.x.value();
    // Sum of squared deviations: Σx² - (Σx)²/n, never below zero.
    let deviations = |squares: f64, a: f64, b: f64| squares - a * b / n;
    let value = match aggregate.function {
        Function::Sum if aggregate.ty == Type::Float4 => Some(f64::from(sum as f32)),
        Function::Sum => Some(sum),
        Function::Avg => Some(sum / n),
        Function::VarPop | Function::StddevPop | Function::VarSamp | Function::StddevSamp => {
            let sample = matches!(aggregate.function, Function::VarSamp | Function::StddevSamp);
            let spread = deviations(state.xx.value(), sum, sum).max(0.0);
            let variance = match (sample, state.count) {
                (true, 1) => None,
                (true, _) => Some(spread / (n - 1.0)),
                (false, _) => Some(spread / n),
            };
            let is_deviation = matches!(aggregate.function, Function::StddevPop | Function::StddevSamp);
            if is_deviation { variance.map(f64::sqrt) } else { variance }
        }
        Function::CovarPop | Function::CovarSamp => {
            let products = deviations(state.xy.value(), sum, state.y.value());
            statistics::regression_covariance(state.count, products, aggregate.function == Function::CovarSamp)
        }
        Function::RegrCount => return Datum::Int(state.count),
        Function::RegrAvgX => Some(sum / n),
        Function::RegrAvgY => Some(state.y.value() / n),
        function => {
            let (x, y) = (sum, state.y.value());
            let squares_x = deviations(state.xx.value(), x, x).max(0.0);
            let squares_y = deviations(state.yy.value(), y, y).max(0.0);
            let products = deviations(state.xy.value(), x, y);
            let varies = |squares: f64, value: f64| (squares != 0.0).then_some(value);
            match function {
                Function::Corr => statistics::regression_correlation(state.count, squares_x, squares_y, products),
                Function::RegrSxx => Some(squares_x),
                Function::RegrSyy => Some(squares_y),
                Function::RegrSxy => Some(products),
                Function::RegrSlope => varies(squares_x, products / squares_x),
                Function::RegrIntercept => varies(squares_x, (y - x * products / squares_x) / n),
                // A horizontal line explains everything.
                Function::RegrR2 if squares_x != 0.0 && squares_y == 0.0 => Some(1.0),
                Function::RegrR2 => varies(squares_x, products * products / (squares_x * squares_y)),
                _ => None,
            }
        }
    };
    value.map_or(Datum::Null, Datum::Float)
}

/// `sum` and `avg` over intervals.
pub fn interval(aggregate: &AggregateExpr, sum: &IntervalSum) -> Result<Datum, SqlError> {
    let IntervalSum { months, days, microseconds: us, count } = *sum;
    if count == 0 {
        return Ok(Datum::Null);
    }
    if aggregate.function == Function::Sum {
        return interval_from(months, days, us);
    }
    sql::functions::mean(&interval_from(months, days, us)?, count)
}

/// `bit_and`, `bit_or`, `bit_xor`: per bit, how many values have it.
pub fn bits(aggregate: &AggregateExpr, state: &BitCounts) -> Datum {
    if state.count == 0 {
        return Datum::Null;
    }
    let is_set = |ones: i64| match aggregate.function {
        Function::BitAnd => ones == state.count,
        Function::BitXor => ones % 2 == 1,
        _ => ones > 0,
    };
    let value = state.ones.iter().enumerate().filter(|(_, ones)| is_set(**ones)).fold(0u64, |v, (i, _)| v | 1 << i);
    Datum::Int(value as i64)
}

/// Everything that keeps its values in order.
pub fn sorted(aggregate: &AggregateExpr, state: &Sorted) -> Result<Datum, SqlError> {
    let value = |values: Option<&[Datum]>| values.map_or(Datum::Null, |v| v[0].clone());
    Ok(match aggregate.function {
        Function::Min | Function::AnyValue => value(state.first()),
        Function::Max => value(state.last()),
        Function::Mode => value(state.most_frequent()),
        Function::ArrayAgg if state.is_empty() => Datum::Null,
        Function::ArrayAgg => Datum::Array(state.values().map(|v| v[0].clone()).collect()),
        Function::StringAgg => string_agg(state),
        Function::JsonAgg => json_agg(aggregate, state)?,
        Function::JsonObjectAgg => json_object_agg(aggregate, state)?,
        Function::PercentileCont | Function::PercentileDisc => percentile(aggregate, state)?,
        function => return Err(SqlError::internal(format!("{function:?} has no ordered state"))),
    })
}

fn string_agg(state: &Sorted) -> Datum {
    let mut text = String::new();
    let mut any = false;
    for value in state.values() {
        if any && let Some(Datum::Text(delimiter)) = value.get(1) {
            text.push_str(delimiter);
        }
        if let Datum::Text(s) = &value[0] {
            text.push_str(s);
        }
        any = true;
    }
    if any { Datum::text(text) } else { Datum::Null }
}

fn json_agg(aggregate: &AggregateExpr, state: &Sorted) -> Result<Datum, SqlError> {
    if state.is_empty() {
        return Ok(Datum::Null);
    }
    let items = state.values().map(|v| (v[0].clone(), aggregate.args[0].ty.clone()));
    sql::functions::json::array(items)
}

fn json_object_agg(aggregate: &AggregateExpr, state: &Sorted) -> Result<Datum, SqlError> {
    if state.is_empty() {
        return Ok(Datum::Null);
    }
    let mut fields = Vec::with_capacity(state.count() as usize);
    for value in state.values() {
        if value[0].is_null() {
            return Err(SqlError::new("22023", "field name must not be null"));
        }
        let mut name = String::new();
        sql::text::output(&value[0], &aggregate.args[0].ty, "UTC", &mut name);
        fields.push((name, value[1].clone(), aggregate.args[1].ty.clone()));
    }
    sql::functions::json::object(fields)
}

fn percentile(aggregate: &AggregateExpr, state: &Sorted) -> Result<Datum, SqlError> {
    let fraction = constant(&aggregate.args[0])?;
    let one = |fraction: &Datum| -> Result<Datum, SqlError> {
        let fraction = match fraction {
            Datum::Null => return Ok(Datum::Null),
            Datum::Float(f) => *f,
            Datum::Numeric(n) => n.to_f64(),
            Datum::Int(n) => *n as f64,
            _ => return Err(SqlError::internal("a percentile's fraction is a number")),
        };
        if !(0.0..=1.0).contains(&fraction) {
            return Err(SqlError::new("22003", format!("percentile value {fraction} is not between 0 and 1")));
        }
        let count = state.count();
        if count == 0 {
            return Ok(Datum::Null);
        }
        let nth = |n: i64| state.nth(n as u64).map_or(Datum::Null, |v| v[0].clone());
        if aggregate.function == Function::PercentileDisc {
            return Ok(nth(((fraction * count as f64).ceil() as i64 - 1).max(0)));
        }
        let position = fraction * (count - 1) as f64;
        let (low, high) = (nth(position.floor() as i64), nth(position.ceil() as i64));
        interpolate(&low, &high, position.fract())
    };
    match &fraction {
        Datum::Array(fractions) => Ok(Datum::Array(fractions.iter().map(one).collect::<Result<_, _>>()?)),
        single => one(single),
    }
}

fn constant(expr: &Expr) -> Result<Datum, SqlError> {
    expr.eval(&[], &sql::EvalContext::at(0))
}

fn interpolate(low: &Datum, high: &Datum, fraction: f64) -> Result<Datum, SqlError> {
    let number = |d: &Datum| match d {
        Datum::Float(x) => Some(*x),
        Datum::Int(n) => Some(*n as f64),
        Datum::Numeric(n) => Some(n.to_f64()),
        _ => None,
    };
    if let (Some(a), Some(b)) = (number(low), number(high)) {
        return Ok(Datum::Float(a + (b - a) * fraction));
    }
    match (low, high) {
        // low + (high - low) * fraction with SQL's operators: days stay days, hours may exceed 24.
        (Datum::Interval(_), Datum::Interval(_)) => sql::functions::between(low, high, fraction),
        _ => Err(SqlError::unsupported("percentile_cont over this type")),
    }
}

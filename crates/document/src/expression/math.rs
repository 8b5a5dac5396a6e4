//! Arithmetic, rounding, powers, logarithms, trigonometry.

use super::operator::{Args, Operator, Shape};
use super::text::value_text;
use super::{Scope, nullish, type_of};
use crate::error::{Error, Result};
use crate::number::arithmetic::{self, Fold, Number};
use crate::number::functions as decimal;
use crate::number::{Decimal, Rounding};
use crate::value::Value;

const NULL: Result<Option<Value>> = Ok(Some(Value::Null));

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$add", shape: Shape::Any, run: add },
    Operator { name: "$subtract", shape: Shape::Exactly(2), run: subtract },
    Operator { name: "$multiply", shape: Shape::Any, run: multiply },
    Operator { name: "$divide", shape: Shape::Exactly(2), run: divide },
    Operator { name: "$mod", shape: Shape::Exactly(2), run: modulo },
    Operator { name: "$abs", shape: Shape::Exactly(1), run: abs },
    Operator { name: "$ceil", shape: Shape::Exactly(1), run: |args, _| whole(args, Rounding::Ceiling) },
    Operator { name: "$floor", shape: Shape::Exactly(1), run: |args, _| whole(args, Rounding::Floor) },
    Operator { name: "$round", shape: Shape::Between(1, 2), run: |args, _| round(args, Rounding::HalfEven) },
    Operator { name: "$trunc", shape: Shape::Between(1, 2), run: |args, _| round(args, Rounding::TowardZero) },
    Operator { name: "$pow", shape: Shape::Exactly(2), run: pow },
    Operator { name: "$sqrt", shape: Shape::Exactly(1), run: sqrt },
    Operator { name: "$exp", shape: Shape::Exactly(1), run: |args, _| function(args, f64::exp, decimal::exp) },
    Operator { name: "$ln", shape: Shape::Exactly(1), run: |args, _| logarithm(args, 28766, f64::ln, decimal::ln) },
    Operator {
        name: "$log10",
        shape: Shape::Exactly(1),
        run: |args, _| logarithm(args, 28761, f64::log10, decimal::log10),
    },
    Operator { name: "$log", shape: Shape::Exactly(2), run: log },
    Operator { name: "$rand", shape: Shape::Any, run: rand },
    Operator { name: "$sin", shape: Shape::Exactly(1), run: |args, _| bounded(args, FINITE, f64::sin, decimal::sin) },
    Operator { name: "$cos", shape: Shape::Exactly(1), run: |args, _| bounded(args, FINITE, f64::cos, decimal::cos) },
    Operator { name: "$tan", shape: Shape::Exactly(1), run: |args, _| bounded(args, FINITE, f64::tan, decimal::tan) },
    Operator { name: "$asin", shape: Shape::Exactly(1), run: |args, _| bounded(args, UNIT, f64::asin, decimal::asin) },
    Operator { name: "$acos", shape: Shape::Exactly(1), run: |args, _| bounded(args, UNIT, f64::acos, decimal::acos) },
    Operator { name: "$atan", shape: Shape::Exactly(1), run: |args, _| function(args, f64::atan, decimal::atan) },
    Operator { name: "$atan2", shape: Shape::Exactly(2), run: atan2 },
    Operator { name: "$sinh", shape: Shape::Exactly(1), run: |args, _| function(args, f64::sinh, decimal::sinh) },
    Operator { name: "$cosh", shape: Shape::Exactly(1), run: |args, _| function(args, f64::cosh, decimal::cosh) },
    Operator { name: "$tanh", shape: Shape::Exactly(1), run: |args, _| function(args, f64::tanh, decimal::tanh) },
    Operator { name: "$asinh", shape: Shape::Exactly(1), run: |args, _| function(args, f64::asinh, decimal::asinh) },
    Operator {
        name: "$acosh",
        shape: Shape::Exactly(1),
        run: |args, _| bounded(args, FROM_ONE, f64::acosh, decimal::acosh),
    },
    Operator {
        name: "$atanh",
        shape: Shape::Exactly(1),
        run: |args, _| bounded(args, UNIT, f64::atanh, decimal::atanh),
    },
    Operator {
        name: "$degreesToRadians",
        shape: Shape::Exactly(1),
        run: |args, _| function(args, |x| x * (std::f64::consts::PI / 180.0), decimal::degrees_to_radians),
    },
    Operator {
        name: "$radiansToDegrees",
        shape: Shape::Exactly(1),
        run: |args, _| function(args, |x| x * (180.0 / std::f64::consts::PI), decimal::radians_to_degrees),
    },
];

/// A sum in twice a double's precision (the error of each step is carried along), as the server
/// sums doubles so that the order of the documents hardly matters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DoubleDouble {
    sum: f64,
    rest: f64,
    /// Infinities and NaN poison `rest`; they are summed plainly.
    special: f64,
}

impl DoubleDouble {
    pub fn add(&mut self, x: f64) {
        self.special += x;
        let sum = self.sum + x;
        let part = sum - self.sum;
        self.rest += (self.sum - (sum - part)) + (x - part);
        self.sum = sum;
    }

    pub fn add_integer(&mut self, n: i64) {
        // Split so that both halves are exact doubles.
        let high = (n >> 32) << 32;
        self.add(high as f64);
        self.add((n - high) as f64);
    }

    pub fn value(self) -> f64 {
        if self.special.is_finite() { self.sum + self.rest } else { self.special }
    }

    /// The sum if it is a whole number in int64.
    pub fn whole(self) -> Option<i64> {
        if !self.special.is_finite() || self.sum.abs() > 2f64.powi(64) {
            return None;
        }
        i64::try_from(self.sum as i128 + self.rest as i128).ok()
    }

    pub fn decimal(self) -> Decimal {
        if !self.special.is_finite() {
            return Decimal::from_f64(self.special);
        }
        Decimal::from_f64_exact(self.sum).add(Decimal::from_f64_exact(self.rest))
    }
}

fn add(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let mut sum = Fold::sum();
    let mut date = false;
    for value in args.values() {
        match value {
            Some(Value::Date(ms)) => {
                if date {
                    return Err(Error::new(16612, "only one date allowed in an $add expression"));
                }
                date = true;
                sum.push(Number::Int64(*ms));
            }
            Some(value) if let Some(n) = Number::from_value(value) => sum.push(n),
            value if nullish(value) => return NULL,
            value => {
                return Err(Error::new(
                    16554,
                    format!("$add only supports numeric or date types, not {}", type_of(value)),
                ));
            }
        }
    }
    if !date {
        return Ok(Some(sum.total().into()));
    }
    let ms = match sum.total() {
        Number::Double(n) => Number::Double(n.round()).as_whole(),
        Number::Decimal(n) => n.to_i64(Rounding::HalfEven),
        n => n.as_integer(),
    };
    ms.map(|ms| Some(Value::Date(ms))).ok_or_else(|| Error::new(15, "date overflow in $add"))
}

fn subtract(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let overflow = || Error::new(15, "date overflow in $subtract");
    let (a, b) = (args.get(0).expect("not missing"), args.get(1).expect("not missing"));
    match (a, b, Number::from_value(a), Number::from_value(b)) {
        (_, _, Some(x), Some(y)) => Ok(Some(arithmetic::subtract(x, y).into())),
        (Value::Date(x), Value::Date(y), ..) => Ok(Some(Value::Int64(x.checked_sub(*y).ok_or_else(overflow)?))),
        (Value::Date(x), _, _, Some(y)) => {
            Ok(Some(Value::Date(x.checked_sub(y.to_i64_saturating()).ok_or_else(overflow)?)))
        }
        (Value::Date(_), ..) => Err(Error::new(16613, format!("can't $subtract {} from Date", b.type_name()))),
        _ => Err(Error::new(16556, format!("can't $subtract {} from {}", b.type_name(), a.type_name()))),
    }
}

fn multiply(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let mut product = Fold::product();
    let mut null = false;
    for value in args.values() {
        match value.as_ref().and_then(Number::from_value) {
            Some(n) => product.push(n),
            None if nullish(value) => null = true,
            None => {
                return Err(Error::new(
                    16555,
                    format!("$multiply only supports numeric types, not {}", type_of(value)),
                ));
            }
        }
    }
    Ok(Some(if null { Value::Null } else { product.total().into() }))
}

/// Both arguments as numbers; `None` if one is nullish.
fn two_numbers(args: &Args, code: i32) -> Result<Option<(Number, Number)>> {
    if args.any_nullish() {
        return Ok(None);
    }
    let numbers = (args.get(0).and_then(Number::from_value), args.get(1).and_then(Number::from_value));
    match numbers {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        _ => Err(Error::new(
            code,
            format!("{} only supports numeric types, not {} and {}", args.op, args.type_of(0), args.type_of(1)),
        )),
    }
}

fn divide(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some((a, b)) = two_numbers(&args, 16609)? else { return NULL };
    let quotient = arithmetic::divide(a, b).ok_or_else(|| Error::new(2, "can't $divide by zero"))?;
    Ok(Some(quotient.into()))
}

fn modulo(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some((a, b)) = two_numbers(&args, 16611)? else { return NULL };
    let rest = arithmetic::modulo(a, b).ok_or_else(|| Error::new(16610, "can't $mod by zero"))?;
    Ok(Some(rest.into()))
}

/// The one numeric argument; `None` if nullish.
fn number(args: &Args) -> Result<Option<Number>> {
    if args.nullish(0) {
        return Ok(None);
    }
    match args.get(0).and_then(Number::from_value) {
        Some(n) => Ok(Some(n)),
        None => Err(Error::new(28765, format!("{} only supports numeric types, not {}", args.op, args.type_of(0)))),
    }
}

fn abs(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    let n = arithmetic::abs(n).ok_or_else(|| Error::new(28680, "can't take $abs of long long min"))?;
    Ok(Some(n.into()))
}

fn whole(args: Args, rounding: Rounding) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    Ok(Some(
        match n {
            Number::Decimal(n) => Number::Decimal(n.to_integral(rounding)),
            n => arithmetic::round_to(n, 0, rounding),
        }
        .into(),
    ))
}

fn round(args: Args, rounding: Rounding) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let Some(n) = args.get(0).and_then(Number::from_value) else {
        return Err(Error::new(51081, format!("{} only supports numeric types, not {}", args.op, args.type_of(0))));
    };
    let places = match args.get(1) {
        None => 0,
        Some(value) => {
            let Some(places) = Number::from_value(value).and_then(Number::as_whole) else {
                return Err(Error::new(51082, format!("precision argument to  {} must be a integral value", args.op)));
            };
            if !(-20..=100).contains(&places) {
                return Err(Error::new(
                    51083,
                    format!("cannot apply {} with precision value {places} value must be in [-20, 100]", args.op),
                ));
            }
            places as i32
        }
    };
    Ok(Some(arithmetic::round_to(n, places, rounding).into()))
}

fn pow(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let part = |i: usize, code, what: &str| {
        args.get(i)
            .and_then(Number::from_value)
            .ok_or_else(|| Error::new(code, format!("$pow's {what} must be numeric, not {}", args.type_of(i))))
    };
    let (base, exponent) = (part(0, 28762, "base")?, part(1, 28763, "exponent")?);
    if base.is_zero() && exponent.to_f64() < 0.0 {
        return Err(Error::new(28764, "$pow cannot take a base of 0 and a negative exponent"));
    }
    if base.is_decimal() || exponent.is_decimal() {
        return Ok(Some(Number::Decimal(decimal::pow(base.to_decimal(), exponent.to_decimal())).into()));
    }
    let (Some(b), Some(e)) = (base.as_integer(), exponent.as_integer()) else {
        return Ok(Some(Value::Double(base.to_f64().powf(exponent.to_f64()))));
    };
    let exact = match (b, u32::try_from(e)) {
        (1, _) => Some(1),
        (-1, _) => Some(if e % 2 == 0 { 1 } else { -1 }),
        (_, Ok(e)) => b.checked_pow(e),
        (0, Err(_)) => Some(0),
        (_, Err(_)) => None,
    };
    Ok(Some(match exact {
        Some(n) if matches!((base, exponent), (Number::Int32(_), Number::Int32(_))) => Number::narrow(n).into(),
        Some(n) => Value::Int64(n),
        None => Value::Double((b as f64).powf(e as f64)),
    }))
}

fn sqrt(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    let negative = match n {
        Number::Decimal(n) => n.is_negative() && !n.is_zero(),
        n => n.to_f64() < 0.0,
    };
    if negative {
        return Err(Error::new(28714, "$sqrt's argument must be greater than or equal to 0"));
    }
    Ok(Some(match n {
        Number::Decimal(n) => Number::Decimal(n.sqrt()).into(),
        n => Value::Double(n.to_f64().sqrt()),
    }))
}

type OnDouble = fn(f64) -> f64;
type OnDecimal = fn(Decimal) -> Decimal;

fn apply(n: Number, double: OnDouble, decimal: OnDecimal) -> Value {
    match n {
        Number::Decimal(n) => Number::Decimal(decimal(n)).into(),
        n => Value::Double(double(n.to_f64())),
    }
}

fn function(args: Args, double: OnDouble, decimal: OnDecimal) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    Ok(Some(apply(n, double, decimal)))
}

fn logarithm(args: Args, code: i32, double: OnDouble, decimal: OnDecimal) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    if !positive(n) && !n.is_nan() {
        return Err(Error::new(code, format!("{}'s argument must be a positive number, but is {n}", args.op)));
    }
    Ok(Some(apply(n, double, decimal)))
}

fn positive(n: Number) -> bool {
    match n {
        Number::Decimal(n) => !n.is_nan() && !n.is_negative() && !n.is_zero(),
        n => n.to_f64() > 0.0,
    }
}

fn log(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.any_nullish() {
        return NULL;
    }
    let part = |i: usize, code, what: &str| {
        args.get(i)
            .and_then(Number::from_value)
            .ok_or_else(|| Error::new(code, format!("$log's {what} must be numeric, not {}", args.type_of(i))))
    };
    let (n, base) = (part(0, 28756, "argument")?, part(1, 28757, "base")?);
    if !positive(n) && !n.is_nan() {
        return Err(Error::new(28758, format!("$log's argument must be a positive number, but is {n}")));
    }
    let is_one = !base.is_nan() && base.as_whole() == Some(1);
    if (!positive(base) && !base.is_nan()) || is_one {
        return Err(Error::new(28759, format!("$log's base must be a positive number not equal to 1, but is {base}")));
    }
    if n.is_decimal() || base.is_decimal() {
        let quotient = decimal::ln(n.to_decimal()).divide(decimal::ln(base.to_decimal()));
        return Ok(Some(Number::Decimal(quotient).into()));
    }
    Ok(Some(Value::Double(n.to_f64().ln() / base.to_f64().ln())))
}

fn rand(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    if args.values().iter().any(|v| !matches!(v, Some(Value::Document(doc)) if doc.is_empty())) {
        return Err(Error::new(3040501, "$rand does not currently accept arguments"));
    }
    Ok(Some(Value::Double(base::Random::from_os().unit())))
}

/// The range a function is defined on.
#[derive(Clone, Copy)]
struct Domain {
    low: f64,
    high: f64,
    includes_ends: bool,
    text: &'static str,
}

const FINITE: Domain = Domain { low: f64::NEG_INFINITY, high: f64::INFINITY, includes_ends: false, text: "(-inf,inf)" };
const UNIT: Domain = Domain { low: -1.0, high: 1.0, includes_ends: true, text: "[-1,1]" };
const FROM_ONE: Domain = Domain { low: 1.0, high: f64::INFINITY, includes_ends: true, text: "[1,inf]" };

fn bounded(args: Args, domain: Domain, double: OnDouble, decimal: OnDecimal) -> Result<Option<Value>> {
    let Some(n) = number(&args)? else { return NULL };
    let inside = match n {
        _ if n.is_nan() => true,
        // A decimal may be outside by less than a double can tell.
        Number::Decimal(d) if domain.includes_ends => {
            let bound = |x: f64| Number::Double(x).to_decimal();
            let above = d.subtract(bound(domain.low));
            let below = bound(domain.high).subtract(d);
            (above.is_zero() || !above.is_negative()) && (below.is_zero() || below.is_nan() || !below.is_negative())
        }
        n => {
            let x = n.to_f64();
            if domain.includes_ends {
                (domain.low..=domain.high).contains(&x)
            } else {
                x > domain.low && x < domain.high
            }
        }
    };
    if !inside {
        return Err(Error::new(
            50989,
            format!("cannot apply {} to {}, value must be in {}", args.op, value_text(args.get(0)), domain.text),
        ));
    }
    Ok(Some(apply(n, double, decimal)))
}

fn atan2(args: Args, _: &mut Scope<'_>) -> Result<Option<Value>> {
    let Some((y, x)) = two_numbers(&args, 51044)? else { return NULL };
    if y.is_decimal() || x.is_decimal() {
        return Ok(Some(Number::Decimal(decimal::atan2(y.to_decimal(), x.to_decimal())).into()));
    }
    Ok(Some(Value::Double(y.to_f64().atan2(x.to_f64()))))
}

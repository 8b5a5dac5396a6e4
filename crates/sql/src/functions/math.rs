//! Mathematical functions.

use std::cmp::Ordering;

use super::operators::{check_float, extreme};
use super::{PlainEval, Registry};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::numeric::{Numeric, out_of_range};

pub(super) fn register(r: &mut Registry) {
    rounding(r);
    powers(r);
    trigonometry(r);
    whole_numbers(r);
    r.lenient("greatest(anyelement, variadic anyelement) -> anyelement", |args, _| {
        Ok(extreme(args, Ordering::Greater))
    });
    r.lenient("least(anyelement, variadic anyelement) -> anyelement", |args, _| Ok(extreme(args, Ordering::Less)));
    r.lenient("nullif(anyelement, anyelement) -> anyelement", |args, _| {
        let equal = !args[0].is_null() && !args[1].is_null() && crate::compare::sql_equal(&args[0], &args[1]);
        Ok(if equal { Datum::Null } else { args[0].clone() })
    });
    r.lenient("num_nulls(variadic any) -> int4", |args, _| {
        Ok(Datum::Int(args.iter().filter(|d| d.is_null()).count() as i64))
    });
    r.lenient("num_nonnulls(variadic any) -> int4", |args, _| {
        Ok(Datum::Int(args.iter().filter(|d| !d.is_null()).count() as i64))
    });
    r.strict("random() -> float8", |_, _| {
        // 53 random bits over 2^53.
        let bits = u64::from_le_bytes(base::random::os_bytes()) >> 11;
        Ok(Datum::Float(bits as f64 / (1u64 << 53) as f64))
    })
    .volatile();
    r.strict("pi() -> float8", |_, _| Ok(Datum::Float(std::f64::consts::PI)));
    r.strict("width_bucket(float8, float8, float8, int4) -> int4", |args, _| {
        let (x, low, high, count) = (args[0].as_float()?, args[1].as_float()?, args[2].as_float()?, args[3].as_int()?);
        bucket_checks(count, low == high, x.is_nan() || low.is_nan() || high.is_nan())?;
        let reversed = low > high;
        let (x, low, high) = if reversed { (-x, -low, -high) } else { (x, low, high) };
        bucket(x < low, x >= high, count, || ((x - low) / (high - low) * count as f64) as i64 + 1)
    });
    r.strict("width_bucket(numeric, numeric, numeric, int4) -> int4", |args, _| {
        let (x, low, high) = (args[0].as_numeric()?, args[1].as_numeric()?, args[2].as_numeric()?);
        let count = args[3].as_int()?;
        bucket_checks(count, low.compare(high).is_eq(), x.is_nan() || low.is_nan() || high.is_nan())?;
        let (x, low, high) = if low.compare(high).is_gt() {
            (x.negate(), low.negate(), high.negate())
        } else {
            (x.clone(), low.clone(), high.clone())
        };
        let place = x.subtract(&low)?.multiply(&Numeric::from_i64(count))?.divide_whole(&high.subtract(&low)?)?;
        bucket(x.compare(&low).is_lt(), x.compare(&high).is_ge(), count, || place.to_i64().unwrap_or(0) + 1)
    });
    r.strict("width_bucket(anyelement, anyarray) -> int4", |args, _| {
        let bounds = args[1].as_array()?;
        Ok(Datum::Int(bounds.partition_point(|b| crate::compare::compare(b, &args[0]).is_le()) as i64))
    });
}

fn bucket_checks(count: i64, empty: bool, nan: bool) -> Result<()> {
    let message = if count <= 0 {
        "count must be greater than zero"
    } else if nan {
        "operand, lower bound, and upper bound cannot be NaN"
    } else if empty {
        "lower bound cannot equal upper bound"
    } else {
        return Ok(());
    };
    Err(SqlError::new("2201G", message))
}

fn bucket(below: bool, above: bool, count: i64, inside: impl Fn() -> i64) -> Result<Datum> {
    let n = if below {
        0
    } else if above {
        count + 1
    } else {
        inside().min(count)
    };
    crate::cast::fit_integer(n, &crate::types::Type::Int4)
}

fn float_function(r: &mut Registry, name: &str, eval: PlainEval) {
    r.strict(&format!("{name}(float8) -> float8"), eval);
}

fn rounding(r: &mut Registry) {
    r.strict("round(numeric) -> numeric", |args, _| args[0].as_numeric()?.round(0).map(Datum::Numeric));
    r.strict("round(numeric, int4) -> numeric", |args, _| {
        args[0].as_numeric()?.round(places(&args[1])?).map(Datum::Numeric)
    });
    r.strict("trunc(numeric) -> numeric", |args, _| args[0].as_numeric()?.truncate(0).map(Datum::Numeric));
    r.strict("trunc(numeric, int4) -> numeric", |args, _| {
        args[0].as_numeric()?.truncate(places(&args[1])?).map(Datum::Numeric)
    });
    for name in ["ceil", "ceiling"] {
        r.strict(&format!("{name}(numeric) -> numeric"), |args, _| args[0].as_numeric()?.ceil().map(Datum::Numeric));
        float_function(r, name, |args, _| Ok(Datum::Float(args[0].as_float()?.ceil())));
    }
    r.strict("floor(numeric) -> numeric", |args, _| args[0].as_numeric()?.floor().map(Datum::Numeric));
    float_function(r, "floor", |args, _| Ok(Datum::Float(args[0].as_float()?.floor())));
    // Doubles round half to even.
    float_function(r, "round", |args, _| Ok(Datum::Float(args[0].as_float()?.round_ties_even())));
    float_function(r, "trunc", |args, _| Ok(Datum::Float(args[0].as_float()?.trunc())));
    r.strict("sign(numeric) -> numeric", |args, _| {
        let n = args[0].as_numeric()?;
        Ok(Datum::Numeric(if n.is_nan() { Numeric::NaN } else { Numeric::from_i64(i64::from(n.signum())) }))
    });
    float_function(r, "sign", |args, _| {
        let x = args[0].as_float()?;
        Ok(Datum::Float(if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            x
        }))
    });
    r.strict("scale(numeric) -> int4", |args, _| {
        let n = args[0].as_numeric()?;
        Ok(if n.is_finite() { Datum::Int(i64::from(n.scale())) } else { Datum::Null })
    });
    r.strict("min_scale(numeric) -> int4", |args, _| {
        let n = args[0].as_numeric()?;
        Ok(if n.is_finite() { Datum::Int(i64::from(n.trim_scale().scale())) } else { Datum::Null })
    });
    r.strict("trim_scale(numeric) -> numeric", |args, _| Ok(Datum::Numeric(args[0].as_numeric()?.trim_scale())));
}

fn places(datum: &Datum) -> Result<i32> {
    Ok(i32::try_from(datum.as_int()?.clamp(-2000, 2000)).expect("clamped"))
}

fn powers(r: &mut Registry) {
    for name in ["sqrt", "|/"] {
        if name == "sqrt" {
            r.strict("sqrt(numeric) -> numeric", |args, _| args[0].as_numeric()?.sqrt().map(Datum::Numeric));
        }
        float_function(r, name, |args, _| {
            let x = args[0].as_float()?;
            if x < 0.0 {
                return Err(SqlError::new("2201F", "cannot take square root of a negative number"));
            }
            Ok(Datum::Float(x.sqrt()))
        });
    }
    for name in ["cbrt", "||/"] {
        float_function(r, name, |args, _| Ok(Datum::Float(args[0].as_float()?.cbrt())));
    }
    r.strict("exp(numeric) -> numeric", |args, _| args[0].as_numeric()?.exp().map(Datum::Numeric));
    float_function(r, "exp", |args, _| {
        let x = args[0].as_float()?;
        check_float(x.exp(), x.is_finite(), x == f64::NEG_INFINITY).map(Datum::Float)
    });
    r.strict("ln(numeric) -> numeric", |args, _| args[0].as_numeric()?.ln().map(Datum::Numeric));
    float_function(r, "ln", |args, _| logarithm(args[0].as_float()?, f64::ln));
    for name in ["log", "log10"] {
        r.strict(&format!("{name}(numeric) -> numeric"), |args, _| {
            args[0].as_numeric()?.log(&Numeric::from_i64(10)).map(Datum::Numeric)
        });
        float_function(r, name, |args, _| logarithm(args[0].as_float()?, f64::log10));
    }
    r.strict("log(numeric, numeric) -> numeric", |args, _| {
        args[1].as_numeric()?.log(args[0].as_numeric()?).map(Datum::Numeric)
    });
    for name in ["power", "pow", "^"] {
        r.strict(&format!("{name}(numeric, numeric) -> numeric"), |args, _| {
            args[0].as_numeric()?.power(args[1].as_numeric()?).map(Datum::Numeric)
        });
        r.strict(&format!("{name}(float8, float8) -> float8"), |args, _| {
            float_power(args[0].as_float()?, args[1].as_float()?).map(Datum::Float)
        });
    }
}

fn logarithm(x: f64, function: impl Fn(f64) -> f64) -> Result<Datum> {
    if x == 0.0 {
        return Err(SqlError::new("2201E", "cannot take logarithm of zero"));
    }
    if x < 0.0 {
        return Err(SqlError::new("2201E", "cannot take logarithm of a negative number"));
    }
    Ok(Datum::Float(function(x)))
}

fn float_power(x: f64, y: f64) -> Result<f64> {
    if x == 0.0 && y < 0.0 {
        return Err(SqlError::new("2201F", "zero raised to a negative power is undefined"));
    }
    if x < 0.0 && y.is_finite() && y.fract() != 0.0 {
        return Err(SqlError::new("2201F", "a negative number raised to a non-integer power yields a complex result"));
    }
    let finite = x.is_finite() && y.is_finite();
    check_float(x.powf(y), finite, x == 0.0 || !finite)
}

fn trigonometry(r: &mut Registry) {
    let mut add = |name: &str, eval: PlainEval| float_function(r, name, eval);
    add("sin", |args, _| circular(&args[0], f64::sin));
    add("cos", |args, _| circular(&args[0], f64::cos));
    add("tan", |args, _| circular(&args[0], f64::tan));
    add("cot", |args, _| circular(&args[0], |x| 1.0 / x.tan()));
    add("asin", |args, _| inverse(&args[0], f64::asin));
    add("acos", |args, _| inverse(&args[0], f64::acos));
    add("atan", |args, _| Ok(Datum::Float(args[0].as_float()?.atan())));
    add("sinh", |args, _| Ok(Datum::Float(args[0].as_float()?.sinh())));
    add("cosh", |args, _| Ok(Datum::Float(args[0].as_float()?.cosh())));
    add("tanh", |args, _| Ok(Datum::Float(args[0].as_float()?.tanh())));
    add("asinh", |args, _| Ok(Datum::Float(args[0].as_float()?.asinh())));
    add("degrees", |args, _| Ok(Datum::Float(args[0].as_float()?.to_degrees())));
    add("radians", |args, _| Ok(Datum::Float(args[0].as_float()?.to_radians())));
    r.strict("atan2(float8, float8) -> float8", |args, _| {
        Ok(Datum::Float(args[0].as_float()?.atan2(args[1].as_float()?)))
    });
}

fn input_range() -> SqlError {
    SqlError::new("22003", "input is out of range")
}

fn circular(arg: &Datum, function: impl Fn(f64) -> f64) -> Result<Datum> {
    let x = arg.as_float()?;
    if x.is_infinite() { Err(input_range()) } else { Ok(Datum::Float(function(x))) }
}

fn inverse(arg: &Datum, function: impl Fn(f64) -> f64) -> Result<Datum> {
    let x = arg.as_float()?;
    if x.abs() > 1.0 { Err(input_range()) } else { Ok(Datum::Float(function(x))) }
}

fn whole_numbers(r: &mut Registry) {
    r.strict("gcd(int4, int4) -> int4", |args, _| {
        let n = num_integer::gcd(args[0].as_int()?, args[1].as_int()?);
        i32::try_from(n).map(|n| Datum::Int(i64::from(n))).map_err(|_| out_of_range("integer"))
    });
    r.strict("gcd(int8, int8) -> int8", |args, _| {
        let n = num_integer::gcd(i128::from(args[0].as_int()?), i128::from(args[1].as_int()?));
        i64::try_from(n).map(Datum::Int).map_err(|_| out_of_range("bigint"))
    });
    r.strict("lcm(int4, int4) -> int4", |args, _| {
        let n = least_multiple(&args[0], &args[1])?;
        i32::try_from(n).map(|n| Datum::Int(i64::from(n))).map_err(|_| out_of_range("integer"))
    });
    r.strict("lcm(int8, int8) -> int8", |args, _| {
        i64::try_from(least_multiple(&args[0], &args[1])?).map(Datum::Int).map_err(|_| out_of_range("bigint"))
    });
    r.strict("gcd(numeric, numeric) -> numeric", |args, _| {
        args[0].as_numeric()?.gcd_lcm(args[1].as_numeric()?, false).map(Datum::Numeric)
    });
    r.strict("lcm(numeric, numeric) -> numeric", |args, _| {
        args[0].as_numeric()?.gcd_lcm(args[1].as_numeric()?, true).map(Datum::Numeric)
    });
    r.strict("factorial(int8) -> numeric", |args, _| Numeric::factorial(args[0].as_int()?).map(Datum::Numeric));
}

fn least_multiple(a: &Datum, b: &Datum) -> Result<i128> {
    let (a, b) = (i128::from(a.as_int()?), i128::from(b.as_int()?));
    Ok(if a == 0 || b == 0 { 0 } else { (a / num_integer::gcd(a, b) * b).abs() })
}

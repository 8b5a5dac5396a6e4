//! Elementary functions of decimal128: series over big fixed-point integers, rounded once.
//!
//! A fixed-point number is `n / 10^p`. `p` leaves guard digits beyond 34 and grows for arguments
//! near zero, so that odd functions keep their relative precision there.

use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use super::Decimal;
use super::decimal::{digits, ten_to};

/// Digits after the point for arguments of ordinary size.
const GUARD: u32 = 120;

fn unit(p: u32) -> BigInt {
    BigInt::from(ten_to(p))
}

/// Decimal exponent of the leading digit, plus one: 0.05 has -1, 12 has 2. Zero has 0.
fn magnitude(x: Decimal) -> i32 {
    match x {
        Decimal::Finite { coefficient, exponent, .. } if coefficient > 0 => exponent + coefficient.ilog10() as i32 + 1,
        _ => 0,
    }
}

fn precision_for(x: Decimal) -> u32 {
    GUARD + magnitude(x).min(0).unsigned_abs()
}

fn to_fixed(x: Decimal, p: u32) -> BigInt {
    let Decimal::Finite { negative, coefficient, exponent } = x else { return BigInt::zero() };
    let shift = exponent + p as i32;
    let n = BigInt::from(coefficient);
    let n = if shift >= 0 { n * unit(shift as u32) } else { n / unit(shift.unsigned_abs()) };
    if negative { -n } else { n }
}

fn from_fixed(n: BigInt, p: u32) -> Decimal {
    scaled(n, -(p as i32))
}

fn scaled(n: BigInt, exponent: i32) -> Decimal {
    let full = Decimal::rounded(n.is_negative(), n.into_parts().1, exponent);
    // Fourteen zeros at the end are no accident: the value is exact, and short.
    match full.stripped_to(0) {
        short @ Decimal::Finite { coefficient, .. } if coefficient < 10u128.pow(20) => short,
        _ => full,
    }
}

/// `atanh(1/k)` and, with alternating signs, `atan(1/k)`.
fn inverse_series(k: u32, p: u32, alternating: bool) -> BigInt {
    let square = BigInt::from(k) * k;
    let mut power = unit(p) / k;
    let (mut sum, mut n) = (BigInt::zero(), 1u32);
    while !power.is_zero() {
        let term = &power / n;
        if alternating && n % 4 == 3 {
            sum -= term
        } else {
            sum += term
        }
        power /= &square;
        n += 2;
    }
    sum
}

fn ln2(p: u32) -> BigInt {
    inverse_series(3, p, false) * 2
}

fn ln10(p: u32) -> BigInt {
    // 10 = 2^3 * 5/4.
    inverse_series(3, p, false) * 6 + inverse_series(9, p, false) * 2
}

fn pi(p: u32) -> BigInt {
    inverse_series(5, p, true) * 16 - inverse_series(239, p, true) * 4
}

fn divide(a: &BigInt, b: &BigInt, p: u32) -> BigInt {
    a * unit(p) / b
}

fn multiply(a: &BigInt, b: &BigInt, p: u32) -> BigInt {
    a * b / unit(p)
}

fn root(a: &BigInt, p: u32) -> BigInt {
    (a * unit(p)).sqrt()
}

/// `sum of first * x^(2k or k) / …` with the ratio between neighbouring terms given by `next`.
fn series(first: BigInt, step: &BigInt, p: u32, mut divisor: impl FnMut(u32) -> u32, sign: i32) -> BigInt {
    let (mut term, mut sum, mut k) = (first.clone(), first, 0);
    loop {
        k += 1;
        term = multiply(&term, step, p) / divisor(k) * sign;
        if term.is_zero() {
            return sum;
        }
        sum += &term;
    }
}

fn fixed_exp(x: &BigInt, p: u32) -> BigInt {
    series(unit(p), x, p, |k| k, 1)
}

/// Natural logarithm of a positive number.
fn fixed_ln(x: &BigInt, p: u32) -> BigInt {
    let one = unit(p);
    let exponent = digits(x.magnitude()) as i64 - i64::from(p) - 1;
    let mut m = if exponent >= 0 { x / unit(exponent as u32) } else { x * unit(exponent.unsigned_abs() as u32) };
    let mut halvings = 0;
    while &m * 2 > &one * 3 {
        m /= 2;
        halvings += 1;
    }
    // ln m = 2 atanh((m - 1) / (m + 1)).
    let z = divide(&(&m - &one), &(&m + &one), p);
    let square = multiply(&z, &z, p);
    let (mut power, mut sum, mut n) = (z, BigInt::zero(), 1u32);
    while !power.is_zero() {
        sum += &power / n;
        power = multiply(&power, &square, p);
        n += 2;
    }
    sum * 2 + ln2(p) * halvings + ln10(p) * exponent
}

fn fixed_atan(x: &BigInt, p: u32) -> BigInt {
    if x.is_negative() {
        return -fixed_atan(&-x, p);
    }
    let one = unit(p);
    if *x > one {
        return pi(p) / 2 - fixed_atan(&divide(&one, x, p), p);
    }
    // Twice: atan x = 2 atan(x / (1 + sqrt(1 + x²))), to make the series short.
    let mut x = x.clone();
    for _ in 0..2 {
        let hypotenuse = root(&(&one + multiply(&x, &x, p)), p);
        x = divide(&x, &(&one + hypotenuse), p);
    }
    let square = multiply(&x, &x, p);
    let (mut power, mut sum, mut n) = (x, BigInt::zero(), 1u32);
    while !power.is_zero() {
        let term = &power / n;
        if n % 4 == 3 {
            sum -= term
        } else {
            sum += term
        }
        power = multiply(&power, &square, p);
        n += 2;
    }
    sum * 4
}

pub fn exp(x: Decimal) -> Decimal {
    match x {
        Decimal::NaN | Decimal::Infinity { negative: false } => return x,
        Decimal::Infinity { negative: true } => return Decimal::ZERO,
        _ if x.is_zero() => return Decimal::from_i64(1),
        _ => {}
    }
    if magnitude(x) > 5 || x.to_f64().abs() > 20_000.0 {
        let tiny = Decimal::Finite { negative: false, coefficient: 0, exponent: super::MIN_EXPONENT };
        return if x.is_negative() { tiny } else { Decimal::Infinity { negative: false } };
    }
    let x = to_fixed(x, GUARD);
    let ln10 = ln10(GUARD);
    let power = &x / &ln10;
    let rest = x - &power * ln10;
    let power: i32 = power.try_into().expect("at most 20000 / ln 10");
    scaled(fixed_exp(&rest, GUARD), power - GUARD as i32)
}

pub fn ln(x: Decimal) -> Decimal {
    match x {
        Decimal::Infinity { negative: false } => x,
        Decimal::Finite { negative: false, coefficient, exponent } if coefficient > 0 => {
            let significand = Decimal::Finite { negative: false, coefficient, exponent: 0 };
            let log = fixed_ln(&to_fixed(significand, GUARD), GUARD) + ln10(GUARD) * exponent;
            from_fixed(log, GUARD)
        }
        _ => Decimal::NaN,
    }
}

pub fn log10(x: Decimal) -> Decimal {
    if let Decimal::Finite { negative: false, coefficient: 1, exponent } = x.stripped_to(super::MAX_EXPONENT) {
        return Decimal::from_i64(i64::from(exponent));
    }
    match x {
        Decimal::Finite { negative: false, coefficient, exponent } if coefficient > 0 => {
            let significand = Decimal::Finite { negative: false, coefficient, exponent: 0 };
            let ln10 = ln10(GUARD);
            let log = divide(&fixed_ln(&to_fixed(significand, GUARD), GUARD), &ln10, GUARD);
            from_fixed(log + unit(GUARD) * exponent, GUARD)
        }
        _ => ln(x),
    }
}

pub fn pow(base: Decimal, exponent: Decimal) -> Decimal {
    if exponent.is_zero() {
        return Decimal::from_i64(1);
    }
    if base.is_nan() || exponent.is_nan() {
        return Decimal::NaN;
    }
    let whole = super::Number::Decimal(exponent).as_whole();
    if let Some(n) = whole
        && n.unsigned_abs() <= 64
        && !base.is_infinite()
    {
        return base.powi(n);
    }
    if base.is_zero() || base.is_infinite() || exponent.is_infinite() {
        return Decimal::from_f64_exact(base.to_f64().powf(exponent.to_f64()));
    }
    let odd = whole.is_some_and(|n| n % 2 != 0);
    if base.is_negative() && whole.is_none() && magnitude(exponent) <= 34 {
        return Decimal::NaN;
    }
    // exp(exponent * ln base) with guard digits for the product.
    let Decimal::Finite { coefficient, exponent: scale, .. } = base else { return Decimal::NaN };
    let significand = Decimal::Finite { negative: false, coefficient, exponent: 0 };
    let log = fixed_ln(&to_fixed(significand, GUARD), GUARD) + ln10(GUARD) * scale;
    if magnitude(exponent) > 36 {
        return exp(from_fixed(log, GUARD).multiply(exponent));
    }
    let product = multiply(&log, &to_fixed(exponent, GUARD), GUARD);
    let ln10 = ln10(GUARD);
    let power = &product / &ln10;
    let Ok(shift) = i32::try_from(&power) else {
        let result = if power.is_negative() { Decimal::ZERO } else { Decimal::Infinity { negative: false } };
        return if odd && base.is_negative() { result.negate() } else { result };
    };
    let rest = product - power * ln10;
    let result = scaled(fixed_exp(&rest, GUARD), shift.clamp(-20_000, 20_000) - GUARD as i32);
    if odd && base.is_negative() { result.negate() } else { result }
}

/// Sine and cosine as fixed-point numbers, and their precision.
fn sin_cos(x: Decimal) -> (BigInt, BigInt, u32) {
    let p = precision_for(x);
    // A large argument needs that many more digits of pi to be reduced.
    let wide = p + magnitude(x).max(0).unsigned_abs();
    let circle = pi(wide) * 2;
    let reduced = (to_fixed(x, wide) % &circle) / unit(wide - p);
    let square = multiply(&reduced, &reduced, p);
    let sine = series(reduced, &square, p, |k| 2 * k * (2 * k + 1), -1);
    let cosine = series(unit(p), &square, p, |k| (2 * k - 1) * 2 * k, -1);
    (sine, cosine, p)
}

/// `f` on finite arguments other than zero; zero and NaN stay, infinity becomes NaN.
fn odd(x: Decimal, f: impl FnOnce(Decimal) -> Decimal) -> Decimal {
    match x {
        Decimal::Infinity { .. } => Decimal::NaN,
        _ if x.is_nan() || x.is_zero() => x,
        // x differs from sin x, tan x, … by less than the last digit.
        _ if magnitude(x) < -40 => x,
        _ => f(x),
    }
}

pub fn sin(x: Decimal) -> Decimal {
    odd(x, |x| {
        let (sine, _, p) = sin_cos(x);
        from_fixed(sine, p)
    })
}

pub fn cos(x: Decimal) -> Decimal {
    if x.is_zero() {
        return Decimal::from_i64(1);
    }
    if x.is_nan() || x.is_infinite() {
        return Decimal::NaN;
    }
    let (_, cosine, p) = sin_cos(x);
    from_fixed(cosine, p)
}

pub fn tan(x: Decimal) -> Decimal {
    odd(x, |x| {
        let (sine, cosine, p) = sin_cos(x);
        if cosine.is_zero() { Decimal::NaN } else { from_fixed(divide(&sine, &cosine, p), p) }
    })
}

pub fn asin(x: Decimal) -> Decimal {
    odd(x, |x| {
        let p = precision_for(x);
        let (n, one) = (to_fixed(x, p), unit(p));
        let rest = &one - multiply(&n, &n, p);
        if rest.is_negative() {
            return Decimal::NaN;
        }
        from_fixed(fixed_atan2(&n, &root(&rest, p), p), p)
    })
}

pub fn acos(x: Decimal) -> Decimal {
    if x.is_nan() || x.is_infinite() {
        return Decimal::NaN;
    }
    let (n, one) = (to_fixed(x, GUARD), unit(GUARD));
    if n.abs() > one {
        return Decimal::NaN;
    }
    let (y, x) = (root(&(&one - &n), GUARD), root(&(&one + &n), GUARD));
    from_fixed(fixed_atan2(&y, &x, GUARD) * 2, GUARD)
}

fn fixed_atan2(y: &BigInt, x: &BigInt, p: u32) -> BigInt {
    if x.is_zero() {
        let right: BigInt = pi(p) / 2;
        return match y.sign() {
            num_bigint::Sign::Minus => -right,
            num_bigint::Sign::NoSign => BigInt::zero(),
            num_bigint::Sign::Plus => right,
        };
    }
    let angle = fixed_atan(&divide(y, x, p), p);
    match (x.is_negative(), y.is_negative()) {
        (false, _) => angle,
        (true, false) => angle + pi(p),
        (true, true) => angle - pi(p),
    }
}

pub fn atan(x: Decimal) -> Decimal {
    if let Decimal::Infinity { negative } = x {
        let right = from_fixed(pi(GUARD) / 2, GUARD);
        return if negative { right.negate() } else { right };
    }
    odd(x, |x| {
        let p = precision_for(x);
        from_fixed(fixed_atan(&to_fixed(x, p), p), p)
    })
}

pub fn atan2(y: Decimal, x: Decimal) -> Decimal {
    if y.is_nan() || x.is_nan() {
        return Decimal::NaN;
    }
    if y.is_infinite() || x.is_infinite() || y.is_zero() {
        return Decimal::from_f64_exact(y.to_f64().atan2(x.to_f64()));
    }
    let slope = magnitude(y) - magnitude(x);
    if x.is_zero() || slope > 40 {
        let right = from_fixed(pi(GUARD) / 2, GUARD);
        return if y.is_negative() { right.negate() } else { right };
    }
    if slope < -40 {
        if !x.is_negative() {
            return y.divide(x);
        }
        let half = from_fixed(pi(GUARD), GUARD);
        return if y.is_negative() { half.negate() } else { half };
    }
    // Only the ratio counts: move both to ordinary size.
    let shift = magnitude(x);
    let moved = |d: Decimal| match d {
        Decimal::Finite { negative, coefficient, exponent } => {
            Decimal::Finite { negative, coefficient, exponent: exponent - shift }
        }
        other => other,
    };
    from_fixed(fixed_atan2(&to_fixed(moved(y), GUARD), &to_fixed(moved(x), GUARD), GUARD), GUARD)
}

/// Half the sum or difference of `e^x` and `e^-x`.
fn hyperbolic(x: Decimal) -> (BigInt, BigInt, u32) {
    let p = precision_for(x) + 50;
    let n = to_fixed(x, p);
    let (up, down) = (fixed_exp(&n, p), fixed_exp(&-n, p));
    ((&up - &down) / 2, (up + down) / 2, p)
}

pub fn sinh(x: Decimal) -> Decimal {
    if x.is_infinite() {
        return x;
    }
    odd(x, |x| {
        if x.to_f64().abs() > 100.0 {
            let half = exp(x.abs()).divide(Decimal::from_i64(2));
            return if x.is_negative() { half.negate() } else { half };
        }
        let (sinh, _, p) = hyperbolic(x);
        from_fixed(sinh, p)
    })
}

pub fn cosh(x: Decimal) -> Decimal {
    if x.is_zero() {
        return Decimal::from_i64(1);
    }
    if x.is_nan() || x.is_infinite() {
        return x.abs();
    }
    if x.to_f64().abs() > 100.0 {
        return exp(x.abs()).divide(Decimal::from_i64(2));
    }
    let (_, cosh, p) = hyperbolic(x);
    from_fixed(cosh, p)
}

pub fn tanh(x: Decimal) -> Decimal {
    if x.is_infinite() || x.to_f64().abs() > 100.0 {
        return Decimal::from_i64(if x.is_negative() { -1 } else { 1 });
    }
    odd(x, |x| {
        let (sinh, cosh, p) = hyperbolic(x);
        from_fixed(divide(&sinh, &cosh, p), p)
    })
}

pub fn asinh(x: Decimal) -> Decimal {
    if x.is_infinite() {
        return x;
    }
    odd(x, |x| {
        let p = precision_for(x);
        let n = to_fixed(x.abs(), p);
        let log = fixed_ln(&(&n + root(&(unit(p) + multiply(&n, &n, p)), p)), p);
        from_fixed(if x.is_negative() { -log } else { log }, p)
    })
}

pub fn acosh(x: Decimal) -> Decimal {
    if x.is_infinite() || x.is_nan() {
        return x;
    }
    let (n, one) = (to_fixed(x, GUARD), unit(GUARD));
    if n < one {
        return Decimal::NaN;
    }
    from_fixed(fixed_ln(&(&n + root(&(multiply(&n, &n, GUARD) - &one), GUARD)), GUARD), GUARD)
}

pub fn atanh(x: Decimal) -> Decimal {
    odd(x, |x| {
        let p = precision_for(x);
        let (n, one) = (to_fixed(x, p), unit(p));
        if n.abs() >= one {
            let edge = n.abs() == one;
            return if edge { Decimal::Infinity { negative: x.is_negative() } } else { Decimal::NaN };
        }
        from_fixed(fixed_ln(&divide(&(&one + &n), &(&one - &n), p), p) / 2, p)
    })
}

pub fn degrees_to_radians(x: Decimal) -> Decimal {
    x.multiply(from_fixed(pi(GUARD) / 180, GUARD))
}

pub fn radians_to_degrees(x: Decimal) -> Decimal {
    x.multiply(from_fixed(divide(&(BigInt::one() * 180 * unit(GUARD)), &pi(GUARD), GUARD), GUARD))
}

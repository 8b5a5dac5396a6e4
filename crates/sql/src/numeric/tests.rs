//! Numerics against a model of 128-bit integers, and text round trips.

use base::Random;

use super::*;
use crate::test_data;

/// `n / 10^scale` scaled to a common scale of 12.
fn model(unscaled: i64, scale: u16) -> i128 {
    i128::from(unscaled) * 10i128.pow(12 - u32::from(scale))
}

#[test]
fn sums_products_and_order_follow_the_model() {
    let mut random = Random::seeded(1);
    for _ in 0..5000 {
        let (a, x) = (random.next_u64() as i64 % 1_000_000_000, random.below(7) as u16);
        let (b, y) = (random.next_u64() as i64 % 1_000_000_000, random.below(7) as u16);
        let (m, n) = (Numeric::from_i128(a.into(), x), Numeric::from_i128(b.into(), y));
        let (p, q) = (model(a, x), model(b, y));
        let scaled = |value: &Numeric| value.round(12).expect("small").parts().expect("finite").0;
        assert_eq!(scaled(&m.add(&n).expect("small")), BigInt::from(p + q));
        assert_eq!(scaled(&m.subtract(&n).expect("small")), BigInt::from(p - q));
        assert_eq!(m.compare(&n), p.cmp(&q));
        let product = m.multiply(&n).expect("small");
        assert_eq!(product.parts().expect("finite").0, BigInt::from(i128::from(a) * i128::from(b)));
        assert_eq!(product.scale(), x + y);
        if b != 0 {
            let whole = m.divide_whole(&n).expect("not zero");
            let rest = m.remainder(&n).expect("not zero");
            let again = whole.multiply(&n).and_then(|w| w.add(&rest)).expect("small");
            assert!(again.compare(&m).is_eq(), "{m} = {n} * {whole} + {rest}");
        }
    }
}

#[test]
fn small_and_big_agree() {
    // The same division through machine words and through big integers.
    let huge = power_of_ten(40);
    let mut random = Random::seeded(2);
    for _ in 0..500 {
        let (a, b) = (random.next_u64() as i64 % 1_000_000, random.next_u64() as i64 % 1_000 + 1_001);
        let small = Numeric::from_i64(a).divide_to(&Numeric::from_i64(b), 20).expect("not zero");
        let big = Numeric::new(BigInt::from(a) * &huge, 0)
            .divide_to(&Numeric::new(BigInt::from(b) * &huge, 0), 20)
            .expect("not zero");
        assert_eq!(small, big, "{a} / {b}");
    }
}

#[test]
fn one_representation_per_value_and_scale() {
    let limit = 10i128.pow(18);
    assert!(matches!(Numeric::from_i128(limit - 1, 0), Numeric::Small { .. }));
    assert!(matches!(Numeric::from_i128(limit, 0), Numeric::Big(_)));
    let back = Numeric::from_i128(limit, 0).subtract(&Numeric::ONE).expect("in range");
    assert!(matches!(back, Numeric::Small { .. }));
    for n in [0i128, 9, 10, 99, 100, 999_999_999_999_999_999, limit, limit * 10 - 1, limit * 10] {
        let digits = if n == 0 { 0 } else { n.to_string().len() as i64 };
        assert_eq!(digit_count(&BigInt::from(n)), digits, "{n}");
    }
}

#[test]
fn text_and_decimal128_read_back() {
    let mut random = Random::seeded(3);
    for _ in 0..2000 {
        let n = test_data::numeric(&mut random);
        let read = Numeric::parse(&n.to_string()).expect("our own text").expect("in range");
        assert_eq!(read, n);
        if let Some(bytes) = n.to_decimal128_exact() {
            assert!(Numeric::from_decimal128(bytes).compare(&n).is_eq(), "{n}");
        }
        let near = Numeric::from_decimal128(n.to_decimal128().expect("in range"));
        if n.is_finite() && !n.is_zero() {
            let error = near.subtract(&n).and_then(|e| e.divide(&n)).expect("not zero").to_f64().abs();
            assert!(error < 1e-33, "{n} became {near}");
        }
    }
}

#[test]
fn limits_are_errors() {
    let code = |result: Result<Numeric>| result.expect_err("out of range").code;
    let large = Numeric::parse("1e131071").expect("a number").expect("the largest exponent");
    assert_eq!(code(large.multiply(&large)), "22003");
    assert_eq!(code(Numeric::parse("1e131072").expect("a number")), "22003");
    assert_eq!(code(Numeric::from_i64(7000).exp()), "22003");
    assert_eq!(code(Numeric::factorial(40_000)), "22003");
    assert_eq!(code(Numeric::ONE.divide(&Numeric::ZERO)), "22012");
}

#[test]
fn spreads_are_postgresqls() {
    // SELECT var_samp(x), stddev_samp(x), var_pop(x), stddev_pop(x) FROM (VALUES (1.5), (2.5), (4.0)) t(x)
    let n = |text: &str| Numeric::parse(text).expect("a number").expect("in range");
    let (sum, squares) = (n("8.0"), n("24.50"));
    let show = |result: Result<Option<Numeric>>| result.expect("finite").expect("enough values").to_string();
    assert_eq!(show(statistics::variance(3, &sum, &squares, true)), "1.5833333333333333");
    assert_eq!(show(statistics::standard_deviation(3, &sum, &squares, true)), "1.2583057392117916");
    assert_eq!(show(statistics::variance(3, &sum, &squares, false)), "1.05555555555555555556");
    assert_eq!(show(statistics::standard_deviation(3, &sum, &squares, false)), "1.02740233382816274171");
    assert_eq!(statistics::variance(1, &sum, &squares, true), Ok(None));
}

//! Decimal128 and mixed arithmetic against hand-computed facts.

use super::arithmetic::{self, Number};
use super::decimal::Rounding;
use super::{Decimal, text};

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn check(got: Decimal, expected: &str) {
    assert_eq!(got.to_string(), expected);
}

#[test]
fn text_round_trips() {
    for text in ["0", "1", "-1.50", "1E+3", "1.2E-10", "0.000001", "1E-7", "NaN", "Infinity", "-Infinity", "-0"] {
        check(dec(text), text);
        check(Decimal::from_bytes(dec(text).to_bytes()), text);
    }
    for bad in ["", "abc", "1e", "1.2.3", " 1", "--1", ".", "e5"] {
        assert!(bad.parse::<Decimal>().is_err(), "{bad:?}");
    }
    check(dec("1e99999"), "Infinity");
    check(dec("1e-99999"), "0E-6176");
    check(dec("12345678901234567890123456789012345"), "1.234567890123456789012345678901234E+34");
}

#[test]
fn addition_keeps_the_finer_exponent() {
    check(dec("7.25").add(dec("2")), "9.25");
    check(dec("1.50").subtract(dec("0.50")), "1.00");
    check(dec("1E+40").add(dec("1")), "1.000000000000000000000000000000000E+40");
    check(dec("1E+6000").add(dec("1")), "1.000000000000000000000000000000000E+6000");
    check(dec("9999999999999999999999999999999999").add(dec("0.5")), "1.000000000000000000000000000000000E+34");
    check(dec("Infinity").subtract(dec("Infinity")), "NaN");
    check(dec("0E+100").add(dec("1.5")), "1.5");
}

#[test]
fn products_quotients_and_remainders() {
    check(dec("7.25").multiply(dec("2")), "14.50");
    check(dec("7.25").divide(dec("2")), "3.625");
    check(dec("26.4").divide(dec("12")), "2.2");
    check(dec("1").divide(dec("3")), "0.3333333333333333333333333333333333");
    check(dec("2").divide(dec("3")), "0.6666666666666666666666666666666667");
    check(dec("100").divide(dec("4")), "25");
    check(dec("7.25").modulo(dec("2")), "1.25");
    check(dec("-7").modulo(dec("3")), "-1");
    check(dec("1E+6000").modulo(dec("7")), "1");
    check(dec("9E+6111").multiply(dec("9E+6111")), "Infinity");
    check(dec("1E-6176").multiply(dec("0.1")), "0E-6176");
}

#[test]
fn roots_and_powers() {
    check(dec("16").sqrt(), "4");
    check(dec("2").sqrt(), "1.414213562373095048801688724209698");
    check(dec("0.25").sqrt(), "0.5");
    check(dec("-1").sqrt(), "NaN");
    check(dec("1.5").powi(3), "3.375");
    check(dec("2").powi(-2), "0.25");
}

#[test]
fn doubles_become_fifteen_digits() {
    check(Decimal::from_f64(5.7), "5.70000000000000");
    check(Decimal::from_f64(1.0), "1.00000000000000");
    check(Decimal::from_f64(0.1), "0.100000000000000");
    check(Decimal::from_f64(0.999_999_999_999_999_9), "1.00000000000000");
    check(Decimal::from_f64(1e300), "1.00000000000000E+300");
    check(Decimal::from_f64_exact(2.5), "2.5");
    check(Decimal::from_f64_exact(14.0), "14");
    check(Decimal::from_f64_exact(0.1), "0.1000000000000000055511151231257827");
    check(Decimal::from_f64(0.0), "0");
    assert_eq!(dec("5.75").to_f64(), 5.75);
}

#[test]
fn whole_numbers_out_of_decimals() {
    assert_eq!(dec("5.75").to_i64(Rounding::TowardZero), Some(5));
    assert_eq!(dec("2.5").to_i64(Rounding::HalfEven), Some(2));
    assert_eq!(dec("-2.5").to_i64(Rounding::Floor), Some(-3));
    assert_eq!(dec("9223372036854775807").to_i64(Rounding::HalfEven), Some(i64::MAX));
    assert_eq!(dec("9223372036854775808").to_i64(Rounding::HalfEven), None);
    assert_eq!(dec("1E+6000").to_i64(Rounding::HalfEven), None);
    assert_eq!(dec("1E-6000").to_i64(Rounding::HalfEven), Some(0));
    assert_eq!(Number::Decimal(dec("5.0")).as_whole(), Some(5));
    assert_eq!(Number::Decimal(dec("5.5")).as_whole(), None);
}

#[test]
fn promotion() {
    use Number::*;
    assert_eq!(arithmetic::add(Int32(i32::MAX), Int32(1)), Int64(2_147_483_648));
    assert_eq!(arithmetic::add(Int64(7), Int32(2)), Int64(9));
    assert_eq!(arithmetic::add(Int64(i64::MAX), Int32(1)), Double(9_223_372_036_854_775_808.0));
    assert_eq!(arithmetic::checked_add(Int64(i64::MAX), Int32(1)), None);
    assert_eq!(arithmetic::checked_multiply(Int32(i32::MAX), Int32(2)), Some(Int64(4_294_967_294)));
    assert_eq!(arithmetic::divide(Int32(6), Int32(2)), Some(Double(3.0)));
    assert_eq!(arithmetic::divide(Int32(6), Int32(0)), None);
    assert_eq!(arithmetic::modulo(Int32(-7), Int32(3)), Some(Int32(-1)));
    assert_eq!(arithmetic::modulo(Double(7.5), Int32(2)), Some(Double(1.5)));
    assert_eq!(arithmetic::modulo(Int32(7), Double(2.0)), Some(Int32(1)));
    assert_eq!(arithmetic::modulo(Int64(i64::MIN), Int32(-1)), Some(Int64(0)));
    assert_eq!(arithmetic::abs(Int32(i32::MIN)), Some(Int64(2_147_483_648)));
    let mut fold = arithmetic::Fold::sum();
    for n in [Int32(i32::MAX), Int32(1), Int32(-1)] {
        fold.push(n);
    }
    assert_eq!(fold.total(), Int32(i32::MAX));
}

#[test]
fn rounding_places() {
    use Number::*;
    let half = |n, places| arithmetic::round_to(n, places, Rounding::HalfEven);
    assert_eq!(half(Double(2.345), 2), Double(2.35));
    assert_eq!(half(Double(2.5), 0), Double(2.0));
    assert_eq!(half(Int32(1250), -2), Int32(1200));
    assert_eq!(half(Int64(i64::MAX), -19), Double(i64::MAX as f64));
    assert_eq!(arithmetic::round_to(Double(2.789), 1, Rounding::TowardZero), Double(2.7));
    assert_eq!(half(Decimal(dec("1.25")), 1), Decimal(dec("1.2")));
}

#[test]
fn doubles_print_like_printf() {
    for (n, expected) in [
        (5.7, "5.7"),
        (1.0, "1"),
        (1e21, "1e+21"),
        (1e-7, "1e-07"),
        (0.1, "0.1"),
        (-0.0, "-0"),
        (1709214359123.0, "1709214359123"),
    ] {
        assert_eq!(text::double_text(n), expected);
    }
    assert_eq!(text::general(3e9, 6), "3e+09");
}

//! The final steps of the statistical aggregates.

use super::Numeric;
use super::arithmetic::division_scale;
use crate::error::Result;

/// Variance from the count, sum and sum of squares; the sample's (`n - 1`) or the population's.
/// `None` where SQL answers NULL.
pub fn variance(count: i64, sum: &Numeric, sum_of_squares: &Numeric, sample: bool) -> Result<Option<Numeric>> {
    Ok(spread(count, sum, sum_of_squares, sample)?.map(|(value, _)| value))
}

/// The root of the variance, computed to the variance's scale.
pub fn standard_deviation(
    count: i64,
    sum: &Numeric,
    sum_of_squares: &Numeric,
    sample: bool,
) -> Result<Option<Numeric>> {
    match spread(count, sum, sum_of_squares, sample)? {
        None => Ok(None),
        Some((value, _)) if !value.is_finite() || value.is_zero() => Ok(Some(value)),
        Some((value, scale)) => value.sqrt_to(scale).map(Some),
    }
}

fn spread(count: i64, sum: &Numeric, sum_of_squares: &Numeric, sample: bool) -> Result<Option<(Numeric, u16)>> {
    if count <= i64::from(sample) {
        return Ok(None);
    }
    if !sum.is_finite() || !sum_of_squares.is_finite() {
        return Ok(Some((Numeric::NaN, 0)));
    }
    let n = Numeric::from_i64(count);
    let numerator = n.multiply(sum_of_squares)?.subtract(&sum.multiply(sum)?)?;
    if numerator.signum() <= 0 {
        return Ok(Some((Numeric::ZERO, 0)));
    }
    let denominator = n.multiply(&Numeric::from_i64(if sample { count - 1 } else { count }))?;
    let scale = division_scale(&numerator, &denominator);
    Ok(Some((numerator.divide_to(&denominator, scale)?, scale)))
}

/// Covariance over pairs of doubles, from the count and the sum of products of deviations.
pub fn regression_covariance(count: i64, products: f64, sample: bool) -> Option<f64> {
    let divisor = if sample { count - 1 } else { count };
    (divisor > 0).then(|| products / divisor as f64)
}

/// Pearson's correlation; NULL if either side does not vary.
pub fn regression_correlation(count: i64, squares_x: f64, squares_y: f64, products: f64) -> Option<f64> {
    (count > 0 && squares_x != 0.0 && squares_y != 0.0).then(|| products / (squares_x * squares_y).sqrt())
}

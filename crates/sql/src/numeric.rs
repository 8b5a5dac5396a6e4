//! PostgreSQL's numeric: exact decimals with a display scale.

use num_bigint::BigInt;

/// An exact decimal `unscaled / 10^scale`, or NaN and the infinities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numeric {
    /// Up to 18 digits: no allocation.
    Small {
        unscaled: i64,
        scale: u16,
    },
    Big(Box<(BigInt, u16)>),
    NaN,
    Infinity,
    NegativeInfinity,
}

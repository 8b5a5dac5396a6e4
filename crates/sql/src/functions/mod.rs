//! The function and operator registry: PostgreSQL's scalar functions with their overloads.

use crate::datum::Datum;
use crate::error::Result;
use crate::expr::EvalContext;
use crate::types::Type;

/// A scalar function or operator overload. Operators are registered under their symbol (`+`, `->>`).
pub struct ScalarFunction {
    pub name: &'static str,
    pub signature: Signature,
    /// NULL in, NULL out, without calling `eval`.
    pub strict: bool,
    pub volatility: Volatility,
    pub eval: fn(&[Datum], &EvalContext<'_>) -> Result<Datum>,
}

/// Parameter and result types of an overload.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    pub parameters: Vec<Type>,
    /// Further arguments of the last parameter's type.
    pub variadic: bool,
    pub result: Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    Immutable,
    /// Depends on session settings (time zone).
    Stable,
    Volatile,
}

impl std::fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.name, self.signature.parameters)
    }
}

impl PartialEq for ScalarFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.signature == other.signature
    }
}

//! The function and operator registry: PostgreSQL's scalar functions with their overloads.
//!
//! Each family registers its overloads with a signature in text: `"left(text, int4) -> text"`.
//! Operators stand under their symbol (`"->>(json, text) -> text"`), a prefix operator is the one
//! with one parameter. `any` takes every type as it is; `anyelement` and `anyarray` of one
//! signature agree on the element type; `variadic` before the last parameter repeats it.
//!
//! ```text
//!   name, argument types --resolve.rs--> the overload, the types to cast to, the result type
//!                                            │ ScalarFunction::call, one row at a time
//! ```
//!
//! # Not here
//! Aggregates (`aggregates.rs`); evaluation of arguments (`eval.rs`).
//!
//! Read next: `signature.rs`, `resolve.rs`, then the families.

mod array;
mod datetime;
mod datetime_text;
pub mod encoding;
pub mod json;
mod json_build;
mod json_edit;
mod json_path;
mod json_read;
mod math;
mod number_format;
mod operators;
mod pattern;
mod resolve;
mod signature;
mod string;
pub mod system;
pub mod table;
#[cfg(test)]
mod tests;
mod window;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::datum::Datum;
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::types::Type;

pub use datetime::{between, mean, shift};
pub use resolve::{Resolved, resolve, resolve_operator};
pub use signature::{Parameter, Signature};
pub use window::{window_by_name, window_type};

/// Longest text, array or bytea that a function builds, in bytes or elements: a row is far
/// smaller, and one statement must not take the process's memory.
pub const MAX_RESULT: usize = 64 * 1024 * 1024;

/// A scalar function or operator overload. Operators are registered under their symbol (`+`, `->>`).
pub struct ScalarFunction {
    pub name: &'static str,
    pub signature: Signature,
    /// NULL in, NULL out, without calling `eval`.
    pub strict: bool,
    pub volatility: Volatility,
    pub eval: Eval,
}

/// How an overload computes.
#[derive(Clone, Copy)]
pub enum Eval {
    Plain(fn(&[Datum], &EvalContext<'_>) -> Result<Datum>),
    /// Needs to know the types of its arguments.
    Typed(fn(&[Datum], Types<'_>, &EvalContext<'_>) -> Result<Datum>),
}

/// The types of a call's arguments and result.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a> {
    arguments: Arguments<'a>,
    pub result: &'a Type,
}

#[derive(Clone, Copy, Debug)]
enum Arguments<'a> {
    Exprs(&'a [Expr]),
    List(&'a [Type]),
}

impl<'a> Types<'a> {
    pub fn of_arguments(args: &'a [Expr], result: &'a Type) -> Self {
        Types { arguments: Arguments::Exprs(args), result }
    }

    pub fn of_list(types: &'a [Type], result: &'a Type) -> Self {
        Types { arguments: Arguments::List(types), result }
    }

    /// The type of the n-th argument; unknown if there is none.
    pub fn get(&self, index: usize) -> &'a Type {
        let found = match self.arguments {
            Arguments::Exprs(args) => args.get(index).map(|arg| &arg.ty),
            Arguments::List(types) => types.get(index),
        };
        found.unwrap_or(&Type::Unknown)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    Immutable,
    /// Depends on session settings (time zone).
    Stable,
    Volatile,
}

impl ScalarFunction {
    /// The value for some arguments; NULL if a strict function gets one.
    pub fn call(&self, args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        self.call_unchecked(args, types, ctx)
    }

    /// The same, when the caller has looked at the NULLs.
    pub(crate) fn call_unchecked(&self, args: &[Datum], types: Types<'_>, ctx: &EvalContext<'_>) -> Result<Datum> {
        match self.eval {
            Eval::Plain(eval) => eval(args, ctx),
            Eval::Typed(eval) => eval(args, types, ctx),
        }
    }
}

impl std::fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.name, self.signature)
    }
}

impl PartialEq for ScalarFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.signature == other.signature
    }
}

type PlainEval = fn(&[Datum], &EvalContext<'_>) -> Result<Datum>;
type TypedEval = fn(&[Datum], Types<'_>, &EvalContext<'_>) -> Result<Datum>;

/// Collects the overloads at start-up.
pub(crate) struct Registry {
    functions: Vec<ScalarFunction>,
}

impl Registry {
    fn add(&mut self, text: &str, strict: bool, eval: Eval) -> &mut ScalarFunction {
        let (name, signature) = Signature::parse(text);
        let name: &'static str = String::leak(name);
        self.functions.push(ScalarFunction { name, signature, strict, volatility: Volatility::Immutable, eval });
        self.functions.last_mut().expect("just pushed")
    }

    /// NULL in, NULL out.
    fn strict(&mut self, signature: &str, eval: PlainEval) -> &mut ScalarFunction {
        self.add(signature, true, Eval::Plain(eval))
    }

    /// Sees its NULLs.
    fn lenient(&mut self, signature: &str, eval: PlainEval) -> &mut ScalarFunction {
        self.add(signature, false, Eval::Plain(eval))
    }

    fn strict_typed(&mut self, signature: &str, eval: TypedEval) -> &mut ScalarFunction {
        self.add(signature, true, Eval::Typed(eval))
    }

    fn lenient_typed(&mut self, signature: &str, eval: TypedEval) -> &mut ScalarFunction {
        self.add(signature, false, Eval::Typed(eval))
    }
}

impl ScalarFunction {
    fn stable(&mut self) {
        self.volatility = Volatility::Stable;
    }

    fn volatile(&mut self) {
        self.volatility = Volatility::Volatile;
    }
}

/// All overloads by name.
static FUNCTIONS: LazyLock<FxHashMap<&'static str, Vec<&'static ScalarFunction>>> = LazyLock::new(|| {
    let mut registry = Registry { functions: Vec::new() };
    operators::register(&mut registry);
    math::register(&mut registry);
    string::register(&mut registry);
    pattern::register(&mut registry);
    encoding::register(&mut registry);
    datetime::register(&mut registry);
    json_read::register(&mut registry);
    json_build::register(&mut registry);
    json_edit::register(&mut registry);
    json_path::register(&mut registry);
    array::register(&mut registry);
    system::register(&mut registry);
    let mut by_name: FxHashMap<&'static str, Vec<&'static ScalarFunction>> = FxHashMap::default();
    for function in registry.functions {
        let function: &'static ScalarFunction = Box::leak(Box::new(function));
        by_name.entry(function.name).or_default().push(function);
    }
    by_name
});

/// The overloads of a name, in the order of registration.
pub fn overloads(name: &str) -> &'static [&'static ScalarFunction] {
    FUNCTIONS.get(name).map_or(&[], Vec::as_slice)
}

/// Is there a function of this name, whatever its parameters?
pub fn exists(name: &str) -> bool {
    FUNCTIONS.contains_key(name) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Every overload, for tests and for `pg_proc`.
pub fn all() -> impl Iterator<Item = &'static ScalarFunction> {
    FUNCTIONS.values().flatten().copied()
}

//! PostgreSQL's overload resolution.
//!
//! An exact match wins. Otherwise, of the overloads that all arguments convert to implicitly:
//! most exact matches, then most preferred types where a conversion is needed, then the category
//! that undecorated literals take (text, if any overload has text there), and at last the
//! assumption that such a literal has the type of the other arguments.

use super::{Parameter, ScalarFunction, overloads};
use crate::cast::{CastContext, Category, base, can_cast, category, common_type, same_base};
use crate::error::{Result, SqlError};
use crate::types::Type;

/// A chosen overload.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub function: &'static ScalarFunction,
    /// What each argument must be cast to; its own type if nothing is to be done.
    pub parameter_types: Vec<Type>,
    pub result: Type,
}

/// Chooses the overload of a function. Errors with 42883 and 42725.
pub fn resolve(name: &str, args: &[Type]) -> Result<Resolved> {
    match choose(overloads(name), args, false) {
        Choice::One(found) => Ok(found),
        choice => {
            let types: Vec<String> = args.iter().map(Type::to_string).collect();
            let call = format!("{name}({})", types.join(", "));
            Err(match choice {
                Choice::Many => SqlError::new("42725", format!("function {call} is not unique")).with_hint(
                    "Could not choose a best candidate function. You might need to add explicit type casts.",
                ),
                _ => SqlError::new("42883", format!("function {call} does not exist")).with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                ),
            })
        }
    }
}

/// Chooses the overload of an operator; without a left operand it is a prefix operator.
pub fn resolve_operator(op: &str, left: Option<&Type>, right: &Type) -> Result<Resolved> {
    let op = if op == "!=" { "<>" } else { op };
    let args: Vec<Type> = left.into_iter().chain([right]).cloned().collect();
    let candidates = if op.starts_with(|c: char| c.is_ascii_alphabetic()) { &[] } else { overloads(op) };
    match choose(candidates, &args, true) {
        Choice::One(found) => Ok(found),
        choice => {
            let call = match left {
                Some(left) => format!("{left} {op} {right}"),
                None => format!("{op} {right}"),
            };
            Err(match choice {
                Choice::Many => SqlError::new("42725", format!("operator is not unique: {call}")).with_hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ),
                _ => SqlError::new("42883", format!("operator does not exist: {call}")).with_hint(
                    "No operator matches the given name and argument types. You might need to add explicit type casts.",
                ),
            })
        }
    }
}

enum Choice {
    One(Resolved),
    None,
    Many,
}

/// An overload that the arguments fit, with its parameters expanded to their number.
struct Candidate {
    function: &'static ScalarFunction,
    declared: Vec<Parameter>,
}

impl Candidate {
    /// The declared type at a position, if it is one.
    fn declared_type(&self, index: usize) -> Option<&Type> {
        match &self.declared[index] {
            Parameter::Is(ty) => Some(ty),
            _ => None,
        }
    }

    fn count(&self, test: impl Fn(usize) -> bool) -> usize {
        (0..self.declared.len()).filter(|i| test(*i)).count()
    }
}

fn choose(functions: &[&'static ScalarFunction], args: &[Type], operator: bool) -> Choice {
    let mut candidates: Vec<Candidate> = functions
        .iter()
        .filter(|f| f.signature.accepts_count(args.len()))
        .map(|f| Candidate {
            function: f,
            declared: (0..args.len()).filter_map(|i| f.signature.parameter(i).cloned()).collect(),
        })
        .collect();
    if let Some(exact) = exact_match(&candidates, args, operator) {
        return finish(exact, args);
    }
    candidates.retain(|candidate| fits(candidate, args));
    if candidates.len() > 1 {
        narrow(&mut candidates, args);
    }
    match candidates.as_slice() {
        [] => Choice::None,
        [only] => finish(only, args),
        _ => Choice::Many,
    }
}

fn finish(candidate: &Candidate, args: &[Type]) -> Choice {
    match bind(candidate, args) {
        Some((parameter_types, result)) => {
            Choice::One(Resolved { function: candidate.function, parameter_types, result })
        }
        None => Choice::None,
    }
}

/// All arguments of exactly the declared types. An operator's one undecorated literal counts as
/// the type of the other operand.
fn exact_match<'a>(candidates: &'a [Candidate], args: &[Type], operator: bool) -> Option<&'a Candidate> {
    let assumed: Vec<Type> = match args {
        [Type::Unknown, known] if operator && *known != Type::Unknown => vec![known.clone(), known.clone()],
        [known, Type::Unknown] if operator && *known != Type::Unknown => vec![known.clone(), known.clone()],
        _ => args.to_vec(),
    };
    let matches = |candidate: &Candidate| {
        assumed.iter().enumerate().all(|(i, ty)| candidate.declared_type(i).is_some_and(|d| same_base(d, ty)))
    };
    candidates.iter().find(|candidate| matches(candidate))
}

fn fits(candidate: &Candidate, args: &[Type]) -> bool {
    let converts = args.iter().enumerate().all(|(i, ty)| match &candidate.declared[i] {
        Parameter::Is(declared) => can_cast(ty, declared) == Some(CastContext::Implicit),
        Parameter::Any | Parameter::AnyElement => true,
        Parameter::AnyArray => matches!(ty, Type::Array(_) | Type::Unknown),
        Parameter::AnyNonArray => !matches!(ty, Type::Array(_)),
    });
    converts && bind(candidate, args).is_some()
}

/// The types that the arguments take, and the result's.
fn bind(candidate: &Candidate, args: &[Type]) -> Option<(Vec<Type>, Type)> {
    let mut elements = Vec::new();
    for (i, ty) in args.iter().enumerate() {
        match (&candidate.declared[i], ty) {
            (Parameter::AnyElement | Parameter::AnyNonArray, ty) => elements.push(ty.clone()),
            (Parameter::AnyArray, Type::Array(element)) => elements.push((**element).clone()),
            _ => {}
        }
    }
    let element = common_type(&elements).ok()?;
    let parameters = args
        .iter()
        .enumerate()
        .map(|(i, ty)| match &candidate.declared[i] {
            Parameter::Is(declared) => keep_or(ty, declared.clone()),
            Parameter::Any if *ty == Type::Unknown => Type::Text,
            Parameter::Any => ty.clone(),
            Parameter::AnyElement | Parameter::AnyNonArray => keep_or(ty, element.clone()),
            Parameter::AnyArray => keep_or(ty, Type::array_of(element.clone())),
        })
        .collect();
    let result = match &candidate.function.signature.result {
        Parameter::Is(ty) => ty.clone(),
        Parameter::AnyArray => Type::array_of(base(&element)),
        _ => element,
    };
    Some((parameters, result))
}

/// The argument's own type where values of both types look alike.
fn keep_or(argument: &Type, parameter: Type) -> Type {
    let alike = same_base(argument, &parameter)
        || parameter == Type::Text && matches!(argument, Type::Varchar(_) | Type::Name | Type::Char);
    if alike { argument.clone() } else { parameter }
}

fn keep_most(candidates: &mut Vec<Candidate>, score: impl Fn(&Candidate) -> usize) {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.retain(|candidate| score(candidate) == best);
}

fn narrow(candidates: &mut Vec<Candidate>, args: &[Type]) {
    let exact = |c: &Candidate, i: usize| {
        args[i] != Type::Unknown && c.declared_type(i).is_some_and(|d| same_base(d, &args[i]))
    };
    keep_most(candidates, |c| c.count(|i| exact(c, i)));
    if candidates.len() == 1 {
        return;
    }
    let preferred = |c: &Candidate, i: usize| {
        args[i] != Type::Unknown
            && (exact(c, i)
                || c.declared_type(i).is_some_and(|d| category(d).1 && category(d).0 == category(&args[i]).0))
    };
    keep_most(candidates, |c| c.count(|i| preferred(c, i)));
    if candidates.len() == 1 || !args.contains(&Type::Unknown) {
        return;
    }
    narrow_unknown(candidates, args);
    if candidates.len() > 1 {
        assume_same(candidates, args);
    }
}

/// Decides the category of each undecorated literal.
fn narrow_unknown(candidates: &mut Vec<Candidate>, args: &[Type]) {
    let mut slots: Vec<(usize, Category, bool)> = Vec::new();
    for (i, _) in args.iter().enumerate().filter(|(_, ty)| **ty == Type::Unknown) {
        let found: Vec<(Category, bool)> = candidates.iter().filter_map(|c| c.declared_type(i)).map(category).collect();
        let all_known = found.len() == candidates.len();
        if found.iter().any(|(c, _)| *c == Category::String) {
            slots.push((i, Category::String, found.contains(&(Category::String, true))));
        } else if let Some((first, _)) = found.first()
            && all_known
            && found.iter().all(|(c, _)| c == first)
        {
            slots.push((i, *first, found.contains(&(*first, true))));
        } else {
            return;
        }
    }
    let suits = |candidate: &Candidate| {
        slots.iter().all(|(i, wanted, wants_preferred)| {
            candidate.declared_type(*i).is_some_and(|d| {
                let (found, preferred) = category(d);
                found == *wanted && (preferred || !wants_preferred)
            })
        })
    };
    if candidates.iter().any(suits) {
        candidates.retain(suits);
    }
}

/// If all typed arguments are of one type, the literals are too.
fn assume_same(candidates: &mut Vec<Candidate>, args: &[Type]) {
    let mut known = args.iter().filter(|ty| **ty != Type::Unknown);
    let Some(first) = known.next() else { return };
    if !known.all(|ty| same_base(ty, first)) {
        return;
    }
    let assumed: Vec<Type> = vec![first.clone(); args.len()];
    let suiting = |candidate: &Candidate| fits(candidate, &assumed);
    if candidates.iter().filter(|c| suiting(c)).count() == 1 {
        candidates.retain(suiting);
    }
}

//! Parameter and result types of an overload, read from text.

use crate::types::Type;

/// What a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    Is(Type),
    /// Every type, unconverted.
    Any,
    /// One type per signature, the common one of all that stand here.
    AnyElement,
    /// An array of that type.
    AnyArray,
    /// As `AnyElement`, but no array.
    AnyNonArray,
}

/// Parameter and result types of an overload.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    pub parameters: Vec<Parameter>,
    /// Any number (also none) of further arguments of the last parameter's type.
    pub variadic: bool,
    pub result: Parameter,
}

impl Signature {
    /// Reads `name(type, …) -> type`. The texts are ours.
    ///
    /// # Panics
    /// If the text is not a signature; a test reads them all.
    pub(super) fn parse(text: &str) -> (String, Signature) {
        let (head, result) = text.rsplit_once(" -> ").expect("a signature has a result");
        let open = head[1..].find('(').expect("a signature has parameters") + 1;
        let (name, list) = (&head[..open], head[open + 1..].strip_suffix(')').expect("closed parentheses"));
        let (list, variadic) = match list.strip_prefix("variadic ") {
            Some(rest) => (rest.to_owned(), true),
            None if list.contains(", variadic ") => (list.replace(", variadic ", ", "), true),
            None => (list.to_owned(), false),
        };
        let parameters = list.split(", ").filter(|p| !p.is_empty()).map(parameter).collect();
        (name.to_owned(), Signature { parameters, variadic, result: parameter(result) })
    }

    /// The parameter for the n-th of `count` arguments.
    pub fn parameter(&self, index: usize) -> Option<&Parameter> {
        match self.parameters.get(index) {
            Some(parameter) => Some(parameter),
            None if self.variadic => self.parameters.last(),
            None => None,
        }
    }

    pub fn accepts_count(&self, count: usize) -> bool {
        if self.variadic { count + 1 >= self.parameters.len() } else { count == self.parameters.len() }
    }
}

fn parameter(text: &str) -> Parameter {
    match text {
        "any" => Parameter::Any,
        "anyelement" => Parameter::AnyElement,
        "anyarray" => Parameter::AnyArray,
        "anynonarray" => Parameter::AnyNonArray,
        _ => Parameter::Is(type_named(text)),
    }
}

fn type_named(text: &str) -> Type {
    if let Some(element) = text.strip_suffix("[]") {
        return Type::array_of(type_named(element));
    }
    match text {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "text" => Type::Text,
        "name" => Type::Name,
        "char" => Type::Char,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Timestamp,
        "timestamptz" => Type::Timestamptz,
        "interval" => Type::Interval,
        "uuid" => Type::Uuid,
        "json" => Type::Json,
        "record" => Type::Record,
        "oid" => Type::Oid,
        "regclass" => Type::Regclass,
        "regtype" => Type::Regtype,
        "regproc" => Type::Regproc,
        "regnamespace" => Type::Regnamespace,
        "void" => Type::Void,
        other => panic!("no type is named {other}"),
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Parameter::Is(ty) => write!(f, "{ty}"),
            Parameter::Any => f.write_str("\"any\""),
            Parameter::AnyElement => f.write_str("anyelement"),
            Parameter::AnyArray => f.write_str("anyarray"),
            Parameter::AnyNonArray => f.write_str("anynonarray"),
        }
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(")?;
        for (i, parameter) in self.parameters.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            let variadic = if self.variadic && i + 1 == self.parameters.len() { "VARIADIC " } else { "" };
            write!(f, "{separator}{variadic}{parameter}")?;
        }
        write!(f, ") -> {}", self.result)
    }
}

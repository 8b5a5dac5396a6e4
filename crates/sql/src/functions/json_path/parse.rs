//! The grammar of SQL/JSON paths.

use crate::error::{Result, SqlError};
use crate::numeric::Numeric;

/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 100;

/// A path and its mode.
#[derive(Debug)]
pub struct Path {
    pub strict: bool,
    pub root: Node,
}

/// An expression that gives items.
#[derive(Debug)]
pub enum Node {
    Root,
    Current,
    Variable(String),
    Null,
    Bool(bool),
    Number(Numeric),
    String(String),
    Access(Box<Node>, Accessor),
    Arithmetic(Box<Node>, char, Box<Node>),
    Sign(Box<Node>, bool),
    /// A predicate used as a value.
    Predicate(Box<Predicate>),
    /// The index of an array's last element.
    Last,
}

#[derive(Debug)]
pub enum Accessor {
    Key(String),
    AnyKey,
    AnyElement,
    /// Single indices and ranges.
    Elements(Vec<(Node, Option<Node>)>),
    /// `.**`, with levels `{from to to}`.
    Descend(u32, u32),
    Filter(Box<Predicate>),
    Method(Method),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

#[derive(Debug)]
pub enum Predicate {
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
    Compare(Node, Comparison, Node),
    Exists(Node),
    IsUnknown(Box<Predicate>),
    StartsWith(Node, Node),
    LikeRegex(Node, String, String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Reads a path. Errors with 42601.
pub fn parse(text: &str) -> Result<Path> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, text };
    let strict = parser.word("strict");
    if !strict {
        parser.word("lax");
    }
    let root = parser.whole()?;
    if parser.at != parser.tokens.len() {
        return Err(parser.unexpected());
    }
    Ok(Path { strict, root })
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Variable(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 31] = [
    "**", "&&", "||", "==", "!=", "<>", "<=", ">=", "$", "@", ".", "*", "[", "]", "(", ")", "{", "}", "?", ",", "<",
    ">", "!", "+", "-", "/", "%", "=", ":", ";", "&",
];

fn syntax(text: &str) -> SqlError {
    SqlError::new("42601", format!("syntax error in jsonpath \"{text}\""))
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == '"' {
            let (value, after) = quoted(rest).ok_or_else(|| syntax(text))?;
            tokens.push(Token::Text(value));
            rest = after;
        } else if c.is_ascii_digit() || c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let end = number_end(rest);
            if rest[end..].starts_with(|c: char| c.is_alphabetic() || c == '_') {
                return Err(SqlError::new(
                    "42601",
                    format!("trailing junk after numeric literal in jsonpath \"{text}\""),
                ));
            }
            tokens.push(Token::Number(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if c == '$' && rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"') {
            let after = &rest[1..];
            if after.starts_with('"') {
                let (value, after) = quoted(after).ok_or_else(|| syntax(text))?;
                tokens.push(Token::Variable(value));
                rest = after;
            } else {
                let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(after.len());
                tokens.push(Token::Variable(after[..end].to_owned()));
                rest = &after[end..];
            }
        } else {
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s)).ok_or_else(|| syntax(text))?;
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        }
    }
    Ok(tokens)
}

fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut at = digits(0);
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        if bytes.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
            at = digits(at + 1 + sign);
        }
    }
    at
}

/// A string in double quotes with JSON's escapes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let json = crate::json::parse::parse(&text[..=i]).ok()?;
                return Some((json.raw().as_str()?.to_owned(), &text[i + 1..]));
            }
            _ => {}
        }
    }
    None
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    text: &'a str,
}

impl Parser<'_> {
    fn unexpected(&self) -> SqlError {
        syntax(self.text)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn symbol(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        if self.symbol(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == wanted);
        self.at += usize::from(found);
        found
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SqlError::new("54001", "jsonpath is nested too deeply"));
        }
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// A predicate or an expression: whichever the text is.
    fn whole(&mut self) -> Result<Node> {
        let start = self.at;
        if let Ok(predicate) = self.disjunction()
            && self.at == self.tokens.len()
        {
            return Ok(Node::Predicate(Box::new(predicate)));
        }
        self.at = start;
        self.depth = 0;
        self.sum()
    }

    fn disjunction(&mut self) -> Result<Predicate> {
        let mut left = self.conjunction()?;
        while self.symbol("||") {
            left = Predicate::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Predicate> {
        let mut left = self.condition()?;
        while self.symbol("&&") {
            left = Predicate::And(Box::new(left), Box::new(self.condition()?));
        }
        Ok(left)
    }

    fn condition(&mut self) -> Result<Predicate> {
        self.deeper(|parser| {
            if parser.symbol("!") {
                return Ok(Predicate::Not(Box::new(parser.condition()?)));
            }
            if parser.word("exists") {
                parser.expect("(")?;
                let node = parser.sum()?;
                parser.expect(")")?;
                return Ok(Predicate::Exists(node));
            }
            // A parenthesis opens a condition or an operand; the longer reading decides.
            let start = parser.at;
            if parser.symbol("(")
                && let Ok(inner) = parser.disjunction()
                && parser.symbol(")")
            {
                if parser.word("is") {
                    if !parser.word("unknown") {
                        return Err(parser.unexpected());
                    }
                    return Ok(Predicate::IsUnknown(Box::new(inner)));
                }
                return Ok(inner);
            }
            parser.at = start;
            parser.comparison()
        })
    }

    fn comparison(&mut self) -> Result<Predicate> {
        let left = self.sum()?;
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (symbol, comparison) in comparisons {
            if self.symbol(symbol) {
                return Ok(Predicate::Compare(left, comparison, self.sum()?));
            }
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.unexpected());
            }
            return Ok(Predicate::StartsWith(left, self.sum()?));
        }
        if self.word("like_regex") {
            let pattern = self.text_token()?;
            let flags = if self.word("flag") { self.text_token()? } else { String::new() };
            return Ok(Predicate::LikeRegex(left, pattern, flags));
        }
        Err(self.unexpected())
    }

    fn text_token(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Text(s)) => {
                let s = s.clone();
                self.at += 1;
                Ok(s)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn sum(&mut self) -> Result<Node> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Some(Token::Symbol("+")) => '+',
                Some(Token::Symbol("-")) => '-',
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Arithmetic(Box::new(left), op, Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Node> {
        let mut left = self.signed()?;
        loop {
            let op = match self.peek() {
                Some(Token::Symbol("*")) => '*',
                Some(Token::Symbol("/")) => '/',
                Some(Token::Symbol("%")) => '%',
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Arithmetic(Box::new(left), op, Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Node> {
        if self.symbol("-") {
            return self.deeper(|parser| Ok(Node::Sign(Box::new(parser.signed()?), true)));
        }
        if self.symbol("+") {
            return self.deeper(|parser| Ok(Node::Sign(Box::new(parser.signed()?), false)));
        }
        self.accesses()
    }

    fn accesses(&mut self) -> Result<Node> {
        let mut node = self.primary()?;
        // Accessors nest without recursion here; the tree they make is walked with it.
        let mut count = 0;
        while let Some(accessor) = self.accessor()? {
            count += 1;
            if count > MAX_DEPTH {
                return Err(SqlError::new("54001", "jsonpath is nested too deeply"));
            }
            node = Node::Access(Box::new(node), accessor);
        }
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node> {
        if self.symbol("(") {
            return self.deeper(|parser| {
                let inner = parser.sum()?;
                parser.expect(")")?;
                Ok(inner)
            });
        }
        let token = self.peek().cloned().ok_or_else(|| self.unexpected())?;
        let node = match token {
            Token::Symbol("$") => Node::Root,
            Token::Symbol("@") => Node::Current,
            Token::Variable(name) => Node::Variable(name),
            Token::Text(s) => Node::String(s),
            Token::Number(n) => Node::Number(Numeric::parse(&n).ok_or_else(|| self.unexpected())??),
            Token::Word(w) => match w.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                "null" => Node::Null,
                "last" => Node::Last,
                _ => return Err(self.unexpected()),
            },
            Token::Symbol(_) => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(node)
    }

    fn accessor(&mut self) -> Result<Option<Accessor>> {
        if self.symbol(".") {
            return self.member().map(Some);
        }
        if self.symbol("[") {
            if self.symbol("*") {
                self.expect("]")?;
                return Ok(Some(Accessor::AnyElement));
            }
            let mut elements = Vec::new();
            loop {
                let from = self.sum()?;
                let to = if self.word("to") { Some(self.sum()?) } else { None };
                elements.push((from, to));
                if self.symbol("]") {
                    return Ok(Some(Accessor::Elements(elements)));
                }
                self.expect(",")?;
            }
        }
        if self.symbol("?") {
            self.expect("(")?;
            let predicate = self.deeper(Self::disjunction)?;
            self.expect(")")?;
            return Ok(Some(Accessor::Filter(Box::new(predicate))));
        }
        Ok(None)
    }

    fn member(&mut self) -> Result<Accessor> {
        if self.symbol("**") {
            return self.levels();
        }
        if self.symbol("*") {
            return Ok(Accessor::AnyKey);
        }
        let name = match self.peek() {
            Some(Token::Word(w)) => w.clone(),
            Some(Token::Text(s)) => {
                let s = s.clone();
                self.at += 1;
                return Ok(Accessor::Key(s));
            }
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        if !self.symbol("(") {
            return Ok(Accessor::Key(name));
        }
        self.expect(")")?;
        Ok(Accessor::Method(match name.as_str() {
            "type" => Method::Type,
            "size" => Method::Size,
            "double" => Method::Double,
            "ceiling" => Method::Ceiling,
            "floor" => Method::Floor,
            "abs" => Method::Abs,
            "keyvalue" => Method::KeyValue,
            _ => return Err(SqlError::unsupported(format!("jsonpath method .{name}()"))),
        }))
    }

    fn levels(&mut self) -> Result<Accessor> {
        if !self.symbol("{") {
            return Ok(Accessor::Descend(0, u32::MAX));
        }
        let from = self.level()?;
        let to = if self.word("to") { self.level()? } else { from };
        self.expect("}")?;
        Ok(Accessor::Descend(from, to))
    }

    fn level(&mut self) -> Result<u32> {
        if self.word("last") {
            return Ok(u32::MAX);
        }
        match self.peek() {
            Some(Token::Number(n)) => {
                let level = n.parse().map_err(|_| self.unexpected())?;
                self.at += 1;
                Ok(level)
            }
            _ => Err(self.unexpected()),
        }
    }
}

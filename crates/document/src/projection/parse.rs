//! From a specification to the tree of names: kinds, collisions, the operators of find.

use super::{Field, Kind, Level, Projection, Slice};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::{Expression, FieldPath, Parser};
use crate::matcher::Matcher;
use crate::number::Number;
use crate::raw::{Raw, RawDoc};
use crate::write::DocWriter;

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `find`: `$slice`, `$elemMatch`, `.$`; an empty specification keeps everything.
    Find,
    /// `$project`.
    Aggregate,
}

/// The condition of an `$elemMatch` projection.
#[derive(Debug)]
pub(super) struct ElemMatch(Matcher);

impl ElemMatch {
    /// Elements are tested one by one, each as the only one of an array.
    fn parse(condition: RawDoc<'_>, ctx: &Context) -> Result<Self> {
        let mut w = DocWriter::new();
        w.begin_document("v");
        w.doc("$elemMatch", condition);
        w.end();
        Ok(ElemMatch(Matcher::parse(w.finish().as_doc(), ctx)?))
    }

    pub fn matches(&self, item: Raw<'_>) -> Result<bool> {
        let mut w = DocWriter::new();
        w.begin_array("v");
        w.raw("0", item);
        w.end();
        self.0.matches(w.finish().as_doc())
    }
}

struct Spec<'c> {
    ctx: &'c Context,
    mode: Mode,
    kind: Option<Kind>,
    /// What was said about the whole `_id`.
    id: Option<bool>,
    root: Level,
    positional: Option<String>,
    elem_match: bool,
}

impl Projection {
    /// Errors with the server's codes: 31253/31254 mixed kinds, 31249/31250 colliding paths, 51272
    /// nothing specified, and those of the expressions.
    pub fn parse(spec: RawDoc<'_>, ctx: &Context, mode: Mode) -> Result<Projection> {
        if spec.is_empty() && mode == Mode::Aggregate {
            return Err(Error::new(51272, "projection specification must have at least one field"));
        }
        let mut parsed =
            Spec { ctx, mode, kind: None, id: None, root: Level::default(), positional: None, elem_match: false };
        for (name, value) in spec.iter() {
            parsed.element(name, value)?;
        }
        parsed.finish()
    }

    /// `$addFields`: everything is computed, everything else stays.
    pub fn add_fields(spec: RawDoc<'_>, ctx: &Context) -> Result<Projection> {
        let mut root = Level::default();
        for (name, value) in spec.iter() {
            add_field(&mut root, name, value, ctx)?;
        }
        Ok(Projection { kind: Kind::Exclusion, root, positional: None })
    }

    /// `$unset`: an exclusion of these paths.
    pub fn unset(paths: &[&str]) -> Result<Projection> {
        let mut root = Level::default();
        for path in paths {
            insert(&mut root, &FieldPath::parse(path)?, Field::Leaf)?;
        }
        Ok(Projection { kind: Kind::Exclusion, root, positional: None })
    }
}

impl Spec<'_> {
    fn element(&mut self, path: &str, value: Raw<'_>) -> Result<()> {
        match value {
            Raw::Bool(_) | Raw::Int32(_) | Raw::Int64(_) | Raw::Double(_) | Raw::Decimal128(_) => {
                let include = match value {
                    Raw::Bool(b) => b,
                    number => Number::from_raw(number).is_some_and(|n| !n.is_zero()),
                };
                if path.contains('$') && (path == "$" || path.ends_with(".$") || path.contains(".$.")) {
                    return self.positional(path, include);
                }
                self.switch(path, include)
            }
            Raw::Document(doc) => match doc.iter().next() {
                None => Err(Error::new(
                    51270,
                    format!("An empty sub-projection is not a valid value. Found empty object at path {path}"),
                )),
                Some((name, argument)) if name.starts_with('$') => self.operator(path, doc, name, argument),
                Some(_) => doc.iter().try_for_each(|(name, value)| self.element(&format!("{path}.{name}"), value)),
            },
            other => {
                let expression = Expression::parse(other, self.ctx)?;
                self.compute(path, expression)
            }
        }
    }

    fn switch(&mut self, path: &str, include: bool) -> Result<()> {
        let parsed = FieldPath::parse(path)?;
        if path == "_id" {
            if self.id.is_some() {
                return Err(collision(path, ""));
            }
            self.id = Some(include);
            return Ok(());
        }
        let kind = if include { Kind::Inclusion } else { Kind::Exclusion };
        match (self.kind, kind) {
            (Some(Kind::Exclusion), Kind::Inclusion) => {
                Err(Error::new(31253, format!("Cannot do inclusion on field {path} in exclusion projection")))
            }
            (Some(Kind::Inclusion), Kind::Exclusion) => {
                Err(Error::new(31254, format!("Cannot do exclusion on field {path} in inclusion projection")))
            }
            _ => {
                self.kind = Some(kind);
                insert(&mut self.root, &parsed, Field::Leaf)
            }
        }
    }

    fn positional(&mut self, path: &str, include: bool) -> Result<()> {
        if self.mode == Mode::Aggregate {
            return Err(Error::new(31324, "Cannot use positional projection in aggregation projection"));
        }
        let Some(base) = path.strip_suffix(".$").filter(|base| !base.contains(".$.") && !base.ends_with(".$")) else {
            return Err(Error::new(
                31394,
                "As of 4.4, it's illegal to specify positional operator in the middle of a path.Positional projection \
                 may only be used at the end, for example: a.b.$. If the query previously used a form like a.b.$.d, \
                 remove the parts following the '$' and the results will be equivalent.",
            ));
        };
        if !include {
            return Err(Error::new(31395, "positional projection cannot be used with exclusion"));
        }
        if self.positional.is_some() {
            return Err(Error::new(31276, "Cannot specify more than one positional projection per query."));
        }
        if self.elem_match {
            return Err(Error::new(31255, "Cannot specify positional operator and $elemMatch."));
        }
        self.switch(base, true)?;
        self.positional = Some(base.to_owned());
        Ok(())
    }

    fn operator(&mut self, path: &str, doc: RawDoc<'_>, name: &str, argument: Raw<'_>) -> Result<()> {
        let single = doc.iter().nth(1).is_none();
        if self.mode == Mode::Find && single {
            match name {
                "$slice" => {
                    if let Some(slice) = find_slice(argument)? {
                        return insert(&mut self.root, &FieldPath::parse(path)?, Field::Slice(slice));
                    }
                }
                "$elemMatch" => return self.elem_match(path, argument),
                _ => {}
            }
        }
        if !single {
            // The server reads the whole as a sub-document, whose names may not begin with '$'.
            FieldPath::parse(&format!("{path}.{name}"))?;
        }
        let root = Parser::new(self.ctx).operator(name, argument).map_err(|e| match e.code {
            168 if e.message.ends_with(&format!("'{name}'")) => Error::new(31325, format!("Unknown expression {name}")),
            _ => e,
        })?;
        self.compute(path, Expression::finish(root, self.ctx)?)
    }

    fn elem_match(&mut self, path: &str, argument: Raw<'_>) -> Result<()> {
        let Raw::Document(condition) = argument else {
            return Err(Error::new(
                31274,
                format!("elemMatch: Invalid argument, object required, but got {}", argument.type_name()),
            ));
        };
        if self.positional.is_some() {
            return Err(Error::new(31255, "Cannot specify positional operator and $elemMatch."));
        }
        if path.contains('.') {
            return Err(Error::new(31275, "Cannot use $elemMatch projection on a nested field."));
        }
        self.elem_match = true;
        let condition = ElemMatch::parse(condition, self.ctx)?;
        insert(&mut self.root, &FieldPath::parse(path)?, Field::ElemMatch(condition))
    }

    fn compute(&mut self, path: &str, expression: Expression) -> Result<()> {
        let parsed = FieldPath::parse(path)?;
        if self.kind == Some(Kind::Exclusion) {
            return Err(Error::new(
                31310,
                format!("Cannot use an expression on field {path} in an exclusion projection"),
            ));
        }
        self.kind = Some(Kind::Inclusion);
        if path == "_id" {
            self.id = Some(true);
        }
        insert(&mut self.root, &parsed, Field::Compute(expression))
    }

    fn finish(mut self) -> Result<Projection> {
        let undecided = match (self.elem_match, self.id) {
            (true, _) | (_, Some(true)) => Kind::Inclusion,
            _ => Kind::Exclusion,
        };
        let kind = self.kind.unwrap_or(undecided);
        let named = self.root.get("_id").is_some();
        let leaf = match kind {
            Kind::Inclusion => self.id != Some(false),
            Kind::Exclusion => self.id == Some(false),
        };
        if leaf && !named {
            self.root.insert("_id", Field::Leaf);
        }
        Ok(Projection { kind, root: self.root, positional: self.positional })
    }
}

/// The forms of find; anything else is the aggregation operator.
fn find_slice(argument: Raw<'_>) -> Result<Option<Slice>> {
    let whole = |value: Raw<'_>| Number::from_raw(value).map(Number::to_i64_saturating);
    match argument {
        Raw::Array(items) => {
            let items: Vec<Raw<'_>> = items.values().collect();
            let [skip, limit] = items[..] else { return Ok(None) };
            let (Some(skip), Some(limit)) = (whole(skip), whole(limit)) else { return Ok(None) };
            if limit <= 0 {
                return Err(Error::new(
                    28724,
                    format!("First argument to $slice must be an array, but is of type: {}", items[0].type_name()),
                ));
            }
            Ok(Some(Slice::Window { skip, limit }))
        }
        value => Ok(whole(value).map(Slice::Limit)),
    }
}

fn collision(path: &str, rest: &str) -> Error {
    if rest.is_empty() {
        Error::new(31250, format!("Path collision at {path}"))
    } else {
        Error::new(31249, format!("Path collision at {path} remaining portion {rest}"))
    }
}

fn insert(root: &mut Level, path: &FieldPath, field: Field) -> Result<()> {
    insert_below(root, path.text(), path.parts(), field)
}

fn insert_below(level: &mut Level, path: &str, parts: &[String], field: Field) -> Result<()> {
    let (first, rest) = parts.split_first().expect("a path has a part");
    level.computes |= matches!(field, Field::Compute(_));
    if rest.is_empty() {
        if level.places.contains_key(first) {
            return Err(collision(path, ""));
        }
        level.insert(first, field);
        return Ok(());
    }
    if !level.places.contains_key(first) {
        level.insert(first, Field::Below(Level::default()));
    }
    let at = level.places[first];
    match &mut level.fields[at].1 {
        Field::Below(below) => insert_below(below, path, rest, field),
        _ => Err(collision(path, &rest.join("."))),
    }
}

/// One field of `$addFields`: objects that are no operators go down a level.
fn add_field(root: &mut Level, path: &str, value: Raw<'_>, ctx: &Context) -> Result<()> {
    let parsed = FieldPath::parse(path)?;
    let conflict = |e: Error| match e.code {
        31249 | 31250 => Error::new(
            40176,
            format!(
                "specification contains two conflicting paths. Cannot specify both '{path}' and a path that contains or continues it"
            ),
        ),
        _ => e,
    };
    if let Raw::Document(doc) = value {
        match doc.iter().next() {
            None => {
                return Err(Error::new(40180, format!("an empty object is not a valid value. Found at path {path}")));
            }
            Some((name, _)) if name.starts_with('$') => {
                if doc.iter().nth(1).is_some() {
                    return Err(Error::new(
                        40181,
                        format!(
                            "an expression specification must contain exactly one field, the name of the expression. Found more, while parsing object at path {path}"
                        ),
                    ));
                }
            }
            Some(_) => {
                for (name, value) in doc.iter() {
                    if name.contains('.') {
                        return Err(Error::new(
                            40183,
                            format!("cannot use dotted field name '{name}' in a sub object of path {path}"),
                        ));
                    }
                    if name.starts_with('$') {
                        return Err(Error::new(
                            40182,
                            format!(
                                "cannot have both an operator ({name}) and plain fields in the object at path {path}"
                            ),
                        ));
                    }
                    add_field(root, &format!("{path}.{name}"), value, ctx)?;
                }
                return Ok(());
            }
        }
    }
    let expression = Expression::parse(value, ctx)?;
    insert(root, &parsed, Field::Compute(expression)).map_err(conflict)
}

//! What names mean at a place in a query: the relations of FROM, and the queries around.
//!
//! An *open* relation (a collection) answers to every name: one that is no column anywhere in scope
//! reads that field of the document, `a.b` a field inside a field.

use std::sync::Arc;

use super::marks::{self, Ref};
use crate::datum::Datum;
use crate::error::{Result, SqlError};
use crate::expr::{Expr, ExprKind};
use crate::plan::Plan;
use crate::types::Type;

/// What is known of a column besides its type; carried through projections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    #[default]
    Any,
    /// A stream's `updated_fields` or `update_description->'updatedFields'`: keys are dotted paths.
    UpdatedFields,
    /// A stream's `update_description`.
    UpdateDescription,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Over the plan of FROM.
    pub expr: Expr,
    /// Its relation; `None` for the merged column of USING.
    pub relation: Option<usize>,
    /// Answers to its bare name.
    pub plain: bool,
    /// Is part of `*`.
    pub listed: bool,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub name: Option<String>,
    pub db: Option<String>,
    /// Columns of the plan that determine all of this relation's columns; empty if unknown.
    pub key: Vec<usize>,
    /// The plan's column whose fields answer to other names.
    pub open: Option<usize>,
    /// A function's single column: the relation's name means the column too.
    pub scalar: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'p> {
    pub parent: Option<&'p Scope<'p>>,
    pub relations: Vec<Relation>,
    pub columns: Vec<Column>,
}

/// A bound query or table: its plan and what is known of its columns.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub plan: Arc<Plan>,
    pub names: Vec<String>,
    pub origins: Vec<Origin>,
    /// Columns that determine the row, or empty.
    pub key: Vec<usize>,
    pub open: Option<usize>,
}

impl Bound {
    pub fn width(&self) -> usize {
        self.plan.fields().len()
    }
}

/// What a name turned out to be.
pub(super) struct Found {
    pub expr: Expr,
    pub origin: Origin,
}

/// A name resolved.
pub(super) enum Resolved {
    Found(Found),
    /// These keys, one inside the other, of a JSON value.
    Path(Expr, Vec<String>),
}

impl<'p> Scope<'p> {
    pub fn child_of(parent: Option<&'p Scope<'p>>) -> Self {
        Scope { parent, relations: Vec::new(), columns: Vec::new() }
    }

    /// The scope of one relation whose columns begin at 0.
    pub fn of(parent: Option<&'p Scope<'p>>, bound: &Bound, name: Option<String>, db: Option<String>) -> Self {
        let columns = bound
            .names
            .iter()
            .zip(bound.plan.fields())
            .enumerate()
            .map(|(n, (name, field))| Column {
                name: name.clone(),
                expr: Expr::column(n, field.ty.clone()),
                relation: Some(0),
                plain: true,
                listed: true,
                origin: bound.origins.get(n).copied().unwrap_or_default(),
            })
            .collect();
        let relation = Relation { name, db, key: bound.key.clone(), open: bound.open, scalar: false };
        Scope { parent, relations: vec![relation], columns }
    }

    /// Appends the scope of a plan that stands to the right, `by` columns on.
    pub fn append(&mut self, right: Scope<'_>, by: usize) -> Result<()> {
        for relation in &right.relations {
            if let Some(name) = &relation.name
                && self.relations.iter().any(|known| known.name.as_ref() == Some(name) && known.db == relation.db)
            {
                return Err(SqlError::new("42712", format!("table name \"{name}\" specified more than once")));
            }
        }
        let offset = self.relations.len();
        self.relations.extend(right.relations.into_iter().map(|relation| Relation {
            key: relation.key.iter().map(|column| column + by).collect(),
            open: relation.open.map(|column| column + by),
            ..relation
        }));
        self.columns.extend(right.columns.into_iter().map(|column| Column {
            expr: marks::shifted(&column.expr, by),
            relation: column.relation.map(|relation| relation + offset),
            ..column
        }));
        Ok(())
    }

    fn own_column(&self, name: &str, relation: Option<usize>) -> Result<Option<&Column>> {
        let mut matching = self.columns.iter().filter(|column| {
            column.name == name
                && match relation {
                    Some(relation) => column.relation == Some(relation),
                    None => column.plain,
                }
        });
        let first = matching.next();
        if matching.next().is_some() {
            return Err(SqlError::new("42702", format!("column reference \"{name}\" is ambiguous")));
        }
        Ok(first)
    }

    fn own_relation(&self, db: Option<&str>, name: &str) -> Result<Option<usize>> {
        let mut matching = self.relations.iter().enumerate().filter(|(_, relation)| {
            relation.name.as_deref() == Some(name) && (db.is_none() || relation.db.as_deref() == db)
        });
        let first = matching.next();
        if matching.next().is_some() {
            return Err(SqlError::new("42P09", format!("table reference \"{name}\" is ambiguous")));
        }
        Ok(first.map(|(n, _)| n))
    }

    /// The relation of a name, and how many levels out.
    pub fn relation(&self, db: Option<&str>, name: &str) -> Result<Option<(usize, usize, &Scope<'p>)>> {
        let (mut scope, mut level) = (self, 0);
        loop {
            if let Some(relation) = scope.own_relation(db, name)? {
                return Ok(Some((relation, level, scope)));
            }
            match scope.parent {
                Some(parent) => {
                    scope = parent;
                    level += 1;
                }
                None => return Ok(None),
            }
        }
    }

    /// A column by its bare name, in this query or one around it.
    pub fn column(&self, name: &str) -> Result<Option<Found>> {
        let (mut scope, mut level) = (self, 0);
        loop {
            if let Some(column) = scope.own_column(name, None)? {
                return Ok(Some(Found { expr: at_level(&column.expr, level), origin: column.origin }));
            }
            match scope.parent {
                Some(parent) => {
                    scope = parent;
                    level += 1;
                }
                None => return Ok(None),
            }
        }
    }

    /// Is the name a column of this very query?
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.plain)
    }

    /// Does a name that is no column read a document here?
    pub fn is_open(&self) -> bool {
        self.relations.iter().any(|relation| relation.open.is_some())
    }

    /// The document whose fields answer to bare names: of the innermost query that reads collections.
    fn open_document(&self, name: &str) -> Result<Option<Expr>> {
        let (mut scope, mut level) = (self, 0);
        loop {
            let mut open = scope.relations.iter().filter_map(|relation| relation.open);
            if let Some(column) = open.next() {
                if open.next().is_some() {
                    return Err(SqlError::new("42702", format!("column reference \"{name}\" is ambiguous"))
                        .with_hint("Qualify the name: several collections are read here."));
                }
                return Ok(Some(at_level(&Expr::column(column, Type::Json), level)));
            }
            match scope.parent {
                Some(parent) => {
                    scope = parent;
                    level += 1;
                }
                None => return Ok(None),
            }
        }
    }

    /// The whole row of a relation, as a record.
    fn whole_row(&self, name: &str) -> Result<Option<Expr>> {
        let Some((relation, level, scope)) = self.relation(None, name)? else { return Ok(None) };
        let columns = scope.columns.iter().filter(|column| column.relation == Some(relation));
        let mut exprs: Vec<Expr> = columns.map(|column| at_level(&column.expr, level)).collect();
        if scope.relations[relation].scalar && exprs.len() == 1 {
            return Ok(exprs.pop());
        }
        Ok(Some(Expr::new(ExprKind::Record(exprs), Type::Record)))
    }

    /// The names and values of a relation's row, by the relation's name.
    pub fn named_row(&self, name: &str) -> Result<Option<Vec<(String, Expr)>>> {
        let Some((relation, level, scope)) = self.relation(None, name)? else { return Ok(None) };
        let columns = scope.columns.iter().filter(|column| column.relation == Some(relation));
        Ok(Some(columns.map(|column| (column.name.clone(), at_level(&column.expr, level))).collect()))
    }

    /// Resolves `a`, `a.b`, `a.b.c` …; a bare name that is a column has been found by `column`.
    pub fn resolve(&self, names: &[String]) -> Result<Resolved> {
        let found = |expr| Resolved::Found(Found { expr, origin: Origin::Any });
        if let [name] = names {
            if let Some(expr) = self.whole_row(name)? {
                return Ok(found(expr));
            }
            return match self.open_document(name)? {
                Some(document) => Ok(Resolved::Path(document, names.to_vec())),
                None => Err(SqlError::new("42703", format!("column \"{name}\" does not exist"))),
            };
        }
        // db.relation.column first, then relation.column.
        for qualified in [2, 1] {
            if names.len() <= qualified {
                continue;
            }
            let (db, name) = if qualified == 2 { (Some(names[0].as_str()), &names[1]) } else { (None, &names[0]) };
            let Some((relation, level, scope)) = self.relation(db, name)? else { continue };
            let (column, rest) = (&names[qualified], &names[qualified + 1..]);
            if let Some(known) = scope.own_column(column, Some(relation))? {
                let expr = at_level(&known.expr, level);
                if rest.is_empty() {
                    return Ok(Resolved::Found(Found { expr, origin: known.origin }));
                }
                if expr.ty == Type::Json {
                    return Ok(Resolved::Path(expr, rest.to_vec()));
                }
                return Err(SqlError::new(
                    "42809",
                    format!("column notation .{} applied to type {}, which is not a composite type", rest[0], expr.ty),
                ));
            }
            if let Some(open) = scope.relations[relation].open {
                let document = at_level(&Expr::column(open, Type::Json), level);
                return Ok(Resolved::Path(document, names[qualified..].to_vec()));
            }
            let table = names[..qualified].join(".");
            return Err(SqlError::new("42703", format!("column {table}.{column} does not exist")));
        }
        if let Some(document) = self.open_document(&names[0])? {
            return Ok(Resolved::Path(document, names.to_vec()));
        }
        let table = names[..names.len() - 1].join(".");
        Err(SqlError::new("42P01", format!("missing FROM-clause entry for table \"{table}\"")))
    }
}

fn at_level(expr: &Expr, level: usize) -> Expr {
    let mut expr = expr.clone();
    marks::raise(&mut expr, level);
    expr
}

/// NULL of a type.
pub(super) fn null(ty: Type) -> Expr {
    Expr::literal(Datum::Null, ty)
}

/// The columns that `*` or `relation.*` stands for.
pub(super) fn wildcard(scope: &Scope<'_>, relation: Option<usize>) -> Vec<(String, Expr, Origin)> {
    scope
        .columns
        .iter()
        .filter(|column| match relation {
            Some(relation) => column.relation == Some(relation),
            None => column.listed,
        })
        .map(|column| (column.name.clone(), column.expr.clone(), column.origin))
        .collect()
}

/// The relation whose key determines a column of the plan, if its key is among `known`.
pub(super) fn determined(scope: &Scope<'_>, column: usize, known: &dyn Fn(usize) -> bool) -> bool {
    scope.columns.iter().any(|c| {
        marks::reference(&c.expr) == Some(Ref::Local(column))
            && c.relation.is_some_and(|relation| {
                let key = &scope.relations[relation].key;
                !key.is_empty() && key.iter().all(|k| known(*k))
            })
    })
}

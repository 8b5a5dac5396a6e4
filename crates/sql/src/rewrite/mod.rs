//! Statements that are not PostgreSQL, read as their authors meant them; each reading has a notice.
//!
//! The decisions are made here, from the syntax alone; the binder asks where it knows the names.
//! Casts that follow an aggregate's FILTER (`count(*) FILTER (…)::DECIMAL`) need no reading: the
//! grammar binds them to the aggregate, as PostgreSQL does.

mod alias_in_where;
mod case_condition;
mod implicit_from;
mod keys_as_array;

pub(crate) use alias_in_where::{alias_definition, alias_in_where};
pub(crate) use case_condition::{case_condition, when_with_condition};
pub(crate) use implicit_from::{implicit_from, reads_previous};
pub(crate) use keys_as_array::{determined_column, keys_as_array, touched_path};

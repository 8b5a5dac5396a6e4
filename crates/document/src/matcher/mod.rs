//! Query predicates.

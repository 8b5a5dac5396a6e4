//! Sessions against a database of their own.

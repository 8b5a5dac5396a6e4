//! Which names databases and collections may have, and the errors of those that may not.

use document::Raw;
use engine::{Error, Namespace, Result};

use super::Request;

const MAX_DATABASE_NAME: usize = 63;
/// Of "database.collection", in bytes.
const MAX_NAMESPACE: usize = 255;

/// 73 unless `db` is a possible database name.
pub fn check_database(db: &str) -> Result<()> {
    if db.contains('.') {
        return Err(Error::new(73, format!("'.' is an invalid character in the database name: {db}")));
    }
    let forbidden = |c: char| matches!(c, '/' | '\\' | ' ' | '"' | '\0');
    if db.is_empty() || db.len() > MAX_DATABASE_NAME || db.contains(forbidden) {
        return Err(Error::new(73, format!("Invalid database name: '{db}'")));
    }
    Ok(())
}

/// The collection that a command's first field names.
pub fn collection(request: &Request) -> Result<Namespace> {
    let first = request.body.iter().next().map(|(_, value)| value);
    named(&request.db, first.unwrap_or(Raw::Null))
}

/// `value` as a collection of `db`.
pub fn named(db: &str, value: Raw<'_>) -> Result<Namespace> {
    let Raw::String(name) = value else {
        return Err(Error::new(2, format!("collection name has invalid type {}", value.type_name())));
    };
    namespace(db, name)
}

/// `db.name`, if both may be.
pub fn namespace(db: &str, name: &str) -> Result<Namespace> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::new(73, format!("Invalid namespace specified '{db}.{name}'")));
    }
    if db.contains('$') && db != "$external" {
        return Err(Error::new(73, format!("Invalid collection name specified '{db}.{name}")));
    }
    if db.len() + 1 + name.len() > MAX_NAMESPACE {
        let message = format!("Fully qualified namespace is too long. Namespace: {db}.{name} Max: {MAX_NAMESPACE}");
        return Err(Error::new(73, message));
    }
    Ok(Namespace::new(db, name))
}

/// 73 unless clients may create or write the collection.
pub fn check_writable(namespace: &Namespace) -> Result<()> {
    let name = &*namespace.collection;
    if name.contains('$') {
        return Err(Error::new(73, format!("Invalid collection name: {name}")));
    }
    if name.starts_with('.') {
        return Err(Error::new(73, format!("Collection names cannot start with '.': {name}")));
    }
    let writable_system = ["system.js", "system.users", "system.roles", "system.version", "system.profile"];
    if name.starts_with("system.") && !writable_system.contains(&name) {
        return Err(Error::new(73, format!("Invalid system namespace: {namespace}")));
    }
    Ok(())
}

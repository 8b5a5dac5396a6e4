//! Who may log in, and what each may do: the file that `--users` names.
//!
//! ```text
//!   # name    role        password, or a verifier as PostgreSQL writes them
//!   app       readWrite   correct-horse
//!   report    read        SCRAM-SHA-256$15000:c2FsdA==$…:…
//! ```
//!
//! # Not here
//! The wires' messages: `mongo-wire/src/login.rs`.
//!
//! # Invariants
//! - A password is not kept: what is kept can check a login and cannot make one.
//! - Somebody without an account cannot tell from the answers which accounts there are.
//!
//! Read next: `users/scram.rs`.

pub mod scram;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use scram::Verifier;

/// Longest file that is read; a hundred thousand users fit.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What a user may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read documents and follow changes.
    Read,
    /// Write documents, and make and drop collections and indexes.
    ReadWrite,
    /// Everything, fail points and parameters included.
    Root,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::ReadWrite => "readWrite",
            Role::Root => "root",
        }
    }
}

/// Somebody who may log in.
#[derive(Debug)]
pub struct User {
    pub name: String,
    pub role: Role,
    pub verifier: Verifier,
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Users {
    by_name: BTreeMap<String, Arc<User>>,
    /// From which the salts of accounts that do not exist follow.
    secret: [u8; 16],
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: std::io::Error| format!("cannot read {}: {why}", path.display());
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
            return Err(format!("{} is too long for a file of users", path.display()));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Users::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// # Errors
    /// A sentence that names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut by_name = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = parse_user(line).map_err(|why| format!("line {}: {why}", at + 1))?;
            if let Some(twice) = by_name.insert(user.name.clone(), Arc::new(user)) {
                return Err(format!("line {}: user \"{}\" is there already", at + 1, twice.name));
            }
        }
        if by_name.is_empty() {
            return Err("it names no user, so nobody could log in".to_owned());
        }
        Ok(Users { by_name, secret: base::random::os_bytes() })
    }

    pub fn find(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// What to tell somebody who gives a name; for one that nobody has, something that looks the same.
    pub fn verifier(&self, name: &str) -> Verifier {
        match self.find(name) {
            Some(user) => user.verifier.clone(),
            None => Verifier::of_nobody(&self.secret, name),
        }
    }
}

fn parse_user(line: &str) -> Result<User, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(role), Some(secret), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("it is not \"name role password\"".to_owned());
    };
    let role = [Role::Read, Role::ReadWrite, Role::Root].into_iter().find(|known| known.as_str() == role);
    let role = role.ok_or("the role is not read, readWrite or root")?;
    let verifier = match secret.starts_with(scram::MECHANISM) {
        true => secret.parse()?,
        // Others are written in several ways that look the same, which clients make one and we would have to.
        false if !secret.is_ascii() => return Err("a password that is not ASCII is given as a verifier".to_owned()),
        false => Verifier::of_password(secret),
    };
    Ok(User { name: name.to_owned(), role, verifier })
}

//! SCRAM-SHA-256 (RFC 5802, RFC 7677) from the server's side.
//!
//! ```text
//!   client  n,,n=user,r=nonce ─────────────────>  begin
//!           <────────── r=nonce+ours,s=salt,i=iterations
//!           c=biws,r=nonce+ours,p=proof ───────>  finish
//!           <────────────────────────── v=signature
//! ```

use std::str::FromStr;

use base::random::os_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub const MECHANISM: &str = "SCRAM-SHA-256";
/// What the reference server uses.
const ITERATIONS: u32 = 15_000;
/// Drivers refuse fewer.
const FEWEST_ITERATIONS: u32 = 4096;
/// A verifier that takes clients longer is a mistake.
const MOST_ITERATIONS: u32 = 10_000_000;
const SALT_BYTES: usize = 28;
const NONCE_BYTES: usize = 24;
/// Longest message of a client; names and nonces fit many times.
const MAX_MESSAGE: usize = 4096;

type Key = [u8; 32];

/// What checks a password, and cannot be used in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    pub fn of_password(password: &str) -> Self {
        Verifier::derive(password, os_bytes::<SALT_BYTES>().to_vec(), ITERATIONS)
    }

    pub fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let salted = salted_password(password.as_bytes(), &salt, iterations);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        Verifier { iterations, stored_key, server_key: hmac(&salted, &[b"Server Key"]), salt }
    }

    /// The same for the same name each time, and no password fits.
    pub fn of_nobody(secret: &[u8], name: &str) -> Self {
        let salt = hmac(secret, &[b"salt", name.as_bytes()])[..SALT_BYTES].to_vec();
        Verifier { iterations: ITERATIONS, salt, stored_key: os_bytes(), server_key: os_bytes() }
    }
}

impl FromStr for Verifier {
    type Err = String;

    /// `SCRAM-SHA-256$iterations:salt$stored:server`, as in PostgreSQL's `pg_authid`.
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || "the verifier is not SCRAM-SHA-256$iterations:salt$storedkey:serverkey".to_owned();
        let rest = text.strip_prefix(MECHANISM).and_then(|rest| rest.strip_prefix('$')).ok_or_else(malformed)?;
        let (work, keys) = rest.split_once('$').ok_or_else(malformed)?;
        let (iterations, salt) = work.split_once(':').ok_or_else(malformed)?;
        let (stored, server) = keys.split_once(':').ok_or_else(malformed)?;
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| malformed());
        let key = |text: &str| bytes(text)?.try_into().map_err(|_| malformed());
        let iterations: u32 = iterations.parse().map_err(|_| malformed())?;
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            return Err(format!("a verifier has {FEWEST_ITERATIONS} to {MOST_ITERATIONS} iterations"));
        }
        Ok(Verifier { iterations, salt: bytes(salt)?, stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// A login that has begun.
#[derive(Debug)]
pub struct Exchange {
    pub user: String,
    verifier: Verifier,
    nonce: String,
    /// The client's first message without its header, and ours.
    said: String,
}

/// The client does not know the password, or speaks another protocol; it is not told which.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl Exchange {
    /// Answers a client's first message. A user it does not name in the message is `user`, as PostgreSQL's
    /// clients name theirs elsewhere.
    pub fn begin(
        first: &[u8],
        user: Option<&str>,
        verifier: impl FnOnce(&str) -> Verifier,
    ) -> Result<(Self, String), Refused> {
        let own: [u8; NONCE_BYTES] = os_bytes();
        Exchange::begin_with(first, user, verifier, &BASE64.encode(own))
    }

    fn begin_with(
        first: &[u8],
        user: Option<&str>,
        verifier: impl FnOnce(&str) -> Verifier,
        own_nonce: &str,
    ) -> Result<(Self, String), Refused> {
        let bare = text(first)?.strip_prefix("n,,").ok_or(Refused)?;
        let (name, rest) = bare.strip_prefix("n=").and_then(|rest| rest.split_once(',')).ok_or(Refused)?;
        let client_nonce = rest.strip_prefix("r=").and_then(|rest| rest.split(',').next()).ok_or(Refused)?;
        let name = match user {
            Some(user) => user.to_owned(),
            None => name.replace("=2C", ",").replace("=3D", "="),
        };
        if client_nonce.is_empty() || name.is_empty() {
            return Err(Refused);
        }
        let verifier = verifier(&name);
        let nonce = format!("{client_nonce}{own_nonce}");
        let answer = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let said = format!("{bare},{answer}");
        Ok((Exchange { user: name, verifier, nonce, said }, answer))
    }

    /// Checks the client's proof; our own in return.
    pub fn finish(&self, last: &[u8]) -> Result<String, Refused> {
        let (without_proof, proof) = text(last)?.rsplit_once(",p=").ok_or(Refused)?;
        let proof: Key = BASE64.decode(proof).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Refused)?;
        // "biws" is the header of the first message; nothing binds the channel.
        let nonce = without_proof.strip_prefix("c=biws,r=").and_then(|rest| rest.split(',').next());
        if nonce != Some(self.nonce.as_str()) {
            return Err(Refused);
        }
        let signed = format!("{},{without_proof}", self.said);
        let signature = hmac(&self.verifier.stored_key, &[signed.as_bytes()]);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(key, mask)| *key ^= mask);
        let found: Key = Sha256::digest(client_key).into();
        // Every byte is looked at, so that the time taken says nothing.
        let differing = found.iter().zip(self.verifier.stored_key).fold(0, |all, (one, other)| all | (one ^ other));
        match differing {
            0 => Ok(format!("v={}", BASE64.encode(hmac(&self.verifier.server_key, &[signed.as_bytes()])))),
            _ => Err(Refused),
        }
    }
}

fn text(message: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(message).ok().filter(|text| text.len() <= MAX_MESSAGE).ok_or(Refused)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// PBKDF2 with one block, which is as long as the hash.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("a key of any length will do");
    let of = |parts: &[&[u8]]| -> Key {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut last = of(&[salt, &1u32.to_be_bytes()]);
    let mut salted = last;
    for _ in 1..iterations {
        last = of(&[&last]);
        salted.iter_mut().zip(last).for_each(|(all, one)| *all ^= one);
    }
    salted
}

#[cfg(test)]
pub(super) mod check {
    use super::*;

    /// RFC 7677, section 3: with the nonce of its server.
    pub fn example() -> (Exchange, String) {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", salt, 4096);
        Exchange::begin_with(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", None, |_| verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
            .expect("a good first message")
    }
}

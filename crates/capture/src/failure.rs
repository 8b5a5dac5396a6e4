//! Why capturing stopped, in one sentence, and whether trying again can help.

use mongodb::error::{Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Can heal: the network, an election, a missing privilege that somebody may still grant.
    #[error("{0}")]
    Passing(String),
    /// The events after our position are gone, or the deployment does not know the position.
    #[error("{0}")]
    HistoryLost(String),
    /// No failure: more is needed than the cursor shows, so another is opened in its place.
    #[error("more of the source is needed")]
    Wider,
    /// Nothing that happens by itself helps.
    #[error("{0}")]
    Final(String),
}

mod code {
    pub const UNAUTHORIZED: i32 = 13;
    pub const AUTHENTICATION_FAILED: i32 = 18;
    pub const INVALID_RESUME_TOKEN: i32 = 260;
    pub const CHANGE_STREAM_FATAL: i32 = 280;
    pub const CHANGE_STREAM_HISTORY_LOST: i32 = 286;
    pub const NOT_A_REPLICA_SET: i32 = 40573;
    pub const OBJECT_TOO_LARGE: i32 = 10334;
}

/// How to make a standalone server one with change streams.
pub const STANDALONE: &str = "the source is a standalone server, which has no change streams; start it with --replSet \
                              rs0 and run rs.initiate() once";

impl Failure {
    pub fn store(error: &store::Error) -> Self {
        Failure::Final(format!("the local store failed: {error}"))
    }

    /// A reply that does not look as the protocol says.
    pub fn reply(what: impl std::fmt::Display) -> Self {
        Failure::Passing(format!("the source sent a reply that cannot be read: {what}"))
    }

    /// `doing` completes "… while".
    pub fn driver(error: &Error, doing: &str) -> Self {
        match &*error.kind {
            ErrorKind::Command(command) => {
                let said = &command.message;
                match command.code {
                    code::CHANGE_STREAM_HISTORY_LOST => Failure::HistoryLost(format!(
                        "the source no longer has the events after the last captured one: {said}"
                    )),
                    code::INVALID_RESUME_TOKEN | code::CHANGE_STREAM_FATAL => Failure::HistoryLost(format!(
                        "the source does not know the position of the last captured event: {said}"
                    )),
                    code::NOT_A_REPLICA_SET => Failure::Passing(STANDALONE.to_owned()),
                    code::UNAUTHORIZED => Failure::Passing(format!(
                        "the user of --source may not do this while {doing}: {said}; it needs the actions \
                         \"changeStream\" and \"find\" on what is captured (the role \"read\" on the database, or \
                         \"readAnyDatabase\" for everything)"
                    )),
                    code::AUTHENTICATION_FAILED => {
                        Failure::Passing(format!("the source refuses the credentials of --source: {said}"))
                    }
                    code::OBJECT_TOO_LARGE => Failure::Final(format!(
                        "an event of the source is larger than 16 MB and its version cannot split it: {said}; servers \
                         from 7.0 on can"
                    )),
                    number => Failure::Passing(format!("the source failed while {doing}: {said} (code {number})")),
                }
            }
            ErrorKind::ServerSelection { message, .. } => {
                Failure::Passing(format!("no server of the source can be reached: {}", selection(message)))
            }
            ErrorKind::DnsResolve { message, .. } => {
                Failure::Passing(format!("the name in --source cannot be resolved: {message}"))
            }
            ErrorKind::Authentication { message, .. } => {
                Failure::Passing(format!("the source refuses the credentials of --source: {message}"))
            }
            ErrorKind::InvalidTlsConfig { message, .. } => {
                Failure::Final(format!("the TLS options of --source cannot be used: {message}"))
            }
            ErrorKind::Io(cause) => {
                Failure::Passing(format!("the connection to the source broke while {doing}: {cause}"))
            }
            ErrorKind::ConnectionPoolCleared { .. } => {
                Failure::Passing(format!("the connection to the source broke while {doing}"))
            }
            other => Failure::Passing(format!("the source failed while {doing}: {other}")),
        }
    }
}

/// The driver's account of every server, without the repetition of what it waited for.
fn selection(message: &str) -> &str {
    message.split_once("Topology: ").map_or(message, |(_, servers)| servers.trim())
}

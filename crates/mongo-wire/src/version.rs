//! The version that this server reports, and for tests of what follows older ones: what those lack.
//!
//! With test commands, `setParameter {reportedVersion: "4.4.29"}` makes the server call itself that, and
//! refuse in the older server's words what it did not have. It is the part that a reader of change streams
//! meets; the rest stays as it is.

use std::sync::atomic::{AtomicUsize, Ordering};

use document::{Raw, RawDoc};
use engine::{Error, Result};

use crate::command::Request;
use crate::command::generic::Level;

/// A server's version, and its number in drivers' counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub wire: i32,
    pub name: &'static str,
}

/// The newest is what this server is; drivers and tools branch on it.
const KNOWN: &[Version] = &[
    Version { wire: 25, name: "8.0.4" },
    Version { wire: 21, name: "7.0.16" },
    Version { wire: 17, name: "6.0.20" },
    Version { wire: 13, name: "5.0.31" },
    Version { wire: 9, name: "4.4.29" },
];

const SNAPSHOT_READS: i32 = 13;
const IMAGES: i32 = 17;
const SPLIT_EVENTS: i32 = 21;

/// Which of the known versions is reported.
#[derive(Debug, Default)]
pub struct Reported(AtomicUsize);

impl Reported {
    pub fn get(&self) -> Version {
        KNOWN[self.0.load(Ordering::Relaxed)]
    }

    /// # Errors
    /// 2 for a version that is not known.
    pub fn set(&self, name: &str) -> Result<()> {
        let at = KNOWN.iter().position(|known| known.name.starts_with(name) && !name.is_empty());
        let at = at.ok_or_else(|| Error::new(2, format!("no version {name} can be reported")))?;
        self.0.store(at, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses what the reported version does not have.
    ///
    /// # Errors
    /// As that version's.
    pub fn check(&self, request: &Request) -> Result<()> {
        let wire = self.get().wire;
        let concern = request.generic.read_concern.level;
        if wire < SNAPSHOT_READS && concern == Some(Level::Snapshot) && !request.generic.txn.in_transaction() {
            return Err(Error::new(72, "readConcern level snapshot is only valid in a transaction"));
        }
        if wire >= SPLIT_EVENTS || request.name != "aggregate" {
            return Ok(());
        }
        let stages = request.body.get("pipeline").and_then(Raw::as_array).unwrap_or(RawDoc::EMPTY);
        for stage in stages.values().filter_map(Raw::as_document) {
            if stage.contains("$changeStreamSplitLargeEvent") {
                let message = "Unrecognized pipeline stage name: '$changeStreamSplitLargeEvent'";
                return Err(Error::new(40324, message));
            }
            if let Some(Raw::Document(options)) = stage.get("$changeStream").filter(|_| wire < IMAGES) {
                check_stream(options)?;
            }
        }
        Ok(())
    }
}

fn check_stream(options: RawDoc<'_>) -> Result<()> {
    for name in ["showExpandedEvents", "fullDocumentBeforeChange"] {
        if options.contains(name) {
            return Err(Error::new(40415, format!("BSON field '$changeStream.{name}' is an unknown field.")));
        }
    }
    match options.get("fullDocument").and_then(Raw::as_str) {
        None | Some("default" | "updateLookup") => Ok(()),
        Some(other) => Err(Error::new(40575, format!("unrecognized value for the 'fullDocument' option: \"{other}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_reported_until_another_is_set() {
        let reported = Reported::default();
        assert_eq!(reported.get(), *KNOWN.iter().max().unwrap());
        reported.set("4.4").unwrap();
        assert_eq!(reported.get().wire, 9);
        assert!(reported.set("3.6").is_err() && reported.set("").is_err());
        assert_eq!(reported.get().name, "4.4.29");
    }
}

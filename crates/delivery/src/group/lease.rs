//! Leases: who delivers a sink now.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Uuid};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Group, GroupError, SINKS, whole};
use crate::runner::Lease;

/// A lease that this process was given. It counts as held a little shorter than the deployment says.
pub struct HeldLease {
    pub db: String,
    pub name: String,
    pub uid: Uuid,
    fence: u64,
    until: Mutex<Until>,
    clock: Arc<dyn Clock>,
}

/// By two clocks: one may stand still while the machine sleeps, the other may be set.
#[derive(Clone, Copy, Debug)]
struct Until {
    monotonic: Instant,
    wall_ms: i64,
}

impl HeldLease {
    /// The lease is over for us, whoever has it.
    pub fn give_up(&self) {
        self.until.lock().wall_ms = i64::MIN;
    }
}

impl Lease for HeldLease {
    fn fence(&self) -> u64 {
        self.fence
    }

    fn is_held(&self) -> bool {
        let until = *self.until.lock();
        Instant::now() < until.monotonic && self.clock.now_ms() < until.wall_ms
    }
}

/// Nine tenths: the rest is for clocks that run at different speeds.
fn until(asked: Instant, asked_ms: i64, lease: Duration) -> Until {
    let sure = lease * 9 / 10;
    Until { monotonic: asked + sure, wall_ms: asked_ms.saturating_add(sure.as_millis() as i64) }
}

impl Group {
    /// The lease of a sink, if nobody holds it.
    pub async fn acquire(
        &self,
        (db, name, uid): (&str, &str, Uuid),
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<HeldLease>, GroupError> {
        let (asked, asked_ms) = (Instant::now(), clock.now_ms());
        let filter = doc! {
            "_id": self.id(db, name),
            "uid": uid.to_string(),
            "$expr": { "$lt": ["$expires", "$$NOW"] },
        };
        let held = doc! {
            "holder": { "$literal": &self.holder },
            "fence": { "$add": ["$fence", 1_i64] },
            "expires": self.expires(),
        };
        let update = vec![doc! { "$set": held }];
        let sinks = self.collection(SINKS).await?;
        let given = sinks.find_one_and_update(filter, update).return_document(ReturnDocument::After).await?;
        Ok(given.map(|document| HeldLease {
            db: db.to_owned(),
            name: name.to_owned(),
            uid,
            fence: whole(&document, "fence"),
            until: Mutex::new(until(asked, asked_ms, self.lease)),
            clock: Arc::clone(clock),
        }))
    }

    fn expires(&self) -> Document {
        let lease_ms = Bson::Int64(self.lease.as_millis() as i64);
        doc! { "$add": ["$$NOW", lease_ms] }
    }

    fn own(&self, lease: &HeldLease) -> Document {
        doc! {
            "_id": self.id(&lease.db, &lease.name),
            "uid": lease.uid.to_string(),
            "holder": &self.holder,
            "fence": lease.fence as i64,
        }
    }

    /// Holds on to a lease; false if it is another's now.
    pub async fn renew(&self, lease: &HeldLease) -> Result<bool, GroupError> {
        let (asked, asked_ms) = (Instant::now(), lease.clock.now_ms());
        let update = vec![doc! { "$set": { "expires": self.expires() } }];
        let renewed = self.collection(SINKS).await?.update_one(self.own(lease), update).await?;
        let mut held = lease.until.lock();
        if renewed.matched_count == 0 {
            held.wall_ms = i64::MIN;
        } else if held.wall_ms > i64::MIN {
            *held = until(asked, asked_ms, self.lease);
        }
        Ok(renewed.matched_count > 0)
    }

    /// Hands a lease back, so that nobody has to wait for its end.
    pub async fn release(&self, lease: &HeldLease) -> Result<(), GroupError> {
        lease.give_up();
        let update = doc! { "$set": { "holder": "", "expires": DateTime::from_millis(0) } };
        self.collection(SINKS).await?.update_one(self.own(lease), update).await?;
        Ok(())
    }
}

//! What every layer needs and no layer owns: clocks, identifiers, seeded randomness, rates, limits.
//!
//! Knows nothing of databases. Time and randomness enter the program through this door only, so
//! that a seed can replay a whole run.
//!
//! Read next: `time.rs`, `random.rs`, `id.rs`, `limits.rs`.

pub mod id;
pub mod limits;
pub mod random;
pub mod rate;
pub mod time;

pub use id::Uuid;
pub use random::Random;
pub use rate::Rate;
pub use time::{Clock, ClusterTime, ManualClock, SystemClock};

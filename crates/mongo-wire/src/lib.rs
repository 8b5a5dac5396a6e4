//! mongo-wire

//! The difference of two documents as an update description.

//! Update operators and what they did.

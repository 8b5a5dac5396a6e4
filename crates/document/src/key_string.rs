//! Order-preserving byte encoding of BSON values: index keys and resume tokens.

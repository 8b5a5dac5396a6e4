//! Field paths: dotted names through documents and arrays.

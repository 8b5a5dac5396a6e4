//! Reading the change log, and which part of it is still there.

mod bounds;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use bounds::LogBounds;
pub use reader::LogReader;

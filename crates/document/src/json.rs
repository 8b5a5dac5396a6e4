//! JSON text: MongoDB Extended JSON (canonical and relaxed) and the plain form SQL clients see.

//! BSON from a client: what passes validation can be walked, owned, written and compared.
#![no_main]

use bytes::Bytes;
use document::{DocBuf, Raw, RawDoc};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(doc) = DocBuf::validate(Bytes::copy_from_slice(bytes)) else { return };
    walk(doc.as_doc());
    let owned = doc.to_doc();
    assert_eq!(owned.to_buf().bytes(), doc.bytes(), "an owned document writes the bytes it was read from");
    let whole = Raw::Document(doc.as_doc());
    assert!(document::compare_raw(whole, whole).is_eq(), "a document equals itself");
});

/// Validation bounds the nesting, so recursion is bounded here too.
fn walk(doc: RawDoc<'_>) {
    for (name, value) in doc.iter() {
        assert!(name.len() <= doc.as_bytes().len(), "a name stands inside its document");
        match value {
            Raw::Document(inner) | Raw::Array(inner) => walk(inner),
            _ => {}
        }
    }
}

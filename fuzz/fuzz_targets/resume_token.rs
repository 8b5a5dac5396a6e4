//! Resume tokens that a client sends back: the key's bytes, and the whole token document.
#![no_main]

use bytes::Bytes;
use changes::ResumeToken;
use document::DocBuf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(doc) = DocBuf::validate(Bytes::copy_from_slice(bytes)) {
        let _ = ResumeToken::parse(doc.as_doc());
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    if let Ok(token) = ResumeToken::parse_data(&hex, Vec::new()) {
        let again = ResumeToken::parse_data(&token.data(), Vec::new()).expect("what a token prints is a token");
        assert_eq!(again.data(), token.data(), "reading and printing again changes nothing");
        assert_eq!(again.cluster_time(), token.cluster_time(), "nor does it move the token");
    }
});

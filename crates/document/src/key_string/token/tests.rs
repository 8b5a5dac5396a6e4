//! Tests of the resume-token encoding.

use proptest::prelude::*;

use super::*;
use crate::json::parse_extended_json;
use crate::key_string::tests::{any_number, any_value};
use crate::value::{Doc, Value};

/// The values of `json`'s fields encode to `hex` (with `bits` beside it) and come back.
fn check(json: &str, hex: &str, bits: &str) {
    let doc = parse_extended_json(json).unwrap();
    let buf = doc.to_buf();
    let encoded = KeyString::encode(buf.as_doc().values());
    assert_eq!((encoded.to_hex().as_str(), crate::json::hex(&encoded.type_bits).as_str()), (hex, bits), "{json}");
    let back = decode(&encoded.bytes, &encoded.type_bits).unwrap();
    assert_eq!(back, doc.iter().map(|(_, v)| v.clone()).collect::<Vec<_>>(), "{json}");
}

#[test]
fn tokens_look_like_a_servers() {
    let high_water_mark = r#"{"ts": {"$timestamp": {"t": 1795464333, "i": 23}}, "version": 2, "type": 0, "index": 0, "inv": false, "uuid": null}"#;
    check(high_water_mark, "826B049C8D000000172B0429296E1404", "");
    let event = r#"{"ts": {"$timestamp": {"t": 1795464333, "i": 23}}, "v": 2, "type": 128, "index": 0, "inv": false,
        "uuid": {"$uuid": "03eca3b3-0aef-4e15-9da9-92a6b1cd7b44"},
        "event": {"operationType": "insert", "documentKey": {"_id": {"$oid": "c0ffee0000000000000000a1"}}}}"#;
    check(
        event,
        "826B049C8D000000172B042C0100296E5A100403ECA3B30AEF4E159DA992A6B1CD7B44463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064C0FFEE0000000000000000A1000004",
        "",
    );
    // The golden transcripts hold this one, of token version 1.
    let golden = r#"{"ts": {"$timestamp": {"t": 1795464333, "i": 23}}, "v": 1, "type": 128, "index": 0, "inv": false,
        "uuid": {"$uuid": "03eca3b3-0aef-4e15-9da9-92a6b1cd7b44"}, "key": {"_id": 1}}"#;
    check(golden, "826B049C8D000000172B022C0100296E5A100403ECA3B30AEF4E159DA992A6B1CD7B44461E5F6964002B020004", "");
}

#[test]
fn numbers_keep_their_types() {
    check(r#"{"a": 3}"#, "2B0604", "");
    check(r#"{"a": -3}"#, "27F904", "");
    check(r#"{"a": {"$numberLong": "3"}}"#, "2B0604", "01");
    check(r#"{"a": {"$numberDouble": "3.0"}}"#, "2B0604", "02");
    check(r#"{"a": {"$numberDouble": "1.5"}}"#, "2B038000000000000004", "02");
    check(r#"{"a": {"$numberDouble": "-1.5"}}"#, "27FC7FFFFFFFFFFFFF04", "02");
    check(r#"{"a": {"$numberDouble": "0.5"}}"#, "2AFF8000000000000004", "02");
    check(r#"{"a": {"$numberDouble": "-0.0"}}"#, "2904", "03");
    check(r#"{"a": {"$numberLong": "-9223372036854775808"}}"#, "1FF83FFFFFFFFFFFFF04", "01");
    // One bit for the string before the double's two.
    check(r#"{"s": "x", "a": {"$numberDouble": "2.0"}}"#, "3C78002B0404", "04");
    check(r#"{"a": {"$numberDecimal": "0.1"}}"#, "2AFEE666666666666604", "81fb");
}

#[test]
fn refuses_what_a_server_refuses() {
    let code = |data: &str| from_hex(data).and_then(|bytes| decode(&bytes, &[])).map(|_| 0).unwrap_or_else(|e| e.code);
    assert_eq!(code(""), 40649);
    assert_eq!(code("zz"), 9);
    assert_eq!(code("826"), 9);
    assert_eq!(code("82"), 15);
    assert_eq!(code("826B049C8D000000172B022C01"), 15);
    assert_eq!(code("DEADBEEF"), 50811);
    assert_eq!(code("2b02"), 0);
    assert_eq!(code("2B0204FFFF"), 0);
    assert_eq!(code("2B03"), 15);
    assert_eq!(code("2B0380000000000000"), 50810);
    assert_eq!(code(&"50".repeat(1000)), 50810);
    assert_eq!(code(&"461E6100".repeat(1000)), 50810);
}

fn holds_nan(value: &Value) -> bool {
    format!("{value:?}").contains("NaN")
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(values in prop::collection::vec(any_value(), 0..5)) {
        prop_assume!(!values.iter().any(holds_nan));
        let doc: Doc = values.iter().map(|v| (String::new(), v.clone())).collect();
        let buf = doc.to_buf();
        let encoded = KeyString::encode(buf.as_doc().values());
        prop_assert_eq!(decode(&encoded.bytes, &encoded.type_bits).unwrap(), values);
    }

    #[test]
    fn numbers_sort_and_come_back(a in any_number(), b in any_number()) {
        let [x, y] = [&a, &b].map(|v| KeyString::encode([v.as_scalar()]));
        prop_assert_eq!(x.bytes.cmp(&y.bytes), crate::compare_values(&a, &b), "{:02x?} {:02x?}", &x.bytes, &y.bytes);
        if !holds_nan(&a) {
            prop_assert_eq!(decode(&x.bytes, &x.type_bits).unwrap(), vec![a]);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), bits in prop::collection::vec(any::<u8>(), 0..6)) {
        if let Ok(values) = decode(&bytes, &bits) {
            prop_assert!(values.len() <= bytes.len());
        }
    }

    #[test]
    fn no_damage_makes_it_panic(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let doc = Doc::new().with("", value).to_buf();
        let mut encoded = KeyString::encode(doc.as_doc().values());
        let at = at.index(encoded.bytes.len());
        encoded.bytes[at] = byte;
        if let Ok(values) = decode(&encoded.bytes, &encoded.type_bits) {
            prop_assert!(values.len() <= encoded.bytes.len());
        }
    }
}

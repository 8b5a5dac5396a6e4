//! Tests of `token`.

use base::Random;
use document::DocBuf;

use super::*;
use crate::testing::{doc, uuid_of};

fn parts(identifier: &DocBuf) -> TokenParts<'_> {
    TokenParts {
        cluster_time: ClusterTime::new(0x6660_5044, 7),
        txn_op_index: 0,
        from_invalidate: false,
        uuid: Some(Uuid([0xab; 16])),
        identifier: identifier.as_doc(),
        fragment: None,
    }
}

const UUID_HEX: &str = "5A1004ABABABABABABABABABABABABABABABAB";

#[test]
fn tokens_have_the_servers_bytes() {
    let insert = doc(r#"{"operationType": "insert", "documentKey": {"_id": {"$oid": "666050440102030405060708"}}}"#);
    let drop = doc(r#"{"operationType": "drop"}"#);
    let insert_hex = "463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064\
                      666050440102030405060708000004";
    let drop_hex = "463C6F7065726174696F6E54797065003C64726F70000004";
    let check = |parts: TokenParts<'_>, expected: String| assert_eq!(ResumeToken::event(&parts).data(), expected);
    check(parts(&insert), format!("8266605044000000072B042C0100296E{UUID_HEX}{insert_hex}"));
    let mut in_txn = parts(&insert);
    in_txn.txn_op_index = 3;
    check(in_txn, format!("8266605044000000072B042C01002B066E{UUID_HEX}{insert_hex}"));
    let mut invalidate = parts(&drop);
    invalidate.from_invalidate = true;
    check(invalidate, format!("8266605044000000072B042C0100296F{UUID_HEX}{drop_hex}"));
    let mut whole_db = parts(&drop);
    whole_db.uuid = None;
    check(whole_db, format!("8266605044000000072B042C0100296E14{drop_hex}"));
    let mark = ResumeToken::high_water_mark(ClusterTime::new(0x6660_5044, 7));
    assert_eq!(mark.data(), "8266605044000000072B0429296E1404");
}

#[test]
fn what_is_written_is_read_back() {
    let mut random = Random::seeded(11);
    for _ in 0..500 {
        let identifier = doc(&format!(
            r#"{{"operationType": "insert", "documentKey": {{"_id": {{"a": [{}, "x"], "b": null}}}}}}"#,
            random.below(1 << 40) as i64 - (1 << 39)
        ));
        let parts = TokenParts {
            cluster_time: ClusterTime(random.next_u64()),
            txn_op_index: random.below(70_000) as u32,
            from_invalidate: random.below(2) == 0,
            uuid: (random.below(3) > 0).then(|| uuid_of("shop.orders")),
            identifier: identifier.as_doc(),
            fragment: (random.below(2) == 0).then(|| random.below(9) as u32),
        };
        let token = ResumeToken::event(&parts);
        let read = ResumeToken::parse(token.to_document().as_doc()).expect("own tokens parse");
        assert_eq!(read, token);
        assert_eq!(read.facts().txn_op_index, parts.txn_op_index);
        assert_eq!(read.facts().fragment, parts.fragment);
        assert_eq!(read.without_fragment().facts().fragment, None);
        if let Some(fragment) = parts.fragment {
            assert_eq!(read.without_fragment().with_fragment(fragment), token);
        }
    }
}

#[test]
fn number_keys_survive_with_their_types() {
    for id in [
        r#"{"$numberLong": "2"}"#,
        r#"{"$numberDouble": "3.0"}"#,
        r#"{"$numberDouble": "-8.25"}"#,
        r#"{"$numberDouble": "1e300"}"#,
        r#"{"$numberDecimal": "6.50"}"#,
        r#"{"$numberDecimal": "1E-6000"}"#,
        r#"{"$numberDecimal": "12345678901234567890.5"}"#,
        r#"{"$numberLong": "1152921504606846976"}"#,
        "0.1",
        "-7",
        "0",
    ] {
        let identifier = doc(&format!(r#"{{"operationType": "insert", "documentKey": {{"_id": {id}}}}}"#));
        let token = ResumeToken::event(&parts(&identifier)).with_fragment(4);
        let read = ResumeToken::parse(token.to_document().as_doc()).expect(id);
        assert_eq!(read, token, "{id}");
    }
}

#[test]
fn stream_order_is_string_order() {
    let identifier = doc(r#"{"operationType": "insert", "documentKey": {"_id": 1}}"#);
    let event = ResumeToken::event(&parts(&identifier));
    let mark = |time: ClusterTime| ResumeToken::high_water_mark(time);
    let mut second_op = parts(&identifier);
    second_op.txn_op_index = 1;
    let mut invalidate = parts(&identifier);
    invalidate.from_invalidate = true;
    let ordered = [
        mark(event.cluster_time()),
        event.clone(),
        event.with_fragment(0),
        event.with_fragment(1),
        ResumeToken::event(&invalidate),
        ResumeToken::event(&second_op),
        mark(event.cluster_time().next()),
    ];
    for pair in ordered.windows(2) {
        assert!(pair[0] < pair[1], "{:?}", pair);
        assert!(pair[0].data() < pair[1].data(), "{:?}", pair);
    }
}

#[test]
fn malformed_tokens_have_the_servers_codes() {
    let check = |token: &str, code: i32| {
        let error = ResumeToken::parse(doc(token).as_doc()).expect_err(token);
        assert_eq!(error.code, code, "{token}: {error}");
    };
    check(r#"{}"#, 40647);
    check(r#"{"x": 1}"#, 40647);
    check(r#"{"_data": 5}"#, 40647);
    check(r#"{"_data": null}"#, 40647);
    check(r#"{"_data": ""}"#, 40649);
    check(r#"{"_data": "zz"}"#, 9);
    check(r#"{"_data": "820"}"#, 9);
    check(r#"{"_data": "é0"}"#, 9);
    check(r#"{"_data": "deadbeef"}"#, 50811);
    // Cut in the middle of a value.
    check(r#"{"_data": "826B049C8D0000000B2B"}"#, 15);
    check(r#"{"_data": "82666050440000000704"}"#, 50796);
    check(r#"{"_data": "8266605044000000073C610004"}"#, 50854);
    check(r#"{"_data": "8266605044000000072B0A04"}"#, 50795);
    check(r#"{"_data": "8266605044000000072B0404"}"#, 51055);
    check(r#"{"_data": "8266605044000000072B042B0204"}"#, 51057);
    check(r#"{"_data": "8266605044000000072B042904"}"#, 50793);
    check(r#"{"_data": "8266605044000000072B04296E04"}"#, 50855);
    check(r#"{"_data": "8266605044000000072B04292904"}"#, 50872);
    check(r#"{"_data": "8266605044000000072B0429292904"}"#, 50870);
    // A null UUID belongs to version 2.
    check(r#"{"_data": "8266605044000000072B0229296E1404"}"#, 207);
    check(r#"{"_data": "8266605044000000072B0429296E14", "_typeBits": 5}"#, 40648);
}

#[test]
fn tokens_are_read_leniently() {
    let identifier = doc(r#"{"operationType": "insert", "documentKey": {"_id": 1}}"#);
    let token = ResumeToken::event(&parts(&identifier));
    let data = token.data();
    let without_end = &data[..data.len() - 2];
    for variant in [format!("{data}0404"), without_end.to_owned(), data.to_lowercase()] {
        let read =
            ResumeToken::parse(doc(&format!(r#"{{"foo": 1, "_data": "{variant}"}}"#)).as_doc()).expect("lenient");
        assert_eq!(read, token);
    }
    // A high-water mark as version 1 wrote it.
    let old = ResumeToken::parse_data("8266605044000000072B0229296E04", Vec::new()).expect("version 1");
    assert!(old.facts().is_high_water_mark);
    // An event token of version 1.
    let old = "826B049C8D000000172B022C0100296E5A100403ECA3B30AEF4E159DA992A6B1CD7B44461E5F6964002B020004";
    let old = ResumeToken::parse_data(old, Vec::new()).expect("version 1");
    assert_eq!(old.facts().cluster_time, ClusterTime::new(0x6B04_9C8D, 0x17));
    assert!(old.facts().uuid.is_some());
}

#[test]
fn foreign_bytes_never_panic() {
    let mut random = Random::seeded(5);
    let identifier = doc(r#"{"operationType": "insert", "documentKey": {"_id": {"a": [1.5, "x"]}}}"#);
    let bytes = unhex(&ResumeToken::event(&parts(&identifier)).data()).expect("own hex");
    for _ in 0..5000 {
        let mut bytes = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next_u64() as u8;
        }
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = ResumeToken::parse_data(&hex, Vec::new());
    }
    let deep = format!("8266605044000000072B042C0100296E14{}", "465000".repeat(5000));
    assert!(ResumeToken::parse_data(&deep, Vec::new()).is_err());
    let arrays = format!("8266605044000000072B042C0100296E14{}", "50".repeat(5000));
    assert_eq!(ResumeToken::parse_data(&arrays, Vec::new()).expect_err("too deep").code, 15);
}

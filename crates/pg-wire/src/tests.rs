//! The decoders take anything; the encoders give PostgreSQL's bytes.

use bytes::{Bytes, BytesMut};
use sql::numeric::Numeric;
use sql::{Datum, EvalContext, Type};

use crate::encode;
use crate::message::{Frontend, decode, decode_startup};

#[test]
fn random_bytes_never_panic() {
    let mut random = base::Random::seeded(7);
    for _ in 0..20_000 {
        let length = random.below(64) as usize;
        let body: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        let _ = decode_startup(&body);
        let kind = b"QPBDECSHXdcfp?"[random.below(14) as usize];
        let _ = decode(kind, Bytes::from(body.clone()));
        for ty in [Type::Numeric(None), Type::Json, Type::array_of(Type::Int4), Type::Interval, Type::Uuid] {
            let _ = encode::parameter(&Bytes::from(body.clone()), &ty, true, &EvalContext::at(0));
        }
    }
}

#[test]
fn a_query_is_its_text() {
    assert_eq!(decode(b'Q', Bytes::from_static(b"SELECT 1\0")), Ok(Frontend::Query("SELECT 1".into())));
    assert!(decode(b'Q', Bytes::from_static(b"SELECT 1")).is_err());
    assert!(decode(b'Q', Bytes::from_static(b"a\0b")).is_err());
}

#[test]
fn numerics_survive_their_binary_form() {
    for text in [
        "0",
        "1",
        "-1",
        "10000",
        "12345.6789",
        "0.0001",
        "0.00001234",
        "-99999999.00",
        "123456789012345678901234567890.5",
    ] {
        let numeric = Numeric::parse(text).expect("a number").expect("in range");
        let mut out = BytesMut::new();
        encode::value(&Datum::Numeric(numeric), &Type::Numeric(None), true, "UTC", &mut out).expect("encodes");
        let bytes = out.freeze().slice(4..);
        let back = encode::parameter(&bytes, &Type::Numeric(None), true, &EvalContext::at(0)).expect("decodes");
        let Datum::Numeric(back) = back else { panic!("a numeric") };
        assert_eq!(back.to_string(), text);
    }
}

#[test]
fn a_numeric_has_postgresql_s_bytes() {
    let mut out = BytesMut::new();
    let numeric = Numeric::parse("12345.678").expect("a number").expect("in range");
    encode::value(&Datum::Numeric(numeric), &Type::Numeric(None), true, "UTC", &mut out).expect("encodes");
    // numeric_send: 3 digits, weight 1, positive, scale 3; 1, 2345, 6780.
    assert_eq!(&out[..], [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
}

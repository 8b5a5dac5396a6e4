//! The codec against hand-made messages, damaged messages and noise.

use base::Random;
use bytes::Bytes;
use document::Doc;
use proptest::prelude::*;

use super::*;

fn message(opcode: i32, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    for field in [(HEADER_LEN + payload.len()) as i32, 7, 0, opcode] {
        out.extend(field.to_le_bytes());
    }
    out.extend_from_slice(payload);
    Bytes::from(out)
}

fn decode_whole(whole: Bytes) -> Result<Incoming> {
    let header = decode_header(whole.first_chunk::<HEADER_LEN>().expect("the test made a header"))?;
    decode(header, whole)
}

fn msg(flags: u32, sections: &[&[u8]]) -> Bytes {
    let mut payload = flags.to_le_bytes().to_vec();
    for section in sections {
        payload.extend_from_slice(section);
    }
    message(OP_MSG, &payload)
}

fn body(doc: &Doc) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(doc.to_buf().bytes());
    out
}

fn sequence(name: &str, docs: &[Doc]) -> Vec<u8> {
    let mut inner = name.as_bytes().to_vec();
    inner.push(0);
    for doc in docs {
        inner.extend_from_slice(doc.to_buf().bytes());
    }
    let mut out = vec![1];
    out.extend((inner.len() as i32 + 4).to_le_bytes());
    out.extend(inner);
    out
}

fn ping() -> Doc {
    Doc::new().with("ping", 1).with("$db", "admin")
}

#[test]
fn a_body_and_a_sequence() {
    let docs = [Doc::new().with("_id", 1), Doc::new().with("_id", 2)];
    let whole = msg(FLAG_EXHAUST_ALLOWED | 1 << 17, &[&body(&ping()), &sequence("documents", &docs)]);
    let Ok(Incoming::Command(command)) = decode_whole(whole) else { panic!("a sound message decodes") };
    assert!(command.exhaust_allowed && !command.more_to_come);
    assert_eq!(command.body.to_doc(), ping());
    assert_eq!(command.sequences[0].name, "documents");
    assert_eq!(command.sequences[0].documents[1].to_doc(), docs[1]);
}

#[test]
fn what_cannot_be_answered_closes_and_the_rest_is_answered() {
    let code = |whole: Bytes| match decode_whole(whole) {
        Err(DecodeError::Close(_)) => -1,
        Err(DecodeError::Answer { code, .. }) => code,
        Ok(_) => 0,
    };
    let ping = body(&ping());
    let twice = sequence("documents", &[]);
    assert_eq!(code(msg(1 << 5, &[&ping])), -1);
    assert_eq!(code(message(9999, b"xxxx")), -1);
    assert_eq!(code(msg(0, &[&[7], &ping])), 40432);
    assert_eq!(code(msg(0, &[&ping, &ping])), 40430);
    assert_eq!(code(msg(0, &[&ping, &twice, &twice])), 40431);
    assert_eq!(code(msg(0, &[&ping, &sequence("ping", &[])])), 40433);
    assert_eq!(code(msg(0, &[&twice])), 40587);
    assert_eq!(code(msg(0, &[&ping[..ping.len() - 1]])), 22);
}

#[test]
fn a_checksum_is_verified() {
    let mut whole = msg(FLAG_CHECKSUM, &[&body(&ping()), &[0; 4]]).to_vec();
    let at = whole.len() - 4;
    let sum = crc32c::crc32c(&whole[..at]);
    whole[at..].copy_from_slice(&sum.to_le_bytes());
    assert!(decode_whole(Bytes::from(whole.clone())).is_ok());
    whole[at] ^= 1;
    assert!(matches!(decode_whole(Bytes::from(whole)), Err(DecodeError::Answer { code: 40439, .. })));
}

#[test]
fn a_compressed_reply_reads_back_as_its_message() {
    let frame = ReplyFrame { request_id: 3, response_to: 7, more_to_come: false, compress: true };
    let whole = Bytes::from(encode_msg(frame, &ping().to_buf()));
    let Ok(Incoming::Command(command)) = decode_whole(whole) else { panic!("a sound message decodes") };
    assert!(command.compressed);
    assert_eq!(command.body.to_doc(), ping());
}

#[test]
fn a_compressed_message_that_lies_about_its_size_is_refused() {
    let frame = ReplyFrame { compress: true, ..ReplyFrame::default() };
    let mut whole = encode_msg(frame, &ping().to_buf());
    whole[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&1_000_000i32.to_le_bytes());
    assert!(matches!(decode_whole(Bytes::from(whole)), Err(DecodeError::Close(_))));
}

proptest! {
    #[test]
    fn noise_never_panics(flags in any::<u32>(), noise in proptest::collection::vec(any::<u8>(), 0..300), opcode in 0usize..4) {
        let opcode = [OP_MSG, OP_QUERY, OP_COMPRESSED, OP_REPLY][opcode];
        let mut payload = flags.to_le_bytes().to_vec();
        payload.extend(noise);
        let _ = decode_whole(message(opcode, &payload));
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let whole =
        msg(0, &[&body(&ping().with("a", vec![1.into(), "x".into()])), &sequence("documents", &[ping(), ping()])]);
    let mut random = Random::seeded(1);
    for _ in 0..20_000 {
        let mut damaged = whole.to_vec();
        for _ in 0..=random.below(3) {
            let at = HEADER_LEN + random.below((damaged.len() - HEADER_LEN) as u64) as usize;
            damaged[at] = random.next_u64() as u8;
        }
        let _ = decode_whole(Bytes::from(damaged));
    }
}

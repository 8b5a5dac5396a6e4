//! The file, and the exchange of RFC 7677.

use super::scram::{Exchange, Refused, check};
use super::*;

#[test]
fn the_exchange_of_the_specification() {
    let (exchange, answer) = check::example();
    assert_eq!(exchange.user, "user");
    assert_eq!(answer, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let last =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(exchange.finish(last.as_bytes()), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned()));
    for wrong in [
        last.replace("dHzb", "dHzc"),
        last.replace("k0,p", "k1,p"),
        last.replace("biws", "eSws"),
        last.replace(",p=", ",q="),
        String::new(),
    ] {
        assert_eq!(exchange.finish(wrong.as_bytes()), Err(Refused), "{wrong}");
    }
}

#[test]
fn first_messages_that_are_none() {
    let users = Users::parse("a root b").unwrap();
    for wrong in ["", "n,,", "n,,n=a", "n,,n=,r=x", "n,,n=a,r=", "y,,n=a,r=x", "p=tls,,n=a,r=x"] {
        assert!(Exchange::begin(wrong.as_bytes(), None, |name| users.verifier(name)).is_err(), "{wrong}");
    }
    let (exchange, _) = Exchange::begin(b"n,,n=a=2Cb=3D,r=x", None, |name| users.verifier(name)).unwrap();
    assert_eq!(exchange.user, "a,b=");
    assert!(Exchange::begin(&[0xff; 10], None, |name| users.verifier(name)).is_err());
    assert!(Exchange::begin(&[b'a'; 5000], None, |name| users.verifier(name)).is_err());
}

#[test]
fn nobody_looks_like_somebody() {
    let users = Users::parse("a root b").unwrap();
    let salt = |name: &str| {
        let first = format!("n,,n={name},r=x");
        let (_, answer) = Exchange::begin(first.as_bytes(), None, |name| users.verifier(name)).unwrap();
        answer.split_once(",s=").unwrap().1.to_owned()
    };
    assert_eq!(salt("b"), salt("b"), "the same each time, as that of a user");
    assert_ne!(salt("b"), salt("c"));
    assert_eq!(salt("a").len(), salt("b").len());
}

#[test]
fn a_file_of_users_says_what_is_wrong_with_it() {
    let verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let users = Users::parse(&format!("# who\n\n app readWrite {verifier}\nroot root x\n")).unwrap();
    assert_eq!(users.find("app").unwrap().role, Role::ReadWrite);
    assert_eq!(users.find("app").unwrap().verifier, check_verifier());
    for (text, like) in [
        ("", "no user"),
        ("a read", "line 1: it is not"),
        ("# x\na admin b", "line 2: the role"),
        ("a read b\na root c", "line 2: user \"a\""),
        ("a read SCRAM-SHA-256$1:a$b:c", "verifier"),
        (
            "a read SCRAM-SHA-256$1:YQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "iterations",
        ),
        ("a read pässword", "ASCII"),
    ] {
        let error = Users::parse(text).expect_err(text);
        assert!(error.contains(like), "{error}");
    }
}

/// The password of RFC 7677's example, as PostgreSQL stores it.
fn check_verifier() -> Verifier {
    use base64::Engine as _;
    let salt = base64::engine::general_purpose::STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Verifier::derive("pencil", salt, 4096)
}

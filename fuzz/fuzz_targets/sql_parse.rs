//! SQL text: statements or an error, never a panic or an overflowing stack; ranges lie in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(statements) = sql::parser::parse(text) else { return };
    let mut end = 0;
    for statement in statements {
        assert!(statement.range.start >= end, "statements stand in order");
        end = statement.range.end;
        assert!(text.get(statement.range).is_some(), "a statement is a piece of its text");
    }
});

//! Tests of the script parser.

use super::parse;

#[test]
fn a_script_survives_a_rewrite() {
    let text = "# why\n\none\ntwo\n---\nout\n\n# more\nthree\n---\n\nfour\n---\nlast\n";
    let rewritten: String =
        parse(text).iter().map(|b| format!("{}{}---\n{}", b.head, b.commands, b.expected)).collect();
    assert_eq!(rewritten, text);
}

#[test]
fn blocks_have_their_commands_and_outputs() {
    let blocks = parse("a\n---\n1\n2\n\nb\n---\n");
    assert_eq!(blocks.len(), 2);
    assert_eq!((blocks[0].commands.as_str(), blocks[0].expected.as_str()), ("a\n", "1\n2\n"));
    assert_eq!((blocks[1].commands.as_str(), blocks[1].expected.as_str()), ("b\n", ""));
}

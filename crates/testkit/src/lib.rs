//! What tests share: the golden-script runner.
//!
//! A script is a text file: comment lines (`#`) that say why it exists, then blocks of commands,
//! each followed by `---` and the output that the commands gave. `BLESS=1 cargo test` rewrites the
//! outputs; the diff is the review.
//!
//! ```text
//! # A group that empties must disappear, not stay behind as a zero.
//! insert t (1, 'new')
//! delete t (1, 'new')
//! ---
//! +("new", 1)
//! -("new", 1)
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One block: what to do, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// Comments and blank lines before it, verbatim.
    head: String,
    commands: String,
    expected: String,
}

/// Runs every script below `folder` whose name ends in `.golden`. `open` starts a fresh subject for
/// a script; it is called with each block's commands and returns their output.
///
/// # Panics
/// If an output differs, with a message that shows the script, the commands and both outputs; or if
/// the folder has no script.
pub fn run_scripts<F: FnMut(&str) -> String>(folder: impl AsRef<Path>, mut open: impl FnMut() -> F) {
    let folder = folder.as_ref();
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "golden"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {}", folder.display());
    let bless = std::env::var_os("BLESS").is_some();
    let mut failures = String::new();
    for script in scripts {
        let text = fs::read_to_string(&script).unwrap_or_else(|e| panic!("cannot read {}: {e}", script.display()));
        let mut subject = open();
        let mut rewritten = String::new();
        for block in parse(&text) {
            let output = normal(&subject(&block.commands));
            if output != block.expected && !bless {
                let name = script.display();
                let _ =
                    write!(failures, "\n{name}\n{}--- expected\n{}--- got\n{output}", block.commands, block.expected);
            }
            let _ = write!(rewritten, "{}{}---\n{output}", block.head, block.commands);
        }
        if bless && rewritten != text {
            fs::write(&script, rewritten).unwrap_or_else(|e| panic!("cannot write {}: {e}", script.display()));
        }
    }
    assert!(failures.is_empty(), "golden scripts differ (BLESS=1 rewrites them):{failures}");
}

/// Ends in one newline, or is empty.
fn normal(output: &str) -> String {
    let trimmed = output.trim_end();
    if trimmed.is_empty() { String::new() } else { format!("{trimmed}\n") }
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut block = Block { head: String::new(), commands: String::new(), expected: String::new() };
    let mut in_output = false;
    let mut blanks = String::new();
    for line in text.lines() {
        let is_blank = line.trim().is_empty();
        if in_output && is_blank {
            // A blank line ends an output.
            blocks.push(std::mem::replace(
                &mut block,
                Block { head: String::new(), commands: String::new(), expected: String::new() },
            ));
            in_output = false;
            blanks.push('\n');
            continue;
        }
        if in_output {
            let _ = writeln!(block.expected, "{line}");
        } else if line == "---" {
            in_output = true;
        } else if block.commands.is_empty() && (is_blank || line.starts_with('#')) {
            block.head.push_str(&std::mem::take(&mut blanks));
            let _ = writeln!(block.head, "{line}");
        } else {
            block.head.push_str(&std::mem::take(&mut blanks));
            let _ = writeln!(block.commands, "{line}");
        }
    }
    if in_output || !block.commands.is_empty() {
        blocks.push(block);
    }
    blocks
}

#[cfg(test)]
mod tests;

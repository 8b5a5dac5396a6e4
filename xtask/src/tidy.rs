//! Rules that a compiler does not check: headers, length, paths in the documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Chore;

/// Longest source file without a reason in its header, in lines.
const LONG_FILE_LINES: usize = 900;

/// Checks the tree below `root`.
pub fn run(root: &Path) -> Chore {
    let mut complaints = Vec::new();
    for file in sources(root) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if !text.starts_with("//!") {
            complaints.push(format!("{name}: a file begins with a //! header that says what it is"));
        }
        let lines = text.lines().count();
        if lines > LONG_FILE_LINES && !is_test(&file) {
            complaints.push(format!("{name}: {lines} lines; which two ideas live here?"));
        }
    }
    complaints.extend(named_paths(root));
    complaints.extend(idle_dependencies(root));
    if complaints.is_empty() { Ok(()) } else { Err(format!("tidy:\n  {}", complaints.join("\n  "))) }
}

fn is_test(file: &Path) -> bool {
    file.components().any(|c| c.as_os_str() == "tests") || file.file_name().is_some_and(|n| n == "tests.rs")
}

fn sources(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut files);
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "rs"));
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !path.is_dir() {
            files.push(path);
        } else if path.file_name().is_none_or(|n| n != "target" && n != "node_modules") {
            collect(&path, files);
        }
    }
}

/// Every path in backticks with a slash in docs/architecture.md and README.md exists.
fn named_paths(root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in ["docs/architecture.md", "README.md"] {
        let Ok(text) = fs::read_to_string(root.join(document)) else {
            complaints.push(format!("{document} is missing"));
            continue;
        };
        for quoted in text.split('`').skip(1).step_by(2) {
            let looks_like_path = quoted.contains('/')
                && !quoted.contains(char::is_whitespace)
                && ["crates/", "docs/", "xtask/", "tests/", ".ci/", "examples/"].iter().any(|p| quoted.starts_with(p));
            if looks_like_path && !root.join(quoted).exists() {
                complaints.push(format!("{document} names {quoted}, which does not exist"));
            }
        }
    }
    complaints
}

/// Every dependency of the workspace is asked for by one of its crates.
fn idle_dependencies(root: &Path) -> Vec<String> {
    let manifest = |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let members = fs::read_dir(root.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path());
    let asked: String = members.chain([root.join("xtask")]).map(|folder| manifest(&folder)).collect();
    let workspace = manifest(root);
    let listed = workspace.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let names = listed.unwrap_or_default().lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    names
        .filter(|name| !name.starts_with('#') && !asked.contains(&format!("\n{name}.workspace = ")))
        .map(|name| format!("Cargo.toml lists {name}, which no crate uses"))
        .collect()
}

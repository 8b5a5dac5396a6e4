//! Several plain paths in one pass over a document's bytes.
//!
//! The paths form a tree by shared prefix. The scanner reads element headers only: a field that no
//! path asks for is skipped by its length, a document that a path goes through is entered, and the
//! scan ends as soon as everything asked for at that level has been seen.
//!
//! ```text
//!   ["a"], ["d","x"], ["d","y"]      root ── a: slot 0
//!                                        └── d ── x: slot 1
//!                                             └── y: slot 2
//! ```
//!
//! # Invariants
//! - The first field of a name wins, as in `RawDoc::get`.
//! - A damaged length ends the scan; what was found until then stays.

use smallvec::SmallVec;

use super::array_index;
use crate::raw::{Raw, RawDoc, kind, split_value};

/// A set of plain paths, prepared for `extract`.
#[derive(Clone, Debug)]
pub struct Extractor {
    root: Node,
    slots: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Where the value itself goes; several paths may be equal.
    slots: SmallVec<[usize; 1]>,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    name: Box<str>,
    index: Option<usize>,
    node: Node,
}

impl Extractor {
    /// One path is its list of components, which are taken literally (a dot is no separator). An
    /// empty list is the document itself.
    pub fn new<P, S>(paths: &[P]) -> Self
    where
        P: AsRef<[S]>,
        S: AsRef<str>,
    {
        let mut root = Node::default();
        for (slot, path) in paths.iter().enumerate() {
            root.insert(path.as_ref(), slot);
        }
        Extractor { root, slots: paths.len() }
    }

    /// From dotted paths.
    pub fn dotted(paths: &[&str]) -> Self {
        let split: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
        Extractor::new(&split)
    }

    /// How many values `extract` produces.
    pub fn len(&self) -> usize {
        self.slots
    }

    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Fills `out` with one entry per path, in the order of the paths; `None` where nothing is. A
    /// component names a field of a document; on an array it is a position.
    pub fn extract<'a>(&self, doc: RawDoc<'a>, out: &mut Vec<Option<Raw<'a>>>) {
        out.clear();
        out.resize(self.slots, None);
        for &slot in &self.root.slots {
            out[slot] = Some(Raw::Document(doc));
        }
        self.root.scan(doc.as_bytes(), Container::Document, out);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Document,
    Array,
}

impl Node {
    fn insert<S: AsRef<str>>(&mut self, path: &[S], slot: usize) {
        let Some((name, rest)) = path.split_first() else {
            self.slots.push(slot);
            return;
        };
        let name = name.as_ref();
        let at = self.children.iter().position(|child| &*child.name == name).unwrap_or_else(|| {
            self.children.push(Child { name: name.into(), index: array_index(name), node: Node::default() });
            self.children.len() - 1
        });
        self.children[at].node.insert(rest, slot);
    }

    fn scan<'a>(&self, bytes: &'a [u8], container: Container, out: &mut [Option<Raw<'a>>]) {
        let mut seen: SmallVec<[bool; 16]> = SmallVec::from_elem(false, self.children.len());
        let mut wanted = self.children.len();
        let mut rest = bytes.get(4..).unwrap_or(&[]);
        let mut position = 0;
        while wanted > 0 {
            let Some((kind, name, body)) = split_header(rest) else { return };
            let found = self.children.iter().enumerate().find(|(i, child)| {
                let named = match container {
                    Container::Document => child.name.as_bytes() == name,
                    Container::Array => child.index == Some(position),
                };
                named && !seen[*i]
            });
            position += 1;
            rest = match found {
                None => match skip(kind, body) {
                    Some(after) => after,
                    None => return,
                },
                Some((i, child)) => {
                    let Some((value, after)) = split_value(kind, body) else { return };
                    seen[i] = true;
                    wanted -= 1;
                    child.node.found(value, out);
                    after
                }
            };
        }
    }

    fn found<'a>(&self, value: Raw<'a>, out: &mut [Option<Raw<'a>>]) {
        for &slot in &self.slots {
            out[slot] = Some(value);
        }
        if self.children.is_empty() {
            return;
        }
        match value {
            Raw::Document(doc) => self.scan(doc.as_bytes(), Container::Document, out),
            Raw::Array(array) => self.scan(array.as_bytes(), Container::Array, out),
            _ => {}
        }
    }
}

/// Type byte, name and what follows it; `None` at the end.
fn split_header(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    if kind == 0 {
        return None;
    }
    // Names are short; a plain loop beats a call into a vectorised search here.
    let end = rest.iter().position(|&b| b == 0)?;
    Some((kind, &rest[..end], &rest[end + 1..]))
}

/// What follows a value of this type, without looking at the value.
fn skip(kind: u8, body: &[u8]) -> Option<&[u8]> {
    let length = match kind {
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => 8,
        kind::INT32 => 4,
        kind::BOOL => 1,
        kind::OBJECT_ID => 12,
        kind::DECIMAL128 => 16,
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::STRING | kind::CODE | kind::SYMBOL => length_prefix(body)?.checked_add(4)?,
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => length_prefix(body)?,
        kind::BINARY => length_prefix(body)?.checked_add(5)?,
        kind::DB_POINTER => length_prefix(body)?.checked_add(16)?,
        kind::REGEX => {
            let pattern = body.iter().position(|&b| b == 0)? + 1;
            pattern + body[pattern..].iter().position(|&b| b == 0)? + 1
        }
        _ => return None,
    };
    body.get(length..)
}

fn length_prefix(body: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*body.first_chunk::<4>()?)).ok()
}

//! The record of an operator update: which places it touched, in the order it reports them.
//!
//! An operator update is described by what its operators touched, not by comparing documents:
//! `$set` of a whole array is the whole array, however little of it differs. Per level the order
//! is: changed fields, new fields, removed fields, then what lies below.
//!
//! Values are not kept here; `describe` reads them from the finished document, so a field created
//! by one operator and filled by the next is reported once, whole.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::description::{Describer, Step, UpdateDescription};
use super::node::Node;

/// One step of a path that has been walked: enough to find the place again without a search.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Field { name: &'a str, position: usize },
    Element(usize),
}

impl<'a> Place<'a> {
    fn step(self) -> Step<'a> {
        match self {
            Place::Field { name, .. } => Step::Field(name),
            Place::Element(index) => Step::Element(index),
        }
    }
}

/// What happened to the last component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It was there and has a new value. For array elements: also if it is new.
    Updated,
    /// A field that was not there.
    Created,
    Removed,
}

#[derive(Debug)]
enum Entry<'a> {
    Whole(Event),
    Below(Level<'a>),
}

#[derive(Debug)]
enum Level<'a> {
    Document(Fields<'a>),
    Array(BTreeMap<usize, Entry<'a>>),
}

#[derive(Debug, Default)]
struct Fields<'a> {
    entries: Vec<(&'a str, usize, Entry<'a>)>,
    by_name: FxHashMap<&'a str, usize>,
    removed: Vec<&'a str>,
}

/// The record of one document.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    root: Fields<'a>,
    changed: bool,
}

impl<'a> Log<'a> {
    /// Whether anything has been recorded.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Notes a change that a whole value above it will report.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    /// Records an event at the end of `path`. Below a place that is reported whole it is part of
    /// that report.
    pub fn record(&mut self, path: &[Place<'a>], event: Event) {
        self.changed = true;
        self.root.record(path, event);
    }

    /// Tells the record, reading values from the document as it is now.
    pub fn describe(&self, root: &Node<'a>) -> UpdateDescription {
        let mut describer = Describer::default();
        if let Node::Document(fields) = root {
            describe_fields(&self.root, fields, &mut describer);
        }
        describer.description
    }
}

impl<'a> Fields<'a> {
    fn record(&mut self, path: &[Place<'a>], event: Event) {
        let [Place::Field { name, position }, rest @ ..] = path else {
            unreachable!("a field of a document is found by its name");
        };
        if rest.is_empty() && event == Event::Removed {
            self.removed.push(name);
            return;
        }
        let slot = *self.by_name.entry(name).or_insert_with(|| {
            self.entries.push((name, *position, Entry::new(rest, event)));
            self.entries.len() - 1
        });
        self.entries[slot].2.record(rest, event);
    }
}

impl<'a> Entry<'a> {
    fn new(rest: &[Place<'a>], event: Event) -> Self {
        match rest.first() {
            None => Entry::Whole(event),
            Some(Place::Field { .. }) => Entry::Below(Level::Document(Fields::default())),
            Some(Place::Element(_)) => Entry::Below(Level::Array(BTreeMap::new())),
        }
    }

    fn record(&mut self, rest: &[Place<'a>], event: Event) {
        match (&mut *self, rest) {
            (Entry::Whole(_), _) => {}
            (Entry::Below(_), []) => *self = Entry::Whole(event),
            (Entry::Below(Level::Document(fields)), _) => fields.record(rest, event),
            (Entry::Below(Level::Array(elements)), [Place::Element(index), rest @ ..]) => {
                elements.entry(*index).or_insert_with(|| Entry::new(rest, event)).record(rest, event);
            }
            (Entry::Below(Level::Array(_)), _) => unreachable!("an element of an array is found by its index"),
        }
    }
}

fn describe_fields<'a>(log: &Fields<'a>, fields: &[(&'a str, Node<'a>)], describer: &mut Describer<'a>) {
    for wanted in [Event::Updated, Event::Created] {
        for (name, position, entry) in &log.entries {
            if matches!(entry, Entry::Whole(event) if *event == wanted) {
                describer.updated(Step::Field(name), fields[*position].1.to_value());
            }
        }
    }
    for name in &log.removed {
        describer.removed(name);
    }
    for (name, position, entry) in &log.entries {
        if let Entry::Below(level) = entry {
            describer.enter(Place::Field { name, position: *position }.step());
            describe_level(level, &fields[*position].1, describer);
            describer.leave();
        }
    }
}

fn describe_level<'a>(level: &Level<'a>, node: &Node<'a>, describer: &mut Describer<'a>) {
    match (level, node) {
        (Level::Document(log), Node::Document(fields)) => describe_fields(log, fields, describer),
        (Level::Array(log), Node::Array(items)) => {
            for (&index, entry) in log {
                match entry {
                    Entry::Whole(_) => describer.updated(Step::Element(index), items[index].to_value()),
                    Entry::Below(level) => {
                        describer.enter(Step::Element(index));
                        describe_level(level, &items[index], describer);
                        describer.leave();
                    }
                }
            }
        }
        _ => unreachable!("a recorded place has been opened"),
    }
}

//! Applies a tree of operators to one document.
//!
//! The walk goes down the operator tree and the document together. Where the document ends before
//! the path does, what is missing is kept aside (`missing`) until a leaf decides whether to create it.
//!
//! # Invariants
//! - Nothing is recorded without a change, and no change goes unrecorded.
//! - `_id` is never changed once the document has one.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::array::{self, ArrayEffect};
use super::filters::ArrayFilters;
use super::log::{Event, Log, Place};
use super::node::{Container, Field, Node, array_index, depth, find_field, identical, too_deep, too_large};
use super::operator::{BitOperation, IntegerWidth, Operator, compare};
use super::print;
use super::tree::{ArrayNode, FieldKey, ObjectNode, UpdateNode};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::number::Number;
use crate::raw::{Raw, RawDoc};

/// Most nulls that one path may put between the end of an array and a new element.
const MAX_BACKFILL: usize = 1_500_000;
/// Most nulls that one update may make: more do not fit into a document.
const MAX_BACKFILL_TOTAL: usize = base::limits::MAX_DOCUMENT / 8;

/// From this many children on, a level's fields are found through a map instead of by search.
const MANY_CHILDREN: usize = 16;

/// The operators that meet at one place: more than one only where `$` and `$[id]` join others.
type Nodes<'a> = SmallVec<[&'a UpdateNode; 1]>;

/// What an operator makes of the value at its path.
enum Effect<'a> {
    None,
    Set(Node<'a>),
    /// New elements from `first_new` on.
    Append {
        array: Vec<Node<'a>>,
        first_new: usize,
    },
    Remove,
}

/// What the operators of an update see besides the document.
pub(super) struct Surroundings<'a> {
    pub ctx: &'a Context,
    pub filters: &'a ArrayFilters,
    /// The array index that the query matched, as text; what `$` stands for.
    pub position: Option<&'a str>,
    /// Whether the document is being inserted by an upsert.
    pub is_insert: bool,
}

/// One application.
pub(super) struct Applier<'a> {
    around: Surroundings<'a>,
    original: RawDoc<'a>,
    /// The existing part of the path from the root to where the walk is.
    path: SmallVec<[Place<'a>; 8]>,
    log: Log<'a>,
    /// Off below an array that will be reported whole.
    is_logging: bool,
    /// Sources of renames: removed when the walk is over.
    renamed: Vec<Vec<&'a str>>,
    backfilled: usize,
}

impl<'a> Applier<'a> {
    pub fn new(original: RawDoc<'a>, around: Surroundings<'a>) -> Self {
        Applier {
            around,
            original,
            path: SmallVec::new(),
            log: Log::default(),
            is_logging: true,
            renamed: Vec::new(),
            backfilled: 0,
        }
    }

    /// Applies the whole tree. Returns the document and the record of what happened to it.
    pub fn run(mut self, tree: &'a UpdateNode) -> Result<(Node<'a>, Log<'a>)> {
        let mut root = Node::Raw(Raw::Document(self.original));
        root.open();
        self.apply(&[tree], &mut root)?;
        for source in std::mem::take(&mut self.renamed) {
            remove(&mut root, &source);
        }
        Ok((root, self.log))
    }

    /// Returns whether anything changed.
    fn apply(&mut self, nodes: &[&'a UpdateNode], target: &mut Node<'a>) -> Result<bool> {
        match Same::of(nodes) {
            Some(Same::Objects(objects)) => self.apply_object(&objects, target),
            Some(Same::Arrays(arrays)) => self.apply_elements(&arrays, target),
            Some(Same::Leaf(operator)) => self.apply_operator(operator, target),
            None => Err(self.conflict()),
        }
    }

    fn conflict(&self) -> Error {
        Error::new(40, format!("Update created a conflict at '{}'", self.dotted(&[])))
    }

    fn apply_object(&mut self, objects: &[&'a ObjectNode], target: &mut Node<'a>) -> Result<bool> {
        let children = self.children_of(objects)?;
        self.apply_children(&children, target)
    }

    /// The children of operators that meet at one place, in path order, each name once.
    fn children_of(&self, objects: &[&'a ObjectNode]) -> Result<Vec<(&'a str, Nodes<'a>)>> {
        let mut children: Vec<(&'a str, &'a UpdateNode)> = Vec::new();
        let mut is_mixed = objects.len() > 1;
        for object in objects {
            children.extend(object.children.iter().map(|(key, node)| (key.0.as_str(), node)));
            if let Some(node) = &object.positional {
                let name = self.around.position.ok_or_else(|| {
                    Error::bad_value("The positional operator did not find the match needed from the query.")
                })?;
                children.push((name, node));
                is_mixed = true;
            }
        }
        if is_mixed {
            children.sort_by_cached_key(|(name, _)| FieldKey((*name).to_owned()));
        }
        let groups = children.chunk_by(|(a, _), (b, _)| a == b);
        Ok(groups.map(|group| (group[0].0, group.iter().map(|(_, node)| *node).collect())).collect())
    }

    fn apply_children(&mut self, children: &[(&'a str, Nodes<'a>)], parent: &mut Node<'a>) -> Result<bool> {
        let positions = positions_for(children.len(), parent);
        let mut is_changed = false;
        for (name, nodes) in children {
            let found = match parent.open() {
                Container::Document(fields) => match &positions {
                    Some(positions) => positions.get(name).copied(),
                    None => find_field(fields, name),
                }
                .map(|position| {
                    let (name, node) = &mut fields[position];
                    (Place::Field { name, position }, node)
                }),
                Container::Array(items) => {
                    array_index(name).and_then(|index| items.get_mut(index).map(|item| (Place::Element(index), item)))
                }
                Container::Scalar => None,
            };
            is_changed |= match found {
                Some((place, child)) => {
                    self.path.push(place);
                    let is_changed = self.apply(nodes, child)?;
                    self.path.pop();
                    is_changed
                }
                None => self.apply_missing(nodes, parent, &mut vec![name])?,
            };
        }
        Ok(is_changed)
    }

    /// Applies operators to a place that does not exist: `missing` below `parent`.
    fn apply_missing(
        &mut self,
        nodes: &[&'a UpdateNode],
        parent: &mut Node<'a>,
        missing: &mut Vec<&'a str>,
    ) -> Result<bool> {
        let objects = match Same::of(nodes) {
            Some(Same::Objects(objects)) => objects,
            Some(Same::Arrays(_)) => {
                return Err(Error::bad_value(format!(
                    "The path '{}' must exist in the document in order to apply array updates.",
                    self.dotted(missing)
                )));
            }
            Some(Same::Leaf(operator)) => return self.create(operator, parent, missing),
            None => return Err(self.conflict()),
        };
        let children = self.children_of(&objects)?;
        for (i, (name, nodes)) in children.iter().enumerate() {
            missing.push(name);
            let is_created = self.apply_missing(nodes, parent, missing)?;
            missing.pop();
            if is_created {
                // The place exists now, and the other children find it.
                self.apply_below(missing, &children[i + 1..], parent)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Applies children of a place that a sibling has created meanwhile.
    fn apply_below(
        &mut self,
        created: &[&'a str],
        children: &[(&'a str, Nodes<'a>)],
        parent: &mut Node<'a>,
    ) -> Result<bool> {
        let Some((first, rest)) = created.split_first() else {
            return self.apply_children(children, parent);
        };
        let (place, child) = match parent.open() {
            Container::Document(fields) => {
                let position = fields.iter().rposition(|(name, _)| name == first).expect("created by a sibling");
                (Place::Field { name: first, position }, &mut fields[position].1)
            }
            Container::Array(items) => {
                let index = array_index(first).expect("created by a sibling");
                (Place::Element(index), &mut items[index])
            }
            Container::Scalar => unreachable!("created by a sibling"),
        };
        self.path.push(place);
        let is_changed = self.apply_below(rest, children, child)?;
        self.path.pop();
        Ok(is_changed)
    }

    /// Applies `$[]` and `$[id]`.
    fn apply_elements(&mut self, arrays: &[&'a ArrayNode], target: &mut Node<'a>) -> Result<bool> {
        if !matches!(target, Node::Raw(Raw::Array(_)) | Node::Array(_)) {
            let element = target.with_raw(|raw| print::element(&self.last_name(), raw));
            return Err(Error::bad_value(format!("Cannot apply array updates to non-array element {element}")));
        }
        let Container::Array(items) = target.open() else { unreachable!("an array opens as one") };
        let mut picked: Vec<(usize, Nodes<'a>)> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let nodes = item.with_raw(|element| self.nodes_for(arrays, element))?;
            if !nodes.is_empty() {
                picked.push((index, nodes));
            }
        }
        // One picked element reports itself; of several, the changed ones are reported together.
        let was_logging = self.is_logging;
        self.is_logging &= picked.len() == 1;
        let mut changed: SmallVec<[usize; 1]> = SmallVec::new();
        for (index, nodes) in &picked {
            self.path.push(Place::Element(*index));
            if self.apply(nodes, &mut items[*index])? {
                changed.push(*index);
            }
            self.path.pop();
        }
        if was_logging && !self.is_logging {
            self.is_logging = true;
            match changed[..] {
                [] => {}
                [only] => self.record(Some(Place::Element(only)), Event::Updated),
                _ => self.record(None, Event::Updated),
            }
        }
        Ok(!changed.is_empty())
    }

    fn nodes_for(&self, arrays: &[&'a ArrayNode], element: Raw<'_>) -> Result<Nodes<'a>> {
        let mut nodes = Nodes::new();
        for array in arrays {
            for (identifier, node) in &array.children {
                if self.around.filters.picks(identifier, element)? {
                    nodes.push(node);
                }
            }
        }
        Ok(nodes)
    }

    /// Applies a leaf to the existing value at the current path.
    fn apply_operator(&mut self, operator: &'a Operator, target: &mut Node<'a>) -> Result<bool> {
        let effect = self.effect(operator, target)?;
        if matches!(effect, Effect::None) {
            return Ok(false);
        }
        self.check_immutable(&[])?;
        let in_array = matches!(self.path.last(), Some(Place::Element(_)));
        match effect {
            Effect::None => unreachable!("returned above"),
            Effect::Set(value) => {
                self.check_new_value(&value, &[])?;
                *target = value;
                self.record(None, Event::Updated);
            }
            Effect::Append { array, first_new } => {
                let value = Node::Array(array);
                self.check_new_value(&value, &[])?;
                let Node::Array(items) = &value else { unreachable!("made above") };
                for index in first_new..items.len() {
                    self.record(Some(Place::Element(index)), Event::Updated);
                }
                *target = value;
            }
            Effect::Remove if in_array => {
                // Removing would move the elements behind it.
                *target = Node::Raw(Raw::Null);
                self.record(None, Event::Updated);
            }
            Effect::Remove => {
                *target = Node::Removed;
                self.record(None, Event::Removed);
            }
        }
        self.finish_rename(operator)?;
        Ok(true)
    }

    /// Applies a leaf to a place that does not exist. Returns whether it was created.
    fn create(&mut self, operator: &'a Operator, parent: &mut Node<'a>, missing: &[&'a str]) -> Result<bool> {
        let Some(value) = self.initial_value(operator, missing)? else {
            if !matches!(operator, Operator::Unset | Operator::RenameSource | Operator::SetOnInsert(_)) {
                self.check_viable(operator, parent, missing)?;
            }
            return Ok(false);
        };
        self.check_new_value(&value, missing)?;
        let (first, below) = missing.split_first().expect("something is missing");
        let nested = below.iter().rev().fold(value, |value, name| Node::Document(vec![(name, value)]));
        let cannot_create = |applier: &Self, parent: &Node<'a>| {
            let element = parent.with_raw(|raw| print::element(&applier.last_name(), raw));
            Error::new(28, format!("Cannot create field '{first}' in element {{{element}}}"))
        };
        let place = match parent.open() {
            Container::Document(fields) => {
                fields.push((first, nested));
                Place::Field { name: first, position: fields.len() - 1 }
            }
            Container::Array(items) => {
                if matches!(operator, Operator::Rename { .. }) {
                    return Err(self.through_array("destination", &self.dotted(missing), &self.last_name()));
                }
                let Some(index) = array_index(first) else { return Err(cannot_create(self, parent)) };
                backfill(items, index, &mut self.backfilled)?;
                items.push(nested);
                Place::Element(index)
            }
            Container::Scalar => return Err(cannot_create(self, parent)),
        };
        self.check_immutable(missing)?;
        self.record(Some(place), Event::Created);
        self.finish_rename(operator)?;
        Ok(true)
    }

    /// An operator that creates nothing still refuses a path that could not exist.
    fn check_viable(&self, operator: &Operator, parent: &mut Node<'a>, missing: &[&str]) -> Result<()> {
        let is_viable = match parent.open() {
            Container::Document(_) => true,
            Container::Array(_) => array_index(missing[0]).is_some(),
            Container::Scalar => false,
        };
        if is_viable || matches!(operator, Operator::Rename { .. }) {
            return Ok(());
        }
        let element = parent.with_raw(|raw| print::element(&self.last_name(), raw));
        Err(not_viable(&self.last_name(), &self.dotted(missing), &element))
    }

    /// The value that an operator creates at a missing path.
    fn initial_value(&mut self, operator: &'a Operator, missing: &[&'a str]) -> Result<Option<Node<'a>>> {
        let ctx = self.around.ctx;
        Ok(Some(match operator {
            Operator::Set(value) | Operator::Min(value) | Operator::Max(value) => Node::Raw(value.raw()),
            Operator::SetOnInsert(value) if self.around.is_insert => Node::Raw(value.raw()),
            Operator::Inc(amount) => number(*amount),
            Operator::Mul(factor) => number(
                crate::number::arithmetic::checked_multiply(Number::Int32(0), *factor).expect("zero stays in range"),
            ),
            Operator::Rename { source } => return self.rename_value(source, missing),
            Operator::CurrentDate => Node::Raw(Raw::Date(ctx.now_ms)),
            Operator::CurrentTimestamp => Node::Raw(Raw::Timestamp(super::check::current_timestamp(ctx).0)),
            Operator::Bit(operations) => integer(combine_bits(0, IntegerWidth::Int32, operations)),
            Operator::Push(push) => match push.apply(Vec::new(), ctx) {
                ArrayEffect::Unchanged => Node::Array(Vec::new()),
                ArrayEffect::Appended(items) | ArrayEffect::Rewritten(items) => Node::Array(items),
            },
            Operator::AddToSet(new) => Node::Array(distinct_nodes(new, ctx)),
            Operator::SetOnInsert(_)
            | Operator::Unset
            | Operator::RenameSource
            | Operator::PopFirst
            | Operator::PopLast
            | Operator::Pull(_)
            | Operator::PullAll(_) => return Ok(None),
        }))
    }

    /// What an operator makes of an existing value.
    fn effect(&mut self, operator: &'a Operator, target: &Node<'a>) -> Result<Effect<'a>> {
        let ctx = self.around.ctx;
        match operator {
            Operator::Set(value) => Ok(replace(target, value.raw())),
            Operator::SetOnInsert(value) if self.around.is_insert => Ok(replace(target, value.raw())),
            Operator::SetOnInsert(_) | Operator::RenameSource => Ok(Effect::None),
            Operator::Unset => Ok(Effect::Remove),
            Operator::Inc(amount) => self.arithmetic("$inc", target, *amount, crate::number::arithmetic::checked_add),
            Operator::Mul(factor) => {
                self.arithmetic("$mul", target, *factor, crate::number::arithmetic::checked_multiply)
            }
            Operator::Min(value) => {
                let is_less = target.with_raw(|old| compare(ctx, value.raw(), old).is_lt());
                Ok(if is_less { Effect::Set(Node::Raw(value.raw())) } else { Effect::None })
            }
            Operator::Max(value) => {
                let is_greater = target.with_raw(|old| compare(ctx, value.raw(), old).is_gt());
                Ok(if is_greater { Effect::Set(Node::Raw(value.raw())) } else { Effect::None })
            }
            Operator::Rename { source } => Ok(self.rename_value(source, &[])?.map_or(Effect::None, Effect::Set)),
            Operator::CurrentDate => Ok(replace(target, Raw::Date(ctx.now_ms))),
            Operator::CurrentTimestamp => Ok(replace(target, Raw::Timestamp(super::check::current_timestamp(ctx).0))),
            Operator::Bit(operations) => self.bits(target, operations),
            _ => self.array_effect(operator, target),
        }
    }

    fn array_effect(&mut self, operator: &'a Operator, target: &Node<'a>) -> Result<Effect<'a>> {
        let ctx = self.around.ctx;
        let Some(items) = target.elements() else { return Err(self.not_an_array(operator, target)) };
        let length = items.len();
        let effect = match operator {
            Operator::Push(push) => push.apply(items, ctx),
            Operator::AddToSet(new) => array::add_to_set(new, items, ctx),
            Operator::Pull(pull) => pull.apply(items, ctx)?,
            Operator::PullAll(values) => array::pull_all(values, items, ctx),
            Operator::PopFirst | Operator::PopLast if items.is_empty() => ArrayEffect::Unchanged,
            Operator::PopFirst => ArrayEffect::Rewritten(items.into_iter().skip(1).collect()),
            _ => ArrayEffect::Rewritten(items.into_iter().take(length - 1).collect()),
        };
        Ok(match effect {
            ArrayEffect::Unchanged => Effect::None,
            ArrayEffect::Appended(array) => Effect::Append { array, first_new: length },
            ArrayEffect::Rewritten(array) => Effect::Set(Node::Array(array)),
        })
    }

    fn not_an_array(&self, operator: &Operator, target: &Node<'a>) -> Error {
        let (path, type_name) = (self.dotted(&[]), target.type_name());
        match operator {
            Operator::Push(_) => Error::bad_value(format!(
                "The field '{path}' must be an array but is of type {type_name} in document {{{}}}",
                self.id_element()
            )),
            Operator::AddToSet(_) => Error::bad_value(format!(
                "Cannot apply $addToSet to non-array field. Field named '{}' has non-array type {type_name}",
                self.last_name()
            )),
            Operator::PopFirst | Operator::PopLast => {
                Error::type_mismatch(format!("Path '{path}' contains an element of non-array type '{type_name}'"))
            }
            _ => Error::bad_value("Cannot apply $pull to a non-array value"),
        }
    }

    fn arithmetic(
        &self,
        operator: &str,
        target: &Node<'a>,
        operand: Number,
        combine: fn(Number, Number) -> Option<Number>,
    ) -> Result<Effect<'a>> {
        let old = match target {
            Node::Raw(raw) => Number::from_raw(*raw),
            _ => None,
        };
        let Some(old) = old else {
            return Err(Error::type_mismatch(format!(
                "Cannot apply {operator} to a value of non-numeric type. {{{}}} has the field '{}' of non-numeric type {}",
                self.id_element(),
                self.last_name(),
                target.type_name()
            )));
        };
        let Some(new) = combine(old, operand) else {
            let type_name = if matches!(old, Number::Int32(_)) { "NumberInt" } else { "NumberLong" };
            return Err(Error::bad_value(format!(
                "Failed to apply {operator} operations to current value (({type_name}){old}) for document {{{}}}",
                self.id_element()
            )));
        };
        let Node::Raw(new) = number(new) else { unreachable!("numbers are scalars") };
        Ok(replace(target, new))
    }

    fn bits(&self, target: &Node<'a>, operations: &[(BitOperation, i64, IntegerWidth)]) -> Result<Effect<'a>> {
        let (old, width) = match target {
            Node::Raw(Raw::Int32(n)) => (i64::from(*n), IntegerWidth::Int32),
            Node::Raw(Raw::Int64(n)) => (*n, IntegerWidth::Int64),
            _ => {
                return Err(Error::bad_value(format!(
                    "Cannot apply $bit to a value of non-integral type.{} has the field {} of non-integer type {}",
                    self.id_element(),
                    self.last_name(),
                    target.type_name()
                )));
            }
        };
        match integer(combine_bits(old, width, operations)) {
            Node::Raw(new) => Ok(replace(target, new)),
            _ => unreachable!("integers are scalars"),
        }
    }

    /// The value that a rename moves to the current path; `None` if the source is missing.
    fn rename_value(&mut self, source: &'a str, missing: &[&'a str]) -> Result<Option<Node<'a>>> {
        let mut value = Raw::Document(self.original);
        let mut name = "";
        let mut array = None;
        for component in source.split('.') {
            let below = match value {
                Raw::Document(doc) => doc.get(component),
                Raw::Array(items) if array_index(component).is_some() => {
                    array = array.or(Some(name));
                    array_index(component).and_then(|index| items.values().nth(index))
                }
                _ => return Err(not_viable(component, source, &print::element(name, value))),
            };
            match below {
                Some(below) => (value, name) = (below, component),
                None => return Ok(None),
            }
        }
        if let Some(array) = array {
            return Err(self.through_array("source", source, array));
        }
        if let Some(at) = self.path.iter().position(|place| matches!(place, Place::Element(_))) {
            let array = if at == 0 { String::new() } else { self.name_at(at - 1) };
            return Err(self.through_array("destination", &self.dotted(missing), &array));
        }
        Ok(Some(Node::Raw(value)))
    }

    fn through_array(&self, role: &str, path: &str, array: &str) -> Error {
        Error::bad_value(format!(
            "The {role} field cannot be an array element, '{path}' in doc with {} has an array field called '{array}'",
            self.id_element()
        ))
    }

    /// Records the source of a rename that has taken effect as removed.
    fn finish_rename(&mut self, operator: &'a Operator) -> Result<()> {
        let Operator::Rename { source } = operator else { return Ok(()) };
        let components: Vec<&'a str> = source.split('.').collect();
        if components[0] == "_id" {
            return Err(immutable(source));
        }
        let mut places: Vec<Place<'a>> = Vec::with_capacity(components.len());
        let mut doc = self.original;
        for component in &components {
            let found = doc.iter().enumerate().find(|(_, (name, _))| name == component);
            let (position, (name, value)) = found.expect("the source has been found before");
            places.push(Place::Field { name, position });
            if let Raw::Document(below) = value {
                doc = below;
            }
        }
        self.log.record(&places, Event::Removed);
        self.renamed.push(components);
        Ok(())
    }

    /// Records an event at the current path, or one step below it.
    fn record(&mut self, below: Option<Place<'a>>, event: Event) {
        if !self.is_logging {
            self.log.note_change();
            return;
        }
        self.path.extend(below);
        self.log.record(&self.path, event);
        if below.is_some() {
            self.path.pop();
        }
    }

    /// Errors with 66 if the current path is `_id` or in it.
    fn check_immutable(&self, missing: &[&str]) -> Result<()> {
        match self.path.first() {
            Some(Place::Field { name: "_id", .. }) => Err(immutable(&self.dotted(missing))),
            _ => Ok(()),
        }
    }

    /// Checks what is about to be stored: nesting, and the name of a top-level field.
    fn check_new_value(&self, value: &Node<'a>, missing: &[&str]) -> Result<()> {
        let levels = self.path.len() + missing.len() + node_depth(value);
        if levels > base::limits::MAX_NESTING_LEVELS {
            return Err(too_deep());
        }
        let top_level = match (self.path.first(), missing.first()) {
            (Some(Place::Field { name, .. }), _) if self.path.len() == 1 && missing.is_empty() => Some(*name),
            (None, Some(name)) => Some(*name),
            _ => None,
        };
        match top_level {
            Some(name) if name.starts_with('$') => Err(super::check::dollar_field(name)),
            _ => Ok(()),
        }
    }

    fn dotted(&self, missing: &[&str]) -> String {
        let mut path = String::new();
        let existing = (0..self.path.len()).map(|i| self.name_at(i));
        for name in existing.chain(missing.iter().map(|name| (*name).to_owned())) {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&name);
        }
        path
    }

    fn name_at(&self, i: usize) -> String {
        match self.path[i] {
            Place::Field { name, .. } => name.to_owned(),
            Place::Element(index) => index.to_string(),
        }
    }

    fn last_name(&self) -> String {
        self.path.len().checked_sub(1).map(|last| self.name_at(last)).unwrap_or_default()
    }

    /// `_id: 1`, for messages.
    fn id_element(&self) -> String {
        match self.original.get("_id") {
            Some(id) => print::element("_id", id),
            None => "no id".to_owned(),
        }
    }
}

/// Where the fields of a document stand, if so many are looked for that a map pays. The names that
/// are looked for differ, so the map stays right while fields come and go.
fn positions_for<'a>(wanted: usize, parent: &mut Node<'a>) -> Option<FxHashMap<&'a str, usize>> {
    if wanted < MANY_CHILDREN {
        return None;
    }
    let Container::Document(fields) = parent.open() else { return None };
    let mut positions = FxHashMap::default();
    for (position, (name, node)) in fields.iter().enumerate() {
        if !matches!(node, Node::Removed) {
            positions.entry(*name).or_insert(position);
        }
    }
    Some(positions)
}

/// Operators that meet at one place, if they are of one kind.
enum Same<'a> {
    Objects(SmallVec<[&'a ObjectNode; 1]>),
    Arrays(SmallVec<[&'a ArrayNode; 1]>),
    Leaf(&'a Operator),
}

impl<'a> Same<'a> {
    fn of(nodes: &[&'a UpdateNode]) -> Option<Self> {
        match nodes {
            [UpdateNode::Leaf(operator)] => Some(Same::Leaf(operator)),
            [UpdateNode::Object(_), ..] => nodes
                .iter()
                .map(|node| match node {
                    UpdateNode::Object(object) => Some(object),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(Same::Objects),
            [UpdateNode::Array(_), ..] => nodes
                .iter()
                .map(|node| match node {
                    UpdateNode::Array(array) => Some(array),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(Same::Arrays),
            _ => None,
        }
    }
}

fn immutable(path: &str) -> Error {
    Error::new(66, format!("Performing an update on the path '{path}' would modify the immutable field '_id'"))
}

fn not_viable(part: &str, path: &str, element: &str) -> Error {
    Error::new(28, format!("Cannot use the part ({part}) of ({path}) to traverse the element ({{{element}}})"))
}

fn replace<'a>(old: &Node<'a>, new: Raw<'a>) -> Effect<'a> {
    if old.with_raw(|old| identical(old, new)) { Effect::None } else { Effect::Set(Node::Raw(new)) }
}

fn number<'a>(n: Number) -> Node<'a> {
    Node::Raw(match n {
        Number::Int32(n) => Raw::Int32(n),
        Number::Int64(n) => Raw::Int64(n),
        Number::Double(n) => Raw::Double(n),
        Number::Decimal(n) => Raw::Decimal128(n.to_bytes()),
    })
}

fn integer<'a>((n, width): (i64, IntegerWidth)) -> Node<'a> {
    Node::Raw(match width {
        IntegerWidth::Int32 => Raw::Int32(n as i32),
        IntegerWidth::Int64 => Raw::Int64(n),
    })
}

/// Two int32 stay int32 (sign extension commutes with all three operations).
fn combine_bits(
    mut n: i64,
    mut width: IntegerWidth,
    operations: &[(BitOperation, i64, IntegerWidth)],
) -> (i64, IntegerWidth) {
    for (operation, operand, operand_width) in operations {
        n = match operation {
            BitOperation::And => n & operand,
            BitOperation::Or => n | operand,
            BitOperation::Xor => n ^ operand,
        };
        if *operand_width == IntegerWidth::Int64 {
            width = IntegerWidth::Int64;
        }
    }
    (n, width)
}

fn distinct_nodes<'a>(new: &'a super::operator::Operand, ctx: &Context) -> Vec<Node<'a>> {
    array::distinct(&new.elements(), ctx).into_iter().map(Node::Raw).collect()
}

/// Fills an array with nulls up to `index`.
fn backfill(items: &mut Vec<Node<'_>>, index: usize, total: &mut usize) -> Result<()> {
    let nulls = index - items.len();
    if nulls > MAX_BACKFILL {
        return Err(Error::new(34, format!("can't backfill more than {MAX_BACKFILL} elements")));
    }
    *total += nulls;
    if *total > MAX_BACKFILL_TOTAL {
        return Err(too_large());
    }
    items.resize(index, Node::Raw(Raw::Null));
    Ok(())
}

fn node_depth(node: &Node<'_>) -> usize {
    match node {
        Node::Raw(raw) => depth(*raw),
        Node::Array(items) => 1 + items.iter().map(node_depth).max().unwrap_or(0),
        Node::Document(fields) => 1 + fields.iter().map(|(_, node)| node_depth(node)).max().unwrap_or(0),
        Node::Removed => 0,
    }
}

fn remove<'a>(root: &mut Node<'a>, path: &[&'a str]) {
    let Container::Document(fields) = root.open() else { return };
    let fields: &mut Vec<Field<'a>> = fields;
    let Some(position) = find_field(fields, path[0]) else { return };
    match &path[1..] {
        [] => fields[position].1 = Node::Removed,
        below => remove(&mut fields[position].1, below),
    }
}

//! Which log entries a stream may see: its scope, the operation types, the system namespaces.

use std::sync::Arc;

use store::entry::{CollectionKind, LogEntry, Namespace, Operation};

/// What a stream is opened on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Collection(Namespace),
    Database(Arc<str>),
    Cluster,
}

/// An event's `operationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OperationType {
    Insert,
    Update,
    Replace,
    Delete,
    Drop,
    Rename,
    DropDatabase,
    Invalidate,
    Create,
    CreateIndexes,
    DropIndexes,
    Modify,
    /// Not MongoDB's: changes are missing here.
    Gap,
    /// Not MongoDB's: a mirrored document was corrected. No stream shows it.
    Corrected,
}

impl OperationType {
    pub const ALL: [OperationType; 14] = [
        OperationType::Insert,
        OperationType::Update,
        OperationType::Replace,
        OperationType::Delete,
        OperationType::Drop,
        OperationType::Rename,
        OperationType::DropDatabase,
        OperationType::Invalidate,
        OperationType::Create,
        OperationType::CreateIndexes,
        OperationType::DropIndexes,
        OperationType::Modify,
        OperationType::Gap,
        OperationType::Corrected,
    ];

    pub fn of(entry: &LogEntry) -> Self {
        match &entry.operation {
            Operation::Insert { .. } => OperationType::Insert,
            Operation::Update { .. } => OperationType::Update,
            Operation::Replace { .. } => OperationType::Replace,
            Operation::Delete { .. } => OperationType::Delete,
            Operation::Create { .. } => OperationType::Create,
            Operation::Drop => OperationType::Drop,
            Operation::Rename { .. } => OperationType::Rename,
            Operation::DropDatabase => OperationType::DropDatabase,
            Operation::CreateIndexes { .. } => OperationType::CreateIndexes,
            Operation::DropIndexes { .. } => OperationType::DropIndexes,
            Operation::Modify { .. } => OperationType::Modify,
            Operation::Gap { .. } => OperationType::Gap,
            Operation::Corrected { .. } => OperationType::Corrected,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            OperationType::Insert => "insert",
            OperationType::Update => "update",
            OperationType::Replace => "replace",
            OperationType::Delete => "delete",
            OperationType::Drop => "drop",
            OperationType::Rename => "rename",
            OperationType::DropDatabase => "dropDatabase",
            OperationType::Invalidate => "invalidate",
            OperationType::Create => "create",
            OperationType::CreateIndexes => "createIndexes",
            OperationType::DropIndexes => "dropIndexes",
            OperationType::Modify => "modify",
            OperationType::Gap => "gap",
            OperationType::Corrected => "corrected",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        OperationType::ALL.into_iter().find(|operation| operation.as_str() == name)
    }

    /// Changes a document rather than a collection.
    pub fn is_document_change(self) -> bool {
        (self as u8) <= OperationType::Delete as u8
    }

    /// Shown without `showExpandedEvents`.
    pub fn is_classic(self) -> bool {
        (self as u8) <= OperationType::Invalidate as u8
    }
}

/// A set of operation types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationSet(u16);

impl OperationSet {
    pub const NONE: OperationSet = OperationSet(0);
    pub const EVERY: OperationSet = OperationSet((1 << OperationType::ALL.len()) - 1);

    pub fn with(self, operation: OperationType) -> Self {
        OperationSet(self.0 | 1 << operation as u8)
    }

    pub fn intersect(self, other: Self) -> Self {
        OperationSet(self.0 & other.0)
    }

    pub fn contains(self, operation: OperationType) -> bool {
        self.0 & 1 << operation as u8 != 0
    }
}

impl FromIterator<OperationType> for OperationSet {
    fn from_iter<I: IntoIterator<Item = OperationType>>(operations: I) -> Self {
        operations.into_iter().fold(OperationSet::NONE, OperationSet::with)
    }
}

/// What is shown beyond the classic events of user collections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `showExpandedEvents`.
    pub expanded: bool,
    /// `showSystemEvents`.
    pub system: bool,
}

impl Scope {
    /// Does a stream of this scope show the entry as an event?
    pub fn shows(&self, entry: &LogEntry, shown: Shown) -> bool {
        let operation = OperationType::of(entry);
        match operation {
            OperationType::Gap => return true,
            OperationType::Corrected => return false,
            _ => {}
        }
        if !shown.expanded && (!operation.is_classic() || is_view_change(entry)) {
            return false;
        }
        match self {
            Scope::Collection(namespace) => shows_in_collection(namespace, entry),
            Scope::Database(db) => touched(entry).any(|n| n.db == *db && (shown.system || is_user_collection(n))),
            Scope::Cluster => touched(entry).any(|n| !is_internal_db(&n.db) && (shown.system || is_user_collection(n))),
        }
    }

    /// Does the entry, if shown, end a stream of this scope?
    pub fn is_invalidated_by(&self, entry: &LogEntry) -> bool {
        match self {
            Scope::Collection(_) => matches!(entry.operation, Operation::Drop | Operation::Rename { .. }),
            Scope::Database(_) => matches!(entry.operation, Operation::DropDatabase),
            Scope::Cluster => false,
        }
    }
}

fn shows_in_collection(namespace: &Namespace, entry: &LogEntry) -> bool {
    // A stream on a name never tells about a view of that name.
    !matches!(entry.operation, Operation::DropDatabase)
        && !is_view_change(entry)
        && touched(entry).any(|touched| touched == namespace)
}

/// The entry's namespace, and for a rename the target's.
pub(crate) fn touched(entry: &LogEntry) -> impl Iterator<Item = &Namespace> {
    let target = match &entry.operation {
        Operation::Rename { to, .. } => Some(to),
        _ => None,
    };
    std::iter::once(&entry.namespace).chain(target)
}

/// The server derives these from writes to `system.views`, and shows them only as expanded events.
fn is_view_change(entry: &LogEntry) -> bool {
    match &entry.operation {
        Operation::Create { kind, .. } => *kind != CollectionKind::Collection,
        Operation::Drop | Operation::Modify { .. } => entry.collection.is_none(),
        _ => false,
    }
}

/// `admin`, `config` and `local` have no change streams.
pub fn is_internal_db(db: &str) -> bool {
    matches!(db, "admin" | "config" | "local")
}

fn is_user_collection(namespace: &Namespace) -> bool {
    !namespace.collection.starts_with("system.") && !namespace.collection.starts_with('$')
}

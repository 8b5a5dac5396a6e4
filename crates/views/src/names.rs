//! What names mean to a session: views, collections and system tables of its database.

use std::sync::Arc;

use sql::catalog::{collection_columns, stream_columns};
use sql::{Catalog, Relation, Source};

use crate::definition::Definitions;
use crate::read::SystemTables;

/// One consistent set of names, for binding one statement.
#[derive(Clone)]
pub struct SessionCatalog {
    pub database: String,
    pub definitions: Arc<Definitions>,
    pub collections: Arc<store::Catalog>,
    pub system: Arc<dyn SystemTables>,
    /// A view's query may read a collection that does not exist (yet, or any more): it is empty.
    pub absent_collections: bool,
}

impl std::fmt::Debug for SessionCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionCatalog({})", self.database)
    }
}

impl SessionCatalog {
    fn view(&self, db: &str, name: &str) -> Option<Relation> {
        let view = self.definitions.view(db, name)?;
        let source = Source::View { db: db.to_owned(), name: name.to_owned() };
        Some(Relation { source, columns: view.plan.fields().to_vec(), open: None, key: vec![] })
    }

    fn collection(&self, db: &str, name: &str) -> Option<Relation> {
        match self.collections.find(db, name) {
            Some(collection) if collection.is_view() => return None,
            None if !self.absent_collections => return None,
            _ => {}
        }
        let source = Source::Collection { db: db.to_owned(), name: name.to_owned() };
        Some(Relation { source, columns: collection_columns(), open: Some(1), key: vec![0] })
    }
}

impl Catalog for SessionCatalog {
    fn database(&self) -> &str {
        &self.database
    }

    fn relation(&self, qualifier: Option<&str>, name: &str) -> Option<Relation> {
        if let Some(schema @ ("pg_catalog" | "information_schema")) = qualifier {
            return self.system.relation(&self.database, Some(schema), name);
        }
        // "public" is where PostgreSQL clients look for what has no schema here.
        let db = qualifier.filter(|q| *q != "public").unwrap_or(&self.database);
        // What is absent is a collection only if it is nothing else.
        let system = || self.system.relation(&self.database, qualifier, name);
        match self.view(db, name) {
            None if self.collections.find(db, name).is_some() => self.collection(db, name).or_else(system),
            None => system().or_else(|| self.collection(db, name)),
            found => found,
        }
    }

    fn relation_number(&self, name: &str) -> Option<i64> {
        self.system.number(&self.database, name)
    }

    fn stream(&self, name: &str) -> Option<Relation> {
        let (db, name) = name.split_once('.').unwrap_or((&self.database, name));
        self.definitions.stream(db, name)?;
        let source = Source::Stream { db: db.to_owned(), name: name.to_owned(), since: None, up_to: None };
        Some(Relation { source, columns: stream_columns(), open: None, key: vec![0] })
    }
}

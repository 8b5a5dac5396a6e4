//! Change streams over the documents of this database.

use changes::{ChangeStream, StreamRequest, Target};
use document::{DocBuf, RawDoc};
use store::Catalog;

use super::requests::{Aggregate, Origin};
use crate::{Cursor, Error, Headwater, Result};

/// Whether a pipeline reads the change log.
pub(super) fn is_change_stream(pipeline: &[DocBuf]) -> bool {
    pipeline.first().is_some_and(|stage| stage.as_doc().contains("$changeStream"))
}

impl Headwater {
    /// Opens a change stream: a pipeline that begins with `$changeStream`, on a collection, a
    /// database, or (on `admin`, with `allChangesForCluster`) everything.
    ///
    /// ```
    /// # use engine::documents::*;
    /// # use engine::{BatchLimit, Headwater, Namespace, Options};
    /// # use document::Doc;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let db = Headwater::open(Options::new(dir.path()))?;
    /// let orders = Namespace::new("shop", "orders");
    /// let pipeline = vec![Doc::new().with("$changeStream", Doc::new()).to_buf()];
    /// let mut stream = db.watch(Aggregate::new(Origin::Collection(orders.clone()), pipeline))?;
    /// db.insert(orders, vec![Doc::new().with("_id", 1).to_buf()]).await?;
    /// let batch = stream.next_batch(BatchLimit::default(), None).await?;
    /// assert_eq!(batch.documents[0].get("operationType").unwrap().as_str(), Some("insert"));
    /// # Ok::<(), engine::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch(&self, aggregate: Aggregate) -> Result<Cursor> {
        let catalog = self.store().catalog();
        let (db, collection) = match &aggregate.origin {
            Origin::Collection(namespace) => (&*namespace.db, Some(&*namespace.collection)),
            Origin::Database(db) => (db.as_str(), None),
        };
        refuse_view(&catalog, db, collection)?;
        // A change stream compares simply unless told otherwise; the collection's default plays no part.
        let context = self.evaluation(aggregate.variables.as_ref()).context(aggregate.collation.as_ref(), None)?;
        let stages: Vec<RawDoc<'_>> = aggregate.pipeline.iter().map(DocBuf::as_doc).collect();
        let request = StreamRequest::parse(&stages, Target { db, collection }, &context)?;
        Ok(Cursor::Changes(Box::new(ChangeStream::open(self.hub(), request)?)))
    }
}

fn refuse_view(catalog: &Catalog, db: &str, collection: Option<&str>) -> Result<()> {
    let found = collection.and_then(|name| catalog.find(db, name));
    match found {
        Some(found) if found.is_view() => {
            let message = format!("Namespace {} is a view, not a collection", found.namespace);
            Err(Error::new(166, message))
        }
        _ => Ok(()),
    }
}

//! Change streams over the documents of this database.

use base::ClusterTime;
use changes::{ChangeStream, ResumeToken, StreamRequest, Target};
use document::{DocBuf, Raw, RawDoc};
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

    /// With a source: does the captured log reach back to where a `$changeStream` wants to begin?
    /// Says yes to what cannot be read, so that opening it says what is wrong.
    pub fn can_watch_from(&self, stage: RawDoc<'_>) -> bool {
        let token = stage.get("resumeAfter").or_else(|| stage.get("startAfter")).and_then(Raw::as_document);
        let from = match (token, stage.get("startAtOperationTime")) {
            (Some(token), _) => ResumeToken::parse(token).ok().map(|token| token.cluster_time()),
            (None, Some(Raw::Timestamp(time))) => Some(ClusterTime(time)),
            _ => None,
        };
        let removed = self.hub().source().removed_up_to();
        from.is_none_or(|from| removed.is_none_or(|removed| from > removed))
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

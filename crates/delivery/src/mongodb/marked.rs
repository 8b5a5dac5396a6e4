//! Documents and marks in one transaction.

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::ReturnDocument;

use super::{Mongo, Open, fault_of, raw};
use crate::event::{Event, Kind, Position, net};
use crate::target::{Delivery, Fault, Marks};

const MARKS: &str = "headwater_marks";
/// How often a commit whose answer was lost is asked for again.
const COMMITS: usize = 3;

fn document(stored: &document::DocBuf) -> Result<Document, Fault> {
    Document::try_from(&*raw(stored)?).map_err(Fault::refused)
}

impl Mongo {
    /// Lets no earlier holder write any more, and reads what was written.
    pub(super) async fn raise_fence(&self, open: &Open, fence: u64) -> Result<Marks, Fault> {
        let marks = open.client.database(&self.options.db).collection::<Document>(MARKS);
        let filter = doc! { "_id": &self.options.sink, "fence": { "$lte": fence as i64 } };
        let new = doc! { "low": Position::START.to_string(), "finished": Bson::Array(Vec::new()) };
        let update = doc! { "$set": { "fence": fence as i64 }, "$setOnInsert": new };
        let raised = marks.find_one_and_update(filter, update).upsert(true).return_document(ReturnDocument::After);
        let found = match raised.await {
            // There is one, with a larger fence.
            Err(error) if is_duplicate(&error) => return Err(Fault::superseded()),
            found => found.map_err(|e| fault_of(&e))?,
        };
        let damaged = || Fault::unreachable("headwater_marks holds what is no position of a sink");
        let found = found.ok_or_else(damaged)?;
        let position = |text: Option<&str>| text.and_then(|text| text.parse::<Position>().ok()).ok_or_else(damaged);
        let finished = found.get_array("finished").map_err(|_| damaged())?;
        let finished: Result<_, _> = finished.iter().map(|value| position(value.as_str())).collect();
        Ok(Marks { low: position(found.get_str("low").ok())?, finished: finished? })
    }

    pub(super) async fn deliver_marked(&self, open: &Open, delivery: &Delivery) -> Result<(), Fault> {
        let mut session = open.client.start_session().await.map_err(|e| fault_of(&e))?;
        session.start_transaction().await.map_err(|e| fault_of(&e))?;
        if let Err(fault) = self.statements(open, delivery, &mut session).await {
            let _ = session.abort_transaction().await;
            return Err(fault);
        }
        let mut committed = session.commit_transaction().await;
        for _ in 1..COMMITS {
            match committed {
                Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                    committed = session.commit_transaction().await;
                }
                _ => break,
            }
        }
        committed.map_err(|e| fault_of(&e))
    }

    async fn statements(&self, open: &Open, delivery: &Delivery, session: &mut ClientSession) -> Result<(), Fault> {
        let db = open.client.database(&self.options.db);
        let marks = db.collection::<Document>(MARKS);
        let fence = delivery.fence as i64;
        let filter = doc! { "_id": &self.options.sink, "fence": { "$lte": fence } };
        let marked = marks.update_one(filter, marking(&delivery.marks)).session(&mut *session).await;
        if marked.map_err(|e| fault_of(&e))?.matched_count == 0 {
            return Err(Fault::superseded());
        }
        let (rows, gone) = net(&delivery.events);
        let mut updates = Vec::with_capacity(rows.len());
        for event in rows {
            updates.push(self.replacement(event)?);
        }
        let mut deletes = Vec::with_capacity(gone.len());
        for event in gone {
            deletes.push(Bson::Document(doc! { "q": self.filter(event)?, "limit": 1 }));
        }
        let name = self.options.collection.as_str();
        for command in [
            (!updates.is_empty()).then(|| doc! { "update": name, "updates": updates }),
            (!deletes.is_empty()).then(|| doc! { "delete": name, "deletes": deletes }),
        ]
        .into_iter()
        .flatten()
        {
            let reply = db.run_command(command).session(&mut *session).await.map_err(|e| fault_of(&e))?;
            refuse_write_errors(&reply)?;
        }
        Ok(())
    }

    /// Without $eq, an `_id` that is a document would be read for operators.
    fn filter(&self, event: &Event) -> Result<Document, Fault> {
        let id = document(&event.id_in_collection(self.options.own_ids))?;
        Ok(doc! { "_id": { "$eq": id.get("_id").cloned().unwrap_or(Bson::Null) } })
    }

    fn replacement(&self, event: &Event) -> Result<Bson, Fault> {
        debug_assert_eq!(event.kind, Kind::Upsert, "only rows are written");
        let id = event.id_in_collection(self.options.own_ids);
        let row = document(&event.document_in_collection(&id, self.options.own_ids))?;
        Ok(Bson::Document(doc! { "q": self.filter(event)?, "u": row, "upsert": true }))
    }
}

/// A position never goes back; what is below it needs no mention.
fn marking(marks: &Marks) -> Vec<Document> {
    let low = doc! { "$max": ["$low", marks.low.to_string()] };
    let finished: Vec<String> = marks.finished.iter().map(Position::to_string).collect();
    let all = doc! { "$setUnion": ["$finished", finished] };
    let kept = doc! { "$filter": { "input": all, "as": "f", "cond": { "$gte": ["$$f", low.clone()] } } };
    vec![doc! { "$set": { "low": low, "finished": kept } }]
}

fn is_duplicate(error: &Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    match &*error.kind {
        ErrorKind::Command(error) => error.code == 11000,
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == 11000,
        _ => false,
    }
}

fn refuse_write_errors(reply: &Document) -> Result<(), Fault> {
    let Some(Bson::Document(error)) = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) else {
        return Ok(());
    };
    let message = error.get_str("errmsg").unwrap_or("the server refused a write");
    match error.get_i32("code") {
        // The document fails the collection's validation, or is too large.
        Ok(121 | 10334) => Err(Fault::refused(message)),
        _ => Err(Fault::failed(message)),
    }
}

//! What keeping pre- and post-images costs a writer.

use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{Document, doc};

use crate::Result;
use crate::figures::{report, report_rate};
use crate::load::{BATCH, Load};
use crate::server::{Durability, Server};

const DOCUMENTS: u64 = 50_000;
/// The two ways take turns, so that both meet the same disk and the same neighbours.
const ROUNDS: u64 = 5;

/// How long each kind of write took altogether.
#[derive(Default)]
struct Took {
    inserts: Duration,
    updates: Duration,
}

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    let db = server.mongo().await?;
    let (mut without, mut with) = (Took::default(), Took::default());
    for round in 0..ROUNDS {
        write(&db, &format!("without{round}"), false, &mut without).await?;
        write(&db, &format!("with{round}"), true, &mut with).await?;
    }
    for (kind, without, with) in
        [("inserts", without.inserts, with.inserts), ("updates", without.updates, with.updates)]
    {
        report_rate(&format!("images: {kind} without, batches of 1,000"), DOCUMENTS, without, "documents/s");
        report_rate(&format!("images: {kind} with pre- and post-images"), DOCUMENTS, with, "documents/s");
        report(
            &format!("images: {kind} with, of the rate without"),
            100.0 * without.as_secs_f64() / with.as_secs_f64(),
            "%",
        );
    }
    Ok(())
}

async fn write(db: &Database, name: &str, images: bool, took: &mut Took) -> Result {
    db.create_collection(name)
        .change_stream_pre_and_post_images(
            mongodb::options::ChangeStreamPreAndPostImages::builder().enabled(images).build(),
        )
        .await?;
    let collection = db.collection::<Document>(name);
    let count = DOCUMENTS / ROUNDS;
    took.inserts += Load::new()?.insert(&collection, count).await?;
    let begun = Instant::now();
    for batch in 0..count / BATCH {
        let from = (batch * BATCH) as i64;
        let to = from + BATCH as i64;
        let done = collection
            .update_many(doc! { "_id": { "$gte": from, "$lt": to } }, doc! { "$inc": { "amount": 1_i64 } })
            .await?;
        if done.modified_count != BATCH {
            return Err(format!("updated {} documents instead of {BATCH}", done.modified_count).into());
        }
    }
    took.updates += begun.elapsed();
    Ok(())
}

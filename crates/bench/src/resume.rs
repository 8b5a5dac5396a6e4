//! Resuming from a token: the time to the first event must not depend on how much lies before or behind.

use std::time::Instant;

use futures::StreamExt;
use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::change_stream::event::ResumeToken;

use crate::Result;
use crate::figures::report_latency;
use crate::load::Load;
use crate::server::{Durability, Server};

const DOCUMENTS: u64 = 300_000;
/// Where tokens are taken, in percent of the log.
const PLACES: [u64; 3] = [1, 50, 99];
const TRIES: usize = 50;

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::NoSync)?;
    let collection = server.mongo().await?.collection::<Document>("events");
    let raw = server.mongo().await?.collection::<RawDocumentBuf>("events");
    let mut load = Load::new()?;
    let mut written = 0;
    let mut tokens: Vec<(u64, ResumeToken)> = Vec::new();
    for place in PLACES {
        let until = DOCUMENTS * place / 100;
        load.insert(&collection, until - written).await?;
        written = until;
        let stream = raw.watch().await?;
        tokens.push((place, stream.resume_token().ok_or("a new stream has a token")?));
    }
    load.insert(&collection, DOCUMENTS - written).await?;
    for (place, token) in tokens {
        let mut took = Vec::with_capacity(TRIES);
        for _ in 0..TRIES {
            let begun = Instant::now();
            let mut stream = raw.watch().resume_after(token.clone()).batch_size(1).await?;
            let event = stream.next().await.ok_or("the stream ended")??;
            took.push(begun.elapsed());
            let id = event.full_document.ok_or("an insert has its document")?.get_i64("_id")?;
            if id as u64 != DOCUMENTS * place / 100 {
                return Err(format!("resumed at document {id}, not at {place} %").into());
            }
        }
        report_latency(&format!("resume: watch() to first event, token at {place} % of 300,000 events"), &mut took);
    }
    Ok(())
}

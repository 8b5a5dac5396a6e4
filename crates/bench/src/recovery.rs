//! How long a directory takes to open after its server was killed in the middle of its life.

use mongodb::bson::{Document, doc};

use crate::Result;
use crate::figures::{ms, report};
use crate::load::Load;
use crate::server::{Durability, Server};

const DOCUMENTS: u64 = 300_000;

pub async fn run() -> Result {
    let directory = tempfile::tempdir()?;
    let server = Server::start(directory.path(), Durability::Sync)?;
    let collection = server.mongo().await?.collection::<Document>("events");
    Load::new()?.insert(&collection, DOCUMENTS).await?;
    server.kill()?;

    let server = Server::start(directory.path(), Durability::Sync)?;
    report(&format!("recovery: SIGKILL after {DOCUMENTS} documents, spawn to ready line"), ms(server.started_in), "ms");
    let found = server.mongo().await?.collection::<Document>("events").count_documents(doc! {}).await?;
    assert_eq!(found, DOCUMENTS, "everything acknowledged is there");
    server.kill()
}

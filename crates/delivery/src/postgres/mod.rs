//! A PostgreSQL table: rows upserted and deleted by key, with the sink's marks in the same
//! transaction, so each event has its effect exactly once.
//!
//! ```text
//!   BEGIN
//!     INSERT … SELECT … FROM jsonb_populate_recordset(null::t, '[…]') ON CONFLICT (key) DO UPDATE …
//!     DELETE … USING jsonb_populate_recordset(null::t, '[…]') …
//!     headwater_marks: (sink, low, finished, fence)
//!   COMMIT
//! ```
//!
//! PostgreSQL converts the values to its columns' types itself. Of several changes of one key in a
//! batch only the last one matters.

mod table;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config};

use crate::event::{Position, net};
use crate::target::{Delivery, Fault, Marks, Target};
use crate::tls;
use table::{Statements, Table};

/// Where and how to write.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=require`.
    pub url: String,
    /// `table` or `schema.table`.
    pub table: String,
    /// Columns that identify a row.
    pub key: Vec<String>,
    /// The columns that rows have; empty if they differ from row to row.
    pub columns: Vec<String>,
    /// Names this sink in `headwater_marks`.
    pub sink: String,
}

pub struct Postgres {
    config: Config,
    options: PostgresOptions,
    session: Mutex<Option<Session>>,
}

struct Session {
    client: Client,
    table: Table,
}

impl Postgres {
    /// # Errors
    /// A sentence, if the URL cannot be used.
    pub fn new(options: PostgresOptions) -> Result<Self, String> {
        let mut config: Config = options.url.parse().map_err(|error| format!("the target: {error}"))?;
        config.application_name("headwater");
        config.connect_timeout(std::time::Duration::from_secs(10));
        Ok(Postgres { config, options, session: Mutex::new(None) })
    }

    async fn connect(&self) -> Result<Session, Fault> {
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls::client_config());
        let (client, connection) = self.config.connect(tls).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of a sink ended");
            }
        });
        client.batch_execute(table::CREATE_MARKS).await.map_err(|error| fault_of(&error))?;
        let table = Table::read(&client, &self.options).await?;
        Ok(Session { client, table })
    }

    /// Runs something in a session; one that failed is not used again.
    async fn with_session<T>(&self, work: impl AsyncFnOnce(&mut Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut held = self.session.lock().await;
        // Taken out, so that a cancelled use leaves no half-used session behind.
        let mut session = match held.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => self.connect().await?,
        };
        let done = work(&mut session).await?;
        *held = Some(session);
        Ok(done)
    }
}

fn unreachable(error: &tokio_postgres::Error) -> Fault {
    Fault::unreachable(shown(error))
}

/// The server's own words, where there are any.
fn shown(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{} {}{detail}", db.code().code(), db.message());
    }
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

fn fault_of(error: &tokio_postgres::Error) -> Fault {
    let Some(code) = error.code() else { return unreachable(error) };
    match code.code().get(..2) {
        // Connection, resources, shutdown, credentials, no such database.
        Some("08" | "53" | "57" | "28" | "3D") => unreachable(error),
        // The value does not fit the column's type.
        Some("22") => Fault::refused(shown(error)),
        _ => Fault::failed(shown(error)),
    }
}

#[async_trait]
impl Target for Postgres {
    async fn check(&self) -> Result<(), Fault> {
        self.with_session(async |_| Ok(())).await
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    async fn marks(&self, fence: u64) -> Result<Option<Marks>, Fault> {
        let sink = self.options.sink.clone();
        let fence = fence as i64;
        self.with_session(async move |session| {
            let raised = session.client.query_one(table::RAISE_FENCE, &[&sink, &fence]).await;
            if raised.map_err(|e| fault_of(&e))?.get::<_, i64>(0) > fence {
                return Err(Fault::superseded());
            }
            let found = session.client.query_opt(table::READ_MARKS, &[&sink]).await.map_err(|e| fault_of(&e))?;
            let Some(row) = found else { return Ok(None) };
            let position = |text: &str| {
                text.parse().map_err(|()| Fault::unreachable("headwater_marks holds what is no position of a sink"))
            };
            let low = position(&row.get::<_, String>(0))?;
            let finished: Result<Vec<Position>, Fault> =
                row.get::<_, Vec<String>>(1).iter().map(|text| position(text)).collect();
            Ok(Some(Marks { low, finished: finished? }))
        })
        .await
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let (rows, gone) = net(&delivery.events);
        let low = delivery.marks.low.to_string();
        let finished: Vec<String> = delivery.marks.finished.iter().map(Position::to_string).collect();
        let (sink, fence) = (self.options.sink.clone(), delivery.fence as i64);
        self.with_session(async move |session| {
            let statements = session.table.statements(&rows, &gone);
            let transaction = session.client.transaction().await.map_err(|e| fault_of(&e))?;
            for Statements { text, rows } in &statements {
                transaction.execute(text.as_str(), &[rows]).await.map_err(|e| fault_of(&e))?;
            }
            let marked = transaction.execute(table::WRITE_MARKS, &[&sink, &low, &finished, &fence]).await;
            if marked.map_err(|e| fault_of(&e))? == 0 {
                return Err(Fault::superseded());
            }
            transaction.commit().await.map_err(|e| fault_of(&e))
        })
        .await
    }
}

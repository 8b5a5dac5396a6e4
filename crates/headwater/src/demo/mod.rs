//! `headwater demo`: a shop that lives for a while, seen through change streams and views.
//!
//! ```text
//!   shop.rs ──official MongoDB driver──> server (temporary directory)
//!      │ keeps the books itself             │ streams, views
//!      ▼                                    ▼
//!   what was written   ==(at the end)==  what the views show ──> screen.rs, the web page
//! ```
//!
//! Nothing here is private to the demo: the same statements work in psql, the same writes from any
//! driver.

mod ledger;
mod screen;
mod shop;
mod statements;

use std::time::{Duration, Instant};

use clap::Args;
use engine::Headwater;
use engine::sql::{Outcome, SqlSession};

use crate::config::Config;
use crate::serve::{Server, StopSignal};
use ledger::Ledger;
use screen::Screen;

/// The database of the demo.
pub const DATABASE: &str = "real_time_app";

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Stop after this many seconds; exit 0 only if the views show exactly what was written.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Writes per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
}

/// Runs the demo until Ctrl-C or `--seconds`.
pub fn run(args: DemoArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    runtime.block_on(async {
        // Before there is anything to leave behind.
        let stop = StopSignal::listen()?;
        let directory = tempfile::tempdir().map_err(|e| format!("cannot make a temporary directory: {e}"))?;
        let server = start_server(directory.path()).await?;
        let result = live(&server, &args, stop).await;
        server.stop().await;
        directory.close().map_err(|e| format!("cannot remove the temporary directory: {e}"))?;
        result
    })
}

/// On the usual ports if they are free, else on any.
async fn start_server(directory: &std::path::Path) -> Result<Server, String> {
    let config = |mongo: u16, pg: u16, http: u16| {
        let local = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Config {
            data_dir: directory.join("data"),
            mongo: local(mongo),
            pg: local(pg),
            http: local(http),
            http_allow_origin: Vec::new(),
            sync: true,
            enable_test_commands: false,
            source: None,
            users: None,
            tls: None,
            log: "warn".into(),
        }
    };
    match Server::start(&config(27017, 5433, 8027)).await {
        Ok(server) => Ok(server),
        Err(_) => Server::start(&config(0, 0, 0)).await,
    }
}

async fn live(server: &Server, args: &DemoArgs, mut stop: StopSignal) -> Result<(), String> {
    let uri = format!("mongodb://{}/?directConnection=true", server.mongo);
    let client = mongodb::Client::with_uri_str(&uri).await.map_err(|e| format!("the driver cannot connect: {e}"))?;
    // A view over a collection needs the collection to be there.
    for name in ["user_profiles", "orders", "products", "reviews"] {
        client.database(DATABASE).create_collection(name).await.map_err(written)?;
    }
    define(&server.engine).await?;
    let mut screen = Screen::open(server).await?;
    let mut shop = shop::Shop::open(client.database(DATABASE)).await.map_err(written)?;
    let end = args.seconds.map(|n| Instant::now() + Duration::from_secs(n));
    let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(args.rate)));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            _ = pace.tick() => shop.step().await.map_err(written)?,
            drawn = screen.next() => drawn?,
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    let checked = verify(&server.engine, shop.ledger()).await;
    screen.close();
    match checked {
        Ok(report) => {
            eprintln!("{report}");
            Ok(())
        }
        Err(differences) => Err(format!("the views do not show what was written:\n{differences}")),
    }
}

fn written(error: mongodb::error::Error) -> String {
    format!("a write of the demo failed: {error}")
}

async fn define(engine: &Headwater) -> Result<(), String> {
    for statement in statements::STATEMENTS {
        query(engine, statement).await?;
    }
    Ok(())
}

/// Runs one statement; its rows as text.
async fn query(engine: &Headwater, text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut session = SqlSession::new(engine.clone(), DATABASE, "demo");
    let parsed = sql::parser::parse(text).map_err(|e| format!("{e}: {text}"))?;
    let mut answer = Vec::new();
    for statement in parsed {
        let own = &text[statement.range.clone()];
        let done = session.execute(&statement.statement, own, vec![], &[]).await.map_err(|e| format!("{e}: {own}"))?;
        if let Outcome::Rows { fields, rows, .. } = done.outcome {
            answer = rows
                .iter()
                .map(|row| row.iter().zip(&fields).map(|(d, f)| engine::datum_text(d, &f.ty)).collect())
                .collect();
        }
    }
    Ok(answer)
}

/// Compares every view with the books of the shop.
async fn verify(engine: &Headwater, ledger: &Ledger) -> Result<String, String> {
    let mut differences = String::new();
    for (text, expected) in [
        (statements::READ_ORDERS_NOW, ledger.orders_now()),
        (statements::READ_ACTIVITY, ledger.activity()),
        (statements::READ_SALES, ledger.sales()),
    ] {
        let shown = query(engine, text).await?;
        if shown != expected {
            differences.push_str(&format!("{text}\n  shown:    {shown:?}\n  expected: {expected:?}\n"));
        }
    }
    if differences.is_empty() {
        Ok(format!("checked: the views equal the {} writes of this run", ledger.writes()))
    } else {
        Err(differences)
    }
}

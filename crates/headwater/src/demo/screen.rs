//! The terminal: the KPI view as a table that keeps moving, with the lag; and what to try next.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use base::Clock;
use comfy_table::{Table, presets};
use engine::ViewSubscription;

use super::DATABASE;
use crate::serve::Server;

/// Time between two drawings.
const PACE: Duration = Duration::from_millis(200);

pub struct Screen {
    subscription: ViewSubscription,
    rows: BTreeMap<Vec<String>, i64>,
    introduction: String,
    lag_ms: i64,
    changes: u64,
    is_terminal: bool,
    pace: tokio::time::Interval,
}

impl Screen {
    pub async fn open(server: &Server) -> Result<Self, String> {
        let subscription = server.engine.follow_view(DATABASE, "sales").await.map_err(|e| e.to_string())?;
        let introduction = introduction(server);
        let is_terminal = std::io::stdout().is_terminal();
        if !is_terminal {
            print(&introduction);
        }
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Screen { subscription, rows: BTreeMap::new(), introduction, lag_ms: 0, changes: 0, is_terminal, pace })
    }

    /// Waits for the next drawing and draws it.
    pub async fn next(&mut self) -> Result<(), String> {
        self.pace.tick().await;
        let Some(progress) = self.subscription.now() else { return Ok(()) };
        let progress = progress.map_err(|e| e.to_string())?;
        if progress.wall_ms > 0 {
            self.lag_ms = (base::SystemClock.now_ms() - progress.wall_ms).max(0);
        }
        self.changes += progress.deltas.len() as u64;
        for (row, count) in progress.deltas {
            let texts: Vec<String> =
                row.iter().zip(&self.subscription.fields).map(|(d, f)| engine::datum_text(d, &f.ty)).collect();
            let held = self.rows.entry(texts).or_default();
            *held += count;
        }
        self.rows.retain(|_, count| *count > 0);
        if self.is_terminal {
            self.draw();
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(self.subscription.fields.iter().map(|f| f.name.clone()));
        for row in self.rows.keys() {
            table.add_row(row.clone());
        }
        table
    }

    fn draw(&self) {
        // Home, then each line with the rest of it cleared, then everything below.
        let text = format!(
            "{}\n  sales, as the view keeps it ({} row changes, at most {} ms behind, Ctrl-C ends):\n{}\n",
            self.introduction,
            self.changes,
            self.lag_ms.max(PACE.as_millis() as i64),
            self.table()
        );
        print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
    }

    /// The last state, where it was not drawn before.
    pub fn close(&self) {
        if !self.is_terminal {
            print(&format!("{}\n", self.table()));
        }
    }
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn introduction(server: &Server) -> String {
    let (mongo, pg, http) = (server.mongo, server.pg, server.http);
    format!(
        "Headwater demo: a shop writes through the official MongoDB driver.

  page     http://{http}/
  psql     psql -h {} -p {} -d {DATABASE} -c 'SELECT * FROM sales ORDER BY status'
           psql -h {} -p {} -d {DATABASE} -c 'COPY (SUBSCRIBE sales) TO STDOUT'
  python   python3 -c 'import pymongo; [print(c[\"operationType\"], c[\"ns\"][\"coll\"]) for c in pymongo.MongoClient(\"mongodb://{mongo}/?directConnection=true\").{DATABASE}.watch()]'
  node     node -e 'new (require(\"mongodb\").MongoClient)(\"mongodb://{mongo}/?directConnection=true\").db(\"{DATABASE}\").watch().on(\"change\", c => console.log(c.operationType, c.ns.coll))'
",
        pg.ip(),
        pg.port(),
        pg.ip(),
        pg.port()
    )
}

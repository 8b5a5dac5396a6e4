//! Golden scripts over the whole engine: writes on one side; rows, events and deltas on the other.
//!
//! ```text
//!   > STATEMENT                   SQL; its rows, its tag or its error
//!   insert COLL {…}, {…}          documents, in Extended JSON
//!   update COLL {filter}, {…}     the first match; updateMany: all; upsert: or make it
//!   delete COLL {filter}          all that match
//!   drop COLL · rename A B
//!   begin · commit · abort        the writes between belong to one transaction
//!   watch COLL [stages]           a change stream from here on
//!   subscribe VIEW                its rows, then its deltas
//!   restart                       closes the database and opens it again
//! ```
//!
//! After each line come the events (`COLL! {…}`, without what differs from run to run) and the
//! deltas (`VIEW @n +(…)`, n counting the tokens that the subscription has shown) that it caused.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use document::json::{Dialect, parse_extended_json, to_extended_json};
use document::{Doc, DocBuf, Raw, Value};
use engine::documents::{
    Aggregate, Caller, DeleteStatement, Modification, Origin, RenameCollection, SessionCall, UpdateStatement, Write,
    WriteBatch,
};
use engine::sql::{Outcome, SqlSession};
use engine::{BatchLimit, Cursor, Feed, Headwater, Namespace, Options, datum_text};

const DB: &str = "shop";
/// Of an event: what differs from run to run.
const VARYING: [&str; 6] = ["_id", "clusterTime", "wallTime", "collectionUUID", "lsid", "txnNumber"];

struct World {
    db: Headwater,
    sql: SqlSession,
    dir: tempfile::TempDir,
    watches: Vec<(String, Cursor)>,
    feeds: Vec<Followed>,
    /// The open transaction's number and whether it has begun.
    transaction: Option<(i64, bool)>,
    transactions: i64,
}

struct Followed {
    name: String,
    feed: Feed,
    tokens: usize,
}

fn open(dir: &std::path::Path) -> (Headwater, SqlSession) {
    let db = Headwater::open(Options::new(dir)).unwrap();
    let sql = SqlSession::new(db.clone(), DB, "tester");
    (db, sql)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (db, sql) = open(dir.path());
        World { db, sql, dir, watches: vec![], feeds: vec![], transaction: None, transactions: 0 }
    }

    async fn run(&mut self, commands: &str) -> String {
        let mut out = String::new();
        let mut lines = commands.lines().peekable();
        while let Some(line) = lines.next() {
            let answer = match line.strip_prefix("> ") {
                Some(first) => {
                    let mut statement = first.to_owned();
                    while let Some(more) = lines.next_if(|next| next.starts_with("  ")) {
                        let _ = write!(statement, "\n{more}");
                    }
                    self.statement(&statement).await
                }
                None => self.command(line).await.unwrap_or_else(|e| format!("{} {}\n", e.code(), e.message())),
            };
            out += &answer;
            out += &self.caused().await;
        }
        out
    }

    async fn statement(&mut self, text: &str) -> String {
        let parsed = match sql::parser::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return format!("{} {}\n", error.code, error.message),
        };
        let mut out = String::new();
        for one in parsed {
            match self.sql.execute(&one.statement, &text[one.range.clone()], vec![], &[]).await {
                Err(error) => {
                    self.sql.fail_transaction();
                    let _ = writeln!(out, "{} {}", error.code, error.message);
                }
                Ok(done) => {
                    for notice in done.notices {
                        let _ = writeln!(out, "NOTICE {}", notice.message);
                    }
                    match done.outcome {
                        Outcome::Rows { fields, rows, .. } => rows.iter().for_each(|row| {
                            let values: Vec<String> =
                                row.iter().zip(&fields).map(|(value, field)| datum_text(value, &field.ty)).collect();
                            let _ = writeln!(out, "{}", values.join(" | "));
                        }),
                        Outcome::Command { tag } => {
                            let _ = writeln!(out, "{tag}");
                        }
                        other => panic!("a script has no use for {other:?}"),
                    }
                }
            }
        }
        out
    }

    async fn command(&mut self, line: &str) -> engine::Result<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, json) = rest.split_once(' ').unwrap_or((rest, ""));
        let collection = Namespace::new(DB, name);
        match word {
            "insert" => self.write(collection, arguments(json).into_iter().map(Write::Insert)).await?,
            "update" | "updateMany" | "upsert" => {
                let [filter, change] = arguments(json).try_into().expect("a filter and a change");
                let mut statement = UpdateStatement::new(filter, Modification::Document(change));
                (statement.multi, statement.upsert) = (word == "updateMany", word == "upsert");
                self.write(collection, [Write::Update(statement)]).await?;
            }
            "delete" => {
                let [filter] = arguments(json).try_into().expect("a filter");
                let statement = DeleteStatement { filter, multi: true, collation: None, hint: None };
                self.write(collection, [Write::Delete(statement)]).await?;
            }
            "drop" => drop(self.db.drop_collection(collection).await?),
            "rename" => {
                let (from, to) = rest.split_once(' ').expect("two names");
                let (from, to) = (Namespace::new(DB, from), Namespace::new(DB, to));
                self.db.rename_collection(RenameCollection { from, to, drop_target: false }).await?;
            }
            "begin" => {
                self.transactions += 1;
                self.transaction = Some((self.transactions, false));
            }
            "commit" | "abort" => {
                let caller = self.caller();
                self.transaction = None;
                match word {
                    "commit" => drop(self.db.commit_transaction(&caller).await?),
                    _ => self.db.abort_transaction(&caller)?,
                }
            }
            "watch" => {
                let stages = [Doc::new().with("$changeStream", Doc::new()).to_buf()].into_iter().chain(arguments(json));
                let aggregate = Aggregate::new(Origin::Collection(collection), stages.collect());
                self.watches.push((name.to_owned(), self.db.watch(aggregate)?));
            }
            "subscribe" => self.subscribe(name).await,
            "restart" => self.restart(),
            _ => panic!("no such command: {line}"),
        }
        Ok(String::new())
    }

    fn caller(&mut self) -> Caller {
        let session = self.transaction.as_mut().map(|(number, begun)| SessionCall {
            lsid: base::Uuid([7; 16]),
            txn_number: Some(*number),
            in_transaction: true,
            start: !std::mem::replace(begun, true),
        });
        Caller { session, ..Caller::default() }
    }

    async fn write(&mut self, collection: Namespace, writes: impl IntoIterator<Item = Write>) -> engine::Result<()> {
        let caller = self.caller();
        let report = self.db.write(&caller, WriteBatch::on(collection, writes)).await?;
        report.results.into_iter().try_for_each(|(_, result)| result.map(drop))
    }

    async fn subscribe(&mut self, view: &str) {
        let text = format!("SUBSCRIBE {view}");
        let parsed = sql::parser::parse(&text).unwrap();
        match self.sql.execute(&parsed[0].statement, &text, vec![], &[]).await.unwrap().outcome {
            Outcome::Stream { feed } => self.feeds.push(Followed { name: view.to_owned(), feed, tokens: 0 }),
            other => panic!("no feed: {other:?}"),
        }
    }

    /// Watches and subscriptions end with the process that had them.
    fn restart(&mut self) {
        self.watches.clear();
        self.feeds.clear();
        self.db.close();
        // Another database in between, so that no handle keeps the directory's lock.
        let elsewhere = tempfile::tempdir().unwrap();
        (self.db, self.sql) = open(elsewhere.path());
        self.db.close();
        (self.db, self.sql) = open(self.dir.path());
    }

    /// Events and deltas that are there now.
    async fn caused(&mut self) -> String {
        let mut out = String::new();
        for (name, cursor) in &mut self.watches {
            let batch = cursor.next_batch(BatchLimit::default(), None).await.unwrap();
            for event in &batch.documents {
                let mut shown = Doc::new();
                for (field, value) in event.as_doc().iter().filter(|(field, _)| !VARYING.contains(field)) {
                    shown = shown.with(field, value.to_value());
                }
                let shown = shown.to_buf();
                let _ = writeln!(out, "{name}! {}", to_extended_json(Raw::Document(shown.as_doc()), Dialect::Relaxed));
            }
        }
        for followed in &mut self.feeds {
            // A read waits until the views have all that was acknowledged; then the deltas are there.
            let text = format!("SELECT 1 FROM {} LIMIT 0", followed.name);
            let parsed = sql::parser::parse(&text).unwrap();
            let _ = self.sql.execute(&parsed[0].statement, &text, vec![], &[]).await;
            out += &followed.shown();
        }
        out
    }
}

impl Followed {
    fn shown(&mut self) -> String {
        let mut out = String::new();
        let mut token = String::new();
        loop {
            let next = pin!(self.feed.next()).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(next) = next else { return out };
            let rows = match next {
                None => return out + &format!("{} ends\n", self.name),
                Some(Err(error)) => {
                    return out + &format!("{} ends with {} {}\n", self.name, error.code, error.message);
                }
                Some(Ok(rows)) => rows,
            };
            let mut lines = Vec::new();
            for row in &rows {
                let texts: Vec<String> =
                    row.iter().zip(&self.feed.fields).map(|(value, field)| datum_text(value, &field.ty)).collect();
                if texts[0] != token {
                    token.clone_from(&texts[0]);
                    self.tokens += 1;
                }
                let diff: i64 = texts[1].parse().unwrap();
                let sign = if diff > 0 { "+" } else { "-" };
                let times = if diff.abs() == 1 { String::new() } else { format!("{}×", diff.abs()) };
                lines.push(format!("{} @{} {sign}{times}({})\n", self.name, self.tokens, texts[2..].join(", ")));
            }
            // Rows of one token have no order among themselves.
            lines.sort();
            out += &lines.concat();
        }
    }
}

/// `{…}, {…}` as documents.
fn arguments(json: &str) -> Vec<DocBuf> {
    let doc = parse_extended_json(&format!("{{\"all\": [{json}]}}")).unwrap_or_else(|e| panic!("{e}: {json}"));
    let Some(Value::Array(all)) = doc.get("all") else { panic!("not documents: {json}") };
    all.iter()
        .map(|value| match value {
            Value::Document(doc) => doc.to_buf(),
            other => panic!("not a document: {other:?}"),
        })
        .collect()
}

#[test]
fn every_script_gives_its_answer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    testkit::run_scripts(folder, || {
        let mut world = World::new();
        let handle = runtime.handle().clone();
        move |commands: &str| handle.block_on(world.run(commands))
    });
}

//! One connection's state, and what each of its statements does.

use std::future::Future;

use ::sql::binder::{BindOptions, Session, SetConfig};
use ::sql::parser::Statement;
use ::sql::parser::statement::{DiscardTarget, Name, Query, Rows as RowsStatement, Transaction};
use ::sql::{Datum, Field, Notice, Source, SqlError, Type};
use tokio::sync::oneshot;

use super::cursors::Cursors;
use super::ddl::{self, Done, notice};
use super::prepared::Prepared;
use super::queries::Answer;
use super::settings::Settings;
use super::{CopySource, Description, Executed, Outcome, explain, objects, read_after, sinks, source, view_ddl};
use crate::Headwater;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    /// Until ROLLBACK, after an error.
    Failed,
}

/// Who asks, for the catalogue.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub user: String,
    pub database: String,
    pub settings: Settings,
}

/// An SQL session.
///
/// ```
/// use engine::{Headwater, Options};
/// use engine::sql::{Outcome, SqlSession};
/// # let dir = tempfile::tempdir().unwrap();
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let db = Headwater::open(Options::new(dir.path())).unwrap();
/// let mut session = SqlSession::new(db.clone(), "shop", "me");
/// let text = "CREATE CHANGE STREAM s ON orders";
/// let parsed = ::sql::parser::parse(text).unwrap();
/// let executed = session.execute(&parsed[0].statement, text, vec![], &[]).await.unwrap();
/// assert!(matches!(executed.outcome, Outcome::Command { tag } if tag == "CREATE CHANGE STREAM"));
/// # db.close();
/// # });
/// ```
pub struct SqlSession {
    engine: Headwater,
    database: String,
    user: String,
    backend_pid: i32,
    settings: Settings,
    /// The settings when the transaction began, to return to at ROLLBACK.
    settings_before: Option<Settings>,
    status: TransactionStatus,
    savepoints: Vec<String>,
    pub(super) cursors: Cursors,
    pub(super) prepared: Prepared,
}

impl std::fmt::Debug for SqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlSession")
            .field("database", &self.database)
            .field("user", &self.user)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl SqlSession {
    /// A session of `user` in `database`.
    pub fn new(engine: Headwater, database: &str, user: &str) -> Self {
        SqlSession {
            engine,
            database: database.to_owned(),
            user: user.to_owned(),
            backend_pid: 0,
            settings: Settings::new(user),
            settings_before: None,
            status: TransactionStatus::Idle,
            savepoints: Vec::new(),
            cursors: Cursors::default(),
            prepared: Prepared::default(),
        }
    }

    /// A start-up parameter of the client. What is unknown or impossible is left as it is, as an
    /// old client's habit should not keep it out.
    pub fn set_startup(&mut self, name: &str, value: &str) {
        self.settings.set_startup(name, value);
    }

    /// The number by which the wire knows this session, for `pg_backend_pid()`.
    pub fn set_backend_pid(&mut self, pid: i32) {
        self.backend_pid = pid;
    }

    /// What the client is told at start-up and after each change.
    pub fn parameter_status(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    /// The columns of an open cursor.
    pub fn cursor_fields(&self, name: &str) -> Option<Vec<Field>> {
        self.cursors.fields(name).ok()
    }

    pub fn time_zone(&self) -> &str {
        self.settings.get("timezone").unwrap_or("UTC")
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// An error inside a transaction: nothing but its end is accepted from now on.
    pub fn fail_transaction(&mut self) {
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }

    pub(super) fn engine(&self) -> &Headwater {
        &self.engine
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { user: self.user.clone(), database: self.database.clone(), settings: self.settings.clone() }
    }

    pub(super) fn now_us(&self) -> i64 {
        self.engine.clock().now_us()
    }

    pub(super) fn bind_options(&self) -> BindOptions {
        let session = Session {
            user: self.user.clone(),
            time_zone: self.time_zone().to_owned(),
            backend_pid: self.backend_pid,
            settings: self.settings.by_name(),
            ..Session::default()
        };
        BindOptions { parameter_types: Vec::new(), session, now_us: self.now_us() }
    }

    /// Bounds a read by `statement_timeout`.
    pub(super) async fn within_timeout<T>(
        &self,
        read: impl Future<Output = Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        match self.settings.statement_timeout() {
            None => read.await,
            Some(limit) => tokio::time::timeout(limit, read)
                .await
                .unwrap_or_else(|_| Err(SqlError::new("57014", "canceling statement due to statement timeout"))),
        }
    }

    /// Waits until the server has reached what `headwater.read_after` names.
    pub(super) async fn await_read_after(&self) -> Result<(), SqlError> {
        match self.settings.get(read_after::SETTING).unwrap_or_default() {
            "" => Ok(()),
            text => read_after::wait(&self.engine, read_after::parse(text)?).await,
        }
    }

    fn check_transaction(&self, statement: &Statement) -> Result<(), SqlError> {
        let ends = matches!(
            statement,
            Statement::Transaction(Transaction::Commit | Transaction::Rollback | Transaction::RollbackTo(_))
        );
        if self.status == TransactionStatus::Failed && !ends {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new("25P02", message));
        }
        if self.status == TransactionStatus::InTransaction
            && let Some(what) = definition_tag(statement)
        {
            return Err(SqlError::new("25001", format!("{what} cannot run inside a transaction block")));
        }
        Ok(())
    }

    /// What the statement takes and gives; `types` are the parameter types that the client named.
    pub fn describe(&self, statement: &Statement, types: &[Option<Type>]) -> Result<Description, SqlError> {
        self.check_transaction(statement)?;
        let none = || Ok(Description { parameters: Vec::new(), fields: None });
        let rows = |fields: Vec<Field>| Ok(Description { parameters: Vec::new(), fields: Some(fields) });
        match statement {
            Statement::Query(query) => {
                let (parameters, fields) = self.describe_rows(&RowsStatement::Query(query.clone()), types)?;
                Ok(Description { parameters, fields: Some(fields) })
            }
            Statement::Subscribe(subscribe) => {
                let (parameters, fields) = self.describe_rows(&RowsStatement::Subscribe(subscribe.clone()), types)?;
                Ok(Description { parameters, fields: Some(fields) })
            }
            Statement::Copy(copy) => {
                let (parameters, _) = self.describe_rows(&copy.rows, types)?;
                Ok(Description { parameters, fields: None })
            }
            Statement::Execute { name, .. } => {
                let prepared = self.prepared.get(name)?;
                let described = self.describe(&prepared.statement, &prepared.types)?;
                Ok(Description { parameters: Vec::new(), fields: described.fields })
            }
            Statement::Fetch { cursor, move_only: false, .. } => rows(self.cursors.fields(cursor)?),
            Statement::Explain(explain) => {
                let parameters = explain::parameters(self, explain, types)?;
                Ok(Description { parameters, fields: Some(explain::fields()) })
            }
            Statement::ExplainChangeStream { .. } => rows(explain::fields()),
            Statement::Show { name } => rows(self.settings.show_fields(name.as_deref())?),
            Statement::ShowObjects(kind) => rows(objects::show_fields(*kind)),
            Statement::DescribeChangeStream { .. } => rows(objects::describe_fields()),
            Statement::Describe { name } => rows(objects::describe_fields_of(self, name)?),
            _ => none(),
        }
    }

    /// Runs a statement. `text` is its own text; `parameters` are of the types that `describe` gave.
    ///
    /// # Errors
    /// With SQLSTATE. In a transaction, the caller tells `fail_transaction`.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        text: &str,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
    ) -> Result<Executed, SqlError> {
        self.check_transaction(statement)?;
        let reported = self.settings.reported();
        let mut notices = Vec::new();
        let outcome = self.dispatch(statement, text, parameters, types, &mut notices).await?;
        let now = self.settings.reported();
        let changed_parameters = now.into_iter().filter(|parameter| !reported.contains(parameter)).collect();
        Ok(Executed { outcome, notices, changed_parameters })
    }

    async fn dispatch(
        &mut self,
        statement: &Statement,
        text: &str,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
        notices: &mut Vec<Notice>,
    ) -> Result<Outcome, SqlError> {
        match statement {
            Statement::Query(query) => {
                let answer = self.answer_query(query, parameters, types, notices).await?;
                self.set_configs(query, types)?;
                Ok(outcome_of(answer))
            }
            Statement::Subscribe(subscribe) => {
                Ok(Outcome::Stream { feed: self.subscribe(subscribe, parameters, types, notices).await? })
            }
            Statement::Copy(copy) => {
                let source = match self.answer(&copy.rows, parameters, types, notices).await? {
                    Answer::Rows(result) => CopySource::Rows { fields: result.fields, rows: result.rows },
                    Answer::Feed(feed) => CopySource::Stream(feed),
                };
                Ok(Outcome::Copy { source, options: copy.clone() })
            }
            Statement::DeclareCursor { name, hold, binary, rows } => {
                if !hold && self.status == TransactionStatus::Idle {
                    return Err(SqlError::new("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
                }
                if *binary {
                    return Err(SqlError::unsupported("BINARY cursor"));
                }
                self.cursors.check_free(name)?;
                let answer = self.answer(rows, parameters, types, notices).await?;
                self.cursors.open(name, *hold, answer)?;
                Ok(Outcome::command("DECLARE CURSOR"))
            }
            Statement::Fetch { cursor, count, move_only } => self.cursors.fetch(cursor, *count, *move_only).await,
            Statement::CloseCursor { name } => self.cursors.close(name.as_deref()),
            Statement::Explain(explain) => explain::explain(self, explain, types, parameters, notices).await,
            Statement::ExplainChangeStream { name } => explain::stream(self, name),
            Statement::Describe { name } => objects::describe(self, name),
            Statement::DescribeChangeStream { name } => objects::describe_stream(self, name),
            Statement::ShowObjects(kind) => objects::show(self, *kind).await,
            Statement::Transaction(transaction) => self.transaction(transaction, notices),
            Statement::Set { local, name, values } => self.set(*local, name, values.as_deref(), notices),
            Statement::Show { name } => {
                let (fields, rows) = self.settings.show(name.as_deref())?;
                Ok(Outcome::Rows { fields, rows, tag: "SHOW".to_owned() })
            }
            Statement::Reset { name } => {
                self.settings.reset(name.as_deref())?;
                Ok(Outcome::command("RESET"))
            }
            Statement::Discard(target) => self.discard(*target),
            Statement::Prepare { name, types, statement } => {
                self.prepare(name, types, statement)?;
                Ok(Outcome::command("PREPARE"))
            }
            Statement::Execute { name, arguments } => {
                let (prepared, values) = self.arguments(name, arguments).await?;
                Box::pin(self.dispatch(&prepared.statement, text, values, &prepared.types, notices)).await
            }
            Statement::Deallocate { name } => {
                self.prepared.deallocate(name.as_deref())?;
                Ok(Outcome::command(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }))
            }
            // Connection pools and frameworks listen as they start; without NOTIFY nothing is missed.
            Statement::Listen { channel } => {
                let mut told = notice(format!("channel \"{channel}\" stays silent: there is no NOTIFY here"));
                told.hint = Some("Use SUBSCRIBE to hear of changes.".to_owned());
                notices.push(told);
                Ok(Outcome::command("LISTEN"))
            }
            Statement::Notify { .. } => Err(no_notifications("NOTIFY")),
            // Clients send it to be sure that nothing is left from before.
            Statement::Unlisten { .. } => Ok(Outcome::command("UNLISTEN")),
            Statement::RedriveDeadLetters { sink, filter } => {
                sinks::redrive(&self.engine, &self.database, sink, filter.as_ref())
            }
            Statement::DiscardDeadLetters { sink, filter } => {
                sinks::discard(&self.engine, &self.database, sink, filter.as_ref()).await
            }
            _ => self.define(statement, text, notices).await,
        }
    }

    /// Runs a change of definitions to its end, also if the client goes away meanwhile.
    async fn define(&self, statement: &Statement, text: &str, notices: &mut Vec<Notice>) -> Result<Outcome, SqlError> {
        let (engine, catalog) = (self.engine.clone(), self.catalog());
        let (statement, text) = (statement.clone(), text.to_owned());
        // Ends with this future: then nobody waits for a view that is being built.
        let (_here, gone) = oneshot::channel();
        let task = tokio::spawn(async move {
            let database = catalog.database.clone();
            match &statement {
                Statement::CreateChangeStream(create) => {
                    if create.or_replace {
                        release(&engine, &database, "replace", &create.name, stream_named, false).await?;
                    }
                    ddl::create(&engine, &database, create, &text).await
                }
                Statement::AlterChangeStream { name, if_exists, action } => {
                    ddl::alter(&engine, &database, name, *if_exists, action, &text).await
                }
                Statement::DropChangeStream { names, if_exists, cascade } => {
                    let mut notices = Vec::new();
                    for name in names {
                        notices.extend(release(&engine, &database, "drop", name, stream_named, *cascade).await?);
                    }
                    let done = ddl::drop(&engine, &database, names, *if_exists, *cascade).await?;
                    notices.extend(done.notices);
                    Ok(Done { notices, ..done })
                }
                Statement::CreateMaterializedView(create) => {
                    if create.or_replace {
                        release(&engine, &database, "replace", &create.name, view_named, false).await?;
                    }
                    let (catalog, mut notices) = source::mirror_for_view(&engine, create, catalog).await?;
                    let done = view_ddl::create(&engine, create, &text, catalog, gone).await?;
                    notices.extend(done.notices);
                    Ok(Done { notices, ..done })
                }
                Statement::AlterMaterializedView { name, if_exists, .. } => {
                    view_ddl::alter(&engine, catalog, name, *if_exists, &text).await
                }
                Statement::DropView { names, if_exists, cascade, .. } => {
                    let mut notices = Vec::new();
                    for name in names {
                        notices.extend(release(&engine, &database, "drop", name, view_named, *cascade).await?);
                    }
                    let done = view_ddl::drop(&engine, &database, names, *if_exists, *cascade).await?;
                    notices.extend(done.notices);
                    Ok(Done { notices, ..done })
                }
                Statement::CreateSink(create) => sinks::create(&engine, create, &text, catalog).await,
                Statement::AlterSink { name, if_exists, action } => {
                    sinks::alter(&engine, &database, name, *if_exists, action, &text).await
                }
                Statement::DropSink { names, if_exists, .. } => {
                    sinks::drop(&engine, &database, names, *if_exists).await
                }
                Statement::RefreshMaterializedView { name } => view_ddl::refresh(&engine, &database, name),
                _ => Err(SqlError::internal("a statement that nobody runs")),
            }
        });
        let done: Result<Done, SqlError> =
            task.await.unwrap_or_else(|error| Err(SqlError::internal(format!("the statement failed: {error}"))));
        let done = done?;
        notices.extend(done.notices);
        Ok(Outcome::command(done.tag))
    }

    fn set(
        &mut self,
        local: bool,
        name: &str,
        values: Option<&[String]>,
        notices: &mut Vec<Notice>,
    ) -> Result<Outcome, SqlError> {
        if local && self.status == TransactionStatus::Idle {
            notices.push(notice("SET LOCAL can only be used in transaction blocks"));
            return Ok(Outcome::command("SET"));
        }
        self.settings.set(name, values, local)?;
        Ok(Outcome::command("SET"))
    }

    /// What the `set_config` calls of a query that ran leave behind.
    fn set_configs(&mut self, query: &Query, types: &[Option<Type>]) -> Result<(), SqlError> {
        if !query.text.to_ascii_lowercase().contains("set_config") {
            return Ok(());
        }
        for SetConfig { name, value, local } in self.bind(query, types)?.settings {
            if !local || self.status != TransactionStatus::Idle {
                self.settings.set(&name, Some(&[value]), local)?;
            }
        }
        Ok(())
    }

    fn discard(&mut self, target: DiscardTarget) -> Result<Outcome, SqlError> {
        Ok(Outcome::command(match target {
            DiscardTarget::All => {
                if self.status != TransactionStatus::Idle {
                    return Err(SqlError::new("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.settings.reset(None)?;
                self.prepared.deallocate(None)?;
                self.cursors.close(None)?;
                "DISCARD ALL"
            }
            DiscardTarget::Plans => "DISCARD PLANS",
            DiscardTarget::Sequences => "DISCARD SEQUENCES",
            DiscardTarget::Temp => "DISCARD TEMP",
        }))
    }

    fn transaction(&mut self, transaction: &Transaction, notices: &mut Vec<Notice>) -> Result<Outcome, SqlError> {
        use TransactionStatus::{Failed, Idle, InTransaction};
        Ok(Outcome::command(match transaction {
            Transaction::Begin { .. } => {
                if self.status == Idle {
                    self.settings_before = Some(self.settings.clone());
                    self.status = InTransaction;
                } else {
                    notices.push(notice("there is already a transaction in progress"));
                }
                "BEGIN"
            }
            Transaction::Commit if self.status == Failed => {
                self.end_transaction(false);
                "ROLLBACK"
            }
            Transaction::Commit | Transaction::Rollback if self.status == Idle => {
                notices.push(notice("there is no transaction in progress"));
                if *transaction == Transaction::Commit { "COMMIT" } else { "ROLLBACK" }
            }
            Transaction::Commit => {
                self.end_transaction(true);
                "COMMIT"
            }
            Transaction::Rollback => {
                self.end_transaction(false);
                "ROLLBACK"
            }
            Transaction::Savepoint(name) => {
                self.in_transaction("SAVEPOINT")?;
                self.savepoints.push(name.clone());
                "SAVEPOINT"
            }
            Transaction::Release(name) => {
                self.in_transaction("RELEASE SAVEPOINT")?;
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at);
                "RELEASE"
            }
            Transaction::RollbackTo(name) => {
                self.in_transaction("ROLLBACK TO SAVEPOINT")?;
                let at = self.savepoint(name)?;
                self.savepoints.truncate(at + 1);
                self.status = InTransaction;
                "ROLLBACK"
            }
            Transaction::Characteristics => "SET",
        }))
    }

    fn in_transaction(&self, what: &str) -> Result<(), SqlError> {
        if self.status == TransactionStatus::Idle {
            return Err(SqlError::new("25P01", format!("{what} can only be used in transaction blocks")));
        }
        Ok(())
    }

    fn savepoint(&self, name: &str) -> Result<usize, SqlError> {
        let found = self.savepoints.iter().rposition(|known| known == name);
        found.ok_or_else(|| SqlError::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    fn end_transaction(&mut self, committed: bool) {
        self.status = TransactionStatus::Idle;
        self.savepoints.clear();
        self.cursors.end_transaction();
        match self.settings_before.take() {
            Some(before) if !committed => self.settings = before,
            _ => self.settings.end_transaction(),
        }
    }
}

fn outcome_of(answer: Answer) -> Outcome {
    match answer {
        Answer::Rows(result) => {
            let tag = format!("SELECT {}", result.rows.len());
            Outcome::Rows { fields: result.fields, rows: result.rows, tag }
        }
        Answer::Feed(feed) => Outcome::Stream { feed },
    }
}

fn stream_named(db: &str, name: &str) -> Source {
    Source::Stream { db: db.to_owned(), name: name.to_owned(), since: None, up_to: None }
}

fn view_named(db: &str, name: &str) -> Source {
    Source::View { db: db.to_owned(), name: name.to_owned() }
}

/// Sinks let go of a stream or view before it goes.
async fn release(
    engine: &Headwater,
    database: &str,
    verb: &str,
    name: &Name,
    named: fn(&str, &str) -> Source,
    cascade: bool,
) -> Result<Vec<Notice>, SqlError> {
    let source = named(name.db.as_deref().unwrap_or(database), &name.name);
    let kind = if matches!(source, Source::View { .. }) { "materialized view" } else { "change stream" };
    sinks::release(engine, verb, kind, &source, cascade).await
}

/// Statements whose effect no ROLLBACK takes back.
fn definition_tag(statement: &Statement) -> Option<&'static str> {
    Some(match statement {
        Statement::CreateChangeStream(_) => "CREATE CHANGE STREAM",
        Statement::AlterChangeStream { .. } => "ALTER CHANGE STREAM",
        Statement::DropChangeStream { .. } => "DROP CHANGE STREAM",
        Statement::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        Statement::AlterMaterializedView { .. } => "ALTER MATERIALIZED VIEW",
        Statement::DropView { .. } => "DROP MATERIALIZED VIEW",
        Statement::CreateSink(_) => "CREATE SINK",
        Statement::AlterSink { .. } => "ALTER SINK",
        Statement::DropSink { .. } => "DROP SINK",
        Statement::RedriveDeadLetters { .. } => "REDRIVE DEAD LETTERS",
        Statement::DiscardDeadLetters { .. } => "DISCARD DEAD LETTERS",
        _ => return None,
    })
}

fn no_notifications(what: &str) -> SqlError {
    SqlError::unsupported(what).with_hint("Use SUBSCRIBE to hear of changes.")
}

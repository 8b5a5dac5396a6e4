//! One connection: start-up, the simple and the extended protocol, COPY out, cancellation.
//!
//! Everything a client waits for is flushed when it is complete; the rows of an endless answer are
//! flushed as they come. While a statement runs, the socket is watched for the client going away
//! and the registry for a cancel request.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use engine::Headwater;
use engine::sql::{CopySource, Executed, Feed, Outcome, SqlSession, TransactionStatus};
use rustc_hash::FxHashMap;
use sql::parser::statement::{Copy, CopyFormat};
use sql::parser::{ParsedStatement, Statement};
use sql::{Datum, EvalContext, Field, Notice, Row, SqlError, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::message::{Frontend, MAX_MESSAGE, MAX_STARTUP, Startup, Writer, decode, decode_startup, put_str};
use crate::server::Registry;
use crate::{encode, oid};

/// Bytes of answer after which it is sent on its way.
const FLUSH_AT: usize = 64 * 1024;
/// Prepared statements and portals of one session.
const MAX_PREPARED: usize = 10_000;

/// The connection broke or was given up; nothing more can be said to the client.
type Io<T> = std::io::Result<T>;

/// Serves one client to its end.
pub async fn run(
    mut socket: TcpStream,
    engine: Headwater,
    registry: &Registry,
    stopping: watch::Receiver<bool>,
    full: bool,
) -> Io<()> {
    let Some(parameters) = start(&mut socket, registry).await? else { return Ok(()) };
    let (process, secret, cancel) = registry.enter();
    let mut connection = Connection {
        socket,
        input: BytesMut::new(),
        writer: Writer::default(),
        stopping,
        cancel,
        session: open_session(engine, &parameters),
        statements: FxHashMap::default(),
        portals: FxHashMap::default(),
        skipping: false,
    };
    let result = if full {
        let error = SqlError::new("53300", "sorry, too many clients already");
        connection.fatal(&error).await
    } else {
        connection.greet(process, secret).await
    };
    registry.leave(process);
    result
}

/// Start-up packets until the one that starts a session; `None` if it was something else.
async fn start(socket: &mut TcpStream, registry: &Registry) -> Io<Option<Vec<(String, String)>>> {
    loop {
        let length = socket.read_i32().await?;
        let length = usize::try_from(length).ok().and_then(|n| n.checked_sub(4));
        let Some(length) = length.filter(|n| (4..=MAX_STARTUP).contains(n)) else { return Ok(None) };
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        match decode_startup(&body) {
            Ok(Startup::Encryption) => socket.write_all(b"N").await?,
            Ok(Startup::Cancel { process, secret }) => {
                registry.cancel(process, secret);
                return Ok(None);
            }
            Ok(Startup::Start(parameters)) => return Ok(Some(parameters)),
            Ok(Startup::Version(version)) => {
                let message = format!("unsupported frontend protocol {}.{}", version >> 16, version & 0xffff);
                send_fatal(socket, &SqlError::new("0A000", message)).await?;
                return Ok(None);
            }
            Err(malformed) => {
                send_fatal(socket, &SqlError::new("08P01", malformed.0)).await?;
                return Ok(None);
            }
        }
    }
}

async fn send_fatal(socket: &mut TcpStream, error: &SqlError) -> Io<()> {
    let mut writer = Writer::default();
    write_error(&mut writer, "FATAL", error);
    socket.write_all(&writer.out).await
}

fn open_session(engine: Headwater, parameters: &[(String, String)]) -> SqlSession {
    let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let user = get("user").unwrap_or("headwater");
    let mut session = SqlSession::new(engine, get("database").unwrap_or(user), user);
    for (name, value) in parameters {
        if name != "user" && name != "database" {
            session.set_startup(name, value);
        }
    }
    session
}

struct Prepared {
    /// `None`: an empty statement.
    statement: Option<(Statement, String)>,
    /// As the client declared them.
    types: Vec<Option<Type>>,
    parameters: Vec<Type>,
    fields: Option<Vec<Field>>,
}

struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<Datum>,
    results: Vec<i16>,
    /// Rows not yet sent, once it has been executed.
    running: Option<Running>,
}

enum Running {
    Rows { fields: Vec<Field>, rows: std::vec::IntoIter<Row>, tag: String },
    Feed { feed: Box<Feed>, waiting: std::vec::IntoIter<Row> },
}

struct Connection {
    socket: TcpStream,
    input: BytesMut,
    writer: Writer,
    stopping: watch::Receiver<bool>,
    cancel: Arc<Notify>,
    session: SqlSession,
    statements: FxHashMap<String, Arc<Prepared>>,
    portals: FxHashMap<String, Portal>,
    /// After an error in the extended protocol everything up to Sync is skipped.
    skipping: bool,
}

/// Why a statement did not end.
enum Stop {
    Error(SqlError),
    Io(std::io::Error),
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Stop::Error(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Connection {
    async fn greet(&mut self, process: i32, secret: i32) -> Io<()> {
        self.writer.message(b'R', |out| out.put_i32(0));
        for (name, value) in self.session.parameter_status() {
            self.writer.parameter_status(&name, &value);
        }
        self.writer.message(b'K', |out| {
            out.put_i32(process);
            out.put_i32(secret);
        });
        self.ready().await?;
        self.serve().await
    }

    async fn serve(&mut self) -> Io<()> {
        loop {
            let Some((kind, body)) = self.next_frame().await? else { return Ok(()) };
            let message = match decode(kind, body) {
                Ok(message) => message,
                Err(malformed) => {
                    let error = SqlError::new("08P01", format!("invalid message: {}", malformed.0));
                    return self.fatal(&error).await;
                }
            };
            match message {
                Frontend::Terminate => return Ok(()),
                Frontend::Sync => {
                    self.skipping = false;
                    if self.session.transaction_status() == TransactionStatus::Idle {
                        self.portals.clear();
                    }
                    self.ready().await?;
                }
                Frontend::Query(text) => {
                    self.skipping = false;
                    self.simple(&text).await?;
                }
                Frontend::Flush => self.flush().await?,
                Frontend::Ignored => {}
                _ if self.skipping => {}
                message => match self.extended(message).await {
                    Ok(()) => {}
                    Err(Stop::Io(error)) => return Err(error),
                    Err(Stop::Error(error)) => {
                        self.fail(&error);
                        self.skipping = true;
                        self.flush().await?;
                    }
                },
            }
        }
    }

    /// The next message, or `None` when the client has left or the server stops.
    async fn next_frame(&mut self) -> Io<Option<(u8, Bytes)>> {
        loop {
            if self.input.len() >= 5 {
                let length = i32::from_be_bytes(self.input[1..5].try_into().expect("four bytes"));
                let length = usize::try_from(length).ok().and_then(|n| n.checked_sub(4));
                let Some(length) = length.filter(|n| *n <= MAX_MESSAGE) else {
                    let error = SqlError::new("08P01", "invalid message length")
                        .with_hint(format!("a message has at most {MAX_MESSAGE} bytes"));
                    self.fatal(&error).await?;
                    return Ok(None);
                };
                if self.input.len() >= 5 + length {
                    let kind = self.input.get_u8();
                    self.input.advance(4);
                    return Ok(Some((kind, self.input.split_to(length).freeze())));
                }
                self.input.reserve((5 + length - self.input.len()).min(1 << 20));
            }
            let read = tokio::select! {
                read = self.socket.read_buf(&mut self.input) => Some(read?),
                () = stopped(&mut self.stopping) => None,
            };
            match read {
                Some(0) => return Ok(None),
                Some(_) => {}
                None => {
                    self.fatal(&shutting_down()).await?;
                    return Ok(None);
                }
            }
        }
    }

    async fn flush(&mut self) -> Io<()> {
        let out = self.writer.out.split();
        if out.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            written = self.socket.write_all(&out) => written,
            // A client that does not read must not hold up the end.
            () = stopped(&mut self.stopping) => Err(std::io::Error::other("the server is stopping")),
        }
    }

    async fn fatal(&mut self, error: &SqlError) -> Io<()> {
        self.writer.out.clear();
        write_error(&mut self.writer, "FATAL", error);
        let out = self.writer.out.split();
        self.socket.write_all(&out).await?;
        self.socket.shutdown().await
    }

    async fn ready(&mut self) -> Io<()> {
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        };
        self.writer.ready(status);
        self.flush().await
    }

    fn fail(&mut self, error: &SqlError) {
        self.session.fail_transaction();
        write_error(&mut self.writer, "ERROR", error);
    }

    // ---- simple protocol -------------------------------------------------------------------------

    async fn simple(&mut self, text: &str) -> Io<()> {
        match self.run_simple(text).await {
            Ok(()) => {}
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Error(error)) => self.fail(&error),
        }
        self.ready().await
    }

    async fn run_simple(&mut self, text: &str) -> Result<(), Stop> {
        let statements = sql::parser::parse(text)?;
        if statements.is_empty() {
            self.writer.empty(b'I');
        }
        for ParsedStatement { statement, range } in statements {
            let own = &text[range];
            let executed = self.execute(&statement, own, vec![], &[]).await?;
            self.report(&executed);
            match executed.outcome {
                Outcome::Rows { fields, rows, tag } => {
                    self.describe_rows(&fields, &[]);
                    self.send_rows(&fields, rows, &[]).await?;
                    self.writer.command_complete(&tag);
                }
                Outcome::Stream { mut feed } => {
                    let fields = feed.fields.clone();
                    self.describe_rows(&fields, &[]);
                    self.flush().await?;
                    let mut count = 0;
                    while let Some(rows) = self.next_rows(&mut feed).await? {
                        count += rows.len();
                        self.send_rows(&fields, rows, &[]).await?;
                        self.flush().await?;
                    }
                    self.writer.command_complete(&format!("SELECT {count}"));
                }
                Outcome::Copy { source, options } => self.copy_out(source, &options).await?,
                Outcome::Command { tag } => self.writer.command_complete(&tag),
                Outcome::Empty => self.writer.empty(b'I'),
            }
        }
        Ok(())
    }

    /// Runs a statement; a cancel request, the client's leaving or the server's stopping end it.
    async fn execute(
        &mut self,
        statement: &Statement,
        text: &str,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
    ) -> Result<Executed, Stop> {
        let Connection { session, cancel, stopping, .. } = self;
        tokio::select! {
            biased;
            executed = session.execute(statement, text, parameters, types) => Ok(executed?),
            () = cancel.notified() => Err(cancelled().into()),
            () = stopped(stopping) => Err(shutting_down().into()),
        }
    }

    /// The next rows of an endless answer.
    async fn next_rows(&mut self, feed: &mut Feed) -> Result<Option<Vec<Row>>, Stop> {
        tokio::select! {
            next = feed.next() => Ok(next.transpose()?),
            () = self.cancel.notified() => Err(cancelled().into()),
            () = stopped(&mut self.stopping) => Err(shutting_down().into()),
            // A client says nothing while it listens: readable means gone, or a message for later.
            gone = self.socket.readable(), if self.input.is_empty() => {
                gone?;
                if self.socket.try_read_buf(&mut self.input).is_ok_and(|n| n == 0) {
                    return Err(Stop::Io(std::io::ErrorKind::ConnectionReset.into()));
                }
                Ok(Some(vec![]))
            }
        }
    }

    fn report(&mut self, executed: &Executed) {
        for notice in &executed.notices {
            write_notice(&mut self.writer, notice);
        }
        for (name, value) in &executed.changed_parameters {
            self.writer.parameter_status(name, value);
        }
    }

    fn describe_rows(&mut self, fields: &[Field], formats: &[i16]) {
        self.writer.message(b'T', |out| {
            out.put_i16(fields.len() as i16);
            for (i, field) in fields.iter().enumerate() {
                put_str(out, &field.name);
                out.put_i32(0);
                out.put_i16(0);
                out.put_u32(oid::of(&field.ty));
                out.put_i16(oid::length(&field.ty));
                out.put_i32(modifier(&field.ty));
                out.put_i16(format_of(formats, i));
            }
        });
    }

    async fn send_rows(
        &mut self,
        fields: &[Field],
        rows: impl IntoIterator<Item = Row>,
        formats: &[i16],
    ) -> Result<(), Stop> {
        let time_zone = self.session.time_zone().to_owned();
        for row in rows {
            let start = self.writer.out.len();
            let mut result = Ok(());
            self.writer.message(b'D', |out| {
                out.put_i16(fields.len() as i16);
                for (i, (datum, field)) in row.iter().zip(fields).enumerate() {
                    if result.is_ok() {
                        result = encode::value(datum, &field.ty, format_of(formats, i) == 1, &time_zone, out);
                    }
                }
            });
            if let Err(error) = result {
                self.writer.out.truncate(start);
                return Err(error.into());
            }
            if self.writer.out.len() >= FLUSH_AT {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn copy_out(&mut self, source: CopySource, options: &Copy) -> Result<(), Stop> {
        let fields = match &source {
            CopySource::Rows { fields, .. } => fields.clone(),
            CopySource::Stream(feed) => feed.fields.clone(),
        };
        let binary = options.format == CopyFormat::Binary;
        self.writer.message(b'H', |out| {
            out.put_u8(u8::from(binary));
            out.put_i16(fields.len() as i16);
            fields.iter().for_each(|_| out.put_i16(i16::from(binary)));
        });
        let copy = crate::copy::CopyWriter::new(options, fields, self.session.time_zone().to_owned());
        copy.begin(&mut self.writer);
        let mut count = 0;
        match source {
            CopySource::Rows { rows, .. } => {
                for row in rows {
                    copy.row(&row, &mut self.writer)?;
                    count += 1;
                    if self.writer.out.len() >= FLUSH_AT {
                        self.flush().await?;
                    }
                }
            }
            CopySource::Stream(mut feed) => {
                self.flush().await?;
                while let Some(rows) = self.next_rows(&mut feed).await? {
                    for row in &rows {
                        copy.row(row, &mut self.writer)?;
                        if self.writer.out.len() >= FLUSH_AT {
                            self.flush().await?;
                        }
                    }
                    count += rows.len();
                    self.flush().await?;
                }
            }
        }
        copy.end(&mut self.writer);
        self.writer.empty(b'c');
        self.writer.command_complete(&format!("COPY {count}"));
        Ok(())
    }

    // ---- extended protocol -----------------------------------------------------------------------

    async fn extended(&mut self, message: Frontend) -> Result<(), Stop> {
        match message {
            Frontend::Parse { name, text, types } => self.parse(name, &text, &types),
            Frontend::Bind { portal, statement, formats, values, results } => {
                self.bind(portal, &statement, &formats, &values, results)
            }
            Frontend::Describe { portal: false, name } => self.describe_statement(&name),
            Frontend::Describe { portal: true, name } => self.describe_portal(&name),
            Frontend::Execute { portal, max_rows } => self.execute_portal(&portal, max_rows).await,
            Frontend::Close { portal, name } => {
                if portal {
                    self.portals.remove(&name);
                } else {
                    self.statements.remove(&name);
                }
                self.writer.empty(b'3');
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn parse(&mut self, name: String, text: &str, types: &[u32]) -> Result<(), Stop> {
        let mut parsed = sql::parser::parse(text)?;
        if parsed.len() > 1 {
            return Err(SqlError::syntax("cannot insert multiple commands into a prepared statement").into());
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(SqlError::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= MAX_PREPARED {
            return Err(SqlError::new("53400", "too many prepared statements in this session").into());
        }
        let types: Vec<Option<Type>> = types.iter().map(|number| oid::type_of(*number)).collect();
        let prepared = match parsed.pop() {
            None => Prepared { statement: None, types, parameters: vec![], fields: None },
            Some(ParsedStatement { statement, range }) => {
                let description = self.session.describe(&statement, &types)?;
                Prepared {
                    statement: Some((statement, text[range].to_owned())),
                    types,
                    parameters: description.parameters,
                    fields: description.fields,
                }
            }
        };
        self.statements.insert(name, Arc::new(prepared));
        self.writer.empty(b'1');
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        let missing = || SqlError::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.statements.get(name).cloned().ok_or_else(missing)
    }

    fn bind(
        &mut self,
        portal: String,
        statement: &str,
        formats: &[i16],
        values: &[Option<Bytes>],
        results: Vec<i16>,
    ) -> Result<(), Stop> {
        let prepared = self.prepared(statement)?;
        if values.len() != prepared.parameters.len() {
            let (given, wanted) = (values.len(), prepared.parameters.len());
            let message = format!(
                "bind message supplies {given} parameters, but prepared statement \"{statement}\" requires {wanted}"
            );
            return Err(SqlError::new("08P01", message).into());
        }
        if formats.iter().chain(&results).any(|format| !(0..=1).contains(format)) {
            return Err(SqlError::new("22023", "a format code is 0 (text) or 1 (binary)").into());
        }
        if self.portals.len() >= MAX_PREPARED {
            return Err(SqlError::new("53400", "too many portals in this session").into());
        }
        let ctx = EvalContext { now_us: 0, parameters: &[], time_zone: self.session.time_zone() };
        let mut data = Vec::with_capacity(values.len());
        for (i, (value, ty)) in values.iter().zip(&prepared.parameters).enumerate() {
            data.push(match value {
                None => Datum::Null,
                Some(bytes) => encode::parameter(bytes, ty, format_of(formats, i) == 1, &ctx)?,
            });
        }
        self.portals.insert(portal, Portal { prepared, values: data, results, running: None });
        self.writer.empty(b'2');
        Ok(())
    }

    fn describe_statement(&mut self, name: &str) -> Result<(), Stop> {
        let prepared = self.prepared(name)?;
        self.writer.message(b't', |out| {
            out.put_i16(prepared.parameters.len() as i16);
            prepared.parameters.iter().for_each(|ty| out.put_u32(oid::of(ty)));
        });
        match &prepared.fields {
            Some(fields) => self.describe_rows(fields, &[]),
            None => self.writer.empty(b'n'),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<(), Stop> {
        let Some(portal) = self.portals.get(name) else {
            // A cursor that DECLARE opened is a portal too.
            let fields = self.session.cursor_fields(name).ok_or_else(|| missing_portal(name))?;
            self.describe_rows(&fields, &[]);
            return Ok(());
        };
        let (prepared, results) = (portal.prepared.clone(), portal.results.clone());
        match &prepared.fields {
            Some(fields) => self.describe_rows(fields, &results),
            None => self.writer.empty(b'n'),
        }
        Ok(())
    }

    async fn execute_portal(&mut self, name: &str, max_rows: i32) -> Result<(), Stop> {
        // Out of the map while it runs, so that the session can be borrowed.
        let mut portal = self.portals.remove(name).ok_or_else(|| missing_portal(name))?;
        let result = self.run_portal(&mut portal, max_rows).await;
        if result.is_ok() {
            self.portals.insert(name.to_owned(), portal);
        }
        result
    }

    async fn run_portal(&mut self, portal: &mut Portal, max_rows: i32) -> Result<(), Stop> {
        if portal.running.is_none() {
            let Some((statement, text)) = &portal.prepared.statement else {
                self.writer.empty(b'I');
                return Ok(());
            };
            let values = std::mem::take(&mut portal.values);
            let executed = self.execute(statement, text, values, &portal.prepared.types).await?;
            self.report(&executed);
            match executed.outcome {
                Outcome::Rows { fields, rows, tag } => {
                    portal.running = Some(Running::Rows { fields, rows: rows.into_iter(), tag });
                }
                Outcome::Stream { feed } => {
                    portal.running = Some(Running::Feed { feed: Box::new(feed), waiting: vec![].into_iter() });
                }
                Outcome::Copy { source, options } => return self.copy_out(source, &options).await,
                Outcome::Command { tag } => {
                    self.writer.command_complete(&tag);
                    return Ok(());
                }
                Outcome::Empty => {
                    self.writer.empty(b'I');
                    return Ok(());
                }
            }
        }
        let limit = usize::try_from(max_rows).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        match portal.running.take() {
            Some(Running::Rows { fields, mut rows, tag }) => {
                let part: Vec<Row> = rows.by_ref().take(limit).collect();
                self.send_rows(&fields, part, &portal.results).await?;
                if rows.len() == 0 {
                    self.writer.command_complete(&tag);
                } else {
                    self.writer.empty(b's');
                }
                portal.running = Some(Running::Rows { fields, rows, tag });
            }
            Some(Running::Feed { mut feed, mut waiting }) => {
                let fields = feed.fields.clone();
                let mut sent = 0;
                let suspended = loop {
                    let part: Vec<Row> = waiting.by_ref().take(limit - sent).collect();
                    sent += part.len();
                    self.send_rows(&fields, part, &portal.results).await?;
                    if sent >= limit {
                        break true;
                    }
                    self.flush().await?;
                    match self.next_rows(&mut feed).await? {
                        Some(rows) => waiting = rows.into_iter(),
                        None => break false,
                    }
                };
                if suspended {
                    self.writer.empty(b's');
                } else {
                    self.writer.command_complete(&format!("SELECT {sent}"));
                }
                portal.running = Some(Running::Feed { feed, waiting });
            }
            None => {}
        }
        Ok(())
    }
}

/// Resolves when the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn format_of(formats: &[i16], i: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        many => many.get(i).copied().unwrap_or(0),
    }
}

/// `numeric(p, s)` and `varchar(n)` as PostgreSQL packs them.
fn modifier(ty: &Type) -> i32 {
    match ty {
        Type::Numeric(Some((precision, scale))) => (i32::from(*precision) << 16 | i32::from(*scale)) + 4,
        Type::Varchar(Some(n)) => *n as i32 + 4,
        _ => -1,
    }
}

fn missing_portal(name: &str) -> SqlError {
    SqlError::new("34000", format!("portal \"{name}\" does not exist"))
}

fn cancelled() -> SqlError {
    SqlError::new("57014", "canceling statement due to user request")
}

fn shutting_down() -> SqlError {
    SqlError::new("57P01", "terminating connection: the server is shutting down")
}

fn write_error(writer: &mut Writer, severity: &str, error: &SqlError) {
    writer.message(b'E', |out| {
        let mut field = |kind: u8, text: &str| {
            out.put_u8(kind);
            put_str(out, text);
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', error.code);
        field(b'M', &error.message);
        if let Some(detail) = &error.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &error.hint {
            field(b'H', hint);
        }
        if let Some(position) = error.position {
            field(b'P', &position.to_string());
        }
        out.put_u8(0);
    });
}

fn write_notice(writer: &mut Writer, notice: &Notice) {
    writer.message(b'N', |out| {
        let mut field = |kind: u8, text: &str| {
            out.put_u8(kind);
            put_str(out, text);
        };
        field(b'S', "NOTICE");
        field(b'V', "NOTICE");
        field(b'C', "00000");
        field(b'M', &notice.message);
        if let Some(hint) = &notice.hint {
            field(b'H', hint);
        }
        if let Some(position) = notice.position {
            field(b'P', &position.to_string());
        }
        out.put_u8(0);
    });
}

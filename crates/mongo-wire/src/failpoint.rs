//! Fail points: switches with which driver test suites make commands fail on purpose.
//!
//! Only those that the drivers' specifications and suites use exist, and only when the server was started
//! with test commands enabled.

use std::time::Duration;

use base::Uuid;
use document::{Doc, Raw, RawDoc, Value};
use engine::{Error, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Names that `configureFailPoint` accepts.
const KNOWN: &[&str] =
    &["failCommand", "failGetMoreAfterCursorCheckout", "onPrimaryTransactionalWrite", "maxTimeAlwaysTimeOut"];

/// All configured fail points of a server.
#[derive(Debug, Default)]
pub struct FailPoints {
    points: Mutex<FxHashMap<String, Point>>,
}

#[derive(Debug)]
struct Point {
    mode: Mode,
    data: Doc,
    entered: i64,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    AlwaysOn,
    Times(i64),
    /// Lets this many pass, then is always on.
    Skip(i64),
}

/// What a command that met a fail point must do, in this order.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    pub block: Option<Duration>,
    pub close_connection: bool,
    pub error_code: Option<i32>,
    /// Replaces the labels that the server would compute.
    pub labels: Option<Vec<String>>,
    /// Added to the reply of a command that is run all the same.
    pub write_concern_error: Option<Doc>,
}

/// The command that asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub command: &'a str,
    pub app_name: Option<&'a str>,
    pub lsid: Option<Uuid>,
}

impl FailPoints {
    /// The command `configureFailPoint`; returns how often the point was entered before.
    pub fn configure(&self, name: &str, mode: Raw<'_>, data: Option<RawDoc<'_>>) -> Result<i64> {
        if !KNOWN.contains(&name) {
            return Err(Error::new(203, format!("{name} not found")));
        }
        let mode = parse_mode(mode)?;
        let mut points = self.points.lock();
        let entered = points.get(name).map_or(0, |point| point.entered);
        match mode {
            None => {
                points.remove(name);
            }
            Some(mode) => {
                let data = data.map(RawDoc::to_doc).unwrap_or_default();
                points.insert(name.to_owned(), Point { mode, data, entered: 0 });
            }
        }
        Ok(entered)
    }

    /// Enters a fail point that has no data.
    pub fn is_on(&self, name: &str) -> bool {
        self.points.lock().get_mut(name).is_some_and(Point::enter)
    }

    /// `failCommand`, if it applies to this command.
    pub fn fail_command(&self, subject: Subject<'_>) -> Option<Failure> {
        let mut points = self.points.lock();
        let point = points.get_mut("failCommand")?;
        if !names_command(&point.data, subject) {
            return None;
        }
        point.enter().then(|| failure(&point.data))
    }

    /// `failGetMoreAfterCursorCheckout`.
    pub fn fail_get_more(&self) -> Option<Failure> {
        self.enter("failGetMoreAfterCursorCheckout")
    }

    /// `onPrimaryTransactionalWrite` with `failBeforeCommitExceptionCode`: asked before a command
    /// with a transaction number makes so many writes. If it answers, nothing may be written.
    pub fn before_transactional_write(&self, writes: usize) -> Option<BeforeWrite> {
        let mut points = self.points.lock();
        let point = points.get_mut("onPrimaryTransactionalWrite")?;
        let code = point.data.get("failBeforeCommitExceptionCode").and_then(Value::as_whole)?;
        let fired = (0..writes).any(|_| point.enter());
        fired.then(|| BeforeWrite { code: code as i32, close_connection: point.closes_connection() })
    }

    /// `onPrimaryTransactionalWrite` without that: asked after so many writes were made. True if
    /// the connection is to be closed instead of answering.
    pub fn after_transactional_write(&self, writes: usize) -> bool {
        let mut points = self.points.lock();
        let Some(point) = points.get_mut("onPrimaryTransactionalWrite") else { return false };
        if point.data.contains("failBeforeCommitExceptionCode") {
            return false;
        }
        (0..writes).any(|_| point.enter()) && point.closes_connection()
    }

    fn enter(&self, name: &str) -> Option<Failure> {
        let mut points = self.points.lock();
        let point = points.get_mut(name)?;
        point.enter().then(|| failure(&point.data))
    }
}

/// How a write that must not happen fails.
#[derive(Clone, Copy, Debug)]
pub struct BeforeWrite {
    pub code: i32,
    pub close_connection: bool,
}

impl Point {
    fn closes_connection(&self) -> bool {
        self.data.get("closeConnection").and_then(Value::as_bool).unwrap_or(true)
    }

    fn enter(&mut self) -> bool {
        let on = match &mut self.mode {
            Mode::AlwaysOn => true,
            Mode::Times(left) => {
                let on = *left > 0;
                *left -= i64::from(on);
                on
            }
            Mode::Skip(left) => {
                let on = *left <= 0;
                *left -= i64::from(!on);
                on
            }
        };
        self.entered += i64::from(on);
        on
    }
}

fn parse_mode(mode: Raw<'_>) -> Result<Option<Mode>> {
    match mode {
        Raw::String("off") => Ok(None),
        Raw::String("alwaysOn") => Ok(Some(Mode::AlwaysOn)),
        Raw::Document(doc) => {
            let count = |name: &str| doc.get(name).and_then(Raw::as_whole);
            if let Some(times) = count("times") {
                return Ok(Some(Mode::Times(times)));
            }
            if let Some(skip) = count("skip") {
                return Ok(Some(Mode::Skip(skip)));
            }
            Err(Error::new(2, "'mode' should be one of 'times', 'skip' or 'activationProbability'"))
        }
        _ => Err(Error::new(14, "'mode' must be a string or a document")),
    }
}

fn names_command(data: &Doc, subject: Subject<'_>) -> bool {
    let named = data
        .get("failCommands")
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().any(|name| name.as_str() == Some(subject.command)));
    let app = data.get("appName").and_then(Value::as_str);
    let session = data.get("lsid").and_then(Value::as_document).and_then(|lsid| lsid.get("id"));
    // A fail point must not lock everybody out: it never fails the command that switches it off.
    subject.command != "configureFailPoint"
        && named
        && app.is_none_or(|app| subject.app_name == Some(app))
        && session.is_none_or(|id| subject.lsid.is_some_and(|lsid| *id == Value::from(lsid)))
}

fn failure(data: &Doc) -> Failure {
    let flag = |name: &str| data.get(name).and_then(Value::as_bool).unwrap_or(false);
    let whole = |name: &str| data.get(name).and_then(Value::as_whole);
    let block = flag("blockConnection")
        .then(|| Duration::from_millis(whole("blockTimeMS").unwrap_or(0).clamp(0, 600_000) as u64));
    let labels = data.get("errorLabels").and_then(Value::as_array);
    Failure {
        block,
        close_connection: flag("closeConnection"),
        error_code: whole("errorCode").and_then(|code| i32::try_from(code).ok()),
        labels: labels.map(|labels| labels.iter().filter_map(|label| label.as_str().map(str::to_owned)).collect()),
        write_concern_error: data.get("writeConcernError").and_then(Value::as_document).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(command: &str) -> Subject<'_> {
        Subject { command, app_name: None, lsid: None }
    }

    #[test]
    fn a_point_fires_as_often_as_it_was_told() {
        let points = FailPoints::default();
        let data = Doc::new().with("failCommands", vec!["find".into()]).with("errorCode", 91).to_buf();
        let times = Doc::new().with("times", 2).to_buf();
        points.configure("failCommand", Raw::Document(times.as_doc()), Some(data.as_doc())).unwrap();
        assert!(points.fail_command(subject("insert")).is_none());
        assert_eq!(points.fail_command(subject("find")).unwrap().error_code, Some(91));
        assert!(points.fail_command(subject("find")).is_some());
        assert!(points.fail_command(subject("find")).is_none());
        assert_eq!(points.configure("failCommand", Raw::String("off"), None).unwrap(), 2);
        assert_eq!(points.configure("nope", Raw::String("off"), None).unwrap_err().code(), 203);
    }
}

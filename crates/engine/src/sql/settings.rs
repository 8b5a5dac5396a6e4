//! SET, SHOW, RESET: a session's settings.
//!
//! Only what clients are known to ask for is here; a value that would change results and is not
//! offered (another DateStyle, another encoding) is refused rather than ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use ::sql::{Datum, Field, Row, SqlError, Type};

/// What a setting is: its name as shown, its default, whether clients hear of changes.
struct Known {
    name: &'static str,
    default: &'static str,
    access: Access,
    about: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The client hears of its value.
    Reported,
    Ordinary,
    /// Told, never changed.
    Fixed,
    /// Fixed and told at start-up.
    FixedReported,
}

const fn known(name: &'static str, default: &'static str, access: Access, about: &'static str) -> Known {
    Known { name, default, access, about }
}

/// What `server_version` says.
const SERVER_VERSION: &str = concat!("15.0 (Headwater ", env!("CARGO_PKG_VERSION"), ")");

/// In the order of SHOW ALL.
const KNOWN: &[Known] = {
    use Access::{Fixed, FixedReported, Ordinary, Reported};
    &[
        known("application_name", "", Reported, "Sets the application name to be reported in statistics and logs."),
        known("bytea_output", "hex", Ordinary, "Sets the output format for bytea."),
        known("check_function_bodies", "on", Ordinary, "Accepted for scripts; there are no functions to check."),
        known("client_encoding", "UTF8", Reported, "Sets the client's character set encoding."),
        known("client_min_messages", "notice", Ordinary, "Sets the message levels that are sent to the client."),
        known("DateStyle", "ISO, MDY", Reported, "Sets the display format for date and time values."),
        known("default_table_access_method", "heap", Ordinary, "Accepted for scripts."),
        known("default_tablespace", "", Ordinary, "Accepted for scripts."),
        known("default_transaction_isolation", "read committed", Ordinary, "Isolation level of new transactions."),
        known(
            "default_transaction_read_only",
            "off",
            Reported,
            "Sets the default read-only status of new transactions.",
        ),
        known("escape_string_warning", "on", Ordinary, "Accepted for scripts."),
        known("extra_float_digits", "1", Ordinary, "Floats are always shown exactly."),
        known("headwater.read_after", "", Ordinary, "A moment that reads wait for: a token or an operation time."),
        known("idle_in_transaction_session_timeout", "0", Ordinary, "Accepted; transactions hold nothing here."),
        known("idle_session_timeout", "0", Ordinary, "Accepted; sessions may idle."),
        known("in_hot_standby", "off", FixedReported, "Shows whether hot standby is currently active."),
        known("integer_datetimes", "on", FixedReported, "Shows whether datetimes are integer based."),
        known("IntervalStyle", "postgres", Reported, "Sets the display format for interval values."),
        known("is_superuser", "on", FixedReported, "Shows whether the current user is a superuser."),
        known("jit", "off", Ordinary, "Accepted for scripts."),
        known("lc_collate", "C", Fixed, "Shows the collation order locale."),
        known("lc_ctype", "C.UTF-8", Fixed, "Shows the character classification and case conversion locale."),
        known("lc_messages", "C", Ordinary, "Sets the language in which messages are displayed."),
        known("lc_monetary", "C", Ordinary, "Accepted for scripts."),
        known("lc_numeric", "C", Ordinary, "Accepted for scripts."),
        known("lc_time", "C", Ordinary, "Accepted for scripts."),
        known("lock_timeout", "0", Ordinary, "Accepted; reads take no locks."),
        known("max_identifier_length", "63", Fixed, "Shows the maximum identifier length."),
        known("max_index_keys", "32", Fixed, "Shows the maximum number of index keys."),
        known("role", "none", Ordinary, "Sets the current role."),
        known("row_security", "on", Ordinary, "Accepted for scripts."),
        known("search_path", "\"$user\", public", Ordinary, "Names resolve in the connection's database."),
        known("server_encoding", "UTF8", FixedReported, "Shows the server (database) character set encoding."),
        known("server_version", SERVER_VERSION, FixedReported, "Shows the server version."),
        known("server_version_num", "150000", Fixed, "Shows the server version as an integer."),
        known("session_authorization", "", Reported, "Sets the session user name."),
        known("standard_conforming_strings", "on", Reported, "'...' strings treat backslashes literally."),
        known("statement_timeout", "0", Ordinary, "Sets the maximum allowed duration of any statement."),
        known("synchronous_commit", "on", Ordinary, "Accepted; acknowledged definitions are always durable."),
        known("TimeZone", "UTC", Reported, "Sets the time zone for displaying and interpreting time stamps."),
        known("transaction_isolation", "read committed", Ordinary, "Sets the current transaction's isolation level."),
        known("transaction_read_only", "off", Ordinary, "Sets the current transaction's read-only status."),
        known("work_mem", "4MB", Ordinary, "Accepted for scripts."),
        known("xmloption", "content", Ordinary, "Accepted for scripts."),
    ]
};

/// Settings with a name of their own (`app.user_id`) that a session may have.
const MAX_CUSTOM: usize = 256;

/// One session's values.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// By lower-case name.
    values: BTreeMap<String, String>,
    /// What RESET returns to.
    defaults: BTreeMap<String, String>,
    /// Values before a SET LOCAL of this transaction.
    before_local: BTreeMap<String, Option<String>>,
}

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

fn invalid(name: &str, value: &str) -> SqlError {
    SqlError::new("22023", format!("invalid value for parameter \"{name}\": \"{value}\""))
}

impl Settings {
    pub fn new(user: &str) -> Self {
        let mut defaults: BTreeMap<String, String> =
            KNOWN.iter().map(|known| (known.name.to_ascii_lowercase(), known.default.to_owned())).collect();
        defaults.insert("session_authorization".to_owned(), user.to_owned());
        Settings { values: defaults.clone(), defaults, before_local: BTreeMap::new() }
    }

    /// `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All of them, by lower-case name.
    pub fn by_name(&self) -> BTreeMap<String, String> {
        self.values.clone()
    }

    pub fn set_startup(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("options") {
            for (name, value) in startup_options(value) {
                self.set_startup(&name, &value);
            }
            return;
        }
        if self.set(name, Some(&[value.to_owned()]), false).is_ok() {
            let name = name.to_ascii_lowercase();
            if let Some(value) = self.values.get(&name) {
                self.defaults.insert(name, value.clone());
            }
        }
    }

    /// By their reported names.
    pub fn reported(&self) -> Vec<(String, String)> {
        KNOWN
            .iter()
            .filter(|known| matches!(known.access, Access::Reported | Access::FixedReported))
            .map(|known| (known.name.to_owned(), self.values[&known.name.to_ascii_lowercase()].clone()))
            .collect()
    }

    /// `values: None` is DEFAULT.
    pub fn set(&mut self, name: &str, values: Option<&[String]>, local: bool) -> Result<(), SqlError> {
        let key = name.to_ascii_lowercase();
        let value = match (find(name), values) {
            (Some(known), _) if matches!(known.access, Access::Fixed | Access::FixedReported) => {
                return Err(SqlError::new("55P02", format!("parameter \"{}\" cannot be changed", known.name)));
            }
            (Some(known), Some(values)) => Some(check(known.name, values, &self.defaults)?),
            (None, Some(values)) if key.contains('.') => {
                let custom = self.values.len() - KNOWN.len();
                if custom >= MAX_CUSTOM && !self.values.contains_key(&key) {
                    return Err(SqlError::new("53400", format!("more than {MAX_CUSTOM} settings of your own")));
                }
                Some(values.join(", "))
            }
            (None, None) if key.contains('.') => None,
            (None, _) => return Err(unknown(name)),
            (Some(_), None) => self.defaults.get(&key).cloned(),
        };
        let before = match value {
            Some(value) => self.values.insert(key.clone(), value),
            None => self.values.remove(&key),
        };
        if local {
            self.before_local.entry(key).or_insert(before);
        } else {
            self.before_local.remove(&key);
        }
        Ok(())
    }

    pub fn reset(&mut self, name: Option<&str>) -> Result<(), SqlError> {
        match name {
            Some(name) => self.set(name, None, false),
            None => {
                self.values = self.defaults.clone();
                self.before_local.clear();
                Ok(())
            }
        }
    }

    /// Takes SET LOCAL back.
    pub fn end_transaction(&mut self) {
        for (name, value) in std::mem::take(&mut self.before_local) {
            match value {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }

    /// `None`: no limit.
    pub fn statement_timeout(&self) -> Option<Duration> {
        let ms = self.get("statement_timeout").and_then(milliseconds).unwrap_or(0);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    pub fn show_fields(&self, name: Option<&str>) -> Result<Vec<Field>, SqlError> {
        let text = |name: &str| Field::new(name, Type::Text);
        let Some(name) = name else { return Ok(vec![text("name"), text("setting"), text("description")]) };
        match find(name) {
            Some(known) => Ok(vec![text(known.name)]),
            None if self.values.contains_key(name) => Ok(vec![text(name)]),
            None => Err(unknown(name)),
        }
    }

    pub fn show(&self, name: Option<&str>) -> Result<(Vec<Field>, Vec<Row>), SqlError> {
        let fields = self.show_fields(name)?;
        let rows = match name {
            Some(name) => {
                let value = self.get(&name.to_ascii_lowercase()).ok_or_else(|| unknown(name))?;
                vec![Row::from([Datum::text(value)])]
            }
            None => self.all().map(|(name, value, about)| [name, value, about].map(Datum::text).into()).collect(),
        };
        Ok((fields, rows))
    }

    /// Name, value, what it is.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        KNOWN.iter().map(|known| (known.name, self.values[&known.name.to_ascii_lowercase()].as_str(), known.about))
    }
}

/// `-c name=value` and `--name=value`, with backslash before a blank that belongs to the value.
fn startup_options(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match (c, words.last_mut()) {
            ('\\', _) if !escaped => escaped = true,
            (' ', _) if !escaped => words.push(String::new()),
            (c, Some(word)) => {
                word.push(c);
                escaped = false;
            }
            (_, None) => {}
        }
    }
    let options = words.iter().filter_map(|word| {
        let option = word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).unwrap_or(word);
        let (name, value) = option.split_once('=')?;
        Some((name.replace('-', "_"), value.to_owned()))
    });
    options.collect()
}

/// The value as it is kept.
fn check(name: &'static str, values: &[String], defaults: &BTreeMap<String, String>) -> Result<String, SqlError> {
    let joined = values.join(", ");
    let only = |accepted: &[&str]| match accepted.iter().find(|a| a.eq_ignore_ascii_case(&joined)) {
        Some(value) => Ok((*value).to_owned()),
        None => Err(invalid(name, &joined)),
    };
    match name {
        "client_encoding" => match joined.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" => Ok("UTF8".to_owned()),
            _ => Err(invalid(name, &joined).with_hint("Only UTF8 is offered.")),
        },
        "TimeZone" => time_zone(&joined),
        super::read_after::SETTING => match joined.is_empty() {
            true => Ok(joined),
            false => super::read_after::parse(&joined).map(|_| joined),
        },
        "DateStyle" => date_style(&joined),
        "IntervalStyle" => only(&["postgres"]).map_err(|error| error.with_hint("Only 'postgres' is offered.")),
        "bytea_output" => only(&["hex"]).map_err(|error| error.with_hint("Only 'hex' is offered.")),
        "standard_conforming_strings" => boolean(name, &joined).and_then(|value| match value.as_str() {
            "on" => Ok(value),
            _ => Err(SqlError::unsupported("standard_conforming_strings = off")),
        }),
        "default_transaction_read_only"
        | "transaction_read_only"
        | "row_security"
        | "jit"
        | "escape_string_warning"
        | "check_function_bodies" => boolean(name, &joined),
        "default_transaction_isolation" | "transaction_isolation" => {
            only(&["read uncommitted", "read committed", "repeatable read", "serializable"])
        }
        "statement_timeout" | "lock_timeout" | "idle_in_transaction_session_timeout" | "idle_session_timeout" => {
            milliseconds(&joined).map(|_| joined.clone()).ok_or_else(|| invalid(name, &joined))
        }
        "session_authorization" => {
            let user = defaults.get("session_authorization").map_or("", String::as_str);
            match joined == user {
                true => Ok(joined),
                false => Err(SqlError::unsupported("another session user")),
            }
        }
        _ => Ok(joined),
    }
}

fn boolean(name: &str, value: &str) -> Result<String, SqlError> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok("on".to_owned()),
        "off" | "false" | "no" | "0" => Ok("off".to_owned()),
        _ => Err(SqlError::new("22023", format!("parameter \"{name}\" requires a Boolean value"))),
    }
}

fn time_zone(value: &str) -> Result<String, SqlError> {
    if value.eq_ignore_ascii_case("utc") {
        return Ok("UTC".to_owned());
    }
    match ::sql::datetime::zone::find(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err(invalid("TimeZone", value)),
    }
}

fn date_style(value: &str) -> Result<String, SqlError> {
    let mut order = "MDY";
    for part in value.split(',').map(str::trim) {
        match part.to_ascii_lowercase().as_str() {
            "iso" | "default" => {}
            "mdy" | "us" => order = "MDY",
            "dmy" | "ymd" | "european" | "german" | "sql" | "postgres" => {
                return Err(
                    SqlError::unsupported(format!("DateStyle \"{value}\"")).with_hint("Only 'ISO, MDY' is offered.")
                );
            }
            _ => return Err(invalid("DateStyle", value)),
        }
    }
    Ok(format!("ISO, {order}"))
}

/// A number of milliseconds, or with a unit.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: u64 = value.get(..digits)?.parse().ok()?;
    let unit = match value[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit)
}

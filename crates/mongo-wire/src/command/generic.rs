//! The arguments that every command may carry: session, concerns, API version, time limit.

use std::time::Duration;

use base::{ClusterTime, Uuid};
use document::{Doc, Raw, RawDoc};
use engine::{Error, Result};

use super::args::{Args, as_integer, wrong_type};

/// Parsed once per command, before its own arguments.
#[derive(Clone, Debug, Default)]
pub struct Generic {
    pub lsid: Option<Uuid>,
    pub txn: TxnArgs,
    pub read_concern: ReadConcern,
    pub write_concern: WriteConcern,
    /// None: no limit was given; a limit of zero is none as well.
    pub max_time: Option<Duration>,
    /// Only what is in API version 1 may be used.
    pub api_strict: bool,
    /// As it was sent, zero included; getMore cares.
    pub max_time_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct TxnArgs {
    pub number: Option<i64>,
    pub autocommit: Option<bool>,
    pub start: bool,
}

impl TxnArgs {
    /// The command belongs to a multi-document transaction.
    pub fn in_transaction(&self) -> bool {
        self.number.is_some() && self.autocommit == Some(false)
    }
}

#[derive(Clone, Debug, Default)]
pub struct ReadConcern {
    pub given: bool,
    pub level: Option<Level>,
    pub after: Option<ClusterTime>,
    pub at: Option<ClusterTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Local,
    Available,
    Majority,
    Linearizable,
    Snapshot,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Local => "local",
            Level::Available => "available",
            Level::Majority => "majority",
            Level::Linearizable => "linearizable",
            Level::Snapshot => "snapshot",
        }
    }
}

/// How a write wants to be acknowledged. One durable node satisfies everything but numbers above
/// one and modes that no configuration names.
#[derive(Clone, Debug, Default)]
pub struct WriteConcern {
    pub given: bool,
    pub unacknowledged: bool,
    /// Becomes the reply's `writeConcernError`.
    pub unsatisfiable: Option<Doc>,
}

const MAX_TIME_MS: i64 = i32::MAX as i64;

/// Reads the generic arguments of a command.
pub fn parse(body: RawDoc<'_>) -> Result<Generic> {
    let mut generic = Generic::default();
    let mut api_version = None;
    let mut api_other = false;
    for (name, value) in body.iter() {
        match name {
            "lsid" => generic.lsid = Some(parse_lsid(value)?),
            "txnNumber" => match value {
                Raw::Int64(n) => generic.txn.number = Some(n),
                other => return Err(wrong_type("OperationSessionInfo.txnNumber", other, "type 'long'")),
            },
            "autocommit" => match value {
                Raw::Bool(b) => generic.txn.autocommit = Some(b),
                other => return Err(wrong_type("OperationSessionInfo.autocommit", other, "type 'bool'")),
            },
            "startTransaction" => match value {
                Raw::Bool(b) => generic.txn.start = b,
                other => return Err(wrong_type("OperationSessionInfo.startTransaction", other, "type 'bool'")),
            },
            "readConcern" => generic.read_concern = parse_read_concern(value)?,
            "writeConcern" => generic.write_concern = parse_write_concern(value)?,
            "$clusterTime" if !matches!(value, Raw::Document(_)) => {
                return Err(Error::new(10065, "invalid parameter: expected an object ($clusterTime)"));
            }
            "$readPreference" if !matches!(value, Raw::Document(_)) => {
                return Err(wrong_type("$readPreference", value, "type 'object'"));
            }
            "maxTimeMS" => {
                let ms = parse_max_time(value, first_name(body))?;
                generic.max_time_ms = Some(ms);
                generic.max_time = (ms > 0).then(|| Duration::from_millis(ms.unsigned_abs()));
            }
            "apiVersion" => match value {
                Raw::String(version) => api_version = Some(version),
                other => return Err(wrong_type("APIParameters.apiVersion", other, "type 'string'")),
            },
            "apiStrict" | "apiDeprecationErrors" => match value {
                Raw::Bool(on) => {
                    api_other = true;
                    generic.api_strict |= on && name == "apiStrict";
                }
                other => return Err(wrong_type(&format!("APIParameters.{name}"), other, "type 'bool'")),
            },
            _ => {}
        }
    }
    match api_version {
        Some("1") | None if !(api_other && api_version.is_none()) => {}
        None => {
            let message = "Provided apiStrict and/or apiDeprecationErrors without passing apiVersion";
            return Err(Error::new(4_886_600, message));
        }
        Some(other) => return Err(Error::new(322, format!("Cannot accept API version {other}"))),
    }
    check_transaction_arguments(&generic)?;
    Ok(generic)
}

fn check_transaction_arguments(generic: &Generic) -> Result<()> {
    let txn = &generic.txn;
    if let Some(number) = txn.number {
        if generic.lsid.is_none() {
            return Err(Error::new(72, "Transaction number requires a session ID to also be specified"));
        }
        if number < 0 {
            return Err(Error::new(72, "Transaction number cannot be negative"));
        }
    }
    if txn.autocommit.is_some() && txn.number.is_none() {
        return Err(Error::new(72, "'autocommit' field requires a transaction number to also be specified"));
    }
    if txn.start && txn.number.is_none() {
        return Err(Error::new(72, "'startTransaction' field requires a transaction number to also be specified"));
    }
    if txn.autocommit == Some(true) {
        return Err(Error::new(72, "Specifying autocommit=true is not allowed."));
    }
    if txn.start && txn.autocommit.is_none() {
        return Err(Error::new(
            72,
            "Must specify autocommit=false on all operations of a multi-statement transaction.",
        ));
    }
    Ok(())
}

/// The `id` of a session identifier.
pub fn parse_lsid(value: Raw<'_>) -> Result<Uuid> {
    let Raw::Document(doc) = value else {
        return Err(wrong_type("OperationSessionInfo.lsid", value, "type 'object'"));
    };
    let args = Args::nested("OperationSessionInfo.lsid", doc, &["id", "uid", "txnNumber", "txnUUID"])?;
    match args.get("id") {
        None => Err(args.missing("id")),
        Some(Raw::Binary { subtype: 4, bytes }) => match bytes.try_into() {
            Ok(bytes) => Ok(Uuid(bytes)),
            Err(_) => Err(Error::new(207, "uuid must be a 16-byte binary field with UUID (4) subtype")),
        },
        Some(Raw::Binary { subtype, .. }) => Err(Error::new(
            14,
            format!(
                "BSON field 'OperationSessionInfo.lsid.id' is the wrong binData type '{subtype}', expected type 'UUID'"
            ),
        )),
        Some(other) => Err(wrong_type("OperationSessionInfo.lsid.id", other, "type 'binData'")),
    }
}

fn first_name(body: RawDoc<'_>) -> &str {
    body.iter().next().map_or("", |(name, _)| name)
}

fn parse_max_time(value: Raw<'_>, command: &str) -> Result<i64> {
    let ms = match value {
        Raw::Null | Raw::Undefined => 0,
        number if number.is_number() => as_integer(number),
        other => return Err(wrong_type("maxTimeMS", other, "types '[long, int, decimal, double]'")),
    };
    if ms < 0 && command != "getMore" {
        return Err(super::args::too_small("maxTimeMS", ms, 0));
    }
    if !(0..=MAX_TIME_MS).contains(&ms) {
        return Err(Error::new(2, format!("{ms} value for maxTimeMS is out of range [0, {MAX_TIME_MS}]")));
    }
    Ok(ms)
}

fn parse_read_concern(value: Raw<'_>) -> Result<ReadConcern> {
    let Raw::Document(doc) = value else {
        return Err(wrong_type("readConcern", value, "type 'object'"));
    };
    let declared =
        ["level", "afterClusterTime", "afterOpTime", "atClusterTime", "provenance", "$allowTransactionTableSnapshot"];
    let args = Args::nested("readConcern", doc, &declared).map_err(|error| Error::new(72, error.message()))?;
    let level = match args.string("level")? {
        None => None,
        Some("local") => Some(Level::Local),
        Some("available") => Some(Level::Available),
        Some("majority") => Some(Level::Majority),
        Some("linearizable") => Some(Level::Linearizable),
        Some("snapshot") => Some(Level::Snapshot),
        Some(other) => {
            let message = format!("Enumeration value '{other}' for field 'readConcern.level' is not a valid value.");
            return Err(Error::new(9, message));
        }
    };
    let time = |name: &str| match args.get(name) {
        None => Ok(None),
        Some(Raw::Timestamp(time)) => Ok(Some(ClusterTime(time))),
        Some(other) => Err(wrong_type(&format!("readConcern.{name}"), other, "type 'timestamp'")),
    };
    let (after, at) = (time("afterClusterTime")?, time("atClusterTime")?);
    if after.is_some() && at.is_some() {
        return Err(Error::new(72, "Specifying both afterClusterTime and atClusterTime is not allowed"));
    }
    if at.is_some() && level != Some(Level::Snapshot) {
        return Err(Error::new(72, "atClusterTime field can be set only if level is equal to snapshot"));
    }
    if after == Some(ClusterTime::ZERO) || at == Some(ClusterTime::ZERO) {
        return Err(Error::new(72, "afterClusterTime cannot be a null timestamp"));
    }
    Ok(ReadConcern { given: !doc.is_empty(), level, after, at })
}

/// Most members a replica set can have; a larger `w` is a mistake.
const MAX_MEMBERS: i64 = 50;

fn parse_write_concern(value: Raw<'_>) -> Result<WriteConcern> {
    let Raw::Document(doc) = value else {
        return Err(wrong_type("writeConcern", value, "type 'object'"));
    };
    let mut parsed = WriteConcern { given: !doc.is_empty(), ..WriteConcern::default() };
    for (name, value) in doc.iter() {
        match (name, value) {
            ("w", Raw::String("majority")) => {}
            ("w", Raw::String(mode)) => {
                let errmsg = format!("No write concern mode named '{mode}' found in replica set configuration");
                parsed.unsatisfiable = Some(write_concern_error(79, errmsg, doc));
            }
            ("w", number) if number.is_number() => {
                let w = as_integer(number);
                if !(0..=MAX_MEMBERS).contains(&w) {
                    let message = format!("w has to be a non-negative number and not greater than {MAX_MEMBERS}");
                    return Err(Error::new(9, message));
                }
                parsed.unacknowledged = w == 0;
                if w > 1 {
                    let errmsg = "Not enough data-bearing nodes".to_owned();
                    parsed.unsatisfiable = Some(write_concern_error(100, errmsg, doc));
                }
            }
            ("w", Raw::Document(_)) => {}
            ("w", _) => return Err(Error::new(9, "w has to be a number or a string")),
            ("j" | "fsync", Raw::Bool(_)) => {}
            ("j" | "fsync", number) if number.is_number() => {}
            ("j", _) => return Err(Error::new(14, "BSON field 'writeConcern.j' must be numeric or a boolean value")),
            ("fsync", _) => {
                return Err(Error::new(14, "BSON field 'writeConcern.fsync' must be numeric or a boolean value"));
            }
            ("wtimeout", _) | ("provenance" | "getLastError" | "wOpTime" | "wElectionId", _) => {}
            _ => return Err(Error::new(40415, format!("BSON field 'writeConcern.{name}' is an unknown field."))),
        }
    }
    Ok(parsed)
}

fn write_concern_error(code: i32, errmsg: String, concern: RawDoc<'_>) -> Doc {
    let mut concern = concern.to_doc();
    if !concern.contains("wtimeout") {
        concern.push("wtimeout", 0);
    }
    concern.push("provenance", "clientSupplied");
    Doc::new()
        .with("code", code)
        .with("codeName", crate::error_codes::name(code).into_owned())
        .with("errmsg", errmsg)
        .with("errInfo", Doc::new().with("writeConcern", concern))
}

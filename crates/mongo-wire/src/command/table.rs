//! The commands this server knows.

use document::{Raw, RawDoc};
use engine::users::Role;
use engine::{Error, Result};

use crate::login::Need;

/// A command's name and the rules that hold before its handler runs.
#[derive(Debug)]
pub struct Spec {
    pub name: &'static str,
    /// Other accepted spellings.
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    pub admin_only: bool,
    /// Takes a write concern.
    pub writes: bool,
    pub numbered: Numbered,
}

/// Whether a command may carry a transaction number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    No,
    /// Within a transaction only.
    InTransaction,
    /// Within a transaction, or as a retryable write.
    Retryable,
    /// Ends a transaction.
    Ends,
}

/// Which handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello {
        legacy: bool,
    },
    Ping,
    BuildInfo,
    WhatsMyUri,
    HostInfo,
    GetLog,
    GetCmdLineOpts,
    ConnectionStatus,
    ServerStatus,
    GetParameter,
    SetParameter,
    ConfigureFailPoint,
    Insert,
    Update,
    Delete,
    FindAndModify,
    BulkWrite,
    Find,
    Aggregate,
    Count,
    Distinct,
    Explain,
    GetMore,
    KillCursors,
    SaslStart,
    SaslContinue,
    Logout,
    Create,
    CollMod,
    Drop,
    DropDatabase,
    RenameCollection,
    CreateIndexes,
    DropIndexes,
    ListIndexes,
    ListCollections,
    ListDatabases,
    CollStats,
    DbStats,
    DataSize,
    Validate,
    StartSession,
    RefreshSessions,
    EndSessions,
    KillAllSessions,
    CommitTransaction,
    AbortTransaction,
    SetClusterParameter,
    GetClusterParameter,
    CurrentOp,
    UsersInfo,
    KillOp,
    Fsync,
    /// Has nothing to do here and says so by succeeding.
    Accept,
    /// A command of the server's that this one does not have, and why.
    Unsupported(&'static str),
}

const fn spec(name: &'static str, kind: Kind) -> Spec {
    Spec { name, aliases: &[], kind, admin_only: false, writes: false, numbered: Numbered::No }
}

impl Spec {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn admin(mut self) -> Self {
        self.admin_only = true;
        self
    }

    const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    const fn numbered(mut self, numbered: Numbered) -> Self {
        self.numbered = numbered;
        self
    }
}

const NO_AUTH: Kind = Kind::Unsupported("users are in the file that --users names");
const ONE_NODE: Kind = Kind::Unsupported("this server is a set of one member");
const NO_SCRIPT: Kind = Kind::Unsupported("this server runs no JavaScript");

static COMMANDS: &[Spec] = &[
    spec("find", Kind::Find).numbered(Numbered::InTransaction),
    spec("getMore", Kind::GetMore).numbered(Numbered::InTransaction),
    spec("insert", Kind::Insert).writes().numbered(Numbered::Retryable),
    spec("update", Kind::Update).writes().numbered(Numbered::Retryable),
    spec("delete", Kind::Delete).writes().numbered(Numbered::Retryable),
    spec("aggregate", Kind::Aggregate).writes().numbered(Numbered::InTransaction),
    spec("findAndModify", Kind::FindAndModify).also(&["findandmodify"]).writes().numbered(Numbered::Retryable),
    spec("bulkWrite", Kind::BulkWrite).admin().writes().numbered(Numbered::Retryable),
    spec("count", Kind::Count),
    spec("distinct", Kind::Distinct).numbered(Numbered::InTransaction),
    spec("explain", Kind::Explain),
    spec("killCursors", Kind::KillCursors).numbered(Numbered::InTransaction),
    spec("hello", Kind::Hello { legacy: false }),
    spec("isMaster", Kind::Hello { legacy: true }).also(&["ismaster"]),
    spec("ping", Kind::Ping),
    spec("endSessions", Kind::EndSessions),
    spec("commitTransaction", Kind::CommitTransaction).admin().writes().numbered(Numbered::Ends),
    spec("abortTransaction", Kind::AbortTransaction).admin().writes().numbered(Numbered::Ends),
    spec("create", Kind::Create).writes().numbered(Numbered::InTransaction),
    spec("collMod", Kind::CollMod).writes(),
    spec("drop", Kind::Drop).writes(),
    spec("dropDatabase", Kind::DropDatabase).writes(),
    spec("renameCollection", Kind::RenameCollection).admin().writes(),
    spec("createIndexes", Kind::CreateIndexes).writes().numbered(Numbered::InTransaction),
    spec("dropIndexes", Kind::DropIndexes).also(&["deleteIndexes"]).writes(),
    spec("listIndexes", Kind::ListIndexes),
    spec("listCollections", Kind::ListCollections),
    spec("listDatabases", Kind::ListDatabases).admin(),
    spec("collStats", Kind::CollStats).also(&["collstats"]),
    spec("dbStats", Kind::DbStats).also(&["dbstats"]),
    spec("dataSize", Kind::DataSize).also(&["datasize"]),
    spec("validate", Kind::Validate),
    spec("buildInfo", Kind::BuildInfo).also(&["buildinfo"]),
    spec("whatsmyuri", Kind::WhatsMyUri),
    spec("hostInfo", Kind::HostInfo).admin(),
    spec("getLog", Kind::GetLog).admin(),
    spec("getCmdLineOpts", Kind::GetCmdLineOpts).admin(),
    spec("connectionStatus", Kind::ConnectionStatus),
    spec("serverStatus", Kind::ServerStatus),
    spec("getParameter", Kind::GetParameter).admin(),
    spec("setParameter", Kind::SetParameter).admin(),
    spec("setClusterParameter", Kind::SetClusterParameter).admin().writes(),
    spec("getClusterParameter", Kind::GetClusterParameter).admin(),
    spec("configureFailPoint", Kind::ConfigureFailPoint).admin(),
    spec("startSession", Kind::StartSession),
    spec("refreshSessions", Kind::RefreshSessions),
    spec("killSessions", Kind::EndSessions),
    spec("killAllSessions", Kind::KillAllSessions),
    spec("killAllSessionsByPattern", Kind::KillAllSessions),
    spec("currentOp", Kind::CurrentOp).admin(),
    spec("killOp", Kind::KillOp).admin(),
    spec("fsync", Kind::Fsync).admin(),
    spec("logRotate", Kind::Accept).admin(),
    spec("setFeatureCompatibilityVersion", Kind::Accept).admin().writes(),
    spec("saslStart", Kind::SaslStart),
    spec("saslContinue", Kind::SaslContinue),
    spec("logout", Kind::Logout),
    spec("authenticate", NO_AUTH),
    spec("createUser", NO_AUTH).writes(),
    spec("updateUser", NO_AUTH).writes(),
    spec("dropUser", NO_AUTH).writes(),
    spec("dropAllUsersFromDatabase", NO_AUTH).writes(),
    spec("usersInfo", Kind::UsersInfo),
    spec("createRole", NO_AUTH).writes(),
    spec("dropRole", NO_AUTH).writes(),
    spec("rolesInfo", NO_AUTH),
    spec("grantRolesToUser", NO_AUTH).writes(),
    spec("replSetGetStatus", ONE_NODE).admin(),
    spec("replSetGetConfig", ONE_NODE).admin(),
    spec("replSetInitiate", ONE_NODE).admin(),
    spec("replSetReconfig", ONE_NODE).admin(),
    spec("replSetStepDown", ONE_NODE).admin(),
    spec("shutdown", Kind::Unsupported("stop the process instead")).admin(),
    spec("mapReduce", NO_SCRIPT).also(&["mapreduce"]),
    spec("applyOps", Kind::Unsupported("writes go through the write commands")).admin(),
    spec("convertToCapped", Kind::Unsupported("create a capped collection instead")).writes(),
    spec("compact", Kind::Accept).writes(),
    spec("reIndex", Kind::Unsupported("indexes are never out of step")).writes(),
];

/// What a client needs to run the command, on a server with users.
pub fn need(spec: &Spec, body: RawDoc<'_>) -> Need {
    match spec.kind {
        Kind::Hello { .. }
        | Kind::Ping
        | Kind::BuildInfo
        | Kind::WhatsMyUri
        | Kind::ConnectionStatus
        | Kind::SaslStart
        | Kind::SaslContinue
        | Kind::Logout => Need::Nothing,
        Kind::SetParameter
        | Kind::ConfigureFailPoint
        | Kind::SetClusterParameter
        | Kind::KillOp
        | Kind::KillAllSessions
        | Kind::CurrentOp
        | Kind::UsersInfo
        | Kind::Fsync
        | Kind::Accept => Need::Role(Role::Root),
        Kind::Aggregate if !writes_its_result(body) => Need::Role(Role::Read),
        Kind::CommitTransaction | Kind::AbortTransaction => Need::Role(Role::Read),
        _ if spec.writes => Need::Role(Role::ReadWrite),
        _ => Need::Role(Role::Read),
    }
}

fn writes_its_result(body: RawDoc<'_>) -> bool {
    let stages = body.get("pipeline").and_then(Raw::as_array);
    stages.is_some_and(|stages| {
        let named = |stage: Raw<'_>, name: &str| stage.as_document().is_some_and(|stage| stage.contains(name));
        stages.values().any(|stage| named(stage, "$out") || named(stage, "$merge"))
    })
}

/// Commands of API version 1, which `apiStrict` confines a client to.
const STABLE: &[&str] = &[
    "abortTransaction",
    "aggregate",
    "authenticate",
    "bulkWrite",
    "collMod",
    "commitTransaction",
    "count",
    "create",
    "createIndexes",
    "delete",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "endSessions",
    "explain",
    "find",
    "findAndModify",
    "getMore",
    "hello",
    "insert",
    "killCursors",
    "listCollections",
    "listDatabases",
    "listIndexes",
    "ping",
    "refreshSessions",
    "saslContinue",
    "saslStart",
    "update",
];

/// Stages that are not in API version 1, although their command is.
const UNSTABLE_STAGES: &[&str] =
    &["$currentOp", "$indexStats", "$listLocalSessions", "$listSessions", "$planCacheStats", "$search"];

/// 323 APIStrictError if the command, or a stage of its pipeline, is not in API version 1.
pub fn check_stable(spec: &Spec, body: RawDoc<'_>) -> Result<()> {
    let refused =
        |what: String| Err(Error::new(323, format!("Provided apiStrict:true, but {what} is not in API Version 1")));
    if !STABLE.contains(&spec.name) {
        return refused(format!("the command {}", spec.name));
    }
    let Some(Raw::Array(stages)) = body.get("pipeline") else { return Ok(()) };
    let unstable = stages.values().filter_map(Raw::as_document).find_map(|stage| {
        let (name, _) = stage.iter().next()?;
        UNSTABLE_STAGES.contains(&name).then(|| name.to_owned())
    });
    unstable.map_or(Ok(()), |stage| refused(format!("the stage {stage}")))
}

/// The command of that spelling. Names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.name == name || spec.aliases.contains(&name))
}

//! Configuration: command line over environment over file over defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use engine::users::Users;
use engine::{Namespace, SourceOptions, Watched};
use serde::Deserialize;

/// What `headwater serve` takes. Every option is also an environment variable (`HEADWATER_DATA_DIR`)
/// and a key of the configuration file (`data-dir`).
#[derive(Args, Debug, Default)]
pub struct ServeArgs {
    /// TOML file with any of these options.
    #[arg(long, env = "HEADWATER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: ./headwater-data].
    #[arg(long, env = "HEADWATER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// MongoDB protocol [default: 127.0.0.1:27017]. Port 0 picks a free one.
    #[arg(long, env = "HEADWATER_MONGO_LISTEN", value_name = "ADDRESS")]
    pub mongo_listen: Option<String>,
    /// PostgreSQL protocol [default: 127.0.0.1:5433].
    #[arg(long, env = "HEADWATER_PG_LISTEN", value_name = "ADDRESS")]
    pub pg_listen: Option<String>,
    /// Dashboard, metrics and health [default: 127.0.0.1:8027].
    #[arg(long, env = "HEADWATER_HTTP_LISTEN", value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// Pages of these origins may follow topics, as in https://example.com, separated by commas; * for all.
    #[arg(long, env = "HEADWATER_HTTP_ALLOW_ORIGIN", value_name = "ORIGINS", value_delimiter = ',')]
    pub http_allow_origin: Option<Vec<String>>,
    /// Acknowledge writes before they are on disk: faster, and a power failure loses the last ones.
    #[arg(long, env = "HEADWATER_NO_SYNC", num_args = 0..=1, default_missing_value = "true")]
    pub no_sync: Option<bool>,
    /// Offer configureFailPoint and friends, for testing drivers. Never in production.
    #[arg(long, env = "HEADWATER_ENABLE_TEST_COMMANDS", num_args = 0..=1, default_missing_value = "true")]
    pub enable_test_commands: Option<bool>,
    /// Capture the changes of this MongoDB deployment (mongodb:// or mongodb+srv://, with all the
    /// driver's options) instead of keeping documents here.
    #[arg(long, env = "HEADWATER_SOURCE", value_name = "URI")]
    pub source: Option<String>,
    /// With --source: capture only these, as db or db.collection, separated by commas, or "needed" for what
    /// change streams and views need [default: everything].
    #[arg(long, env = "HEADWATER_CAPTURE", value_name = "NAMES", value_delimiter = ',')]
    pub capture: Option<Vec<String>>,
    /// With --source: mirror these collections from the start, as db.collection; views mirror what they read.
    #[arg(long, env = "HEADWATER_MIRROR", value_name = "NAMES", value_delimiter = ',')]
    pub mirror: Option<Vec<String>>,
    /// With --source: what to do when it no longer has the next event: fail, resnapshot or gap [default: fail].
    #[arg(long, env = "HEADWATER_ON_HISTORY_LOST", value_name = "POLICY")]
    pub on_history_lost: Option<String>,
    /// The most that a materialized view may hold that does not say it itself, as in "1GB" [default: anything].
    #[arg(long, env = "HEADWATER_MAX_VIEW_STATE", value_name = "SIZE")]
    pub max_view_state: Option<String>,
    /// With --source: share sinks with the other processes of this name over the same deployment.
    #[arg(long, env = "HEADWATER_GROUP", value_name = "NAME")]
    pub group: Option<String>,
    /// With --group: seconds without a sign of life after which another process takes over [default: 10].
    #[arg(long, env = "HEADWATER_GROUP_LEASE", value_name = "SECONDS")]
    pub group_lease: Option<u64>,
    /// Users of the MongoDB port, one a line: name, role (read, readWrite or root), password or verifier.
    /// With it nobody gets in without logging in (SCRAM-SHA-256).
    #[arg(long, env = "HEADWATER_USERS", value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Encrypt the MongoDB port, with this certificate (PEM, those that signed it after it).
    #[arg(long, env = "HEADWATER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, env = "HEADWATER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Accept only clients with a certificate of these authorities (PEM).
    #[arg(long, env = "HEADWATER_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Log filter, as in "info" or "warn,engine=debug" [default: info].
    #[arg(long, env = "HEADWATER_LOG")]
    pub log: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data_dir: Option<PathBuf>,
    mongo_listen: Option<String>,
    pg_listen: Option<String>,
    http_listen: Option<String>,
    http_allow_origin: Option<Vec<String>>,
    no_sync: Option<bool>,
    enable_test_commands: Option<bool>,
    source: Option<String>,
    capture: Option<Vec<String>>,
    mirror: Option<Vec<String>>,
    on_history_lost: Option<String>,
    max_view_state: Option<String>,
    group: Option<String>,
    group_lease: Option<u64>,
    users: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    log: Option<String>,
}

/// The settled configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub mongo: SocketAddr,
    pub pg: SocketAddr,
    pub http: SocketAddr,
    /// Whose pages may follow topics.
    pub http_allow_origin: Vec<String>,
    pub sync: bool,
    pub enable_test_commands: bool,
    pub source: Option<SourceOptions>,
    /// Bytes.
    pub max_view_state: Option<u64>,
    pub users: Option<Arc<Users>>,
    pub tls: Option<mongo_wire::Tls>,
    pub log: String,
}

impl Config {
    /// Settles `args` with the file they name. The error is a sentence for the user.
    pub fn settle(args: ServeArgs) -> Result<Self, String> {
        let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let address = |option: &str, given: Option<String>, default: &str| {
            let text = given.unwrap_or_else(|| default.to_owned());
            resolve(&text).ok_or_else(|| format!("--{option}: \"{text}\" is no address; give one as in {default}"))
        };
        let users = args.users.or(file.users);
        if users.is_some() && args.source.as_ref().or(file.source.as_ref()).is_some() {
            return Err("--users: with --source, clients log in at the source; leave --users out".to_owned());
        }
        Ok(Config {
            data_dir: args.data_dir.or(file.data_dir).unwrap_or_else(|| "./headwater-data".into()),
            mongo: address("mongo-listen", args.mongo_listen.or(file.mongo_listen), "127.0.0.1:27017")?,
            pg: address("pg-listen", args.pg_listen.or(file.pg_listen), "127.0.0.1:5433")?,
            http: address("http-listen", args.http_listen.or(file.http_listen), "127.0.0.1:8027")?,
            http_allow_origin: args.http_allow_origin.or(file.http_allow_origin).unwrap_or_default(),
            sync: !args.no_sync.or(file.no_sync).unwrap_or(false),
            enable_test_commands: args.enable_test_commands.or(file.enable_test_commands).unwrap_or(false),
            source: source(Given {
                uri: args.source.or(file.source),
                capture: args.capture.or(file.capture),
                mirror: args.mirror.or(file.mirror),
                on_history_lost: args.on_history_lost.or(file.on_history_lost),
                group: args.group.or(file.group),
                group_lease: args.group_lease.or(file.group_lease),
            })?,
            max_view_state: args.max_view_state.or(file.max_view_state).map(|text| size(&text)).transpose()?,
            users: users
                .map(|path| Users::read(&path).map(Arc::new).map_err(|e| format!("--users: {e}")))
                .transpose()?,
            tls: tls(
                args.tls_cert.or(file.tls_cert),
                args.tls_key.or(file.tls_key),
                args.tls_client_ca.or(file.tls_client_ca),
            )?,
            log: args.log.or(file.log).unwrap_or_else(|| "info".into()),
        })
    }
}

fn size(text: &str) -> Result<u64, String> {
    let found = engine::sql::parse_size(text).filter(|bytes| *bytes > 0);
    found.ok_or_else(|| format!("--max-view-state: \"{text}\" is no size; give one as in 512MB"))
}

fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<mongo_wire::Tls>, String> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let tls = mongo_wire::Tls::from_files(&certificate, &key, client_ca.as_deref());
            tls.map(Some).map_err(|e| format!("--tls-cert: {e}"))
        }
        (None, None) if client_ca.is_none() => Ok(None),
        _ => Err("TLS needs both --tls-cert and --tls-key".to_owned()),
    }
}

/// What was given of the source, in text.
struct Given {
    uri: Option<String>,
    capture: Option<Vec<String>>,
    mirror: Option<Vec<String>>,
    on_history_lost: Option<String>,
    group: Option<String>,
    group_lease: Option<u64>,
}

/// Seconds that a lease may have.
const LEASES: std::ops::RangeInclusive<u64> = 1..=3600;

fn source(given: Given) -> Result<Option<SourceOptions>, String> {
    let Some(uri) = given.uri else {
        let without = [
            ("capture", given.capture.is_some()),
            ("mirror", given.mirror.is_some()),
            ("on-history-lost", given.on_history_lost.is_some()),
            ("group", given.group.is_some()),
            ("group-lease", given.group_lease.is_some()),
        ];
        return match without.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(format!("--{option} says something of a source, and there is no --source")),
            None => Ok(None),
        };
    };
    let mut options = SourceOptions::new(uri);
    let capture = given.capture.unwrap_or_default();
    options.only_needed = capture == ["needed"];
    for name in capture.iter().filter(|_| !options.only_needed) {
        options.watched.push(name.parse().map_err(|e| format!("--capture: {e}"))?);
    }
    for name in given.mirror.unwrap_or_default() {
        let parsed: Watched = name.parse().map_err(|e| format!("--mirror: {e}"))?;
        let collection = parsed.collection.ok_or_else(|| format!("--mirror: \"{name}\" is not database.collection"))?;
        options.mirrored.push(Namespace::new(parsed.db, collection));
    }
    if let Some(policy) = given.on_history_lost {
        options.on_history_lost = policy.parse().map_err(|e| format!("--on-history-lost: {e}"))?;
    }
    if let Some(name) = given.group {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            return Err(format!("--group: \"{name}\" is no name of letters, digits, '-', '_' and '.'"));
        }
        options.group = Some(name);
    }
    if let Some(seconds) = given.group_lease {
        if options.group.is_none() {
            return Err("--group-lease says something of a group, and there is no --group".to_owned());
        }
        if !LEASES.contains(&seconds) {
            return Err(format!("--group-lease: {seconds} is not from 1 to 3600 seconds"));
        }
        options.group_lease = std::time::Duration::from_secs(seconds);
    }
    Ok(Some(options))
}

fn read_file(path: &Path) -> Result<File, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("cannot read the configuration {}: {e}", path.display()))?;
    toml::from_str(&text).map_err(|e| format!("in the configuration {}: {e}", path.display()))
}

/// An address with a port; a name resolves to its first address.
fn resolve(text: &str) -> Option<SocketAddr> {
    use std::net::ToSocketAddrs;
    text.parse().ok().or_else(|| text.to_socket_addrs().ok()?.next())
}

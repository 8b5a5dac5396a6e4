//! The commands this server knows.

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
}

/// Which handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello { legacy: bool },
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
}

const fn spec(name: &'static str, kind: Kind) -> Spec {
    Spec { name, aliases: &[], kind, admin_only: false, writes: false }
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
}

static COMMANDS: &[Spec] = &[
    spec("hello", Kind::Hello { legacy: false }),
    spec("isMaster", Kind::Hello { legacy: true }).also(&["ismaster"]),
    spec("ping", Kind::Ping),
    spec("buildInfo", Kind::BuildInfo).also(&["buildinfo"]),
    spec("whatsmyuri", Kind::WhatsMyUri),
    spec("hostInfo", Kind::HostInfo),
    spec("getLog", Kind::GetLog).admin(),
    spec("getCmdLineOpts", Kind::GetCmdLineOpts).admin(),
    spec("connectionStatus", Kind::ConnectionStatus),
    spec("serverStatus", Kind::ServerStatus),
    spec("getParameter", Kind::GetParameter).admin(),
    spec("setParameter", Kind::SetParameter).admin(),
    spec("configureFailPoint", Kind::ConfigureFailPoint).admin(),
];

/// The command of that spelling. Names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| spec.name == name || spec.aliases.contains(&name))
}

//! The one table of settings. Flags, environment variables, file keys, `--help`
//! and `docs/configuration.md` all come from it.

/// Where a setting may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Flag, environment and file.
    Everywhere,
    /// Flag and environment, not in the file: it says where the file is.
    FlagAndEnv,
    /// Flag only: it asks for something else than a running daemon.
    FlagOnly,
    /// Environment only: a secret that must not show in the list of processes.
    EnvOnly,
}

/// What holds when a setting is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing.
    None,
    /// This text, read as if it had been given.
    Text(&'static str),
    /// Worked out at start; the text says how.
    Derived(&'static str),
}

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// Repeated flag, list in the file, list by comma in the environment.
    List,
    /// `KEY=VALUE` items: as a list, or a table in the file.
    Pairs,
    /// A flag without value; `true` or `false` elsewhere.
    Switch,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name: `--name`, and the key in the file.
    pub name: &'static str,
    /// Its environment variable where that is not `MUSTER_` and the name.
    pub variable: Option<&'static str>,
    /// What a value is called in help.
    pub hint: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// Where it may be given.
    pub given: Given,
    /// What holds otherwise.
    pub default: Default,
    /// What is allowed, for errors and the reference.
    pub allowed: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether a reload applies it; others hold from the next start.
    pub live: bool,
}

/// Settings that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// Its settings, in the order of the reference.
    pub settings: &'static [Setting],
}

impl Setting {
    /// The environment variable, if there is one.
    #[must_use]
    pub fn env(&self) -> Option<String> {
        match self.given {
            Given::FlagOnly => None,
            Given::Everywhere | Given::FlagAndEnv | Given::EnvOnly => {
                Some(self.variable.map_or_else(
                    || format!("MUSTER_{}", self.name.to_uppercase().replace('-', "_")),
                    str::to_owned,
                ))
            }
        }
    }

    /// Whether there is a flag for it.
    #[must_use]
    pub const fn has_flag(&self) -> bool {
        !matches!(self.given, Given::EnvOnly)
    }

    /// Whether the file may hold it.
    #[must_use]
    pub const fn in_file(&self) -> bool {
        matches!(self.given, Given::Everywhere)
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.given, Given::EnvOnly)
    }

    const fn variable(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    const fn given(mut self, given: Given) -> Self {
        self.given = given;
        self
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    const fn or(mut self, text: &'static str) -> Self {
        self.default = Default::Text(text);
        self
    }

    const fn derived(mut self, how: &'static str) -> Self {
        self.default = Default::Derived(how);
        self
    }
}

/// All settings, in order.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The setting of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == name)
}

const fn setting(
    shape: Shape,
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        name,
        variable: None,
        hint,
        shape,
        given: Given::Everywhere,
        default: Default::None,
        allowed,
        doc,
        live: false,
    }
}

const fn one(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::One, name, hint, allowed, doc)
}

const fn list(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::List, name, hint, allowed, doc)
}

const fn pairs(
    name: &'static str,
    hint: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    setting(Shape::Pairs, name, hint, allowed, doc)
}

const fn switch(name: &'static str, doc: &'static str) -> Setting {
    setting(Shape::Switch, name, "BOOL", BOOL, doc).or("false")
}

const NAME: &str = "1 to 128 letters, digits, '.', '_' and '-', a letter or digit first and last";
const BOOL: &str = "true or false";
const PATH: &str = "a path";
const SOCKET: &str = "a path of at most 107 bytes";

/// The table.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Node",
        settings: NODE,
    },
    Section {
        title: "Peers",
        settings: PEERS,
    },
    Section {
        title: "Keys",
        settings: KEYS,
    },
    Section {
        title: "API sockets",
        settings: API,
    },
    Section {
        title: "serf's interfaces",
        settings: SERF,
    },
    Section {
        title: "Events and members",
        settings: BOUNDS,
    },
    Section {
        title: "Handlers",
        settings: HANDLERS,
    },
    Section {
        title: "Process",
        settings: PROCESS,
    },
    Section {
        title: "Commands",
        settings: COMMANDS,
    },
];

const NODE: &[Setting] = &[
    one(
        "name",
        "NAME",
        NAME,
        "Name of this member: its id in every API and file.",
    )
    .derived("the host name"),
    one(
        "cluster",
        "NAME",
        NAME,
        "Name of the cluster. It is bound into everything that members send, so that two clusters \
         never merge by accident. A token brings the name along.",
    )
    .or("muster"),
    pairs(
        "role",
        "ROLE[=IP:PORT]",
        "1 to 63 letters, digits, '.', '_' and '-', a letter or digit first and last; then = and \
         an IP:PORT if the service is not at service-ip and service-port",
        "A role that this node serves, and where.",
    ),
    one(
        "service-ip",
        "IP",
        "an IP address",
        "Address of services whose role names none.",
    )
    .derived("the address of advertise"),
    one(
        "service-port",
        "PORT",
        "a number from 0 to 65535; 0 is no port",
        "Port of services whose role names none. (MUSTER_SERVICE_PORT is what Kubernetes sets for \
         a Service called muster, so the variable has another name.)",
    )
    .variable("MUSTER_ROLE_PORT")
    .or("0"),
    pairs(
        "tag",
        "KEY=VALUE",
        "KEY=VALUE, the key 1 to 128 bytes without '=', the value without NUL, each key once",
        "A tag of this member. Values that hold a comma can be given by flag or file.",
    )
    .live(),
    one(
        "tags-file",
        "FILE",
        "a path in a directory that exists; the file is a JSON object of texts and nulls",
        "Keeps what was changed of the tags while the daemon ran, over those that are configured: \
         a text sets a tag, null removes a configured one. The daemon writes it whole, mode 0600, \
         at each change. A file of serf's agent will do.",
    ),
];

const PEERS: &[Setting] = &[
    one(
        "bind",
        "IP:PORT",
        "IP:PORT, such as 10.0.0.5:7946 or [::]:7946",
        "Address for peers, UDP and TCP on one port. Port 0 takes any free one.",
    )
    .or("127.0.0.1:7946"),
    one(
        "iface",
        "NAME",
        "a network interface with an address that is not link-local",
        "Listen on the address of this network interface, an IPv4 one unless bind is [::]. With an \
         address in bind it only checks that the interface has it.",
    ),
    one(
        "advertise",
        "ADDR",
        "IP, IP:PORT, NAME or NAME:PORT that peers can reach, so neither 0.0.0.0 nor [::]; without \
         a port or with port 0 it is the bound port",
        "Address that peers use. A name is resolved once, at the start.",
    )
    .derived(
        "the address of bind; if that is 0.0.0.0 or [::], the first private address of a network \
         interface",
    ),
    list(
        "join",
        "ADDR",
        "IP, IP:PORT, NAME, NAME:PORT or the SRV name _service._proto.NAME; at most 64",
        "A member to join through. Names are resolved again on every try, and tries never end. A \
         token brings addresses along.",
    ),
    switch(
        "disable-coordinates",
        "Do not find this node's network coordinate, and tell none: no estimates of round trips.",
    ),
    one(
        "discover",
        "NAME",
        NAME,
        "Find members on the local network by multicast DNS: all that discover the same name try \
         to join each other. Anybody there can see who they are and where; what they send each \
         other is sealed all the same.",
    ),
    one(
        "mdns-iface",
        "NAME",
        "a network interface with an address",
        "The only network interface to use for discover.",
    )
    .derived("the one of iface; all interfaces without one"),
    one(
        "retry-interval",
        "DURATION",
        "a duration from 1s to 1h",
        "Longest pause between tries to join while no other member is known. Tries begin 250 ms \
         apart and slow down to this.",
    )
    .or("5s"),
    switch(
        "rejoin",
        "Look for the members of the snapshot also if this node left before. Without it a node that \
         left joins through `join` only.",
    ),
    one(
        "profile",
        "PROFILE",
        "lan, wan or local",
        "What the network is like, as with serf's agent. Detection tunes itself to losses and load; \
         `wan` gives a suspected member three times as long to answer, 15 s to 30 s instead of 5 s to \
         10 s. `lan` and `local` are the same. The least patient member decides for all, so give \
         the same everywhere.",
    )
    .or("lan"),
];

const KEYS: &[Setting] = &[
    one(
        "key-file",
        "FILE",
        "a file with one base64 key of 16, 24 or 32 bytes a line; the first one seals",
        "Keys of the cluster, as `muster keygen` prints them.",
    ),
    one(
        "token-file",
        "FILE",
        "a file with the line that `muster token` printed",
        "Token of the cluster: its name, key and seeds.",
    ),
    one(
        "token",
        "TOKEN",
        "the line that `muster token` printed",
        "Token of the cluster, for containers that get secrets by environment.",
    )
    .given(Given::EnvOnly),
    switch(
        "insecure-plaintext",
        "Talk to peers without encryption. Refused unless bind and advertise are loopback or \
         private addresses.",
    ),
];

const API: &[Setting] = &[
    one("socket", "PATH", SOCKET, "Socket of the API.")
        .derived("`/run/muster/api.sock` for root, `$XDG_RUNTIME_DIR/muster/api.sock` for others"),
    one(
        "socket-mode",
        "MODE",
        "an octal mode from 0600 to 0777 that lets the owner read and write",
        "Mode of the API socket: who may open it. What they may do is a matter of allow.",
    )
    .or("0660"),
    one(
        "socket-group",
        "GROUP",
        "the number of a group, or its name in /etc/group",
        "Group of the API sockets.",
    )
    .derived("the group of the process"),
    one(
        "child-socket",
        "PATH",
        SOCKET,
        "A second socket that offers reading and events to everybody: the one to mount into \
         containers.",
    ),
    pairs(
        "allow",
        "UID=CAPS",
        "UID=CAPS, CAPS of read, events and admin joined by '+' (or by ',' in a flag or the file)",
        "What a user may do on the API socket, beyond read + events for everybody and everything \
         for root and the user of the daemon.",
    ),
    one(
        "api-threads",
        "N",
        "a number from 1 to 64",
        "Threads that serve the API.",
    )
    .or("1"),
];

const SERF: &[Setting] = &[
    one(
        "serf-rpc",
        "IP:PORT",
        "IP:PORT; without serf-rpc-auth-file a loopback address",
        "Address for the `serf` command and serf's client libraries, as 127.0.0.1:7373. The \
         protocol knows no encryption. Without serf-rpc-auth-file clients may only read and send \
         events.",
    ),
    one(
        "serf-rpc-auth-file",
        "FILE",
        "a file with mode 0600 that holds one line of at most 1024 bytes",
        "The token that clients of serf-rpc must give (`serf -rpc-auth`); with it they may do \
         everything.",
    ),
    switch(
        "serf-rpc-show-keys",
        "Whether `serf keys -list` shows keys. Without it, it shows their ids.",
    ),
];

const BOUNDS: &[Setting] = &[
    one(
        "event-payload-limit",
        "SIZE",
        "a size from 1KiB to 1MiB",
        "Largest payload of an event that this node accepts.",
    )
    .or("64KiB"),
    one(
        "events-per-origin",
        "N",
        "a number from 64 to 1048576",
        "Events kept of each origin. Whoever was away for longer gets a gap marker.",
    )
    .or("8192"),
    one(
        "event-bytes-per-origin",
        "SIZE",
        "a size from 1MiB to 4GiB, at least 4 times event-payload-limit",
        "Bytes of events kept of each origin.",
    )
    .or("32MiB"),
    one(
        "event-bytes-total",
        "SIZE",
        "a size from 1MiB to 16GiB, at least event-bytes-per-origin",
        "Bytes of events kept in all.",
    )
    .or("64MiB"),
    one(
        "reap-left",
        "DURATION",
        "a duration from 1s to 365d",
        "How long members that left are shown.",
    )
    .or("10m"),
    one(
        "reap-failed",
        "DURATION",
        "a duration from 1s to 365d",
        "How long failed members are shown.",
    )
    .or("24h"),
];

const HANDLERS: &[Setting] = &[
    list(
        "event-handler",
        "[FILTER[,FILTER...]=]SCRIPT",
        "filters of serf (member-join, member-leave, member-failed, member-update, member-reap, \
         user, user:NAME, query, query:NAME, *), selectors (role:, name:, tag:KEY=) and options, \
         then = and a script; a script that holds = needs *= before it",
        "A script that is run when something happens, by /bin/sh -c and with the contract of \
         serf. See docs/handlers.md. Values that hold a comma can be given by flag or file.",
    )
    .live(),
    one(
        "handler-dir",
        "DIR",
        PATH,
        "Directory of programs that are run for the event, query or kind of member event that \
         they are named after. It is read again as it changes.",
    ),
    one(
        "handler-timeout",
        "DURATION",
        "a duration from 10ms to 24h",
        "When a call of a handler is killed, with its whole process group.",
    )
    .or("60s"),
    one(
        "handler-concurrency",
        "N",
        "a number from 1 to 256",
        "User events of different origins, and queries, that one handler works on at a time. \
         Events of one origin always come one after another, and so do member events.",
    )
    .or("4"),
    one(
        "handler-queue",
        "N",
        "a number from 1 to 65536",
        "Events that wait for one handler; beyond it they wait in the log of events, and queries \
         are answered as busy.",
    )
    .or("256"),
    one(
        "handler-user",
        "USER",
        "a name or number in /etc/passwd; only root may change the user",
        "User as whom handlers are run, with its primary group and no other.",
    )
    .derived("the user of the daemon"),
    one(
        "handler-coalesce",
        "DURATION",
        "a duration from 0s to 60s; 0s does not wait",
        "How long changes of members are collected for one call, from the first on; a third of \
         it without a change ends it sooner.",
    )
    .or("3s"),
    switch(
        "handler-json",
        "Give handlers one line of JSON on standard input instead of the lines of serf.",
    ),
    switch(
        "handler-redeliver",
        "After a crash, run what was being run again, marked by MUSTER_REDELIVERED=1. Otherwise \
         an event is run at most once. Needs data-dir.",
    ),
];

const PROCESS: &[Setting] = &[
    one(
        "data-dir",
        "DIR",
        PATH,
        "Directory for what should outlive a restart. It is created with mode 0700 and belongs to \
         one daemon. Without one nothing is written but a snapshot that is given by itself.",
    ),
    one(
        "snapshot",
        "FILE",
        PATH,
        "File that keeps members, addresses and event positions for the next start. A snapshot of \
         serf is taken over once.",
    )
    .derived("`snapshot` in `data-dir`; nothing is kept without one"),
    one(
        "log-filter",
        "FILTER",
        "directives by comma: LEVEL or TARGET=LEVEL, LEVEL of off, error, warn, info, debug, trace",
        "What is logged. `muster` can change it while the daemon runs.",
    )
    .or(DEFAULT_LOG_FILTER)
    .live(),
    one(
        "log-format",
        "FORMAT",
        "text or json",
        "How the log on standard error is written. Where that is the journal of systemd, lines carry \
         their priority for it, and texts no time of their own.",
    )
    .or("text"),
    one(
        "leave-on-terminate",
        "BOOL",
        BOOL,
        "Whether SIGTERM leaves the cluster before the daemon ends. Without it peers see a failed \
         member, as suits a quick restart.",
    )
    .or("true")
    .live(),
    switch(
        "skip-leave-on-interrupt",
        "Let SIGINT (ctrl-C) end the daemon without leaving the cluster.",
    )
    .live(),
    one(
        "leave-timeout",
        "DURATION",
        "a duration from 0s to 60s",
        "How long a leave may take before the daemon ends all the same.",
    )
    .or("3s")
    .live(),
    one(
        "drain-timeout",
        "DURATION",
        "a duration from 0s to 60s",
        "How long streams and connections may take to end before they are cut.",
    )
    .or("5s")
    .live(),
];

/// The filter that holds when none is given.
pub const DEFAULT_LOG_FILTER: &str = "warn,musterd=info,muster_engine=info";

const COMMANDS: &[Setting] = &[
    switch(
        "exit-with-stdin",
        "End, as SIGTERM does, once standard input closes: whoever started the daemon with a \
         pipe there and dies, by SIGKILL even, leaves none behind. Standard input must be a pipe.",
    )
    .given(Given::FlagOnly),
    one("config", "FILE", PATH, "The TOML file that holds settings.").given(Given::FlagAndEnv),
    switch(
        "print-config",
        "Print the effective settings and where each comes from, then exit.",
    )
    .given(Given::FlagOnly),
    switch(
        "check-config",
        "Check the settings, the file and the keys, then exit with 0 or 78.",
    )
    .given(Given::FlagOnly),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_variables_are_unique() {
        let names: BTreeSet<_> = settings().map(|setting| setting.name).collect();
        assert_eq!(names.len(), settings().count());
        let variables: Vec<_> = settings().filter_map(Setting::env).collect();
        let distinct: BTreeSet<_> = variables.iter().collect();
        assert_eq!(distinct.len(), variables.len());
    }

    #[test]
    fn every_text_is_a_sentence_and_every_limit_is_told() {
        for setting in settings() {
            assert!(setting.doc.ends_with(['.', ')']), "{}", setting.name);
            assert!(!setting.allowed.is_empty(), "{}", setting.name);
            assert!(!setting.hint.is_empty(), "{}", setting.name);
        }
    }
}

//! Every flag and key of serf's agent, and what becomes of it.

use super::values::{
    advertise, anything, bind, handler, is_true, keep, leave, level, negated, positive, protocol,
    reap, relay, size, span, switch,
};

/// How an option is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One text.
    Text,
    /// A whole number.
    Number,
    /// A flag without value; `true` or `false` in a file.
    Truth,
    /// A flag that can be repeated; a list in a file.
    Texts,
    /// `KEY=VALUE` as a flag that can be repeated; an object in a file.
    Tags,
}

/// Makes the value of a setting from that of an option.
type Rewrite = fn(&str) -> Result<String, String>;

/// What becomes of an option.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
    /// It gives this setting.
    To(&'static str, Rewrite),
    /// It is the content of the file that this setting names, or `@FILE`.
    Secret(&'static str),
    /// It gives the tag `role`.
    Role,
    /// It names files to read.
    Files,
    /// It is checked and has no effect, for this reason.
    Checked(fn(&str) -> Result<bool, String>, &'static str),
    /// As `Checked`, with a warning where the check says true.
    Warned(fn(&str) -> Result<bool, String>, &'static str),
}

/// One option of serf's agent.
#[derive(Debug)]
pub(super) struct SerfOption {
    /// Its flag, without the dash.
    pub(super) flag: Option<&'static str>,
    /// Its key in a file.
    pub(super) key: Option<&'static str>,
    /// How it is written.
    pub(super) kind: Kind,
    /// What becomes of it.
    pub(super) effect: Effect,
}

impl SerfOption {
    /// What it is known by: the flag, or the key where there is none.
    pub(super) fn id(&self) -> &'static str {
        self.flag.or(self.key).unwrap_or_default()
    }
}

/// The option of a flag.
pub(super) fn of_flag(flag: &str) -> Option<&'static SerfOption> {
    OPTIONS.iter().find(|option| option.flag == Some(flag))
}

/// The option of a key; serf does not look at the case.
pub(super) fn of_key(key: &str) -> Option<&'static SerfOption> {
    let is_it = |known: &str| known.eq_ignore_ascii_case(key);
    OPTIONS.iter().find(|option| option.key.is_some_and(is_it))
}

/// What `serf agent -h` prints.
pub(super) fn usage() -> String {
    let mut text =
        "Usage: serf agent [options]\n\n  Runs musterd with the options of serf's agent. \
                    docs/serf.md says of each what becomes of it.\n\nOptions:\n\n"
            .to_owned();
    for option in OPTIONS {
        let Some(flag) = option.flag else { continue };
        let value = match option.kind {
            Kind::Truth => "",
            Kind::Tags => "=key=value",
            Kind::Text | Kind::Number | Kind::Texts => "=value",
        };
        let what = match option.effect {
            Effect::To(setting, _) => format!("--{setting} of musterd"),
            Effect::Secret(setting) => format!("content of --{setting}, or @FILE"),
            Effect::Role => "the tag role".to_owned(),
            Effect::Files => "JSON files to read settings from".to_owned(),
            Effect::Checked(_, why) | Effect::Warned(_, why) => format!("no effect: {why}"),
        };
        text.push_str(&format!("  {:<24} {what}\n", format!("-{flag}{value}")));
    }
    text.push_str(
        "\n  MUSTER_* variables count as for musterd: MUSTER_TOKEN gives the key of the cluster.\n",
    );
    text
}

const fn option(flag: &'static str, key: &'static str, kind: Kind, effect: Effect) -> SerfOption {
    SerfOption {
        flag: Some(flag),
        key: Some(key),
        kind,
        effect,
    }
}

const fn only_key(key: &'static str, kind: Kind, effect: Effect) -> SerfOption {
    SerfOption {
        flag: None,
        key: Some(key),
        kind,
        effect,
    }
}

const fn only_flag(flag: &'static str, kind: Kind, effect: Effect) -> SerfOption {
    SerfOption {
        flag: Some(flag),
        key: None,
        kind,
        effect,
    }
}

const JOINS: &str = "joins never end here, and each address is tried again for ever";
const PUSH: &str = "metrics are not pushed: `muster info --metrics` gives them";
const MDNS: &str = "discovery uses every family of its interface";

/// The table.
pub(super) const OPTIONS: &[SerfOption] = &[
    option("node", "node_name", Kind::Text, Effect::To("name", keep)),
    option("role", "role", Kind::Text, Effect::Role),
    option("tag", "tags", Kind::Tags, Effect::To("tag", keep)),
    option(
        "tags-file",
        "tags_file",
        Kind::Text,
        Effect::To("tags-file", keep),
    ),
    option("bind", "bind", Kind::Text, Effect::To("bind", bind)),
    option("iface", "interface", Kind::Text, Effect::To("iface", keep)),
    option(
        "advertise",
        "advertise",
        Kind::Text,
        Effect::To("advertise", advertise),
    ),
    only_flag("config-file", Kind::Texts, Effect::Files),
    only_flag("config-dir", Kind::Texts, Effect::Files),
    option(
        "discover",
        "discover",
        Kind::Text,
        Effect::To("discover", keep),
    ),
    option(
        "mdns-iface",
        "mdns.interface",
        Kind::Text,
        Effect::To("mdns-iface", keep),
    ),
    option(
        "mdns-disable-ipv4",
        "mdns.disable_ipv4",
        Kind::Truth,
        Effect::Warned(is_true, MDNS),
    ),
    option(
        "mdns-disable-ipv6",
        "mdns.disable_ipv6",
        Kind::Truth,
        Effect::Warned(is_true, MDNS),
    ),
    option(
        "encrypt",
        "encrypt_key",
        Kind::Text,
        Effect::Secret("key-file"),
    ),
    option(
        "keyring-file",
        "keyring_file",
        Kind::Text,
        Effect::To("keyring-file", keep),
    ),
    option("join", "start_join", Kind::Texts, Effect::To("join", keep)),
    option(
        "retry-join",
        "retry_join",
        Kind::Texts,
        Effect::To("join", keep),
    ),
    option(
        "retry-interval",
        "retry_interval",
        Kind::Text,
        Effect::To("retry-interval", span),
    ),
    option(
        "retry-max",
        "retry_max_attempts",
        Kind::Number,
        Effect::Warned(positive, JOINS),
    ),
    option(
        "replay",
        "replay_on_join",
        Kind::Truth,
        Effect::Warned(
            is_true,
            "who wants old events asks for them: `muster watch events --replay`",
        ),
    ),
    option(
        "snapshot",
        "snapshot_path",
        Kind::Text,
        Effect::To("snapshot", keep),
    ),
    option(
        "rejoin",
        "rejoin_after_leave",
        Kind::Truth,
        Effect::To("rejoin", switch),
    ),
    option(
        "event-handler",
        "event_handlers",
        Kind::Texts,
        Effect::To("event-handler", handler),
    ),
    option(
        "log-level",
        "log_level",
        Kind::Text,
        Effect::To("log-filter", level),
    ),
    option(
        "syslog",
        "enable_syslog",
        Kind::Truth,
        Effect::Warned(
            is_true,
            "the log goes to standard error, with priorities where that is the journal of systemd",
        ),
    ),
    only_key(
        "syslog_facility",
        Kind::Text,
        Effect::Checked(anything, "as of -syslog"),
    ),
    option(
        "profile",
        "profile",
        Kind::Text,
        Effect::To("profile", keep),
    ),
    option(
        "protocol",
        "protocol",
        Kind::Number,
        Effect::Checked(protocol, "members agree on a protocol of their own"),
    ),
    option(
        "rpc-addr",
        "rpc_addr",
        Kind::Text,
        Effect::To("serf-rpc", relay),
    ),
    only_key("rpc_auth", Kind::Text, Effect::Secret("serf-rpc-auth-file")),
    option(
        "broadcast-timeout",
        "broadcast_timeout",
        Kind::Text,
        Effect::To("leave-timeout", leave),
    ),
    only_flag(
        "disable-compression",
        Kind::Truth,
        Effect::Checked(is_true, "nothing is compressed"),
    ),
    only_key(
        "enable_compression",
        Kind::Truth,
        Effect::Checked(is_true, "nothing is compressed"),
    ),
    only_key(
        "leave_on_terminate",
        Kind::Truth,
        Effect::To("leave-on-terminate", switch),
    ),
    only_key(
        "skip_leave_on_interrupt",
        Kind::Truth,
        Effect::To("skip-leave-on-interrupt", switch),
    ),
    only_key(
        "reconnect_interval",
        Kind::Text,
        Effect::Checked(
            anything,
            "members that are gone are looked for all the time",
        ),
    ),
    only_key(
        "reconnect_timeout",
        Kind::Text,
        Effect::To("reap-failed", reap),
    ),
    only_key(
        "tombstone_timeout",
        Kind::Text,
        Effect::To("reap-left", reap),
    ),
    only_key(
        "disable_name_resolution",
        Kind::Truth,
        Effect::Checked(is_true, "nobody ends over a name: the newer start keeps it"),
    ),
    only_key(
        "disable_coordinates",
        Kind::Truth,
        Effect::To("disable-coordinates", switch),
    ),
    only_key(
        "query_response_size_limit",
        Kind::Number,
        Effect::Checked(size, "answers have room for 1 MiB"),
    ),
    only_key(
        "query_size_limit",
        Kind::Number,
        Effect::Checked(size, "queries have room for 64 KiB"),
    ),
    only_key(
        "user_event_size_limit",
        Kind::Number,
        Effect::Checked(size, "events have room for 64 KiB: event-payload-limit"),
    ),
    only_key("statsite_addr", Kind::Text, Effect::Warned(anything, PUSH)),
    only_key("statsd_addr", Kind::Text, Effect::Warned(anything, PUSH)),
    only_key(
        "validate_node_names",
        Kind::Truth,
        Effect::Checked(negated, "names are always checked"),
    ),
];

//! The command line and the JSON files of serf's agent, read into our settings.
//!
//! ```text
//!   flags (flags) + files (files) -> given values -> table of options -> layers
//! ```
//! As with serf, files count in the order in which they are named, flags are stronger,
//! lists and tags add up. Environment and TOML file of musterd count as always.

mod files;
mod flags;
pub mod hidden;
mod table;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;

use super::args::Asked;
use super::layers::Layers;
use super::machine::Machine;
use super::problem::{Problem, Source};
use super::schema::{self, Setting};
use table::{Effect, Kind, SerfOption};

/// Where serf's agent listens for peers.
const BIND: &str = "0.0.0.0:7946";

/// Where serf's agent listens for its command.
const RPC: &str = "127.0.0.1:7373";

/// One option as it was given.
#[derive(Clone)]
struct Given {
    option: &'static SerfOption,
    source: Source,
    value: String,
}

/// Reads flags and files of serf's agent into the layers, `args` without `serf agent`.
pub(super) fn read(
    args: &[OsString],
    environment: &BTreeMap<String, String>,
    machine: &dyn Machine,
    layers: &mut Layers,
) -> Asked {
    let parsed = match flags::parse(args, layers) {
        flags::Parsed::Help => return Asked::Text(table::usage()),
        flags::Parsed::Flags(parsed) => parsed,
    };
    let mut given = Vec::new();
    for path in &parsed.files {
        files::read(path, &mut given, layers);
    }
    given.extend(parsed.given);
    apply(&given, layers);
    defaults(&given, environment, machine, layers);
    Asked::Settings
}

/// Puts what was given where it belongs.
fn apply(given: &[Given], layers: &mut Layers) {
    // Of an option that is no list the last one counts, as with serf.
    let mut last: BTreeMap<&str, &Given> = BTreeMap::new();
    let mut tags: BTreeMap<String, (Source, String)> = BTreeMap::new();
    for one in given {
        match (one.option.kind, one.option.effect) {
            (Kind::Texts, Effect::To(name, rewrite)) => match rewrite(&one.value) {
                Ok(value) => add(name, one, value, layers),
                Err(why) => layers.problem(wrong(one, &why)),
            },
            (Kind::Tags, _) => match one.value.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    let tag = (one.source.clone(), value.to_owned());
                    tags.insert(key.to_owned(), tag);
                }
                _ => layers.problem(wrong(one, "it is not KEY=VALUE")),
            },
            _ => drop(last.insert(one.option.id(), one)),
        }
    }
    for one in last.into_values() {
        match one.option.effect {
            Effect::Role => {
                let role = (one.source.clone(), one.value.clone());
                tags.entry("role".to_owned()).or_insert(role);
            }
            Effect::To(..)
            | Effect::Secret(_)
            | Effect::Files
            | Effect::Checked(..)
            | Effect::Warned(..) => apply_one(one, layers),
        }
    }
    if let Some(setting) = schema::find("tag") {
        for (key, (source, value)) in tags {
            layers.add(setting, source, format!("{key}={value}"));
        }
    }
}

fn apply_one(one: &Given, layers: &mut Layers) {
    match one.option.effect {
        Effect::To(name, rewrite) => match rewrite(&one.value) {
            Ok(value) => put(name, one, value, layers),
            Err(why) => {
                layers.meant(name);
                layers.problem(wrong(one, &why));
            }
        },
        Effect::Secret(name) => secret(name, one, layers),
        Effect::Checked(check, _) => {
            if let Err(why) = check(&one.value) {
                layers.problem(wrong(one, &why));
            }
        }
        Effect::Warned(check, why) => match check(&one.value) {
            Ok(true) => layers.warn(format!("{} is without effect: {why}", place(one))),
            Ok(false) => {}
            Err(why) => layers.problem(wrong(one, &why)),
        },
        Effect::Role | Effect::Files => {}
    }
}

/// A secret becomes a file in memory, which is what the setting takes.
fn secret(name: &'static str, one: &Given, layers: &mut Layers) {
    layers.meant(name);
    let path = match one.value.strip_prefix('@') {
        Some(path) => Ok(path.to_owned()),
        None => {
            if let Source::SerfFlag(flag) = one.source {
                layers.warn(format!(
                    "-{flag} shows its secret in the list of processes: give -{flag} @FILE"
                ));
            }
            hidden::file(&one.value).map(|path| path.display().to_string())
        }
    };
    match path {
        Ok(path) => put(name, one, path, layers),
        Err(error) => layers.problem(Problem::at(
            place(one),
            format!("no file in memory: {error}"),
        )),
    }
}

/// What serf's agent takes where nothing else is given.
fn defaults(
    given: &[Given],
    environment: &BTreeMap<String, String>,
    machine: &dyn Machine,
    layers: &mut Layers,
) {
    let mut default = |name: &str, value: String| {
        if let Some(setting) = schema::find(name) {
            layers.put(setting, Source::SerfDefault, vec![value]);
        }
    };
    default("bind", BIND.to_owned());
    default("serf-rpc", RPC.to_owned());
    let rpc = given.iter().rfind(|one| one.option.id() == "rpc-addr");
    let rpc = rpc.map_or(RPC, |one| one.value.as_str());
    if let Some(path) = socket(rpc, environment, machine) {
        default("socket", path);
    }
}

/// Where the API socket goes: several agents of serf on one host tell themselves apart
/// by their RPC address, so do their sockets here. `None` leaves it to the daemon.
fn socket(
    rpc: &str,
    environment: &BTreeMap<String, String>,
    machine: &dyn Machine,
) -> Option<String> {
    let name = match rpc.parse::<SocketAddr>() {
        Ok(rpc) if rpc.to_string() != RPC => format!("serf-{}-{}.sock", rpc.ip(), rpc.port()),
        _ => "api.sock".to_owned(),
    };
    let of = |variable: &str| environment.get(variable).filter(|dir| dir.starts_with('/'));
    let directory = match (of("XDG_RUNTIME_DIR"), of("HOME")) {
        _ if machine.is_root() => "/run/muster".to_owned(),
        (Some(runtime), _) => format!("{runtime}/muster"),
        (None, Some(home)) => format!("{home}/.muster"),
        (None, None) => return None,
    };
    Some(format!("{directory}/{name}"))
}

fn put(name: &'static str, one: &Given, value: String, layers: &mut Layers) {
    if let Some(setting) = setting(name, one, layers) {
        layers.put(setting, one.source.clone(), vec![value]);
    }
}

fn add(name: &'static str, one: &Given, value: String, layers: &mut Layers) {
    if let Some(setting) = setting(name, one, layers) {
        layers.add(setting, one.source.clone(), value);
    }
}

/// The setting of an option; one that this daemon does not have is a mistake to tell.
fn setting(name: &'static str, one: &Given, layers: &mut Layers) -> Option<&'static Setting> {
    let setting = schema::find(name);
    if setting.is_none() {
        layers.problem(wrong(one, "this daemon has nothing like it"));
    }
    setting
}

fn place(one: &Given) -> String {
    match &one.source {
        Source::SerfFlag(flag) => format!("flag -{flag}"),
        Source::SerfFile(path, key) => format!("file {} {key}", path.display()),
        Source::Default
        | Source::SerfDefault
        | Source::File(_)
        | Source::SerfnodeYml(..)
        | Source::SerfnodeVariable(_)
        | Source::Environment
        | Source::Flag => one.source.to_string(),
    }
}

fn wrong(one: &Given, why: &str) -> Problem {
    let place = place(one);
    if matches!(one.option.effect, Effect::Secret(_)) {
        return Problem::at(place, why);
    }
    Problem::at(format!("{place} {:?}", one.value), why)
}

#[cfg(test)]
mod tests;

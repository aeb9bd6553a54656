//! The flags of `serf agent`, in the way of Go's `flag` package: one dash or two,
//! `-flag=value` or `-flag value`, switches with an optional `=value`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::layers::Layers;
use super::super::problem::{Problem, Source};
use super::Given;
use super::table::{self, Effect, Kind, SerfOption};

/// What a command line says.
pub(super) enum Parsed {
    /// It asks for help.
    Help,
    /// It gives options.
    Flags(Flags),
}

/// The options of a command line, in order.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) given: Vec<Given>,
    /// Files and directories to read first.
    pub(super) files: Vec<PathBuf>,
}

/// Reads flags; every mistake is noted.
pub(super) fn parse(args: &[OsString], layers: &mut Layers) -> Parsed {
    let mut flags = Flags::default();
    let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        let Some((name, value)) = split(&arg) else {
            rest(&arg, args, layers);
            break;
        };
        if matches!(name, "h" | "help") {
            return Parsed::Help;
        }
        let Some(option) = table::of_flag(name) else {
            let why = "serf's agent has no such flag; allowed: see serf agent -h";
            layers.problem(Problem::at(format!("flag -{name}"), why));
            if value.is_none() {
                skip_value(&mut args);
            }
            continue;
        };
        let value = match (value, option.kind) {
            (Some(value), _) => Some(value.to_owned()),
            (None, Kind::Truth) => Some("true".to_owned()),
            (None, _) => args.next(),
        };
        match value {
            Some(value) => flags.take(option, value),
            None => {
                let place = format!("flag -{name}");
                layers.problem(Problem::at(place, "its value is missing"));
            }
        }
    }
    Parsed::Flags(flags)
}

impl Flags {
    fn take(&mut self, option: &'static SerfOption, value: String) {
        if matches!(option.effect, Effect::Files) {
            self.files.push(PathBuf::from(value));
            return;
        }
        self.given.push(Given {
            option,
            source: Source::SerfFlag(option.id()),
            value,
        });
    }
}

/// Name and value of a flag. `None` for what is no flag: there flags end.
pub(super) fn split(arg: &str) -> Option<(&str, Option<&str>)> {
    let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    if flag.is_empty() {
        return None;
    }
    match flag.split_once('=') {
        Some((name, value)) => Some((name, Some(value))),
        None => Some((flag, None)),
    }
}

/// Go's flags end at the first word that is none, and serf ignores what follows.
fn rest(first: &str, more: impl Iterator<Item = String>, layers: &mut Layers) {
    let mut words: Vec<String> = more.collect();
    if first != "--" {
        words.insert(0, first.to_owned());
    }
    if !words.is_empty() {
        layers.warn(format!(
            "{:?} is ignored, as serf's agent does: flags end before it",
            words.join(" ")
        ));
    }
}

/// What follows an unknown flag is its value, not a second mistake.
fn skip_value(args: &mut (impl Iterator<Item = String> + Clone)) {
    let mut ahead = args.clone();
    if ahead.next().is_some_and(|next| !next.starts_with('-')) {
        *args = ahead;
    }
}

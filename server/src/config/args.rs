//! The flags: `--help`, and reading them with every mistake told.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::layers::Layers;
use super::problem::{Problem, Source};
use super::schema::{self, Default, Setting, Shape};

/// What the flags ask for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Work with the settings that were read into the layers.
    Settings,
    /// Print this text and exit with 0: help or version.
    Text(String),
}

/// The command line, built from the table.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new("musterd")
        .about("The Muster daemon: cluster membership and events for containers")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(
            "Every flag but the commands can also be given in the environment (MUSTER_NAME for \
             --name) or in the TOML file of --config (name = \"...\"). A flag is stronger than the \
             environment, and that is stronger than the file. See docs/configuration.md.",
        )
        .max_term_width(100)
        .no_binary_name(true);
    for section in schema::SECTIONS {
        for setting in section.settings.iter().filter(|setting| setting.has_flag()) {
            command = command.arg(arg(setting).help_heading(section.title));
        }
    }
    command
}

/// Reads the flags into the layers, `args` without the name of the program.
pub(super) fn read(args: &[OsString], layers: &mut Layers) -> Asked {
    let mut args = whole(args);
    // Each round ends or takes one argument at least out of the list.
    loop {
        let error = match command().try_get_matches_from(&args) {
            Ok(matches) => {
                collect(&matches, layers);
                return Asked::Settings;
            }
            Err(error) => error,
        };
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            return Asked::Text(error.to_string());
        }
        layers.problem(problem(&error));
        if let Some(meant) = meant(&error) {
            layers.meant(&meant);
        }
        if !drop_offender(&error, &mut args) {
            return Asked::Settings;
        }
    }
}

/// The arguments with each value that begins with one `-` tied to its flag, so that
/// it is told as a bad value and not as a flag that nobody meant.
fn whole(args: &[OsString]) -> Vec<OsString> {
    let mut whole: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        let value = arg.to_str().is_some_and(|arg| {
            arg.len() > 1 && arg.starts_with('-') && !arg.starts_with("--") && !is_command(arg)
        });
        match whole.last_mut() {
            Some(flag) if value && takes_value(flag) => {
                flag.push("=");
                flag.push(arg);
            }
            _ => whole.push(arg.clone()),
        }
    }
    whole
}

fn is_command(arg: &str) -> bool {
    matches!(arg, "-h" | "-V")
}

fn takes_value(flag: &OsString) -> bool {
    let name = flag.to_str().and_then(|flag| flag.strip_prefix("--"));
    let setting = name.and_then(schema::find);
    setting.is_some_and(|setting| setting.has_flag() && setting.shape != Shape::Switch)
}

/// The setting that a wrong flag was probably meant to give.
fn meant(error: &clap::Error) -> Option<String> {
    let kind = if error.kind() == ErrorKind::UnknownArgument {
        ContextKind::SuggestedArg
    } else {
        ContextKind::InvalidArg
    };
    let flag = text(error, kind)?;
    let flag = flag.split(' ').next()?.strip_prefix("--")?;
    Some(flag.to_owned())
}

fn arg(setting: &'static Setting) -> Arg {
    let mut help = setting.doc.replace('`', "");
    if matches!(setting.shape, Shape::List | Shape::Pairs) {
        help.push_str(" Can be repeated.");
    }
    match setting.default {
        Default::None => {}
        Default::Text(_) if setting.shape == Shape::Switch => {}
        Default::Text(text) => help.push_str(&format!(" [default: {text}]")),
        Default::Derived(how) => help.push_str(&format!(" [default: {}]", how.replace('`', ""))),
    }
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.hint)
        // All are collected, so that one given twice can be told.
        .action(ArgAction::Append)
        .help(help);
    match setting.shape {
        Shape::One | Shape::List | Shape::Pairs => arg.num_args(1).allow_hyphen_values(false),
        Shape::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn collect(matches: &ArgMatches, layers: &mut Layers) {
    for setting in schema::settings().filter(|setting| setting.has_flag()) {
        let Some(values) = matches.get_many::<String>(setting.name) else {
            continue;
        };
        let values: Vec<String> = values.cloned().collect();
        let single = matches!(setting.shape, Shape::One | Shape::Switch);
        if single && values.len() > 1 {
            let place = format!("flag --{}", setting.name);
            layers.problem(Problem::at(place, "it is given more than once"));
            layers.meant(setting.name);
        } else {
            layers.put(setting, Source::Flag, values);
        }
    }
}

fn problem(error: &clap::Error) -> Problem {
    let offender = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let place = format!("flag {}", offender.split(' ').next().unwrap_or_default());
    let kind = error.kind();
    let why = if kind == ErrorKind::UnknownArgument && offender.starts_with('-') {
        match text(error, ContextKind::SuggestedArg) {
            Some(near) => format!("there is no such flag; did you mean {near}?"),
            None => "there is no such flag; allowed: see musterd --help".to_owned(),
        }
    } else if kind == ErrorKind::UnknownArgument {
        let place = format!("argument {offender:?}");
        return Problem::at(place, "arguments must be flags; see musterd --help");
    } else if matches!(kind, ErrorKind::InvalidValue | ErrorKind::NoEquals) {
        "its value is missing".to_owned()
    } else if kind == ErrorKind::InvalidUtf8 {
        return Problem::at("flags", "they are not valid UTF-8");
    } else {
        kind.to_string()
    };
    Problem::at(place, why)
}

/// Takes the argument that an error is about out of the list. False if it is not
/// found: then there is no way to go on.
fn drop_offender(error: &clap::Error, args: &mut Vec<OsString>) -> bool {
    let Some(offender) = text(error, ContextKind::InvalidArg) else {
        return false;
    };
    let flag = offender.split(' ').next().unwrap_or_default().to_owned();
    let is_it = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        // Of `-abc` clap names `-a`.
        let letter = !flag.starts_with("--") && !arg.starts_with("--") && flag.len() > 1;
        arg == flag
            || arg == offender
            || arg.split('=').next() == Some(flag.as_str())
            || (letter && flag.starts_with('-') && arg.starts_with(&flag))
    };
    // A flag without value is the last one of its name: the others were read.
    let found = if error.kind() == ErrorKind::InvalidValue {
        args.iter().rposition(is_it)
    } else {
        args.iter().position(is_it)
    };
    let Some(index) = found else { return false };
    let was_flag = args.remove(index).to_string_lossy().starts_with('-');
    let bare = |arg: &OsString| !arg.to_string_lossy().starts_with('-');
    // What follows an unknown flag is its value, not a second mistake.
    if was_flag && error.kind() == ErrorKind::UnknownArgument && args.get(index).is_some_and(bare) {
        args.remove(index);
    }
    true
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    }
}

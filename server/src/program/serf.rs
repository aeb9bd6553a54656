//! Called as `serf`: the agent of serf, and its command.
//!
//! `serf agent` is musterd with the options of serf's agent. `serf version` and `serf
//! keygen` answer here. Every other command is for the running daemon: the program
//! `muster` beside this one takes it (`muster serf COMMAND`).

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use zeroize::Zeroizing;

use super::complain;
use crate::config::serf::hidden;
use crate::daemon::VERSION;

/// The name that makes this program serf's.
const NAME: &str = "serf";

/// Protocol of serf's agent that its options are read for, and the oldest one.
const PROTOCOL: &str = "Agent Protocol: 5 (Understands back to: 2)";

/// Largest key that is read from standard input, bytes.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// Exit code of serf where there is no such command.
const EXIT_USAGE: u8 = 127;

const USAGE: &str = "\
Usage: serf [--version] [--help] <command> [<args>]

musterd and muster in place of serf. Available commands are:
    agent           Runs musterd with the options of serf's agent
    event           Send a custom event through the cluster
    force-leave     Forces a member of the cluster to enter the \"left\" state
    info            Provides debugging information for operators
    join            Tell the daemon to join a cluster
    keygen          Generates a new encryption key
    keys            Manipulate the encryption keyring
    leave           Gracefully leaves the cluster and shuts down
    members         Lists the members of the cluster
    monitor         Stream logs from the daemon
    query           Send a query to the cluster
    reachability    Test network reachability
    rtt             Estimates network round trip time between nodes
    tags            Modify tags of the running daemon
    version         Prints the version
";

/// Commands that are for the running daemon.
const COMMANDS: [&str; 12] = [
    "event",
    "force-leave",
    "info",
    "join",
    "keys",
    "leave",
    "members",
    "monitor",
    "query",
    "reachability",
    "rtt",
    "tags",
];

/// What a command line of serf asks for.
pub(super) enum Called {
    /// To run the agent with these options.
    Agent(Vec<OsString>),
    /// Nothing more.
    Done(ExitCode),
}

/// The arguments after `serf`, if the program was called by that name, or with it as
/// its first argument.
pub(super) fn arguments(all: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = all.split_first()?;
    if Path::new(program)
        .file_name()
        .is_some_and(|name| name == NAME)
    {
        return Some(rest);
    }
    let (first, rest) = rest.split_first()?;
    (first == NAME).then_some(rest)
}

/// Does what the arguments after `serf` ask for.
pub(super) fn run(all: &[OsString], args: &[OsString]) -> Called {
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.to_string_lossy(), rest),
        None => ("".into(), args),
    };
    match &*command {
        "agent" => agent(all, rest),
        "version" | "-v" | "-version" | "--version" => print(&format!(
            "Muster v{VERSION}, in place of Serf\n{PROTOCOL}\n"
        )),
        "keygen" => print(&format!(
            "{}\n",
            STANDARD.encode(rand::rng().random::<[u8; 32]>())
        )),
        "-h" | "-help" | "--help" => print(USAGE),
        known if COMMANDS.contains(&known) => Called::Done(delegate(args)),
        _ => {
            // Nobody is left to be told if standard error is closed.
            let _closed = io::stderr().write_all(USAGE.as_bytes());
            Called::Done(ExitCode::from(EXIT_USAGE))
        }
    }
}

/// The options of the agent, without a key among them: it would stand in the list of
/// processes. So the program runs itself again with the key as its standard input.
fn agent(all: &[OsString], options: &[OsString]) -> Called {
    match key_at(options) {
        Some((at, Key::Inline(key))) => {
            let mut without = options.to_vec();
            without.drain(at.0..=at.1);
            without.insert(at.0, "-encrypt=@-".into());
            let before = &all[..all.len() - options.len()];
            let error = again(before, &without, &key);
            complain(&format!(
                "cannot take the key out of the list of processes: {error}"
            ));
            Called::Agent(options.to_vec())
        }
        Some((at, Key::StandardInput)) => match standard_input() {
            Ok(path) => {
                let mut with = options.to_vec();
                with.drain(at.0..=at.1);
                with.insert(at.0, format!("-encrypt=@{}", path.display()).into());
                Called::Agent(with)
            }
            Err(error) => {
                complain(&format!(
                    "flag -encrypt: cannot read standard input: {error}"
                ));
                Called::Done(ExitCode::from(super::EXIT_CONFIG))
            }
        },
        Some((_, Key::File)) | None => Called::Agent(options.to_vec()),
    }
}

/// How the key is given.
enum Key {
    Inline(Zeroizing<String>),
    StandardInput,
    File,
}

/// The last key among the options, and which of them it is: from the first index to the
/// second.
fn key_at(options: &[OsString]) -> Option<((usize, usize), Key)> {
    let texts: Vec<_> = options.iter().map(|text| text.to_string_lossy()).collect();
    let flag = |index: &usize| {
        let name = texts[*index].trim_start_matches('-');
        texts[*index].starts_with('-') && (name == "encrypt" || name.starts_with("encrypt="))
    };
    let at = (0..texts.len()).rfind(flag)?;
    let (end, value) = match texts[at].split_once('=') {
        Some((_, value)) => (at, value),
        None => (at + 1, &**texts.get(at + 1)?),
    };
    let key = match value {
        "@-" => Key::StandardInput,
        value if value.starts_with('@') => Key::File,
        value => Key::Inline(Zeroizing::new(value.to_owned())),
    };
    Some(((at, end), key))
}

/// Replaces this process by itself with other options and a secret as standard input;
/// returns only if that fails.
fn again(before: &[OsString], options: &[OsString], secret: &str) -> io::Error {
    let file = match hidden::open(secret) {
        Ok(file) => file,
        Err(error) => return error,
    };
    let mut command = Command::new("/proc/self/exe");
    if let Some((name, more)) = before.split_first() {
        command.arg0(name).args(more);
    }
    command.args(options).stdin(Stdio::from(file)).exec()
}

/// Reads a key from standard input into a file of this process alone. What the program
/// itself put there is emptied, so that no script that it starts finds it.
fn standard_input() -> io::Result<PathBuf> {
    let mut key = Zeroizing::new(String::new());
    io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut key)?;
    let source = std::fs::read_link("/proc/self/fd/0").unwrap_or_default();
    if source.to_string_lossy().starts_with("/memfd:") {
        rustix::fs::ftruncate(io::stdin(), 0)?;
    }
    hidden::file(key.trim())
}

/// Hands a command to `muster`, beside this program or in the path.
fn delegate(args: &[OsString]) -> ExitCode {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.join("muster")))
        .filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from("muster"));
    let error = Command::new(&program).arg(NAME).args(args).exec();
    complain(&format!("cannot run {}: {error}", program.display()));
    ExitCode::FAILURE
}

fn print(text: &str) -> Called {
    // A closed pipe, as of `| head`, is no failure.
    let _closed = io::stdout().write_all(text.as_bytes());
    Called::Done(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_link_or_the_first_argument_makes_it_serf() {
        for all in [
            &["serf", "members"][..],
            &["/usr/bin/serf", "members"],
            &["/usr/bin/musterd", "serf", "members"],
        ] {
            let all = texts(all);
            assert_eq!(arguments(&all), Some(&texts(&["members"])[..]));
        }
        for all in [&["musterd"][..], &["musterd", "--name", "serf"], &[]] {
            assert_eq!(arguments(&texts(all)), None);
        }
    }

    #[test]
    fn keys_are_found_however_they_are_written() {
        let at = |options: &[&str]| {
            let (at, key) = key_at(&texts(options))?;
            let key = match key {
                Key::Inline(key) => key.to_string(),
                Key::StandardInput => "-".to_owned(),
                Key::File => "file".to_owned(),
            };
            Some((at, key))
        };
        let key = |from, to, key: &str| Some(((from, to), key.to_owned()));
        assert_eq!(at(&["-encrypt=abc=="]), key(0, 0, "abc=="));
        assert_eq!(at(&["-node", "a", "--encrypt", "abc="]), key(2, 3, "abc="));
        assert_eq!(at(&["-encrypt=a", "-encrypt=b"]), key(1, 1, "b"));
        assert_eq!(at(&["-encrypt=@-"]), key(0, 0, "-"));
        assert_eq!(at(&["-encrypt", "@/k"]), key(0, 1, "file"));
        for none in [
            &["-encrypt"][..],
            &["-node", "encrypt"],
            &["-encrypted=a"],
            &[],
        ] {
            assert_eq!(at(none), None, "{none:?}");
        }
    }
}

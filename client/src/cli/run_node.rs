//! `muster run`: a node in a container, by the ordinary `docker` command.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::Run;
use crate::cli::failure::Failure;

/// Where the daemon looks for the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// Where the image looks for its children.
const YML: &str = "/serfnode.yml";

/// Where a token is mounted.
const TOKEN: &str = "/run/muster-token";

/// A secret: passed on by name, so that no list of processes shows it.
const SECRET: &str = "MUSTER_TOKEN";

#[derive(Serialize)]
struct Line {
    command: Vec<String>,
}

pub(super) fn run(context: &mut Context, args: &Run) -> Result<(), Failure> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let line = command(args, is_set)?;
    if args.dry_run {
        let command: Vec<String> = line.iter().map(|word| text(word)).collect();
        let shown = command
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ");
        return context.out.answer(&Line { command }, || shown);
    }
    let (program, rest) = line
        .split_first()
        .map_or((OsStr::new("docker"), &[][..]), |(p, r)| (p, r));
    // It returns only if there is no such program.
    let error = Command::new(program).args(rest).exec();
    Err(Failure::refused(format!(
        "cannot run {}: {error}",
        text(program)
    )))
}

/// The whole command line. `is_set` tells whether there is such a variable.
fn command(args: &Run, is_set: impl Fn(&str) -> bool) -> Result<Vec<OsString>, Failure> {
    let mut line: Vec<OsString> = vec![args.docker.clone().into(), "run".into()];
    if args.detach {
        line.push("--detach".into());
    }
    if let Some(name) = &args.name {
        option(&mut line, "--name", name);
        option(&mut line, "--env", format!("MUSTER_NAME={name}"));
    }
    if let Some(network) = &args.network {
        option(&mut line, "--network", network);
    }
    option(
        &mut line,
        "--volume",
        mount(&args.docker_socket, SOCKET, ""),
    );
    if args.host_root {
        option(&mut line, "--volume", "/:/host");
    }
    if let Some(yml) = &args.yml {
        option(&mut line, "--volume", mount(&found(yml)?, YML, ":ro"));
    }
    if let Some(token) = &args.token_file {
        option(&mut line, "--volume", mount(&found(token)?, TOKEN, ":ro"));
        option(&mut line, "--env", format!("MUSTER_TOKEN_FILE={TOKEN}"));
    }
    if is_set(SECRET) {
        option(&mut line, "--env", SECRET);
    }
    let lists = [
        ("--publish", &args.publish),
        ("--volume", &args.volume),
        ("--env", &args.env),
    ];
    for (flag, values) in lists {
        for value in values {
            option(&mut line, flag, value);
        }
    }
    line.push(args.image.clone().into());
    line.extend(args.flags.iter().map(OsString::from));
    Ok(line)
}

fn option(line: &mut Vec<OsString>, flag: &str, value: impl AsRef<OsStr>) {
    line.push(flag.into());
    line.push(value.as_ref().to_owned());
}

/// The engine takes whole paths only, and would make a directory of what is missing.
fn found(path: &Path) -> Result<OsString, Failure> {
    let path = path
        .canonicalize()
        .map_err(|error| Failure::file("find", path, &error))?;
    Ok(path.into())
}

fn mount(source: impl AsRef<OsStr>, target: &str, mode: &str) -> OsString {
    let mut mount = source.as_ref().to_owned();
    mount.push(format!(":{target}{mode}"));
    mount
}

fn text(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn line(args: &[&str], set: &[&str]) -> Result<String, Failure> {
        let cli = Cli::try_parse_from([&["muster", "run"], args].concat()).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("{:?}", cli.command)
        };
        let line = command(&run, |name| set.contains(&name))?;
        let words: Vec<_> = line.iter().map(|word| quoted(&text(word))).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn little_is_enough() {
        assert_eq!(
            line(&["muster-shell"], &[]).unwrap(),
            "docker run --volume /var/run/docker.sock:/var/run/docker.sock muster-shell"
        );
    }

    #[test]
    fn everything_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().canonicalize().unwrap();
        let (yml, token) = (at.join("my.yml"), at.join("token"));
        std::fs::write(&yml, "").unwrap();
        std::fs::write(&token, "").unwrap();
        let (yml, token) = (yml.display().to_string(), token.display().to_string());
        let args = [
            "-d",
            "--name=n1",
            "--network=net",
            "-p",
            "8000:80",
            "-v",
            "/a:/b",
            "-e",
            "A=it's",
            "--host-root",
            "--docker-socket=/run/d.sock",
            "--docker=/bin/d",
            "--token-file",
            &token,
            "image",
            &yml,
            "--",
            "--role=web",
        ];
        assert_eq!(
            line(&args, &["MUSTER_TOKEN"]).unwrap(),
            format!(
                "/bin/d run --detach --name n1 --env MUSTER_NAME=n1 --network net --volume \
                 /run/d.sock:/var/run/docker.sock --volume /:/host --volume {yml}:/serfnode.yml:ro \
                 --volume {token}:/run/muster-token:ro --env MUSTER_TOKEN_FILE=/run/muster-token \
                 --env MUSTER_TOKEN --publish 8000:80 --volume /a:/b --env 'A=it'\\''s' image \
                 --role=web"
            )
        );
    }

    #[test]
    fn a_missing_file_is_told() {
        let failure = line(&["image", "/nowhere/my.yml"], &[]).unwrap_err();
        assert!(
            failure.text.starts_with("cannot find /nowhere/my.yml"),
            "{}",
            failure.text
        );
    }
}

//! `DOCKER_RUN`: the arguments of `docker run`, as one shell line.

mod flags;

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::{Map, Value};

use super::near::nearest;
use super::yml::{Child, Directory};
use flags::{FLAGS, Flag, Kind};

/// Arguments of one line; more are refused.
const ARGUMENTS_MAX: usize = 4_096;

/// A container as `docker run` would make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// What a `serfnode.yml` could say as well.
    pub child: Child,
    /// More keys of the create body.
    pub config: Map<String, Value>,
    /// More keys of its `HostConfig`.
    pub host: Map<String, Value>,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it; an unknown flag is named.
pub fn parse(line: &str) -> Result<Run, String> {
    let words = shell_words::split(line).map_err(|error| format!("{line:?}: {error}"))?;
    if words.len() > ARGUMENTS_MAX {
        return Err(format!("it has more than {ARGUMENTS_MAX} arguments"));
    }
    let mut run = Run::default();
    // It gets the parent's volumes, as from serfnode.
    run.child.directory = Directory::Own;
    let mut words = words.into_iter().peekable();
    while words
        .peek()
        .is_some_and(|word| word.len() > 1 && word.starts_with('-'))
    {
        let Some(word) = words.next() else { break };
        if word == "--" {
            break;
        }
        match word.strip_prefix("--") {
            Some(long) => long_flag(&mut run, long, &mut words)?,
            None => short_flags(&mut run, &word[1..], &mut words)?,
        }
    }
    run.child.image = words.next().ok_or("there is no image")?;
    let command: Vec<String> = words.collect();
    run.child.command = (!command.is_empty()).then_some(command);
    Ok(run)
}

type Words = Peekable<IntoIter<String>>;

fn long_flag(run: &mut Run, long: &str, words: &mut Words) -> Result<(), String> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let Some(flag) = FLAGS.iter().find(|flag| flag.long == name) else {
        let known: Vec<_> = FLAGS.iter().map(|flag| flag.long).collect();
        return Err(match nearest(name, &known) {
            Some(near) => format!("--{name} is not known; did you mean --{near}?"),
            None => format!("--{name} is not known"),
        });
    };
    let value = match (flag.kind, value) {
        (Kind::Switch(_), None) => "true".to_owned(),
        (_, Some(value)) => value,
        (_, None) => words
            .next()
            .ok_or_else(|| format!("--{name} has no value"))?,
    };
    apply(run, flag, &value).map_err(|why| format!("--{name}: {why}"))
}

/// `-itd`, `-p 80:80`, `-p80:80` or `-e=A=b`.
fn short_flags(run: &mut Run, letters: &str, words: &mut Words) -> Result<(), String> {
    for (at, letter) in letters.char_indices() {
        let known = FLAGS.iter().find(|flag| flag.short == Some(letter));
        let flag = known.ok_or_else(|| format!("-{letter} is not known"))?;
        let rest = &letters[at + letter.len_utf8()..];
        if matches!(flag.kind, Kind::Switch(_)) {
            apply(run, flag, "true").map_err(|why| format!("-{letter}: {why}"))?;
            continue;
        }
        let value = match rest.strip_prefix('=').unwrap_or(rest) {
            "" => words
                .next()
                .ok_or_else(|| format!("-{letter} has no value"))?,
            value => value.to_owned(),
        };
        return apply(run, flag, &value).map_err(|why| format!("-{letter}: {why}"));
    }
    Ok(())
}

fn apply(run: &mut Run, flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Value(apply) => apply(run, value),
        Kind::Switch(apply) => match value {
            "true" | "1" => apply(run, true),
            "false" | "0" => apply(run, false),
            other => Err(format!("{other:?} is neither true nor false")),
        },
        Kind::Refused(why) => Err(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;

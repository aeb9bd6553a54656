//! `muster query` and `muster reachability`.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pb::query_response::Event;
use serde::Serialize;

use crate::cli::args::{Query as Args, Reachability};
use crate::cli::event::read_payload;
use crate::cli::failure::{DEADLINE, Failure, REFUSED};
use crate::cli::text::{escape, rfc3339};
use crate::cli::{CALL_TIMEOUT, Context};
use crate::query::Query;
use crate::{Error, pb};

/// The query that is answered by its acknowledgement alone.
const PING: &str = "_muster_ping";

/// How many names a sentence lists.
const NAMES_SHOWN: usize = 20;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Started {
        origin: &'a str,
        boot: u64,
        sequence: u64,
        expected: &'a [String],
        deadline: Option<String>,
    },
    Ack {
        member: &'a str,
    },
    Answer {
        member: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload_base64: Option<String>,
        error: Option<&'a str>,
        truncated: bool,
    },
    Done {
        acks: u32,
        answers: u32,
        silent: &'a [String],
        unfinished: &'a [String],
    },
}

/// What the exit code follows from.
#[derive(Default)]
struct Tally {
    expected: usize,
    failed: BTreeSet<String>,
    done: pb::QueryDone,
}

pub(super) async fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let payload = match args.payload.as_deref() {
        None => Vec::new(),
        Some("-") => read_payload().await?,
        Some(text) => text.as_bytes().to_vec(),
    };
    let target = pb::MemberFilter {
        names: args.member,
        roles: args.role,
        tags: args.tags.into_iter().collect(),
        ..pb::MemberFilter::default()
    };
    let query = Query {
        name: args.name.clone(),
        payload: payload.into(),
        target,
        timeout: context.timeout,
        acks: !args.no_ack,
    };
    let client = context.client()?;
    let mut answers = client.query(query).await?;
    let mut tally = Tally::default();
    while let Some(event) = answers.next().await? {
        if context.out.is_json() {
            context.out.json(&Line::of(&event))?;
        } else if let Some(line) = describe(&event) {
            context.out.line(&line)?;
        }
        tally.take(event);
    }
    tally.judge(args.name == PING)
}

impl<'a> Line<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            Event::Started(started) => {
                let id = started.id.as_ref();
                Self::Started {
                    origin: id.map_or("", |id| &id.origin),
                    boot: id.map_or(0, |id| id.boot),
                    sequence: id.map_or(0, |id| id.sequence),
                    expected: &started.expected,
                    deadline: rfc3339(started.deadline.as_ref()),
                }
            }
            Event::Ack(ack) => Self::Ack {
                member: &ack.member,
            },
            Event::Answer(answer) => {
                let (bytes, error) = parts(answer);
                let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
                let binary = bytes.filter(|_| text.is_none());
                Self::Answer {
                    member: &answer.member,
                    payload: text,
                    payload_base64: binary.map(|bytes| STANDARD.encode(bytes)),
                    error,
                    truncated: answer.truncated,
                }
            }
            Event::Done(done) => Self::Done {
                acks: done.acks,
                answers: done.answers,
                silent: &done.silent,
                unfinished: &done.unfinished,
            },
        }
    }
}

fn parts(answer: &pb::QueryAnswer) -> (Option<&[u8]>, Option<&str>) {
    match &answer.result {
        Some(pb::query_answer::Result::Payload(payload)) => (Some(payload), None),
        Some(pb::query_answer::Result::Error(error)) => (None, Some(error)),
        None => (Some(&[]), None),
    }
}

/// A line for people; the beginning has none.
fn describe(event: &Event) -> Option<String> {
    match event {
        Event::Started(_) => None,
        Event::Ack(ack) => Some(format!("ack from {}", escape(&ack.member))),
        Event::Answer(answer) => {
            let member = escape(&answer.member);
            let text = match parts(answer) {
                (_, Some(error)) => format!("error from {member}: {}", escape(error)),
                (bytes, None) => match std::str::from_utf8(bytes.unwrap_or_default()) {
                    Ok(text) => format!("answer from {member}: {}", escape(text.trim_end())),
                    Err(_binary) => format!(
                        "answer from {member}: {} bytes that are no text",
                        bytes.map_or(0, <[u8]>::len)
                    ),
                },
            };
            let cut = if answer.truncated { " (truncated)" } else { "" };
            Some(text + cut)
        }
        Event::Done(done) => Some(format!("{} acks, {} answers", done.acks, done.answers)),
    }
}

impl Tally {
    fn take(&mut self, event: Event) {
        match event {
            Event::Started(started) => self.expected = started.expected.len(),
            Event::Ack(_) => {}
            Event::Answer(answer) => {
                if parts(&answer).1.is_some() {
                    self.failed.insert(answer.member);
                }
            }
            Event::Done(done) => self.done = done,
        }
    }

    fn judge(self, is_ping: bool) -> Result<(), Failure> {
        let done = self.done;
        if self.expected == 0 && done.acks == 0 && done.answers == 0 {
            return Err(Failure::empty("nobody matches"));
        }
        if !done.silent.is_empty() || !done.unfinished.is_empty() {
            let mut parts = Vec::new();
            for (what, names) in [
                ("no sign of", &done.silent),
                ("no answer in time from", &done.unfinished),
            ] {
                if !names.is_empty() {
                    parts.push(format!("{what} {}", list(names.iter())));
                }
            }
            return Err(Failure {
                code: DEADLINE,
                text: parts.join("; "),
            });
        }
        if !self.failed.is_empty() {
            return Err(Failure {
                code: REFUSED,
                text: format!("failed on {}", list(self.failed.iter())),
            });
        }
        if done.answers == 0 && !is_ping {
            return Err(Failure::empty("nobody answers such queries"));
        }
        Ok(())
    }
}

/// Names in a sentence.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown: Vec<String> = names.take(NAMES_SHOWN).map(|name| escape(name)).collect();
    let shown = shown.join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[derive(Serialize)]
struct Reached<'a> {
    live: usize,
    acks: usize,
    missing: Vec<&'a str>,
    extra: Vec<&'a str>,
    duplicate: Vec<&'a str>,
}

/// Asks every live member for a sign, and compares with the list of members.
pub(super) async fn reachability(context: &mut Context, args: Reachability) -> Result<(), Failure> {
    let client = context.client()?;
    let live = pb::MemberFilter {
        statuses: vec![pb::MemberStatus::Alive.into()],
        ..pb::MemberFilter::default()
    };
    let members = context.deadline(CALL_TIMEOUT, client.members(live)).await?;
    let members: BTreeSet<String> = members.items.iter().map(shown_as).collect();
    let query = Query {
        name: PING.to_owned(),
        timeout: context.timeout,
        acks: true,
        ..Query::default()
    };
    let mut answers = client.query(query).await?;
    let mut acks: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(event) = answers.next().await? {
        if let Event::Ack(ack) = event {
            if args.verbose && !context.out.is_json() {
                let line = format!("ack from {}", escape(&ack.member));
                context.out.line(&line)?;
            }
            *acks.entry(ack.member).or_default() += 1;
        }
    }
    report(context, &members, &acks)
}

fn shown_as(member: &pb::Member) -> String {
    match member.alias.as_str() {
        "" => member.name.clone(),
        alias => alias.to_owned(),
    }
}

fn report(
    context: &mut Context,
    members: &BTreeSet<String>,
    acks: &BTreeMap<String, usize>,
) -> Result<(), Failure> {
    let missing = members.iter().filter(|name| !acks.contains_key(*name));
    let extra = acks.keys().filter(|name| !members.contains(*name));
    let duplicate = acks.iter().filter(|(_, count)| **count > 1);
    let reached = Reached {
        live: members.len(),
        acks: acks.len(),
        missing: missing.map(String::as_str).collect(),
        extra: extra.map(String::as_str).collect(),
        duplicate: duplicate.map(|(name, _)| name.as_str()).collect(),
    };
    context.out.answer(&reached, || {
        let found = acks.keys().filter(|name| members.contains(*name)).count();
        format!("{found} of {} live members answered", reached.live)
    })?;
    let mut faults = Vec::new();
    for (what, names) in [
        ("missing", &reached.missing),
        ("not in the list of live members", &reached.extra),
        ("answered twice", &reached.duplicate),
    ] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            faults.push(format!("{what}: {}", list(names.iter())));
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(faults.join("; "))),
    }
}

/// Whether it makes sense to try again.
pub(super) fn is_passing(error: &Error) -> bool {
    !error.is_final()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::EMPTY;

    fn done(answers: u32, silent: &[&str], unfinished: &[&str]) -> Event {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Event::Done(pb::QueryDone {
            acks: 1,
            answers,
            silent: names(silent),
            unfinished: names(unfinished),
        })
    }

    fn judged(events: Vec<Event>, is_ping: bool) -> u8 {
        let mut tally = Tally::default();
        for event in events {
            tally.take(event);
        }
        tally
            .judge(is_ping)
            .map_or_else(|failure| failure.code, |()| 0)
    }

    #[test]
    fn the_exit_code_says_who_answered() {
        let started = |count: usize| {
            Event::Started(pb::QueryStarted {
                expected: vec!["a".to_owned(); count],
                ..pb::QueryStarted::default()
            })
        };
        let failed = Event::Answer(pb::QueryAnswer {
            member: "a".to_owned(),
            result: Some(pb::query_answer::Result::Error("no".to_owned())),
            truncated: false,
        });
        let nobody = Event::Done(pb::QueryDone::default());
        assert_eq!(judged(vec![started(0), nobody], false), EMPTY);
        assert_eq!(judged(vec![started(1), done(1, &[], &[])], false), 0);
        assert_eq!(judged(vec![started(1), done(0, &[], &[])], false), EMPTY);
        assert_eq!(judged(vec![started(1), done(0, &[], &[])], true), 0);
        assert_eq!(
            judged(vec![started(2), done(1, &["b"], &[])], false),
            DEADLINE
        );
        assert_eq!(
            judged(vec![started(2), done(1, &[], &["b"])], false),
            DEADLINE
        );
        let events = vec![started(1), failed, done(1, &[], &[])];
        assert_eq!(judged(events, false), REFUSED);
    }

    #[test]
    fn a_line_is_safe_to_print_and_says_what_it_is() {
        let answer = |result, truncated| {
            Event::Answer(pb::QueryAnswer {
                member: "a".to_owned(),
                result: Some(result),
                truncated,
            })
        };
        let payload = |bytes: &'static [u8]| pb::query_answer::Result::Payload(bytes.into());
        let text = describe(&answer(payload(b"up\x1b[2J 3 days\n"), false)).unwrap();
        assert_eq!(text, "answer from a: up\\u{1b}[2J 3 days");
        let binary = answer(payload(b"\xff\0"), true);
        assert_eq!(
            describe(&binary).unwrap(),
            "answer from a: 2 bytes that are no text (truncated)"
        );
        let json = serde_json::to_value(Line::of(&binary)).unwrap();
        assert_eq!(json["type"], "answer");
        assert_eq!(json["payload_base64"], "/wA=");
        let error = answer(pb::query_answer::Result::Error("no".to_owned()), false);
        assert_eq!(describe(&error).unwrap(), "error from a: no");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..NAMES_SHOWN + 2).map(|n| n.to_string()).collect();
        assert!(list(names.iter()).ends_with("19 and 2 more"));
    }
}

//! `muster keys`.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use comfy_table::{Cell, Color};
use muster_proto::token::KeyBytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::args::{Keys, Stage};
use crate::cli::failure::Failure;
use crate::cli::text::{clock, escape, rfc3339};
use crate::cli::{CLUSTER_TIMEOUT, Context, keygen, table, token};
use crate::pb;

/// Most bytes of a key read from standard input.
const KEY_BYTES_MAX: u64 = 4 << 10;

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_id: Option<&'a str>,
    keys: Vec<Key<'a>>,
    members: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    id: &'a str,
    members: u32,
    primary_members: u32,
    retire_time: Option<String>,
}

#[derive(Serialize)]
struct Member<'a> {
    member: &'a str,
    ok: bool,
    error: Option<&'a str>,
    keys: &'a [String],
    primary: Option<&'a str>,
    stage: Option<&'static str>,
}

pub(super) async fn run(context: &mut Context, command: Keys) -> Result<(), Failure> {
    let client = context.client()?;
    let limit = CLUSTER_TIMEOUT;
    match command {
        Keys::List => {
            let report = context.deadline(limit, client.list_keys()).await?;
            show(context, &report, "", None, None)
        }
        Keys::Install(args) => {
            let key = given(args.key.as_deref(), args.out.as_deref())?;
            let call = client.install_key(bytes(&key), args.local);
            let (id, report) = context.deadline(limit, call).await?;
            show(
                context,
                &report,
                &format!("installed {id}"),
                Some(&id),
                None,
            )
        }
        Keys::Use(args) => {
            let call = client.use_key(&args.id, args.force);
            let report = context.deadline(limit, call).await?;
            let did = format!("sealing with {}", args.id);
            show(context, &report, &did, Some(&args.id), None)
        }
        Keys::Remove(args) => {
            let call = client.remove_key(&args.id, args.force);
            let report = context.deadline(limit, call).await?;
            let did = format!("removed {}", args.id);
            show(context, &report, &did, Some(&args.id), None)
        }
        Keys::Rotate(args) => {
            let key = given(args.key.as_deref(), args.out.as_deref())?;
            let call = client.rotate_key(Some(bytes(&key)), args.overlap);
            let answer = context.deadline(limit, call).await?;
            rotated(context, &answer)
        }
        Keys::Encryption(args) => {
            let stage = match args.stage {
                Stage::Receive => pb::EncryptionStage::Receive,
                Stage::Send => pb::EncryptionStage::Send,
                Stage::On => pb::EncryptionStage::On,
            };
            let call = client.set_encryption(stage, args.force);
            let report = context.deadline(limit, call).await?;
            let did = format!("encryption is at stage {}", word(stage));
            show(context, &report, &did, None, None)
        }
    }
}

fn rotated(context: &mut Context, answer: &pb::RotateKeyResponse) -> Result<(), Failure> {
    let (id, old) = (&answer.id, &answer.retired_id);
    let nobody = pb::KeyReport::default();
    let report = answer.report.as_ref().unwrap_or(&nobody);
    let did = match &answer.retire_time {
        Some(_) => format!(
            "sealing with {id}; {old} is removed at {}",
            clock(answer.retire_time.as_ref())
        ),
        None => format!("sealing with {id}; {old} is removed"),
    };
    show(context, report, &did, Some(id), Some(old))
}

/// The report; a failure unless every member did it.
fn show(
    context: &mut Context,
    report: &pb::KeyReport,
    did: &str,
    id: Option<&str>,
    retired_id: Option<&str>,
) -> Result<(), Failure> {
    let failed = report.members.iter().filter(|member| !member.ok).count();
    let object = Report {
        ok: failed == 0,
        id,
        retired_id,
        keys: report.keys.iter().map(key).collect(),
        members: report.members.iter().map(member).collect(),
    };
    let colour = context.out.colour();
    context.out.answer(&object, || {
        let mut lines = Vec::new();
        if !did.is_empty() {
            lines.push(escape(did));
        }
        lines.extend(keys(report, colour));
        lines.push(String::new());
        lines.extend(members(report, colour));
        lines.join("\n")
    })?;
    if failed == 0 {
        return Ok(());
    }
    let all = report.members.len();
    Err(Failure::refused(format!(
        "{failed} of {all} members did not do or answer what was asked"
    )))
}

fn key(key: &pb::KeySummary) -> Key<'_> {
    Key {
        id: &key.id,
        members: key.members,
        primary_members: key.primary_members,
        retire_time: rfc3339(key.retire_time.as_ref()),
    }
}

fn member(member: &pb::KeyMember) -> Member<'_> {
    Member {
        member: &member.member,
        ok: member.ok,
        error: (!member.ok).then_some(member.error.as_str()),
        keys: &member.keys,
        primary: (!member.primary.is_empty()).then_some(member.primary.as_str()),
        // One that did not answer has none that is known.
        stage: (member.ok || !member.keys.is_empty()).then(|| word(member.stage())),
    }
}

fn keys(report: &pb::KeyReport, colour: bool) -> Vec<String> {
    let all = report.members.len();
    let row = |key: &pb::KeySummary| {
        vec![
            Cell::new(escape(&key.id)),
            Cell::new(format!("{} of {all}", key.members)),
            Cell::new(format!("{} of {all}", key.primary_members)),
            Cell::new(clock(key.retire_time.as_ref())),
        ]
    };
    let header = ["KEY", "HELD BY", "PRIMARY OF", "REMOVED AT"];
    table::lines(&header, report.keys.iter().map(row).collect(), colour)
}

fn members(report: &pb::KeyReport, colour: bool) -> Vec<String> {
    let row = |member: &pb::KeyMember| {
        let stage = word(member.stage());
        let wire = match member.stage() {
            pb::EncryptionStage::On => Cell::new(stage),
            pb::EncryptionStage::Unspecified if !member.ok => Cell::new("-"),
            pb::EncryptionStage::Unspecified
            | pb::EncryptionStage::Receive
            | pb::EncryptionStage::Send => Cell::new(stage.to_uppercase()).fg(Color::Red),
        };
        let told = if member.ok { "ok" } else { &member.error };
        vec![
            Cell::new(escape(&member.member)),
            Cell::new(escape(&member.primary)),
            Cell::new(escape(&member.keys.join(","))),
            wire,
            Cell::new(escape(told)),
        ]
    };
    let header = ["MEMBER", "PRIMARY", "KEYS", "ENCRYPTION", "RESULT"];
    table::lines(&header, report.members.iter().map(row).collect(), colour)
}

fn word(stage: pb::EncryptionStage) -> &'static str {
    match stage {
        pb::EncryptionStage::Unspecified => "off",
        pb::EncryptionStage::Receive => "receive",
        pb::EncryptionStage::Send => "send",
        pb::EncryptionStage::On => "on",
    }
}

/// The key of a file or of standard input (`-`), else a new one; kept in `out` first, as
/// the daemon never gives it back.
fn given(from: Option<&Path>, out: Option<&Path>) -> Result<KeyBytes, Failure> {
    let key = match from {
        None => keygen::generate()?,
        Some(path) if path == Path::new("-") => {
            let mut text = Zeroizing::new(String::new());
            let mut input = std::io::stdin().lock().take(KEY_BYTES_MAX);
            input.read_to_string(&mut text)?;
            let key = KeyBytes::parse(&text);
            key.map_err(|error| Failure::usage(format!("standard input: {error}")))?
        }
        Some(path) => token::read_key(path)?,
    };
    if let Some(out) = out {
        keygen::write(out, &key)?;
    }
    Ok(key)
}

fn bytes(key: &KeyBytes) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

/// Reads an overlap: a duration, or 0.
pub(super) fn parse_overlap(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        text => super::text::parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> pb::KeyReport {
        let member = |name: &str, ok: bool| pb::KeyMember {
            member: name.into(),
            ok,
            error: if ok { "" } else { "no answer in time" }.into(),
            keys: if ok { vec!["0a".into()] } else { Vec::new() },
            primary: if ok { "0a" } else { "" }.into(),
            stage: if ok { 3 } else { 0 },
        };
        pb::KeyReport {
            keys: vec![pb::KeySummary {
                id: "0a".into(),
                members: 1,
                primary_members: 1,
                retire_time: None,
            }],
            members: vec![member("n1", true), member("n2", false)],
        }
    }

    #[test]
    fn tables_tell_who_has_what_and_who_failed() {
        let lines = keys(&report(), false).join("\n");
        assert!(lines.contains("0a   1 of 2   1 of 2"), "{lines}");
        let lines = members(&report(), false);
        assert!(lines[1].ends_with("on          ok"), "{lines:?}");
        assert!(
            lines[2].ends_with("-           no answer in time"),
            "{lines:?}"
        );
    }

    #[test]
    fn an_overlap_may_be_none() {
        assert_eq!(parse_overlap("0"), Ok(Duration::ZERO));
        assert_eq!(parse_overlap("24h"), Ok(Duration::from_secs(86_400)));
        assert!(parse_overlap("-1s").is_err() && parse_overlap("").is_err());
    }
}

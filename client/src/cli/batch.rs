//! `muster event --batch`: many events over one stream, a line each: a
//! `["name", payload]` array, or an object with the fields of [`Item`].
//!
//! A payload that is a JSON string is sent as its text, any other value as its JSON
//! text byte for byte, none as nothing. Empty lines are skipped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::cli::event::{refusal, target};
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{Context, note};
use crate::pb;
use crate::send::{EventOptions, EventSender, Outcome, Receipts};

/// Longest line: the highest payload limit with every byte escaped as `\u00XX`. A
/// longer one is refused and skipped.
const LINE_BYTES_MAX: usize = 6 * (1 << 20) + 4096;

#[derive(Serialize)]
struct Refused<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    line: u64,
    error: &'a str,
}

#[derive(Serialize)]
struct Summary {
    #[serde(rename = "type")]
    kind: &'static str,
    sent: u64,
    refused: u64,
    undelivered: u64,
}

#[derive(Serialize)]
struct Missed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    line: u64,
    expected: u32,
    delivered: u32,
    silent: &'a [String],
}

/// A line that is an object. What is not given is as the flags say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    name: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    coalesce: Option<bool>,
    #[serde(default)]
    to_member: Vec<String>,
    #[serde(default)]
    to_role: Vec<String>,
    #[serde(default)]
    to_tag: BTreeMap<String, String>,
    one_of_role: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
}

/// What a line asks for.
#[derive(Debug, PartialEq)]
struct Parsed {
    name: String,
    payload: Vec<u8>,
    options: EventOptions,
}

/// Both halves run on one task, so cells are enough.
struct Progress<'a> {
    context: RefCell<&'a mut Context>,
    lines: RefCell<BTreeMap<u64, u64>>,
    sent: Cell<u64>,
    refused: Cell<u64>,
    missed: Cell<u64>,
}

pub(super) async fn run(
    context: &mut Context,
    path: &Path,
    level: pb::ReceiptLevel,
    usual: EventOptions,
) -> Result<(), Failure> {
    // DELIVERED has the time for itself; the whole batch has no other limit.
    let limit = match level {
        pb::ReceiptLevel::Delivered => None,
        pb::ReceiptLevel::Unspecified
        | pb::ReceiptLevel::Accepted
        | pb::ReceiptLevel::Replicated => context.timeout,
    };
    super::until(limit, send_all(context, path, level, usual)).await
}

async fn send_all(
    context: &mut Context,
    path: &Path,
    level: pb::ReceiptLevel,
    usual: EventOptions,
) -> Result<(), Failure> {
    let (sender, receipts) = context.client()?.send_events(level);
    let input: Box<dyn AsyncBufRead + Unpin> = if path == Path::new("-") {
        Box::new(BufReader::new(tokio::io::stdin()))
    } else {
        let file = tokio::fs::File::open(path).await;
        let file = file.map_err(|error| Failure::file("open", path, &error))?;
        Box::new(BufReader::new(file))
    };
    let progress = Progress {
        context: RefCell::new(context),
        lines: RefCell::new(BTreeMap::new()),
        sent: Cell::new(0),
        refused: Cell::new(0),
        missed: Cell::new(0),
    };
    let mut produce = pin!(produce(&progress, input, sender, &usual));
    let mut consume = pin!(consume(&progress, receipts));
    // The stream may break while standard input is silent: do not wait for it then.
    tokio::select! {
        done = &mut consume => done?,
        done = &mut produce => {
            done?;
            consume.await?;
        }
    }
    progress.finish()
}

async fn produce(
    progress: &Progress<'_>,
    mut input: Box<dyn AsyncBufRead + Unpin>,
    mut sender: EventSender,
    usual: &EventOptions,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(whole) = read_line(&mut input, &mut line).await? {
        number += 1;
        let parsed = if whole {
            parse(&line, usual)
        } else {
            Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"))
        };
        match parsed {
            Ok(None) => {}
            Ok(Some(Parsed {
                name,
                payload,
                options,
            })) => {
                // Receipts may come before `send` returns the number: the next one is known.
                let next = progress.sent.get() + 1;
                progress.lines.borrow_mut().insert(next, number);
                if sender.send_with(name, payload, options).await.is_err() {
                    // The receipts say why.
                    return Ok(());
                }
                progress.sent.set(next);
            }
            Err(error) => progress.refuse(number, &error)?,
        }
    }
    Ok(())
}

async fn consume(progress: &Progress<'_>, mut receipts: Receipts) -> Result<(), Failure> {
    loop {
        match receipts.next_final().await {
            Ok(None) => return Ok(()),
            Ok(Some(receipt)) => {
                let line = progress.lines.borrow_mut().remove(&receipt.sequence);
                let line = line.unwrap_or_default();
                match &receipt.outcome {
                    Outcome::Rejected(rejected) => progress.refuse(line, &refusal(rejected))?,
                    Outcome::Delivery(delivery) if delivery.delivered < delivery.expected => {
                        progress.miss(line, delivery)?;
                    }
                    Outcome::Delivery(_)
                    | Outcome::Delivered(_)
                    | Outcome::Accepted(_)
                    | Outcome::Replicated(_) => {}
                }
            }
            Err(error) => {
                let open = progress.lines.borrow().len();
                let first = progress.lines.borrow().values().min().copied();
                if let Some(first) = first {
                    note(&format!(
                        "the fate of {open} events is not known, the first is of line {first}"
                    ));
                }
                return Err(error.into());
            }
        }
    }
}

impl Progress<'_> {
    fn refuse(&self, line: u64, error: &str) -> Result<(), Failure> {
        self.refused.set(self.refused.get() + 1);
        let mut context = self.context.borrow_mut();
        if context.out.is_json() {
            let kind = "refused";
            context.out.json(&Refused { kind, line, error })
        } else {
            context
                .out
                .line(&format!("line {line}: refused: {}", escape(error)))
        }
    }

    /// Some of those that an event is meant for said nothing.
    fn miss(&self, line: u64, delivery: &pb::EventDelivery) -> Result<(), Failure> {
        self.missed.set(self.missed.get() + 1);
        let mut context = self.context.borrow_mut();
        let missed = Missed {
            kind: "undelivered",
            line,
            expected: delivery.expected,
            delivered: delivery.delivered,
            silent: &delivery.silent,
        };
        if context.out.is_json() {
            context.out.json(&missed)
        } else {
            let silent = escape(&delivery.silent.join(", "));
            context
                .out
                .line(&format!("line {line}: no word from {silent}"))
        }
    }

    fn finish(&self) -> Result<(), Failure> {
        let refused = self.refused.get();
        // Lines that could not be parsed were never sent.
        let summary = Summary {
            kind: "summary",
            sent: self.sent.get(),
            refused,
            undelivered: self.missed.get(),
        };
        let mut context = self.context.borrow_mut();
        context.out.answer(&summary, || {
            format!("{} sent, {refused} refused", summary.sent)
        })?;
        if refused > 0 {
            let lines = if refused == 1 {
                "line was"
            } else {
                "lines were"
            };
            return Err(Failure::refused(format!("{refused} {lines} refused")));
        }
        match self.missed.get() {
            0 => {}
            1 => return Err(Failure::refused("1 event did not reach everybody")),
            some => {
                let text = format!("{some} events did not reach everybody");
                return Err(Failure::refused(text));
            }
        }
        Ok(())
    }
}

/// One line without its end into `line`. `Some(false)`: it was too long and is cut.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin + ?Sized),
    line: &mut Vec<u8>,
) -> Result<Option<bool>, Failure> {
    line.clear();
    let (mut whole, mut any) = (true, false);
    loop {
        let chunk = input.fill_buf().await;
        let chunk = chunk.map_err(|error| Failure::file("read", Path::new("the batch"), &error))?;
        if chunk.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = LINE_BYTES_MAX - line.len();
        whole &= part.len() <= room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

const SHAPE: &str = "expected [\"name\"], [\"name\", payload] or {\"name\": …}";

/// What a line asks for; `None` for an empty one.
fn parse(line: &[u8], usual: &EventOptions) -> Result<Option<Parsed>, String> {
    let text = std::str::from_utf8(line).map_err(|_not_text| "it is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    if text.trim_start().starts_with('{') {
        let item = serde_json::from_str(text).map_err(|error| format!("{SHAPE}: {error}"))?;
        return Ok(Some(of_item(item, usual)?));
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| format!("{SHAPE}: {error}"))?;
    let (name, payload) = match parts.as_slice() {
        [name] => (name, None),
        [name, payload] => (name, Some(payload)),
        _ => return Err(format!("{SHAPE}, not {} values", parts.len())),
    };
    let name: String = serde_json::from_str(name.get())
        .map_err(|_no_string| format!("{SHAPE}: the name is no string"))?;
    let payload = bytes_of(payload.copied())?;
    let options = usual.clone();
    Ok(Some(Parsed {
        name,
        payload,
        options,
    }))
}

fn bytes_of(payload: Option<&RawValue>) -> Result<Vec<u8>, String> {
    match payload.map(RawValue::get) {
        None => Ok(Vec::new()),
        Some(text) if text.starts_with('"') => serde_json::from_str::<String>(text)
            .map(String::into_bytes)
            .map_err(|error| format!("{SHAPE}: {error}")),
        Some(json) => Ok(json.as_bytes().to_vec()),
    }
}

fn of_item(item: Item<'_>, usual: &EventOptions) -> Result<Parsed, String> {
    let payload = bytes_of(item.payload)?;
    let mut options = usual.clone();
    let filter = target(item.to_member, item.to_role, item.to_tag);
    if filter.is_some() && item.one_of_role.is_some() {
        return Err("one_of_role cannot stand with another target".to_owned());
    }
    if let Some(role) = item.one_of_role {
        (options.one_of_role, options.target) = (role, None);
    } else if filter.is_some() {
        (options.one_of_role, options.target) = (String::new(), filter);
    }
    options.coalesce = item.coalesce.unwrap_or(options.coalesce);
    if let Some(attributes) = item.attributes {
        options.attributes = attributes;
    }
    Ok(Parsed {
        name: item.name,
        payload,
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(String, String)> {
        let parsed = parse(line.as_bytes(), &EventOptions::default()).unwrap()?;
        assert_eq!(parsed.options, EventOptions::default());
        Some((parsed.name, String::from_utf8(parsed.payload).unwrap()))
    }

    #[test]
    fn objects_say_more_and_stand_over_the_flags() {
        let usual = EventOptions {
            coalesce: true,
            target: target(vec!["a".into()], Vec::new(), BTreeMap::new()),
            ..EventOptions::default()
        };
        let parse = |line: &str| parse(line.as_bytes(), &usual).unwrap().unwrap();
        let plain = parse(r#" {"name": "n", "payload": {"x": 1}}"#);
        assert_eq!(plain.payload, br#"{"x": 1}"#);
        assert_eq!(plain.options, usual);
        let full = parse(
            r#"{"name":"n","coalesce":false,"to_role":["web"],"to_tag":{"z":"e.*"},
                "attributes":{"k":"v"}}"#,
        );
        let filter = full.options.target.unwrap();
        assert_eq!((filter.roles, filter.names.len()), (vec!["web".into()], 0));
        assert_eq!(filter.tags["z"], "e.*");
        assert!(!full.options.coalesce && full.options.attributes["k"] == "v");
        let one = parse(r#"{"name":"n","one_of_role":"db"}"#).options;
        assert_eq!((&*one.one_of_role, one.target), ("db", None));
    }

    #[test]
    fn wrong_objects_are_told() {
        for (bad, wrong) in [
            (r#"{"payload":1}"#, "missing field `name`"),
            (r#"{"name":"n","to":"x"}"#, "unknown field `to`"),
            (
                r#"{"name":"n","to_role":["a"],"one_of_role":"b"}"#,
                "another target",
            ),
        ] {
            let error = parse(bad.as_bytes(), &EventOptions::default()).unwrap_err();
            assert!(error.contains(wrong), "{bad}: {error}");
        }
    }

    #[test]
    fn payloads_keep_their_bytes() {
        let pair = |name: &str, payload: &str| Some((name.to_owned(), payload.to_owned()));
        assert_eq!(
            parsed(r#"["a", {"x": 1.0,"y":[ ]}]"#),
            pair("a", r#"{"x": 1.0,"y":[ ]}"#)
        );
        assert_eq!(parsed(r#" ["a", "t\u00e9xt\n"] "#), pair("a", "téxt\n"));
        assert_eq!(
            parsed(r#"["a",12345678901234567890]"#),
            pair("a", "12345678901234567890")
        );
        assert_eq!(parsed(r#"["a"]"#), pair("a", ""));
        assert_eq!(parsed("  \r"), None);
    }

    #[test]
    fn bad_lines_are_told() {
        for bad in [
            "x",
            "{}",
            "[]",
            "[1]",
            r#"["a",1,2]"#,
            r#"["a","#,
            r#"["a"] x"#,
        ] {
            let error = parse(bad.as_bytes(), &EventOptions::default()).unwrap_err();
            assert!(error.starts_with("expected"), "{bad}: {error}");
        }
        assert_eq!(
            parse(b"[\"\xff\"]", &EventOptions::default()).unwrap_err(),
            "it is not UTF-8"
        );
    }

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_end() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\nshort\n\nlast");
        let mut input = BufReader::new(text.as_slice());
        let mut line = Vec::new();
        assert_eq!(read_line(&mut input, &mut line).await.unwrap(), Some(false));
        assert_eq!(line.len(), LINE_BYTES_MAX);
        for expected in ["short", "", "last"] {
            assert_eq!(read_line(&mut input, &mut line).await.unwrap(), Some(true));
            assert_eq!(line, expected.as_bytes());
        }
        assert_eq!(read_line(&mut input, &mut line).await.unwrap(), None);
    }
}

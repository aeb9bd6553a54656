//! `muster event --batch`: a `["name", payload]` JSON array a line, all over one stream.
//!
//! A payload that is a JSON string is sent as its text, any other value as its JSON
//! text byte for byte, none as nothing. Empty lines are skipped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::cli::event::refusal;
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{Context, note};
use crate::pb;
use crate::send::{EventSender, Outcome, Receipts};

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
}

/// Both halves run on one task, so cells are enough.
struct Progress<'a> {
    context: RefCell<&'a mut Context>,
    lines: RefCell<BTreeMap<u64, u64>>,
    sent: Cell<u64>,
    refused: Cell<u64>,
}

pub(super) async fn run(
    context: &mut Context,
    path: &Path,
    level: pb::ReceiptLevel,
) -> Result<(), Failure> {
    let limit = context.timeout;
    super::until(limit, send_all(context, path, level)).await
}

async fn send_all(
    context: &mut Context,
    path: &Path,
    level: pb::ReceiptLevel,
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
    };
    let mut produce = pin!(produce(&progress, input, sender));
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
) -> Result<(), Failure> {
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(whole) = read_line(&mut input, &mut line).await? {
        number += 1;
        let parsed = if whole {
            parse(&line)
        } else {
            Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"))
        };
        match parsed {
            Ok(None) => {}
            Ok(Some((name, payload))) => {
                // Receipts may come before `send` returns the number: the next one is known.
                let next = progress.sent.get() + 1;
                progress.lines.borrow_mut().insert(next, number);
                if sender.send(name, payload).await.is_err() {
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
                if let Outcome::Rejected(rejected) = &receipt.outcome {
                    progress.refuse(line.unwrap_or_default(), &refusal(rejected))?;
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

    fn finish(&self) -> Result<(), Failure> {
        let refused = self.refused.get();
        // Lines that could not be parsed were never sent.
        let summary = Summary {
            kind: "summary",
            sent: self.sent.get(),
            refused,
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

/// Name and payload of a line; `None` for an empty one.
fn parse(line: &[u8]) -> Result<Option<(String, Vec<u8>)>, String> {
    const SHAPE: &str = "expected [\"name\"] or [\"name\", payload]";
    let text = std::str::from_utf8(line).map_err(|_not_text| "it is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
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
    let payload = match payload.map(|payload| payload.get()) {
        None => Vec::new(),
        Some(text) if text.starts_with('"') => serde_json::from_str::<String>(text)
            .map_err(|error| format!("{SHAPE}: {error}"))?
            .into_bytes(),
        Some(json) => json.as_bytes().to_vec(),
    };
    Ok(Some((name, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(String, String)> {
        let (name, payload) = parse(line.as_bytes()).unwrap()?;
        Some((name, String::from_utf8(payload).unwrap()))
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
            let error = parse(bad.as_bytes()).unwrap_err();
            assert!(error.starts_with("expected"), "{bad}: {error}");
        }
        assert_eq!(parse(b"[\"\xff\"]").unwrap_err(), "it is not UTF-8");
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

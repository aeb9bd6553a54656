//! Lines that anybody writes into a FIFO.

use muster_engine::name::check_name;
use serde_json::Value;

use super::lines::{Line, Lines};
use super::message::parse;
use crate::mutate::fuzz;

const CORPUS: [&[u8]; 8] = [
    b"[\"deploy\", {\"version\": 1.50, \"hosts\": [\"a\", \"b\"]}]\n",
    b"[\"a\",{\"u\":\"\\u00e9 \xc3\xa9\",\"n\":1e400}]\r\n[\"b\", null]\n",
    b"  [ \"restart\" ,\t{} ] \n\n\n  \n[\"x\",[]]",
    b"[\"\\u0061-b.c_d\", \"text with \\\"quotes\\\" and \\\\\"]\n",
    b"[\"nested\", [[[[[[[[{\"a\":[{\"b\":[]}]}]]]]]]]]]\n",
    b"{\"deploy\": 1}\n[1, {}]\n[\"one\"]\n[\"a\",1,2]\n",
    b"[\"_muster_x\", {}]\n[\"-rpc-addr=1.2.3.4\", {}]\n[\"a b\", {}]\n",
    b"[\"numbers\", [0, -1, 18446744073709551616, 0.1e-9, true, false]]\n",
];

const WORDS: [&str; 12] = [
    "[\"a\",",
    "]\n",
    "\n",
    "[[",
    "{\"k\":",
    "\\ud800",
    "\\u0000",
    "null",
    "\r\n",
    "\u{feff}",
    "\"_serf_x\"",
    "1e999",
];

/// Longest line of the pipe that reads them.
const LINE_BYTES: usize = 4 << 10;

#[test]
fn fuzz_lines_of_a_fifo() {
    let mut taken = 0_u32;
    fuzz(1, &CORPUS, &WORDS, |input| {
        // Chunks as reads of a pipe give them.
        let step = 1 + input.first().map_or(0, |byte| usize::from(*byte) * 16);
        let mut lines = Lines::new(LINE_BYTES);
        let mut found = Vec::new();
        for mut chunk in input.chunks(step) {
            while let Some(line) = lines.take(&mut chunk) {
                found.push(line);
            }
        }
        found.extend(lines.finish());
        let mut bytes = 0;
        for line in found {
            match line {
                Line::TooLong { bytes: long } => {
                    assert!(long > LINE_BYTES as u64);
                    bytes += usize::try_from(long).unwrap();
                }
                Line::Whole(line) => {
                    assert!(line.len() <= LINE_BYTES && !line.contains(&b'\n'));
                    bytes += line.len();
                    taken += u32::from(check(&line));
                }
            }
        }
        assert!(bytes <= input.len());
    });
    assert!(taken > 1_000, "only {taken} lines were events");
}

/// What is taken is an event that handlers can read; what is not has a short reason.
fn check(line: &[u8]) -> bool {
    match parse(line) {
        Ok(message) => {
            assert!(check_name(&message.name).is_ok());
            let value: Result<Value, _> = serde_json::from_slice(&message.payload);
            assert!(
                value.as_ref().map_or_else(out_of_range, |_| true),
                "{value:?}"
            );
            let mut parts = line.windows(message.payload.len());
            assert!(
                parts.any(|part| part == message.payload),
                "as it was written"
            );
            true
        }
        Err(bad) => {
            assert!(bad.to_string().len() < 1_000, "{bad}");
            assert!(!bad.reason().is_empty());
            false
        }
    }
}

/// JSON that this reader cannot hold: a number that is too large, half a surrogate.
fn out_of_range(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["out of range", "surrogate", "escape"]
        .iter()
        .any(|word| text.contains(word))
}

//! What a line says: `["<event_name>", <payload>]`. Pure.

use std::fmt;

use bytes::Bytes;
use muster_engine::name::{NameError, check_name};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Deepest nesting of a payload: what common JSON parsers take. A deeper one is refused,
/// because handlers could not read it.
pub(crate) const DEPTH_MAX: usize = 128;

/// An event that a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Name of the event, in the grammar.
    pub(crate) name: String,
    /// The second element as it was written, a valid JSON text.
    pub(crate) payload: Bytes,
}

/// What is wrong with a line. Says nothing of what is in it but the name: it may be
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    /// A byte outside UTF-8.
    #[error("byte {at} is no UTF-8")]
    NotUtf8 {
        /// Which, from 0.
        at: usize,
    },
    /// No JSON: what and where.
    #[error("it is no JSON: {0}")]
    NotJson(String),
    /// JSON, but something else.
    #[error("it is no array of two elements, a name and a payload")]
    Shape,
    /// The first element is no string.
    #[error("its first element, the name of the event, is no string")]
    NameIsNoString,
    /// The name breaks the grammar.
    #[error("the event name {name:?} is refused: {error}")]
    BadName {
        /// As written, cut.
        name: String,
        /// What is wrong with it.
        #[source]
        error: NameError,
    },
    /// More than [`DEPTH_MAX`] levels.
    #[error("its payload is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
}

impl BadLine {
    /// For the metric.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } | Self::NotJson(_) => "not_json",
            Self::Shape | Self::NameIsNoString => "shape",
            Self::BadName { .. } => "name",
            Self::TooDeep => "depth",
        }
    }
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<Message, BadLine> {
    let text = std::str::from_utf8(line).map_err(|error| BadLine::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let pair: Pair<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => BadLine::Shape,
        Category::Io | Category::Syntax | Category::Eof => BadLine::NotJson(error.to_string()),
    })?;
    let name: String =
        serde_json::from_str(pair.name.get()).map_err(|_not_a_string| BadLine::NameIsNoString)?;
    check_name(&name).map_err(|error| BadLine::BadName {
        name: shown(&name),
        error,
    })?;
    let payload = pair.payload.get();
    if depth(payload) > DEPTH_MAX {
        return Err(BadLine::TooDeep);
    }
    Ok(Message {
        name,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}

/// A bad name for the log: names that are too long are cut.
fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 64;
    name.chars().take(SHOWN_CHARS).collect()
}

/// How deep a valid JSON text is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The two elements, unread.
struct Pair<'a> {
    name: &'a RawValue,
    payload: &'a RawValue,
}

impl<'de> Deserialize<'de> for Pair<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PairVisitor)
    }
}

struct PairVisitor;

impl<'de> Visitor<'de> for PairVisitor {
    type Value = Pair<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of a name and a payload")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut element = |at| {
            let element = seq.next_element::<&'de RawValue>()?;
            element.ok_or_else(|| A::Error::invalid_length(at, &self))
        };
        let (name, payload) = (element(0)?, element(1)?);
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Pair { name, payload }),
            Some(_) => Err(A::Error::invalid_length(3, &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good(line: &str) -> (String, String) {
        let message = parse(line.as_bytes()).unwrap();
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        (message.name, payload)
    }

    fn bad(line: impl AsRef<[u8]>) -> BadLine {
        parse(line.as_ref()).unwrap_err()
    }

    #[test]
    fn the_payload_is_kept_as_it_was_written() {
        let cases = [
            (r#"["a", {"b": 1, "b":2.50}]"#, r#"{"b": 1, "b":2.50}"#),
            ("  [ \"a\" ,\t{} ] \r", "{}"),
            (
                r#"["a",{"u":"\u00e9 é","n":1e400}]"#,
                r#"{"u":"\u00e9 é","n":1e400}"#,
            ),
            // Not asked for by the format, but serfnode passed them on as well.
            (r#"["a", [1,2]]"#, "[1,2]"),
            (r#"["a", "text"]"#, r#""text""#),
            (r#"["a", null]"#, "null"),
        ];
        for (line, payload) in cases {
            assert_eq!(good(line), ("a".to_owned(), payload.to_owned()), "{line}");
        }
        assert_eq!(good(r#"["\u0061-b.c_d", {}]"#).0, "a-b.c_d");
    }

    #[test]
    fn what_is_no_such_pair_is_told_why() {
        for line in ["{}", "1", "\"a\"", "[]", "[\"a\"]", "[\"a\",{},1]", "null"] {
            assert_eq!(bad(line), BadLine::Shape, "{line}");
        }
        for line in ["[1, {}]", "[null,{}]", "[[\"a\"],{}]", "[\"\\ud800\",{}]"] {
            assert_eq!(bad(line), BadLine::NameIsNoString, "{line}");
        }
        for line in [
            "[\"a\",{}",
            "[\"a\" {}]",
            "[\"a\",{}]x",
            "\0",
            "[\"a\",{}][\"b\",{}]",
            "[\"a\",{\"b\":01}]",
            "[\"a\",NaN]",
            "['a',{}]",
            "[\"a\n\",{}]",
        ] {
            assert!(
                matches!(bad(line), BadLine::NotJson(_)),
                "{line}: {:?}",
                bad(line)
            );
        }
        assert_eq!(bad(b"[\"a\",\"\xff\"]"), BadLine::NotUtf8 { at: 6 });
    }

    #[test]
    fn names_are_those_that_events_may_have() {
        for name in [
            "",
            "-rpc-addr=1.2.3.4",
            "a b",
            "_muster_x",
            "_serf_y",
            "a\\n",
            "a/b",
            "é",
        ] {
            let bad = bad(format!("[\"{name}\",{{}}]"));
            assert!(matches!(bad, BadLine::BadName { .. }), "{name}: {bad:?}");
        }
        let BadLine::BadName { name, .. } = bad(format!("[\"{}\",1]", "x".repeat(9_999))) else {
            panic!("a long name was taken");
        };
        assert_eq!(name.len(), 64);
    }

    #[test]
    fn what_nobody_could_parse_is_refused() {
        let nested = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!("[\"a\",{open}{close}]")
        };
        assert_eq!(good(&nested(DEPTH_MAX)).0, "a");
        assert_eq!(bad(nested(DEPTH_MAX + 1)), BadLine::TooDeep);
        assert_eq!(bad(nested(1_000)), BadLine::TooDeep);
        assert_eq!(bad(nested(1_000_000)), BadLine::TooDeep);
        let text = format!("[\"a\",\"{}\\\"{}\"]", "[{".repeat(500), "[".repeat(500));
        assert_eq!(good(&text).0, "a");
    }

    proptest! {
        #[test]
        fn a_payload_that_is_taken_is_json(line in r#"\["[a-z]{1,3}", ?[\[\]{}":,0-9a-z ]{0,24}\]"#) {
            if let Ok(message) = parse(line.as_bytes()) {
                let value: Result<serde_json::Value, _> = serde_json::from_slice(&message.payload);
                prop_assert!(value.is_ok(), "{}", line);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _result = parse(&line).is_ok();
        }
    }
}

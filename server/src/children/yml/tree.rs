//! YAML as a tree of texts with the lines that they stand in, within bounds.
//!
//! Scalars stay as they are written: `1.10` is no number here and `yes` no truth.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{Mistake, cut};

/// Nested lists and maps of a file; deeper ones are refused.
const DEPTH_MAX: usize = 16;

/// Values of a file, those that aliases repeat included; more are refused.
const NODES_MAX: usize = 65_536;

/// Aliases of a file; more are refused.
const ALIASES_MAX: usize = 1_024;

/// Bytes of all texts of a file, those that aliases repeat included; more are refused.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Entries of one list or map; more are refused.
pub(super) const ENTRIES_MAX: usize = 1_024;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, or `null`.
    Null,
    Text(String),
    List(Vec<Item>),
    /// In the order of the file; no key is there twice.
    Map(Vec<(Key, Item)>),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) line: u64,
    pub(super) name: String,
}

impl Value {
    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// What is no YAML, with its line, or which bound it breaks.
pub(super) fn read(text: &str) -> Result<Item, Mistake> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        with_snippet: false,
    };
    let raw: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| Mistake {
            line: error.location().map_or(0, |at| at.line()),
            what: cut(format!("it is no YAML: {error}")),
        })?;
    Ok(resolve(raw, text))
}

/// As the parser gives it: plain scalars that look like numbers have lost their text.
enum Raw {
    Null,
    Text(String),
    /// A number or a truth: its text is taken from the source.
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn resolve(raw: Spanned<Raw>, source: &str) -> Item {
    let line = raw.referenced.line();
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Text(text),
        Raw::Plain(text) => {
            let span = raw.defined.span();
            let written = span.byte_offset().zip(span.byte_len());
            let written = written.and_then(|(from, len)| {
                let from = usize::try_from(from).ok()?;
                source.get(from..from.checked_add(usize::try_from(len).ok()?)?)
            });
            Value::Text(written.map_or(text, |written| written.trim().to_owned()))
        }
        Raw::List(items) => {
            let items = items.into_iter().map(|item| resolve(item, source));
            Value::List(items.collect())
        }
        Raw::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| {
                let name = Key {
                    line: key.referenced.line(),
                    name: key.value,
                };
                (name, resolve(value, source))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Item { line, value }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(truth.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
            bounded::<A::Error>(items.len())?;
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Raw>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(A::Error::custom(format!(
                    "key {:?} is there twice",
                    key.value
                )));
            }
            entries.push((key, value));
            bounded::<A::Error>(entries.len())?;
        }
        Ok(Raw::Map(entries))
    }
}

fn bounded<E: serde::de::Error>(entries: usize) -> Result<(), E> {
    if entries > ENTRIES_MAX {
        let what = format!("a list or map has more than {ENTRIES_MAX} entries");
        return Err(E::custom(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(item: &Item, key: &str) -> String {
        let Value::Map(entries) = &item.value else {
            panic!("{item:?}")
        };
        let found = entries.iter().find(|(name, _)| name.name == key);
        match &found.unwrap().1.value {
            Value::Text(text) => text.clone(),
            other @ (Value::Null | Value::List(_) | Value::Map(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let item =
            read("a: 1.10\nb: yes\nc: 0777\nd: 8000:80\ne: 'x'\nf: &p 8080\ng: *p\n1: one\n");
        let item = item.unwrap();
        let of = |key| text(&item, key);
        assert_eq!(
            ["a", "b", "c", "d", "e", "f", "g", "1"].map(of),
            ["1.10", "yes", "0777", "8000:80", "x", "8080", "8080", "one"]
        );
    }

    #[test]
    fn lines_are_known() {
        let item = read("a:\n  - b: 1\n    c:\n      - d\n").unwrap();
        let Value::Map(entries) = &item.value else {
            panic!("{item:?}")
        };
        let Value::List(items) = &entries[0].1.value else {
            panic!("{item:?}")
        };
        let Value::Map(entries) = &items[0].value else {
            panic!("{item:?}")
        };
        assert_eq!((entries[0].0.line, entries[1].0.line), (2, 3));
        let Value::List(items) = &entries[1].1.value else {
            panic!("{item:?}")
        };
        assert_eq!(items[0].line, 4);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        for (wrong, line) in [("a: 1\nb: [1\nc: 2\n", 3), ("a: 1\na: 2\n", 2)] {
            let mistake = read(wrong).unwrap_err();
            assert_eq!(mistake.line, line, "{mistake}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let wide = "- x\n".repeat(ENTRIES_MAX + 1);
        let keys: String = (0..=ENTRIES_MAX).map(|nr| format!("k{nr}: x\n")).collect();
        let many = format!("- &a [x{}]\n{}", ", x".repeat(999), "- *a\n".repeat(70));
        let long = format!("- &a {}\n{}", "x".repeat(200_000), "- *a\n".repeat(9));
        let two = "--- a\n--- b\n".to_owned();
        for text in [bomb, nested, wide, keys, many, long, two] {
            assert!(read(&text).is_err(), "{text:.60}");
        }
        assert!(read(&"- x\n".repeat(ENTRIES_MAX)).is_ok());
    }
}

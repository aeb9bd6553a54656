//! What clients ask for.
//!
//! Keys are CamelCase; what is missing or nil is empty, keys that are not known are
//! skipped, and text comes as msgpack's string or binary: so does serf read it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Deserialize, de};

/// Head of each request.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Header {
    #[serde(deserialize_with = "or_default")]
    pub(crate) command: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) seq: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Handshake {
    #[serde(deserialize_with = "or_default")]
    pub(crate) version: i64,
}

/// Without `Debug`: it holds a secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Auth {
    #[serde(deserialize_with = "or_default")]
    pub(crate) auth_key: Blob,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Event {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) payload: Blob,
    #[serde(deserialize_with = "or_default")]
    pub(crate) coalesce: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Join {
    #[serde(deserialize_with = "or_default")]
    pub(crate) existing: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MembersFiltered {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Tags {
    #[serde(deserialize_with = "or_default")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) delete_tags: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ForceLeave {
    #[serde(deserialize_with = "or_default")]
    pub(crate) node: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) prune: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Stream {
    #[serde(deserialize_with = "or_default", rename = "Type")]
    pub(crate) kind: String,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Query {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) payload: Blob,
    #[serde(deserialize_with = "or_default")]
    pub(crate) filter_nodes: Vec<String>,
    /// Expressions that match any part of the value.
    #[serde(deserialize_with = "or_default")]
    pub(crate) filter_tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) request_ack: bool,
    /// Nanoseconds; not above 0 for the default.
    #[serde(deserialize_with = "or_default")]
    pub(crate) timeout: i64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Key {
    /// Its text is not shown by `Debug`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) key: Blob,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Respond {
    #[serde(deserialize_with = "or_default", rename = "ID")]
    pub(crate) id: u64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) payload: Blob,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Monitor {
    #[serde(deserialize_with = "or_default")]
    pub(crate) log_level: String,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Stop {
    #[serde(deserialize_with = "or_default")]
    pub(crate) stop: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Coordinate {
    #[serde(deserialize_with = "or_default")]
    pub(crate) node: String,
}

/// Bytes that came as a string or as binary.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or binary")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                self.visit_bytes(text.as_bytes())
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
        }

        from.deserialize_any(Reader)
    }
}

/// Nil stands for nothing, as in Go.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Reads one whole frame.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(frame: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    // All requests are maps; a list would be read by place.
    match frame.first() {
        Some(0x80..=0x8f | 0xde | 0xdf) => rmp_serde::from_slice(frame),
        _ => Err(rmp_serde::decode::Error::custom("it is no map")),
    }
}

#[cfg(test)]
mod tests;

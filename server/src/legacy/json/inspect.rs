//! The engine's `inspect`, as others may read it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::containers::redact::redact;

/// What readers of the files may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privacy {
    /// All but what usually holds secrets: values of environment variables, arguments
    /// of programs, and credentials of log drivers. Names and numbers stay.
    #[default]
    Redacted,
    /// Everything, as serfnode showed it.
    Full,
}

/// The engine's words on a container, ready for readers.
#[derive(Debug, Clone)]
pub struct Inspect {
    json: Box<RawValue>,
}

impl Inspect {
    /// Of a container. Where it shares the network of `parent`, its network settings,
    /// which are empty, are those of the parent.
    #[must_use]
    pub fn new(inspect: &RawValue, parent: Option<&RawValue>, privacy: Privacy) -> Self {
        let text = match parent.and_then(network_settings) {
            None => Ok(inspect.get().to_owned()),
            Some(settings) => with_settings(inspect, settings),
        };
        let text = text.and_then(|text| match privacy {
            Privacy::Full => Ok(text),
            Privacy::Redacted => redact(&text),
        });
        let json = text.and_then(RawValue::from_string);
        json.map_or_else(|_| Self::none(), |json| Self { json })
    }

    /// Of a node that runs in no container.
    #[must_use]
    pub fn none() -> Self {
        let json = RawValue::from_string("{}".to_owned()).unwrap_or_default();
        Self { json }
    }

    /// Its JSON.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.json
    }
}

fn network_settings(inspect: &RawValue) -> Option<Value> {
    let mut fields: Map<String, Value> = serde_json::from_str(inspect.get()).ok()?;
    fields.remove("NetworkSettings")
}

fn with_settings(inspect: &RawValue, settings: Value) -> serde_json::Result<String> {
    let mut fields: Map<String, Value> = serde_json::from_str(inspect.get())?;
    fields.insert("NetworkSettings".to_owned(), settings);
    serde_json::to_string(&fields)
}

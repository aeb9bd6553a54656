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
        let settings = parent.and_then(network_settings);
        let joined = settings.and_then(|settings| with_network(inspect, settings));
        let json = joined.as_deref().unwrap_or(inspect);
        let json = match privacy {
            Privacy::Full => Ok(json.to_owned()),
            Privacy::Redacted => redact(json.get()).and_then(RawValue::from_string),
        };
        json.map_or_else(|_error| Self::none(), |json| Self { json })
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

fn with_network(inspect: &RawValue, settings: Value) -> Option<Box<RawValue>> {
    let mut fields: Map<String, Value> = serde_json::from_str(inspect.get()).ok()?;
    fields.insert("NetworkSettings".to_owned(), settings);
    serde_json::value::to_raw_value(&fields).ok()
}

fn network_settings(inspect: &RawValue) -> Option<Value> {
    let mut fields: Map<String, Value> = serde_json::from_str(inspect.get()).ok()?;
    fields.remove("NetworkSettings")
}

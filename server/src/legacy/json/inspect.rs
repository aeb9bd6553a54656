//! The engine's `inspect`, as others may read it.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// In the place of what is not shown.
const HIDDEN: &str = "<redacted>";

/// Options of log drivers with these in their names are credentials.
const SECRET_OPTIONS: [&str; 5] = ["token", "secret", "password", "credential", "key"];

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
        if parent.is_none() && privacy == Privacy::Full {
            let json = inspect.to_owned();
            return Self { json };
        }
        let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(inspect.get()) else {
            return Self::none();
        };
        let settings = parent.and_then(network_settings);
        if let Some(settings) = settings {
            fields.insert("NetworkSettings".to_owned(), settings);
        }
        if privacy == Privacy::Redacted {
            redact(&mut fields);
        }
        serde_json::value::to_raw_value(&fields).map_or_else(|_| Self::none(), |json| Self { json })
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

fn redact(fields: &mut Map<String, Value>) {
    if let Some(args) = fields.get_mut("Args") {
        hide_items(args, 0);
    }
    if let Some(Value::Object(config)) = fields.get_mut("Config") {
        redact_config(config);
    }
    let options = fields.get_mut("HostConfig");
    let options = options.and_then(|host| host.pointer_mut("/LogConfig/Config"));
    if let Some(Value::Object(options)) = options {
        for (name, value) in options.iter_mut() {
            let name = name.to_lowercase();
            if SECRET_OPTIONS.iter().any(|word| name.contains(word)) {
                *value = Value::from(HIDDEN);
            }
        }
    }
    // What the check printed.
    let log = fields.get_mut("State");
    let log = log.and_then(|state| state.pointer_mut("/Health/Log"));
    for entry in log.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(output) = entry.get_mut("Output") {
            *output = Value::from(HIDDEN);
        }
    }
}

fn redact_config(config: &mut Map<String, Value>) {
    for variable in config
        .get_mut("Env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let text = variable.as_str().unwrap_or_default();
        if let Some((name, _value)) = text.split_once('=') {
            *variable = Value::from(format!("{name}={HIDDEN}"));
        }
    }
    // The program itself is no secret: `Path` tells it as well.
    let has_entrypoint = config
        .get("Entrypoint")
        .and_then(Value::as_array)
        .is_some_and(|words| !words.is_empty());
    if let Some(entrypoint) = config.get_mut("Entrypoint") {
        hide_items(entrypoint, 1);
    }
    if let Some(command) = config.get_mut("Cmd") {
        hide_items(command, usize::from(!has_entrypoint));
    }
    let test = config.get_mut("Healthcheck");
    if let Some(test) = test.and_then(|check| check.get_mut("Test")) {
        // CMD or CMD-SHELL.
        hide_items(test, 1);
    }
}

/// Hides the texts of a list after the first `shown`.
fn hide_items(list: &mut Value, shown: usize) {
    for item in list.as_array_mut().into_iter().flatten().skip(shown) {
        *item = Value::from(HIDDEN);
    }
}

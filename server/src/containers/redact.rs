//! The engine's `inspect` without what usually holds secrets: values of environment
//! variables, arguments of programs and health checks and what those printed, options of
//! log drivers that are credentials. Everything else stays as the engine wrote it, byte
//! for byte and in its order.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// In the place of what is not shown.
const HIDDEN: &str = "<redacted>";

/// Options of log drivers with these in their names are credentials.
const CREDENTIALS: [&str; 5] = ["token", "secret", "password", "credential", "key"];

/// Hides the secrets of an `inspect`.
///
/// # Errors
/// It is no JSON object: it is not shown at all then.
pub fn redact(inspect: &str) -> serde_json::Result<String> {
    let mut whole: Fields<'_> = serde_json::from_str(inspect)?;
    whole.change("Args", |args| hide_items(args, 0))?;
    whole.change("Config", config)?;
    whole.change("ProcessConfig", |process| {
        let mut process: Fields<'_> = serde_json::from_str(process)?;
        process.change("arguments", |args| hide_items(args, 0))?;
        Ok(process.write())
    })?;
    whole.change("HostConfig", |host| {
        let mut host: Fields<'_> = serde_json::from_str(host)?;
        host.change("LogConfig", |log| {
            let mut log: Fields<'_> = serde_json::from_str(log)?;
            log.change("Config", options)?;
            Ok(log.write())
        })?;
        Ok(host.write())
    })?;
    whole.change("State", |state| {
        let mut state: Fields<'_> = serde_json::from_str(state)?;
        state.change("Health", |health| {
            let mut health: Fields<'_> = serde_json::from_str(health)?;
            health.change("Log", check_log)?;
            Ok(health.write())
        })?;
        Ok(state.write())
    })?;
    Ok(whole.write())
}

fn config(text: &str) -> serde_json::Result<String> {
    let mut config: Fields<'_> = serde_json::from_str(text)?;
    config.change("Env", |env| {
        let variables: Vec<String> = serde_json::from_str(env)?;
        let hidden = variables.iter().map(|variable| {
            let name = variable.split('=').next().unwrap_or_default();
            format!("{name}={HIDDEN}")
        });
        serde_json::to_string(&hidden.collect::<Vec<_>>())
    })?;
    // The program itself is no secret: `Path` tells it as well.
    let entrypoint = config.get("Entrypoint");
    let has_entrypoint = entrypoint.is_some_and(|text| text != "null" && text != "[]");
    config.change("Entrypoint", |words| hide_items(words, 1))?;
    config.change("Cmd", |words| {
        hide_items(words, usize::from(!has_entrypoint))
    })?;
    config.change("Healthcheck", |check| {
        let mut check: Fields<'_> = serde_json::from_str(check)?;
        // CMD or CMD-SHELL.
        check.change("Test", |words| hide_items(words, 1))?;
        Ok(check.write())
    })?;
    Ok(config.write())
}

fn options(text: &str) -> serde_json::Result<String> {
    let mut options: Fields<'_> = serde_json::from_str(text)?;
    for (name, value) in &mut options.0 {
        let lower = name.to_lowercase();
        if CREDENTIALS.iter().any(|word| lower.contains(word)) {
            *value = Value::New(serde_json::to_string(HIDDEN)?);
        }
    }
    Ok(options.write())
}

fn check_log(text: &str) -> serde_json::Result<String> {
    let entries: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut hidden = Vec::new();
    for entry in entries {
        let mut entry: Fields<'_> = serde_json::from_str(entry.get())?;
        entry.change("Output", |_text| serde_json::to_string(HIDDEN))?;
        hidden.push(entry.write());
    }
    Ok(format!("[{}]", hidden.join(",")))
}

/// Hides the items of a list after the first `shown`; a text alone as well.
fn hide_items(text: &str, shown: usize) -> serde_json::Result<String> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return serde_json::to_string(HIDDEN);
    };
    let hidden = serde_json::to_string(HIDDEN)?;
    let items = items.iter().enumerate().map(|(at, item)| match at < shown {
        true => item.get(),
        false => &hidden,
    });
    Ok(format!("[{}]", items.collect::<Vec<_>>().join(",")))
}

/// An object in its order, its values as they were written.
struct Fields<'a>(Vec<(String, Value<'a>)>);

enum Value<'a> {
    Old(&'a RawValue),
    New(String),
}

impl Value<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Old(raw) => raw.get(),
            Self::New(text) => text,
        }
    }
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let (_, value) = fields.find(|(known, _)| known == name)?;
        Some(value.text())
    }

    /// Writes values of a name anew, all of them should it stand there twice; null stays.
    fn change(
        &mut self,
        name: &str,
        mut change: impl FnMut(&str) -> serde_json::Result<String>,
    ) -> serde_json::Result<()> {
        for (known, value) in &mut self.0 {
            // As readers of Docker's JSON do it: names match in any case.
            if known.eq_ignore_ascii_case(name) && value.text() != "null" {
                *value = Value::New(change(value.text())?);
            }
        }
        Ok(())
    }

    fn write(&self) -> String {
        let fields = self.0.iter().map(|(name, value)| {
            let name = serde_json::Value::from(name.as_str());
            format!("{name}:{}", value.text())
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((name, Value::Old(value)));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays_byte_for_byte() {
        let given = r#"{"Id":"ab","Args":["-p","hunter2"],"Big":12345678901234567890123,
            "Config":{"Zeta":1.50,"Env":["PASSWORD=hunter2","PLAIN","A=b=c"],"Cmd":["sh","-c","hunter2"],
            "Entrypoint":null,"Healthcheck":{"Test":["CMD-SHELL","curl -u hunter2"]},"Labels":{"a":"b"}},
            "State":{"Health":{"Log":[{"ExitCode":0,"Output":"hunter2"}],"Status":"healthy"},"Pid":7},
            "HostConfig":{"LogConfig":{"Type":"splunk","Config":{"splunk-token":"hunter2","tag":"t"}}}}"#;
        let shown = redact(given).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        for part in [
            r#""Id":"ab","Args":["<redacted>","<redacted>"],"Big":12345678901234567890123,"#,
            r#""Zeta":1.50,"Env":["PASSWORD=<redacted>","PLAIN=<redacted>","A=<redacted>"]"#,
            r#""Cmd":["sh","<redacted>","<redacted>"],"Entrypoint":null,"#,
            r#""Test":["CMD-SHELL","<redacted>"]"#,
            r#""Labels":{"a":"b"}"#,
            r#"{"ExitCode":0,"Output":"<redacted>"}"#,
            r#""splunk-token":"<redacted>","tag":"t""#,
            r#""Pid":7"#,
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn names_that_stand_there_twice_or_in_another_case_hide_nothing() {
        let given = r#"{"Config":{"Env":["A=hunter2"]},"config":{"env":["A=hunter2"]},
            "Config":{"Cmd":"hunter2","Entrypoint":["/run"]},"ProcessConfig":{"arguments":["hunter2"]}}"#;
        let shown = redact(given).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_is_no_inspect_is_not_shown() {
        for text in [
            "",
            "[]",
            "7",
            "{",
            r#"{"Config":[]}"#,
            r#"{"Config":{"Env":"A=b"}}"#,
        ] {
            assert!(redact(text).is_err(), "{text}");
        }
        assert_eq!(redact("{}").unwrap(), "{}");
        assert_eq!(
            redact(r#"{"Args":null,"Config":null}"#).unwrap(),
            r#"{"Args":null,"Config":null}"#
        );
    }
}

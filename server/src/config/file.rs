//! The TOML file: keys are the names of the flags, at the top level.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::{Table, Value};

use super::layers::Layers;
use super::problem::{Problem, Source};
use super::schema::{self, Setting, Shape};

/// Largest configuration file that is read, bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file into the layers.
pub(super) fn read(path: &Path, layers: &mut Layers) {
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => read_toml(&text, path, layers),
        Err(why) => layers.problem(Problem::at(format!("file {}", path.display()), why)),
    }
}

/// The text of a file of at most `limit` bytes.
///
/// # Errors
/// Says what is wrong, without the path.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot open it: {error}"))?;
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| format!("cannot read it: {error}"))?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > limit {
        return Err(format!("it has more than {limit} bytes"));
    }
    Ok(text)
}

fn read_toml(text: &str, path: &Path, layers: &mut Layers) {
    let source = Source::File(path.to_owned());
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            layers.problem(Problem::at(source.to_string(), syntax(text, &error)));
            return;
        }
    };
    for (key, value) in table {
        let Some(setting) = schema::find(&key).filter(|setting| setting.in_file()) else {
            let place = format!("{source} {key}");
            let why = match near(&key) {
                Some(setting) => {
                    layers.meant(setting.name);
                    format!("did you mean {}?", setting.name)
                }
                None => "allowed: the names of the flags, see docs/configuration.md".to_owned(),
            };
            let why = format!("there is no such key; {why}");
            layers.problem(Problem::at(place, why));
            continue;
        };
        match texts(setting, &value) {
            Ok(values) => layers.put(setting, source.clone(), values),
            Err(why) => {
                let shown = value.to_string();
                layers.problem(Problem::value(&source, setting, &shown, &why));
            }
        }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line} is no TOML: {}", error.message())
        }
        None => format!("it is no TOML: {}", error.message()),
    }
}

/// Keys that look like a wrong one: underscores, plural, or a missing part.
fn near(key: &str) -> Option<&'static Setting> {
    let plain = key.replace('_', "-");
    let singular = plain.strip_suffix('s').unwrap_or(&plain);
    schema::settings()
        .filter(|setting| setting.in_file())
        .find(|setting| setting.name == plain || setting.name == singular)
}

fn texts(setting: &Setting, value: &Value) -> Result<Vec<String>, String> {
    let items = match (setting.shape, value) {
        (Shape::List | Shape::Pairs, Value::Array(items)) => items.as_slice(),
        (Shape::Pairs, Value::Table(table)) => {
            let pair = |(key, value): (&String, &Value)| Ok(format!("{key}={}", text(value)?));
            return table.iter().map(pair).collect();
        }
        _ => std::slice::from_ref(value),
    };
    items.iter().map(text).collect()
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(format!("a {} is not expected here", value.type_str()))
        }
    }
}

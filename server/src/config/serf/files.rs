//! The JSON files of serf's agent.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::file::{FILE_BYTES_MAX, read_text};
use super::super::layers::Layers;
use super::super::problem::{Problem, Source};
use super::Given;
use super::table::{self, Kind, SerfOption};

/// Most files that a directory may hold.
const FILES_MAX: usize = 1_024;

/// Reads a file, or every `*.json` of a directory in the order of their names.
pub(super) fn read(path: &Path, given: &mut Vec<Given>, layers: &mut Layers) {
    if !path.is_dir() {
        read_one(path, given, layers);
        return;
    }
    match listed(path) {
        Ok(files) => files.iter().for_each(|file| read_one(file, given, layers)),
        Err(why) => layers.problem(Problem::at(format!("directory {}", path.display()), why)),
    }
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("cannot read it: {error}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| format!("cannot read it: {error}"))?
            .path();
        // As serf: no directories below it, and nothing else.
        if path.extension().is_some_and(|end| end == "json") && !path.is_dir() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(format!("it holds more than {FILES_MAX} files"));
        }
    }
    files.sort();
    Ok(files)
}

fn read_one(path: &Path, given: &mut Vec<Given>, layers: &mut Layers) {
    let place = || format!("file {}", path.display());
    let text = match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(why) => return layers.problem(Problem::at(place(), why)),
    };
    let object: Map<String, Value> = match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return layers.problem(Problem::at(place(), "it is no JSON object")),
        // Of an error in a file with a key in it only the place is told.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let why = format!("line {line} column {column} is no JSON");
            return layers.problem(Problem::at(place(), why));
        }
    };
    read_object("", &object, path, given, layers);
}

/// Reads the keys of an object; `above` is the key that it stands under, with a dot.
fn read_object(
    above: &str,
    object: &Map<String, Value>,
    path: &Path,
    given: &mut Vec<Given>,
    layers: &mut Layers,
) {
    for (key, value) in object {
        let key = format!("{above}{key}");
        let place = || format!("file {} {key}", path.display());
        if let (true, Value::Object(inner)) = (key.eq_ignore_ascii_case("mdns"), value) {
            read_object("mdns.", inner, path, given, layers);
            continue;
        }
        let Some(option) = table::of_key(&key) else {
            let why = "serf's agent has no such key; allowed: see docs/serf.md";
            layers.problem(Problem::at(place(), why));
            continue;
        };
        let source = Source::SerfFile(path.to_owned(), option.key.unwrap_or_default());
        match values(option, value) {
            Ok(values) => given.extend(values.into_iter().map(|value| Given {
                option,
                source: source.clone(),
                value,
            })),
            Err(why) => layers.problem(Problem::at(place(), why)),
        }
    }
}

/// The texts of a value of the right type.
fn values(option: &SerfOption, value: &Value) -> Result<Vec<String>, &'static str> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match (option.kind, value) {
        // Go's decoder leaves a setting as it is where the file says null.
        (_, Value::Null) => Ok(Vec::new()),
        // And an empty text is what serf takes for not given.
        (Kind::Text, Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        (Kind::Text, Value::String(text)) => Ok(vec![text.clone()]),
        (Kind::Text, _) => Err("a text is expected"),
        (Kind::Number, Value::Number(number)) => Ok(vec![number.to_string()]),
        (Kind::Number, _) => Err("a number is expected"),
        (Kind::Truth, Value::Bool(truth)) => Ok(vec![truth.to_string()]),
        (Kind::Truth, _) => Err("true or false is expected"),
        (Kind::Texts, Value::Array(items)) => {
            let items: Option<Vec<_>> = items.iter().map(text).collect();
            items.ok_or("a list of texts is expected")
        }
        (Kind::Texts, _) => Err("a list of texts is expected"),
        (Kind::Tags, Value::Object(tags)) => {
            let tag = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
            let tags: Option<Vec<_>> = tags.iter().map(tag).collect();
            tags.ok_or("an object of texts is expected")
        }
        (Kind::Tags, _) => Err("an object of texts is expected"),
    }
}

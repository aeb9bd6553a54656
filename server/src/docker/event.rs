//! Events of the engine, as far as they change a container.

use std::borrow::Cow;

use serde::Deserialize;

use super::names::{ERROR_CHARS_MAX, cut};

/// What an event means for the view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This container may look different now; full id.
    Changed(String),
    /// It is gone; full id.
    Gone(String),
    /// Nothing that is shown changed.
    Nothing,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(rename = "Type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(rename = "Action", borrow, default)]
    action: Cow<'a, str>,
    #[serde(rename = "Actor", borrow, default)]
    actor: Actor<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Actor<'a> {
    #[serde(rename = "ID", borrow, default)]
    id: Cow<'a, str>,
    #[serde(rename = "Attributes", borrow, default)]
    attributes: Option<Attributes<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes<'a> {
    #[serde(borrow, default)]
    container: Cow<'a, str>,
}

/// What happens in a container, or is asked about it, and leaves `inspect` as it was. A
/// HEALTHCHECK alone makes three of these each time. What is not known here is looked at.
const NO_CHANGE: [&str; 14] = [
    "archive-path",
    "attach",
    "commit",
    "copy",
    "detach",
    "exec_create",
    "exec_detach",
    "exec_die",
    "exec_start",
    "export",
    "extract-to-dir",
    // `die` follows if it dies of it.
    "kill",
    "resize",
    "top",
];

impl News {
    /// Reads one event. Kinds and actions that are not known are no mistakes.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        // It quotes texts of the line.
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|error| cut(&error.to_string(), ERROR_CHARS_MAX).to_owned())?;
        let action = event.action.as_ref();
        let action = action.split_once(':').map_or(action, |(action, _)| action);
        let news = match (event.kind.as_ref(), action) {
            ("container", "destroy") => Self::Gone(id(&event.actor.id)?),
            ("container", action) if NO_CHANGE.contains(&action) => Self::Nothing,
            ("container", _) => Self::Changed(id(&event.actor.id)?),
            ("network", "connect" | "disconnect") => {
                match event
                    .actor
                    .attributes
                    .unwrap_or_default()
                    .container
                    .as_ref()
                {
                    // An endpoint of something else.
                    "" => Self::Nothing,
                    container => Self::Changed(id(container)?),
                }
            }
            _other => Self::Nothing,
        };
        Ok(news)
    }
}

/// A full id.
fn id(text: &str) -> Result<String, String> {
    match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err(format!("{:?} is no id of a container", cut(text, 80))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn read(kind: &str, action: &str) -> Result<News, String> {
        let line = format!(
            r#"{{"status":"x","Type":"{kind}","Action":"{action}","Actor":{{"ID":"{ID}",
            "Attributes":{{"container":"{ID}","name":"a\"b"}}}},"time":1}}"#
        );
        News::read(line.as_bytes())
    }

    #[test]
    fn what_changes_a_container() {
        let changed = Ok(News::Changed(ID.to_owned()));
        for action in [
            "start",
            "die",
            "rename",
            "health_status: healthy",
            "pause",
            "new",
        ] {
            assert_eq!(read("container", action), changed, "{action}");
        }
        assert_eq!(read("container", "destroy"), Ok(News::Gone(ID.to_owned())));
        for action in ["exec_create: sh -c x", "exec_die", "top", "kill"] {
            assert_eq!(read("container", action), Ok(News::Nothing), "{action}");
        }
        assert_eq!(read("network", "connect"), changed);
        assert_eq!(read("network", "disconnect"), changed);
        assert_eq!(read("network", "create"), Ok(News::Nothing));
        for kind in ["", "wizard", "image", "volume"] {
            assert_eq!(read(kind, "start"), Ok(News::Nothing), "{kind}");
        }
        assert_eq!(News::read(b"{}"), Ok(News::Nothing));
    }

    #[test]
    fn what_is_no_event() {
        for line in [
            "",
            "x",
            r#"{"Type":1}"#,
            r#"{"Type":"container","Action":"start"}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"short"}}"#,
        ] {
            assert!(News::read(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = News::read(&line);
        }
    }
}

//! Keys of the cluster: the four commands of `serf keys`.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::BoxFuture;
use serde::Serialize;
use zeroize::Zeroizing;

use super::limits::KEY_TEXT_BYTES_MAX;
use super::{Shared, record, request};

/// The text of a key, or its id. Its text is never shown.
pub struct KeyText(Zeroizing<String>);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText")
    }
}

impl KeyText {
    /// Base64 of the key, or its id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is done to the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange {
    /// All members take it in.
    Install,
    /// All members seal with it.
    Use,
    /// All members forget it.
    Remove,
}

/// How it went, member by member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysTold {
    /// What a member said, if not that all is well.
    pub failures: BTreeMap<String, String>,
    /// Members that hold a key, by its id or text; of a list only.
    pub keys: BTreeMap<String, u64>,
    /// Members that were asked.
    pub asked: u64,
    /// Members that answered.
    pub answered: u64,
}

/// The way to the keys of all members.
pub trait ClusterKeys: fmt::Debug + Send + Sync + 'static {
    /// Who holds which key: by id, or `raw` by its text.
    fn list(&self, raw: bool) -> BoxFuture<'_, Result<KeysTold, String>>;

    /// Changes the keys of all members. The error is one that no member was asked for.
    fn change(&self, change: KeyChange, key: KeyText) -> BoxFuture<'_, Result<KeysTold, String>>;
}

/// Answer to all four commands.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    keys: Option<BTreeMap<String, u64>>,
    messages: BTreeMap<String, String>,
    num_err: u64,
    num_nodes: u64,
    num_resp: u64,
}

/// What is said where there is no way to the keys.
const NO_WAY: &str = "keys are not changed over this connection";

/// The answer to `list-keys`.
pub(crate) async fn list(shared: &Shared, seq: u64) -> Vec<u8> {
    let told = match &shared.keys {
        Some(keys) => keys.list(shared.config.show_keys).await,
        None => Err(NO_WAY.to_owned()),
    };
    answer(seq, told, true)
}

/// The answer to one of the others.
pub(crate) async fn change(
    shared: &Shared,
    change: KeyChange,
    seq: u64,
    request: request::Key,
) -> Vec<u8> {
    if request.key.0.len() > KEY_TEXT_BYTES_MAX {
        return answer(seq, Err("the key is too long".to_owned()), false);
    }
    let key = KeyText(Zeroizing::new(
        String::from_utf8_lossy(&request.key.0).into_owned(),
    ));
    let told = match &shared.keys {
        Some(keys) => keys.change(change, key).await,
        None => Err(NO_WAY.to_owned()),
    };
    answer(seq, told, false)
}

fn answer(seq: u64, told: Result<KeysTold, String>, listed: bool) -> Vec<u8> {
    let (error, told) = match told {
        Ok(told) if told.failures.is_empty() && told.answered == told.asked => {
            (String::new(), told)
        }
        Ok(told) => {
            let (failed, asked) = (told.failures.len(), told.asked);
            let error = match failed {
                0 => format!("{}/{asked} nodes reported success", told.answered),
                failed => format!("{failed}/{asked} nodes reported failure"),
            };
            (error, told)
        }
        Err(error) => (error, KeysTold::default()),
    };
    let answer = Answer {
        keys: listed.then_some(told.keys),
        num_err: told.failures.len() as u64,
        messages: told.failures,
        num_nodes: told.asked,
        num_resp: told.answered,
    };
    record::with_body(seq, &error, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_failed_is_that_of_serf_to_the_byte() {
        let failure = "Keyring is empty (encryption not enabled)".to_owned();
        let told = KeysTold {
            failures: [("alpha".to_owned(), failure)].into(),
            asked: 1,
            answered: 1,
            ..KeysTold::default()
        };
        let answers = [record::head(1, ""), answer(2, Ok(told), true)].concat();
        let recorded = include_bytes!("../../testdata/serf_rpc/keys-list.answer");
        assert_eq!(answers, recorded);
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let key = KeyText::new("c2VjcmV0");
        assert_eq!(
            (format!("{key:?}").as_str(), key.as_str()),
            ("KeyText", "c2VjcmV0")
        );
    }
}

//! Resume tokens of the watches of state: epoch, revision and filter as text.
//! Opaque to callers; they protect nothing and are checked for form only.

use sha2::{Digest as _, Sha256};

use super::super::limits::TOKEN_BYTES_MAX;

/// Version of the form.
const VERSION: &str = "m1";

/// Where a watch stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) epoch: String,
    pub(crate) revision: u64,
    pub(crate) filter: u64,
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no resume token")]
pub(crate) struct NoToken;

impl Token {
    /// As text.
    pub(crate) fn encode(epoch: &str, revision: u64, filter: u64) -> String {
        format!("{VERSION}.{epoch}.{revision:x}.{filter:016x}")
    }

    /// From text.
    ///
    /// # Errors
    /// [`NoToken`] for anything that [`Token::encode`] cannot have made.
    pub(crate) fn decode(text: &str) -> Result<Self, NoToken> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(NoToken);
        }
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NoToken);
        let (version, epoch, revision, filter) = (part()?, part()?, part()?, part()?);
        let hex = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let formed = version == VERSION && !epoch.is_empty() && hex(epoch);
        if !formed || filter.len() != 16 || parts.next().is_some() {
            return Err(NoToken);
        }
        let number = |text: &str| match hex(text) {
            true => u64::from_str_radix(text, 16).map_err(|_error| NoToken),
            false => Err(NoToken),
        };
        Ok(Self {
            epoch: epoch.to_owned(),
            revision: number(revision)?,
            filter: number(filter)?,
        })
    }
}

/// Short name of a filter in tokens.
pub(crate) fn filter_hash(key: &[u8]) -> u64 {
    let digest = Sha256::digest(key);
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_come_back_and_garbage_does_not() {
        let text = Token::encode("00ff", 0x1234, 7);
        let token = Token::decode(&text).unwrap();
        assert_eq!(
            (token.epoch.as_str(), token.revision, token.filter),
            ("00ff", 0x1234, 7)
        );
        let longest = Token::encode(&"f".repeat(32), u64::MAX, u64::MAX);
        assert!(Token::decode(&longest).is_ok() && longest.len() <= TOKEN_BYTES_MAX);
        for garbage in [
            "m1.00ff.1234",
            "m2.00ff.1.0000000000000007",
            "m1.00ff.1.0000000000000007.",
            "m1.00FF.1.0000000000000007",
            "m1.00ff.+1.0000000000000007",
            "m1.00ff..0000000000000007",
            "m1.00ff.1.7",
            "m1..1.0000000000000007",
            "\0",
            &"m1.".repeat(200),
        ] {
            assert_eq!(Token::decode(garbage), Err(NoToken), "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(text in "\\PC{0,300}") {
            if let Ok(token) = Token::decode(&text) {
                let again = Token::encode(&token.epoch, token.revision, token.filter);
                prop_assert_eq!(Token::decode(&again), Ok(token));
            }
        }
    }
}

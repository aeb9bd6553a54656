//! What one host hands to the next by copy and paste: the cluster key as text,
//! and the one-line token of `muster token` (cluster, key, addresses to join).
//!
//! ```text
//! muster1_<base64url without padding of: Wire message, then CRC-32 (4 bytes, big endian)>
//! ```
//! The checksum finds a paste that was cut or altered; it authenticates nothing.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

/// What every token of this format starts with.
pub const TOKEN_PREFIX: &str = "muster1_";

/// Longest token that is read, in bytes: 64 seeds of 255 bytes fit.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// Most addresses to join in one token, the limit of a `Join` call.
pub const TOKEN_SEEDS_MAX: usize = 64;

/// Key lengths that the cluster takes, in bytes: those of serf.
pub const KEY_LENGTHS: [usize; 3] = [16, 24, 32];

const CHECKSUM_BYTES: usize = 4;

/// Standard alphabet; padding may be missing, as many terminals lose it on a double click.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A cluster key: 16, 24 or 32 bytes. Wiped from memory on drop, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

/// All that a new host needs to enter a cluster. Wiped on drop, `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the cluster.
    pub cluster: String,
    /// Its key.
    pub key: KeyBytes,
    /// Addresses to join, `IP:PORT`, `NAME` or `NAME:PORT`; may be empty.
    pub seeds: Vec<String>,
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Nothing was given.
    #[error("the key is empty; `muster keygen` prints one")]
    Empty,
    /// It is a token.
    #[error("this is a token, not a key: give it with --token-file or MUSTER_TOKEN")]
    IsToken,
    /// Not base64.
    #[error("the key is not base64 ({0}); `muster keygen` prints one")]
    NotBase64(String),
    /// Wrong length.
    #[error("the key has {bytes} bytes; 16, 24 or 32 are allowed")]
    Length {
        /// Bytes given.
        bytes: usize,
    },
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing was given.
    #[error("the token is empty; `muster token` prints one")]
    Empty,
    /// The prefix is missing.
    #[error("a token starts with {TOKEN_PREFIX}; `muster token` prints one")]
    Prefix,
    /// A later format.
    #[error("this token is of a newer format ({0}); update this program")]
    Newer(String),
    /// Longer than any token.
    #[error("the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are read")]
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// Characters were lost or altered.
    #[error("the token is damaged ({0}): copy the whole line again")]
    Damaged(String),
    /// Whole, but something in it is not allowed.
    #[error("the token is not usable: {0}")]
    Content(String),
}

/// The protobuf message inside a token.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Wire {
    #[prost(string, tag = "1")]
    cluster: String,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(string, repeated, tag = "3")]
    seeds: Vec<String>,
}

impl KeyBytes {
    /// Takes raw key bytes.
    ///
    /// # Errors
    /// [`KeyTextError::Length`] unless there are 16, 24 or 32 of them.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, KeyTextError> {
        if KEY_LENGTHS.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(KeyTextError::Length { bytes: bytes.len() })
        }
    }

    /// Reads a key as `muster keygen` and `serf keygen` print it: base64, one line.
    /// White space around it is ignored.
    ///
    /// # Errors
    /// What is wrong with the text; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyTextError::Empty);
        }
        if text.starts_with(TOKEN_PREFIX) {
            return Err(KeyTextError::IsToken);
        }
        // Over-long input is refused before it is decoded.
        if text.len() > 4 * 64 {
            return Err(KeyTextError::Length {
                bytes: text.len() / 4 * 3,
            });
        }
        let bytes = KEY_BASE64
            .decode(text)
            .map_err(|error| KeyTextError::NotBase64(redacted(&error)))?;
        Self::new(Zeroizing::new(bytes))
    }

    /// The key as text: standard base64 with padding, as `serf keygen` prints it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBytes({} bytes, redacted)", self.0.len())
    }
}

impl Token {
    /// The token as one line without a newline.
    ///
    /// # Errors
    /// [`TokenError::Content`] when [`Token::decode`] would refuse it.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenError> {
        self.check()?;
        let mut wire = Wire {
            cluster: self.cluster.clone(),
            key: self.key.as_bytes().to_vec(),
            seeds: self.seeds.clone(),
        };
        // Reserved at once: growing would leave copies of the key behind.
        let mut body = Zeroizing::new(Vec::with_capacity(wire.encoded_len() + CHECKSUM_BYTES));
        body.extend_from_slice(&Zeroizing::new(wire.encode_to_vec()));
        wire.key.zeroize();
        let checksum = crc32(&body);
        body.extend_from_slice(&checksum.to_be_bytes());
        let mut line = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + body.len() * 2));
        line.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(body.as_slice(), &mut line);
        Ok(line)
    }

    /// Reads a token. White space around it is ignored, and so are line breaks
    /// that a terminal or a mail put into it.
    ///
    /// # Errors
    /// What is wrong; the text itself is never repeated.
    pub fn decode(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: text.len() });
        }
        let mut line = Zeroizing::new(String::with_capacity(text.len()));
        line.extend(text.chars().filter(|c| !c.is_whitespace()));
        let body = strip_prefix(&line)?;
        let body = URL_SAFE_NO_PAD
            .decode(body.trim_end_matches('='))
            .map(Zeroizing::new)
            .map_err(|error| TokenError::Damaged(redacted(&error)))?;
        let Some((message, checksum)) = body.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(TokenError::Damaged("too short".into()));
        };
        if crc32(message) != u32::from_be_bytes(*checksum) {
            return Err(TokenError::Damaged("checksum mismatch".into()));
        }
        let wire =
            Wire::decode(message).map_err(|error| TokenError::Content(format!("{error}")))?;
        let token = Self {
            cluster: wire.cluster,
            key: KeyBytes::new(Zeroizing::new(wire.key))
                .map_err(|error| TokenError::Content(error.to_string()))?,
            seeds: wire.seeds,
        };
        token.check()?;
        Ok(token)
    }

    fn check(&self) -> Result<(), TokenError> {
        if self.cluster.is_empty() {
            return Err(TokenError::Content("it names no cluster".into()));
        }
        if self.seeds.len() > TOKEN_SEEDS_MAX {
            return Err(TokenError::Content(format!(
                "{} addresses; at most {TOKEN_SEEDS_MAX} are allowed",
                self.seeds.len()
            )));
        }
        let bad = |seed: &&String| {
            seed.is_empty() || seed.len() > 255 || seed.chars().any(|c| c.is_control())
        };
        if let Some(seed) = self.seeds.iter().find(bad) {
            return Err(TokenError::Content(format!(
                "{:?} is no address",
                seed.chars().take(64).collect::<String>()
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("cluster", &self.cluster)
            .field("key", &self.key)
            .field("seeds", &self.seeds)
            .finish()
    }
}

fn strip_prefix(text: &str) -> Result<&str, TokenError> {
    if text.is_empty() {
        return Err(TokenError::Empty);
    }
    if let Some(body) = text.strip_prefix(TOKEN_PREFIX) {
        return Ok(body);
    }
    let newer = text.split_once('_').filter(|(prefix, _)| {
        prefix.strip_prefix("muster").is_some_and(|digits| {
            (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        })
    });
    match newer {
        Some((prefix, _)) => Err(TokenError::Newer(prefix.to_owned())),
        None => Err(TokenError::Prefix),
    }
}

/// The decoder's own text names the offending byte and its place: a character of a secret.
fn redacted(error: &base64::DecodeError) -> String {
    match error {
        base64::DecodeError::InvalidByte(at, _) => format!("character {} is not allowed", at + 1),
        base64::DecodeError::InvalidLength(_) => "characters are missing".to_owned(),
        base64::DecodeError::InvalidLastSymbol { .. } => "the last character is wrong".to_owned(),
        base64::DecodeError::InvalidPadding => "the padding is wrong".to_owned(),
    }
}

/// CRC-32 as in zlib (reflected 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ (0xEDB8_8320 & mask);
        }
    }
    !crc
}

#[cfg(test)]
mod tests;

//! Keys and tokens: where they come from and what they must look like.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muster_proto::token::{KeyBytes, Token};
use zeroize::Zeroizing;

use super::file::read_text;
use super::layers::Layers;
use super::values;
use crate::keys::KEYS_MAX;
use crate::keys::file as keyring;

/// Largest key or token file that is read, bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What ends the need for a key.
const KEY_SETTINGS: [&str; 5] = [
    "key-file",
    "keyring-file",
    "token",
    "token-file",
    "insecure-plaintext",
];

/// What somebody has to add to a command line of serf's agent.
const NO_KEY_AS_SERF: &str = "no key: members talk encrypted here. Add one thing, the same on all of them: \
    -encrypt KEY (`serf keygen` makes one) or -encrypt @FILE, -keyring-file FILE, or the line of \
    `muster token` from a member as MUSTER_TOKEN. MUSTER_INSECURE_PLAINTEXT=true goes on without, on \
    private addresses only";

/// How peers are talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Under keys: the first one seals, all of them open.
    Sealed(Vec<KeyBytes>),
    /// Without encryption, by explicit wish.
    Plaintext,
}

/// What the settings say about keys.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) security: Security,
    pub(super) token: Option<Token>,
    pub(super) keyring_file: Option<PathBuf>,
    /// The keys come from that file.
    pub(super) from_file: bool,
}

/// Reads the keys; without any and without the wish for none, that is the mistake. A
/// keyring file that is there goes before the key file and the token's key: those are
/// what it began with.
pub(super) fn read(layers: &mut Layers, plaintext: bool) -> Secrets {
    let key_file = layers.optional("key-file", values::path);
    let keyring_file = layers.optional("keyring-file", values::path);
    let wanted = layers.entry("key-file").is_some();
    let keys = key_file.and_then(|path| read_keys(layers, &path));
    let has_token = layers.entry("token").is_some() || layers.entry("token-file").is_some();
    let token = read_token(layers);
    let has_ring = keyring_file.is_some();
    match (wanted || has_ring, has_token, plaintext) {
        (false, false, false) if KEY_SETTINGS.iter().any(|name| layers.is_meant(name)) => {}
        (false, false, false) if layers.is_of_serf() => {
            layers.problem(super::Problem::at("", NO_KEY_AS_SERF));
        }
        (false, false, false) => layers.problem(super::Problem::at(
            "",
            "no key: make one with `muster keygen` and give it with --key-file, or paste the line \
             of `muster token` from a member into --token-file or MUSTER_TOKEN, or choose \
             --insecure-plaintext",
        )),
        (true, _, true) | (_, true, true) => layers.refuse(
            "insecure-plaintext",
            "a key or token was given as well; to turn encryption on step by step see --encryption",
        ),
        (true, true, false) if wanted => layers.refuse("key-file", "a token was given as well"),
        (true, _, false) | (false, true, false) | (false, false, true) => {}
    }
    let ring = keyring_file.as_deref().and_then(|path| {
        let begins = wanted || has_token;
        read_ring(layers, path, begins)
    });
    let from_file = ring.is_some();
    let security = match (ring.or(keys), &token) {
        (Some(keys), _) => Security::Sealed(keys),
        (None, Some(token)) => Security::Sealed(vec![token.key.clone()]),
        // Without a key a problem was noted above, unless this is the wish.
        (None, None) => Security::Plaintext,
    };
    Secrets {
        security,
        token,
        keyring_file,
        from_file,
    }
}

/// The keys of a keyring file. It may be missing if there is a key to begin with.
fn read_ring(layers: &mut Layers, path: &Path, begins: bool) -> Option<Vec<KeyBytes>> {
    match keyring::read(path) {
        Ok(keys) => Some(keys),
        Err(error) if error.is_missing() && begins => None,
        Err(error) if error.is_missing() => {
            let why = "there is no such file: give the first key with --key-file or a token";
            layers.refuse("keyring-file", why);
            None
        }
        Err(error) => {
            layers.refuse("keyring-file", &error.to_string());
            None
        }
    }
}

fn read_keys(layers: &mut Layers, path: &Path) -> Option<Vec<KeyBytes>> {
    let text = secret(layers, "key-file", path)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut keys: Vec<KeyBytes> = Vec::new();
    for (number, line) in lines {
        match KeyBytes::parse(line) {
            Ok(key) if keys.contains(&key) => {}
            Ok(key) => keys.push(key),
            Err(error) => layers.refuse("key-file", &format!("line {}: {error}", number + 1)),
        }
    }
    if keys.is_empty() {
        layers.refuse("key-file", "it holds no key");
        return None;
    }
    if keys.len() > KEYS_MAX {
        layers.refuse(
            "key-file",
            &format!(
                "it holds {} keys, at most {KEYS_MAX} are allowed",
                keys.len()
            ),
        );
    }
    Some(keys)
}

/// The token of the stronger source, if both are given.
fn read_token(layers: &mut Layers) -> Option<Token> {
    let inline = layers.entry("token").map(|entry| entry.source.clone());
    let file = layers.entry("token-file").map(|entry| entry.source.clone());
    let from_file = match (&inline, &file) {
        (Some(inline), Some(file)) if inline == file => {
            layers.refuse("token-file", "MUSTER_TOKEN was given as well");
            return None;
        }
        (inline, file) => file > inline,
    };
    let (name, text) = if from_file {
        let path: PathBuf = layers.optional("token-file", values::path)?;
        ("token-file", secret(layers, "token-file", &path)?)
    } else {
        ("token", Zeroizing::new(layers.text("token")?.to_owned()))
    };
    match Token::decode(text.trim()) {
        Ok(token) => Some(token),
        Err(error) => {
            layers.refuse(name, &error.to_string());
            None
        }
    }
}

fn secret(layers: &mut Layers, name: &str, path: &Path) -> Option<Zeroizing<String>> {
    let text = match read_text(path, SECRET_BYTES_MAX) {
        Ok(text) => Zeroizing::new(text),
        Err(why) => {
            layers.refuse(name, &why);
            return None;
        }
    };
    // Only a warning: volumes of container engines often cannot do better.
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        layers.warn(format!(
            "{name} {} can be read by other users (mode {:04o}): chmod 600 it",
            path.display(),
            mode & 0o777
        ));
    }
    Some(text)
}

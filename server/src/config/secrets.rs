//! Keys and tokens: where they come from and what they must look like.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muster_proto::token::{KeyBytes, Token};
use zeroize::Zeroizing;

use super::file::read_text;
use super::layers::Layers;
use super::values;

/// Largest key or token file that is read, bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Most keys in a key file: a ring is rotated, not collected.
pub const KEYS_MAX: usize = 16;

/// What ends the need for a key.
const KEY_SETTINGS: [&str; 4] = ["key-file", "token", "token-file", "insecure-plaintext"];

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
}

/// Reads the keys; without any and without the wish for none, that is the mistake.
pub(super) fn read(layers: &mut Layers, plaintext: bool) -> Secrets {
    let key_file = layers.optional("key-file", values::path);
    let wanted = layers.entry("key-file").is_some();
    let keys = key_file.and_then(|path| read_keys(layers, &path));
    let has_token = layers.entry("token").is_some() || layers.entry("token-file").is_some();
    let token = read_token(layers);
    match (wanted, has_token, plaintext) {
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
        (true, true, _) => layers.refuse("key-file", "a token was given as well"),
        (true, _, true) | (_, true, true) => {
            layers.refuse("insecure-plaintext", "a key or token was given as well");
        }
        (true, false, false) | (false, true, false) | (false, false, true) => {}
    }
    let security = match (keys, &token) {
        (Some(keys), _) => Security::Sealed(keys),
        (None, Some(token)) => Security::Sealed(vec![token.key.clone()]),
        // Without a key a problem was noted above, unless this is the wish.
        (None, None) => Security::Plaintext,
    };
    Secrets { security, token }
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

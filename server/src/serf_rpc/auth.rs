//! The one token of serf's RPC.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::limits::TOKEN_BYTES_MAX;

/// A token to compare with; its text is not kept.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A token as it is.
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self {
            digest: Sha256::digest(token).into(),
        }
    }

    /// The one line of a file that nobody but its owner can read or write.
    ///
    /// # Errors
    /// Why the file will not do, without anything of what it holds.
    pub fn read(path: &Path) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let mut file = File::open(path).map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err(format!("{} is no file", path.display()));
        }
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "{} is open to other users (mode {mode:04o}): chmod 600 it",
                path.display()
            ));
        }
        // One more than allowed, so that too much shows.
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX + 3));
        let most = TOKEN_BYTES_MAX as u64 + 3;
        file.by_ref()
            .take(most)
            .read_to_string(&mut text)
            .map_err(cannot)?;
        let token = text.trim_end_matches(['\n', '\r']);
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || token.contains(['\n', '\r', '\0']) {
            return Err(format!(
                "{} must hold one line of 1 to {TOKEN_BYTES_MAX} bytes",
                path.display()
            ));
        }
        Ok(Self::new(token.as_bytes()))
    }

    /// Whether this is the token. Takes the same time whatever is given: the digests
    /// are compared as a whole, and say nothing of the texts where they differ.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let pairs = self.digest.iter().zip(given);
        let differing = pairs.fold(0, |sum, (own, theirs)| sum | (own ^ theirs));
        std::hint::black_box(differing) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_token_is_the_line_without_its_end() {
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let token = Token::read(file(text, 0o600).path()).unwrap();
            assert!(token.is(b"s3cret"), "{text:?}");
            assert!(!token.is(b"s3cret\n") && !token.is(b"") && !token.is(b"s3cre"));
        }
        assert!(
            Token::read(file(" a b ", 0o400).path())
                .unwrap()
                .is(b" a b ")
        );
    }

    #[test]
    fn files_that_will_not_do_are_refused_without_their_text() {
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        for text in ["", "\n", "two\nlines", "nul\0", long.as_str()] {
            let why = Token::read(file(text, 0o600).path()).unwrap_err();
            assert!(why.ends_with("one line of 1 to 1024 bytes"), "{why}");
        }
        for mode in [0o640, 0o604, 0o660] {
            let why = Token::read(file("secret", mode).path()).unwrap_err();
            assert!(
                why.contains("chmod 600") && !why.contains("secret"),
                "{why}"
            );
        }
        let gone = Token::read(Path::new("/nonexistent/token")).unwrap_err();
        assert!(
            gone.starts_with("cannot read /nonexistent/token: "),
            "{gone}"
        );
        let folder = Token::read(Path::new("/")).unwrap_err();
        assert_eq!(folder, "/ is no file");
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", Token::new(b"s3cret")), "Token");
    }
}

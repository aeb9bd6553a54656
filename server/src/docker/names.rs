//! Names and ids that go into paths of the engine's API.

use super::error::DockerError;

/// Longest name, bytes; Docker itself has no bound.
const NAME_BYTES_MAX: usize = 256;

/// Longest reference to an image, bytes: 255 of a name, and a digest.
const IMAGE_BYTES_MAX: usize = 512;

/// Whether this can be the id or name of a container, volume or exec: then it needs no
/// encoding and cannot lead to another path.
pub(super) fn encoded(name: &str) -> Result<&str, DockerError> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match first && name.len() <= NAME_BYTES_MAX && name.chars().all(sound) {
        true => Ok(name),
        false => Err(DockerError::invalid(format!(
            "{:?} is neither a name nor an id",
            cut(name, 64)
        ))),
    }
}

/// Whether this can be a reference to an image.
pub(super) fn image(reference: &str) -> Result<&str, DockerError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-/:@".contains(c);
    let first = reference.starts_with(|c: char| c.is_ascii_alphanumeric());
    let step = |part: &str| part.is_empty() || part == "." || part == "..";
    let whole = !reference.split('/').any(step) && reference.len() <= IMAGE_BYTES_MAX;
    match first && whole && reference.chars().all(sound) {
        true => Ok(reference),
        false => Err(DockerError::invalid(format!(
            "{:?} is no reference to an image",
            cut(reference, 64)
        ))),
    }
}

/// Characters that are kept of an error about a text of others.
pub(super) const ERROR_CHARS_MAX: usize = 200;

/// The beginning of a text of others, for an error. A precision does nothing to `{:?}`.
pub(super) fn cut(text: &str, chars: usize) -> &str {
    let end = text.char_indices().nth(chars);
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_short_whatever_the_text() {
        let long = "ä".repeat(100_000);
        for error in [encoded(&long).unwrap_err(), image(&long).unwrap_err()] {
            assert!(error.to_string().len() < 200);
        }
        assert_eq!((cut("äöü", 2), cut("äö", 2), cut("", 2)), ("äö", "äö", ""));
    }

    #[test]
    fn what_fits_into_a_path() {
        for name in ["web", "/web", "0a1b", "a_b.c-d"] {
            assert_eq!(encoded(name).unwrap(), name.trim_start_matches('/'));
        }
        for name in [
            "",
            "/",
            "..",
            "a/b",
            "a?b",
            "a%2fb",
            "-a",
            "ä",
            &"a".repeat(257),
        ] {
            assert!(encoded(name).is_err(), "{name:?}");
        }
        for reference in ["busybox", "host:5000/a/b:1.2@sha256:00", "a/b"] {
            assert_eq!(image(reference).unwrap(), reference);
        }
        for reference in ["", "/a", "a//b", "a/../b", "a b", "a?b", "a/"] {
            assert!(image(reference).is_err(), "{reference:?}");
        }
    }
}

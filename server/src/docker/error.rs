//! What goes wrong between us and the engine.

use std::error::Error;
use std::io;
use std::time::Duration;

/// Longest message of the engine that is kept, bytes; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Why the engine did not do what it was asked. Names the request by method and path;
/// nothing of what was sent is in it.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// There is no engine by wish.
    #[error("Docker is off: --docker off")]
    Off,
    /// Nobody listens.
    #[error("cannot reach the Docker engine at {host}")]
    Unreachable {
        /// Where it should be.
        host: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{request}: no answer within {}", seconds(*.after))]
    Timeout {
        /// Method and path.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The engine says no.
    #[error("{request}: {status}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// Status of HTTP.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// More than we are ready to hold.
    #[error("{request}: the answer has more than {max} bytes")]
    TooLarge {
        /// Method and path.
        request: String,
        /// The bound.
        max: usize,
    },
    /// Not what the engine's documentation promises.
    #[error("{request}: the answer is not as expected: {why}")]
    Malformed {
        /// Method and path.
        request: String,
        /// What is wrong.
        why: String,
    },
    /// The connection ended too early, or what came was no HTTP.
    #[error("{request}: the connection broke")]
    Broken {
        /// Method and path.
        request: String,
        /// How.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What we were asked to send cannot be sent.
    #[error("{what}")]
    Invalid {
        /// A sentence.
        what: String,
    },
}

impl DockerError {
    /// Status of HTTP, if the engine answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Off
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Broken { .. }
            | Self::Invalid { .. } => None,
        }
    }

    /// Whether there is no such container, image or volume.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether it collides with what is there: a name in use, a container that runs.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether the engine is away, so that the same request may work later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Broken { .. }
        )
    }

    /// With its causes, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    pub(super) fn refused(request: &str, status: u16, message: &str) -> Self {
        Self::Refused {
            request: request.to_owned(),
            status,
            message: one_line(message),
        }
    }

    pub(super) fn malformed(request: &str, why: impl ToString) -> Self {
        Self::Malformed {
            request: request.to_owned(),
            why: one_line(&why.to_string()),
        }
    }

    pub(super) fn broken(request: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken {
            request: request.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }
}

/// Text of others for a line of a log: bounded, without control characters.
fn one_line(text: &str) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= MESSAGE_BYTES_MAX;
    let head: String = (text.char_indices().take_while(fits))
        .map(|(_, c)| if c.is_control() { ' ' } else { c })
        .collect();
    let line = head.trim().to_owned();
    match line.is_empty() {
        true => "no message".to_owned(),
        false => line,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_others_are_bounded_lines() {
        let error = DockerError::refused("GET /x", 404, "No such\ncontainer: \u{1b}[31mx\n");
        assert_eq!(error.to_string(), "GET /x: 404: No such container:  [31mx");
        assert!(error.is_missing() && !error.is_conflict() && !error.is_away());
        let error = DockerError::refused("GET /x", 500, &"ä".repeat(5_000));
        assert!(error.to_string().len() < MESSAGE_BYTES_MAX + 20);
        let error = DockerError::refused("GET /x", 500, "");
        assert_eq!(error.to_string(), "GET /x: 500: no message");
    }

    #[test]
    fn a_chain_has_every_cause() {
        let error = DockerError::Unreachable {
            host: "unix:///x".to_owned(),
            source: io::Error::other("gone"),
        };
        assert_eq!(
            error.chain(),
            "cannot reach the Docker engine at unix:///x: gone"
        );
        assert!(error.is_away());
    }
}

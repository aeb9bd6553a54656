//! How a command fails: the one place where errors become exit codes.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::socket::SocketError;

pub(super) const OK: u8 = 0;
pub(super) const REFUSED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const EMPTY: u8 = 3;
pub(super) const UNREACHABLE: u8 = 4;
pub(super) const DEADLINE: u8 = 5;

/// An exit code and what to say; an empty text says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self {
            code: REFUSED,
            text: text.into(),
        }
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            text: text.into(),
        }
    }

    pub(super) fn empty(text: impl Into<String>) -> Self {
        Self {
            code: EMPTY,
            text: text.into(),
        }
    }

    pub(super) fn deadline(limit: Duration) -> Self {
        Self {
            code: DEADLINE,
            text: format!("no answer within {limit:?}"),
        }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::refused(format!("cannot {what} {}: {error}", path.display()))
    }

    /// Prints the text and gives the code.
    pub(super) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            use io::Write as _;
            // Nowhere left to report a failure to print.
            let text = super::text::escape(&self.text);
            let _unprintable = writeln!(io::stderr(), "muster: {text}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Socket(SocketError::Syntax { .. } | SocketError::TooLong { .. }) => USAGE,
            Error::Socket(SocketError::Connect { .. })
            | Error::Unreachable { .. }
            | Error::Disconnected { .. }
            | Error::Ended { .. }
            | Error::Silent { .. } => UNREACHABLE,
            Error::Refused { code, .. } if *code == Code::NotFound => EMPTY,
            // Only the daemon can tell a bad regular expression or address.
            Error::Refused { code, .. } if *code == Code::InvalidArgument => USAGE,
            Error::Refused { code, .. } if *code == Code::DeadlineExceeded => DEADLINE,
            Error::Refused { .. } | Error::Protocol { .. } => REFUSED,
        };
        Self {
            code,
            text: error.to_string(),
        }
    }
}

impl From<io::Error> for Failure {
    /// A failed print. Whoever closed the pipe has seen enough: that is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self {
                code: OK,
                text: String::new(),
            }
        } else {
            Self::refused(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    #[test]
    fn codes_are_those_of_the_help_text() {
        let code = |error| Failure::from(error).code;
        let of = |code| Error::of_call("Join", Status::new(code, "x"));
        assert_eq!(code(of(Code::Unavailable)), REFUSED);
        assert_eq!(code(of(Code::InvalidArgument)), USAGE);
        assert_eq!(code(of(Code::PermissionDenied)), REFUSED);
        assert_eq!(code(of(Code::NotFound)), EMPTY);
        assert_eq!(code(of(Code::DeadlineExceeded)), DEADLINE);
        assert_eq!(code(Error::Ended { call: "Join" }), UNREACHABLE);
        let syntax = SocketError::Syntax { text: "x".into() };
        assert_eq!(code(Error::Socket(syntax)), USAGE);
        assert_eq!(Failure::deadline(Duration::from_secs(3)).code, DEADLINE);
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_success() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code, failure.text.as_str()), (OK, ""));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.code, REFUSED);
    }
}

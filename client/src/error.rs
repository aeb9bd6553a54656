//! Errors of the client.

use std::error::Error as _;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::socket::SocketError;

pub use tonic::Code;

/// What can go wrong with a call or a watch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket cannot be used.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No daemon answers on the socket; the text says why and what to do.
    #[error("{text}")]
    Unreachable {
        /// What happened and what to do.
        text: String,
        /// What the transport says.
        #[source]
        source: Box<Status>,
    },
    /// The connection broke during the call: whether it took effect is not known.
    #[error("the daemon hung up during {call}")]
    Disconnected {
        /// The call.
        call: &'static str,
        /// What the transport says.
        #[source]
        source: Box<Status>,
    },
    /// The daemon refused or failed.
    #[error("{message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Kind of failure.
        code: Code,
        /// Stable reason of the `google.rpc.ErrorInfo` detail, such as `CONSUMER_STALLED`.
        reason: Option<String>,
        /// The daemon's text.
        message: String,
    },
    /// The stream ended although it never should.
    #[error("the daemon ended {call}: it is shutting down")]
    Ended {
        /// The call.
        call: &'static str,
    },
    /// Nothing came, not even a heartbeat.
    #[error("the daemon was silent on {call} for {silence:?}")]
    Silent {
        /// The call.
        call: &'static str,
        /// For how long.
        silence: std::time::Duration,
    },
    /// The daemon broke the rules of the API.
    #[error("the daemon broke the protocol of {call}: {what}")]
    Protocol {
        /// The call.
        call: &'static str,
        /// The rule.
        what: String,
    },
}

impl Error {
    /// Sorts a failed call: no connection, a broken one, or the daemon's own word.
    pub(crate) fn of_call(call: &'static str, status: Status) -> Self {
        let mut source = status.source();
        while let Some(error) = source {
            if let Some(socket) = error.downcast_ref::<SocketError>() {
                return Self::Unreachable {
                    text: socket.to_string(),
                    source: Box::new(status),
                };
            }
            source = error.source();
        }
        // Only what the transport made has a source; the daemon's own statuses have none.
        if status.source().is_some() {
            return Self::Disconnected {
                call,
                source: Box::new(status),
            };
        }
        Self::Refused {
            call,
            code: status.code(),
            reason: status.get_details_error_info().map(|info| info.reason),
            message: if status.message().is_empty() {
                format!("{call} failed: {:?}", status.code())
            } else {
                status.message().to_owned()
            },
        }
    }

    pub(crate) fn protocol(call: &'static str, what: impl Into<String>) -> Self {
        Self::Protocol {
            call,
            what: what.into(),
        }
    }

    /// The gRPC code of a refusal.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Socket(_)
            | Self::Unreachable { .. }
            | Self::Disconnected { .. }
            | Self::Ended { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// The stable reason of a refusal, for programs.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => reason.as_deref(),
            Self::Socket(_)
            | Self::Unreachable { .. }
            | Self::Disconnected { .. }
            | Self::Ended { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// True when a later try of the same request cannot work.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Socket(error) => !matches!(error, SocketError::Connect { .. }),
            Self::Refused { code, .. } => matches!(
                code,
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::AlreadyExists
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::Unimplemented
            ),
            Self::Unreachable { .. }
            | Self::Disconnected { .. }
            | Self::Ended { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_daemons_word_keeps_its_code_and_reason() {
        let details =
            ErrorDetails::with_error_info("CONSUMER_STALLED", "muster.v1", HashMap::new());
        let status =
            Status::with_error_details(Code::ResourceExhausted, "took nothing for 10m", details);
        let error = Error::of_call("WatchMembers", status);
        assert_eq!(error.code(), Some(Code::ResourceExhausted));
        assert_eq!(error.reason(), Some("CONSUMER_STALLED"));
        assert_eq!(error.to_string(), "took nothing for 10m");
        assert!(!error.is_final());
    }

    #[test]
    fn what_cannot_work_later_is_final() {
        let of = |code| Error::of_call("GetMember", Status::new(code, "x"));
        assert!(of(Code::NotFound).is_final());
        assert!(of(Code::InvalidArgument).is_final());
        assert!(!of(Code::Unavailable).is_final());
        assert!(of(Code::Unavailable).reason().is_none());
    }

    #[test]
    fn a_refusal_without_text_still_says_something() {
        let error = Error::of_call("Join", Status::new(Code::Unavailable, ""));
        assert_eq!(error.to_string(), "Join failed: Unavailable");
    }
}

//! How errors meet the outside: a gRPC code, a text for people, and one
//! `google.rpc.ErrorInfo` for programs. The only place that makes a status.

use std::collections::HashMap;
use std::time::Duration;

use muster_engine::{EngineError, EventError};
use muster_proto::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::limits::RETRY_AFTER;
use crate::containers::{InspectError, LookupError};
use crate::filter::FilterError;
use crate::gossip::CommandError;

/// Facts of one error, by name.
type Facts<'a> = &'a [(&'static str, &'a str)];

fn status(code: Code, reason: &'static str, message: String, facts: Facts<'_>) -> Status {
    let facts: HashMap<String, String> = facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, facts);
    let overload = code == Code::ResourceExhausted && reason != TOO_LARGE;
    if overload || code == Code::Unavailable {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, message, details)
}

const TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// A field of the request is wrong.
pub(crate) fn invalid(reason: &'static str, field: &str, message: impl ToString) -> Status {
    let message = format!("{field}: {}", message.to_string());
    status(Code::InvalidArgument, reason, message, &[("field", field)])
}

impl From<FilterError> for Status {
    fn from(error: FilterError) -> Self {
        invalid(error.reason, &error.field, error.message)
    }
}

/// No member has that name or alias.
pub(crate) fn member_not_found(name: &str) -> Status {
    let message = format!("no member is called {name}");
    status(
        Code::NotFound,
        "MEMBER_NOT_FOUND",
        message,
        &[("name", name)],
    )
}

/// No member has that key.
pub(crate) fn key_not_found(id: &str) -> Status {
    let message = format!("there is no key {id}");
    status(Code::NotFound, "KEY_NOT_FOUND", message, &[("id", id)])
}

/// The caller may not do that.
pub(crate) fn not_permitted(path: &str, needs: &str, uid: Option<u32>) -> Status {
    let who = uid.map_or_else(
        || "an unknown caller".to_owned(),
        |uid| format!("uid {uid}"),
    );
    let message = format!("{who} has no capability {needs} on this socket, {path} needs it");
    let facts = [("capability", needs), ("method", path)];
    status(
        Code::PermissionDenied,
        "CAPABILITY_MISSING",
        message,
        &facts,
    )
}

/// As many calls are under way as the daemon takes.
pub(crate) fn too_many_streams(limit: usize) -> Status {
    let limit = limit.to_string();
    let message = format!("{limit} calls are under way, more are not taken");
    let facts = [("limit", limit.as_str())];
    status(Code::ResourceExhausted, "TOO_MANY_STREAMS", message, &facts)
}

/// There is too much of something.
pub(crate) fn exhausted(reason: &'static str, message: impl ToString) -> Status {
    status(Code::ResourceExhausted, reason, message.to_string(), &[])
}

/// The reader of a stream took nothing for too long.
pub(crate) fn stalled(after: Duration) -> Status {
    let message = format!("the reader took nothing for {} s", after.as_secs());
    status(Code::ResourceExhausted, "CONSUMER_STALLED", message, &[])
}

/// A request was larger than the daemon reads.
pub(crate) fn too_large(limit: usize) -> Status {
    let limit = limit.to_string();
    let message = format!("the message is larger than {limit} bytes");
    let facts = [("limit", limit.as_str())];
    status(Code::ResourceExhausted, TOO_LARGE, message, &facts)
}

/// What tonic's decoder said about a request, told as everything else is: too large
/// is RESOURCE_EXHAUSTED, not a message at all INVALID_ARGUMENT.
pub(crate) fn undecodable(error: Status, limit: usize) -> Status {
    if error.code() == Code::OutOfRange {
        too_large(limit)
    } else if error.code() == Code::Internal {
        invalid("UNDECODABLE", "request", error.message())
    } else {
        error
    }
}

/// An error that libraries beneath made, with a reason: the name of its code.
pub(crate) fn detailed(error: Status) -> Status {
    if error.code() == Code::Ok || !error.details().is_empty() {
        return error;
    }
    status(
        error.code(),
        code_name(error.code()),
        error.message().to_owned(),
        &[],
    )
}

/// As in the gRPC specification.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The time that the caller gave is over.
pub(crate) fn deadline_exceeded(timeout: Duration) -> Status {
    let message = format!("the call took longer than the {timeout:?} that it had");
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, &[])
}

/// Nobody answers such calls.
pub(crate) fn no_such_service(name: &str) -> Status {
    let message = format!("there is no service {name:?}");
    status(
        Code::Unimplemented,
        "UNIMPLEMENTED",
        message,
        &[("service", name)],
    )
}

/// The daemon drains.
pub(crate) fn shutting_down() -> Status {
    let message = "the daemon is shutting down".to_owned();
    status(Code::Unavailable, "SHUTTING_DOWN", message, &[])
}

/// The node began to count its events anew while some waited for their receipts.
pub(crate) fn boot_raised(boot: u64) -> Status {
    let message = format!(
        "the node goes on as boot {boot}: whether its earlier events are replicated is not known"
    );
    let boot = boot.to_string();
    let facts = [("boot", boot.as_str())];
    status(Code::Unavailable, "BOOT_RAISED", message, &facts)
}

/// A handler panicked.
pub(crate) fn panicked() -> Status {
    let message = "the call hit a bug; the daemon's log has the place".to_owned();
    status(Code::Internal, "PANIC", message, &[])
}

/// A call came without a message.
pub(crate) fn no_message() -> Status {
    invalid("MESSAGE_MISSING", "request", "the call has no message")
}

impl From<LookupError> for Status {
    fn from(error: LookupError) -> Self {
        let message = error.to_string();
        match error {
            LookupError::Malformed(why) => invalid("BAD_NAME", "container", why),
            LookupError::NotFound(name) => {
                let facts = [("name", name.as_str())];
                status(Code::NotFound, "CONTAINER_NOT_FOUND", message, &facts)
            }
            LookupError::Ambiguous(named) => {
                let named = named.join(",");
                let facts = [("containers", named.as_str())];
                status(
                    Code::FailedPrecondition,
                    "CONTAINER_AMBIGUOUS",
                    message,
                    &facts,
                )
            }
        }
    }
}

impl From<InspectError> for Status {
    fn from(error: InspectError) -> Self {
        let (code, reason) = match &error {
            InspectError::Gone(_) => (Code::NotFound, "CONTAINER_NOT_FOUND"),
            InspectError::Unavailable { .. } => (Code::Unavailable, "OWNER_UNAVAILABLE"),
            InspectError::TooLarge(_) => (Code::ResourceExhausted, TOO_LARGE),
        };
        status(code, reason, error.to_string(), &[])
    }
}

/// Nobody answered a join.
pub(crate) fn join_failed(message: String) -> Status {
    status(Code::Unavailable, "NOBODY_ANSWERED", message, &[])
}

/// A command that makes no sense in the present state.
pub(crate) fn precondition(reason: &'static str, message: impl ToString) -> Status {
    status(Code::FailedPrecondition, reason, message.to_string(), &[])
}

impl From<CommandError> for Status {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Stopped => shutting_down(),
            CommandError::Busy => status(Code::ResourceExhausted, "ENGINE_BUSY", message, &[]),
            CommandError::Event(error) => event(&error),
            CommandError::Engine(error) => engine(&error),
        }
    }
}

fn engine(error: &EngineError) -> Status {
    let (code, reason) = match error {
        EngineError::UnknownMember(name) => return member_not_found(name),
        EngineError::MemberLive(..) => (Code::FailedPrecondition, "MEMBER_LIVE"),
        EngineError::Leaving => (Code::FailedPrecondition, "LEAVING"),
        EngineError::RecordTooLarge { .. } | EngineError::TooManyKeys(..) => {
            (Code::InvalidArgument, "RECORD_TOO_LARGE")
        }
        EngineError::BadContainer(_) | EngineError::BadKey(_) => {
            (Code::InvalidArgument, "BAD_RECORD")
        }
        EngineError::BadTag { .. } => (Code::InvalidArgument, "BAD_TAG"),
        EngineError::BadName(_) => (Code::InvalidArgument, "BAD_NAME"),
        EngineError::BootTooHigh(_) => (Code::InvalidArgument, "BOOT_TOO_HIGH"),
    };
    status(code, reason, error.to_string(), &[])
}

fn event(error: &EventError) -> Status {
    let (code, reason) = match error {
        EventError::InvalidName(_) => (Code::InvalidArgument, "BAD_NAME"),
        EventError::TooLarge { .. } => (Code::InvalidArgument, "EVENT_TOO_LARGE"),
        EventError::TooMuch { .. } => (Code::InvalidArgument, "EVENT_EXTRAS_TOO_LARGE"),
        EventError::Full => (Code::ResourceExhausted, "EVENT_WINDOW_FULL"),
        EventError::Leaving => (Code::FailedPrecondition, "LEAVING"),
    };
    status(code, reason, error.to_string(), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(status: &Status) -> (String, bool) {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, ERROR_DOMAIN);
        (info.reason, status.get_details_retry_info().is_some())
    }

    #[test]
    fn every_status_names_its_reason_and_overload_says_when_to_retry() {
        for (status, code, reason, retry) in [
            (
                too_many_streams(3),
                Code::ResourceExhausted,
                "TOO_MANY_STREAMS",
                true,
            ),
            (too_large(3), Code::ResourceExhausted, TOO_LARGE, false),
            (shutting_down(), Code::Unavailable, "SHUTTING_DOWN", true),
            (
                member_not_found("x"),
                Code::NotFound,
                "MEMBER_NOT_FOUND",
                false,
            ),
            (
                CommandError::Busy.into(),
                Code::ResourceExhausted,
                "ENGINE_BUSY",
                true,
            ),
            (
                CommandError::Engine(EngineError::Leaving).into(),
                Code::FailedPrecondition,
                "LEAVING",
                false,
            ),
            (
                CommandError::Event(EventError::TooLarge { bytes: 2, limit: 1 }).into(),
                Code::InvalidArgument,
                "EVENT_TOO_LARGE",
                false,
            ),
        ] {
            assert_eq!(status.code(), code, "{status:?}");
            assert_eq!(details(&status), (reason.to_owned(), retry));
        }
    }

    #[test]
    fn a_wrong_field_is_named_in_text_and_facts() {
        let status = invalid("BAD_REGEX", "filter.name_regex", "unclosed group");
        assert_eq!(status.message(), "filter.name_regex: unclosed group");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["field"], "filter.name_regex");
    }
}

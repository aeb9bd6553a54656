//! The `grpc-timeout` of a call (gRPC over HTTP/2, "Timeout"), as a deadline here.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

use super::super::status::{deadline_exceeded, invalid};

/// Digits that the specification allows.
const DIGITS: usize = 8;

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The deadline that a caller set, counted from now. `None`: it may take for ever.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: better than to wait for ever for a caller who said not to.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let Some(value) = headers.get("grpc-timeout") else {
            return Ok(None);
        };
        let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
            let why = format!("{value:?} is not 1 to {DIGITS} digits and one of H, M, S, m, u, n");
            invalid("BAD_TIMEOUT", "grpc-timeout", why)
        })?;
        // Beyond what the clock can count nothing ends.
        let at = Instant::now().checked_add(timeout);
        Ok(at.map(|at| Self { at, timeout }))
    }

    /// What a call that missed it is told.
    pub(super) fn exceeded(&self) -> Status {
        deadline_exceeded(self.timeout)
    }
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty()
        || digits.len() > DIGITS
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match text.as_bytes().last()? {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("1M", Duration::from_secs(60)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("5m", Duration::from_millis(5)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_is_none() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "100000000S",
            "1 S",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn the_longest_one_is_no_overflow() {
        let mut headers = HeaderMap::new();
        assert!(Deadline::of(&headers).unwrap().is_none());
        headers.insert("grpc-timeout", "99999999H".parse().unwrap());
        Deadline::of(&headers).unwrap();
        headers.insert("grpc-timeout", "soon".parse().unwrap());
        assert!(Deadline::of(&headers).is_err());
    }
}

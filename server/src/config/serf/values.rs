//! Values as serf writes them, made into ours.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::units;

type Read<T> = Result<T, String>;

/// Port that serf's agent takes where an address has none.
const PORT: u16 = 7946;

/// Protocol versions that serf's agent takes.
const PROTOCOLS: std::ops::RangeInclusive<u64> = 2..=5;

/// Longest leave that the daemon takes; serf's agent takes any.
const LEAVE_MAX: Duration = Duration::from_secs(60);

/// As it is.
pub(super) fn keep(text: &str) -> Read<String> {
    Ok(text.to_owned())
}

/// `IP`, `IP:PORT`, `[IP]:PORT` or `:PORT`.
pub(super) fn bind(text: &str) -> Read<String> {
    let all = |port: &str| format!("0.0.0.0:{port}");
    Ok(match text.strip_prefix(':') {
        Some(port) if !port.contains(':') => all(port),
        _ => with_port(text, PORT),
    })
}

/// As [`bind`]; without a port it is that of bind.
pub(super) fn advertise(text: &str) -> Read<String> {
    Ok(with_port(text, 0))
}

/// The address of the RPC; serf takes a name as well, in practice `localhost`.
pub(super) fn relay(text: &str) -> Read<String> {
    Ok(match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    })
}

fn with_port(text: &str, port: u16) -> String {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_not_bare) => text.to_owned(),
    }
}

/// The log filter of a level.
pub(super) fn level(text: &str) -> Read<String> {
    let (all, own) = match text.to_ascii_uppercase().as_str() {
        "TRACE" => ("info", "trace"),
        "DEBUG" => ("info", "debug"),
        "INFO" => ("warn", "info"),
        "WARN" => ("warn", "warn"),
        "ERR" | "ERROR" => ("error", "error"),
        _ => return Err("it is none of TRACE, DEBUG, INFO, WARN and ERR".to_owned()),
    };
    Ok(format!("{all},musterd={own},muster_engine={own}"))
}

/// An event handler; `*` before the script is what serf writes for all events.
pub(super) fn handler(text: &str) -> Read<String> {
    if text.is_empty() {
        return Err("there is no script".to_owned());
    }
    keep(text)
}

/// Durations of Go: `1m30s`, `500ms`, `1.5h`.
pub(super) fn span(text: &str) -> Read<String> {
    duration(text).map(units::show_duration)
}

/// How long members that are gone are shown: a second at least here.
pub(super) fn reap(text: &str) -> Read<String> {
    let least = Duration::from_secs(1);
    duration(text).map(|reap| units::show_duration(reap.max(least)))
}

/// How long a leave may take, cut to what the daemon allows.
pub(super) fn leave(text: &str) -> Read<String> {
    duration(text).map(|timeout| units::show_duration(timeout.min(LEAVE_MAX)))
}

/// A truth as Go reads it.
pub(super) fn switch(text: &str) -> Read<String> {
    is_true(text).map(|truth| truth.to_string())
}

/// Whether it is true.
pub(super) fn is_true(text: &str) -> Read<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// A truth that changes nothing.
pub(super) fn negated(text: &str) -> Read<bool> {
    is_true(text)
}

/// Whether a number is more than 0.
pub(super) fn positive(text: &str) -> Read<bool> {
    Ok(units::number(text)? > 0)
}

/// A number of bytes.
pub(super) fn size(text: &str) -> Read<bool> {
    positive(text)
}

/// A protocol version.
pub(super) fn protocol(text: &str) -> Read<bool> {
    units::within(units::number(text)?, PROTOCOLS).map(|_version| false)
}

/// Any text; whether it is not empty.
pub(super) fn anything(text: &str) -> Read<bool> {
    Ok(!text.is_empty())
}

/// Reads a duration of Go, exact to the millisecond.
fn duration(text: &str) -> Read<Duration> {
    let bad = || "it is no duration such as 30s, 1m30s or 500ms".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = rest.split_at(digits.ok_or_else(bad)?);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = unit.split_at(end.unwrap_or(unit.len()));
        let number: f64 = number.parse().map_err(|_not_a_number| bad())?;
        let per = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        seconds += number * per;
        rest = next;
    }
    if text.is_empty() {
        return Err(bad());
    }
    let exact = Duration::try_from_secs_f64(seconds).map_err(|_range| bad())?;
    let millis = u64::try_from(exact.as_millis()).map_err(|_range| bad())?;
    // What is given shall not become nothing.
    Ok(Duration::from_millis(millis.max(u64::from(seconds > 0.0))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_get_the_port_of_serf() {
        for (given, expected) in [
            ("10.0.0.1", "10.0.0.1:7946"),
            ("10.0.0.1:17", "10.0.0.1:17"),
            ("::1", "[::1]:7946"),
            ("[::1]", "[::1]:7946"),
            ("[::1]:17", "[::1]:17"),
            (":17", "0.0.0.0:17"),
        ] {
            assert_eq!(bind(given).unwrap(), expected);
        }
        assert_eq!(advertise("10.0.0.1").unwrap(), "10.0.0.1:0");
        assert_eq!(advertise("10.0.0.1:8").unwrap(), "10.0.0.1:8");
        assert_eq!(relay("localhost:7373").unwrap(), "127.0.0.1:7373");
    }

    #[test]
    fn durations_are_those_of_go() {
        for (given, expected) in [
            ("30s", "30s"),
            ("1m30s", "90s"),
            ("1.5h", "90m"),
            ("500ms", "500ms"),
            ("1h0m0s", "1h"),
            ("0", "0s"),
            ("0s", "0s"),
            ("10us", "1ms"),
        ] {
            assert_eq!(span(given).as_deref(), Ok(expected), "{given}");
        }
        for bad in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1s5",
            "1..5s",
            "1e3s",
            "999999999999999h9999999999999999999h",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
        assert_eq!(reap("0s").as_deref(), Ok("1s"));
        assert_eq!(leave("5m").as_deref(), Ok("1m"));
    }

    #[test]
    fn levels_are_those_of_serf() {
        let debug = level("debug").unwrap();
        assert_eq!(debug, "info,musterd=debug,muster_engine=debug");
        for text in ["TRACE", "INFO", "WARN", "ERR", "err"] {
            let filter = level(text).unwrap();
            assert!(crate::telemetry::parse_filter(&filter).is_ok(), "{filter}");
        }
        assert!(level("LOUD").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _read = (bind(&text), advertise(&text), level(&text), span(&text), switch(&text));
            let _read = (protocol(&text), positive(&text), reap(&text), leave(&text), relay(&text));
        }
    }
}

//! Text of people: durations, pairs, times, and names that must not move the cursor.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::EventPositions;

/// Longest duration that the command line takes: a year.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads `500ms`, `10s`, `2m`, `1h` or plain seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: expected such as 500ms, 10s, 2m or 1h");
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds_per = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    let number: f64 = number.parse().map_err(|_not_a_number| bad())?;
    let duration = Duration::try_from_secs_f64(number * seconds_per).map_err(|_range| bad())?;
    if duration.is_zero() || duration > DURATION_MAX {
        return Err(format!(
            "{text:?} is out of range: more than 0, at most a year"
        ));
    }
    Ok(duration)
}

/// Reads `KEY=VALUE`; the value may be empty and may hold `=`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

/// Reads a position that [`token`] wrote.
pub(super) fn parse_token(text: &str) -> Result<EventPositions, String> {
    let bytes = STANDARD.decode(text).ok();
    let positions = bytes.and_then(|bytes| EventPositions::decode(&bytes).ok());
    positions.ok_or_else(|| "it is no position of a watch".to_owned())
}

/// A position as one word.
pub(super) fn token(positions: &EventPositions) -> String {
    STANDARD.encode(positions.encode())
}

/// Makes text from others safe to print: control characters, and those that turn the
/// direction of writing, become `\u{..}`.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// An instant of the API.
pub(super) fn timestamp(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// RFC 3339 in UTC, to the millisecond; `None` stays `None`.
pub(super) fn rfc3339(time: Option<&prost_types::Timestamp>) -> Option<String> {
    timestamp(time).map(|time| format!("{time:.3}"))
}

/// RFC 3339 in UTC to the second, `-` if there is none.
pub(super) fn clock(time: Option<&prost_types::Timestamp>) -> String {
    timestamp(time).map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"))
}

/// How long ago, in one unit: `12s`, `3m`, `2h`, `5d`.
pub(super) fn age(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(time) = timestamp(time) else {
        return "-".to_owned();
    };
    let seconds = now.as_second().saturating_sub(time.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text: &str| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("1.5s"), Ok(1500));
        assert_eq!(ms("7"), Ok(7000));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for bad in [
            "", "s", "-1s", "+1s", "1d", "1 s", "1s2", "0s", "1e30h", "inf", "nan", "9000h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("a").is_err() && parse_pair("=a").is_err());
    }

    #[test]
    fn nothing_printed_can_move_the_cursor() {
        assert_eq!(
            escape("n1 \u{1b}[2J\r\n\u{9b}x"),
            "n1 \\u{1b}[2J\\r\\n\\u{9b}x"
        );
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(escape("Zürich 東京"), "Zürich 東京");
    }

    #[test]
    fn positions() {
        let mut positions = EventPositions::default();
        assert_eq!(parse_token(&token(&positions)), Ok(positions.clone()));
        positions.fold(&crate::pb::EventId {
            origin: "n1".into(),
            boot: 7,
            sequence: 3,
        });
        assert_eq!(parse_token(&token(&positions)), Ok(positions));
        assert!(parse_token("n1").is_err() && parse_token("/////w==").is_err());
    }

    #[test]
    fn times() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(
            rfc3339(at(1_795_255_200, 123_456_789).as_ref()).unwrap(),
            "2026-11-21T10:00:00.123Z"
        );
        assert_eq!(clock(at(1_795_255_200, 0).as_ref()), "2026-11-21T10:00:00Z");
        assert_eq!(rfc3339(None), None);
        assert_eq!(rfc3339(at(i64::MAX, 0).as_ref()), None);
        let now = Timestamp::new(1_000_000, 0).unwrap();
        let age_of = |ago: i64| age(at(1_000_000 - ago, 0).as_ref(), now);
        assert_eq!(
            [
                age_of(-5),
                age_of(119),
                age_of(120),
                age_of(7200),
                age_of(200_000)
            ],
            ["0s", "119s", "2m", "2h", "2d"]
        );
        assert_eq!(age(None, now), "-");
    }
}

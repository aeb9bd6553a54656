//! Durations, sizes and numbers as people write them.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads a duration such as `250ms`, `1s`, `10m`, `24h`, `7d`, exact to the
/// millisecond. A number without a unit is refused, except 0.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    with_unit(text, &DURATION_UNITS, "ms, s, m, h or d").map(Duration::from_millis)
}

/// Reads a size such as `512B`, `64KiB`, `1MiB`, `2GiB`, in bytes. A number
/// without a unit is refused, except 0.
///
/// # Errors
/// What is wrong with it.
pub fn size(text: &str) -> Result<u64, String> {
    with_unit(text, &SIZE_UNITS, "B, KiB, MiB or GiB")
}

/// Writes a duration the way [`duration`] reads it, in the largest exact unit.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, &DURATION_UNITS)
}

/// Writes a size the way [`size`] reads it, in the largest exact unit.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

/// Refuses what is outside a range.
///
/// # Errors
/// Says so.
pub fn within<T: PartialOrd + fmt::Debug>(value: T, range: RangeInclusive<T>) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err("it is out of range".to_owned())
    }
}

/// Reads a whole number.
///
/// # Errors
/// What is wrong with it.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_error| "it is not a whole number".to_owned())
}

/// Reads `true` or `false`; `1` and `0` do as well.
///
/// # Errors
/// What is wrong with it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

fn with_unit(text: &str, units: &[(&str, u64)], names: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("it does not begin with a number".to_owned());
    }
    let too_large = || "it is too large".to_owned();
    let number: u64 = number.parse().map_err(|_error| too_large())?;
    if number == 0 && unit.is_empty() {
        return Ok(0);
    }
    let factor = units.iter().find(|(name, _)| *name == unit);
    let (_, factor) = factor.ok_or_else(|| format!("the unit must be {names}"))?;
    number.checked_mul(*factor).ok_or_else(too_large)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let exact = |(_, factor): &&(&str, u64)| amount != 0 && amount.is_multiple_of(*factor);
    let fits = units.iter().rev().find(exact);
    let (unit, factor) = fits.copied().unwrap_or(units[usize::from(amount == 0)]);
    format!("{}{unit}", amount / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("1s", 1_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1",
            "1.5s",
            "1 s",
            "1S",
            "10min",
            "1s ",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512B", 512),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "64",
            "64KB",
            "64kib",
            "64 KiB",
            "KiB",
            "18446744073709551615GiB",
        ] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn booleans_and_numbers() {
        assert_eq!(boolean("true"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        assert!(boolean("yes").is_err());
        assert_eq!(number("8192"), Ok(8_192));
        assert!(number("8k").is_err());
        assert!(number("-1").is_err());
        assert_eq!(within(3, 1..=3), Ok(3));
        assert!(within(4, 1..=3).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0..u64::MAX / 2, bytes in any::<u64>()) {
            let written = show_duration(Duration::from_millis(millis));
            prop_assert_eq!(duration(&written), Ok(Duration::from_millis(millis)));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _read = (duration(&text), size(&text), number(&text), boolean(&text));
        }
    }
}

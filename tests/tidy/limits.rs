//! `docs/limits.md` is written from the constants: every `…_MAX` of the daemon, the
//! engine and the client, with the comment that stands above it.
//!
//! `MUSTER_UPDATE_DOCS=1 cargo test -p muster-tests --test tidy limits` writes it anew.

use std::fmt::Write as _;

use crate::tree::{File, is_test, production, read, root, sources};

const PAGE: &str = "docs/limits.md";

const HEAD: &str = "# Limits\n\n\
    Everything that grows has a bound. This page is written from the constants in the source by \
    `MUSTER_UPDATE_DOCS=1 cargo test -p muster-tests --test tidy limits`, and a test fails when it \
    is out of date. Settings that change a bound are in [configuration.md](configuration.md).\n";

/// One constant: name, value as written, comment.
#[derive(Debug, PartialEq)]
struct Limit {
    name: String,
    value: String,
    comment: String,
}

/// The limits that a source declares.
fn limits(text: &str) -> Vec<Limit> {
    let mut comment = Vec::new();
    let mut found = Vec::new();
    // A long declaration goes on in the next line.
    let joined = production(text).replace(" =\n    ", " = ");
    for line in joined.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
        } else if let Some(limit) = constant(line) {
            let (name, value) = limit;
            found.push(Limit {
                name,
                value,
                comment: comment.join(" "),
            });
            comment.clear();
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    found
}

/// Name and value of a line that declares a limit.
fn constant(line: &str) -> Option<(String, String)> {
    let (head, value) = line.strip_suffix(';')?.split_once(" = ")?;
    let (before, _kind) = head.split_once(": ")?;
    let name = before.rsplit(' ').next()?;
    let is_const = before.split(' ').any(|word| word == "const");
    (is_const && name.contains("_MAX")).then(|| (name.to_owned(), readable(name, value)))
}

/// A value as people write it.
pub(crate) fn readable(name: &str, value: &str) -> String {
    if let Some(inner) = value.strip_prefix("Duration::from_") {
        let inner = inner.strip_suffix(')').unwrap_or(inner);
        let (unit, number) = inner.split_once('(').unwrap_or(("", inner));
        let unit = match unit {
            "secs" => "s",
            "millis" => "ms",
            "micros" => "us",
            other => other,
        };
        let amount = self::number(number).map_or_else(|| number.to_owned(), |n| n.to_string());
        return format!("{amount} {unit}");
    }
    match number(value) {
        Some(bytes) if name.contains("BYTES") && bytes >= 1 << 20 && bytes % (1 << 20) == 0 => {
            format!("{} MiB", bytes >> 20)
        }
        Some(bytes) if name.contains("BYTES") && bytes >= 1 << 10 && bytes % (1 << 10) == 0 => {
            format!("{} KiB", bytes >> 10)
        }
        Some(bytes) if name.contains("BYTES") => format!("{bytes} bytes"),
        Some(count) => count.to_string(),
        None => format!("`{value}`"),
    }
}

/// The value of an expression of literals, `<<`, `*`, `+`, `-` and parentheses.
fn number(value: &str) -> Option<u64> {
    if let Some(open) = value.rfind('(') {
        let (before, rest) = value.split_at(open);
        let (inner, after) = rest[1..].split_once(')')?;
        return number(&format!("{before}{}{after}", number(inner)?));
    }
    let fold = |separator: &str, apply: fn(u64, u64) -> Option<u64>| {
        let (left, right) = value.rsplit_once(separator)?;
        apply(number(left)?, number(right)?)
    };
    let shift = |left: u64, right: u64| left.checked_shl(u32::try_from(right).ok()?);
    let literal = value.trim().replace('_', "").parse().ok();
    literal
        .or_else(|| fold(" << ", shift))
        .or_else(|| fold(" - ", u64::checked_sub))
        .or_else(|| fold(" + ", u64::checked_add))
        .or_else(|| fold(" * ", u64::checked_mul))
}

/// Sources whose limits users meet.
fn declaring() -> Vec<File> {
    let mut all = sources();
    all.retain(|file| {
        (file.path.starts_with("server/") || file.path.starts_with("client/src"))
            && !is_test(&file.path)
    });
    all
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for file in declaring() {
        let limits = limits(&file.text);
        if limits.is_empty() {
            continue;
        }
        write!(
            page,
            "\n## {}\n\n| limit | value | what it bounds |\n|---|---|---|\n",
            file.path
        )
        .unwrap();
        for Limit {
            name,
            value,
            comment,
        } in limits
        {
            let comment = comment
                .replace("[`", "`")
                .replace("`]", "`")
                .replace('|', "\\|");
            writeln!(page, "| `{name}` | {value} | {comment} |").unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_limits_is_up_to_date() {
    let expected = page();
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), &expected).unwrap();
    }
    assert!(
        read(PAGE) == expected,
        "{PAGE} is out of date; its head says how to write it anew"
    );
}

#[test]
fn every_limit_says_what_it_bounds() {
    for file in declaring() {
        for limit in limits(&file.text) {
            assert!(
                !limit.comment.is_empty(),
                "{}: {} has no comment",
                file.path,
                limit.name
            );
        }
    }
}

#[test]
fn constants_are_read_with_value_and_comment() {
    let text = "/// Streams in all.\n/// One more is refused.\npub(crate) const STREAMS_MAX: usize = \
                20_000;\n\nconst A_BYTES_MAX: usize = 64 << 10;\n/// Long.\npub const WAIT_MAX: \
                Duration = Duration::from_secs(5);\nconst OTHER: u8 = 1;\n";
    let limit = |name: &str, value: &str, comment: &str| Limit {
        name: name.to_owned(),
        value: value.to_owned(),
        comment: comment.to_owned(),
    };
    assert_eq!(
        limits(text),
        [
            limit(
                "STREAMS_MAX",
                "20000",
                "Streams in all. One more is refused."
            ),
            limit("A_BYTES_MAX", "64 KiB", ""),
            limit("WAIT_MAX", "5 s", "Long."),
        ]
    );
    assert_eq!(readable("X_BYTES_MAX", "3 * 1024 * (1 << 10)"), "3 MiB");
    assert_eq!(
        readable("X_MAX", "Duration::from_secs(24 * 3_600)"),
        "86400 s"
    );
    assert_eq!(readable("X_MAX", "OTHER_MAX"), "`OTHER_MAX`");
}

//! The tables of `docs/tuning.md` are written from the code.
//!
//! `MUSTER_UPDATE_DOCS=1 cargo test -p muster-tests --test tidy tuning` writes them anew.

use std::fmt::Write as _;
use std::time::Duration;

use muster_engine::Tuning;

use crate::limits::readable;
use crate::tree::{read, root};

const PAGE: &str = "docs/tuning.md";

/// Members of a cluster.
const SIZES: [usize; 6] = [2, 16, 64, 256, 1_024, 4_096];

/// What stays the same in every cluster, or what the formulas begin with.
const CONSTANTS: [(&str, &[&str]); 10] = [
    (
        "server/engine/src/tuning.rs",
        &[
            "RETRANSMIT_MULT",
            "TRANSMISSIONS_MIN",
            "FULL_SPEED_NODES",
            "BACKSTOP",
            "BACKSTOP_NODES",
        ],
    ),
    (
        "server/engine/src/swim.rs",
        &["PROBE_PERIOD", "PROBE_RTT", "FANOUT"],
    ),
    (
        "server/engine/src/suspicion.rs",
        &[
            "SUSPICION_NO_HOST",
            "SUSPICION_MIN",
            "SUSPICION_MAX",
            "ACCUSERS_ENOUGH",
            "TINY_CLUSTER",
        ],
    ),
    ("server/engine/src/health.rs", &["SCORE_MAX"]),
    (
        "server/engine/src/engine/watching/ring.rs",
        &["SUCCESSORS", "QUIET"],
    ),
    (
        "server/engine/src/engine/watching/words.rs",
        &["SECOND_WORD"],
    ),
    (
        "server/engine/src/engine/upkeep.rs",
        &[
            "GOSSIP_INTERVAL",
            "GOSSIP_PROMPT",
            "URGENT_INTERVAL",
            "URGENT_ROUNDS",
            "BULK_ABOVE",
            "HURRY_INTERVAL",
            "HURRY_ROUNDS",
        ],
    ),
    (
        "server/engine/src/engine/exchange/pacing.rs",
        &["ANSWER_RATE", "ANSWER_BURST", "ANSWER_SHARE", "PATIENCE"],
    ),
    (
        "server/engine/src/events/spread.rs",
        &["FANOUT", "WAVE_EVERY", "ANNOUNCE_EVERY"],
    ),
    ("server/engine/src/events/replicate.rs", &["HOLDERS"]),
];

fn seconds(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths} s")
}

/// One line for each figure, one column for each size.
fn sizes() -> String {
    let mut table = "| members |".to_owned();
    for size in SIZES {
        write!(table, " {size} |").unwrap();
    }
    table += "\n|---|";
    table += &"---:|".repeat(SIZES.len());
    let mut row = |what: &str, cell: fn(Tuning) -> String| {
        write!(table, "\n| {what} |").unwrap();
        for size in SIZES {
            write!(table, " {} |", cell(Tuning::of(size))).unwrap();
        }
    };
    row("datagrams that carry one change of a member", |at| {
        at.transmissions.to_string()
    });
    row("datagrams that carry one event", |at| {
        at.event_packets.to_string()
    });
    row("members that hold a REPLICATED event", |at| {
        at.holders.to_string()
    });
    row("idle streams to others", |at| at.streams.to_string());
    row("members asked to help with a probe", |at| {
        at.helpers.to_string()
    });
    row("one probes all others in", |at| seconds(at.probe_round));
    row("accusers that are enough", |at| at.accusers.to_string());
    row("suspicion, no kernel answers", |at| {
        seconds(at.suspicion_no_host)
    });
    row("suspicion, enough accusers", |at| seconds(at.suspicion_min));
    row("suspicion, one accuser", |at| seconds(at.suspicion_max));
    row("pause between exchanges at rest", |at| seconds(at.backstop));
    row("bytes of a full comparison", |at| {
        at.compare_bytes.to_string()
    });
    table + "\n"
}

/// Value and comment of a constant.
fn constant(text: &str, name: &str) -> Option<(String, String)> {
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if let Some((head, rest)) = line.split_once(&format!("const {name}: "))
            && (head.is_empty() || head.starts_with("pub"))
        {
            let (_kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
            return Some((readable(name, value), comment.join(" ")));
        }
        comment.clear();
    }
    None
}

fn constants() -> String {
    let mut table = "| constant | value | what it is |\n|---|---|---|\n".to_owned();
    for (path, names) in CONSTANTS {
        let text = read(path);
        let file = path.trim_start_matches("server/engine/src/");
        for name in names {
            let found = constant(&text, name);
            let (value, comment) = found.unwrap_or_else(|| panic!("{path} has no {name}"));
            assert!(!comment.is_empty(), "{path}: {name} has no comment");
            let comment = comment.replace("[`", "`").replace("`]", "`");
            writeln!(table, "| `{name}`, {file} | {value} | {comment} |").unwrap();
        }
    }
    table
}

/// The page with new text between two marks.
fn put(page: &str, what: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {what} -->\n"), format!("<!-- end {what} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has the mark");
    let (_, after) = rest.split_once(&end).expect("the page has both marks");
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_tables_of_tuning_are_up_to_date() {
    let page = read(PAGE);
    let expected = put(&page, "sizes", &sizes());
    let expected = put(&expected, "constants", &constants());
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), &expected).unwrap();
    }
    assert!(
        read(PAGE) == expected,
        "{PAGE} is out of date: MUSTER_UPDATE_DOCS=1 cargo test -p muster-tests --test tidy tuning"
    );
}

/// Each formula names what it is made of: those constants are in the table.
#[test]
fn what_formulas_name_is_there() {
    let page = read(PAGE);
    let (formulas, rest) = page
        .split_once("<!-- sizes -->")
        .expect("the mark is there");
    let (_, table) = rest
        .split_once("<!-- constants -->")
        .expect("the mark is there");
    let named = formulas.split('`').skip(1).step_by(2);
    let words = named.flat_map(|code| code.split(|c: char| !c.is_ascii_uppercase() && c != '_'));
    let mut count = 0;
    for word in words.filter(|word| word.len() > 4 && word.contains(|c: char| c.is_alphabetic())) {
        assert!(
            table.contains(&format!("| `{word}`,")),
            "{word} is in no table"
        );
        count += 1;
    }
    assert!(count > 15, "only {count} names");
}

#[test]
fn constants_are_found_with_their_comments() {
    let text = "/// A\n/// pause.\npub(crate) const PAUSE: Duration = Duration::from_millis(1_500);\n\
                const PAUSE_LONG: u32 = 3;\n";
    let found = |name| constant(text, name);
    assert_eq!(
        found("PAUSE"),
        Some(("1500 ms".to_owned(), "A pause.".to_owned()))
    );
    assert_eq!(found("PAUSE_LONG"), Some(("3".to_owned(), String::new())));
    assert_eq!(found("OTHER"), None);
}

//! serf's snapshot file, as far as it helps to find the cluster: lines of text such as
//! `alive: NAME ADDRESS`, appended to, so that the last one may be cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Members taken from a file of serf; further ones are ignored.
pub const MEMBERS_MAX: usize = 4_096;

/// What a file of serf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SerfSnapshot {
    /// Addresses of its members, in the order of their names: also of those that are
    /// `not-alive` by now, which serf forgets and then never meets again.
    pub addresses: Vec<SocketAddr>,
    /// Time of the clock that events have.
    pub event_clock: u64,
    /// The node left, and forgot everybody.
    pub left: bool,
}

/// Beginnings of the lines that serf writes.
const WORDS: [&str; 7] = [
    "alive: ",
    "not-alive: ",
    "clock: ",
    "event-clock: ",
    "query-clock: ",
    "coordinate: ",
    "leave",
];

/// Reads a file of serf. `rejoin` looks beyond a leave, as serf's `-rejoin` does.
/// `None` if no line is one of serf's, or one that is whole is none.
#[must_use]
pub fn parse(bytes: &[u8], rejoin: bool) -> Option<SerfSnapshot> {
    let text = str::from_utf8(bytes).ok()?;
    let mut found = SerfSnapshot::default();
    let mut alive: BTreeMap<&str, SocketAddr> = BTreeMap::new();
    let mut lines = 0;
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break; // Cut while it was written.
        };
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if !WORDS.iter().any(|word| line.starts_with(word)) {
            return None;
        }
        lines += 1;
        if let Some(member) = line.strip_prefix("alive: ") {
            let (name, addr) = member.rsplit_once(' ')?;
            if let Ok(addr) = addr.parse()
                && (alive.len() < MEMBERS_MAX || alive.contains_key(name))
            {
                alive.insert(name, addr);
            }
        } else if let Some(time) = line.strip_prefix("event-clock: ") {
            found.event_clock = time.parse().unwrap_or(found.event_clock);
        } else if line == "leave" {
            found.left = !rejoin;
            if !rejoin {
                alive.clear();
            }
        }
    }
    found.addresses = alive.into_values().collect();
    (lines > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "alive: a 127.9.9.1:7946\nalive: b b [fd00::2]:7947\nclock: 1\n\
                        event-clock: 1\nquery-clock: 7\n# compacted\nevent-clock: 2\n\
                        coordinate: {\"Vec\":[0]}\nnot-alive: a\n";

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn members_are_found_the_failed_ones_too() {
        let found = parse(FILE.as_bytes(), false).unwrap();
        assert_eq!(
            found.addresses,
            addrs(&["127.9.9.1:7946", "[fd00::2]:7947"])
        );
        assert_eq!((found.event_clock, found.left), (2, false));
    }

    #[test]
    fn a_leave_forgets_unless_told_to_rejoin() {
        let text = format!("{FILE}leave\nalive: c 10.0.0.3:1\n");
        let found = parse(text.as_bytes(), false).unwrap();
        assert_eq!(
            (found.addresses, found.left),
            (addrs(&["10.0.0.3:1"]), true)
        );
        let found = parse(text.as_bytes(), true).unwrap();
        assert_eq!((found.addresses.len(), found.left), (3, false));
    }

    #[test]
    fn a_cut_line_is_ignored_and_other_text_is_no_snapshot() {
        let cut = "alive: a 10.0.0.1:1\nalive: b 10.0.0.2:79";
        assert_eq!(parse(cut.as_bytes(), false).unwrap().addresses.len(), 1);
        for text in [
            "",
            "\n",
            "hello\n",
            "alive: a 10.0.0.1:1\nhello\n",
            "alive: a\n",
        ] {
            assert_eq!(parse(text.as_bytes(), false), None, "{text:?}");
        }
        assert_eq!(parse(b"alive: a \xFF\n", false), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(lines in proptest::collection::vec("(alive: |leave|clock: )?.{0,30}", 0..6)) {
            let _parsed = parse(lines.join("\n").as_bytes(), false);
        }
    }
}

//! What cannot be equal: addresses, times, counts, and orders that are random in serf.

/// Counts of `info` that depend on the moment, and the version of the runtime.
const MOVING: [&str; 10] = [
    "goroutines",
    "event_queue",
    "event_time",
    "health_score",
    "intent_queue",
    "member_time",
    "query_queue",
    "query_time",
    "version",
    "query_time",
];

/// Lines as both sides should print them. `addresses` are those of the nodes, with the
/// names that stand for them.
pub(crate) fn lines(text: &str, addresses: &[(String, String)]) -> Vec<String> {
    let mut text = text.to_owned();
    for (address, name) in addresses {
        text = text.replace(address, name);
    }
    let lines = text
        .lines()
        .map(|line| sorted_tags(&columns(&moving(&clock(line)))));
    lines.collect()
}

/// The same in a fixed order.
pub(crate) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Padding follows from the longest address.
fn columns(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let words = line.trim().split("  ").map(str::trim);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{}{}", &line[..indent], words.join("  "))
}

/// `k=v,k=v` in the last column comes in any order.
fn sorted_tags(line: &str) -> String {
    let Some((before, last)) = line.rsplit_once("  ") else {
        return line.to_owned();
    };
    let mut tags: Vec<&str> = last.split(',').collect();
    if !tags.iter().all(|tag| tag.contains('=')) {
        return line.to_owned();
    }
    tags.sort_unstable();
    format!("{before}  {}", tags.join(","))
}

/// The value of a count in either format of `info`.
fn moving(line: &str) -> String {
    for key in MOVING {
        for (head, tail) in [(format!("{key} = "), ""), (format!("\"{key}\": \""), "\"")] {
            if let Some(at) = line.find(&head) {
                let comma = if line.ends_with(',') { "," } else { "" };
                return format!("{}<n>{tail}{comma}", &line[..at + head.len()]);
            }
        }
    }
    if let Some((head, _)) = line.split_once("Query time: ") {
        return format!("{head}Query time: <time>");
    }
    if let Some((head, _)) = line.split_once(" rtt: ") {
        return format!("{head} rtt: <time>");
    }
    if let Some((head, _)) = line.split_once("LTime: ") {
        return format!("{head}LTime: <n>");
    }
    line.to_owned()
}

/// `2026/11/21 14:52:16` at the begin of a line of the log.
fn clock(line: &str) -> String {
    let is_time = |text: &str| {
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        text.chars().map(shape).collect::<String>() == "0000/00/00 00:00:00"
    };
    match line.get(..19) {
        Some(head) if is_time(head) => format!("<time>{}", &line[19..]),
        _ => line.to_owned(),
    }
}

#[test]
fn only_what_must_differ_is_made_equal() {
    let addresses = [("127.1.2.3:7946".to_owned(), "<alpha>".to_owned())];
    let one = |line: &str| lines(line, &addresses).concat();
    assert_eq!(
        one("alpha  127.1.2.3:7946    alive  z=1,a=2"),
        "alpha  <alpha>  alive  a=2,z=1"
    );
    assert_eq!(one("\tgoroutines = 23"), "\tgoroutines = <n>");
    assert_eq!(
        one("    \"event_time\": \"3\","),
        "    \"event_time\": \"<n>\","
    );
    assert_eq!(one("\tmembers = 2"), "\tmembers = 2");
    assert_eq!(
        one("Estimated a <-> b rtt: 0.6 ms"),
        "Estimated a <-> b rtt: <time>"
    );
    assert_eq!(one("2026/11/21 14:52:16 [INFO] a: b"), "<time> [INFO] a: b");
    assert_eq!(one("\tLTime: 3"), "\tLTime: <n>");
}

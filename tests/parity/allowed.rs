//! Differences that are meant, each with its reason.

use std::cell::Cell;

/// One line of the file: `STEP | what serf prints | what musterd prints | reason`. An
/// empty part is no line at all.
struct Entry {
    text: String,
    step: String,
    serf: String,
    muster: String,
    used: Cell<bool>,
}

/// All of them.
pub(crate) struct Allowed(Vec<Entry>);

/// The file.
pub(crate) fn read() -> Allowed {
    parse(include_str!("allowed.txt"))
}

fn parse(text: &str) -> Allowed {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [step, serf, muster, reason] = parts[..] else {
            panic!("not STEP | SERF | MUSTER | REASON: {line}");
        };
        assert!(reason.trim().len() > 10, "no reason: {line}");
        Entry {
            text: line.to_owned(),
            step: step.trim().to_owned(),
            serf: serf.trim().to_owned(),
            muster: muster.trim().to_owned(),
            used: Cell::new(false),
        }
    };
    Allowed(lines.map(entry).collect())
}

impl Allowed {
    /// Whether a difference of a step is meant.
    pub(crate) fn explains(&mut self, step: &str, (serf, muster): &(String, String)) -> bool {
        let fits = |entry: &&Entry| {
            entry.step == step && entry.serf == serf.trim() && entry.muster == muster.trim()
        };
        let found = self.0.iter().find(fits);
        if let Some(entry) = found {
            entry.used.set(true);
        }
        found.is_some()
    }

    /// Entries that explained nothing.
    pub(crate) fn unused(&self) -> Vec<String> {
        let unused = self.0.iter().filter(|entry| !entry.used.get());
        unused.map(|entry| entry.text.clone()).collect()
    }
}

#[test]
fn entries_explain_their_own_difference_and_are_missed_when_unused() {
    let text = "# head\n\none | a | b | serf is wrong here\ntwo |  | c | serf says nothing\n";
    let mut allowed = parse(text);
    let pair = |serf: &str, muster: &str| (serf.to_owned(), muster.to_owned());
    assert!(!allowed.explains("one", &pair("a", "c")));
    assert!(!allowed.explains("two", &pair("a", "b")));
    assert_eq!(allowed.unused().len(), 2);
    assert!(allowed.explains("one", &pair(" a", "b")));
    assert!(allowed.explains("two", &pair("", "c")));
    assert_eq!(allowed.unused(), Vec::<String>::new());
}

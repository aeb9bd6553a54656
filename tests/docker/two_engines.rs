//! `docs/two-engines.md` shows what its script prints.
//!
//! `MUSTER_UPDATE_DOCS=1 cargo test -p muster-tests --test docker two_engines` records
//! the page anew.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::{Process, wait};
use rustix::process::Signal;

use crate::image;

const PAGE: &str = "docs/two-engines.md";

const SCRIPT: &str = "deploy/examples/two-engines/run.sh";

/// Longest run; then the script is told to end.
const PATIENCE: Duration = Duration::from_secs(600);

/// What begins and ends a block of a page.
const FENCE: &str = "```\n";

/// The title of a part, and what was typed and printed there.
type Part<'a> = (&'a str, &'a str);

/// Parts of what the script prints: `# TITLE`, then lines.
fn printed(text: &str) -> Vec<Part<'_>> {
    let text = text.strip_prefix("# ").unwrap_or(text);
    let parts = text
        .split("\n\n# ")
        .filter_map(|part| part.split_once('\n'));
    parts
        .map(|(title, text)| (title, text.trim_end()))
        .collect()
}

/// Parts of the page: `## TITLE`, words, and the first block.
fn recorded(page: &str) -> Vec<Part<'_>> {
    let parts = page.split("\n## ").skip(1).filter_map(|part| {
        let (title, rest) = part.split_once('\n')?;
        let (_, block) = rest.split_once(FENCE)?;
        let (block, _) = block.split_once(FENCE)?;
        Some((title, block.trim_end()))
    });
    parts.collect()
}

/// What is the same in every run: no ages, times, ids and widths of columns. Why a member
/// failed depends on what was noticed first, and which places of a file of hosts are free
/// on who was seen when.
fn lasting(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let is_age = word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h'])
            && word
                .bytes()
                .all(|b| b.is_ascii_digit() || b"smh".contains(&b));
        let is_time = word.starts_with("20") && word.ends_with('Z') && word.contains('T');
        let is_id = word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
        match is_age || is_time || is_id {
            true => "*".to_owned(),
            false => word.to_owned(),
        }
    };
    let line = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        let failed = words.iter().position(|word| word == "failed");
        let length = failed.map_or(words.len(), |at| (at + 3).min(words.len()));
        words[..length].join(" ")
    };
    let is_free = |line: &&str| line.starts_with('#') && line.ends_with("# muster");
    let lines = text.lines().filter(|line| !is_free(line));
    lines.map(line).collect()
}

/// The page with another recording.
fn rewritten(page: &str, parts: &[Part<'_>]) -> String {
    let mut page = page.to_owned();
    for (title, text) in parts {
        let heading = page.find(&format!("\n## {title}\n"));
        let heading = heading.unwrap_or_else(|| panic!("{PAGE} has no heading {title:?}"));
        let begin = heading + page[heading..].find(FENCE).unwrap() + FENCE.len();
        let end = begin + page[begin..].find(FENCE).unwrap();
        page.replace_range(begin..end, &format!("{text}\n"));
    }
    page
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the script to its end: what it printed.
async fn run() -> String {
    let directory = temp_dir();
    let args = ["--binaries".into(), image::binaries().into_os_string()];
    let script: OsString = root().join(SCRIPT).into();
    let mut run = Process::start("run", &script, &args, &[], directory.path(), Stdio::null());
    let until = Instant::now() + PATIENCE;
    let ended = wait::holds("the run", 2 * PATIENCE, async || {
        if Instant::now() > until {
            // Not killed: it has engines and networks to tidy up.
            run.signal(Signal::TERM);
        }
        run.exited().is_some()
    });
    ended.await;
    let status = run.wait_exit(PATIENCE).await;
    let text = run.stdout_text();
    assert!(status.success(), "{status}\n{text}\n{}", run.stderr_text());
    text
}

#[tokio::test]
async fn the_recorded_run_happens_again() {
    let text = run().await;
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let parts = printed(&text);
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(path, rewritten(&page, &parts)).unwrap();
        return;
    }
    let recorded = recorded(&page);
    let titles = |parts: &[Part<'_>]| -> Vec<String> {
        parts.iter().map(|(title, _)| (*title).to_owned()).collect()
    };
    assert_eq!(titles(&recorded), titles(&parts));
    for ((title, then), (_, now)) in recorded.iter().zip(&parts) {
        assert_eq!(lasting(then), lasting(now), "{title}: {now}");
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_left_out() {
    let text = "n1 * 192.0.2.1:7946  failed  web  2s  its streams broke\n\
                #92.0.2.2 web        # muster\n\
                2026-11-22T01:05:21Z n2/app  51315f6eb2cd 1m11s {\"version\": 7}";
    assert_eq!(
        lasting(text),
        [
            "n1 * 192.0.2.1:7946 failed web *",
            "* n2/app * * {\"version\": 7}"
        ]
    );
    let page = "x\n\n## 1. A\nwords\n```\nold\n```\n\n## 2. B\n```\nold\n```\n";
    let parts = printed("# 1. A\n$ new\n\n# 2. B\nb\n");
    assert_eq!(parts, [("1. A", "$ new"), ("2. B", "b")]);
    assert_eq!(recorded(&rewritten(page, &parts)), parts);
}

use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

fn logged(tail: &Tail, log: impl FnOnce()) {
    let subscriber = tracing_subscriber::registry().with(tail.clone());
    tracing::subscriber::with_default(subscriber, log);
}

fn messages(reader: &mut Reader) -> Vec<(String, u64)> {
    let next = || reader.try_next();
    std::iter::from_fn(next)
        .map(|read| (read.line.message.clone(), read.missed))
        .collect()
}

#[test]
fn a_line_keeps_its_parts() {
    let tail = Tail::default();
    logged(&tail, || {
        tracing::warn!(target: "part", member = "a\n\"b", count = 3, error = %"why", "a sentence");
    });
    let line = tail.subscribe(1).try_next().unwrap().line;
    assert_eq!(
        (line.level, line.target.as_str(), line.message.as_str()),
        (Level::WARN, "part", "a sentence")
    );
    let fields: Vec<_> = line
        .fields
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        fields,
        [("count", "3"), ("error", "why"), ("member", "a\n\"b")]
    );
    assert!(line.unix_ms > 1_600_000_000_000);
}

#[test]
fn a_reader_begins_with_the_backlog_it_asked_for() {
    let tail = Tail::default();
    logged(&tail, || {
        for number in 0..5 {
            tracing::info!("line {number}");
        }
    });
    let mut two = tail.subscribe(2);
    assert_eq!(
        messages(&mut two),
        [("line 3".to_owned(), 0), ("line 4".to_owned(), 0)]
    );
    assert_eq!(messages(&mut tail.subscribe(0)), []);
    assert_eq!(messages(&mut tail.subscribe(usize::MAX)).len(), 5);
}

#[test]
fn who_is_slow_is_told_what_it_missed() {
    let tail = Tail::default();
    let mut reader = tail.subscribe(0);
    logged(&tail, || {
        for number in 0..TAIL_LINES_MAX + 7 {
            tracing::info!("line {number}");
        }
    });
    let read = messages(&mut reader);
    assert_eq!(read.len(), TAIL_LINES_MAX);
    assert_eq!(read[0], ("line 7".to_owned(), 7));
    assert!(read[1..].iter().all(|(_, missed)| *missed == 0));
}

#[test]
fn what_is_kept_is_bounded_in_bytes() {
    let tail = Tail::default();
    let long = "é".repeat(TAIL_TEXT_BYTES_MAX);
    logged(&tail, || {
        for _ in 0..TAIL_LINES_MAX {
            tracing::info!(a = long, b = long, "{long}");
        }
    });
    let ring = tail.ring();
    assert!(ring.bytes <= TAIL_BYTES_MAX, "{}", ring.bytes);
    assert_eq!(
        ring.bytes,
        ring.lines.iter().map(|line| line.bytes()).sum::<usize>()
    );
    let line = ring.lines.front().unwrap();
    assert_eq!(line.message.len(), TAIL_TEXT_BYTES_MAX);
    assert!(line.fields["a"].len() == TAIL_TEXT_BYTES_MAX && line.fields.len() == 2);
}

#[tokio::test]
async fn a_reader_waits_for_the_next_line() {
    let tail = Tail::default();
    let mut reader = tail.subscribe(0);
    let waits = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    logged(&tail, || tracing::info!("it came"));
    let read = tokio::time::timeout(Duration::from_secs(10), waits).await;
    assert_eq!(read.unwrap().unwrap().unwrap().line.message, "it came");
}

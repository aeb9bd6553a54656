use super::super::testing::{event, gap, origin};
use super::*;

fn sequences(ring: &EventRing, index: u64) -> Vec<(String, u64)> {
    match ring.read(index, usize::MAX, usize::MAX) {
        Page::Entries(entries) => {
            let brief = |entry: &Entry| {
                let (origin, sequence) = entry.position();
                (origin.to_string(), sequence)
            };
            entries.iter().map(brief).collect()
        }
        Page::Behind => panic!("behind"),
    }
}

fn fill(ring: &EventRing, of: &Origin, sequences: std::ops::RangeInclusive<u64>) {
    ring.push(sequences.map(|n| event(of, n, "e", b"")).collect());
}

#[test]
fn entries_come_in_order_and_only_once() {
    let ring = EventRing::new();
    let a = origin("a", 1);
    fill(&ring, &a, 1..=2);
    ring.push(vec![
        gap(&a, 3, 5),
        event(&a, 5, "e", b""),
        event(&a, 6, "e", b""),
    ]);
    let all = [1, 2, 5, 6].map(|n| ("a/1".to_owned(), n));
    assert_eq!(sequences(&ring, 0), all);
    assert_eq!(sequences(&ring, 3), all[3..]);
    assert_eq!(ring.at_head().1.get(&a), Some(6));
}

#[test]
fn a_page_is_bounded_by_bytes_but_never_empty() {
    let ring = EventRing::new();
    let a = origin("a", 1);
    ring.push((1..=3).map(|n| event(&a, n, "e", &[0; 1_000])).collect());
    let Page::Entries(page) = ring.read(0, 9, 10) else {
        panic!("behind");
    };
    assert_eq!(page.len(), 1);
}

#[test]
fn what_left_the_ring_is_told_per_origin() {
    let ring = EventRing::new();
    let (a, b, c) = (origin("a", 1), origin("b", 1), origin("c", 1));
    fill(&ring, &a, 1..=10);
    let before = ring.at_head().1;
    fill(&ring, &b, 1..=3);
    ring.push(vec![EventUpdate::Base {
        origin: c.clone(),
        sequence: 500,
    }]);
    fill(&ring, &c, 501..=502);
    fill(&ring, &a, 11..=EVENTS_MAX as u64 + 10);
    assert!(matches!(ring.read(9, 1, 1), Page::Behind));

    let listening = ring.rejoin((*before).clone(), Unknown::FromBase);
    let missed: Vec<_> = listening
        .missed
        .iter()
        .map(|gap| (gap.first, gap.last))
        .collect();
    assert_eq!(missed, [(1, 3), (501, 502)], "a is whole: {missed:?}");

    let resumed = ring.rejoin((*before).clone(), Unknown::FromStart);
    let missed: Vec<_> = resumed
        .missed
        .iter()
        .map(|gap| (gap.first, gap.last))
        .collect();
    assert_eq!(missed, [(1, 3), (1, 502)]);
    assert_eq!(resumed.positions.get(&a), Some(10));

    let oldest = ring.join_oldest();
    assert!(oldest.missed.is_empty());
    assert_eq!(sequences(&ring, oldest.index).len(), EVENTS_MAX);
}

#[test]
fn the_ring_is_bounded_in_bytes() {
    let ring = EventRing::new();
    let a = origin("a", 1);
    let megabyte = vec![0; 1 << 20];
    for n in 1..=70 {
        ring.push(vec![event(&a, n, "e", &megabyte)]);
        assert!(ring.bytes() <= EVENT_BYTES_MAX);
    }
    let joined = ring.rejoin(Positions::default(), Unknown::FromStart);
    let held = sequences(&ring, joined.index).len() as u64;
    assert_eq!(joined.missed[0].last + held, 70);
}

#[test]
fn readers_are_woken_once_per_batch() {
    let ring = EventRing::new();
    let mut head = ring.subscribe();
    fill(&ring, &origin("a", 1), 1..=3);
    assert_eq!(*head.borrow_and_update(), 3);
    ring.push(vec![event(&origin("a", 1), 2, "e", b"")]);
    assert!(!head.has_changed().unwrap(), "nothing new");
}

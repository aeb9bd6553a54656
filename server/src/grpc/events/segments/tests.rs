use muster_proto::v1 as pb;
use pb::watch_events_response::Event as Message;
use proptest::prelude::*;
use prost::Message as _;

use super::super::super::limits::{SEGMENT_BYTES, SEGMENT_ENTRIES};
use super::*;
use crate::hub::testing::{event, origin};

/// Appends events of a size.
fn push(ring: &EventRing, numbers: std::ops::RangeInclusive<u64>, bytes: usize) {
    let a = origin("a", 1);
    let events = numbers.map(|n| event(&a, n, "deploy", &vec![7; bytes]));
    ring.push(events.collect());
}

fn ring(events: u64) -> EventRing {
    let ring = EventRing::new();
    push(&ring, 1..=events, 200);
    ring
}

fn one(feed: &Feed, ring: &EventRing, index: u64) -> Arc<Segment> {
    match feed.take(ring, index) {
        Taken::Segment(segment) => segment,
        other @ (Taken::Head | Taken::Behind) => panic!("{other:?}"),
    }
}

/// Everything from an index on.
fn read(feed: &Feed, ring: &EventRing, mut index: u64) -> Vec<Arc<Segment>> {
    let mut segments = Vec::new();
    while let Taken::Segment(segment) = feed.take(ring, index) {
        index = segment.end;
        segments.push(segment);
    }
    segments
}

/// The numbers of the events in a segment.
fn numbers(segment: &Segment) -> Vec<u64> {
    let mut bytes = segment.bytes.clone();
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        let frame = bytes.split_to(5);
        let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
        let message = bytes.split_to(length as usize);
        let message = pb::WatchEventsResponse::decode(message).unwrap();
        let Some(Message::Item(event)) = message.event else {
            panic!("{message:?}");
        };
        numbers.push(event.id.unwrap().sequence);
    }
    assert_eq!(numbers.len() as u64, segment.messages);
    numbers
}

#[test]
fn readers_of_a_burst_share_its_bytes_though_one_comes_later() {
    let (ring, feeds) = (ring(1_000), Feeds::default());
    let feed = feeds.of(Patterns::default());
    assert!(Arc::ptr_eq(&feed, &feeds.of(Patterns::default())));
    let (one, two) = (read(&feed, &ring, 0), read(&feed, &ring, 0));
    assert!(one.iter().zip(&two).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(
        one.iter()
            .all(|segment| segment.bytes.len() <= SEGMENT_BYTES)
    );
    assert!(one.iter().flat_map(|it| numbers(it)).eq(1..=1_000));
    // Who starts elsewhere meets the others at the next boundary.
    let late = read(&feed, &ring, 100);
    assert!(Arc::ptr_eq(&late[1], &one[2]));
    feed.rest();
    assert!(!Arc::ptr_eq(&read(&feed, &ring, 0)[0], &one[0]));
}

#[test]
fn what_comes_meanwhile_is_in_the_segment_of_who_has_not_read_yet() {
    let (ring, feed) = (ring(3), Feed::new(Patterns::default(), true));
    let quick = one(&feed, &ring, 0);
    assert_eq!(numbers(&quick), [1, 2, 3]);
    assert!(Arc::ptr_eq(&quick, &one(&feed, &ring, 0)));
    push(&ring, 4..=5, 200);
    let slow = one(&feed, &ring, 0);
    assert_eq!(numbers(&slow), [1, 2, 3, 4, 5], "not in two pieces");
    push(&ring, 6..=200, 200);
    let slower = one(&feed, &ring, 0);
    assert!(slower.closed && slower.bytes.len() > SEGMENT_BYTES - 300);
    // All meet at the end of the first that was full.
    for index in [quick.end, slow.end] {
        assert_eq!(one(&feed, &ring, index).end, slower.end);
    }
}

#[test]
fn large_messages_stand_alone_and_small_ones_in_numbers() {
    let feed = Feed::new(Patterns::default(), true);
    let large = EventRing::new();
    push(&large, 1..=3, SEGMENT_BYTES);
    let segments = read(&feed, &large, 0);
    assert!(segments.iter().map(|it| it.messages).eq([1, 1, 1]));
    feed.rest();
    let small = EventRing::new();
    push(&small, 1..=10, 200);
    let a = origin("a", 1);
    let passed = |sequence| crate::hub::EventUpdate::Passed {
        origin: a.clone(),
        sequence,
    };
    small.push((11..=1_000).map(passed).collect());
    let ends = read(&feed, &small, 0)
        .iter()
        .map(|it| it.end)
        .collect::<Vec<_>>();
    assert_eq!(ends, [256, 512, 768, 1_000]);
    assert_eq!(SEGMENT_ENTRIES, 256);
}

#[test]
fn kept_segments_are_bounded() {
    let feed = Feed::new(Patterns::default(), true);
    let kept = |feed: &Feed| {
        let segments = lock(feed.segments.as_ref().unwrap());
        let bytes: usize = segments.values().map(|segment| segment.bytes.len()).sum();
        (segments.len(), bytes)
    };
    read(&feed, &ring(30_000), 0);
    let (count, bytes) = kept(&feed);
    assert!(
        count <= SEGMENTS_CACHED_MAX && bytes <= SEGMENTS_CACHED_BYTES,
        "{count} {bytes}"
    );
    let large = EventRing::new();
    push(&large, 1..=4, 3 << 20);
    feed.rest();
    assert_eq!(read(&feed, &large, 0).len(), 4);
    assert_eq!(
        kept(&feed).0,
        1,
        "one that is larger than the bound stands alone"
    );
}

/// What happens to a feed.
#[derive(Debug, Clone)]
enum Step {
    Push(u64, usize),
    /// A reader takes once.
    Take(usize),
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..40, 0_usize..2_000).prop_map(|(count, bytes)| Step::Push(count, bytes)),
        8 => (0_usize..4).prop_map(Step::Take),
        1 => Just(Step::Rest),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn whatever_happens_every_reader_gets_everything_once_in_order(
        steps in steps(), shared: bool,
    ) {
        let (ring, feed) = (EventRing::new(), Feed::new(Patterns::default(), shared));
        let (mut last, mut readers) = (0, [0_u64; 4]);
        for step in steps {
            match step {
                Step::Push(count, bytes) => {
                    push(&ring, last + 1..=last + count, bytes);
                    last += count;
                }
                Step::Take(reader) => match feed.take(&ring, readers[reader]) {
                    Taken::Segment(segment) => {
                        let at = readers[reader];
                        prop_assert!(numbers(&segment).into_iter().eq(at + 1..=segment.end));
                        prop_assert!(segment.end > at);
                        prop_assert_eq!(segment.spans[0].last, segment.end);
                        readers[reader] = segment.end;
                    }
                    Taken::Head => prop_assert_eq!(readers[reader], last),
                    Taken::Behind => prop_assert!(false, "nothing left the ring"),
                },
                Step::Rest => feed.rest(),
            }
        }
    }
}

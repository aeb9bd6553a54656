use super::*;
use crate::hub::testing::{event, origin};

fn ring(events: u64) -> EventRing {
    let ring = EventRing::new();
    let a = origin("a", 1);
    let events = (1..=events).map(|n| event(&a, n, "deploy", &[7; 170]));
    ring.push(events.collect());
    ring
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

#[test]
fn readers_of_a_burst_share_its_bytes_though_one_comes_later() {
    let (ring, feeds) = (ring(1_000), Feeds::default());
    let feed = feeds.of(Patterns::default());
    assert!(Arc::ptr_eq(&feed, &feeds.of(Patterns::default())));
    let (one, two) = (read(&feed, &ring, 0), read(&feed, &ring, 0));
    assert_eq!(one.len(), 1_000_usize.div_ceil(64), "64 events in each");
    assert!(one.iter().zip(&two).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert_eq!(
        one.iter().map(|segment| segment.messages).sum::<u64>(),
        1_000
    );
    // Who starts elsewhere meets the others at the next boundary.
    let late = read(&feed, &ring, 100);
    assert!(Arc::ptr_eq(&late[1], &one[2]));
    feed.rest();
    assert!(!Arc::ptr_eq(&read(&feed, &ring, 0)[0], &one[0]));
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
    let a = origin("a", 1);
    large.push((1..=4).map(|n| event(&a, n, "e", &[0; 3 << 20])).collect());
    feed.rest();
    assert_eq!(read(&feed, &large, 0).len(), 4);
    assert_eq!(
        kept(&feed).0,
        1,
        "one that is larger than the bound stands alone"
    );
}

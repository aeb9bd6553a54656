use super::*;

const WRONG: &[u8] = b"\x41\x02/x";
const RIGHT: &[u8] = b"\x41\x02-x";
const GOOD: &[u8] = b"\x83\x86\x84\x41\x04host";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Head {
        length: payload.len(),
        kind,
        flags,
        stream,
    }
    .write(&mut out);
    out.extend_from_slice(payload);
    out
}

/// After the preface.
fn started() -> Frames {
    let mut frames = Frames::default();
    assert_eq!(frames.step(PREFACE), Step::Pass(PREFACE.len()));
    frames
}

#[test]
fn another_protocol_passes() {
    for first in ["GET / HTTP/1.1\r\n", "\x16\x03\x01", "PRI * HTTP/1"] {
        let mut frames = Frames::default();
        assert_eq!(frames.step(first.as_bytes()), Step::Pass(first.len()));
        assert!(frames.is_off());
    }
    let mut frames = Frames::default();
    assert_eq!(frames.step(&PREFACE[..7]), Step::Pass(7));
    assert_eq!(frames.step(&PREFACE[7..]), Step::Pass(17));
    assert!(!frames.is_off());
}

#[test]
fn payloads_pass_as_they_come() {
    let mut frames = started();
    let data = frame(0, 0, 1, &[7; 1000]);
    assert_eq!(frames.step(&data[..8]), Step::More);
    assert_eq!(frames.step(&data[..9]), Step::Pass(9));
    assert_eq!(frames.step(&data[9..500]), Step::Pass(491));
    assert_eq!(frames.step(&data[500..]), Step::Pass(509));
    assert_eq!(frames.step(&frame(4, 1, 0, &[])), Step::Pass(9));
    assert_eq!(
        frames.step(&frame(1, END_HEADERS, 1, GOOD)),
        Step::Pass(9 + GOOD.len())
    );
}

#[test]
fn a_rewritten_block_keeps_stream_flags_and_priority_and_loses_padding() {
    let payload = [b"\x03\x80\0\0\x05\xff", WRONG, b"\0\0\0"].concat();
    let sent = frame(HEADERS, END_HEADERS | PADDED | PRIORITY | 1, 7, &payload);
    let wanted = [b"\x80\0\0\x05\xff", RIGHT].concat();
    let wanted = frame(HEADERS, END_HEADERS | PRIORITY | 1, 7, &wanted);
    assert_eq!(started().step(&sent), Step::Replace(sent.len(), wanted));
}

#[test]
fn a_block_over_several_frames_is_seen_whole() {
    let mut sent = frame(HEADERS, 1, 3, &WRONG[..1]);
    sent.extend(frame(CONTINUATION, 0, 3, &[]));
    sent.extend(frame(CONTINUATION, 0, 3, &WRONG[1..3]));
    sent.extend(frame(CONTINUATION, END_HEADERS, 3, &WRONG[3..]));
    let wanted = frame(HEADERS, END_HEADERS | 1, 3, RIGHT);
    let length = sent.len();
    sent.extend(frame(6, 0, 0, &[0; 8]));
    for known in 0..length {
        let mut frames = started();
        assert_eq!(frames.step(&sent[..known]), Step::More);
        assert_eq!(
            frames.step(&sent),
            Step::Replace(length, wanted.clone()),
            "after {known}"
        );
    }
}

#[test]
fn a_large_rewritten_block_is_split_again() {
    let mut block = WRONG.to_vec();
    for _ in 0..7 {
        block.extend_from_slice(b"\x00\x01a\x7f\xa1\x1e");
        block.extend_from_slice(&[b'v'; 4000]);
    }
    let mut sent = frame(HEADERS, 0, 1, &block[..16_000]);
    sent.extend(frame(CONTINUATION, END_HEADERS, 1, &block[16_000..]));
    block[..WRONG.len()].copy_from_slice(RIGHT);
    let mut wanted = frame(HEADERS, 0, 1, &block[..MAX_PAYLOAD]);
    wanted.extend(frame(CONTINUATION, END_HEADERS, 1, &block[MAX_PAYLOAD..]));
    assert!(started().step(&sent) == Step::Replace(sent.len(), wanted));
}

#[test]
fn a_block_beyond_the_bound_passes_and_ends_the_filter() {
    let mut sent = frame(HEADERS, 0, 1, GOOD);
    let mut frames = started();
    while sent.len() + HEAD + 1000 <= MAX_HELD {
        sent.extend(frame(CONTINUATION, 0, 1, &[0x82; 1000]));
        assert_eq!(frames.step(&sent), Step::More);
    }
    sent.extend(&frame(CONTINUATION, 0, 1, &[0x82; 1000])[..HEAD]);
    assert_eq!(frames.step(&sent), Step::Pass(sent.len()));
    assert!(frames.is_off());
}

#[test]
fn what_h2_would_not_take_passes_and_ends_the_filter() {
    let broken = [
        (
            "continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, WRONG),
        ),
        ("push", frame(PUSH_PROMISE, END_HEADERS, 1, WRONG)),
        (
            "frame too large",
            frame(HEADERS, END_HEADERS, 1, &[0x82; MAX_PAYLOAD + 1]),
        ),
        ("stream zero", frame(HEADERS, END_HEADERS, 0, WRONG)),
        (
            "no padding length",
            frame(HEADERS, END_HEADERS | PADDED, 1, b""),
        ),
        (
            "too much padding",
            frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05\x82\0\0\0"),
        ),
        (
            "no priority",
            frame(HEADERS, END_HEADERS | PRIORITY, 1, b"\0\0\0\x03"),
        ),
        (
            "depends on itself",
            frame(HEADERS, END_HEADERS | PRIORITY, 3, b"\x80\0\0\x03\x01\x82"),
        ),
        ("no HPACK", frame(HEADERS, END_HEADERS, 1, b"\x80")),
        (
            "interrupted",
            [frame(HEADERS, 0, 1, GOOD), frame(0, 0, 1, b"data")].concat(),
        ),
        (
            "other stream",
            [frame(HEADERS, 0, 1, GOOD), frame(9, 4, 3, GOOD)].concat(),
        ),
    ];
    for (what, sent) in broken {
        let mut frames = started();
        assert_eq!(frames.step(&sent), Step::Pass(sent.len()), "{what}");
        assert!(frames.is_off(), "{what}");
        let next = frame(HEADERS, END_HEADERS, 5, WRONG);
        assert_eq!(frames.step(&next), Step::Pass(next.len()), "{what}");
    }
}

#[test]
fn a_detached_connection_ends_by_a_block_that_h2_refuses() {
    let mut frames = started();
    let empty = frame(HEADERS, END_HEADERS, 1, b"\x41\x00");
    assert!(matches!(frames.step(&empty), Step::Replace(11, _)));
    // The table behind us is empty: this must not reach it as it is.
    let fine = frame(HEADERS, END_HEADERS, 3, b"\xbe");
    let spelled = frame(HEADERS, END_HEADERS, 3, b"\x01\x09localhost");
    assert_eq!(frames.step(&fine), Step::Replace(fine.len(), spelled));
    let broken = frame(HEADERS, END_HEADERS, 5, b"\xbf");
    let poison = frame(HEADERS, END_HEADERS, 1, POISON);
    assert_eq!(frames.step(&broken), Step::Replace(broken.len(), poison));
    assert!(frames.is_off());
}

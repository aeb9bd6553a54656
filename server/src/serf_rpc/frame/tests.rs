use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Cuts `bytes`, given in pieces of `step`, into frames.
fn cut(bytes: &[u8], step: usize, limit: usize) -> Result<Vec<Bytes>, FrameError> {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(step) {
        frames.bytes.extend_from_slice(piece);
        while let Some(frame) = frames.next(limit)? {
            found.push(frame);
        }
    }
    Ok(found)
}

/// One value of every marker.
fn every_kind() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![
        vec![0x05],
        vec![0xe5],
        vec![0xc0],
        vec![0xc2],
        vec![0xc3],
        vec![0x82, 0x01, 0x02, 0xa1, b'k', 0x91, 0xc0],
        vec![0x80],
        vec![0x93, 0x01, 0x92, 0x02, 0x03, 0x04],
        b"\xa3abc".to_vec(),
        b"\xc4\x02ab".to_vec(),
        b"\xc5\x00\x02ab".to_vec(),
        b"\xc6\x00\x00\x00\x02ab".to_vec(),
        b"\xc7\x02\x07ab".to_vec(),
        b"\xc8\x00\x02\x07ab".to_vec(),
        b"\xc9\x00\x00\x00\x02\x07ab".to_vec(),
        b"\xd9\x02ab".to_vec(),
        b"\xda\x00\x02ab".to_vec(),
        b"\xdb\x00\x00\x00\x02ab".to_vec(),
        vec![0xdc, 0x00, 0x02, 0x01, 0x02],
        vec![0xdd, 0x00, 0x00, 0x00, 0x02, 0x01, 0x02],
        vec![0xde, 0x00, 0x01, 0x01, 0x02],
        vec![0xdf, 0x00, 0x00, 0x00, 0x01, 0x01, 0x02],
    ];
    for (marker, size) in [
        (0xca, 4),
        (0xcb, 8),
        (0xcc, 1),
        (0xcd, 2),
        (0xce, 4),
        (0xcf, 8),
        (0xd0, 1),
        (0xd1, 2),
        (0xd2, 4),
        (0xd3, 8),
        (0xd4, 2),
        (0xd5, 3),
        (0xd6, 5),
        (0xd7, 9),
        (0xd8, 17),
    ] {
        let mut value = vec![marker];
        value.resize(1 + size, 7);
        all.push(value);
    }
    all
}

#[test]
fn every_kind_of_value_ends_where_it_ends() {
    let kinds = every_kind();
    let stream = kinds.concat();
    for step in [1, 2, 3, 7, stream.len()] {
        let frames = cut(&stream, step, 64).unwrap();
        assert_eq!(frames, kinds, "in pieces of {step}");
    }
}

#[test]
fn an_unfinished_value_is_no_frame_yet() {
    for kind in every_kind() {
        for length in 0..kind.len() {
            let mut frames = Frames::default();
            frames.bytes.extend_from_slice(&kind[..length]);
            assert_eq!(frames.next(64), Ok(None), "{kind:x?}");
            assert_eq!(frames.is_begun(), length > 0);
        }
    }
}

#[test]
fn what_announces_too_much_is_refused_at_once() {
    let huge: [&[u8]; 6] = [
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1k\xda\xff\xff",
    ];
    for bytes in huge {
        let refused = cut(bytes, 1, 1_000);
        assert_eq!(
            refused,
            Err(FrameError::TooLarge { limit: 1_000 }),
            "{bytes:x?}"
        );
    }
    assert_eq!(cut(b"\xa3abc", 1, 4).unwrap().len(), 1);
    assert_eq!(
        cut(b"\xa3abc", 4, 3),
        Err(FrameError::TooLarge { limit: 3 })
    );
}

#[test]
fn deep_values_and_bad_markers_are_refused() {
    let nested = |depth| {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    };
    assert_eq!(cut(&nested(DEPTH_MAX), 1, 64).unwrap().len(), 1);
    assert_eq!(cut(&nested(DEPTH_MAX + 1), 1, 64), Err(FrameError::TooDeep));
    assert_eq!(cut(b"\x91\xc1", 1, 64), Err(FrameError::BadMarker(0xc1)));
}

#[test]
fn frames_agree_with_the_decoder_on_any_bytes() {
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..20_000 {
        let length = rng.random_range(1..40);
        let bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        let mut frames = Frames::default();
        frames.bytes.extend_from_slice(&bytes);
        let Ok(Some(frame)) = frames.next(1_000) else {
            continue;
        };
        // The decoder reads exactly as far.
        let mut rest = &bytes[..];
        let mut decoder = rmp_serde::Deserializer::new(&mut rest);
        serde::de::IgnoredAny::deserialize(&mut decoder).unwrap();
        assert_eq!(bytes.len() - rest.len(), frame.len(), "{bytes:x?}");
    }
}

use serde::Deserialize as _;

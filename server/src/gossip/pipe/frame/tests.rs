use tokio::io::{DuplexStream, duplex};

use super::*;

fn frames() -> (DuplexStream, Frames<DuplexStream>) {
    let (raw, io) = duplex(64 << 10);
    (raw, Frames::new(io))
}

#[tokio::test]
async fn frames_round_trip() {
    let (near, far) = duplex(1_000);
    let (mut near, mut far) = (Frames::new(near), Frames::new(far));
    for (kind, size) in [
        (FrameKind::Open, 4),
        (FrameKind::Body, 0),
        (FrameKind::Body, 1),
        (FrameKind::Body, FIRST_WRITE + 1),
        (FrameKind::Body, EXCHANGE_BYTES_MAX),
        (FrameKind::Goodbye, CONTROL_BYTES_MAX),
    ] {
        let sent = vec![5; size];
        let (wrote, read) = tokio::join!(near.write(kind, &sent), async {
            let head = far.head().await?;
            Ok::<_, FrameError>((head.kind, far.body(head).await?))
        });
        wrote.unwrap();
        let (got, body) = read.unwrap();
        assert_eq!(got, kind);
        assert!(body == sent, "{size}");
    }
}

#[tokio::test]
async fn the_header_is_pinned() {
    let (mut raw, mut frames) = frames();
    frames.write(FrameKind::Body, b"abc").await.unwrap();
    let mut bytes = [0; 8];
    raw.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"\0\0\0\x03\x01abc");
}

#[tokio::test]
async fn too_long_is_refused_before_a_byte_is_read() {
    for (kind, claimed) in [
        (1, EXCHANGE_BYTES_MAX + 1),
        (0, CONTROL_BYTES_MAX + 1),
        (1, u32::MAX as usize),
    ] {
        let (mut raw, mut frames) = frames();
        raw.write_u32(u32::try_from(claimed).unwrap())
            .await
            .unwrap();
        raw.write_u8(kind).await.unwrap();
        let error = frames.head().await.unwrap_err();
        assert!(
            matches!(error, FrameError::TooLong { bytes, .. } if bytes == claimed),
            "{error}"
        );
    }
}

#[tokio::test]
async fn too_long_is_not_written() {
    let (_raw, mut frames) = frames();
    let body = vec![0; EXCHANGE_BYTES_MAX + 1];
    let error = frames.write(FrameKind::Body, &body).await.unwrap_err();
    assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn unknown_kinds_are_refused() {
    let (mut raw, mut frames) = frames();
    raw.write_all(&[0, 0, 0, 0, 3]).await.unwrap();
    assert!(matches!(frames.head().await, Err(FrameError::Kind(3))));
}

#[tokio::test(start_paused = true)]
async fn memory_follows_the_bytes_that_came() {
    let (mut raw, mut frames) = frames();
    raw.write_u32(EXCHANGE_BYTES_MAX as u32).await.unwrap();
    raw.write_all(b"\x01some bytes").await.unwrap();
    let head = frames.head().await.unwrap();
    assert!(matches!(frames.body(head).await, Err(FrameError::Slow)));
    assert_eq!(frames.body, b"some bytes");
    assert!(frames.body.capacity() <= 2 * READ_STEP);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_is_too_slow_but_a_quiet_pipe_is_not() {
    let (mut raw, mut frames) = frames();
    let quiet = timeout(Duration::from_secs(3_600), frames.head());
    assert!(quiet.await.is_err(), "waited an hour for the first byte");
    raw.write_all(&[0, 0]).await.unwrap();
    assert!(matches!(frames.head().await, Err(FrameError::Slow)));
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let (mut raw, mut frames) = frames();
    for byte in [0, 0, 0, 1] {
        raw.write_u8(byte).await.unwrap();
        let waiting = timeout(Duration::from_millis(1), frames.head());
        assert!(waiting.await.is_err());
    }
    raw.write_all(b"\x01x").await.unwrap();
    let head = frames.head().await.unwrap();
    assert_eq!(frames.body(head).await.unwrap(), "x");
}

#[tokio::test]
async fn the_end_is_told() {
    let (raw, mut frames) = frames();
    drop(raw);
    assert!(matches!(frames.head().await, Err(FrameError::Ended)));
    let (mut raw, mut frames) = self::frames();
    raw.write_all(b"\0\0\0\x05\x01abc").await.unwrap();
    drop(raw);
    let head = frames.head().await.unwrap();
    assert!(matches!(frames.body(head).await, Err(FrameError::Ended)));
}

#[tokio::test]
async fn a_goodbye_carries_its_reason() {
    let (near, far) = duplex(1_000);
    let mut far = Frames::new(far);
    Frames::new(near)
        .close(Reason::UnknownKind, "what is that")
        .await;
    let head = far.head().await.unwrap();
    assert_eq!(head.kind, FrameKind::Goodbye);
    let goodbye = Goodbye::decode(far.body(head).await.unwrap()).unwrap();
    assert_eq!(goodbye, Goodbye::new(Reason::UnknownKind, "what is that"));
    assert!(matches!(far.head().await, Err(FrameError::Ended)));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_does_not_wait_for_the_deaf() {
    let (raw, io) = duplex(1);
    let frames = Frames::new(io);
    timeout(Duration::from_secs(1), frames.close(Reason::Done, "x"))
        .await
        .unwrap();
    drop(raw);
}

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::gossip::pipe::testing::pair;

#[tokio::test]
async fn bytes_of_every_size_round_trip() {
    for key in [None, Some(1)] {
        let (mut near, mut far) = pair(key).await;
        for size in [
            1,
            2,
            4_095,
            PAYLOAD_BYTES_MAX,
            PAYLOAD_BYTES_MAX + 1,
            4 << 20,
        ] {
            let sent: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut got = vec![0; size];
            let (wrote, read) = tokio::join!(
                async {
                    near.write_all(&sent).await?;
                    near.flush().await
                },
                far.read_exact(&mut got)
            );
            wrote.unwrap();
            read.unwrap();
            assert!(got == sent, "{size}");
        }
    }
}

#[tokio::test]
async fn no_buffer_is_kept_while_idle() {
    let (mut near, mut far) = pair(Some(1)).await;
    let sent = vec![7; 1 << 20];
    let mut got = vec![0; 1 << 20];
    let (wrote, read) = tokio::join!(
        async {
            near.write_all(&sent).await?;
            near.flush().await
        },
        far.read_exact(&mut got)
    );
    wrote.unwrap();
    read.unwrap();
    assert_eq!(near.writing.sealed.capacity(), 0);
    assert_eq!(far.reading.payload.capacity(), 0);
    assert_eq!(far.reading.message.capacity(), 0);
}

#[tokio::test]
async fn memory_follows_the_bytes_that_came() {
    let (mut raw, io) = duplex(100);
    let mut stream = SealedStream::new(io, Codec::Plain, None);
    raw.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    let mut byte = [0];
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read(&mut byte));
    assert!(waiting.await.is_err());
    assert_eq!(stream.reading.message, [1, 2, 3]);
    assert!(stream.reading.message.capacity() <= 2 * READ_STEP);
}

#[tokio::test]
async fn a_proper_end_reads_as_the_end() {
    for key in [None, Some(1)] {
        let (mut near, mut far) = pair(key).await;
        near.write_all(b"bye").await.unwrap();
        near.shutdown().await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"bye");
        assert!(near.write_all(b"x").await.is_err(), "the direction is over");
        far.write_all(b"still here").await.unwrap();
        far.shutdown().await.unwrap();
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"still here");
    }
}

#[tokio::test]
async fn a_cut_reads_as_an_error() {
    for key in [None, Some(1)] {
        let (mut near, mut far) = pair(key).await;
        near.write_all(b"half").await.unwrap();
        near.flush().await.unwrap();
        drop(near);
        let mut got = Vec::new();
        let error = far.read_to_end(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(got, b"half");
    }
}

#[tokio::test]
async fn a_flipped_bit_breaks_the_stream() {
    let (mut near, far) = pair(Some(1)).await;
    near.write_all(b"hello").await.unwrap();
    let mut tampered = far.io;
    let mut message = [0; 2 + 5 + TAG];
    tampered.read_exact(&mut message).await.unwrap();
    message[4] ^= 1;
    let (mut raw, io) = duplex(100);
    raw.write_all(&message).await.unwrap();
    let mut far = SealedStream::new(io, far.codec, None);
    let error = far.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_message_shorter_than_its_tag_breaks_the_stream() {
    let (_near, far) = pair(Some(1)).await;
    for length in 0..16_u8 {
        let (mut raw, io) = duplex(100);
        raw.write_all(&[0, length]).await.unwrap();
        raw.write_all(&vec![0; usize::from(length)]).await.unwrap();
        let (_, other) = pair(Some(1)).await;
        let mut stream = SealedStream::new(io, other.codec, None);
        let error = stream.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
    }
    drop(far);
}

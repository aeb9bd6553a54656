use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::gossip::pipe::testing::identity;

type Outcome = Result<SealedStream<DuplexStream>, HandshakeError>;

async fn shake(initiator: &Identity, responder: &Identity) -> (Outcome, Outcome) {
    let (near, far) = duplex(1_000);
    tokio::join!(initiate(near, initiator), accept(far, responder))
}

/// Sends raw bytes to a responder; what it replied and how it ended.
async fn send_raw(bytes: &[u8], me: &Identity) -> (Vec<u8>, Result<(), HandshakeError>) {
    let (mut near, far) = duplex(10_000);
    let client = async {
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let mut reply = Vec::new();
        near.read_to_end(&mut reply).await.unwrap();
        reply
    };
    tokio::join!(client, async { accept(far, me).await.map(drop) })
}

/// Answers an initiator with raw bytes.
async fn reply_raw(bytes: &[u8], me: &Identity) -> HandshakeError {
    let (near, mut far) = duplex(10_000);
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    initiate(near, me).await.unwrap_err()
}

#[tokio::test]
async fn peers_of_one_cluster_agree() {
    for key in [None, Some(1)] {
        let (near, far) = shake(&identity("c", key), &identity("c", key)).await;
        assert!(near.is_ok() && far.is_ok());
    }
}

#[tokio::test]
async fn a_second_key_of_the_ring_is_accepted() {
    let mut ring = Keyring::new(Key::new(&[1; 32]).unwrap());
    ring.install(Key::new(&[2; 32]).unwrap());
    let both = Identity {
        cluster: "c".to_owned(),
        keyring: Some(ring),
    };
    let (near, far) = shake(&identity("c", Some(2)), &both).await;
    assert!(near.is_ok() && far.is_ok());
}

#[tokio::test]
async fn a_wrong_key_is_told_to_both() {
    let (near, far) = shake(&identity("c", Some(1)), &identity("c", Some(2))).await;
    let (near, far) = (near.unwrap_err(), far.unwrap_err());
    assert!(matches!(near, HandshakeError::UnknownKey(_)), "{near}");
    assert!(matches!(far, HandshakeError::UnknownKey(_)), "{far}");
    assert!(
        near.to_string().contains("wrong key or other cluster"),
        "{near}"
    );
}

#[tokio::test]
async fn another_cluster_is_told_to_both() {
    for key in [None, Some(1)] {
        let (near, far) = shake(&identity("one", key), &identity("two", key)).await;
        let (near, far) = (near.unwrap_err(), far.unwrap_err());
        assert!(matches!(near, HandshakeError::WrongKeyOrCluster), "{near}");
        assert!(matches!(far, HandshakeError::WrongKeyOrCluster), "{far}");
    }
}

#[tokio::test]
async fn clear_and_sealed_do_not_mix() {
    let (near, far) = shake(&identity("c", None), &identity("c", Some(1))).await;
    let text = near.unwrap_err().to_string();
    assert_eq!(
        text,
        "this node talks without encryption, the peer has a key"
    );
    let text = far.unwrap_err().to_string();
    assert_eq!(
        text,
        "the peer talks without encryption, this node has a key"
    );
    let (near, far) = shake(&identity("c", Some(1)), &identity("c", None)).await;
    let text = near.unwrap_err().to_string();
    assert_eq!(
        text,
        "this node has a key, the peer talks without encryption"
    );
    assert!(matches!(
        far.unwrap_err(),
        HandshakeError::SealedRefused { .. }
    ));
}

#[tokio::test]
async fn another_version_is_told_to_both() {
    let me = identity("c", Some(1));
    let mut hello = me.preamble().to_vec();
    hello[4] = 9;
    hello.extend([0; 200]);
    let (reply, outcome) = send_raw(&hello, &me).await;
    assert!(matches!(outcome, Err(HandshakeError::Version(9))));
    assert_eq!(reply, [b'm', b's', b't', b'r', 1, 1]);
    let error = reply_raw(&[b'm', b's', b't', b'r', 1, 7], &me).await;
    assert!(matches!(error, HandshakeError::Version(7)), "{error}");
}

#[tokio::test]
async fn an_unknown_suite_is_refused() {
    let me = identity("c", Some(1));
    let mut hello = me.preamble();
    hello[5] = 9;
    let (reply, outcome) = send_raw(&hello, &me).await;
    assert!(matches!(outcome, Err(HandshakeError::Suite(9))));
    assert_eq!(reply[4], Status::Suite as u8);
}

#[tokio::test]
async fn a_flipped_bit_in_the_hello_is_refused() {
    let me = identity("c", Some(1));
    let key = me.keyring.as_ref().unwrap().primary();
    let mut hello = me.preamble().to_vec();
    let mut state = me
        .noise(key, &me.preamble(), |builder| builder.build_initiator())
        .unwrap();
    hello.extend([0; NOISE_MESSAGE]);
    write_noise(&mut state, &mut hello[PREAMBLE..]).unwrap();
    for bit in 0..hello.len() * 8 {
        // The top bit of a Curve25519 key is ignored by everybody (RFC 7748), but
        // Noise hashes the bytes as they came, so that this one is noticed too.
        let mut bad = hello.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(send_raw(&bad, &me).await.1.is_err(), "bit {bit}");
    }
    assert!(send_raw(&hello, &me).await.1.is_ok());
}

#[tokio::test]
async fn a_truncated_hello_is_an_error_at_every_length() {
    for me in [identity("c", Some(1)), identity("c", None)] {
        let mut hello = me.preamble().to_vec();
        hello.extend(me.cluster_hash());
        for length in 0..hello.len() {
            let (reply, outcome) = send_raw(&hello[..length], &me).await;
            assert!(matches!(outcome, Err(HandshakeError::Io(_))), "{length}");
            assert!(reply.is_empty(), "{length}");
        }
    }
}

#[tokio::test]
async fn garbage_gets_no_reply() {
    let me = identity("c", Some(1));
    let (reply, outcome) = send_raw(b"GET / HTTP/1.1\r\n\r\n", &me).await;
    assert!(matches!(outcome, Err(HandshakeError::NotMuster)));
    assert!(reply.is_empty());
}

#[tokio::test]
async fn something_else_that_listens_is_named() {
    let me = identity("c", Some(1));
    let error = reply_raw(b"SSH-2.0-OpenSSH_9.2\r\n", &me).await;
    assert!(matches!(error, HandshakeError::NotMuster), "{error}");
    let error = reply_raw(b"mstr\xee\x01", &me).await;
    assert!(matches!(error, HandshakeError::NotMuster), "{error}");
    let error = reply_raw(&busy_reply(), &me).await;
    assert!(matches!(error, HandshakeError::Busy), "{error}");
}

#[tokio::test]
async fn a_responder_without_the_key_cannot_pretend() {
    let me = identity("c", Some(1));
    let pretended = [&Status::Go.reply()[..], &[0x42; NOISE_MESSAGE]].concat();
    let error = reply_raw(&pretended, &me).await;
    assert!(
        matches!(error, HandshakeError::WrongKeyOrCluster),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_that_stays_is_not_waited_for() {
    let (near, far) = duplex(1_000);
    let me = identity("c", Some(1));
    let (_kept, mut writer) = tokio::io::split(near);
    let mut hello = identity("c", Some(2)).preamble().to_vec();
    hello.extend([0; NOISE_MESSAGE]);
    writer.write_all(&hello).await.unwrap();
    let ended = timeout(LINGER + Duration::from_millis(1), accept(far, &me)).await;
    assert!(matches!(ended, Ok(Err(HandshakeError::UnknownKey(_)))));
}

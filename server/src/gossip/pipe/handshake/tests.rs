use std::time::Duration;

use muster_engine::crypto::Stage;
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::gossip::pipe::testing::{identity, initiate_first};

type Outcome = Result<SealedStream<DuplexStream>, HandshakeError>;

async fn shake(initiator: &Identity, responder: &Identity) -> (Outcome, Outcome) {
    let (near, far) = duplex(1_000);
    tokio::join!(initiate_first(near, initiator), accept(far, responder))
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
    initiate_first(near, me).await.unwrap_err()
}

fn preamble(me: &Identity) -> [u8; PREAMBLE] {
    me.offers(Prefer::Stage)[0].preamble()
}

fn ring(bytes: &[u8], stage: Stage) -> Keyring {
    let mut keys = bytes.iter().map(|byte| Key::new(&[*byte; 32]).unwrap());
    let mut ring = Keyring::new(keys.next().unwrap()).at(stage);
    keys.for_each(|key| ring.install(key));
    ring
}

fn node(bytes: &[u8], stage: Stage) -> Identity {
    Identity::new("c".to_owned(), Some(ring(bytes, stage)))
}

/// The ids of what is offered, `None` for plaintext.
fn offered(me: &Identity, prefer: Prefer) -> Vec<Option<KeyId>> {
    let id = |offer: &Offer| match offer {
        Offer::Plain => None,
        Offer::Key(key) => Some(key.id()),
    };
    me.offers(prefer).iter().map(id).collect()
}

#[test]
fn offers_follow_the_stage_and_begin_with_the_primary() {
    let [one, two] = [1, 2].map(|byte| Some(Key::new(&[byte; 32]).unwrap().id()));
    let cases = [
        (Stage::Receive, Prefer::Stage, vec![None, two, one]),
        (Stage::Receive, Prefer::Sealed, vec![two, one, None]),
        (Stage::Send, Prefer::Stage, vec![two, one, None]),
        (Stage::On, Prefer::Stage, vec![two, one]),
    ];
    for (stage, prefer, expected) in cases {
        assert_eq!(offered(&node(&[2, 1], stage), prefer), expected, "{stage}");
    }
    assert_eq!(offered(&identity("c", None), Prefer::Sealed), [None]);
    let many: Vec<u8> = (1..=16).collect();
    let offers = offered(&node(&many, Stage::On), Prefer::Stage);
    assert_eq!((offers.len(), offers[0]), (OFFERED_KEYS_MAX, one));
}

#[tokio::test]
async fn neighbouring_stages_understand_each_other_by_their_first_offer() {
    let stages = [
        identity("c", None),
        std::sync::Arc::new(node(&[1], Stage::Receive)),
        std::sync::Arc::new(node(&[1], Stage::Send)),
        std::sync::Arc::new(node(&[1], Stage::On)),
    ];
    for pair in stages.windows(2) {
        for (one, two) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let (near, far) = shake(one, two).await;
            let (near, far) = (near.unwrap(), far.unwrap());
            assert_eq!(near.key(), far.key());
            let seals = one.keyring().is_some_and(|ring| ring.stage().seals());
            assert_eq!(near.key().is_some(), seals);
        }
    }
}

#[tokio::test]
async fn a_refusal_says_whether_another_offer_may_do() {
    let (near, _) = shake(&node(&[1], Stage::Receive), &node(&[1], Stage::On)).await;
    assert!(near.unwrap_err().may_take_another());
    let (near, _) = shake(&node(&[2], Stage::On), &node(&[1], Stage::On)).await;
    assert!(near.unwrap_err().may_take_another());
    assert!(!HandshakeError::Busy.may_take_another());
    assert!(!HandshakeError::WrongKeyOrCluster.may_take_another());
}

/// Whether a pipe with that seal has to be closed now.
async fn is_revoked(me: &Identity, key: Option<KeyId>) -> bool {
    let now = timeout(Duration::ZERO, me.revoked(key));
    now.await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_pipe_is_revoked_when_its_key_goes_or_plaintext_does() {
    let me = node(&[1, 2], Stage::Send);
    let [one, two] = [1, 2].map(|byte| Some(Key::new(&[byte; 32]).unwrap().id()));
    for key in [one, two, None] {
        assert!(!is_revoked(&me, key).await);
    }
    me.set_keyring(Some(ring(&[2, 1], Stage::On)));
    assert!(is_revoked(&me, None).await);
    assert!(
        !is_revoked(&me, one).await,
        "it is no longer primary, that is all"
    );
    let waiting = me.revoked(one);
    me.set_keyring(Some(ring(&[2], Stage::On)));
    waiting.await;
    assert!(!is_revoked(&me, two).await);
    me.set_keyring(None);
    assert!(is_revoked(&me, two).await && !is_revoked(&me, None).await);
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
    let both = Identity::new("c".to_owned(), Some(ring));
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
    let mut hello = preamble(&me).to_vec();
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
    let mut hello = preamble(&me);
    hello[5] = 9;
    let (reply, outcome) = send_raw(&hello, &me).await;
    assert!(matches!(outcome, Err(HandshakeError::Suite(9))));
    assert_eq!(reply[4], Status::Suite as u8);
}

#[tokio::test]
async fn a_flipped_bit_in_the_hello_is_refused() {
    let me = identity("c", Some(1));
    let ring = me.keyring().unwrap();
    let mut hello = preamble(&me).to_vec();
    let mut state = me
        .noise(ring.primary(), &preamble(&me), |builder| {
            builder.build_initiator()
        })
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
        let mut hello = preamble(&me).to_vec();
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
    let mut hello = preamble(&identity("c", Some(2))).to_vec();
    hello.extend([0; NOISE_MESSAGE]);
    writer.write_all(&hello).await.unwrap();
    let ended = timeout(LINGER + Duration::from_millis(1), accept(far, &me)).await;
    assert!(matches!(ended, Ok(Err(HandshakeError::UnknownKey(_)))));
}

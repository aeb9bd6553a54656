//! Random clients, and damaged ones, against h2's own decoder.

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt as _;

use super::client::{Client, END_STREAM, Field, frame};
use super::server::{Chunks, Outcome, Seen, filtered, play};

const RANDOM_CONNECTIONS: u64 = 1_500;
const DAMAGED_CONNECTIONS: u64 = 3_000;

/// What clients send, and what none should.
const AUTHORITIES: [&[u8]; 22] = [
    b"localhost",
    b"tonic",
    b"example.com:80",
    b"[::1]:7946",
    b"user@host",
    b"a!b$c&d'e(f)g*h+i,j;k=l",
    b"tmp%2Fx.sock",
    b"%2Frun%2Fmuster%2Fapi.sock",
    b"/run/muster/api.sock",
    b"",
    b"/",
    b"%",
    b"::",
    b"[",
    b"][",
    b"a@",
    b"host:80/path?query#fragment",
    b"\xff\xfe\x00",
    b"\xc3\xa4\xc3\xb6.sock",
    b"with space",
    b"[::1%25eth0]:80",
    b"-",
];

const NAMES: [&str; 12] = [
    "accept-encoding",
    "accept",
    "content-type",
    "cookie",
    "user-agent",
    "via",
    "grpc-timeout",
    "grpc-accept-encoding",
    "x-authority",
    "x-request-id",
    "authorization",
    "a",
];

/// What a client has sent on one stream.
struct Sent {
    stream: u32,
    authority: Option<Vec<u8>>,
    fields: Vec<Field>,
    trailers: Option<Vec<Field>>,
}

fn text(client: &mut Client, most: usize) -> Vec<u8> {
    let length = client.rng.random_range(0..=most);
    let any = client.rng.random_ratio(1, 10);
    let octet = |_| {
        if any {
            client.rng.random_range(128..=255)
        } else {
            client.rng.random_range(33..127)
        }
    };
    (0..length).map(octet).collect()
}

/// Fields of which many come again, as they do in life.
fn fields(client: &mut Client) -> Vec<Field> {
    let count = client.rng.random_range(0..10);
    (0..count)
        .map(|_| {
            let name = NAMES[client.rng.random_range(0..NAMES.len())]
                .as_bytes()
                .to_vec();
            let value = match client.rng.random_range(0..8) {
                0 => text(client, 700),
                1 | 2 => text(client, 30),
                _ => b"application/grpc"[..client.rng.random_range(8..16)].to_vec(),
            };
            (name, value)
        })
        .collect()
}

fn authority(client: &mut Client) -> Vec<u8> {
    match client.rng.random_range(0..12) {
        0 => (0..client.rng.random_range(1..60))
            .map(|_| client.rng.random())
            .collect(),
        1 => vec![b'/'; client.rng.random_range(1..400)],
        _ => AUTHORITIES[client.rng.random_range(0..AUTHORITIES.len())].to_vec(),
    }
}

/// One connection with all that it sends. Most clients stay with one authority.
fn connection(seed: u64, legal_only: bool) -> (Vec<u8>, Vec<Sent>) {
    let mut client = Client::new(seed);
    let mut own = authority(&mut client);
    let mut sent = Vec::new();
    for number in 0..client.rng.random_range(1..30u32) {
        if client.rng.random_ratio(1, 4) {
            own = authority(&mut client);
        }
        if legal_only && Authority::try_from(own.as_slice()).is_err() {
            own = b"localhost".to_vec();
        }
        while client.rng.random_ratio(1, 4) {
            client.noise();
        }
        let authority = client.rng.random_ratio(15, 16).then(|| own.clone());
        sent.push(request(&mut client, number * 2 + 1, authority));
    }
    (client.bytes, sent)
}

fn request(client: &mut Client, stream: u32, authority: Option<Vec<u8>>) -> Sent {
    let fields = fields(client);
    let path = NAMES[client.rng.random_range(0..NAMES.len())];
    let mut all: Vec<Field> = vec![
        (b":method".to_vec(), b"POST".to_vec()),
        (b":scheme".to_vec(), b"http".to_vec()),
        (b":path".to_vec(), format!("/{path}").into_bytes()),
    ];
    if let Some(authority) = &authority {
        let place = client.rng.random_range(0..=all.len());
        all.insert(place, (b":authority".to_vec(), authority.clone()));
    }
    all.extend(fields.iter().cloned());
    let trailers = client.rng.random_ratio(1, 4).then(|| self::fields(client));
    client.headers(
        stream,
        if trailers.is_some() { 0 } else { END_STREAM },
        &all,
    );
    if let Some(trailers) = &trailers {
        frame(&mut client.bytes, 0, 0, stream, b"a message");
        client.headers(stream, END_STREAM, trailers);
    }
    Sent {
        stream,
        authority,
        fields,
        trailers,
    }
}

fn map(fields: &[Field]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_bytes(name).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    map
}

fn check(seed: u64, sent: &Sent, seen: &Seen) {
    assert_eq!(seen.stream, sent.stream, "seed {seed}");
    assert_eq!(seen.headers, map(&sent.fields), "seed {seed}");
    assert_eq!(
        seen.trailers,
        sent.trailers.as_deref().map(map),
        "seed {seed}"
    );
    let Some(was) = &sent.authority else {
        assert_eq!(seen.authority, None, "seed {seed}");
        return;
    };
    // h2 has found it legal, or it would not be here.
    let is = seen.authority.as_deref().unwrap().as_bytes();
    if was.is_empty() {
        assert_eq!(is, b"localhost", "seed {seed}");
        return;
    }
    assert_eq!(is.len(), was.len(), "seed {seed}");
    let legal = Authority::try_from(was.as_slice()).is_ok();
    assert!(
        !legal || is == was.as_slice(),
        "seed {seed}: a legal authority was changed"
    );
    let same = was.iter().zip(is).all(|(was, is)| was == is || *is == b'-');
    assert!(same, "seed {seed}: {was:?} became {is:?}");
}

#[test]
fn every_random_client_is_understood() {
    let mut rewritten = 0;
    for seed in 0..RANDOM_CONNECTIONS {
        let (bytes, sent) = connection(seed, false);
        let outcome = play(&bytes, Chunks::Seeded(seed), true);
        assert_eq!(outcome.error, None, "seed {seed}");
        assert_eq!(outcome.requests.len(), sent.len(), "seed {seed}");
        for (sent, seen) in sent.iter().zip(&outcome.requests) {
            check(seed, sent, seen);
        }
        assert_eq!(
            outcome.metrics.authority_filters_off.get(),
            0,
            "seed {seed}"
        );
        rewritten += outcome.metrics.authorities_rewritten.get();
    }
    assert!(
        rewritten > RANDOM_CONNECTIONS,
        "the clients are too tame: {rewritten}"
    );
}

#[test]
fn nothing_is_changed_for_good_clients() {
    for seed in 0..RANDOM_CONNECTIONS / 5 {
        let (bytes, _) = connection(seed, true);
        for chunks in [Chunks::Whole, Chunks::Bytes, Chunks::Seeded(seed)] {
            assert!(filtered(&bytes, chunks) == bytes, "seed {seed}");
        }
    }
}

fn damage(client: &mut Client, bytes: &mut Vec<u8>) {
    for _ in 0..client.rng.random_range(1..5) {
        let at = client.rng.random_range(24..bytes.len().max(25));
        if at >= bytes.len() {
            return;
        }
        match client.rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << client.rng.random_range(0..8),
            2 => bytes[at] = client.rng.random(),
            3 => bytes.insert(at, client.rng.random()),
            4 => {
                bytes.remove(at);
            }
            _ => {
                let to = (at + client.rng.random_range(1..100)).min(bytes.len());
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

/// The filter may only help: what h2 accepts alone, it accepts behind the filter.
fn check_damaged(seed: u64, alone: &Outcome, behind: &Outcome) {
    if let Some(error) = &alone.error {
        let helped = behind.metrics.authorities_rewritten.get() > 0;
        assert!(
            behind.error.is_some() || helped,
            "seed {seed}: lost {error:?}"
        );
    } else {
        assert_eq!(behind.error, None, "seed {seed}");
    }
    for request in &alone.requests {
        let Some(same) = behind
            .requests
            .iter()
            .find(|seen| seen.stream == request.stream)
        else {
            // An error that comes in one read with a request drops that.
            assert!(alone.error.is_some(), "seed {seed}: lost {request:?}");
            continue;
        };
        assert_eq!(same.headers, request.headers, "seed {seed}");
        assert_eq!(same.authority, request.authority, "seed {seed}");
        assert_eq!(same.path, request.path, "seed {seed}");
    }
}

#[test]
fn damage_is_left_to_h2() {
    let (mut refused, mut off) = (0, 0);
    for seed in 0..DAMAGED_CONNECTIONS {
        let (mut bytes, _) = connection(seed, seed % 2 == 0);
        damage(&mut Client::new(!seed), &mut bytes);
        let alone = play(&bytes, Chunks::Seeded(seed), false);
        let behind = play(&bytes, Chunks::Seeded(seed), true);
        check_damaged(seed, &alone, &behind);
        refused += u64::from(alone.error.is_some());
        off += behind.metrics.authority_filters_off.get();
    }
    assert!(refused > DAMAGED_CONNECTIONS / 10 && off > DAMAGED_CONNECTIONS / 10);
}

//! Bytes that no peer would send: nothing panics, nothing grows without bound, the
//! table and foca stay in step.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::super::datagrams::ident_bytes;
use super::{Net, addr, config};
use crate::api::{ExchangeId, ExchangeKind, Input, Output, WatchEvent};
use crate::crypto::Sealer;
use crate::ident::Ident;
use crate::table::{MEMBERS_MAX, Table, Word};
use crate::time::Now;
use crate::wire::{Compare, CompareAnswer, MemberState, Push, SyncRequest, sync_request};
use crate::{Engine, Status, StatusReason};

/// Bytes before the body of a plaintext datagram.
const HEAD: usize = 30;

/// What peers said to each other in a cluster that saw a restart and a failure.
#[derive(Debug, Default)]
struct Traffic {
    datagrams: Vec<Bytes>,
    requests: Vec<(ExchangeKind, Bytes)>,
    answers: Vec<Bytes>,
}

fn plain(name: &str, n: u16, boot: u64) -> crate::Config {
    let mut config = config(name, n, boot);
    config.keyring = None;
    config
}

fn small() -> Net {
    let mut net = Net::new();
    for n in 0..3 {
        net.start(plain(&format!("n{n}"), n, 100));
    }
    net.run(Duration::from_secs(2));
    net
}

fn traffic() -> Traffic {
    let mut net = small();
    net.captured = Some(Vec::new());
    net.kill(2);
    net.run(Duration::from_secs(7));
    net.start(plain("n2", 2, 200));
    net.start(plain("n1", 5, 300));
    net.run(Duration::from_secs(3));
    let mut traffic = Traffic::default();
    for input in net.captured.take().unwrap() {
        match input {
            Input::Datagram { bytes, .. } | Input::Carried { bytes } => {
                traffic.datagrams.push(bytes.slice(HEAD..));
            }
            Input::Request { kind, body, .. } => traffic.requests.push((kind, body)),
            Input::Response { result, .. } => traffic.answers.extend(result),
            Input::Watch { event, .. } => {
                if let WatchEvent::Opened(answer) = event {
                    traffic.answers.push(answer);
                }
            }
            Input::Tick | Input::Seeds { .. } => {}
        }
    }
    traffic
}

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Harm {
    Set(usize, u8),
    Cut(usize),
    Copy(usize, usize, usize),
    All(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = 0..100_000_usize;
    prop_oneof![
        6 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => place.clone().prop_map(Harm::Cut),
        1 => (place.clone(), place, 1..40_usize).prop_map(|(a, b, n)| Harm::Copy(a, b, n)),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Harm::All),
    ]
}

fn harmed(bytes: &[u8], harms: &[Harm]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for harm in harms {
        let length = bytes.len().max(1);
        match harm {
            Harm::Set(at, byte) => {
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = *byte;
                }
            }
            Harm::Cut(at) => bytes.truncate(at % length),
            Harm::Copy(from, to, n) => {
                let from = from % length;
                let piece = bytes.get(from..(from + n).min(bytes.len()));
                let piece = piece.unwrap_or_default().to_vec();
                let to = to % length;
                if to <= bytes.len() {
                    bytes.splice(to..to, piece);
                }
            }
            Harm::All(all) => bytes.clone_from(all),
        }
    }
    Bytes::from(bytes)
}

fn hold(node: &Engine) {
    node.check().unwrap();
    assert!(node.parked.len() <= 2_048, "{}", node.parked.len());
    assert!(node.exchanges.pending.len() <= 64, "exchanges pile up");
    assert!(node.broadcasts.len() <= crate::broadcast::QUEUE_MAX);
    assert!(node.counters().len() < 200, "counters have fixed names");
    assert!(node.table.len() <= MEMBERS_MAX);
}

/// Hands a harmed answer to a comparison that the node starts for it.
fn answer(node: &mut Engine, now: Now, body: Bytes) {
    node.compare(now, addr(1), true, None);
    node.finish(now);
    let mut asked = None;
    while let Some(output) = node.poll_output() {
        if let Output::Request { id, .. } = output {
            asked = Some(id);
            break;
        }
    }
    let Some(id) = asked else { return };
    let result = Ok(body);
    node.handle(now, Input::Response { id, result });
}

/// Cases played unless `PROPTEST_CASES` says otherwise.
fn cases() -> u32 {
    let said = std::env::var("PROPTEST_CASES").ok();
    said.map_or(48, |text| text.parse().expect("PROPTEST_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn harmed_traffic_breaks_nothing(
        picks in prop::collection::vec((any::<usize>(), 0..4_u8, prop::collection::vec(harm(), 0..4)), 1..60)
    ) {
        play(picks);
    }
}

/// Hands a node what peers said, harmed, in a row.
fn play(picks: Vec<(usize, u8, Vec<Harm>)>) {
    let traffic = &*TRAFFIC;
    let mut net = small();
    let mut sealer = Sealer::new("test", None, 4_711);
    for (pick, kind, harms) in picks {
        net.run(Duration::from_millis(20));
        net.with(0, |node, now| {
            match kind {
                0 => {
                    let body = harmed(&traffic.answers[pick % traffic.answers.len()], &harms);
                    answer(node, now, body);
                }
                1 => {
                    let (kind, body) = &traffic.requests[pick % traffic.requests.len()];
                    let (id, from) = (ExchangeId(1 << 40), addr(1));
                    let (kind, body) = (*kind, harmed(body, &harms));
                    node.handle(
                        now,
                        Input::Request {
                            id,
                            from,
                            kind,
                            body,
                        },
                    );
                    while let Some(output) = node.poll_output() {
                        if matches!(output, Output::Respond { id: of, .. } if of == id) {
                            break;
                        }
                    }
                }
                _ => {
                    let body = harmed(&traffic.datagrams[pick % traffic.datagrams.len()], &harms);
                    let bytes = sealer.seal(pick as u64, &body);
                    node.handle(
                        now,
                        Input::Datagram {
                            from: addr(1),
                            bytes,
                        },
                    );
                }
            }
            hold(node);
        });
    }
    net.run(Duration::from_secs(3));
    hold(net.node(0));
}

static TRAFFIC: std::sync::LazyLock<Traffic> = std::sync::LazyLock::new(traffic);

/// States that a peer might tell, each with every field at its worst.
fn worst_states(node: &Engine) -> Vec<MemberState> {
    let own = node.own.ident;
    let peer = node.table.iter().next().unwrap();
    let idents = [
        own,
        Ident {
            life: u16::MAX,
            ..own
        },
        Ident {
            boot: (1 << 48) - 1,
            ..own
        },
        peer.ident,
        Ident {
            life: u16::MAX,
            ..peer.ident
        },
        Ident {
            boot: (1 << 48) - 1,
            life: u16::MAX,
            ..peer.ident
        },
    ];
    let records = [
        None,
        Some(peer.record.since(0)),
        Some(node.own.record.since(0)),
    ];
    let mut states = Vec::new();
    for ident in idents {
        for record in &records {
            for state in [0, 1, 2, 3, u32::MAX] {
                states.push(MemberState {
                    ident: ident_bytes(ident),
                    incarnation: u32::MAX,
                    state,
                    record: record.clone(),
                    uptime_ms: u64::MAX,
                    state_age_ms: u64::MAX,
                    by: u64::MAX,
                });
            }
        }
    }
    states
}

#[test]
fn the_worst_states_change_no_more_than_they_may() {
    let mut net = small();
    let states = worst_states(net.node(0));
    for state in &states {
        let push = Push {
            own: Some(state.clone()),
            members: vec![state.clone()],
        };
        let compare = Compare {
            own: Some(state.clone()),
            summaries: Bytes::from(vec![0xff; 27 * 10]),
            ..Compare::default()
        };
        let reply = CompareAnswer {
            own: Some(state.clone()),
            members: vec![state.clone()],
            wants: Bytes::from(vec![0xff; 16 * 10]),
            boot_floor: u64::MAX,
            ..CompareAnswer::default()
        };
        for kind in [
            sync_request::Kind::Push(push),
            sync_request::Kind::Compare(compare),
        ] {
            let body = Bytes::from(SyncRequest { kind: Some(kind) }.encode_to_vec());
            net.with(0, |node, now| {
                node.on_request(now, ExchangeId(9), addr(1), ExchangeKind::Sync, body);
                node.finish(now);
                node.outputs
                    .retain(|o| !matches!(o, Output::Respond { .. }));
                hold(node);
            });
        }
        let body = Bytes::from(reply.encode_to_vec());
        net.with(0, |node, now| {
            answer(node, now, body);
            hold(node);
        });
    }
    net.run(Duration::from_secs(30));
    hold(net.node(0));
    assert_eq!(net.node(0).me().status, Status::Alive);
}

#[test]
fn members_beyond_the_bound_are_refused() {
    let net = small();
    let node = net.node(0);
    let record = &node.own.record;
    let now = net.clock();
    let mut table = Table::default();
    let word = Word {
        by: 0,
        reason: StatusReason::Learnt,
    };
    for n in 0..100_000_u64 {
        // Spread from both ends: neither order is the cheap one.
        let hash = if n % 2 == 0 { n } else { u64::MAX - n };
        let ident = Ident {
            hash,
            boot: 1,
            life: 0,
        };
        let update = crate::swim::Update::new(ident, 0, crate::swim::State::Down);
        table.insert(now, &update, record.clone(), word);
    }
    assert_eq!(table.len(), MEMBERS_MAX);
    assert_eq!(table.refused(), 100_000 - MEMBERS_MAX as u64);
}

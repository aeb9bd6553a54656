//! What a broken or hostile peer can make of exchanges and datagrams has an end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;

use super::{Net, addr, cluster, config};
use crate::Status;
use crate::api::{ExchangeError, Input, Limits, Output};
use crate::engine::datagrams::ident_bytes;
use crate::ident::Ident;
use crate::wire::{CompareAnswer, MemberState};

/// Counts exchanges that node 0 starts while every answer comes from `answer`.
fn exchanges(net: &mut Net, steps: u32, answer: impl Fn(u32, MemberState) -> CompareAnswer) -> u32 {
    let own = MemberState {
        ident: ident_bytes(net.node(1).own.ident),
        record: Some(net.node(1).own.record.since(0)),
        ..MemberState::default()
    };
    let mut started = 0;
    for step in 0..steps {
        net.now += 50_000;
        let now = net.clock();
        let node = net.nodes.get_mut(&addr(0)).unwrap();
        node.handle(now, Input::Tick);
        let mut asked = Vec::new();
        while let Some(output) = node.poll_output() {
            if let Output::Request { id, .. } = output {
                asked.push(id);
            }
        }
        for id in asked {
            started += 1;
            let body = answer(step, own.clone()).encode_to_vec();
            let result = Ok(Bytes::from(body));
            node.handle(now, Input::Response { id, result });
        }
    }
    started
}

fn counter(net: &Net, name: &str) -> u64 {
    let counters = net.node(0).counters();
    let found = counters.into_iter().find(|(known, _)| *known == name);
    found.map_or(0, |(_, value)| value)
}

#[test]
fn more_that_never_comes_is_not_asked_for() {
    let mut net = cluster(2);
    net.run(Duration::from_secs(30));
    net.with(0, |node, now| node.hurry(now));
    // Two minutes: looked at now and then, as always, but never in a hurry.
    let asked = exchanges(&mut net, 2_400, |_, own| CompareAnswer {
        own: Some(own),
        more: true,
        events_differ: true,
        differing: u64::MAX,
        ..CompareAnswer::default()
    });
    assert!(asked < 20, "{asked}");
    assert!(counter(&net, "exchanges_with_nothing_more") > 0);
}

#[test]
fn a_peer_that_always_has_news_is_left_alone_for_a_while() {
    let mut net = cluster(2);
    net.with(0, |node, now| node.hurry(now));
    let stranger = crate::own::Own::new(config("x", 9, 1), 9, net.clock());
    let (ident, record) = (stranger.ident, stranger.record.since(0));
    // Ten minutes of a member that refutes all the time.
    let asked = exchanges(&mut net, 12_000, |step, own| CompareAnswer {
        own: Some(own),
        members: vec![MemberState {
            ident: ident_bytes(Ident {
                life: u16::try_from(step).unwrap(),
                ..ident
            }),
            record: Some(record.clone()),
            ..MemberState::default()
        }],
        more: true,
        ..CompareAnswer::default()
    });
    assert!(counter(&net, "hurries_refused") > 0, "{asked}");
    assert!(asked < 5_500, "{asked}");
}

#[test]
fn exchanges_beyond_the_bound_are_busy() {
    let mut net = Net::new();
    net.start(config("a", 0, 1));
    let addrs: Vec<SocketAddr> = (1..=1_500).map(|n| addr(2_000 + n)).collect();
    let now = net.clock();
    let node = net.nodes.get_mut(&addr(0)).unwrap();
    node.join(now, 5, &addrs);
    assert_eq!(node.exchanges.pending.len(), 1_024);
    let mut busy = 0;
    while let Some(output) = node.poll_output() {
        if let Output::JoinResult { result, .. } = output {
            assert_eq!(result, Err(ExchangeError::Busy.to_string()));
            busy += 1;
        }
    }
    assert_eq!(busy, 1_500 - 1_024);
}

#[test]
fn what_is_wanted_twice_is_pushed_once() {
    let mut net = cluster(3);
    let wanted = net.node(2).own.ident;
    let mut wants = BytesMut::new();
    (0..1_000).for_each(|_| wanted.put(&mut wants));
    let now = net.clock();
    let node = net.nodes.get_mut(&addr(0)).unwrap();
    node.push_wanted(now, addr(1), &wants);
    let mut pushed = Vec::new();
    while let Some(output) = node.poll_output() {
        if let Output::Request { body, .. } = output {
            pushed.push(body.len());
        }
    }
    assert_eq!(pushed.len(), 1);
    assert!(pushed[0] < 1_000, "{pushed:?}");
}

#[test]
fn large_records_never_make_a_datagram_too_large() {
    let mut net = Net::new();
    net.captured = Some(Vec::new());
    for n in 0..4 {
        let mut config = config(&format!("n{n}"), n, 100);
        for key in 0..20 {
            config.tags.insert(format!("key{key}"), "v".repeat(200));
        }
        config.check().unwrap();
        net.start(config);
    }
    net.run(Duration::from_secs(5));
    // One that comes back, one that takes the name of another, both large.
    let mut again = config("n2", 2, 200);
    again.tags.insert("key".to_owned(), "v".repeat(1_300));
    net.kill(2);
    net.start(again);
    let mut rival = config("n1", 9, 300);
    rival.tags.insert("key".to_owned(), "v".repeat(1_300));
    net.start(rival);
    net.run(Duration::from_secs(60));
    let limit = Limits::default().datagram_bytes;
    let sizes = net
        .captured
        .as_ref()
        .unwrap()
        .iter()
        .map(|input| match input {
            Input::Datagram { bytes, .. } => bytes.len(),
            _ => 0,
        });
    let largest = sizes.max().unwrap();
    assert!(largest <= limit, "{largest}");
    let left_out = net.nodes.values().flat_map(|node| node.counters());
    let left_out: u64 = left_out
        .filter(|(name, _)| *name == "records_sent_in_part")
        .map(|(_, value)| value)
        .sum();
    assert!(left_out > 0, "some were needed");
    for viewer in 0..4 {
        assert_eq!(net.status(viewer, "n2"), Some(Status::Alive));
        assert_eq!(net.member(viewer, "n2").unwrap().boot, 200);
    }
    assert!(net.node(1).own.in_conflict(), "told of it all the same");
}

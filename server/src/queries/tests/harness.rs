//! Nodes that ask each other over real sockets, without an engine: a fake one spreads
//! what they ask.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_engine::{Accepted, Event, Member};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::daemon::supervisor::Tasks;
use crate::gossip::Handle;
use crate::gossip::handle::EventCommand;
use crate::gossip::rpc::testing::node;
use crate::hub::testing::{member, updated, with_status};
use crate::hub::{Hub, lock};
use crate::peers::{self, Me, Peers};
use crate::queries::receiver::{Inbox, inbox};
use crate::queries::{
    Answer, Answered, Ask, Asker, Asking, Metrics, Patterns, Receiver, Responders,
};
use crate::routes::Routes;

pub(super) const SOON: Duration = Duration::from_secs(30);

/// One node.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) hub: Arc<Hub>,
    pub(super) asker: Asker,
    pub(super) responders: Responders,
    pub(super) metrics: Metrics,
    pub(super) inbox: Inbox,
    pub(super) peers: Peers,
    pub(super) calls: peers::Metrics,
    pub(super) addr: SocketAddr,
    pub(super) tasks: Tasks,
}

/// Nodes that know each other; all have boot 1.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    /// What was asked, in order.
    pub(super) spread: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Cluster {
    /// Nodes of these names; `spread_to` says who gets what is asked.
    pub(super) async fn of(names: &[&str], spread_to: &[&str]) -> Self {
        Self::with(names, spread_to, |member| member).await
    }

    /// The same, each member changed.
    pub(super) async fn with(
        names: &[&str],
        spread_to: &[&str],
        change: impl Fn(Member) -> Member,
    ) -> Self {
        let mut nodes = Vec::new();
        let mut engines = Vec::new();
        for name in names {
            let (node, asked) = start(name).await;
            nodes.push(node);
            engines.push(asked);
        }
        for node in &nodes {
            let members = nodes.iter().map(|other| {
                let member = change(member(&other.name, 1, &[]));
                updated(Member {
                    addr: other.addr,
                    by_tcp: false,
                    is_self: other.name == node.name,
                    ..member
                })
            });
            node.hub.apply_members(members.collect());
        }
        let spread: Arc<Mutex<Vec<Arc<Event>>>> = Arc::default();
        for (node, asked) in nodes.iter().zip(engines) {
            let inboxes = nodes.iter().filter(|to| spread_to.contains(&&*to.name));
            let inboxes: Vec<Inbox> = inboxes.map(|node| node.inbox.clone()).collect();
            let spreading = engine(node.name.clone(), asked, inboxes, Arc::clone(&spread));
            let stop = node.tasks.stop_token();
            node.tasks.spawn_guarded("engine", async move {
                stop.run_until_cancelled(spreading).await;
            });
        }
        Self { nodes, spread }
    }

    pub(super) fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap()
    }

    /// Shows on `at` that a member failed.
    pub(super) fn fail(&self, at: &str, name: &str) {
        let addr = self.node(name).addr;
        let failed = with_status(member(name, 1, &[]), muster_engine::Status::Failed);
        let failed = Member { addr, ..failed };
        self.node(at).hub.apply_members(vec![updated(failed)]);
    }

    pub(super) async fn stop(self) {
        for node in self.nodes {
            let overran = node.tasks.stop_within(SOON).await;
            assert!(overran.is_empty(), "{overran:?}");
        }
    }
}

impl Node {
    /// Asks, and waits for all that comes back.
    pub(super) async fn ask(&self, ask: Ask) -> Vec<Answered> {
        all(self.asker.ask(ask).await.unwrap()).await
    }

    /// Answers queries of a name with its own name, `times` times.
    pub(super) fn says_its_name(&self, query: &str, times: usize) {
        let patterns = Patterns::new(vec![query.to_owned()]).unwrap();
        let mut responder = self.responders.serve(patterns, "test").unwrap();
        let name = self.name.clone();
        let stop = self.tasks.stop_token();
        self.tasks.spawn_guarded("responder", async move {
            for _ in 0..times {
                let Some(job) = stop.run_until_cancelled(responder.next()).await else {
                    return;
                };
                job.answer(Ok(Answer::new(name.clone())));
            }
        });
    }
}

/// All that comes back.
pub(super) async fn all(asking: Asking) -> Vec<Answered> {
    timeout(SOON, asking.collect()).await.expect("no end")
}

/// Answers by member, sorted.
pub(super) fn answers(told: &[Answered]) -> Vec<(String, Result<String, String>)> {
    let answer = |answered: &Answered| match answered {
        Answered::Answer { member, result, .. } => {
            let result = result.clone();
            let result = result.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Some((member.to_string(), result))
        }
        Answered::Started { .. } | Answered::Ack { .. } | Answered::Done { .. } => None,
    };
    let mut answers: Vec<_> = told.iter().filter_map(answer).collect();
    answers.sort();
    answers
}

/// How it ended: acks, answers, silent, unfinished.
pub(super) fn done(told: &[Answered]) -> (usize, usize, Vec<&str>, Vec<&str>) {
    let Some(Answered::Done {
        acks,
        answers,
        silent,
        unfinished,
    }) = told.last()
    else {
        panic!("not done: {told:?}");
    };
    (
        *acks,
        *answers,
        silent.iter().map(|name| &**name).collect(),
        unfinished.iter().map(|name| &**name).collect(),
    )
}

pub(super) fn query(name: &str) -> Ask {
    Ask {
        name: name.to_owned(),
        payload: "?".into(),
        timeout: Some(SOON),
        want_ack: true,
        ..Ask::default()
    }
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "never: {what}");
}

async fn start(name: &str) -> (Node, mpsc::Receiver<EventCommand>) {
    let (tasks, metrics) = (Tasks::default(), Metrics::default());
    let (pipes, addr) = node(Some(1), &tasks).await;
    let me = Me::new(name, 1);
    let calls = peers::Metrics::default();
    let (peers, server) = Peers::new(me.clone(), pipes, &tasks, calls.clone());
    let hub = Arc::new(Hub::new("epoch".to_owned()));
    let (handle, ends) = Handle::new();
    let asker = Asker::new(
        Arc::clone(&hub),
        handle,
        me.clone(),
        tasks.clone(),
        metrics.clone(),
    );
    let responders = Responders::new(metrics.clone());
    tasks.spawn("peers", server.run(Routes::default().add(asker.service())));
    let (inbox, received) = inbox(metrics.clone());
    let receiver = Receiver {
        hub: Arc::clone(&hub),
        me,
        peers: peers.clone(),
        asker: asker.clone(),
        responders: responders.clone(),
        tasks: tasks.clone(),
        metrics: metrics.clone(),
    };
    tasks.spawn("queries", receiver.run(received));
    let node = Node {
        name: name.to_owned(),
        hub,
        asker,
        responders,
        metrics,
        inbox,
        peers,
        calls,
        addr,
        tasks,
    };
    (node, ends.events)
}

/// Takes what a node asks and hands it to everybody who is reached.
async fn engine(
    name: String,
    mut asked: mpsc::Receiver<EventCommand>,
    inboxes: Vec<Inbox>,
    spread: Arc<Mutex<Vec<Arc<Event>>>>,
) {
    let mut sequence = 0;
    while let Some(command) = asked.recv().await {
        sequence += 1;
        let draft = command.draft;
        let event = Arc::new(Event {
            origin: crate::hub::testing::origin(&name, 1),
            sequence,
            kind: draft.kind,
            name: draft.name,
            payload: draft.payload,
            target: draft.target,
            timeout_ms: draft.timeout_ms,
            want_ack: draft.want_ack,
            ..Event::default()
        });
        lock(&spread).push(Arc::clone(&event));
        for inbox in &inboxes {
            inbox.put(vec![Arc::clone(&event)]);
        }
        let accepted = Accepted {
            boot: 1,
            sequence,
            lamport: sequence,
        };
        let _gone = command.reply.send(Ok(accepted)).is_err();
    }
}

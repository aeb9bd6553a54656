mod harness;

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use muster_proto::peer::answer_request::Step;
use muster_proto::peer::query_peer_service_client::QueryPeerServiceClient;
use muster_proto::peer::{AnswerBegin, AnswerReady, AnswerRequest, AnswerResult, answer_result};
use muster_proto::v1 as pb;
use tokio::time::timeout;

use self::harness::{Cluster, SOON, all, answers, done, query, until};
use super::*;
use crate::hub::lock;
use crate::hub::testing::with_tag;

const ABC: [&str; 3] = ["a", "b", "c"];

fn to(names: &[&str]) -> pb::MemberFilter {
    pb::MemberFilter {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..pb::MemberFilter::default()
    }
}

#[test]
fn the_usual_timeout_follows_from_the_number_of_members() {
    for (members, ms) in [
        (0, 3_200),
        (9, 3_200),
        (10, 6_400),
        (99, 6_400),
        (100, 9_600),
    ] {
        assert_eq!(
            default_timeout(members),
            Duration::from_millis(ms),
            "{members}"
        );
    }
}

#[test]
fn errors_are_cut_between_characters() {
    assert_eq!(cut_error("short".to_owned()), "short");
    let cut = cut_error("é".repeat(ERROR_BYTES_MAX));
    assert!(cut.len() <= ERROR_BYTES_MAX && cut.ends_with("é..."));
}

#[tokio::test]
async fn everybody_answers_and_it_ends_at_once() {
    let cluster = Cluster::of(&ABC, &ABC).await;
    for node in &cluster.nodes {
        node.says_its_name("who", 1);
    }
    let begun = Instant::now();
    let told = cluster.node("a").ask(query("who")).await;
    assert!(begun.elapsed() < SOON / 2, "the timeout was not waited for");
    let Answered::Started { id, expected, .. } = &told[0] else {
        panic!("it begins with {:?}", told[0]);
    };
    assert_eq!((&*id.origin, id.boot, id.sequence), ("a", 1, 1));
    assert_eq!(expected.len(), 3);
    let said = |name: &str| (name.to_owned(), Ok(name.to_owned()));
    assert_eq!(answers(&told), ABC.map(said));
    assert_eq!(done(&told), (3, 3, vec![], vec![]));
    let a = cluster.node("a");
    assert_eq!((a.metrics.acks.get(), a.metrics.answers.get()), (3, 3));
    assert_eq!(a.metrics.asking.get(), 0);
    assert_eq!(
        a.asker.inner.room.available_permits(),
        ANSWERS_BYTES_MAX >> 10
    );
    cluster.stop().await;
}

#[tokio::test]
async fn those_who_have_nothing_to_say_only_acknowledge() {
    let cluster = Cluster::of(&ABC, &ABC).await;
    let told = cluster.node("b").ask(query("who")).await;
    assert_eq!(done(&told), (3, 0, vec![], vec![]));
    for node in &cluster.nodes {
        node.says_its_name("*", 1);
    }
    let told = cluster.node("b").ask(query(PING)).await;
    assert_eq!(done(&told), (3, 0, vec![], vec![]), "a ping runs nothing");
    let unwanted = Ask {
        want_ack: false,
        ..query(SERF_PING)
    };
    let told = cluster.node("b").ask(unwanted).await;
    assert_eq!(done(&told), (0, 0, vec![], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn only_those_who_are_meant_answer() {
    let tagged = |member: muster_engine::Member| {
        let dc = if &*member.name == "c" { "eu" } else { "us" };
        with_tag(member, "dc", dc)
    };
    let cluster = Cluster::with(&ABC, &ABC, tagged).await;
    for node in &cluster.nodes {
        node.says_its_name("who", 9);
    }
    let ask = |target| Ask {
        target,
        ..query("who")
    };
    let names = |told: &[Answered]| -> Vec<String> {
        answers(told).into_iter().map(|(name, _)| name).collect()
    };
    let told = cluster.node("a").ask(ask(to(&["b"]))).await;
    assert_eq!(names(&told), ["b"]);
    let eu = pb::MemberFilter {
        tags: BTreeMap::from([("dc".to_owned(), "e.".to_owned())]),
        ..pb::MemberFilter::default()
    };
    let told = cluster.node("a").ask(ask(eu)).await;
    assert_eq!(names(&told), ["c"]);
    assert_eq!(cluster.node("b").metrics.elsewhere.get(), 1);
    // Nobody: not sent, and done at once.
    let told = cluster.node("a").ask(ask(to(&["nobody"]))).await;
    assert_eq!(told.len(), 2);
    assert_eq!(done(&told), (0, 0, vec![], vec![]));
    assert_eq!(lock(&cluster.spread).len(), 2);
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_fails_is_not_waited_for() {
    let cluster = Cluster::of(&ABC, &["a", "b"]).await;
    cluster.node("a").says_its_name("who", 1);
    cluster.node("b").says_its_name("who", 1);
    let mut asking = cluster.node("a").asker.ask(query("who")).await.unwrap();
    let mut heard = 0;
    while heard < 2 {
        let answered = timeout(SOON, asking.next()).await.unwrap().unwrap();
        heard += usize::from(matches!(answered, Answered::Answer { .. }));
    }
    cluster.fail("a", "c");
    let told = all(asking).await;
    assert_eq!(done(&told), (2, 2, vec!["c"], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn at_the_timeout_the_silent_and_the_slow_are_named() {
    let cluster = Cluster::of(&ABC, &["a", "b"]).await;
    let patterns = Patterns::new(vec!["who".to_owned()]).unwrap();
    let b = cluster.node("b");
    let mut slow = b.responders.serve(patterns, "slow").unwrap();
    let ask = Ask {
        timeout: Some(Duration::from_millis(400)),
        ..query("who")
    };
    let (told, job) = tokio::join!(cluster.node("a").ask(ask), slow.next());
    assert_eq!(done(&told), (2, 0, vec!["c"], vec!["b"]));
    let mut job = job;
    timeout(SOON, job.unwanted()).await.expect("it is told");
    assert!(!job.answer(Ok(Answer::new("late"))));
    cluster.stop().await;
}

#[tokio::test]
async fn large_answers_pass_and_larger_ones_are_cut() {
    let cluster = Cluster::of(&["a", "b"], &["a", "b"]).await;
    for (size, truncated) in [(ANSWER_BYTES_MAX, false), (ANSWER_BYTES_MAX + 1, true)] {
        let patterns = Patterns::new(vec!["dump".to_owned()]).unwrap();
        let b = cluster.node("b");
        let mut dumper = b.responders.serve(patterns, "dumper").unwrap();
        let answering = async {
            let payload = vec![7; size].into();
            let truncated = false;
            let job = dumper.next().await;
            job.answer(Ok(Answer { payload, truncated }))
        };
        let asking = cluster.node("a").ask(query("dump"));
        let (told, heard) = tokio::join!(asking, answering);
        assert!(heard);
        let answer = told.iter().find_map(|answered| match answered {
            Answered::Answer {
                result: Ok(payload),
                truncated,
                ..
            } => Some((payload.len(), *truncated)),
            Answered::Started { .. }
            | Answered::Ack { .. }
            | Answered::Answer { .. }
            | Answered::Done { .. } => None,
        });
        assert_eq!(answer, Some((ANSWER_BYTES_MAX, truncated)));
    }
    assert_eq!(cluster.node("b").metrics.truncated.get(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn what_nobody_waits_for_runs_nothing() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let b = cluster.node("b");
    let patterns = Patterns::new(vec!["who".to_owned()]).unwrap();
    let mut responder = b.responders.serve(patterns, "idle").unwrap();
    drop(cluster.node("a").asker.ask(query("who")).await.unwrap());
    let a = cluster.node("a");
    until("it is given up", || a.metrics.asking.get() == 0).await;
    b.inbox.put(lock(&cluster.spread).clone());
    until("b was told", || b.metrics.unwanted.get() == 1).await;
    assert_eq!(a.metrics.late.get(), 1);
    let ran = timeout(Duration::from_millis(1), responder.next()).await;
    assert!(ran.is_err(), "{ran:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_second_answer_and_one_of_a_stranger_are_dropped_and_counted() {
    let cluster = Cluster::of(&ABC, &["a", "b"]).await;
    let (a, b, c) = (cluster.node("a"), cluster.node("b"), cluster.node("c"));
    b.says_its_name("who", 9);
    c.says_its_name("who", 9);
    let ask = Ask {
        // `a` has nobody to answer and is waited for: the query goes on.
        target: to(&["b", "a"]),
        ..query("who")
    };
    let patterns = Patterns::new(vec!["who".to_owned()]).unwrap();
    let mut last = a.responders.serve(patterns, "last").unwrap();
    let mut asking = a.asker.ask(ask).await.unwrap();
    while !matches!(
        timeout(SOON, asking.next()).await.unwrap().unwrap(),
        Answered::Answer { .. }
    ) {}
    let event = lock(&cluster.spread)[0].clone();
    b.inbox.put(vec![Arc::clone(&event)]);
    until("twice", || a.metrics.duplicates.get() == 1).await;
    let for_all = Event {
        target: Bytes::new(),
        ..(*event).clone()
    };
    c.inbox.put(vec![Arc::new(for_all)]);
    until("a stranger", || a.metrics.strangers.get() == 1).await;
    last.next().await.answer(Err("no".to_owned()));
    let told = all(asking).await;
    assert_eq!(answers(&told), [("a".to_owned(), Err("no".to_owned()))]);
    assert_eq!(done(&told), (2, 2, vec![], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn a_thousand_at_once_are_all_answered() {
    const COUNT: usize = 1_000;
    let cluster = Cluster::of(&ABC, &ABC).await;
    for node in &cluster.nodes {
        node.says_its_name("who", COUNT);
    }
    let a = cluster.node("a");
    let asks = (0..COUNT).map(|_| a.asker.ask(query("who")));
    let asked = futures_util::future::join_all(asks).await;
    let told = asked.into_iter().map(|asking| all(asking.unwrap()));
    let mut busy = 0;
    for told in futures_util::future::join_all(told).await {
        let (acks, said, silent, unfinished) = done(&told);
        assert_eq!((acks, said), (3, 3), "{silent:?} {unfinished:?}");
        let refused = |(_, answer): &(_, Result<String, String>)| answer.is_err();
        busy += answers(&told)
            .iter()
            .filter(|answer| refused(answer))
            .count();
    }
    let refused: u64 = cluster.nodes.iter().map(|n| n.metrics.busy.get()).sum();
    assert_eq!(busy as u64, refused, "who was busy said so");
    assert_eq!(a.metrics.asking.get(), 0);
    cluster.stop().await;
}

#[tokio::test]
async fn more_than_the_bound_are_refused() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let a = &cluster.node("a").asker;
    let mut open = Vec::new();
    for _ in 0..ASKED_MAX {
        open.push(a.ask(query("who")).await.unwrap());
    }
    assert!(matches!(a.ask(query("who")).await, Err(AskError::TooMany)));
    drop(open);
    let metrics = &cluster.node("a").metrics;
    until("all given up", || metrics.asking.get() == 0).await;
    drop(a.ask(query("who")).await.unwrap());
    cluster.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_not_asked() {
    let cluster = Cluster::of(&["a"], &["a"]).await;
    let a = &cluster.node("a").asker;
    let refused = async |ask: Ask| a.ask(ask).await.err().map(|error| error.to_string());
    let bad = refused(query("no name")).await.unwrap();
    assert!(bad.starts_with("name:"), "{bad}");
    for reserved in ["_muster_x", "_serf_conflict"] {
        let bad = refused(query(reserved)).await.unwrap();
        assert!(bad.contains("reserved"), "{bad}");
    }
    for wrong in [Duration::ZERO, TIMEOUT_MAX + Duration::from_secs(1)] {
        let timeout = Some(wrong);
        let bad = refused(Ask {
            timeout,
            ..query("q")
        });
        assert!(bad.await.unwrap().starts_with("timeout:"));
    }
    let target = pb::MemberFilter {
        name_regex: "(".to_owned(),
        ..pb::MemberFilter::default()
    };
    let bad = refused(Ask {
        target,
        ..query("q")
    });
    assert!(bad.await.unwrap().contains("name_regex"));
    cluster.stop().await;
}

#[tokio::test]
async fn answers_wait_for_room() {
    let cluster = Cluster::of(&["a", "b"], &["a", "b"]).await;
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    b.says_its_name("who", 1);
    let room = Arc::clone(&a.asker.inner.room);
    let all_of_it = u32::try_from(room.available_permits()).unwrap();
    let full = room.acquire_many(all_of_it).await.unwrap();
    let mut asking = a.asker.ask(query("who")).await.unwrap();
    let mut acks = 0;
    while acks < 2 {
        let answered = timeout(SOON, asking.next()).await.unwrap().unwrap();
        acks += usize::from(matches!(answered, Answered::Ack { .. }));
    }
    assert_eq!(a.metrics.answers.get(), 0);
    drop(full);
    let told = all(asking).await;
    assert_eq!(done(&told), (2, 1, vec![], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn answers_that_break_the_rules_are_refused_and_the_query_goes_on() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    let asking = a.asker.ask(query("who")).await.unwrap();
    let begin = || {
        Step::Begin(AnswerBegin {
            boot: 1,
            sequence: 1,
        })
    };
    let ready = |bytes| Step::Ready(AnswerReady { bytes });
    let result = || {
        let result = Some(answer_result::Result::Payload("four".into()));
        let truncated = false;
        Step::Result(AnswerResult { result, truncated })
    };
    let cases = [
        vec![],
        vec![ready(4)],
        vec![begin()],
        vec![begin(), result()],
        vec![begin(), begin()],
        vec![begin(), ready(u32::MAX)],
        vec![begin(), ready(4)],
        vec![begin(), ready(5), result()],
        vec![begin(), ready(0), result()],
    ];
    let count = cases.len() as u64;
    for steps in cases {
        let told = format!("{steps:?}");
        let mut client = QueryPeerServiceClient::new(b.peers.channel(a.addr));
        let steps = steps
            .into_iter()
            .map(|step| AnswerRequest { step: Some(step) });
        let called = async {
            let mut responses = client
                .answer(futures_util::stream::iter(steps.collect::<Vec<_>>()))
                .await?
                .into_inner();
            while responses.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        };
        let refused = timeout(SOON, called).await.unwrap().unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::InvalidArgument,
            "{told}: {refused:?}"
        );
    }
    assert_eq!(a.metrics.malformed.get(), count);
    // Both answer at last.
    for node in [a, b] {
        node.inbox.put(lock(&cluster.spread).clone());
    }
    let told = all(asking).await;
    assert_eq!(done(&told), (2, 0, vec![], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn an_asker_that_is_not_known_yet_is_waited_for() {
    let cluster = Cluster::of(&["a", "b"], &["a", "b"]).await;
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    let member = b.hub.member("a").unwrap().value;
    let gone = crate::hub::MemberUpdate::Removed(member.key());
    b.hub.apply_members(vec![gone]);
    let asking = a.asker.ask(query("who")).await.unwrap();
    until("it came", || b.metrics.answering.get() == 1).await;
    b.hub
        .apply_members(vec![crate::hub::MemberUpdate::Updated(member)]);
    assert_eq!(done(&all(asking).await), (2, 0, vec![], vec![]));
    cluster.stop().await;
}

#[tokio::test]
async fn an_asker_that_died_is_not_called_for_ever() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let b = cluster.node("b");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let a = crate::hub::testing::member("a", 1, &[]);
    let unreachable = muster_engine::Member { addr, ..a };
    b.hub
        .apply_members(vec![crate::hub::testing::updated(unreachable)]);
    let event = Event {
        origin: crate::hub::testing::origin("a", 1),
        sequence: 1,
        name: "who".to_owned(),
        timeout_ms: 600_000,
        ..Event::default()
    };
    b.inbox.put(vec![Arc::new(event)]);
    until("it tries again", || b.metrics.retried.get() > 0).await;
    cluster.fail("b", "a");
    until("it gives up", || b.metrics.answering.get() == 0).await;
    assert_eq!(b.metrics.unreachable.get(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_answers_itself_without_a_connection() {
    let cluster = Cluster::of(&["a"], &["a"]).await;
    let a = cluster.node("a");
    a.says_its_name("who", 1);
    let told = a.ask(query("who")).await;
    assert_eq!(done(&told), (1, 1, vec![], vec![]));
    assert_eq!(a.calls.sent(), 0);
    cluster.stop().await;
}

#[tokio::test]
async fn a_stop_ends_what_is_asked() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let asking = cluster.node("a").asker.ask(query("who")).await.unwrap();
    let told = all(asking);
    let (told, ()) = tokio::join!(told, cluster.stop());
    assert_eq!(told.len(), 1, "no done: {told:?}");
}

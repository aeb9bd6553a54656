use std::time::Duration;

use muster_engine::EventKind;
use pb::query_response::Event;
use pb::query_service_client::QueryServiceClient;
use pb::serve_queries_request::Message as Sent;
use pb::serve_queries_response::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::super::*;
use super::harness::{PAYLOAD_MAX, ROOT, Served, next, reason, serve, silent};
use crate::hub::testing::member;
use crate::queries::{Answer, Outcome, Query, QueryId, RESPONDER_JOBS_MAX};

type Served2 = (
    mpsc::Sender<pb::ServeQueriesRequest>,
    Streaming<pb::ServeQueriesResponse>,
);

fn client(served: &Served) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(served.channel(ROOT)).max_encoding_message_size(usize::MAX)
}

fn question(name: &str) -> pb::QueryRequest {
    pb::QueryRequest {
        name: name.to_owned(),
        ..pb::QueryRequest::default()
    }
}

fn registration(names: &[&str]) -> pb::ServeQueriesRequest {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    pb::ServeQueriesRequest {
        message: Some(Sent::Registration(pb::QueryRegistration { names })),
    }
}

fn reply(
    query: &pb::IncomingQuery,
    result: Option<pb::query_reply::Result>,
) -> pb::ServeQueriesRequest {
    let reply = pb::QueryReply {
        id: query.id.clone(),
        result,
        truncated: false,
    };
    pb::ServeQueriesRequest {
        message: Some(Sent::Reply(reply)),
    }
}

async fn handler(served: &Served, names: &[&str]) -> Served2 {
    let (sent, messages) = mpsc::channel(8);
    sent.send(registration(names)).await.unwrap();
    let mut client = client(served);
    let stream = client.serve_queries(ReceiverStream::new(messages)).await;
    let mut stream = stream.unwrap().into_inner();
    registered(&mut stream).await;
    (sent, stream)
}

async fn registered(stream: &mut Streaming<pb::ServeQueriesResponse>) {
    let message = next(stream).await.message;
    assert!(
        matches!(message, Some(Message::Registered(_))),
        "{message:?}"
    );
}

async fn incoming(stream: &mut Streaming<pb::ServeQueriesResponse>) -> pb::IncomingQuery {
    match next(stream).await.message {
        Some(Message::Query(query)) => query,
        other => panic!("no query: {other:?}"),
    }
}

fn query(name: &str, sequence: u64) -> Arc<Query> {
    Arc::new(Query {
        id: QueryId {
            origin: Arc::from("asker"),
            boot: 3,
            sequence,
        },
        name: name.to_owned(),
        payload: "?".into(),
        lamport: 9,
        deadline: Instant::now() + Duration::from_secs(60),
        deadline_unix_ms: 61_000,
    })
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_out_with_its_target_and_says_who_is_expected() {
    let served = serve().await;
    let tasks = [member("a", 1, &["web"]), member("b", 1, &[])];
    served.put(tasks);
    let request = pb::QueryRequest {
        payload: "?".into(),
        target: Some(pb::MemberFilter {
            roles: vec!["web".to_owned()],
            ..pb::MemberFilter::default()
        }),
        timeout: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        request_acks: true,
        ..question("who")
    };
    let mut stream = client(&served).query(request).await.unwrap().into_inner();
    let Some(Event::Started(started)) = next(&mut stream).await.event else {
        panic!("it does not begin");
    };
    assert_eq!(started.expected, ["a"]);
    let id = started.id.unwrap();
    assert_eq!((id.origin.as_str(), id.boot, id.sequence), ("me", 7, 1));
    let draft = served.engine.drafts.lock().unwrap()[0].clone();
    assert_eq!((draft.kind, draft.timeout_ms), (EventKind::Query, 2_000));
    assert!(draft.want_ack && !draft.target.is_empty());
    let Some(Event::Done(done)) = next(&mut stream).await.event else {
        panic!("it does not end");
    };
    assert_eq!((done.answers, done.silent), (0, vec!["a".to_owned()]));
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn questions_that_make_no_sense_are_refused_with_a_reason() {
    let served = serve().await;
    served.put([member("a", 1, &[])]);
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let bad_regex = pb::MemberFilter {
        name_regex: "(".to_owned(),
        ..pb::MemberFilter::default()
    };
    let cases = [
        (question("-bad"), "BAD_NAME"),
        (question("_serf_conflict"), "BAD_NAME"),
        (
            pb::QueryRequest {
                timeout: seconds(601),
                ..question("q")
            },
            "BAD_TIMEOUT",
        ),
        (
            pb::QueryRequest {
                timeout: seconds(-1),
                ..question("q")
            },
            "BAD_TIMEOUT",
        ),
        (
            pb::QueryRequest {
                target: Some(bad_regex),
                ..question("q")
            },
            "BAD_REGEX",
        ),
        (
            pb::QueryRequest {
                payload: vec![0; PAYLOAD_MAX + 1].into(),
                ..question("q")
            },
            "EVENT_TOO_LARGE",
        ),
    ];
    for (request, why) in cases {
        let refused = client(&served).query(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{why}: {refused:?}");
        assert_eq!(reason(&refused), why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_gets_queries_and_its_replies_count() {
    let served = serve().await;
    let (sent, mut stream) = handler(&served, &["who*"]).await;
    let responders = &served.queries.responders;
    let (one, two, three) = (query("who", 1), query("who-2", 2), query("who", 3));
    let runs = [&one, &two, &three].map(|query| responders.run(query));
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(incoming(&mut stream).await);
    }
    let id = got[0].id.clone().unwrap();
    assert_eq!((id.origin.as_str(), id.boot, id.sequence), ("asker", 3, 1));
    assert_eq!(got[0].payload, "?");
    assert_eq!(got[0].deadline.unwrap().seconds, 61);
    // In any order, one twice, and one that nobody knows.
    let error = pb::query_reply::Result::Error("no".to_owned());
    sent.send(reply(&got[2], Some(error))).await.unwrap();
    sent.send(reply(&got[1], None)).await.unwrap();
    let payload = pb::query_reply::Result::Payload("me".into());
    sent.send(reply(&got[0], Some(payload.clone())))
        .await
        .unwrap();
    sent.send(reply(&got[0], Some(payload))).await.unwrap();
    sent.send(reply(&pb::IncomingQuery::default(), None))
        .await
        .unwrap();
    let [one, two, three] = runs;
    assert_eq!(one.await, Outcome::Answer(Answer::new("me")));
    assert_eq!(two.await, Outcome::Nothing);
    assert_eq!(three.await, Outcome::Failed("no".to_owned()));
    silent(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_change_its_names_and_going_away_loses_its_queries() {
    let served = serve().await;
    let (sent, mut stream) = handler(&served, &["old"]).await;
    let responders = &served.queries.responders;
    let waiting = responders.run(&query("old", 1));
    incoming(&mut stream).await;
    sent.send(registration(&["new"])).await.unwrap();
    registered(&mut stream).await;
    assert_eq!(responders.run(&query("old", 2)).await, Outcome::Nothing);
    let lost = responders.run(&query("new", 3));
    drop((sent, stream));
    let gone = Outcome::Failed("handler went away".to_owned());
    assert_eq!(waiting.await, gone);
    assert_eq!(lost.await, gone);
    assert_eq!(responders.run(&query("new", 4)).await, Outcome::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_answer_is_busy_and_holds_nothing_up() {
    let served = serve().await;
    let (_sent, mut stream) = handler(&served, &["q"]).await;
    let responders = &served.queries.responders;
    let mut owed = Vec::new();
    let all = (RESPONDER_JOBS_MAX + limits::JOBS_OUTSTANDING_MAX) as u64;
    for sequence in 0..all {
        owed.push(responders.run(&query("q", sequence)));
        if sequence < limits::JOBS_OUTSTANDING_MAX as u64 {
            incoming(&mut stream).await;
        }
    }
    let busy = responders.run(&query("q", all)).await;
    assert_eq!(busy, Outcome::Failed("busy".to_owned()));
    // Once nobody waits for those any more, others get their turn.
    owed.truncate(0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let fresh = responders.run(&query("q", all + 1));
    loop {
        if incoming(&mut stream).await.id.unwrap().sequence == all + 1 {
            break;
        }
    }
    drop(fresh);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_register_well_is_refused() {
    let served = serve().await;
    let many = vec!["q"; 65];
    let nothing = pb::ServeQueriesRequest { message: None };
    let unasked = reply(&pb::IncomingQuery::default(), None);
    for (first, why) in [
        (nothing, "NOT_REGISTERED"),
        (unasked, "NOT_REGISTERED"),
        (registration(&[]), "BAD_NAMES"),
        (registration(&many), "BAD_NAMES"),
        (registration(&["_muster_ping"]), "BAD_NAME"),
        (registration(&["a b"]), "BAD_NAME"),
    ] {
        let calling = futures_util::stream::iter([first]);
        let refused = client(&served).serve_queries(calling).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{why}: {refused:?}");
        assert_eq!(reason(&refused), why);
    }
    // Also later.
    let (sent, mut stream) = handler(&served, &["q"]).await;
    sent.send(registration(&["_serf_x"])).await.unwrap();
    let refused = stream.message().await.unwrap_err();
    assert_eq!(reason(&refused), "BAD_NAME");
}

#[tokio::test(start_paused = true)]
async fn a_reply_above_the_limit_ends_its_handler() {
    let served = serve().await;
    let (sent, mut stream) = handler(&served, &["q"]).await;
    let run = served.queries.responders.run(&query("q", 1));
    let got = incoming(&mut stream).await;
    let huge = vec![0; limits::REPLY_MESSAGE_BYTES_MAX + 1];
    let huge = pb::query_reply::Result::Payload(huge.into());
    sent.send(reply(&got, Some(huge))).await.unwrap();
    let refused = stream.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(reason(&refused), "MESSAGE_TOO_LARGE");
    drop(stream);
    let gone = Outcome::Failed("handler went away".to_owned());
    assert_eq!(run.await, gone);
}

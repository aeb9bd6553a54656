use muster_engine::Status as MemberStatus;
use tonic::Code;

use super::super::*;
use super::harness::{reason, serve};
use crate::hub::testing::{member, with_status};

#[tokio::test(start_paused = true)]
async fn members_are_explained_by_name() {
    let served = serve().await;
    let mut client = served.node();
    let ask = |name: &str| pb::ExplainMemberRequest {
        name: name.to_owned(),
    };
    let told = client.explain_member(ask("me")).await.unwrap().into_inner();
    assert_eq!(told.member.unwrap().name, "me");
    assert_eq!((told.omitted, told.advice.as_str()), (2, "look"));
    let seen = &told.observations[0];
    assert_eq!((seen.by.as_str(), seen.text.as_str()), ("web-2", "accused"));
    assert_eq!(seen.at.as_ref().map(|at| at.seconds), Some(5));
    let nobody = client.explain_member(ask("nobody")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    let bad = client.explain_member(ask("a b")).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn info_tells_of_the_daemon_and_the_caller() {
    let served = serve().await;
    let mut client = served.node();
    client.get_metrics(pb::GetMetricsRequest {}).await.unwrap();
    served.put([with_status(member("b", 2, &[]), MemberStatus::Failed)]);
    let info = client
        .get_info(pb::GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    let me = info.self_.unwrap();
    assert!(me.self_ && me.name == "me");
    assert_eq!(info.capabilities, ["read", "events", "admin"]);
    assert_eq!(info.warnings, ["the clock is off", "a hook warns"]);
    assert_eq!(
        (
            info.counters["members_alive"],
            info.counters["members_failed"]
        ),
        (1, 1)
    );
    assert_eq!(
        (
            info.counters["members_left"],
            info.counters["datagrams_sent"]
        ),
        (0, 3)
    );
    assert_eq!(
        (info.cluster.as_str(), info.log_filter.as_str()),
        ("test", "info")
    );
    assert!(info.encrypted);
    let metrics = client.get_metrics(pb::GetMetricsRequest {}).await.unwrap();
    assert_eq!(metrics.into_inner().text, "# from me\n");
}

#[tokio::test(start_paused = true)]
async fn a_join_tells_of_each_address() {
    let served = serve().await;
    let mut client = served.node();
    let mut join = async |addresses: &[&str]| {
        let addresses = addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect();
        let answer = client.join(pb::JoinRequest { addresses }).await;
        answer.map(tonic::Response::into_inner)
    };
    let joined = join(&["up:1", "down:1", "up:2"]).await.unwrap();
    assert_eq!(joined.joined, 1, "both addresses are one member");
    let oks: Vec<_> = joined.results.iter().map(|result| result.ok).collect();
    assert_eq!(oks, [true, false, true]);
    assert_eq!(joined.results[1].error, "connection refused");
    let failed = join(&["down:1"]).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    assert_eq!(
        failed.message(),
        "nobody answered: down:1: connection refused"
    );
    for bad in [
        &[][..],
        &[""],
        &[" a"],
        &["a"; limits::JOIN_ADDRESSES_MAX + 1],
    ] {
        assert_eq!(reason(&join(bad).await.unwrap_err()), "BAD_ADDRESS");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_is_answered_before_the_daemon_exits() {
    let served = serve().await;
    let mut client = served.node();
    client
        .leave(pb::LeaveRequest { stay: false })
        .await
        .unwrap();
    assert_eq!(*served.hooks.left.lock().unwrap(), [false]);
}

#[tokio::test(start_paused = true)]
async fn only_failed_members_can_be_forced_out() {
    let served = serve().await;
    served.put([
        with_status(member("dead", 1, &[]), MemberStatus::Failed),
        member("live", 2, &[]),
    ]);
    let mut client = served.node();
    let mut force = async |name: &str| {
        let name = name.to_owned();
        let ask = pb::ForceLeaveRequest { name, prune: false };
        client
            .force_leave(ask)
            .await
            .map(tonic::Response::into_inner)
    };
    let left = force("dead").await.unwrap().member.unwrap();
    assert_eq!(left.status(), pb::MemberStatus::Left);
    let refused = force("live").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "MEMBER_LIVE")
    );
    assert_eq!(force("nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        force("a b").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test(start_paused = true)]
async fn changed_tags_are_in_the_answer() {
    let served = serve().await;
    let set = [("zone".to_owned(), "eu".to_owned())].into();
    let ask = pb::UpdateTagsRequest {
        set,
        remove: Vec::new(),
    };
    let answer = served.node().update_tags(ask).await.unwrap();
    assert_eq!(answer.into_inner().self_.unwrap().tags["zone"], "eu");
}

#[tokio::test(start_paused = true)]
async fn the_log_filter_is_checked() {
    let served = serve().await;
    let mut client = served.node();
    let mut set = async |filter: String| {
        let answer = client
            .set_log_filter(pb::SetLogFilterRequest { filter })
            .await;
        answer.map(|answer| answer.into_inner().previous)
    };
    assert_eq!(set("debug".to_owned()).await.unwrap(), "info");
    for bad in [
        "bad".to_owned(),
        "x".repeat(limits::LOG_FILTER_BYTES_MAX + 1),
    ] {
        assert_eq!(reason(&set(bad).await.unwrap_err()), "BAD_LOG_FILTER");
    }
}

fn at(milliseconds: f64) -> muster_engine::Coordinate {
    let mut place = muster_engine::Coordinate::default();
    place.vec[0] = milliseconds / 1e3;
    place
}

#[tokio::test(start_paused = true)]
async fn round_trips_are_estimated_between_any_two() {
    let served = serve().await;
    let (b, c) = (member("b", 2, &[]), member("c", 3, &[]));
    served.put([b.clone(), c.clone(), member("d", 4, &[])]);
    let mut client = served.node();
    let mut ask = async |member: &str, other: &str| {
        let (member, other) = (member.to_owned(), other.to_owned());
        let request = pb::GetRoundTripRequest { member, other };
        let answer = client.get_round_trip(request).await;
        answer.map(tonic::Response::into_inner)
    };
    let off = ask("b", "").await.unwrap_err();
    assert_eq!(reason(&off), "COORDINATES_DISABLED");
    served.engine.coordinates.set_own(Some(at(0.0)));
    served.engine.coordinates.set(b.key(), Some(at(10.0)));
    served.engine.coordinates.set(c.key(), Some(at(-5.0)));
    let micros = |answer: &pb::GetRoundTripResponse| answer.round_trip.unwrap().nanos / 1_000;
    let answer = ask("b", "").await.unwrap();
    assert_eq!((answer.member.as_str(), answer.other.as_str()), ("b", "me"));
    // Two heights of 10 microseconds.
    assert!((10_015..10_025).contains(&micros(&answer)), "{answer:?}");
    assert_eq!(answer.member_coordinate.unwrap().vector[0], 0.01);
    let answer = ask("b", "c").await.unwrap();
    assert!((15_015..15_025).contains(&micros(&answer)), "{answer:?}");
    assert_eq!(micros(&ask("c", "c").await.unwrap()), 0);
    let unknown = ask("b", "d").await.unwrap_err();
    assert_eq!(reason(&unknown), "NO_COORDINATE");
    assert!(unknown.message().starts_with("d has not answered"));
    assert_eq!(ask("nobody", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(reason(&ask("b", "-bad").await.unwrap_err()), "BAD_NAME");
    assert_eq!(reason(&ask("", "").await.unwrap_err()), "BAD_NAME");
}

#[tokio::test(start_paused = true)]
async fn a_reload_tells_what_changed_or_what_is_wrong() {
    let served = serve().await;
    let mut client = served.node();
    *served.hooks.reload.lock().unwrap() = Ok(Reloaded {
        applied: vec!["tag: nothing -> \"a=1\"".to_owned()],
        waiting: vec!["bind: \"a\" -> \"b\"".to_owned()],
    });
    let told = client.reload(pb::ReloadRequest {}).await.unwrap();
    let told = told.into_inner();
    assert_eq!((told.applied.len(), told.waiting.len()), (1, 1));
    let mistakes = vec!["flag --x: no".to_owned(), "file y: no".to_owned()];
    *served.hooks.reload.lock().unwrap() = Err(mistakes);
    let refused = client.reload(pb::ReloadRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "BAD_CONFIGURATION");
    assert_eq!(refused.message(), "flag --x: no\nfile y: no");
}

#[tokio::test]
async fn the_log_can_be_read_and_followed() {
    let served = serve().await;
    let mut client = served.node();
    let subscriber = Arc::clone(&served.hooks.subscriber);
    let logged = |log: &dyn Fn()| tracing::subscriber::with_default(Arc::clone(&subscriber), log);
    logged(&|| {
        tracing::info!(target: "musterd::a", member = "b", "one");
        tracing::error!(target: "musterd::a", "two");
    });
    let request = |level: pb::LogLevel, backlog, follow| pb::TailLogsRequest {
        level: level.into(),
        backlog,
        follow,
    };
    let ended = client.tail_logs(request(pb::LogLevel::Error, 512, false));
    let mut ended = ended.await.unwrap().into_inner();
    let line = ended.message().await.unwrap().unwrap();
    assert_eq!(
        (line.message.as_str(), line.level()),
        ("two", pb::LogLevel::Error)
    );
    assert!(ended.message().await.unwrap().is_none());

    let follow = client.tail_logs(request(pb::LogLevel::Debug, 2, true));
    let mut follow = follow.await.unwrap().into_inner();
    let line = follow.message().await.unwrap().unwrap();
    assert_eq!(
        (line.message.as_str(), line.target.as_str()),
        ("one", "musterd::a")
    );
    assert_eq!(line.fields["member"], "b");
    assert_eq!(follow.message().await.unwrap().unwrap().message, "two");
    logged(&|| tracing::debug!(target: "musterd::a", "below the filter of the log"));
    let line = follow.message().await.unwrap().unwrap();
    assert_eq!(
        (line.level(), line.dropped_before),
        (pb::LogLevel::Debug, 0)
    );
    served.stop.cancel();
    let ended = follow.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}

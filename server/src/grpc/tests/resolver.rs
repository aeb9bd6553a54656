use std::time::Duration;

use muster_engine::Status as MemberStatus;
use pb::resolve_role_response::Event;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::super::*;
use super::harness::{Served, next, reason, serve, silent};
use crate::hub::testing::{member, with_status, with_tag};

type Resolving = Streaming<pb::ResolveRoleResponse>;

fn web(edit: impl FnOnce(&mut pb::ResolveRoleRequest)) -> pb::ResolveRoleRequest {
    let mut request = pb::ResolveRoleRequest {
        role: "web".to_owned(),
        ..Default::default()
    };
    edit(&mut request);
    request
}

async fn resolve(served: &Served, request: pb::ResolveRoleRequest) -> Result<Resolving, Status> {
    let answer = served.resolver().resolve_role(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn set(stream: &mut Resolving) -> pb::EndpointSet {
    match next(stream).await.event {
        Some(Event::Set(set)) => set,
        other => panic!("no set: {other:?}"),
    }
}

fn names(set: &pb::EndpointSet) -> Vec<&str> {
    set.endpoints
        .iter()
        .map(|endpoint| endpoint.member.as_str())
        .collect()
}

async fn once(served: &Served, edit: impl FnOnce(&mut pb::ResolveRoleRequest)) -> pb::EndpointSet {
    let mut request = web(edit);
    request.once = true;
    let mut stream = resolve(served, request).await.unwrap();
    let answer = set(&mut stream).await;
    assert!(stream.message().await.unwrap().is_none(), "ends after one");
    answer
}

fn three(served: &Served) {
    served.put([
        member("c", 1, &["web", "db"]),
        member("a", 2, &["web"]),
        member("b", 2, &["web"]),
        member("d", 0, &["db"]),
    ]);
}

#[tokio::test(start_paused = true)]
async fn all_are_ordered_by_age_then_name() {
    let served = serve().await;
    three(&served);
    let all = once(&served, |_| ()).await;
    assert_eq!(names(&all), ["c", "a", "b"]);
    assert!(all.role_known && !all.degraded);
    assert_eq!((all.total, all.endpoints[0].port), (3, 80));
    let oldest = once(&served, |ask| ask.set_policy(pb::SelectionPolicy::Oldest)).await;
    assert_eq!((names(&oldest), oldest.total), (vec!["c"], 3));
    let limited = once(&served, |ask| ask.limit = 2).await;
    assert_eq!((names(&limited), limited.total), (vec!["c", "a"], 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_role_is_an_answer() {
    let served = serve().await;
    let nobody = once(&served, |_| ()).await;
    assert!(!nobody.role_known && nobody.endpoints.is_empty());
    served.put([with_status(member("a", 1, &["web"]), MemberStatus::Failed)]);
    let dead = once(&served, |_| ()).await;
    assert!(dead.role_known && dead.endpoints.is_empty() && dead.total == 0);
}

#[tokio::test(start_paused = true)]
async fn suspects_stay_unless_excluded() {
    let served = serve().await;
    let suspect = |name, age| with_status(member(name, age, &["web"]), MemberStatus::Suspect);
    served.put([suspect("a", 1), member("b", 2, &["web"])]);
    let mixed = once(&served, |_| ()).await;
    assert_eq!((names(&mixed), mixed.degraded), (vec!["a", "b"], false));
    let sure = once(&served, |ask| ask.exclude_suspect = true).await;
    assert_eq!(names(&sure), ["b"]);
    served.put([suspect("b", 2)]);
    let all = once(&served, |_| ()).await;
    assert_eq!((names(&all), all.degraded), (vec!["a", "b"], true));
    let none = once(&served, |ask| ask.exclude_suspect = true).await;
    assert!(none.endpoints.is_empty() && none.degraded && none.role_known);
}

#[tokio::test(start_paused = true)]
async fn a_shuffle_is_fixed_by_its_key_and_moves_few() {
    let served = serve().await;
    let all = (0..20).map(|n| member(&format!("n{n:02}"), n, &["web"]));
    served.put(all);
    let shuffled = async |key: &str| {
        let set = once(&served, |ask| {
            ask.set_policy(pb::SelectionPolicy::Random);
            ask.client_key = key.to_owned();
        });
        let set = set.await;
        names(&set)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut one = shuffled("one").await;
    assert_eq!(one, shuffled("one").await);
    assert_ne!(one, shuffled("two").await);
    assert_ne!(shuffled("").await, shuffled("").await, "each its own");
    let gone = one.remove(0);
    served.put([with_status(
        member(&gone, 0, &["web"]),
        MemberStatus::Failed,
    )]);
    assert_eq!(shuffled("one").await, one, "the others keep their order");
}

#[tokio::test(start_paused = true)]
async fn round_robin_moves_on_by_one_per_call_and_role() {
    let served = serve().await;
    three(&served);
    let mut firsts = Vec::new();
    for _ in 0..4 {
        let rotated = once(&served, |ask| {
            ask.set_policy(pb::SelectionPolicy::RoundRobin)
        })
        .await;
        firsts.push(names(&rotated)[0].to_owned());
        let db = once(&served, |ask| {
            ask.role = "db".to_owned();
            ask.set_policy(pb::SelectionPolicy::RoundRobin);
        });
        db.await;
    }
    assert_eq!(firsts, ["c", "a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn filters_narrow_but_do_not_make_a_role_unknown() {
    let served = serve().await;
    served.put([
        with_tag(member("a", 1, &["web"]), "zone", "eu"),
        member("b", 2, &["web"]),
    ]);
    let filter = |zone: &str| pb::MemberFilter {
        tags: [("zone".to_owned(), zone.to_owned())].into(),
        ..Default::default()
    };
    let eu = once(&served, |ask| ask.filter = Some(filter("eu"))).await;
    assert_eq!(names(&eu), ["a"]);
    let us = once(&served, |ask| ask.filter = Some(filter("us"))).await;
    assert!(us.role_known && us.endpoints.is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_another_answer_is_sent() {
    let served = serve().await;
    three(&served);
    let mut stream = resolve(&served, web(|_| ())).await.unwrap();
    let first = next(&mut stream).await;
    served.put([member("other", 9, &["db"])]);
    // A change of a member of the role that the answer does not show.
    let mut flapped = member("a", 2, &["web"]);
    flapped.transitions = 4;
    served.put([flapped]);
    silent(&mut stream).await;
    served.put([with_status(member("a", 2, &["web"]), MemberStatus::Failed)]);
    let second = next(&mut stream).await;
    assert_ne!(first.etag, second.etag);
    served.put([member("a", 2, &["web"])]);
    let third = next(&mut stream).await;
    assert_eq!(first.etag, third.etag, "equal answers have equal tags");
    let beat = next(&mut stream).await;
    assert_eq!(beat.event, Some(Event::Heartbeat(pb::ResolveHeartbeat {})));
    assert_eq!(beat.etag, third.etag);
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_told_at_once_and_the_next_later() {
    let served = serve().await;
    three(&served);
    let mut stream = resolve(&served, web(|_| ())).await.unwrap();
    set(&mut stream).await;
    let start = Instant::now();
    served.put([member("e", 5, &["web"])]);
    assert_eq!(set(&mut stream).await.total, 4);
    assert!(
        start.elapsed() < Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    served.put([member("f", 6, &["web"])]);
    served.put([member("g", 7, &["web"])]);
    assert_eq!(set(&mut stream).await.total, 6, "merged");
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused() {
    let served = serve().await;
    for (request, wanted) in [
        (web(|ask| ask.role = String::new()), "BAD_ROLE"),
        (web(|ask| ask.role = "x".repeat(64)), "BAD_ROLE"),
        (web(|ask| ask.policy = 9), "BAD_POLICY"),
        (
            web(|ask| ask.client_key = "k".repeat(257)),
            "CLIENT_KEY_TOO_LONG",
        ),
        (
            web(|ask| ask.filter.get_or_insert_default().roles = vec!["db".to_owned()]),
            "ROLES_SET",
        ),
    ] {
        let refused = resolve(&served, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason(&refused), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn roles_are_counted_and_watched() {
    let served = serve().await;
    three(&served);
    let ask = pb::WatchRolesRequest::default();
    let mut stream = served
        .resolver()
        .watch_roles(ask)
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await;
    let brief = |answer: &pb::WatchRolesResponse| {
        let role = |role: &pb::RoleSummary| {
            let counts = (role.alive, role.suspect, role.failed);
            (role.role.clone(), counts, role.oldest_member.clone())
        };
        answer.roles.iter().map(role).collect::<Vec<_>>()
    };
    let (db, web) = ("db".to_owned(), "web".to_owned());
    let expected = [
        (db.clone(), (2, 0, 0), "d".to_owned()),
        (web.clone(), (3, 0, 0), "c".to_owned()),
    ];
    assert_eq!(brief(&first), expected);
    served.put([
        with_status(member("c", 1, &["web", "db"]), MemberStatus::Failed),
        with_status(member("a", 2, &["web"]), MemberStatus::Suspect),
    ]);
    let expected = [
        (db, (1, 0, 1), "d".to_owned()),
        (web, (1, 1, 1), "a".to_owned()),
    ];
    assert_eq!(brief(&next(&mut stream).await), expected);
    assert!(next(&mut stream).await.heartbeat);
}

#[tokio::test(start_paused = true)]
async fn the_nearest_come_first_the_unknown_last() {
    let served = serve().await;
    three(&served);
    let at = |milliseconds: f64| {
        let mut place = muster_engine::Coordinate::default();
        place.vec[0] = milliseconds / 1e3;
        Some(place)
    };
    let key = |name: &str| member(name, 1, &[]).key();
    let nearest = async |near: &str| {
        let set = once(&served, |ask| {
            ask.set_policy(pb::SelectionPolicy::Nearest);
            ask.near = near.to_owned();
        });
        names(&set.await).join(" ")
    };
    // Nothing is known: the oldest first.
    assert_eq!(nearest("").await, "c a b");
    served.engine.coordinates.set_own(at(0.0));
    served.engine.coordinates.set(key("b"), at(1.0));
    assert_eq!(nearest("").await, "b c a");
    served.engine.coordinates.set(key("a"), at(9.0));
    served.engine.coordinates.set(key("c"), at(3.0));
    assert_eq!(nearest("").await, "b c a");
    assert_eq!(nearest("a").await, "a c b");
    served.engine.coordinates.set(key("a"), None);
    assert_eq!(nearest("").await, "b c a", "and it is known again");
    assert_eq!(
        nearest("a").await,
        "a c b",
        "nearest to itself, whatever else"
    );
}

#[tokio::test(start_paused = true)]
async fn a_point_of_view_must_be_a_member_and_of_use() {
    let served = serve().await;
    three(&served);
    let refused = async |near: &str, policy| {
        let request = web(|ask| {
            ask.set_policy(policy);
            ask.near = near.to_owned();
        });
        resolve(&served, request).await.unwrap_err()
    };
    let nearest = pb::SelectionPolicy::Nearest;
    assert_eq!(refused("nobody", nearest).await.code(), Code::NotFound);
    assert_eq!(reason(&refused("-bad", nearest).await), "BAD_NAME");
    let all = refused("a", pb::SelectionPolicy::All).await;
    assert_eq!(reason(&all), "NEAR_WITHOUT_NEAREST");
}

#[tokio::test(start_paused = true)]
async fn places_that_move_are_no_news() {
    let served = serve().await;
    three(&served);
    let mut stream = resolve(
        &served,
        web(|ask| ask.set_policy(pb::SelectionPolicy::Nearest)),
    )
    .await
    .unwrap();
    assert_eq!(names(&set(&mut stream).await), ["c", "a", "b"]);
    served
        .engine
        .coordinates
        .set_own(Some(muster_engine::Coordinate::default()));
    let key = member("b", 2, &[]).key();
    served
        .engine
        .coordinates
        .set(key, Some(muster_engine::Coordinate::default()));
    silent(&mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn containers_that_do_not_pass_their_check_are_no_endpoints_unless_asked_for() {
    let served = serve().await;
    let mut node = member("a", 1, &["web"]);
    let id: Arc<str> = Arc::from("ab".repeat(32));
    let mut sick = node.roles[0].clone();
    (sick.container, sick.healthy, sick.service_port) = (Some(Arc::clone(&id)), false, 81);
    let mut well = node.roles[0].clone();
    (well.container, well.service_port) = (Some(Arc::clone(&id)), 82);
    node.roles.extend([sick, well]);
    served.put([node]);
    let ports = |set: &pb::EndpointSet| -> Vec<(u32, bool, bool)> {
        let all = set.endpoints.iter();
        all.map(|at| (at.port, at.healthy, at.container == *id))
            .collect()
    };
    let healthy = once(&served, |_| ()).await;
    assert_eq!(ports(&healthy), [(80, true, false), (82, true, true)]);
    let all = once(&served, |ask| ask.include_unhealthy = true).await;
    assert_eq!(
        ports(&all),
        [(80, true, false), (81, false, true), (82, true, true)]
    );
    assert_eq!((healthy.total, all.total), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn containers_that_do_not_pass_their_check_do_not_count() {
    let served = serve().await;
    let mut old = member("a", 1, &["web", "db"]);
    old.roles.iter_mut().for_each(|role| role.healthy = false);
    served.put([old, member("b", 2, &["web"])]);
    let ask = pb::WatchRolesRequest {
        once: true,
        ..pb::WatchRolesRequest::default()
    };
    let answer = served.resolver().watch_roles(ask).await.unwrap();
    let told = next(&mut answer.into_inner()).await.roles;
    let brief: Vec<_> = told
        .iter()
        .map(|role| (role.role.as_str(), role.alive, role.oldest_member.as_str()))
        .collect();
    assert_eq!(brief, [("db", 0, ""), ("web", 1, "b")]);
}

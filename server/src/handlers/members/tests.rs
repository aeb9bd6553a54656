use super::*;
use crate::hub::testing::{member, updated, with_status, with_tag};
use crate::hub::{Hub, MemberUpdate};

struct Bench {
    hub: Hub,
    tracker: Tracker,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let windows = Windows::default();
        Self {
            hub: Hub::new("e".to_owned()),
            tracker: Tracker::new(windows),
            now: Instant::now(),
        }
    }

    fn apply(&mut self, members: Vec<Member>) {
        self.hub
            .apply_members(members.into_iter().map(updated).collect());
        self.tracker.look(self.hub.members(), self.now);
    }

    fn remove(&mut self, member: &Member) {
        self.hub
            .apply_members(vec![MemberUpdate::Removed(member.key())]);
        self.tracker.look(self.hub.members(), self.now);
    }

    /// What is told now: kinds with names and boots.
    fn told(&mut self) -> Vec<String> {
        let batches = self.tracker.tell();
        let show = |batch: &Batch| {
            let members: Vec<_> = batch
                .members
                .iter()
                .map(|told| format!("{}/{}", told.member.name, told.member.boot))
                .collect();
            format!("{} {}", batch.kind.as_str(), members.join(" "))
        };
        batches.iter().map(show).collect()
    }
}

fn failed(member: Member) -> Member {
    with_status(member, Status::Failed)
}

#[test]
fn one_life_of_a_member() {
    let mut bench = Bench::new();
    let a = member("a", 1, &[]);
    bench.apply(vec![a.clone(), member("b", 1, &[])]);
    assert_eq!(bench.told(), ["member-join a/1 b/1"]);
    bench.apply(vec![with_status(a.clone(), Status::Suspect)]);
    assert_eq!(bench.told(), [""; 0]);
    bench.apply(vec![with_tag(a.clone(), "k", "v")]);
    assert_eq!(bench.told(), ["member-update a/1"]);
    bench.apply(vec![with_status(a.clone(), Status::Leaving)]);
    assert_eq!(bench.told(), ["member-update a/1"]);
    bench.apply(vec![with_status(a.clone(), Status::Left)]);
    assert_eq!(bench.told(), ["member-leave a/1"]);
    bench.remove(&a);
    assert_eq!(bench.told(), ["member-reap a/1"]);
    bench.apply(vec![member("a", 2, &[])]);
    assert_eq!(bench.told(), ["member-join a/2"]);
}

#[test]
fn a_failure_and_what_may_follow() {
    let mut bench = Bench::new();
    let a = member("a", 1, &[]);
    bench.apply(vec![a.clone()]);
    assert_eq!(bench.told(), ["member-join a/1"]);
    bench.apply(vec![failed(a.clone())]);
    assert_eq!(bench.told(), ["member-failed a/1"]);
    bench.apply(vec![a.clone()]);
    assert_eq!(bench.told(), ["member-join a/1"]);
    bench.apply(vec![failed(a.clone())]);
    assert_eq!(bench.told(), ["member-failed a/1"]);
    // Forced out.
    bench.apply(vec![with_status(a, Status::Left)]);
    assert_eq!(bench.told(), ["member-leave a/1"]);
}

#[test]
fn what_comes_and_goes_in_one_window_is_told_in_order() {
    let mut bench = Bench::new();
    let a = member("a", 1, &[]);
    bench.apply(vec![a.clone()]);
    bench.apply(vec![failed(a.clone())]);
    assert_eq!(bench.told(), ["member-join a/1", "member-failed a/1"]);
    bench.apply(vec![failed(member("b", 1, &[]))]);
    assert_eq!(bench.told(), [""; 0], "it was never seen there");
    bench.apply(vec![a.clone()]);
    assert_eq!(bench.told(), ["member-join a/1"]);
    bench.apply(vec![failed(a.clone())]);
    bench.apply(vec![a]);
    assert_eq!(bench.told(), [""; 0], "a flap");
}

#[test]
fn a_join_is_kept_before_its_update() {
    let mut bench = Bench::new();
    bench.apply(vec![member("a", 1, &[])]);
    bench.apply(vec![with_tag(member("a", 1, &[]), "k", "v")]);
    let batches = bench.tracker.tell();
    assert_eq!((batches.len(), batches[0].kind), (1, MemberKind::Join));
    assert_eq!(batches[0].members[0].member.tags["k"], "v");
}

#[test]
fn a_restart_ends_the_old_run_and_joins_the_new_one() {
    let mut bench = Bench::new();
    bench.apply(vec![member("a", 1, &[])]);
    assert_eq!(bench.told(), ["member-join a/1"]);
    let mut moved = member("a", 2, &[]);
    moved.addr = "10.0.0.2:7946".parse().unwrap();
    bench.apply(vec![moved.clone()]);
    let batches = bench.tracker.tell();
    assert_eq!(batches[0].kind, MemberKind::Failed);
    assert_eq!(
        batches[0].members[0].member.addr.to_string(),
        "127.0.0.1:7946"
    );
    assert_eq!(batches[1].kind, MemberKind::Join);
    assert_eq!(batches[1].members[0].member.addr, moved.addr);
    // With a decent end.
    bench.apply(vec![with_status(moved, Status::Left)]);
    bench.apply(vec![member("a", 3, &[])]);
    assert_eq!(bench.told(), ["member-leave a/2", "member-join a/3"]);
}

#[test]
fn an_address_that_changes_is_an_update() {
    let mut bench = Bench::new();
    bench.apply(vec![member("a", 1, &[])]);
    bench.told();
    let mut moved = member("a", 1, &[]);
    moved.addr.set_port(1);
    bench.apply(vec![moved]);
    let batches = bench.tracker.tell();
    let told = &batches[0].members[0];
    assert_eq!(batches[0].kind, MemberKind::Update);
    assert_eq!(told.before.as_ref().unwrap().addr.port(), 7946);
}

#[test]
fn ends_come_first_and_calls_are_bounded() {
    let mut bench = Bench::new();
    let all: Vec<_> = (0..=LINES_MAX)
        .map(|n| member(&format!("m{n:04}"), 1, &[]))
        .collect();
    bench.apply(all.clone());
    let batches = bench.tracker.tell();
    assert_eq!(
        batches
            .iter()
            .map(|batch| batch.members.len())
            .collect::<Vec<_>>(),
        [LINES_MAX, 1]
    );
    bench.apply(vec![
        failed(all[0].clone()),
        with_status(all[1].clone(), Status::Left),
        with_tag(all[2].clone(), "k", "v"),
        member("z", 1, &[]),
    ]);
    assert_eq!(
        bench.told(),
        [
            "member-leave m0001/1",
            "member-failed m0000/1",
            "member-join z/1",
            "member-update m0002/1"
        ]
    );
}

#[test]
fn a_member_that_was_never_there_has_no_end() {
    let mut bench = Bench::new();
    bench.apply(vec![failed(member("old", 1, &[]))]);
    assert_eq!(bench.told(), [""; 0]);
    let mut loser = member("a", 9, &[]);
    loser.alias = Some(Arc::from("a~00000009"));
    bench.apply(vec![loser]);
    assert_eq!(bench.told(), [""; 0]);
    bench.apply(vec![member("there", 1, &[])]);
    bench.told();
    bench.remove(&member("there", 1, &[]));
    assert_eq!(
        bench.told(),
        ["member-leave there/1", "member-reap there/1"]
    );
}

#[test]
fn windows_are_those_of_serf() {
    let mut bench = Bench::new();
    let second = Duration::from_secs(1);
    assert_eq!(bench.tracker.due(), None);
    let began = bench.now;
    bench.apply(vec![member("m0", 1, &[])]);
    assert_eq!(bench.tracker.due(), Some(began + second));
    for n in 1..5_u32 {
        bench.now = began + second * n * 9 / 10;
        bench.apply(vec![member(&format!("m{n}"), 1, &[])]);
        let due = (bench.now + second).min(began + 3 * second);
        assert_eq!(bench.tracker.due(), Some(due));
    }
    assert_eq!(bench.told().len(), 1);
    assert_eq!(bench.tracker.due(), None);
}

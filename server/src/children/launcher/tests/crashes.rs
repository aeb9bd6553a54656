//! Kills at any moment, and parents that come back.

use super::*;

/// After a kill at any operation the next run leaves exactly one of each, running, with
/// its link, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_kill_at_any_step_leaves_one_child_each() {
    for done in [false, true] {
        for at in 0.. {
            let fake = engine();
            fake.fall_silent(Some(Silence { at, done }));
            let mut first = Running::start(&fake, wanted(TWO));
            let whole = tokio::select! {
                () = until("silence", || fake.is_silent()) => false,
                () = first.settled() => true,
            };
            first.kill().await;
            fake.fall_silent(None);
            let mut second = Running::start(&fake, wanted(TWO));
            second.settled().await;
            let all = children(&fake);
            let names: Vec<_> = all.iter().map(|made| made.name.clone()).collect();
            assert_eq!(names, [name("db"), name("web")], "at {at}");
            for made in all {
                assert_eq!(made.state, "running", "at {at}: {made:?}");
                assert!(made.link.is_some(), "at {at}: {made:?}");
            }
            second.end().await;
            assert!(children(&fake).iter().all(|made| made.state == "exited"));
            if whole {
                assert!(at >= 8, "only {at} steps were tried");
                break;
            }
        }
    }
}

/// The same while a file with other children is applied.
#[tokio::test(start_paused = true)]
async fn a_kill_at_any_step_of_a_change_leaves_what_is_wanted() {
    let after = "children:\n- web: {image: nginx, command: b}\n- new: {image: nginx}\n";
    for done in [false, true] {
        for at in 0.. {
            let fake = engine();
            let mut before = Running::start(&fake, wanted(TWO));
            before.settled().await;
            before.kill().await;
            fake.fall_silent(Some(Silence { at, done }));
            let mut first = Running::start(&fake, wanted(after));
            let whole = tokio::select! {
                () = until("silence", || fake.is_silent()) => false,
                () = first.settled() => true,
            };
            first.kill().await;
            fake.fall_silent(None);
            let mut second = Running::start(&fake, wanted(after));
            second.settled().await;
            until("no stale child", || children(&fake).len() == 2).await;
            let all = children(&fake);
            let names: Vec<_> = all.iter().map(|made| made.name.clone()).collect();
            assert_eq!(names, [name("web"), name("new")], "at {at}");
            assert_eq!(all[0].body["Cmd"], json!(["b"]));
            assert!(all.iter().all(|made| made.state == "running"), "at {at}");
            second.kill().await;
            if whole {
                assert!(at >= 12, "only {at} steps were tried");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_parent_gets_its_children_into_its_network() {
    let fake = engine();
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    running.kill().await;
    fake.take_log();
    fake.restart(PARENT);
    let mut running = Running::start(&fake, wanted(TWO));
    running.settled().await;
    let (db, web) = (name("db"), name("web"));
    let mut log = fake.take_log();
    // Both stop at once; they start in order.
    log[..2].sort_unstable();
    let did = |verb: &str, name: &str| format!("{verb} {name}");
    assert_eq!(
        log,
        [
            did("stop", &db),
            did("stop", &web),
            did("put", &db),
            did("start", &db),
            did("put", &web),
            did("start", &web),
        ]
    );
    running.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_recreated_parent_gets_new_children_and_no_orphans_stay() {
    for same_name in [true, false] {
        let fake = engine();
        let mut running = Running::start(&fake, wanted(TWO));
        running.settled().await;
        running.kill().await;
        fake.forget(PARENT);
        fake.place("parent1", "parent", json!({"Image": "muster"}));
        let node = if same_name { "n1" } else { "n2" };
        let home = Home {
            node: node.to_owned(),
            container: Some("parent1".to_owned()),
            ..home()
        };
        let mut running = Running::with(&fake, wanted(TWO), home.clone(), true);
        running.settled().await;
        let names: Vec<_> = children(&fake).into_iter().map(|made| made.name).collect();
        let expected = ["db", "web"].map(|child| spec::container_name(&home, child));
        assert_eq!(names, expected);
        for made in children(&fake) {
            assert_eq!(
                made.body["HostConfig"]["NetworkMode"],
                json!("container:parent1")
            );
        }
        running.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_have_stays() {
    let fake = engine();
    // Of another node whose parent is there, of another cluster, and somebody's own.
    let of = |node: &str, cluster: &str, net: &str| {
        json!({
            "Image": "x",
            "Labels": {
                "muster.child": "db", "muster.parent": node, "muster.cluster": cluster,
                "muster.spec": "0",
            },
            "HostConfig": {"NetworkMode": format!("container:{net}")},
        })
    };
    fake.place("p2", "parent2", json!({}));
    fake.place("o1", "other1", of("n2", "c", "p2"));
    fake.place("o2", "other2", of("n1", "d", "gone"));
    fake.place(
        "o3",
        "other3",
        json!({"Labels": {"muster.child": "db", "muster.parent": "n1"}}),
    );
    fake.place("o4", &name("db"), json!({"Image": "x"}));
    let mut running = Running::start(&fake, wanted(TWO));
    let told = |reports: &Vec<Report>| reports.iter().any(|report| report.problem.is_some());
    let reports = running.until("a problem", told).await;
    let problem = reports[0].problem.as_deref().unwrap();
    assert!(
        problem.contains("is taken by a container that is not of this node"),
        "{problem}"
    );
    running.end().await;
    assert!(
        fake.all().iter().all(|made| made.state == "running"),
        "{:?}",
        fake.all()
    );
    assert_eq!(fake.take_log(), Vec::<String>::new());
}

use std::net::IpAddr;
use std::time::Duration;

use super::testing::{container, labelled, live};
use super::*;
use crate::docker::Port;

fn config() -> Config {
    Config {
        node: "a".to_owned(),
        service_ip: IpAddr::from([10, 0, 0, 1]),
        inspect_secrets: false,
    }
}

fn of(state: &State) -> Plan {
    plan(state, None, &ChildFiles::new(), &config(), false)
}

fn summaries(plan: &Plan) -> Vec<Summary> {
    let values = plan
        .values
        .iter()
        .filter(|(key, _)| key.starts_with(summary::KEY_PREFIX));
    values
        .map(|(_, value)| Summary::decode(value.clone()).unwrap())
        .collect()
}

#[test]
fn what_runs_serves_its_roles_and_says_how_it_is() {
    let web = labelled(container(1, "web"), &[("muster.role", "web:80,admin:81")]);
    let mut sick = labelled(container(2, "sick"), &[("muster.role", "web:80")]);
    sick.health = Health::Unhealthy;
    let mut new = labelled(container(3, "new"), &[("muster.role", "web:80")]);
    new.health = Health::Starting;
    let mut paused = labelled(container(4, "paused"), &[("muster.role", "web:80")]);
    paused.state = "paused".to_owned();
    let plan = of(&live(vec![web, sick, new, paused]));
    let roles: Vec<_> = plan
        .roles
        .iter()
        .map(|r| (r.name.as_str(), r.service_port, r.healthy))
        .collect();
    assert_eq!(
        roles,
        [
            ("web", 80, true),
            ("admin", 81, true),
            ("web", 80, false),
            ("web", 80, false)
        ]
    );
    let told = summaries(&plan);
    assert_eq!(told.len(), 4);
    let paused = told
        .iter()
        .find(|summary| summary.name == "paused")
        .unwrap();
    assert_eq!((paused.state.as_str(), paused.roles.len()), ("paused", 1));
    assert_eq!(plan.running.values().filter(|runs| **runs).count(), 3);
}

#[test]
fn without_an_engine_nothing_is_told_and_of_one_that_is_away_since_when() {
    for engine in [EngineStatus::Off, EngineStatus::Unknown { error: None }] {
        let state = State {
            engine,
            ..State::default()
        };
        assert_eq!(of(&state), Plan::default());
    }
    let mut state = live(vec![labelled(
        container(1, "web"),
        &[("muster.role", "web:80")],
    )]);
    state.engine = EngineStatus::Away {
        since: UNIX_EPOCH + Duration::from_millis(77),
        error: "refused".to_owned(),
    };
    let plan = of(&state);
    assert_eq!(
        (plan.roles.len(), summaries(&plan).len()),
        (1, 1),
        "it may still run"
    );
    let engine = EngineSummary::decode(plan.values[ENGINE_KEY].clone()).unwrap();
    assert_eq!(
        (engine.state, engine.away_since_unix_ms),
        (EngineState::Away, 77)
    );
}

#[test]
fn labels_that_make_no_sense_are_named_with_their_container() {
    let web = labelled(container(1, "web"), &[("muster.role", "-")]);
    let plan = of(&live(vec![web]));
    assert_eq!((plan.roles.len(), plan.bad_labels.len()), (0, 1));
    assert_eq!(plan.bad_labels[0].0, "web");
}

#[test]
fn the_ports_of_the_own_container_are_told_once_each() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut me = container(9, "me");
    me.ports = vec![
        Port {
            container_port: 7_946,
            protocol: "udp".to_owned(),
            published: vec![(ip("0.0.0.0"), 49_153), (ip("::"), 49_153)],
        },
        Port {
            container_port: 80,
            protocol: "tcp".to_owned(),
            published: Vec::new(),
        },
    ];
    let told = plan(
        &live(vec![me.clone()]),
        Some(&me),
        &ChildFiles::new(),
        &config(),
        false,
    );
    let expected = BTreeMap::from([("7946/udp".to_owned(), vec!["49153".to_owned()])]);
    assert_eq!(told.ports, expected);
}

#[test]
fn our_labels_are_told_before_others_and_long_ones_are_not() {
    let long = "x".repeat(LABEL_BYTES_MAX);
    let many: Vec<(String, String)> = (0..30)
        .map(|nr| (format!("a{nr}"), "y".repeat(100)))
        .collect();
    let mut labels: Vec<(&str, &str)> =
        many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    labels.push(("muster.role", "web"));
    labels.push(("long", &long));
    let plan = of(&live(vec![labelled(container(1, "web"), &labels)]));
    let told = &summaries(&plan)[0];
    assert!(told.labels.contains_key("muster.role"));
    let bytes: usize = told.labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert!(bytes <= LABELS_BYTES_MAX && told.labels.len() > 5);
    assert_eq!(told.labels.len() + told.labels_left_out as usize, 32);
    assert_eq!(plan.labels_left_out, told.labels_left_out as usize);
}

#[test]
fn at_the_bound_labels_go_first_then_the_oldest_that_are_stopped() {
    let label = ("note", "z".repeat(400));
    let labels = [(label.0, label.1.as_str()), ("muster.child", "")];
    let many = |count: u32| -> Vec<Container> {
        let one = |nr: u32| labelled(container(nr, &format!("c{nr}")), &labels);
        (0..count).map(one).collect()
    };
    let some = of(&live(many(100)));
    assert!(!some.short && some.left_out == 0 && some.labels_left_out == 0);
    let more = of(&live(many(300)));
    assert!(more.short && more.left_out == 0);
    assert_eq!(more.labels_left_out, 300);
    assert!(
        summaries(&more)
            .iter()
            .all(|s| s.labels.contains_key("muster.child"))
    );
    let mut state = many(1_000);
    for container in &mut state[100..] {
        container.state = "exited".to_owned();
    }
    let most = of(&live(state));
    assert!(most.left_out > 0);
    let told = summaries(&most);
    assert_eq!(told.len() + most.left_out, 1_000);
    let running = told.iter().filter(|s| s.state == "running").count();
    assert_eq!(running, 100, "these stay though they are older");
    let oldest = told
        .iter()
        .filter(|s| s.state == "exited")
        .map(|s| s.created_unix_ms)
        .min();
    let expected = 1_000 - (told.len() as u64 - 100);
    assert_eq!(oldest, Some(expected), "the newest of the others stay");
    let bytes: usize = most.values.iter().map(|(k, v)| published_bytes(k, v)).sum();
    assert!(bytes <= PUBLISHED_BYTES_MAX, "{bytes}");
    // Once short, labels come back only where there is room to spare.
    let at_the_edge = plan(&live(many(180)), None, &ChildFiles::new(), &config(), true);
    assert!(at_the_edge.short && !of(&live(many(180))).short);
}

#[test]
fn too_many_roles_are_those_of_the_youngest_containers() {
    let one = |nr: u32| {
        labelled(
            container(nr, &format!("c{nr}")),
            &[("muster.role", "web:80")],
        )
    };
    let plan = of(&live((0..1_000).map(one).collect()));
    assert!(plan.roles.len() > 100 && plan.roles.len() < 1_000);
    let last = plan.roles.last().unwrap().container.clone().unwrap();
    assert_eq!(last, container(plan.roles.len() as u32 - 1, "x").id);
}

#[test]
fn what_became_of_the_files_of_children_is_told_and_why_as_long_as_there_is_room() {
    let why = Files::undeliverable(&"x".repeat(300));
    let files = |count: u32| -> ChildFiles {
        let all = (0..count).map(|nr| (container(nr, "x").id, why.clone()));
        all.collect()
    };
    let state = |count: u32| live((0..count).map(|nr| container(nr, "kid")).collect());
    let few = summaries(&plan(&state(2), None, &files(1), &config(), false));
    let told: Vec<_> = few.iter().map(|summary| summary.files.clone()).collect();
    assert_eq!(told, [why.clone(), Files::None]);
    let all = plan(&state(300), None, &files(300), &config(), false);
    assert!(all.short && all.left_out == 0);
    let told = summaries(&all);
    assert!(told.iter().all(|one| one.files == Files::undeliverable("")));
}

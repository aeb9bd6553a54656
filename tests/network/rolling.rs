//! A rolling restart of everybody.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_proto::v1::resolve_role_response::Event;
use muster_proto::v1::resolver_service_client::ResolverServiceClient;
use muster_proto::v1::{MemberStatus, ResolveRoleRequest};
use muster_tests::check::members::ever;
use muster_tests::harness::cluster::see;
use muster_tests::harness::wait::SOON;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use crate::scene::{Record, Scene, subscribed};

/// How many endpoints each answer of a daemon had, over all its runs.
type Answers = Arc<Mutex<Vec<usize>>>;

/// Follows a role at a daemon, through its restarts.
async fn follow(socket: PathBuf, answers: Answers) {
    loop {
        let target = format!("unix://{}", socket.display());
        if let Ok(channel) = Endpoint::try_from(target).unwrap().connect().await {
            let request = ResolveRoleRequest {
                role: "web".to_owned(),
                min_interval: Some(prost_types::Duration::default()),
                ..Default::default()
            };
            let mut client = ResolverServiceClient::new(channel);
            let Ok(stream) = client.resolve_role(request).await else {
                continue;
            };
            let mut stream = stream.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                if let Some(Event::Set(set)) = message.event {
                    answers.lock().unwrap().push(set.endpoints.len());
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_rolling_restart_is_no_failure_and_a_role_always_has_an_endpoint() {
    let mut scene = Scene::started(5, |n, builder| {
        let port = 8000 + n;
        // Each finds the others again also when the first one is away.
        builder
            .data_dir()
            .arg("--rejoin")
            .role(&format!("web=10.88.0.{}:{port}", n + 1))
    });
    scene.together().await;
    let recorder = scene.recorder();
    subscribed(&recorder).await;
    let mut followers = JoinSet::new();
    let answers: Vec<Answers> = scene.daemons.iter().map(|_| Answers::default()).collect();
    for (daemon, answers) in scene.daemons.iter().zip(&answers) {
        followers.spawn(follow(daemon.socket(), Arc::clone(answers)));
    }
    for n in 0..5 {
        scene.daemons[n].signal(Signal::TERM);
        assert_eq!(scene.daemons[n].wait_exit(SOON).await.code(), Some(0));
        let other = (n + 1) % 5;
        let name = format!("node-{n}");
        see(&scene.daemons[other], &name, MemberStatus::Left, SOON).await;
        scene.daemons[n].restart().await;
        scene.together().await;
    }
    let record = Record::of(recorder).await;
    for history in &record.members {
        let failed = ever(history, MemberStatus::Failed);
        assert!(failed.is_empty(), "{}: {failed:?}", history.consumer);
    }
    for (n, answers) in answers.iter().enumerate() {
        let answers = answers.lock().unwrap();
        assert!(answers.len() > 5, "node-{n} answered {answers:?}");
        assert!(
            answers.iter().all(|count| *count > 0),
            "node-{n} answered {answers:?}"
        );
    }
}

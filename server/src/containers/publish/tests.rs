use std::sync::Mutex;

use muster_engine::EngineError;
use tokio::sync::mpsc;

use super::super::plan::testing::{container, labelled, live};
use super::*;
use crate::gossip::handle::Command;

/// A publisher on a fake engine, and what it was told.
struct Bench {
    state: watch::Sender<Arc<State>>,
    files: watch::Sender<Arc<ChildFiles>>,
    updates: mpsc::Receiver<OwnUpdate>,
    metrics: Metrics,
    refuse: Arc<Mutex<bool>>,
}

fn bench() -> Bench {
    let (state, follow) = watch::channel(Arc::new(State::default()));
    let (files, follow_files) = watch::channel(Arc::default());
    let follow = (follow, follow_files);
    let (handle, mut ends) = Handle::new();
    let (tell, updates) = mpsc::channel(100);
    let metrics = Metrics::default();
    let refuse = Arc::new(Mutex::new(false));
    let config = Config {
        node: "a".to_owned(),
        service_ip: std::net::IpAddr::from([10, 0, 0, 1]),
        inspect_secrets: false,
    };
    let publisher = Publisher::new(config, follow, Arc::new(|| None), handle, metrics.clone());
    tokio::spawn(publisher.run(CancellationToken::new()));
    let refusing = Arc::clone(&refuse);
    tokio::spawn(async move {
        while let Some(command) = ends.commands.recv().await {
            let Command::UpdateOwn { update, reply } = command else {
                continue;
            };
            if std::mem::take(&mut *refusing.lock().unwrap()) {
                _ = reply.send(Err(EngineError::BadKey("x".to_owned())));
                continue;
            }
            _ = reply.send(Ok(()));
            _ = tell.send(update).await;
        }
    });
    Bench {
        state,
        files,
        updates,
        metrics,
        refuse,
    }
}

impl Bench {
    fn show(&self, containers: Vec<Container>) {
        self.state.send_replace(Arc::new(live(containers)));
    }

    async fn next(&mut self) -> OwnUpdate {
        self.updates.recv().await.unwrap()
    }
}

fn web(nr: u32) -> Container {
    labelled(
        container(nr, &format!("web{nr}")),
        &[("muster.role", "web:80")],
    )
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_change_and_a_death_does_not_wait() {
    let mut bench = bench();
    let begun = Instant::now();
    for count in 1..=20 {
        bench.show((0..count).map(web).collect());
        tokio::task::yield_now().await;
    }
    let first = bench.next().await;
    assert_eq!(begun.elapsed(), GATHER);
    assert_eq!(first.roles.unwrap().len(), 20);
    assert_eq!(first.publish.len(), 21, "and the engine");
    let mut all: Vec<_> = (0..20).map(web).collect();
    all[3].state = "exited".to_owned();
    let died = Instant::now();
    bench.show(all);
    let end = bench.next().await;
    assert_eq!(died.elapsed(), Duration::ZERO);
    assert_eq!((end.roles.unwrap().len(), end.publish.len()), (19, 1));
    assert_eq!(bench.metrics.published.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_container_says_so_at_once() {
    let mut bench = bench();
    bench.show(vec![web(1)]);
    assert!(bench.next().await.roles.unwrap()[0].healthy);
    let mut sick = web(1);
    sick.health = crate::docker::Health::Unhealthy;
    let at = Instant::now();
    bench.show(vec![sick]);
    assert!(!bench.next().await.roles.unwrap()[0].healthy);
    assert_eq!(at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_told_again_and_what_is_gone_is_taken_back() {
    let mut bench = bench();
    *bench.refuse.lock().unwrap() = true;
    bench.show(vec![web(1)]);
    let begun = Instant::now();
    let told = bench.next().await;
    assert!(begun.elapsed() >= RETRY);
    assert_eq!((told.publish.len(), bench.metrics.refused.get()), (2, 1));
    bench.show(Vec::new());
    let gone = bench.next().await;
    assert_eq!(gone.roles, Some(Vec::new()));
    assert!(matches!(&gone.publish[..], [(key, None)] if key.starts_with("container/")));
}

#[tokio::test(start_paused = true)]
async fn what_became_of_files_is_told_when_it_changes() {
    use crate::hub::containers::summary::{Files, Summary};
    let mut bench = bench();
    bench.show(vec![web(1)]);
    bench.next().await;
    let id = web(1).id;
    let files = ChildFiles::from([(id, Files::undeliverable("/me.json: no"))]);
    bench.files.send_replace(Arc::new(files.clone()));
    let told = bench.next().await;
    let summary = told.publish[0].1.clone().and_then(Summary::decode);
    assert_eq!(summary.unwrap().files, Files::undeliverable("/me.json: no"));
    assert_eq!((told.publish.len(), told.roles), (1, None));
}

//! Daemons in containers, whose sockets are on the host.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster::MemberWatchOptions;
use muster_tests::harness::daemon::{temp_dir, write_key};
use muster_tests::harness::{Binaries, Engine};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::muster::{client, look};
use crate::cluster::peer::{Death, name};

/// An image that holds nothing.
const IMAGE: &str = "empty";

/// Where the host's libraries are, for a daemon that is not a static build.
const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr/lib"];

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Containers called `node-0` and on, on the default bridge of an engine of their own.
#[derive(Debug)]
pub(crate) struct Containers {
    engine: Engine,
    dir: TempDir,
    size: usize,
}

impl Containers {
    /// Starts them and waits until all see all.
    pub(crate) async fn start(binaries: Binaries, size: usize) -> anyhow::Result<Self> {
        let engine = Engine::start().await;
        let empty = temp_dir();
        fs::create_dir(empty.path().join("tmp"))?;
        engine.import(IMAGE, empty.path());
        let dir = temp_dir();
        let _key = write_key(dir.path(), "key");
        let containers = Self { engine, dir, size };
        let mut seed = None;
        for node in 0..size {
            containers.run(binaries, node, seed.as_deref())?;
            if node == 0 {
                let format = "{{.NetworkSettings.IPAddress}}";
                let args = ["inspect", "--format", format, &name(0)];
                seed = Some(containers.engine.docker(&args));
            }
        }
        containers.together().await?;
        Ok(containers)
    }

    /// `docker kill` of a container: what the others saw, and how long the command took.
    pub(crate) async fn kill(
        &self,
        victim: usize,
        limit: Duration,
    ) -> anyhow::Result<(Death, Duration)> {
        let mut tasks = JoinSet::new();
        for node in (0..self.size).filter(|node| *node != victim) {
            let client = client(self.socket(node))?;
            let mut watch = client.watch_members(MemberWatchOptions::default());
            // The view as it is.
            watch.next().await?;
            let dead = vec![name(victim)];
            tasks.spawn(look::failed(watch, dead, Instant::now() + limit));
        }
        let began = Instant::now();
        self.engine.docker(&["kill", &name(victim)]);
        let command = began.elapsed();
        let mut death = Death::new();
        while let Some(seen) = tasks.join_next().await {
            death.add(began, seen??);
        }
        Ok((death, command))
    }

    /// Starts a killed one again and waits until all see all.
    pub(crate) async fn revive(&self, node: usize) -> anyhow::Result<()> {
        self.engine.docker(&["start", &name(node)]);
        self.together().await
    }

    fn socket(&self, node: usize) -> PathBuf {
        self.dir.path().join(name(node)).join("api.sock")
    }

    async fn together(&self) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for node in 0..self.size {
            let seen = look::all_alive(self.socket(node), self.size);
            tasks.spawn(timeout(START_LIMIT, seen));
        }
        while let Some(seen) = tasks.join_next().await {
            seen?.context("a container does not see all")??;
        }
        Ok(())
    }

    fn run(&self, binaries: Binaries, node: usize, seed: Option<&str>) -> anyhow::Result<()> {
        let (name, dir) = (name(node), self.dir.path());
        fs::create_dir(dir.join(&name))?;
        let mut mounts = vec![
            format!("{}:/muster", dir.join(&name).display()),
            format!("{}:/key:ro", dir.join("key").display()),
            format!("{}:/musterd:ro", binaries.musterd),
        ];
        let here = LIBRARIES
            .iter()
            .filter(|path| fs::exists(path).unwrap_or(false));
        mounts.extend(here.map(|path| format!("{path}:{path}:ro")));
        let mut args = vec!["run", "-d", "--name", &name];
        args.extend(mounts.iter().flat_map(|mount| ["-v", mount]));
        args.extend([IMAGE, "/musterd", "--name", &name, "--cluster", "bench"]);
        args.extend(["--bind", "0.0.0.0:7946", "--key-file", "/key"]);
        args.extend(["--socket", "/muster/api.sock"]);
        args.extend(seed.iter().flat_map(|seed| ["--join", seed]));
        self.engine.docker(&args);
        Ok(())
    }
}

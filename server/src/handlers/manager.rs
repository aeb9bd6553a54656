//! Starts and ends the workers as the settings and the directory ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::results::Board;
use super::spec::Spec;
use super::worker::{Begin, Ends, Worker};
use super::{Boards, Common, Config, Definition, HANDLERS_MAX, dir};
use crate::hub::lock;
use crate::queries::{Patterns, Responder, Responders};

/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A new set of handlers.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) specs: Vec<Spec>,
    pub(super) done: oneshot::Sender<()>,
}

/// A worker that runs.
#[derive(Debug)]
struct Running {
    definition: Arc<Definition>,
    retire: CancellationToken,
}

/// The manager.
#[derive(Debug)]
pub(super) struct Manager {
    config: Config,
    common: Arc<Common>,
    queries: Responders,
    stop: CancellationToken,
    grace: Duration,
    boards: Boards,
    files: dir::Watched,
    running: BTreeMap<String, Running>,
    workers: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Labels that were given to handlers of the settings.
    numbered: usize,
}

impl Manager {
    pub(super) fn new(
        config: Config,
        common: Arc<Common>,
        queries: Responders,
        (stop, grace): (CancellationToken, Duration),
        boards: Boards,
    ) -> Self {
        Self {
            files: dir::Watched::new(config.dir.clone()),
            config,
            common,
            queries,
            stop,
            grace,
            boards,
            running: BTreeMap::new(),
            workers: FuturesUnordered::new(),
            numbered: 0,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> anyhow::Result<()> {
        self.files.look().await;
        self.apply(Begin::Start);
        let known = &self.running;
        self.common.cursors.retain(|key| known.contains_key(key));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = commands.recv() => {
                    self.config.specs = command.specs;
                    self.files.look().await;
                    self.apply(Begin::Now);
                    // Who asked may have gone.
                    let _asked = command.done.send(());
                }
                Some(()) = self.workers.next(), if !self.workers.is_empty() => {}
                _tick = look.tick(), if self.files.is_on() => {
                    if self.files.look().await {
                        self.apply(Begin::Now);
                    }
                }
            }
        }
        // They end by the same token.
        while self.workers.next().await.is_some() {}
        Ok(())
    }

    /// Ends what is no longer wanted and starts what is new.
    fn apply(&mut self, begin: Begin) {
        let wanted = self.wanted();
        let keys: BTreeSet<&String> = wanted.iter().map(|(key, ..)| key).collect();
        let gone: Vec<String> = self
            .running
            .keys()
            .filter(|key| !keys.contains(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(running) = self.running.remove(&key) {
                tracing::info!(handler = running.definition.label, spec = %running.definition.spec, "handler ends");
                running.retire.cancel();
                lock(&self.boards).remove(&key);
            }
        }
        for (key, source) in wanted {
            if !self.running.contains_key(&key) {
                self.begin(key, source, begin);
            }
        }
    }

    /// Every handler that should run, by key.
    fn wanted(&self) -> Vec<(String, Source)> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut wanted = Vec::new();
        for spec in &self.config.specs {
            let count = seen.entry(&spec.text).or_default();
            *count += 1;
            // The same one twice is run twice, as by serf.
            let key = match *count {
                1 => spec.text.clone(),
                more => format!("{}#{more}", spec.text),
            };
            wanted.push((key, Source::Spec(spec.clone())));
        }
        let files = self.files.programs().iter();
        wanted.extend(files.map(|file| (format!("dir:{}", file.name), Source::File(file.clone()))));
        if wanted.len() > HANDLERS_MAX {
            tracing::warn!(
                handlers = wanted.len(),
                limit = HANDLERS_MAX,
                "too many handlers: the last ones are left out"
            );
            wanted.truncate(HANDLERS_MAX);
        }
        wanted
    }

    fn begin(&mut self, key: String, source: Source, begin: Begin) {
        let definition = match source {
            Source::Spec(spec) => {
                let label = self.numbered.to_string();
                self.numbered += 1;
                Definition::of(spec, key.clone(), label, &self.config)
            }
            Source::File(file) => Definition::with(
                file.spec(),
                file.program(),
                key.clone(),
                file.label(),
                &self.config,
            ),
        };
        let definition = Arc::new(definition);
        tracing::info!(handler = definition.label, spec = %definition.spec, "handler begins");
        let board = Board::new(&definition.label, &definition.spec.text);
        lock(&self.boards).insert(key.clone(), board.clone());
        let queries = self.serve(&definition);
        let retire = CancellationToken::new();
        let ends = Ends {
            retire: retire.clone(),
            stop: self.stop.clone(),
            grace: self.grace,
        };
        let worker = Worker::new(
            Arc::clone(&definition),
            Arc::clone(&self.common),
            board,
            begin,
        );
        self.workers.push(Box::pin(worker.run(queries, ends)));
        self.running.insert(key, Running { definition, retire });
    }

    /// Takes the queries that a handler is for.
    fn serve(&self, definition: &Definition) -> Option<Responder> {
        let mut names = definition.spec.queries()?;
        if names.is_empty() {
            names.push("*".to_owned());
        }
        let served =
            Patterns::new(names).and_then(|names| self.queries.serve(names, &definition.label));
        served
            .inspect_err(|error| {
                tracing::warn!(handler = definition.label, %error, "a handler answers no queries");
            })
            .ok()
    }
}

/// Where a handler comes from.
#[derive(Debug)]
enum Source {
    Spec(Spec),
    File(dir::File),
}

//! An engine in memory. It can fall silent at any operation, before or after doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::children::engine::{Engine, EngineError};
use crate::docker::{Container, EngineStatus, Health, State};

/// The engine. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake {
    inner: Arc<Mutex<Inner>>,
    state: Arc<watch::Sender<Arc<State>>>,
}

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, Made>,
    images: BTreeSet<String>,
    /// Where images can be pulled from.
    registry: BTreeSet<String>,
    log: Vec<String>,
    operations: usize,
    silence: Option<Silence>,
    clock: u64,
    /// Containers that do not heed a stop.
    deaf: BTreeSet<String>,
    /// Why no container starts.
    broken: Option<String>,
}

/// When the engine falls silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// At the operation of this number, from 0.
    pub(super) at: usize,
    /// Whether that one is still done.
    pub(super) done: bool,
}

/// A container.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) body: Value,
    pub(super) state: &'static str,
    pub(super) started: u64,
    pub(super) error: String,
    pub(super) link: Option<String>,
    created: u64,
}

impl Fake {
    pub(super) fn with(images: &[&str]) -> Self {
        let inner = Inner {
            images: images.iter().map(|image| (*image).to_owned()).collect(),
            clock: 1_000,
            ..Inner::default()
        };
        let fake = Self {
            inner: Arc::new(Mutex::new(inner)),
            state: Arc::new(watch::Sender::new(Arc::default())),
        };
        fake.publish();
        fake
    }

    pub(super) fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    /// Adds a container of somebody else, running.
    pub(super) fn place(&self, id: &str, name: &str, body: Value) {
        self.change(|inner| {
            inner.clock += 1;
            let made = Made {
                name: name.to_owned(),
                body,
                state: "running",
                started: inner.clock,
                error: String::new(),
                link: None,
                created: inner.clock,
            };
            inner.containers.insert(id.to_owned(), made);
        });
    }

    pub(super) fn fall_silent(&self, silence: Option<Silence>) {
        self.change(|inner| {
            inner.silence = silence;
            inner.operations = 0;
        });
    }

    pub(super) fn offer(&self, image: &str) {
        self.change(|inner| {
            inner.registry.insert(image.to_owned());
        });
    }

    pub(super) fn deafen(&self, name: &str) {
        self.change(|inner| {
            inner.deaf.insert(name.to_owned());
        });
    }

    pub(super) fn break_starts(&self, why: Option<&str>) {
        self.change(|inner| inner.broken = why.map(str::to_owned));
    }

    /// Changes a container behind the launcher's back.
    pub(super) fn meddle(&self, name: &str, change: impl Fn(&mut Made)) {
        self.change(|inner| {
            for made in inner
                .containers
                .values_mut()
                .filter(|made| made.name == name)
            {
                change(made);
            }
        });
    }

    /// Starts a container anew behind the launcher's back.
    pub(super) fn restart(&self, id: &str) {
        self.change(|inner| {
            inner.clock += 1;
            let now = inner.clock;
            if let Some(made) = inner.containers.get_mut(id) {
                made.started = now;
            }
        });
    }

    pub(super) fn forget(&self, id: &str) {
        self.change(|inner| drop(inner.containers.remove(id)));
    }

    pub(super) fn all(&self) -> Vec<Made> {
        self.inner
            .lock()
            .unwrap()
            .containers
            .values()
            .cloned()
            .collect()
    }

    pub(super) fn named(&self, name: &str) -> Option<Made> {
        self.all().into_iter().find(|made| made.name == name)
    }

    /// What was done, without looking.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().log)
    }

    /// Whether it has fallen silent.
    pub(super) fn is_silent(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        inner
            .silence
            .is_some_and(|silence| inner.operations > silence.at)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
        self.publish();
    }

    fn publish(&self) {
        let containers = self.inner.lock().unwrap().containers.clone();
        let shown = |(id, made): (String, Made)| (Arc::from(id.as_str()), shown(&id, &made));
        self.state.send_replace(Arc::new(State {
            engine: EngineStatus::Live {
                version: "0".to_owned(),
            },
            containers: containers.into_iter().map(shown).collect(),
        }));
    }

    /// Does something, unless the engine is or falls silent.
    fn act<'a, T: Send + 'a>(
        &'a self,
        entry: Option<String>,
        act: impl FnOnce(&mut Inner) -> Result<T, EngineError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, EngineError>> {
        async move {
            let silence = {
                let mut inner = self.inner.lock().unwrap();
                let number = inner.operations;
                inner.operations += 1;
                let silence = inner.silence.filter(|silence| number >= silence.at);
                silence.map(|silence| silence.done && number == silence.at)
            };
            if silence == Some(false) {
                return pending().await;
            }
            let result = {
                let mut inner = self.inner.lock().unwrap();
                inner.log.extend(entry);
                act(&mut inner)
            };
            self.publish();
            if silence.is_some() {
                return pending().await;
            }
            // As over a socket: others get their turn.
            tokio::task::yield_now().await;
            result
        }
        .boxed()
    }
}

fn shown(id: &str, made: &Made) -> Arc<Container> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = made.body["Labels"].as_object().cloned().unwrap_or_default();
    let inspect = json!({"Id": id, "State": {"Error": made.error}});
    Arc::new(Container {
        id: Arc::from(id),
        name: made.name.clone(),
        image: text(&made.body["Image"]),
        image_id: String::new(),
        state: made.state.to_owned(),
        health: Health::None,
        labels: labels
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        ports: Vec::new(),
        networks: BTreeMap::new(),
        network_mode: text(&made.body["HostConfig"]["NetworkMode"]),
        created_unix_ms: made.created,
        started_unix_ms: made.started,
        exit_code: None,
        pid: 0,
        hosts_path: None,
        mounts: Vec::new(),
        read_only: false,
        inspect: serde_json::value::to_raw_value(&inspect).unwrap(),
    })
}

impl Inner {
    fn find(&mut self, which: &str) -> Result<&mut Made, EngineError> {
        let found = self.containers.get_mut(which);
        found.ok_or_else(|| EngineError::Refused(format!("No such container: {which}")))
    }

    fn name(&self, id: &str) -> String {
        self.containers
            .get(id)
            .map_or_else(|| id.to_owned(), |made| made.name.clone())
    }
}

impl Engine for Fake {
    fn inspect<'a>(
        &'a self,
        which: &'a str,
    ) -> BoxFuture<'a, Result<Option<Container>, EngineError>> {
        self.act(None, move |inner| {
            let mut all = inner.containers.iter();
            let found = all.find(|(id, made)| *id == which || made.name == which);
            Ok(found.map(|(id, made)| (*shown(id, made)).clone()))
        })
    }

    fn create<'a>(
        &'a self,
        name: &'a str,
        body: &'a Value,
    ) -> BoxFuture<'a, Result<String, EngineError>> {
        self.act(Some(format!("create {name}")), move |inner| {
            if inner.containers.values().any(|made| made.name == name) {
                return Err(EngineError::Conflict(format!("{name} is in use")));
            }
            let image = body["Image"].as_str().unwrap_or_default();
            if !inner.images.contains(image) {
                return Err(EngineError::NoImage);
            }
            inner.clock += 1;
            let id = format!("id{}", inner.clock);
            let made = Made {
                name: name.to_owned(),
                body: body.clone(),
                state: "created",
                started: 0,
                error: String::new(),
                link: None,
                created: inner.clock,
            };
            inner.containers.insert(id.clone(), made);
            Ok(id)
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        let name = self.inner.lock().unwrap().name(id);
        self.act(Some(format!("start {name}")), move |inner| {
            if let Some(why) = inner.broken.clone() {
                let made = inner.find(id)?;
                made.state = "exited";
                made.error.clone_from(&why);
                return Err(EngineError::Refused(why));
            }
            inner.clock += 1;
            let now = inner.clock;
            let made = inner.find(id)?;
            if made.state != "running" {
                made.state = "running";
                made.started = now;
                made.error.clear();
            }
            Ok(())
        })
    }

    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, Result<(), EngineError>> {
        let name = self.inner.lock().unwrap().name(id);
        let deaf = self.inner.lock().unwrap().deaf.contains(&name);
        let stop = self.act(Some(format!("stop {name}")), move |inner| {
            let made = inner.find(id)?;
            if made.state == "running" && !deaf {
                made.state = "exited";
            }
            Ok(())
        });
        async move {
            stop.await?;
            if deaf {
                // It is killed then.
                tokio::time::sleep(grace + Duration::from_secs(1)).await;
                self.change(|inner| {
                    if let Ok(made) = inner.find(id) {
                        made.state = "exited";
                    }
                });
            }
            Ok(())
        }
        .boxed()
    }

    fn kill<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        let name = self.inner.lock().unwrap().name(id);
        self.act(Some(format!("kill {name}")), move |inner| {
            inner.find(id)?.state = "exited";
            Ok(())
        })
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        let name = self.inner.lock().unwrap().name(id);
        self.act(Some(format!("remove {name}")), move |inner| {
            inner.find(id)?;
            inner.containers.remove(id);
            Ok(())
        })
    }

    fn put_archive<'a>(
        &'a self,
        id: &'a str,
        tar: Bytes,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let name = self.inner.lock().unwrap().name(id);
        self.act(Some(format!("put {name}")), move |inner| {
            let mut archive = tar::Archive::new(&tar[..]);
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            let from = entry.path().unwrap().display().to_string();
            let to = entry.link_name().unwrap().unwrap().display().to_string();
            inner.find(id)?.link = Some(format!("{from} -> {to}"));
            Ok(())
        })
    }

    fn pull<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<(), EngineError>> {
        self.act(Some(format!("pull {image}")), move |inner| {
            if !inner.registry.contains(image) {
                return Err(EngineError::Refused(format!(
                    "pull access denied for {image}"
                )));
            }
            inner.images.insert(image.to_owned());
            Ok(())
        })
    }
}

//! An engine made of canned answers on a unix socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::{Config, Container, Docker, Host, Inspected, Metrics, Mode, State};
use crate::daemon::supervisor::Tasks;
use crate::hub::lock;

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How a request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// With a status and a body.
    Status(u16, String),
    /// With these bytes, and then the end.
    Raw(Vec<u8>),
    /// Never.
    Hang,
}

/// A fake engine. It knows containers by their inspect JSON.
#[derive(Debug)]
pub(crate) struct FakeEngine {
    directory: TempDir,
    script: Arc<Mutex<Script>>,
    events: broadcast::Sender<Option<Vec<u8>>>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Script {
    version: Value,
    containers: BTreeMap<String, Value>,
    /// By method and beginning of the path without its version.
    replies: BTreeMap<String, Reply>,
    requests: Vec<String>,
}

impl FakeEngine {
    /// One without containers that listens.
    pub(crate) fn start() -> Self {
        let mut engine = Self::stopped();
        engine.listen();
        engine
    }

    /// One whose socket does not exist yet.
    pub(crate) fn stopped() -> Self {
        let version = json!({"Version": "27.0", "ApiVersion": "1.56", "MinAPIVersion": "1.24"});
        Self {
            directory: tempfile::tempdir().unwrap(),
            script: Arc::new(Mutex::new(Script {
                version,
                containers: BTreeMap::new(),
                replies: BTreeMap::new(),
                requests: Vec::new(),
            })),
            events: broadcast::channel(1_024).0,
            listening: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    pub(crate) fn listen(&mut self) {
        let socket = self.socket();
        let _none = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let (script, events) = (Arc::clone(&self.script), self.events.clone());
        self.listening = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, events) = (Arc::clone(&script), events.subscribe());
                tokio::spawn(async move {
                    // A client that went away is no failure.
                    let _ended = serve(stream, &script, events).await;
                });
            }
        }));
    }

    /// Takes no more connections and ends the streams; the socket file stays.
    pub(crate) fn kill(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
        self.cut();
    }

    pub(crate) fn host(&self) -> Host {
        Host::Unix(self.socket())
    }

    /// Follows it, in mode auto.
    pub(crate) async fn follow(&self, tasks: &Tasks) -> (Docker, Metrics) {
        let config = Config {
            mode: Mode::Auto,
            host: self.host(),
            host_prefix: None,
        };
        let metrics = Metrics::default();
        let docker = Docker::start(config, metrics.clone(), tasks).await.unwrap();
        (docker, metrics)
    }

    pub(crate) fn set_version(&self, version: Value) {
        lock(&self.script).version = version;
    }

    /// A container is as it says from now on; nobody is told.
    pub(crate) fn set(&self, inspect: Value) {
        let id = inspect["Id"].as_str().unwrap().to_owned();
        lock(&self.script).containers.insert(id, inspect);
    }

    pub(crate) fn remove(&self, id: &str) {
        lock(&self.script).containers.remove(id);
    }

    /// Answers requests that begin like this in another way: `GET /containers/json`.
    pub(crate) fn reply(&self, request: &str, reply: Reply) {
        lock(&self.script).replies.insert(request.to_owned(), reply);
    }

    pub(crate) fn reply_as_usual(&self) {
        lock(&self.script).replies.clear();
    }

    /// Method and whole path of all requests so far that contain this.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let script = lock(&self.script);
        let found = script.requests.iter().filter(|one| one.contains(part));
        found.cloned().collect()
    }

    /// Tells of an action of a container.
    pub(crate) fn tell(&self, action: &str, id: &str) {
        let event = json!({"Type": "container", "Action": action,
            "Actor": {"ID": id, "Attributes": {"name": "x"}}, "time": 1, "timeNano": 1});
        self.say(&format!("{event}\n"));
    }

    /// Says anything on all streams of events.
    pub(crate) fn say(&self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        let _nobody = self.events.send(Some(chunk.into_bytes()));
    }

    /// Ends the streams of events within a chunk.
    pub(crate) fn cut(&self) {
        let _nobody = self.events.send(Some(b"ff\r\n{\"Ty".to_vec()));
        let _nobody = self.events.send(None);
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One request of a connection.
async fn serve(
    mut stream: UnixStream,
    script: &Mutex<Script>,
    mut events: broadcast::Receiver<Option<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let bare = format!("{method} {}", super::transport::unversioned(path));
    lock(script).requests.push(format!("{method} {path}"));
    let reply = lock(script).reply(&bare);
    match reply {
        Some(Reply::Hang) => std::future::pending().await,
        Some(Reply::Raw(bytes)) => stream.write_all(&bytes).await?,
        Some(Reply::Status(status, body)) => {
            let length = body.len();
            let date = "Date: Sat, 21 Nov 2026 18:00:00 GMT";
            let head = format!("HTTP/1.1 {status} X\r\n{date}\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        None => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            while let Ok(Some(chunk)) = events.recv().await {
                stream.write_all(&chunk).await?;
            }
        }
    }
    // Let the client read it all before the end.
    stream.shutdown().await
}

impl Script {
    /// `None` is the stream of events.
    fn reply(&self, request: &str) -> Option<Reply> {
        let mut special = self.replies.iter().rev();
        if let Some((_, reply)) = special.find(|(begin, _)| request.starts_with(*begin)) {
            return Some(reply.clone());
        }
        let path = request.strip_prefix("GET ").unwrap_or("");
        let body = match path.split('?').next().unwrap_or("") {
            "/_ping" => "OK".to_owned(),
            "/version" => self.version.to_string(),
            "/containers/json" => {
                let all: Vec<Value> = self.containers.values().map(listed).collect();
                Value::Array(all).to_string()
            }
            "/events" => return None,
            path => return Some(self.inspect(path)),
        };
        Some(Reply::Status(200, body))
    }

    fn inspect(&self, path: &str) -> Reply {
        let which = path.strip_prefix("/containers/");
        let which = which.and_then(|path| path.strip_suffix("/json"));
        let is = |one: &&Value| {
            let name = one["Name"].as_str().unwrap_or("").trim_start_matches('/');
            which.is_some_and(|which| one["Id"] == which || name == which)
        };
        match self.containers.values().find(is) {
            Some(one) => Reply::Status(200, one.to_string()),
            None => Reply::Status(404, json!({"message": "No such container"}).to_string()),
        }
    }
}

/// A container as the list shows it.
fn listed(inspect: &Value) -> Value {
    json!({"Id": inspect["Id"], "Names": [inspect["Name"]], "State": inspect["State"]["Status"],
        "Status": "Up", "HostConfig": {"NetworkMode": inspect["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {"Networks": inspect["NetworkSettings"]["Networks"]}})
}

/// A full id that begins with a number.
pub(crate) fn id(number: u32) -> String {
    format!("{number:08x}{}", "0".repeat(56))
}

/// The inspect JSON of a running container on the bridge.
pub(crate) fn container(number: u32, name: &str) -> Value {
    json!({"Id": id(number), "Created": "2026-01-02T03:04:05.678Z", "Name": format!("/{name}"),
        "Image": "sha256:00", "State": {"Status": "running", "Pid": 42, "ExitCode": 0,
            "StartedAt": "2026-01-02T03:04:06Z"},
        "HostsPath": format!("/var/lib/docker/containers/{}/hosts", id(number)),
        "Config": {"Image": "busybox", "Labels": {}, "ExposedPorts": {"80/tcp": {}}},
        "HostConfig": {"NetworkMode": "default", "ReadonlyRootfs": false},
        "NetworkSettings": {"Ports": {"80/tcp": null},
            "Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""}}},
        "Mounts": []})
}

/// What we make of inspect JSON.
pub(crate) fn read(inspect: &Value) -> Container {
    let raw = RawValue::from_string(inspect.to_string()).unwrap();
    Inspected::new(raw).unwrap().try_into().unwrap()
}

/// Waits until the state is as it should be.
pub(crate) async fn until(
    state: &mut watch::Receiver<Arc<State>>,
    what: &str,
    wanted: impl Fn(&State) -> bool,
) -> Arc<State> {
    let waited = tokio::time::timeout(SOON, state.wait_for(|state| wanted(state))).await;
    let found = waited.map(|found| found.map(|state| Arc::clone(&state)));
    match found {
        Ok(Ok(state)) => state,
        other => panic!("{what}: {other:?}; it is {:?}", state.borrow()),
    }
}

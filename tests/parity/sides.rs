//! Three nodes, either of serf or of musterd, and the `serf` command that talks to them.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use muster_tests::harness::daemon::temp_dir;
use muster_tests::harness::wait::{self, SOON};
use muster_tests::harness::{Process, address};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::BIN;

/// The token of all nodes.
pub(crate) const TOKEN: &str = "sesame";

/// The node whose events are handled.
const HANDLING: &str = "beta";

/// What its handler was told.
const HANDLED: &str = "handled";

/// Longest run of one command.
const COMMAND: Duration = Duration::from_secs(60);

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Serf,
    Muster,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) bind: SocketAddr,
    pub(crate) rpc: SocketAddr,
    process: Process,
}

/// A cluster of one kind.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) kind: Kind,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dir: TempDir,
    /// The first key of the cluster, if it is sealed.
    key: Option<&'static str>,
    commands: u32,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Side {
    /// No nodes yet; they talk in clear.
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with_key(kind, None)
    }

    /// No nodes yet; they will have this key.
    pub(crate) fn sealed(kind: Kind, key: &'static str) -> Self {
        Self::with_key(kind, Some(key))
    }

    fn with_key(kind: Kind, key: Option<&'static str>) -> Self {
        let dir = temp_dir();
        let token = dir.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        let config = format!("{{\"rpc_auth\": \"{TOKEN}\", \"leave_on_terminate\": true}}");
        std::fs::write(dir.path().join("serf.json"), config).unwrap();
        if let Some(key) = key {
            let path = dir.path().join("key");
            std::fs::write(&path, format!("{key}\n")).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        Self {
            kind,
            nodes: Vec::new(),
            dir,
            key,
            commands: 0,
        }
    }

    /// Starts a node that joins the first one, and waits until it answers.
    pub(crate) async fn start(&mut self, name: &'static str, tags: &[&str]) {
        let bind = address::fresh();
        let rpc = SocketAddr::new(bind.ip(), 7373);
        let seed = self.nodes.first().map(|first| first.bind);
        let (program, args) = match self.kind {
            Kind::Serf => (
                OsString::from("serf"),
                self.serf(name, bind, rpc, seed, tags),
            ),
            Kind::Muster => (BIN.musterd.into(), self.muster(name, bind, rpc, seed, tags)),
        };
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let process = Process::start(name, &program, &args, &[], self.dir.path(), Stdio::null());
        self.nodes.push(Node {
            name,
            bind,
            rpc,
            process,
        });
        wait::until(&format!("the RPC of {name}"), SOON, async || {
            TcpStream::connect(rpc).map(drop)
        })
        .await;
    }

    fn serf(
        &self,
        name: &str,
        bind: SocketAddr,
        rpc: SocketAddr,
        seed: Option<SocketAddr>,
        tags: &[&str],
    ) -> Vec<String> {
        let mut args = vec![
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={bind}"),
            format!("-rpc-addr={rpc}"),
            format!("-config-file={}", self.path("serf.json").display()),
        ];
        args.extend(tags.iter().map(|tag| format!("-tag={tag}")));
        args.extend(self.key.map(|key| format!("-encrypt={key}")));
        if name == HANDLING {
            args.push(format!("-event-handler={}", self.handler()));
        }
        args.extend(seed.map(|seed| format!("-join={seed}")));
        args
    }

    fn muster(
        &self,
        name: &str,
        bind: SocketAddr,
        rpc: SocketAddr,
        seed: Option<SocketAddr>,
        tags: &[&str],
    ) -> Vec<String> {
        let mut args = vec![
            format!("--name={name}"),
            format!("--bind={bind}"),
            format!("--socket={}", self.path(&format!("{name}.sock")).display()),
            format!("--serf-rpc={rpc}"),
            format!("--serf-rpc-auth-file={}", self.path("token").display()),
            "--event-payload-limit=1KiB".to_owned(),
        ];
        match self.key {
            Some(_) => {
                args.push(format!("--key-file={}", self.path("key").display()));
                args.push("--serf-rpc-show-keys".to_owned());
            }
            None => args.push("--insecure-plaintext".to_owned()),
        }
        args.extend(tags.iter().map(|tag| format!("--tag={tag}")));
        if name == HANDLING {
            args.push(format!("--event-handler={}", self.handler()));
        }
        args.extend(seed.map(|seed| format!("--join={seed}")));
        args
    }

    /// Writes down what it is told, and answers queries. Lamport times differ from run to
    /// run; SERF_RPC_ADDR is told beside what serf tells.
    fn handler(&self) -> String {
        let log = self.path(HANDLED).display().to_string();
        format!(
            "user:deploy,user:restart,user:first,user:second,query:load,member-failed=\
             told=$(echo \"-- $SERF_EVENT\"; \
             env | grep '^SERF_' | grep -v -e LTIME -e SERF_RPC_ADDR | sort; cat); \
             echo \"$told\" >> {log}; \
             if [ \"$SERF_EVENT\" = query ]; then echo answered; fi"
        )
    }

    /// What the handler was told so far.
    pub(crate) fn handled(&self) -> String {
        std::fs::read_to_string(self.path(HANDLED)).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The node of a name.
    pub(crate) fn node(&mut self, name: &str) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .unwrap()
    }

    /// What stands for the addresses of the nodes, and for their directory.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let both = |node: &Node| {
            let IpAddr::V4(ip) = node.bind.ip() else {
                panic!("tests run on 127.0.0.0/8");
            };
            // As the command prints bytes.
            let bytes = ip.octets().map(|byte| format!("{byte:#x}")).join(", ");
            [
                (format!("{{{bytes}}}"), format!("<bytes of {}>", node.name)),
                (node.bind.to_string(), format!("<{}>", node.name)),
                (node.rpc.to_string(), format!("<rpc of {}>", node.name)),
                (ip.to_string(), format!("<ip of {}>", node.name)),
            ]
        };
        let dir = self.dir.path().display().to_string();
        let nodes = self.nodes.iter().flat_map(both);
        nodes.chain([(dir, "<dir>".to_owned())]).collect()
    }

    /// Begins a `serf` command against a node.
    pub(crate) fn begin(&mut self, node: &str, args: &[&str], token: Option<&str>) -> Process {
        self.commands += 1;
        let rpc = self.node(node).rpc.to_string();
        let mut env = vec![("SERF_RPC_ADDR".to_owned(), rpc)];
        env.extend(token.map(|token| ("SERF_RPC_AUTH".to_owned(), token.to_owned())));
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let what = format!("command-{}", self.commands);
        let dir = self.dir.path();
        Process::start(&what, OsStr::new("serf"), &args, &env, dir, Stdio::null())
    }

    /// Runs a `serf` command against a node.
    pub(crate) async fn run(&mut self, node: &str, args: &[&str], token: Option<&str>) -> Said {
        let mut process = self.begin(node, args, token);
        let status = process.wait_exit(COMMAND).await;
        Said {
            stdout: process.stdout_text(),
            stderr: process.stderr_text(),
            code: status.code(),
        }
    }

    /// Waits until a command prints what is wanted.
    pub(crate) async fn until(
        &mut self,
        node: &str,
        args: &[&str],
        wanted: impl Fn(&str) -> bool,
        limit: Duration,
    ) {
        let what = format!("{:?}: serf {}", self.kind, args.join(" "));
        wait::until(&what, limit, async || {
            let said = self.run(node, args, Some(TOKEN)).await;
            if wanted(&said.stdout) {
                Ok(())
            } else {
                Err(said.stdout)
            }
        })
        .await;
    }
}

impl Node {
    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait_exit(SOON).await;
    }

    /// How the process ends by itself.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        self.process.wait_exit(SOON).await.code()
    }
}

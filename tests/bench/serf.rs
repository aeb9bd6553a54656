//! Agents of HashiCorp's serf, as Debian packages it, and a client of their RPC.

pub(crate) mod msgpack;
pub(crate) mod rpc;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use muster_tests::harness::{Process, address};

/// Port of the RPC, at the address of the agent.
const RPC_PORT: u16 = 7373;

/// A running agent. Killed on drop.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) rpc: SocketAddr,
    pub(crate) process: Process,
    pub(crate) bind: SocketAddr,
}

impl Agent {
    /// Starts an agent that joins `seed`, sealed under `key` (base64).
    pub(crate) fn start(name: &str, seed: Option<SocketAddr>, key: &str, dir: &Path) -> Self {
        let bind = address::fresh();
        let rpc = SocketAddr::new(bind.ip(), RPC_PORT);
        let mut args: Vec<OsString> = [
            "agent".to_owned(),
            format!("-node={name}"),
            format!("-bind={bind}"),
            format!("-rpc-addr={rpc}"),
            format!("-encrypt={key}"),
            "-log-level=err".to_owned(),
        ]
        .map(OsString::from)
        .into();
        args.extend(seed.map(|seed| format!("-join={seed}").into()));
        let process = Process::start(name, OsStr::new("serf"), &args, &[], dir, Stdio::null());
        Self {
            name: name.to_owned(),
            rpc,
            process,
            bind,
        }
    }
}

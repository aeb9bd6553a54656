//! Views of single agents. They block; serf tells of members when it is asked.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use muster_tests::serf::rpc::Rpc;

use super::CONNECT_LOOK;
use crate::cluster::peer::Seen;

/// Between two looks at an agent.
const LOOK: Duration = Duration::from_millis(50);

/// When an agent first answered, and when it saw so many alive.
pub(crate) fn all_alive(
    rpc: SocketAddr,
    size: usize,
    limit: Instant,
) -> anyhow::Result<(Instant, Instant)> {
    while TcpStream::connect(rpc).is_err() {
        anyhow::ensure!(Instant::now() < limit, "an agent does not answer");
        thread::park_timeout(CONNECT_LOOK);
    }
    let up = Instant::now();
    let mut rpc = Rpc::connect(rpc)?;
    while Instant::now() < limit {
        let members = rpc.members()?;
        if members.iter().filter(|(_, s)| s == "alive").count() == size {
            return Ok((up, Instant::now()));
        }
        thread::park_timeout(LOOK);
    }
    anyhow::bail!("an agent does not see all")
}

/// Waits until the last of the `dead` is shown failed.
pub(crate) fn failed(rpc: SocketAddr, dead: &[String], limit: Instant) -> anyhow::Result<Seen> {
    let mut rpc = Rpc::connect(rpc)?;
    let mut seen = Seen::default();
    while seen.at.is_none() && Instant::now() < limit {
        for (name, status) in rpc.members()? {
            if status != "failed" {
                continue;
            }
            if dead.last() == Some(&name) {
                seen.at = Some(Instant::now());
            }
            if !dead.contains(&name) {
                seen.wrong.insert(name);
            }
        }
        thread::park_timeout(LOOK);
    }
    Ok(seen)
}

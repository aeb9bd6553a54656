//! What it costs to hand all members to a new watcher.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_proto::v1::WatchMembersRequest;
use muster_proto::v1::watch_members_response::Event;
use muster_tests::harness::Api;
use prost::Message as _;
use tokio::time::{sleep, timeout};

use super::server::Server;
use crate::stats::Times;
use crate::{machine, sized};

/// Members that plain tonic serves.
pub(crate) const PLAIN_MEMBERS: usize = 1_001;

/// Snapshots that are taken.
const SNAPSHOTS: usize = 200;

/// Bytes in front of each message.
const HEADER: usize = 5;

/// How long the server may take to know its members: a daemon shows those of the run
/// before when it has not met them for 30 s.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at how many it knows.
const LOOK: Duration = Duration::from_millis(100);

/// What a snapshot costs.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    pub(crate) members: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) times: Times,
    /// Seconds of server CPU.
    pub(crate) cpu: f64,
}

/// Takes snapshots of so many members from a server.
pub(crate) async fn measure(server: &Server, members: usize) -> anyhow::Result<Cost> {
    let mut api = Api::connect(server.socket()).await;
    let mut cost = Cost::default();
    timeout(LIMIT, async {
        loop {
            cost = one(&mut api).await?;
            if cost.members >= members {
                break;
            }
            sleep(LOOK).await;
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| format!("{} of {members} members", cost.members))??;
    let snapshots = sized(SNAPSHOTS, 5);
    let cpu = machine::cpu(server.pid())?;
    let mut times = Times::default();
    for _ in 0..snapshots {
        let began = Instant::now();
        cost = one(&mut api).await?;
        times.push(began.elapsed());
    }
    let cpu = machine::cpu(server.pid())? - cpu;
    Ok(Cost {
        times,
        cpu: cpu.as_secs_f64() / snapshots as f64,
        ..cost
    })
}

async fn one(api: &mut Api) -> anyhow::Result<Cost> {
    let request = WatchMembersRequest {
        snapshot_only: true,
        ..WatchMembersRequest::default()
    };
    let mut stream = api.members.watch_members(request).await?.into_inner();
    let mut cost = Cost::default();
    while let Some(message) = stream.message().await? {
        cost.messages += 1;
        cost.bytes += message.encoded_len() + HEADER;
        if let Some(Event::SnapshotPart(part)) = message.event {
            cost.members += part.members.len();
        }
    }
    Ok(cost)
}

//! A snapshot file of a large cluster, without running one.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use muster_engine::crypto::Key;
use muster_engine::{Now, Time};
use musterd::storage::StoredFile;
use prost::Message;

use super::server::MEMBER;
use crate::engine::net::Net;

/// Name of the cluster in the file.
pub(crate) const CLUSTER: &str = "known";

/// Bytes of a key that nobody needs.
const KEY: [u8; 32] = [42; 32];

/// Virtual time in which two meet.
const MEETING: Duration = Duration::from_secs(5);

/// A member as it is written: left, so that nobody looks for it.
const LEFT: u32 = 3;

/// The file as a whole; members by their bytes.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    cluster: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    saved_unix_ms: u64,
    #[prost(bool, tag = "5")]
    joined: bool,
    #[prost(message, repeated, tag = "8")]
    members: Vec<Kept>,
}

/// One member; the record as it is.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(bytes = "bytes", tag = "1")]
    ident: Bytes,
    #[prost(uint32, tag = "2")]
    incarnation: u32,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(bytes = "bytes", tag = "4")]
    record: Bytes,
    #[prost(uint64, tag = "5")]
    uptime_ms: u64,
    #[prost(uint64, tag = "6")]
    state_age_ms: u64,
}

/// Writes the snapshot of a node that knew so many others.
pub(crate) fn write(path: &Path, others: usize) -> anyhow::Result<()> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut file = File {
        cluster: CLUSTER.to_owned(),
        name: MEMBER.to_owned(),
        saved_unix_ms: u64::try_from(since_1970.as_millis())?,
        joined: true,
        members: Vec::with_capacity(others),
    };
    for number in 1..=others {
        file.members.extend(met(number)?);
    }
    anyhow::ensure!(file.members.len() == others, "somebody was not met");
    StoredFile::new(path.to_owned()).write(&file)?;
    Ok(())
}

/// What an engine keeps of another that it met.
fn met(number: usize) -> anyhow::Result<Vec<Kept>> {
    let mut net = Net::new(&[0, number], &Key::new(&KEY)?, || 0);
    net.run_for(MEETING);
    let now = Now {
        at: Time::default() + MEETING,
        unix_ms: 0,
    };
    let snapshot = net.engines[0].snapshot(now);
    let mut kept = File::decode(&snapshot.encode_to_vec()[..])?.members;
    for member in &mut kept {
        member.state = LEFT;
    }
    Ok(kept)
}

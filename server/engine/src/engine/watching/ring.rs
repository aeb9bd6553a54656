//! Whom this node watches.

use std::time::Duration;

use super::{Stage, Stream};
use crate::engine::Engine;
use crate::ident::NodeRef;
use crate::member::Status;
use crate::time::{Now, Time};

/// Members that each member watches: those that follow it on the ring of name hashes.
/// Each is watched by as many, so that two are left when one of them dies with it.
pub(crate) const SUCCESSORS: usize = 3;

/// The streams follow the ring once this node's part of it was quiet for so long: a
/// cluster that starts would otherwise open them over and over.
const QUIET: Duration = Duration::from_secs(1);

/// And at the latest so long after its first move.
const LATEST: Duration = Duration::from_secs(10);

/// This node's part of the ring.
#[derive(Debug, Default)]
pub(super) struct Ring {
    successors: Vec<NodeRef>,
    /// When it moved first and last since the streams last followed it.
    moved: Option<(Time, Time)>,
}

impl Ring {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let (first, last) = self.moved?;
        Some((last + QUIET).min(first + LATEST))
    }
}

/// The members that follow `hash` on the ring, `active` being sorted by hash.
pub(in crate::engine) fn successors(
    active: &[NodeRef],
    hash: u64,
) -> impl Iterator<Item = NodeRef> {
    let from = active.partition_point(|node| node.hash <= hash);
    let (before, after) = active.split_at(from);
    after.iter().chain(before).copied().take(SUCCESSORS)
}

/// The members that come before `hash` on the ring, the nearest first.
fn predecessors(active: &[NodeRef], hash: u64) -> impl Iterator<Item = NodeRef> {
    let from = active.partition_point(|node| node.hash < hash);
    let (before, after) = active.split_at(from);
    let others = before.iter().rev().chain(after.iter().rev()).copied();
    others
        .filter(move |node| node.hash != hash)
        .take(SUCCESSORS)
}

impl Engine {
    /// Looks whether there is somebody else to be watched, and whom to watch no longer.
    pub(in crate::engine) fn follow_ring(&mut self, now: Now) {
        let away = matches!(self.own.status, Status::Leaving | Status::Left);
        let active = self.table.active();
        let wanted: Vec<_> = if away {
            Vec::new()
        } else {
            successors(active, self.own.ident.hash).collect()
        };
        let gone = |stream: &&Stream| {
            let peer = self.table.run(stream.to);
            !peer.is_some_and(crate::table::Peer::is_active)
        };
        let gone: Vec<_> = self
            .watching
            .streams
            .values()
            .filter(gone)
            .map(|s| s.to.hash)
            .collect();
        for hash in gone {
            self.drop_stream(hash);
        }
        let ring = &mut self.watching.ring;
        if wanted != ring.successors {
            let first = ring.moved.map_or(now.at, |(first, _)| first);
            ring.moved = Some((first, now.at));
            ring.successors = wanted;
        }
        let none_yet = self.watching.streams.is_empty();
        let due = ring
            .next_deadline()
            .is_some_and(|at| at <= now.at || none_yet);
        if due || away {
            self.watch_successors(now);
        }
    }

    fn watch_successors(&mut self, now: Now) {
        let ring = &mut self.watching.ring;
        ring.moved = None;
        let wanted = ring.successors.clone();
        let streams = self.watching.streams.values();
        let unwanted = streams.filter(|stream| !wanted.contains(&stream.to));
        let unwanted: Vec<_> = unwanted.map(|stream| stream.to.hash).collect();
        for hash in unwanted {
            self.drop_stream(hash);
        }
        for to in wanted {
            let stage = Stage::Waiting {
                at: now.at,
                tries: 0,
            };
            let streams = &mut self.watching.streams;
            streams.entry(to.hash).or_insert(Stream { to, stage });
        }
        self.tick_watching(now);
    }

    /// The others that watch a member, as far as this node knows.
    pub(super) fn fellow_watchers(&self, subject: u64) -> Vec<NodeRef> {
        // This node is on the ring as well, though not in its own table.
        let (active, me) = (self.table.active(), self.me_ref());
        let mut ring: Vec<_> = predecessors(active, subject).chain([me]).collect();
        ring.sort_unstable_by_key(|node| node.hash);
        let watchers: Vec<_> = predecessors(&ring, subject)
            .filter(|node| *node != me)
            .collect();
        watchers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(hashes: &[u64]) -> Vec<NodeRef> {
        hashes
            .iter()
            .map(|&hash| NodeRef { hash, boot: 1 })
            .collect()
    }

    fn hashes(nodes: impl Iterator<Item = NodeRef>) -> Vec<u64> {
        nodes.map(|node| node.hash).collect()
    }

    #[test]
    fn the_ring_has_no_end() {
        let active = ring(&[10, 20, 30, 40, 50]);
        assert_eq!(hashes(successors(&active, 25)), [30, 40, 50]);
        assert_eq!(hashes(successors(&active, 45)), [50, 10, 20]);
        assert_eq!(hashes(successors(&active, 50)), [10, 20, 30]);
        assert_eq!(hashes(predecessors(&active, 20)), [10, 50, 40]);
        assert_eq!(hashes(predecessors(&active, 50)), [40, 30, 20]);
    }

    #[test]
    fn small_rings_name_nobody_twice() {
        assert_eq!(hashes(successors(&ring(&[]), 5)), [0_u64; 0]);
        assert_eq!(hashes(successors(&ring(&[7, 9]), 8)), [9, 7]);
        assert_eq!(hashes(predecessors(&ring(&[7, 9]), 9)), [7]);
    }

    /// Whoever watches is a predecessor of whom it watches.
    #[test]
    fn watchers_know_each_other() {
        let all = ring(&[3, 14, 15, 92, 65, 35, 89, 79]);
        let mut all: Vec<_> = all;
        all.sort_unstable_by_key(|node| node.hash);
        for me in &all {
            let others: Vec<_> = all.iter().filter(|node| *node != me).copied().collect();
            for watched in successors(&others, me.hash) {
                let watchers = hashes(predecessors(&all, watched.hash));
                assert!(watchers.contains(&me.hash), "{me:?} {watched:?}");
            }
        }
    }
}

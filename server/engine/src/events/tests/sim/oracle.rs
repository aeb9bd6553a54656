//! What every consumer saw, and what was promised to it.

use super::{Sim, key_of};
use crate::event::Event;
use crate::ident::NodeRef;

/// What one consumer saw of one origin.
#[derive(Debug, Default, Clone)]
pub(in super::super) struct Seen {
    pub(in super::super) base: u64,
    pub(in super::super) next: u64,
    pub(in super::super) events: u64,
    pub(in super::super) gaps: Vec<(u64, u64)>,
    pub(in super::super) last_at: u64,
}

impl Sim {
    pub(super) fn on_query(&mut self, index: usize, query: &Event) {
        let key = key_of(&query.origin);
        let seen = self.nodes[index].seen.get(&key);
        let over = seen.is_some_and(|seen| seen.next > query.sequence);
        let fresh = self.nodes[index].queries.insert((key, query.sequence));
        if over || !fresh {
            let text = format!("n{index}: query {key:?}/{} again", query.sequence);
            self.violations.push(text);
        }
    }

    pub(super) fn on_replicated(&mut self, index: usize, sequence: u64) {
        let node = &mut self.nodes[index];
        if sequence <= node.replicated {
            self.violations.push(format!("n{index}: receipts go back"));
        }
        node.replicated = sequence;
        node.replicated_at = self.now;
        let me = node.me;
        self.promised.insert(me, sequence);
    }

    pub(super) fn saw(&mut self, index: usize, key: NodeRef, first: u64, last: u64, gap: bool) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let later = node.seen.iter().any(|(other, seen)| {
            other.hash == key.hash && other.boot > key.boot && seen.next > seen.base + 1
        });
        if later && !gap {
            let text = format!("n{index}: {key:?}/{first} after a later boot");
            self.violations.push(text);
        }
        let seen = node.seen.entry(key).or_insert(Seen {
            next: 1,
            ..Seen::default()
        });
        if seen.next != first {
            let text = format!("n{index}: {key:?}/{first} where {} is due", seen.next);
            self.violations.push(text);
        }
        seen.next = last + 1;
        seen.last_at = now;
        if gap {
            seen.gaps.push((first, last));
        } else {
            seen.events += 1;
        }
    }

    /// What `index` saw of `of`.
    pub(in super::super) fn seen(&self, index: usize, of: NodeRef) -> Seen {
        self.nodes[index].seen.get(&of).cloned().unwrap_or(Seen {
            next: 1,
            ..Seen::default()
        })
    }

    /// Everybody up saw all that was published by `of`.
    pub(in super::super) fn all_have(&self, of: usize) -> bool {
        let (key, published) = (self.key(of), self.nodes[of].published);
        let up = self.nodes.iter().filter(|n| n.up && !n.paused);
        self.nodes[of].to_publish.is_empty()
            && published > 0
            && up
                .into_iter()
                .all(|n| n.seen.get(&key).is_some_and(|s| s.next > published))
    }

    /// Every promise: replicated events were seen by all that are up, in order, or
    /// covered by a gap where one is allowed.
    pub(in super::super) fn check(&mut self, gaps_allowed: &[usize]) -> Vec<String> {
        let mut found = std::mem::take(&mut self.violations);
        for (key, promised) in &self.promised {
            for (index, node) in self.nodes.iter().enumerate() {
                if !node.up || node.paused || node.me.hash == key.hash {
                    continue;
                }
                let seen = self.seen(index, *key);
                let excused = node.excused.get(key).copied().unwrap_or(0);
                if seen.next <= *promised && *promised > excused {
                    found.push(format!(
                        "n{index}: {key:?} promised up to {promised}, next is {}",
                        seen.next
                    ));
                }
                if !seen.gaps.is_empty() && !gaps_allowed.contains(&index) {
                    found.push(format!("n{index}: {key:?} gaps {:?}", seen.gaps));
                }
            }
        }
        for node in &self.nodes {
            if node.most_bytes > self.limits.event_bytes_total + (2 << 20) {
                found.push(format!("{} held {} bytes", node.name, node.most_bytes));
            }
        }
        found
    }
}

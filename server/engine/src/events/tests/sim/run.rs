//! Virtual time.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;

use super::network::{Action, Due};
use super::oracle::Seen;
use super::{Sim, View, key_of};
use crate::api::ExchangeError;
use crate::event::EventError;
use crate::events::{Events, EventsOutput, Peers};
use crate::time::{Now, Time};

/// Datagrams that a stopped node's socket keeps.
const BACKLOG: usize = 300;

/// Ticks of one node at one instant before it counts as spinning.
const SPIN: u32 = 200;

impl Sim {
    pub(in super::super) fn run(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.run_while(end, |_| true);
        self.now = end;
    }

    /// Runs until `done`, at most until `limit`; true if it came to that.
    pub(in super::super) fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> bool {
        let end = self.now + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        self.run_while(end, |sim| !done(sim));
        done(self)
    }

    fn run_while(&mut self, end: u64, go: impl Fn(&Self) -> bool) {
        while go(self) {
            match self.heap.peek() {
                Some(Reverse(due)) if due.at <= end => {}
                Some(_) | None => return,
            }
            let Some(Reverse(due)) = self.heap.pop() else {
                return;
            };
            self.now = self.now.max(due.at);
            self.perform(due);
        }
    }

    fn perform(&mut self, due: Due) {
        let index = due.node;
        let node = &mut self.nodes[index];
        if !node.up {
            if let Action::PullRequest { from, boot, id, .. } = due.action {
                let answer = Err(ExchangeError::Connect("refused".to_owned()));
                self.schedule(
                    self.now + 500,
                    from,
                    Action::PullAnswer { id, boot, answer },
                );
            }
            return;
        }
        if node.paused {
            if let Action::PullRequest { from, boot, id, .. } = due.action {
                let answer = Err(ExchangeError::Timeout);
                let at = self.now + 3_000_000;
                self.schedule(at, from, Action::PullAnswer { id, boot, answer });
            } else if node.backlog.len() < BACKLOG {
                node.backlog.push_back(due);
            }
            return;
        }
        match due.action {
            Action::Tick => self.tick(index, due.at),
            Action::Publish => self.publish_some(index),
            Action::Datagram { from, section } => self.call(index, |events, now, peers| {
                events.on_section(now, from, section, peers);
            }),
            Action::PullRequest {
                from,
                boot,
                id,
                body,
            } => {
                let mut answer = None;
                self.call(index, |events, now, peers| {
                    answer = events.on_pull_request(now, body, peers);
                });
                let answer = answer.ok_or(ExchangeError::Broken("closed".to_owned()));
                let bytes = answer.as_ref().map_or(0, Bytes::len) as u64;
                let at = self.now + self.delay() + bytes / self.net.bandwidth;
                self.schedule(at, from, Action::PullAnswer { id, boot, answer });
            }
            Action::PullAnswer { id, boot, answer } => {
                if self.nodes[index].me.boot == boot {
                    self.call(index, |events, now, peers| {
                        events.on_pull_answer(now, id, answer, peers);
                    });
                }
            }
        }
    }

    fn tick(&mut self, index: usize, at: u64) {
        let node = &mut self.nodes[index];
        if node.tick_at > self.now && at < node.tick_at {
            return;
        }
        node.spin = match node.spin {
            (when, times) if when == self.now => (when, times + 1),
            _ => (self.now, 0),
        };
        assert!(node.spin.1 < SPIN, "{} spins at {}", node.name, self.now);
        node.tick_at = u64::MAX;
        self.call(index, Events::tick);
    }

    fn publish_some(&mut self, index: usize) {
        for _ in 0..64 {
            let Some(draft) = self.nodes[index].to_publish.pop_front() else {
                return;
            };
            let mut result = None;
            let kept = draft.clone();
            self.call(index, |events, now, peers| {
                result = Some(events.publish(now, draft, peers));
            });
            match result {
                Some(Ok(accepted)) => {
                    let node = &mut self.nodes[index];
                    assert_eq!(accepted.sequence, node.published + 1);
                    node.published += 1;
                }
                Some(Err(EventError::Full)) => {
                    let node = &mut self.nodes[index];
                    node.to_publish.push_front(kept);
                    node.blocked_at = Some(self.now);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        self.schedule(self.now + 1_000, index, Action::Publish);
    }

    pub(in super::super) fn call(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Events, Now, &dyn Peers),
    ) {
        let now = Now {
            at: Time::from_micros(self.now),
            unix_ms: self.now / 1_000,
        };
        let node = &mut self.nodes[index];
        act(&mut node.events, now, &View(&node.live));
        while let Some(output) = self.nodes[index].events.poll() {
            self.output(index, output);
        }
        let node = &mut self.nodes[index];
        node.most_bytes = node.most_bytes.max(node.events.bytes);
        if let Some(deadline) = node.events.next_deadline() {
            let at = deadline.as_micros().max(self.now);
            if at < node.tick_at {
                node.tick_at = at;
                self.schedule(at, index, Action::Tick);
            }
        }
    }

    fn output(&mut self, index: usize, output: EventsOutput) {
        match output {
            EventsOutput::Send { to, section } => self.transmit(index, to, &section),
            EventsOutput::Pull { id, to, body } => {
                let node = &self.nodes[index];
                let boot = node.me.boot;
                match self.find(to) {
                    Some(peer) if node.live.contains(&to) => {
                        let at = self.now + 2 * self.delay();
                        let action = Action::PullRequest {
                            from: index,
                            boot,
                            id,
                            body,
                        };
                        self.schedule(at, peer, action);
                    }
                    Some(_) | None => {
                        let answer = Err(ExchangeError::Connect("unknown".to_owned()));
                        let action = Action::PullAnswer { id, boot, answer };
                        self.schedule(self.now + 1, index, action);
                    }
                }
            }
            EventsOutput::Deliver(event) => {
                let key = key_of(&event.origin);
                self.saw(index, key, event.sequence, event.sequence, false);
            }
            EventsOutput::Query(query) => self.on_query(index, &query),
            EventsOutput::Passed { origin, sequence } => {
                let key = key_of(&origin);
                if !self.nodes[index].queries.contains(&(key, sequence)) {
                    let text = format!("n{index}: query {key:?}/{sequence} never came");
                    self.violations.push(text);
                }
                self.saw(index, key, sequence, sequence, false);
            }
            EventsOutput::Gap(gap) => {
                let key = key_of(&gap.origin);
                self.saw(index, key, gap.first, gap.last, true);
            }
            EventsOutput::Base { origin, sequence } => {
                let key = key_of(&origin);
                let seen = Seen {
                    base: sequence,
                    next: sequence + 1,
                    ..Seen::default()
                };
                let queries = &self.nodes[index].queries;
                if queries.range((key, 0)..=(key, sequence)).next().is_some() {
                    self.violations
                        .push(format!("n{index}: a query before the base of {key:?}"));
                }
                if self.nodes[index].seen.insert(key, seen).is_some() {
                    self.violations
                        .push(format!("n{index}: base of {key:?} is late"));
                }
            }
            EventsOutput::Replicated { sequence } => self.on_replicated(index, sequence),
            EventsOutput::Room => {
                let node = &mut self.nodes[index];
                if let Some(at) = node.blocked_at.take() {
                    node.blocked_us += self.now - at;
                }
                self.schedule(self.now, index, Action::Publish);
            }
            EventsOutput::LaggardLetGo { member, behind } => {
                let at = self.now;
                self.nodes[index].let_go.push((at, member, behind));
            }
        }
    }
}

//! What came back: taking an answer in, and giving what the other side wants.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::Pending;
use super::answering::{instance_of, member_state};
use super::asking::OWN_RECORD_BYTES;
use super::pacing::ANSWER_SLACK;
use crate::api::{EXCHANGE_BYTES_MAX, ExchangeKind};
use crate::engine::Engine;
use crate::engine::views::Mask;
use crate::ident::{IDENT_BYTES, Ident};
use crate::record::RECORD_BYTES_MAX;
use crate::time::Now;
use crate::wire::{CompareAnswer, Push, SyncRequest, sync_request};

impl Engine {
    /// What differs is looked at; a member that agrees is heard all the same.
    pub(super) fn on_glance_answer(&mut self, now: Now, to: SocketAddr, body: Bytes) {
        let Ok(answer) = CompareAnswer::decode(body) else {
            return self.count("exchanges_unexpected");
        };
        if answer.differing != 0 || answer.events_differ {
            let mut compare = self.view_of(now, Mask(answer.differing));
            if answer.events_differ {
                compare.positions = self.events.positions();
            }
            let (attempt, join) = (None, false);
            self.send_compare(now, to, compare, Pending::Compare { to, attempt, join });
        } else {
            self.count("syncs_without_difference");
        }
    }

    pub(super) fn on_compare_answer(
        &mut self,
        now: Now,
        to: SocketAddr,
        join: bool,
        body: Bytes,
    ) -> Result<Arc<str>, String> {
        const NONSENSE: &str = "the answer made no sense";
        let answer = CompareAnswer::decode(body).map_err(|_e| NONSENSE.to_owned())?;
        let own = answer.own.as_ref().ok_or(NONSENSE)?;
        let from = Ident::get(&own.ident[..]).ok_or(NONSENSE)?;
        if from.hash == self.own.ident.hash && instance_of(own) == self.own.instance {
            return Err("that is this node itself".to_owned());
        }
        if answer.boot_floor > 0 && self.on_boot_floor(now, answer.boot_floor) {
            self.compare(now, to, join, None);
        }
        if own.state == 3 {
            return Err("that node has left the cluster".to_owned());
        }
        let told = std::iter::once(own).chain(&answer.members);
        let news = self.learn_states(now, from, told);
        if self.table.run(from.node()).is_none() {
            return Err(NONSENSE.to_owned());
        }
        let first = join && self.joining.is_first();
        self.events
            .on_positions(now, from.node(), &answer.positions, first, &self.table);
        self.push_wanted(now, to, &answer.wants);
        if !answer.more {
            self.take_seniority(now);
        } else if news > 0 {
            // Another member may have more to give.
            self.hurry(now);
        } else {
            self.count("exchanges_with_nothing_more");
        }
        self.table
            .name_of(from.hash)
            .ok_or_else(|| NONSENSE.to_owned())
    }

    pub(in crate::engine) fn push_wanted(&mut self, now: Now, to: SocketAddr, wants: &[u8]) {
        let idents = wants.chunks_exact(IDENT_BYTES).filter_map(Ident::get);
        // Once each, however often it is asked for.
        let idents: BTreeSet<_> = idents.map(Ident::node).collect();
        let own = match idents.contains(&self.me_ref()) {
            true => RECORD_BYTES_MAX,
            false => OWN_RECORD_BYTES,
        };
        let known = idents.into_iter().filter_map(|node| self.table.run(node));
        let mut room = EXCHANGE_BYTES_MAX - ANSWER_SLACK - own;
        let mut members = Vec::new();
        for peer in known {
            let state = member_state(now, peer, None);
            let Some(left) = room.checked_sub(state.encoded_len() + 8) else {
                break;
            };
            room = left;
            members.push(state);
        }
        if members.is_empty() && own == OWN_RECORD_BYTES {
            return;
        }
        let push = Push {
            own: Some(self.own_state(now, 0, own)),
            members,
        };
        let kind = Some(sync_request::Kind::Push(push));
        let body = Bytes::from(SyncRequest { kind }.encode_to_vec());
        self.request(now, to, ExchangeKind::Sync, body, Pending::Push);
    }
}

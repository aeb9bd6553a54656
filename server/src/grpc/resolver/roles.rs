//! Which roles there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use muster_engine::{Member, Status};
use muster_proto::v1 as pb;

use super::super::frames::framed;
use super::super::members::{Members, position, source};
use super::super::watch::group::View;
use super::answers::Question;
use super::endpoints::etag;
use crate::hub::Hub;

/// Endpoints per role over all members.
#[derive(Debug)]
pub(crate) struct Roles {
    /// Every member.
    pub(crate) view: Arc<View<Members>>,
}

#[derive(Default)]
struct Count<'a> {
    alive: u32,
    suspect: u32,
    failed: u32,
    oldest: Option<&'a Member>,
}

impl<'a> Count<'a> {
    fn add(&mut self, member: &'a Member) {
        match member.status {
            Status::Alive => self.alive += 1,
            Status::Suspect => self.suspect += 1,
            Status::Failed => self.failed += 1,
            Status::Leaving | Status::Left => {}
        }
        let serves = matches!(member.status, Status::Alive | Status::Suspect);
        let older = |oldest: &Member| member.seniority() < oldest.seniority();
        if serves && self.oldest.is_none_or(older) {
            self.oldest = Some(member);
        }
    }
}

impl Question for Roles {
    fn last_change(&self, hub: &Hub) -> (u64, u64) {
        self.view.last_change(&source(hub))
    }

    fn answer(&self, hub: &Hub) -> (String, Bytes) {
        let (revision, entries) = self.view.entries(&source(hub));
        let mut counts: BTreeMap<&str, Count<'_>> = BTreeMap::new();
        for entry in &entries {
            for role in &entry.value.roles {
                let count = counts.entry(&role.name).or_default();
                // The others are no endpoints.
                if role.healthy {
                    count.add(&entry.value);
                }
            }
        }
        let summary = |(role, count): (&str, Count<'_>)| pb::RoleSummary {
            role: role.to_owned(),
            alive: count.alive,
            suspect: count.suspect,
            failed: count.failed,
            oldest_member: count
                .oldest
                .map_or_else(String::new, |oldest| oldest.display_name().to_string()),
        };
        let mut response = pb::WatchRolesResponse {
            position: None,
            roles: counts.into_iter().map(summary).collect(),
            heartbeat: false,
        };
        let tag = etag(&response);
        response.position = Some(position(hub, revision));
        (tag, framed(&response))
    }

    fn heartbeat(&self, hub: &Hub, _tag: &str, revision: u64) -> Bytes {
        framed(&pb::WatchRolesResponse {
            position: Some(position(hub, revision)),
            roles: Vec::new(),
            heartbeat: true,
        })
    }
}

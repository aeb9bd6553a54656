//! Watching where a role is served, and which roles there are. Every message is the
//! whole answer, so a reconnect needs no token: an equal answer is not repeated.

use tonic::transport::Channel;

use crate::error::Error;
use crate::link::{HEARTBEAT, Link, LinkEvent, Lost};
use crate::pb;
use crate::pb::resolver_service_client::ResolverServiceClient;
use pb::resolve_role_response::Event as Message;

/// One news of a [`RoleWatch`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RoleUpdate {
    /// The endpoints now; replaces the earlier set.
    Set(pb::EndpointSet),
    /// The daemon is gone; the last set stands. The watch goes on by itself.
    Disconnected(Lost),
    /// The daemon is back; a set follows only if it is another one.
    Reconnected,
}

/// One news of a [`RolesWatch`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RolesUpdate {
    /// All roles now, by name.
    Roles(Vec<pb::RoleSummary>),
    /// The daemon is gone; the last list stands. The watch goes on by itself.
    Disconnected(Lost),
    /// The daemon is back; a list follows only if it is another one.
    Reconnected,
}

/// A watch on the endpoints of a role. Made by [`crate::Client::watch_role`].
#[derive(Debug)]
pub struct RoleWatch {
    client: ResolverServiceClient<Channel>,
    request: pb::ResolveRoleRequest,
    link: Link<pb::ResolveRoleResponse>,
    etag: Option<String>,
    lost: bool,
    pending: Option<RoleUpdate>,
}

/// A watch on the list of roles. Made by [`crate::Client::watch_roles`].
#[derive(Debug)]
pub struct RolesWatch {
    client: ResolverServiceClient<Channel>,
    link: Link<pb::WatchRolesResponse>,
    roles: Option<Vec<pb::RoleSummary>>,
    lost: bool,
    pending: Option<RolesUpdate>,
}

impl RoleWatch {
    pub(crate) fn new(channel: Channel, request: pb::ResolveRoleRequest) -> Self {
        let heartbeat_interval = prost_types::Duration::try_from(HEARTBEAT).ok();
        Self {
            client: ResolverServiceClient::new(channel),
            request: pb::ResolveRoleRequest {
                once: false,
                heartbeat_interval,
                ..request
            },
            link: Link::new("ResolveRole"),
            etag: None,
            lost: false,
            pending: None,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself (role grammar, bad filter).
    pub async fn next(&mut self) -> Result<RoleUpdate, Error> {
        loop {
            if let Some(update) = self.pending.take() {
                return Ok(update);
            }
            let (client, request) = (&self.client, &self.request);
            let open = || {
                let (mut client, request) = (client.clone(), request.clone());
                Box::pin(async move { client.resolve_role(request).await }) as _
            };
            match self.link.next(open).await? {
                LinkEvent::Lost(lost) => {
                    self.lost = true;
                    return Ok(RoleUpdate::Disconnected(lost));
                }
                LinkEvent::Message { message, .. } => {
                    self.pending = self.take(message);
                    if std::mem::take(&mut self.lost) && self.etag.is_some() {
                        return Ok(RoleUpdate::Reconnected);
                    }
                }
            }
        }
    }

    fn take(&mut self, message: pb::ResolveRoleResponse) -> Option<RoleUpdate> {
        match message.event? {
            Message::Heartbeat(_) => None,
            // Without an etag every set counts as another one.
            Message::Set(set) => {
                let same = !message.etag.is_empty() && self.etag.as_ref() == Some(&message.etag);
                self.etag = Some(message.etag);
                (!same).then_some(RoleUpdate::Set(set))
            }
        }
    }
}

impl RolesWatch {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: ResolverServiceClient::new(channel),
            link: Link::new("WatchRoles"),
            roles: None,
            lost: false,
            pending: None,
        }
    }

    /// Waits for the next news. Never ends by itself. Cancel-safe.
    ///
    /// # Errors
    /// When the daemon refuses the request itself.
    pub async fn next(&mut self) -> Result<RolesUpdate, Error> {
        loop {
            if let Some(update) = self.pending.take() {
                return Ok(update);
            }
            let client = &self.client;
            let open = || {
                let mut client = client.clone();
                let request = pb::WatchRolesRequest {
                    once: false,
                    heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
                };
                Box::pin(async move { client.watch_roles(request).await }) as _
            };
            match self.link.next(open).await? {
                LinkEvent::Lost(lost) => {
                    self.lost = true;
                    return Ok(RolesUpdate::Disconnected(lost));
                }
                LinkEvent::Message { message, .. } => {
                    let before = self.roles.is_some();
                    if !message.heartbeat && self.roles.as_ref() != Some(&message.roles) {
                        self.roles = Some(message.roles.clone());
                        self.pending = Some(RolesUpdate::Roles(message.roles));
                    }
                    if std::mem::take(&mut self.lost) && before {
                        return Ok(RolesUpdate::Reconnected);
                    }
                }
            }
        }
    }
}

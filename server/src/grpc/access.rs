//! Who may call what: the one place where that is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::peer::{Peer, SocketKind};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Members, roles, events and metrics.
    Read,
    /// Sending events.
    Events,
    /// Changing this node and the cluster.
    Admin,
}

impl Capability {
    /// Its word in configuration and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Events => "events",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability: use read, events or admin")]
pub struct UnknownCapability(String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        match text {
            "read" => Ok(Self::Read),
            "events" => Ok(Self::Events),
            "admin" => Ok(Self::Admin),
            other => Err(UnknownCapability(other.to_owned())),
        }
    }
}

/// What one caller may do, in order.
pub type Capabilities = BTreeSet<Capability>;

/// Rules of one daemon.
#[derive(Debug, Clone)]
pub struct Access {
    /// Effective uid of the daemon.
    pub daemon_uid: u32,
    /// Capabilities that some uids have in addition on the api socket.
    pub allow: BTreeMap<u32, Capabilities>,
}

impl Access {
    /// What a caller may do.
    #[must_use]
    pub fn of(&self, peer: &Peer) -> Capabilities {
        let mut granted = BTreeSet::from([Capability::Read, Capability::Events]);
        if peer.socket == SocketKind::Api {
            if peer.uid == 0 || peer.uid == self.daemon_uid {
                granted.insert(Capability::Admin);
            }
            granted.extend(self.allow.get(&peer.uid).into_iter().flatten());
        }
        granted
    }
}

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: everybody who can open the socket may call it.
    Open,
    /// One capability.
    Needs(Capability),
}

/// The rule of a request path, and whether its answer is a stream that ends with
/// the daemon. Paths that nobody serves are open: they are answered UNIMPLEMENTED.
#[must_use]
pub fn rule(path: &str) -> (Rule, bool) {
    use Capability::{Admin, Events, Read};
    let (needs, streams) = match path {
        "/muster.v1.MembershipService/WatchMembers"
        | "/muster.v1.ResolverService/ResolveRole"
        | "/muster.v1.ResolverService/WatchRoles"
        | "/muster.v1.EventService/WatchEvents" => (Read, true),
        "/muster.v1.MembershipService/GetMember"
        | "/muster.v1.NodeService/GetMetrics"
        | "/muster.v1.NodeService/GetRoundTrip"
        | "/muster.v1.NodeService/ExplainMember" => (Read, false),
        "/muster.v1.EventService/SendEvent" | "/muster.v1.QueryService/Query" => (Events, true),
        "/muster.v1.QueryService/ServeQueries" => (Admin, true),
        "/muster.v1.NodeService/Join"
        | "/muster.v1.NodeService/Leave"
        | "/muster.v1.NodeService/ForceLeave"
        | "/muster.v1.NodeService/UpdateTags"
        | "/muster.v1.NodeService/SetLogFilter"
        | "/muster.v1.NodeService/Reload"
        | "/muster.v1.KeyService/ListKeys"
        | "/muster.v1.KeyService/InstallKey"
        | "/muster.v1.KeyService/UseKey"
        | "/muster.v1.KeyService/RemoveKey"
        | "/muster.v1.KeyService/RotateKey"
        | "/muster.v1.KeyService/SetEncryption" => (Admin, false),
        // The log may tell more than the API does.
        "/muster.v1.NodeService/TailLogs" => (Admin, true),
        "/grpc.health.v1.Health/Watch" => return (Rule::Open, true),
        other => return (Rule::Open, other.starts_with("/grpc.reflection.")),
    };
    (Rule::Needs(needs), streams)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn peer(uid: u32, socket: SocketKind) -> Peer {
        let gid = uid;
        Peer { uid, gid, socket }
    }

    #[test]
    fn the_socket_and_the_uid_decide() {
        let extra = BTreeSet::from([Capability::Admin]);
        let access = Access {
            daemon_uid: 500,
            allow: BTreeMap::from([(700, extra)]),
        };
        let admin = |uid, socket| access.of(&peer(uid, socket)).contains(&Capability::Admin);
        assert!(admin(0, SocketKind::Api));
        assert!(admin(500, SocketKind::Api));
        assert!(admin(700, SocketKind::Api));
        assert!(!admin(501, SocketKind::Api));
        for uid in [0, 500, 700] {
            assert!(!admin(uid, SocketKind::Child), "{uid}");
        }
        let child = access.of(&peer(501, SocketKind::Child));
        assert!(child.contains(&Capability::Read) && child.contains(&Capability::Events));
    }

    /// A new method must get its line in `rule`.
    #[test]
    fn every_method_of_the_api_has_a_rule() {
        let set = FileDescriptorSet::decode(muster_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut methods = 0;
        for file in set.file.iter().filter(|file| file.package() == "muster.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/muster.v1.{}/{}", service.name(), method.name());
                    let (rule, streams) = rule(&path);
                    assert_eq!(streams, method.server_streaming(), "{path}");
                    assert_eq!(rule == Rule::Open, method.name() == "GetInfo", "{path}");
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, 25);
    }

    #[test]
    fn capabilities_have_words() {
        for capability in [Capability::Read, Capability::Events, Capability::Admin] {
            assert_eq!(capability.as_str().parse(), Ok(capability));
        }
        assert!("root".parse::<Capability>().is_err());
    }
}

//! Client of Muster: who is in the cluster, what happens in it, where a role is
//! served. Talks gRPC (`muster.v1`) to the daemon on this host over its unix socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), muster::Error> {
//! use muster::{Client, MemberUpdate, MemberWatchOptions, SocketPath};
//!
//! let client = Client::connect(&SocketPath::discover()?);
//! let mut watch = client.watch_members(MemberWatchOptions::default());
//! while let Ok(update) = watch.next().await {
//!     if let MemberUpdate::Snapshot { members, .. } = update {
//!         println!("{} members", members.len());
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Messages are the generated types of [`pb`]; watches reconnect and resume by
//! themselves ([`MemberWatch`], [`ContainerWatch`], [`EventWatch`], [`RoleWatch`], [`RolesWatch`]).

pub use muster_proto::v1 as pb;

mod backoff;
mod client;
mod connect;
mod container_watch;
mod error;
mod event_watch;
mod keys;
mod link;
mod member_watch;
mod position;
mod query;
mod role_watch;
mod send;
mod socket;
mod status;

pub use client::{Client, LogTail, Members};
pub use container_watch::{
    ContainerChange, ContainerUpdate, ContainerWatch, ContainerWatchOptions,
};
pub use error::{Code, Error};
pub use event_watch::{Coalescing, EventUpdate, EventWatch, EventWatchOptions};
pub use link::Lost;
pub use member_watch::{
    Change, ChangeKind, MemberKey, MemberUpdate, MemberWatch, MemberWatchOptions,
};
pub use position::EventPositions;
pub use query::{Query, QueryAnswers, QueryHandler, Replier};
pub use role_watch::{RoleUpdate, RoleWatch, RolesUpdate, RolesWatch};
pub use send::{EventOptions, EventSender, Outcome, Receipt, Receipts};
pub use socket::{SocketError, SocketPath};
pub use status::{display_name, status_name};

#[cfg(feature = "cli")]
pub mod cli;

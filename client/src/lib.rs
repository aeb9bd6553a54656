//! Client of Muster: who is in the cluster, what happens in it, where a role is
//! served. Talks gRPC (`muster.v1`) to the daemon on this host over its unix socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), muster::Error> {
//! use muster::{Client, MemberWatchOptions, SocketPath, Update};
//!
//! let client = Client::connect(&SocketPath::discover()?);
//! let mut watch = client.watch_members(MemberWatchOptions::default());
//! while let Ok(update) = watch.next().await {
//!     if let Update::Snapshot { items: members, .. } = update {
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
mod error;
mod event_watch;
mod keys;
mod link;
mod position;
mod query;
mod role_watch;
mod send;
mod socket;
mod status;
mod watch;

pub use client::{Client, LogTail};
pub use error::{Code, Error};
pub use event_watch::{Coalescing, EventUpdate, EventWatch, EventWatchOptions};
pub use link::Lost;
pub use position::EventPositions;
pub use query::{Query, QueryAnswers, QueryHandler, Replier};
pub use role_watch::{RoleUpdate, RoleWatch, RolesUpdate, RolesWatch};
pub use send::{EventOptions, EventSender, Outcome, Receipt, Receipts};
pub use socket::{SocketError, SocketPath};
pub use status::{display_name, status_name};
pub use watch::{
    Change, ChangeKind, ContainerWatch, ContainerWatchOptions, Containers, List, MemberKey,
    MemberWatch, MemberWatchOptions, Members, Update, Watch, Watched,
};

#[cfg(feature = "cli")]
pub mod cli;

//! Keys, sealed datagrams and the replay window.
//!
//! Every byte between members travels under a key of the cluster. A datagram
//! names its key in clear, so that one attempt at opening it is enough, and binds
//! the cluster name in, so that two clusters that share a key never merge.

pub mod key;
pub mod keyring;
pub mod replay;
pub mod seal;

pub use key::{Key, KeyError, KeyId};
pub use keyring::{Keyring, Stage};
pub use seal::{OpenError, Opened, Sealer};

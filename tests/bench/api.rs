//! One daemon with many watchers, and with calls, beside a plain tonic server under the
//! same load.

mod calls;
mod crowds;
mod known;
pub(crate) mod plain;
mod publish;
mod server;
mod snapshot;
mod unary;
mod watcher;

pub(crate) use self::calls::run as calls;
pub(crate) use self::crowds::run as watchers;

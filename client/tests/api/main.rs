//! The client library and the command line against a scripted daemon.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "news of another kind, also of a later version, fails the test"
)]

#[cfg(test)]
mod cli;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod members;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod send;

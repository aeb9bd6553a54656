//! The client library and the command line against a scripted daemon.

mod cli;
mod errors;
mod events;
mod fake;
mod members;
mod roles;
mod send;

//! The API through a real client, over connections in memory.

mod coalesced;
mod containers;
mod events;
mod gate;
mod harness;
mod keys;
mod members;
mod node;
mod queries;
mod resolver;
mod send;

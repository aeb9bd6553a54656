//! The API through a real client, over connections in memory.

mod events;
mod gate;
mod harness;
mod keys;
mod members;
mod node;
mod resolver;
mod send;

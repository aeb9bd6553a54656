//! A served socket with a fake engine behind it.

mod abuse;
mod commands;
mod harness;
mod queries;
mod streams;

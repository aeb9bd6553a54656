//! Muster on real Docker engines. Needs root, Debian's docker.io, busybox-static and
//! serf, and the static build: `tests/run.sh` sees to all of them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod children;
mod containers;
mod cutter;
mod fifo;
mod files;
mod followed;
mod image;
mod operations;
mod placed;
mod serf_blog;
mod two_engines;
mod view;

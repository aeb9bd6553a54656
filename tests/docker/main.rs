//! Muster on real Docker engines. Needs root, Debian's docker.io, busybox-static and
//! serf, and the static build: `tests/run.sh` sees to all of them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]
#![expect(clippy::print_stdout, reason = "what was measured is worth reading")]

mod children;
mod containers;
mod image;
mod serf_blog;

//! `muster demo`.
use crate::cli::{Context, args::Demo, failure::Failure};
#[allow(clippy::unused_async)]
pub(super) async fn run(_: &mut Context, _: Demo) -> Result<(), Failure> {
    Err(Failure::refused("x"))
}

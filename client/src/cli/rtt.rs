//! `muster rtt`.

use std::time::Duration;

use serde::Serialize;

use crate::cli::args::Rtt;
use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{CALL_TIMEOUT, Context};
use crate::pb;

#[derive(Serialize)]
struct RoundTrip<'a> {
    member: &'a str,
    other: &'a str,
    round_trip_ms: f64,
    member_coordinate: Option<Coordinate<'a>>,
    other_coordinate: Option<Coordinate<'a>>,
}

#[derive(Serialize)]
struct Coordinate<'a> {
    vector: &'a [f64],
    error: f64,
    adjustment: f64,
    height: f64,
}

pub(super) async fn run(context: &mut Context, args: &Rtt) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.round_trip(&args.member, args.other.as_deref());
    let answer = context.deadline(CALL_TIMEOUT, call).await?;
    let round_trip = answer.round_trip.unwrap_or_default();
    let round_trip = Duration::try_from(round_trip).unwrap_or_default();
    let round_trip_ms = round_trip.as_secs_f64() * 1e3;
    let object = RoundTrip {
        member: &answer.member,
        other: &answer.other,
        round_trip_ms,
        member_coordinate: answer.member_coordinate.as_ref().map(coordinate),
        other_coordinate: answer.other_coordinate.as_ref().map(coordinate),
    };
    context.out.answer(&object, || {
        let (member, other) = (escape(&answer.member), escape(&answer.other));
        // serf's words.
        format!("Estimated {member} <-> {other} rtt: {round_trip_ms:.3} ms")
    })
}

fn coordinate(told: &pb::Coordinate) -> Coordinate<'_> {
    Coordinate {
        vector: &told.vector,
        error: told.error,
        adjustment: told.adjustment,
        height: told.height,
    }
}

//! How far members are from each other, by their network coordinates.

use std::sync::Arc;

use muster_engine::{Coordinate, Member};
use muster_proto::v1 as pb;
use tonic::Status;

use super::members::check_member_name;
use super::status::{member_not_found, precondition};
use crate::gossip::Coordinates;
use crate::hub::Hub;

/// Answers `GetRoundTrip`.
pub(crate) fn estimate(
    hub: &Hub,
    coordinates: &Coordinates,
    request: &pb::GetRoundTripRequest,
) -> Result<pb::GetRoundTripResponse, Status> {
    let member = find(hub, "member", &request.member)?;
    let other = match request.other.as_str() {
        "" => this_node(hub)?,
        other => find(hub, "other", other)?,
    };
    let places = coordinates.snapshot();
    if !places.enabled() {
        let message = "network coordinates are turned off on this node";
        return Err(precondition("COORDINATES_DISABLED", message));
    }
    let place = |member: &Member| {
        places.of(member).ok_or_else(|| {
            let name = member.display_name();
            let message =
                format!("{name} has not answered a probe of this node yet, or tells none");
            precondition("NO_COORDINATE", message)
        })
    };
    let (from, to) = (place(&member)?, place(&other)?);
    let round_trip = places.between(&member, &other).unwrap_or_default();
    Ok(pb::GetRoundTripResponse {
        round_trip: prost_types::Duration::try_from(round_trip).ok(),
        member: member.display_name().to_string(),
        other: other.display_name().to_string(),
        member_coordinate: Some(coordinate(&from)),
        other_coordinate: Some(coordinate(&to)),
    })
}

/// This node, under whatever name it goes now.
pub(crate) fn this_node(hub: &Hub) -> Result<Arc<Member>, Status> {
    let all = hub.members().changes_since(0);
    let all = all.map(|changes| changes.items).unwrap_or_default();
    let mut live = all.iter().filter(|item| !item.removed);
    let me = live.find(|item| item.entry.value.is_self);
    let me = me.map(|item| Arc::clone(&item.entry.value));
    me.ok_or_else(|| precondition("NO_COORDINATE", "this node does not show itself yet"))
}

/// A member by name or alias.
pub(crate) fn find(hub: &Hub, field: &str, name: &str) -> Result<Arc<Member>, Status> {
    check_member_name(field, name)?;
    let found = hub.member(name).ok_or_else(|| member_not_found(name))?;
    Ok(found.value)
}

fn coordinate(place: &Coordinate) -> pb::Coordinate {
    pb::Coordinate {
        vector: place.vec.to_vec(),
        error: place.error,
        adjustment: place.adjustment,
        height: place.height,
    }
}

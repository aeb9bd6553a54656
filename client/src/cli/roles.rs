//! `muster resolve` and `muster roles`.

use comfy_table::Cell;
use jiff::Timestamp;

use crate::cli::args::{Policy, Resolve};
use crate::cli::failure::Failure;
use crate::cli::text::{age, escape};
use crate::cli::{CALL_TIMEOUT, Context, json, table};
use crate::pb;

pub(super) async fn resolve(context: &mut Context, args: Resolve) -> Result<(), Failure> {
    let client = context.client()?;
    let call = client.resolve(request(args));
    let set = context.deadline(CALL_TIMEOUT, call).await?;
    let colour = context.out.colour();
    context.out.answer(&json::EndpointSet::of(&set), || {
        if set.endpoints.is_empty() {
            String::new()
        } else {
            endpoints(&set, colour).join("\n")
        }
    })?;
    if set.endpoints.is_empty() {
        return Err(Failure::empty(nobody(&set)));
    }
    if set.degraded {
        super::note("only suspect members serve it");
    }
    Ok(())
}

pub(super) async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let roles = context.deadline(CALL_TIMEOUT, client.roles()).await?;
    let colour = context.out.colour();
    context.out.answer(&json::Roles::of(&roles), || {
        let header = ["ROLE", "ALIVE", "SUSPECT", "FAILED", "OLDEST"];
        let row = |role: &pb::RoleSummary| {
            vec![
                Cell::new(escape(&role.role)),
                Cell::new(role.alive),
                Cell::new(role.suspect),
                Cell::new(role.failed),
                Cell::new(escape(&role.oldest_member)),
            ]
        };
        if roles.is_empty() {
            String::new()
        } else {
            table::lines(&header, roles.iter().map(row).collect(), colour).join("\n")
        }
    })?;
    if roles.is_empty() {
        return Err(Failure::empty("no member serves a role"));
    }
    Ok(())
}

/// The request of the API for the options of the command line.
pub(super) fn request(args: Resolve) -> pb::ResolveRoleRequest {
    let policy = match args.policy {
        _ if args.nearest => pb::SelectionPolicy::Nearest,
        Policy::Nearest => pb::SelectionPolicy::Nearest,
        Policy::All => pb::SelectionPolicy::All,
        Policy::Oldest => pb::SelectionPolicy::Oldest,
        Policy::Random => pb::SelectionPolicy::Random,
        Policy::RoundRobin => pb::SelectionPolicy::RoundRobin,
    };
    pb::ResolveRoleRequest {
        role: args.role,
        policy: policy.into(),
        limit: args.limit,
        exclude_suspect: args.exclude_suspect,
        include_unhealthy: args.include_unhealthy,
        near: args.near,
        client_key: args.client_key,
        ..pb::ResolveRoleRequest::default()
    }
}

/// A set on one line: `web: n1 10.0.0.1:80, n2 10.0.0.2:80`.
pub(super) fn describe(set: &pb::EndpointSet) -> String {
    if set.endpoints.is_empty() {
        return nobody(set);
    }
    let one = |endpoint: &pb::Endpoint| {
        let address = table::address(&endpoint.address, endpoint.port);
        format!("{} {address}", escape(&endpoint.member))
    };
    let all: Vec<String> = set.endpoints.iter().map(one).collect();
    let degraded = if set.degraded { " (all suspect)" } else { "" };
    format!("{}: {}{degraded}", escape(&set.role), all.join(", "))
}

fn nobody(set: &pb::EndpointSet) -> String {
    let role = escape(&set.role);
    if set.role_known {
        format!("{role}: nobody who serves it is alive")
    } else {
        format!("{role}: no member serves it")
    }
}

fn endpoints(set: &pb::EndpointSet, colour: bool) -> Vec<String> {
    let now = Timestamp::now();
    let row = |endpoint: &pb::Endpoint| {
        vec![
            Cell::new(escape(&endpoint.member)),
            Cell::new(table::address(&endpoint.address, endpoint.port)),
            table::status(endpoint.status()),
            Cell::new(age(endpoint.since.as_ref(), now)),
            Cell::new(table::tags(&endpoint.tags)),
        ]
    };
    let header = ["MEMBER", "ADDRESS", "STATUS", "UP", "TAGS"];
    table::lines(&header, set.endpoints.iter().map(row).collect(), colour)
}

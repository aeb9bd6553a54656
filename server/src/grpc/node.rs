//! NodeService.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_engine::{Member, Status as MemberStatus};
use muster_proto::v1 as pb;
use muster_proto::v1::node_service_server::NodeService;
use tonic::{Request, Response, Status};

use super::access::{Capabilities, Capability};
use super::limits::{JOIN_ADDRESS_BYTES_MAX, JOIN_ADDRESSES_MAX, LOG_FILTER_BYTES_MAX};
use super::members::{check_member_name, position};
use super::metrics::Metrics;
use super::round_trip;
use super::status::{invalid, join_failed, member_not_found, precondition};
use super::{convert, logs};
use crate::gossip::{Handle, JoinOutcome, Report};
use crate::hub::Hub;
use crate::telemetry::{LogFilter, Tail};

/// How long a command waits for the members to show what it did.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// What the service needs from the daemon around it.
pub trait Hooks: Debug + Send + Sync + 'static {
    /// Everything registered, with the engine's counters, as OpenMetrics text.
    fn metrics_text(&self, report: &Report) -> String;

    /// The filter that the log follows now.
    fn log_filter(&self) -> String;

    /// Changes the filter of the log and returns the one before.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn set_log_filter(&self, filter: &str) -> Result<String, String>;

    /// The node has left by a call that is being answered. Unless `stay` the daemon
    /// is to exit.
    fn left(&self, stay: bool);

    /// What an operator should look at, beside the engine's warnings.
    fn warnings(&self) -> Vec<String>;

    /// Reads the configuration again and applies what can be, or says what is wrong.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Vec<String>>>;

    /// The last lines of the log, and how to get more of them.
    fn log(&self) -> (Tail, LogFilter);
}

/// What a reload did: one line for each setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Applied.
    pub applied: Vec<String>,
    /// Left for the next start.
    pub waiting: Vec<String>,
}

/// Facts of this daemon that do not change.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of this node.
    pub name: Arc<str>,
    /// Name of the cluster.
    pub cluster: String,
    /// Version of the daemon.
    pub version: String,
    /// `IP:PORT` that peers use.
    pub bind: String,
    /// Paths of the sockets.
    pub sockets: Vec<String>,
    /// What this daemon offers, by name.
    pub features: Vec<String>,
    /// When the daemon started, milliseconds.
    pub started_unix_ms: u64,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) hub: Arc<Hub>,
    pub(crate) handle: Handle,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
}

impl Node {
    fn counters(&self, report: &Report) -> BTreeMap<String, u64> {
        let own = report.counters.iter();
        let mut counters: BTreeMap<_, _> = own
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        for status in [
            MemberStatus::Alive,
            MemberStatus::Suspect,
            MemberStatus::Leaving,
            MemberStatus::Left,
            MemberStatus::Failed,
        ] {
            counters.insert(format!("members_{status}"), 0);
        }
        if let Ok(members) = self.hub.members().changes_since(0) {
            for member in members.items.iter().filter(|member| !member.removed) {
                let name = format!("members_{}", member.entry.value.status);
                *counters.entry(name).or_default() += 1;
                *counters.entry("members".to_owned()).or_default() += 1;
            }
        }
        let open = u64::try_from(self.metrics.calls_open.get()).unwrap_or(0);
        counters.insert("calls_open".to_owned(), open);
        counters.insert(
            "event_ring_bytes".to_owned(),
            self.hub.events().bytes() as u64,
        );
        counters
    }

    /// A member once it looks as wanted, or as it looks when that takes too long.
    async fn shown(
        &self,
        name: &str,
        wanted: impl Fn(Option<&Member>) -> bool,
    ) -> Option<pb::Member> {
        let mut changes = self.hub.members().subscribe();
        let looks = async {
            loop {
                changes.mark_unchanged();
                let member = self.hub.member(name);
                let fits = wanted(member.as_ref().map(|member| &*member.value));
                if fits || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(SHOWN_WITHIN, looks).await.is_err() {
            tracing::debug!(member = name, "a command does not show yet");
        }
        self.hub.member(name).map(|member| convert::member(&member))
    }
}

#[tonic::async_trait]
impl NodeService for Node {
    async fn get_info(
        &self,
        request: Request<pb::GetInfoRequest>,
    ) -> Result<Response<pb::GetInfoResponse>, Status> {
        let capabilities = request.extensions().get::<Capabilities>();
        let capabilities = capabilities.into_iter().flatten();
        let report = self.handle.report().await?;
        let me = self.hub.member(report.me.display_name());
        let me = me.map_or_else(
            || convert::bare_member(&report.me),
            |me| convert::member(&me),
        );
        let identity = self.identity.clone();
        let mut warnings = report.warnings.clone();
        warnings.extend(self.hooks.warnings());
        Ok(Response::new(pb::GetInfoResponse {
            self_: Some(me),
            position: Some(position(&self.hub, self.hub.members().revision())),
            version: identity.version,
            started_at: Some(convert::timestamp(identity.started_unix_ms)),
            counters: self.counters(&report),
            features: identity.features,
            encrypted: report.encrypted,
            cluster: identity.cluster,
            bind: identity.bind,
            sockets: identity.sockets,
            warnings,
            log_filter: self.hooks.log_filter(),
            capabilities: capabilities.map(Capability::to_string).collect(),
        }))
    }

    async fn get_metrics(
        &self,
        _request: Request<pb::GetMetricsRequest>,
    ) -> Result<Response<pb::GetMetricsResponse>, Status> {
        let report = self.handle.report().await?;
        let text = self.hooks.metrics_text(&report);
        Ok(Response::new(pb::GetMetricsResponse { text }))
    }

    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        let addresses = request.into_inner().addresses;
        check_addresses(&addresses)?;
        let outcomes = self.handle.join(addresses).await?;
        Ok(Response::new(joined(outcomes)?))
    }

    async fn leave(
        &self,
        request: Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        let status = self.handle.report().await?.me.status;
        if matches!(status, MemberStatus::Leaving | MemberStatus::Left) {
            let message = format!("this node is {status} already");
            return Err(precondition("LEAVING", message));
        }
        self.handle.leave().await?;
        self.hooks.left(request.into_inner().stay);
        Ok(Response::new(pb::LeaveResponse {}))
    }

    async fn force_leave(
        &self,
        request: Request<pb::ForceLeaveRequest>,
    ) -> Result<Response<pb::ForceLeaveResponse>, Status> {
        let pb::ForceLeaveRequest { name, prune } = request.into_inner();
        check_member_name("name", &name)?;
        let before = self.hub.member(&name);
        let before = before.ok_or_else(|| member_not_found(&name))?;
        self.handle.force_leave(name.clone(), prune).await?;
        let gone = |member: Option<&Member>| match member {
            Some(member) => !prune && member.status == MemberStatus::Left,
            None => true,
        };
        let member = self.shown(&name, gone).await.unwrap_or_else(|| {
            let mut member = convert::member(&before);
            member.set_status(pb::MemberStatus::Left);
            member
        });
        let member = Some(member);
        Ok(Response::new(pb::ForceLeaveResponse { member }))
    }

    async fn update_tags(
        &self,
        request: Request<pb::UpdateTagsRequest>,
    ) -> Result<Response<pb::UpdateTagsResponse>, Status> {
        let pb::UpdateTagsRequest { set, remove } = request.into_inner();
        let me = self.handle.update_tags(set, remove).await?;
        let same = |member: Option<&Member>| member.is_some_and(|member| member.tags == me.tags);
        let shown = self.shown(me.display_name(), same).await;
        let self_ = Some(shown.unwrap_or_else(|| convert::bare_member(&me)));
        Ok(Response::new(pb::UpdateTagsResponse { self_ }))
    }

    async fn get_round_trip(
        &self,
        request: Request<pb::GetRoundTripRequest>,
    ) -> Result<Response<pb::GetRoundTripResponse>, Status> {
        let coordinates = self.handle.coordinates();
        let request = request.into_inner();
        let answer = round_trip::estimate(&self.hub, &coordinates, &request)?;
        Ok(Response::new(answer))
    }

    async fn explain_member(
        &self,
        request: Request<pb::ExplainMemberRequest>,
    ) -> Result<Response<pb::ExplainMemberResponse>, Status> {
        let name = request.into_inner().name;
        check_member_name("name", &name)?;
        let told = self.handle.explain(name.clone()).await?;
        let told = told.ok_or_else(|| member_not_found(&name))?;
        let observations = told.observations.into_iter();
        let observations = observations.map(|seen| pb::Observation {
            at: Some(convert::timestamp(seen.at_unix_ms)),
            by: seen.by.as_deref().unwrap_or_default().to_owned(),
            text: seen.text.to_owned(),
        });
        let shown = self.hub.member(&name);
        let member = shown.map_or_else(
            || convert::bare_member(&told.member),
            |shown| convert::member(&shown),
        );
        Ok(Response::new(pb::ExplainMemberResponse {
            member: Some(member),
            observations: observations.collect(),
            omitted: told.omitted,
            advice: told.advice,
        }))
    }

    async fn set_log_filter(
        &self,
        request: Request<pb::SetLogFilterRequest>,
    ) -> Result<Response<pb::SetLogFilterResponse>, Status> {
        let filter = request.into_inner().filter;
        let refuse = |message: String| invalid("BAD_LOG_FILTER", "filter", message);
        if filter.len() > LOG_FILTER_BYTES_MAX {
            let bytes = filter.len();
            let limit = LOG_FILTER_BYTES_MAX;
            return Err(refuse(format!(
                "{bytes} bytes, at most {limit} are allowed"
            )));
        }
        let previous = self.hooks.set_log_filter(&filter).map_err(refuse)?;
        Ok(Response::new(pb::SetLogFilterResponse { previous }))
    }

    async fn tail_logs(
        &self,
        request: Request<pb::TailLogsRequest>,
    ) -> Result<Response<logs::Lines>, Status> {
        let (tail, filter) = self.hooks.log();
        let lines = logs::lines(&tail, &filter, &request.into_inner());
        Ok(Response::new(lines))
    }

    async fn reload(
        &self,
        _request: Request<pb::ReloadRequest>,
    ) -> Result<Response<pb::ReloadResponse>, Status> {
        let told = self.hooks.reload().await;
        let Reloaded { applied, waiting } =
            told.map_err(|mistakes| precondition("BAD_CONFIGURATION", mistakes.join("\n")))?;
        Ok(Response::new(pb::ReloadResponse { applied, waiting }))
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), Status> {
    let refuse = |message: String| Err(invalid("BAD_ADDRESS", "addresses", message));
    let count = addresses.len();
    if count == 0 || count > JOIN_ADDRESSES_MAX {
        return refuse(format!(
            "{count} addresses, 1 to {JOIN_ADDRESSES_MAX} are allowed"
        ));
    }
    let bad = |address: &&String| {
        let trimmed = address.trim();
        trimmed.is_empty() || trimmed != *address || address.len() > JOIN_ADDRESS_BYTES_MAX
    };
    match addresses.iter().find(bad) {
        Some(address) => refuse(format!("{address:?} is no address")),
        None => Ok(()),
    }
}

/// The answer, or an error if nobody answered.
fn joined(outcomes: Vec<JoinOutcome>) -> Result<pb::JoinResponse, Status> {
    let mut members = BTreeSet::new();
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for JoinOutcome { address, result } in outcomes {
        let (member, error) = match result {
            Ok(member) => {
                members.insert(member.clone());
                (member, String::new())
            }
            Err(error) => {
                failures.push(format!("{address}: {error}"));
                (String::new(), error)
            }
        };
        results.push(pb::JoinResult {
            address,
            ok: error.is_empty(),
            error,
            member,
        });
    }
    if members.is_empty() {
        let message = format!("nobody answered: {}", failures.join("; "));
        return Err(join_failed(message));
    }
    let joined = u32::try_from(members.len()).unwrap_or(u32::MAX);
    Ok(pb::JoinResponse { joined, results })
}

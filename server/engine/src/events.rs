//! Stub.
use crate::ident::NodeRef;
use crate::*;
use bytes::Bytes;
use std::sync::Arc;
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Position {
    #[prost(fixed64, tag = "1")]
    pub(crate) hash: u64,
}
pub(crate) trait Peers {
    fn live(&self) -> &[NodeRef];
    fn name_of(&self, hash: u64) -> Option<Arc<str>>;
}
#[derive(Debug)]
pub(crate) struct Events;
impl Events {
    pub(crate) fn new(_me: NodeRef, _n: Arc<str>, _l: &Limits, _s: u64) -> Self {
        Events
    }
    pub(crate) fn publish(
        &mut self,
        _now: Now,
        _d: EventDraft,
        _p: &dyn Peers,
    ) -> Result<Accepted, EventError> {
        Err(EventError::Full)
    }
    pub(crate) fn on_section(&mut self, _now: Now, _f: NodeRef, _s: Bytes, _p: &dyn Peers) {}
    pub(crate) fn piggyback(&mut self, _now: Now, _t: NodeRef, _r: usize) -> Option<Bytes> {
        None
    }
    pub(crate) fn on_pull_request(
        &mut self,
        _now: Now,
        _b: Bytes,
        _p: &dyn Peers,
    ) -> Option<Bytes> {
        None
    }
    pub(crate) fn on_pull_answer(
        &mut self,
        _now: Now,
        _id: u64,
        _a: Result<Bytes, ExchangeError>,
        _p: &dyn Peers,
    ) {
    }
    pub(crate) fn positions(&self) -> Vec<Position> {
        vec![]
    }
    pub(crate) fn on_positions(
        &mut self,
        _now: Now,
        _f: NodeRef,
        _t: &[Position],
        _j: bool,
        _p: &dyn Peers,
    ) {
    }
    pub(crate) fn member_down(&mut self, _now: Now, _n: NodeRef) {}
    pub(crate) fn boot_raised(&mut self, _me: NodeRef) {}
    pub(crate) fn digest(&mut self, _now: Now) -> u64 {
        0
    }
    pub(crate) fn tick(&mut self, _now: Now, _p: &dyn Peers) {}
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        None
    }
    pub(crate) fn poll(&mut self) -> Option<EventsOutput> {
        None
    }
    pub(crate) fn counters(&self, _o: &mut Vec<(&'static str, u64)>) {}
}
pub(crate) enum EventsOutput {
    Send { to: NodeRef, section: Bytes },
    Pull { id: u64, to: NodeRef, body: Bytes },
    Deliver(Arc<Event>),
    Gap(Gap),
    Base { origin: Origin, sequence: u64 },
    Replicated { sequence: u64 },
    Room,
    LaggardLetGo { member: NodeRef, behind: u64 },
}

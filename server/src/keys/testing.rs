//! Keys for the tests of others.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muster_engine::crypto::KeyId;
use muster_engine::{Member, Stage};
use muster_proto::peer as pb;
use muster_proto::token::KeyBytes;

use super::{Begun, KeyNet, Keys, Metrics, Parts, Ring, Settings, Store};
use crate::daemon::supervisor::Tasks;
use crate::gossip::Handle;
use crate::hub::Hub;

/// Reaches nobody.
#[derive(Debug)]
struct Nobody;

impl KeyNet for Nobody {
    fn exchange(
        &self,
        _member: Arc<Member>,
        _request: pb::ExchangeRequest,
    ) -> BoxFuture<'static, Result<pb::ExchangeResponse, String>> {
        async { Err("nobody is there".to_owned()) }.boxed()
    }

    fn close_key(&self, _key: Option<KeyId>) {}
}

/// The keys of a node `me` with one key of 32 times that byte, which reaches nobody.
pub(crate) fn alone(hub: &Arc<Hub>, handle: &Handle, tasks: &Tasks, byte: u8) -> Keys {
    let key = KeyBytes::new(vec![byte; 32].into()).unwrap();
    let settings = Settings::default();
    let begun = Begun {
        ring: Ring::of_settings(&[key], Stage::On).unwrap(),
        store: Store::begin(&settings, None).unwrap().store,
        notes: Vec::new(),
    };
    Keys::start(Parts {
        name: Arc::from("me"),
        hub: Arc::clone(hub),
        handle: handle.clone(),
        net: Arc::new(Nobody),
        begun,
        public: None,
        tasks: tasks.clone(),
        metrics: Metrics::default(),
    })
}

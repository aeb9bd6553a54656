//! What goes on beside the requests of a connection: streams, monitors, queries, and
//! calls that take their time.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Ended, Session};
use crate::serf_rpc::command::Command;
use crate::serf_rpc::filter::EventFilter;
use crate::serf_rpc::keys::{self, KeyChange};
use crate::serf_rpc::limits::{QUERIES_MAX, STREAMS_MAX};
use crate::serf_rpc::monitor::{self, Monitor};
use crate::serf_rpc::queries::{self, QueryStream};
use crate::serf_rpc::stream::EventStream;
use crate::serf_rpc::{Shared, record, request};

impl Session {
    pub(super) async fn stream(
        &mut self,
        seq: u64,
        request: &request::Stream,
    ) -> Result<(), Ended> {
        let Some(filter) = EventFilter::parse(&request.kind) else {
            return self.answer(seq, "Invalid event filter").await;
        };
        if self.streams.contains_key(&seq) {
            return self.answer(seq, "Stream with given sequence exists").await;
        }
        if self.streams.len() >= STREAMS_MAX {
            let error = format!("At most {STREAMS_MAX} streams per connection");
            return self.answer(seq, &error).await;
        }
        // Before the answer: nothing that comes after it is missed.
        let queries = match self.query_stream(seq, &filter) {
            Ok(queries) => queries,
            Err(error) => return self.answer(seq, &error).await,
        };
        let stream = EventStream::begin(&self.shared, Arc::clone(&self.outbox), seq, filter);
        self.answer(seq, "").await?;
        let stopped = CancellationToken::new();
        self.streams.insert(seq, stopped.clone().drop_guard());
        if let Some(queries) = queries {
            self.beside("serf rpc queries", queries.run(stopped.clone()));
        }
        self.beside("serf rpc stream", stream.run(stopped));
        Ok(())
    }

    /// The queries that a stream is to show, if any.
    fn query_stream(&self, seq: u64, filter: &EventFilter) -> Result<Option<QueryStream>, String> {
        let names = filter.queries();
        if names.is_empty() {
            return Ok(None);
        }
        let (outbox, pending) = (Arc::clone(&self.outbox), Arc::clone(&self.pending));
        let names = (names, self.denied(Command::Respond).is_none());
        QueryStream::begin(&self.shared, outbox, pending, seq, names).map(Some)
    }

    pub(super) async fn monitor(
        &mut self,
        seq: u64,
        request: request::Monitor,
    ) -> Result<(), Ended> {
        let wanted = request.log_level.to_uppercase();
        let Some(level) = monitor::level(&wanted) else {
            let error = format!("Unknown log level: {wanted}");
            return self.answer(seq, &error).await;
        };
        if self.monitor.is_some() {
            return self.answer(seq, "Monitor already exists").await;
        }
        let monitor = Monitor::begin(&self.shared, Arc::clone(&self.outbox), seq, level);
        self.answer(seq, "").await?;
        let stopped = CancellationToken::new();
        self.monitor = Some((seq, stopped.clone().drop_guard()));
        self.beside("serf rpc monitor", monitor.run(stopped));
        Ok(())
    }

    pub(super) async fn query(&mut self, seq: u64, request: request::Query) -> Result<(), Ended> {
        let Ok(place) = Arc::clone(&self.queries).try_acquire_owned() else {
            let error = format!("At most {QUERIES_MAX} queries at once per connection");
            return self.answer(seq, &error).await;
        };
        let (shared, outbox) = (Arc::clone(&self.shared), Arc::clone(&self.outbox));
        self.beside("serf rpc query", async move {
            let _place = place;
            // A client that has gone needs no answers.
            let _gone = queries::ask(&shared, &outbox, seq, request).await;
        });
        Ok(())
    }

    pub(super) async fn keys(
        &mut self,
        change: KeyChange,
        seq: u64,
        request: request::Key,
    ) -> Result<(), Ended> {
        self.call(move |shared| async move { keys::change(&shared, change, seq, request).await })
            .await
    }

    /// Leaves the cluster, answers, and has the daemon end.
    pub(super) async fn leave(&mut self, seq: u64) -> Result<(), Ended> {
        let outbox = Arc::clone(&self.outbox);
        self.spawn(move |shared| async move {
            let left = shared.handle.leave().await;
            let error = left.as_ref().err().map(ToString::to_string);
            let answer = record::head(seq, &error.unwrap_or_default());
            // Whether or not the client is still there to hear it.
            let _gone = outbox.send(&answer).await;
            if left.is_ok() {
                shared.hooks.left();
            }
        })
        .await
    }

    /// Has a request answered beside the others.
    pub(super) async fn call<M, F>(&mut self, make: M) -> Result<(), Ended>
    where
        M: FnOnce(Arc<Shared>) -> F + Send + 'static,
        F: Future<Output = Vec<u8>> + Send,
    {
        let outbox = Arc::clone(&self.outbox);
        self.spawn(move |shared| async move {
            let answer = make(shared).await;
            // A client that has gone needs no answer.
            let _gone = outbox.send(&answer).await;
        })
        .await
    }

    async fn spawn<M, F>(&mut self, make: M) -> Result<(), Ended>
    where
        M: FnOnce(Arc<Shared>) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let place = tokio::select! {
            place = Arc::clone(&self.calls).acquire_owned() => place,
            () = self.outbox.cut_token().cancelled() => return Err(Ended::Closed),
        };
        let shared = Arc::clone(&self.shared);
        self.beside("serf rpc call", async move {
            // An error only if it were closed, which it is not.
            let _place = place;
            make(shared).await;
        });
        Ok(())
    }

    /// Spawns what goes on beside the requests of this connection.
    fn beside(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.open.track_future(task);
        self.shared.tasks.spawn_guarded(name, task);
    }
}

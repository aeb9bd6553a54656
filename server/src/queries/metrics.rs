//! What queries count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

macro_rules! metrics {
    (
        gauges { $($(#[$gdoc:meta])* $gauge:ident: $ghelp:literal,)* }
        counters { $($(#[$cdoc:meta])* $counter:ident: $chelp:literal,)* }
    ) => {
        /// Counters and gauges. Clones share the numbers.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics {
            $($(#[$gdoc])* pub(crate) $gauge: Gauge,)*
            $($(#[$cdoc])* pub(crate) $counter: Counter,)*
        }

        impl Metrics {
            /// Puts the metrics on show, as `muster_queries_...`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("muster_queries");
                $(registry.register(stringify!($gauge), $ghelp, self.$gauge.clone());)*
                $(registry.register(stringify!($counter), $chelp, self.$counter.clone());)*
            }
        }
    };
}

metrics! {
    gauges {
        /// Own queries that wait for answers.
        asking: "Own queries that wait for answers",
        /// Queries that are being answered here.
        answering: "Queries that are being answered",
        /// Registered responders.
        responders: "Registered responders",
    }
    counters {
        /// Own queries sent.
        asked: "Queries asked",
        /// Own queries refused: too many at once.
        refused: "Queries refused: too many at once",
        /// Acknowledgements of members.
        acks: "Acknowledgements of members",
        /// Answers of members, errors included.
        answers: "Answers of members, errors included",
        /// Calls of members that had answered.
        duplicates: "Answers that came twice",
        /// Calls of members that were not asked.
        strangers: "Answers of members that were not asked",
        /// Calls about queries that nobody waits for.
        late: "Answers that nobody waits for",
        /// Calls that broke the rules.
        malformed: "Answers that break the rules",
        /// Answers that found no room in time.
        no_room: "Answers that found no room",
        /// Queries that came.
        received: "Queries received",
        /// Queries whose target this node is not.
        elsewhere: "Queries for others",
        /// Queries dropped: too many at once.
        dropped: "Queries dropped: too many at once",
        /// Queries whose asker is not, or no longer, to be found.
        unreachable: "Queries whose asker was not reached in time",
        /// Queries whose asker no longer waited.
        unwanted: "Queries that nobody waited for any more",
        /// Queries answered, errors and nothing included.
        answered: "Queries answered",
        /// Calls to an asker that were repeated.
        retried: "Answers sent again",
        /// Answers cut to what can be told.
        truncated: "Answers that were too long",
        /// Jobs refused: the responder's queue is full.
        busy: "Jobs that a responder had no place for",
        /// Jobs lost: the responder went away.
        abandoned: "Jobs that a responder left undone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_on_show() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.asked.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("muster_queries_asked_total 1\n"), "{text}");
        assert!(text.contains("muster_queries_asking 0\n"), "{text}");
    }
}

//! Frames of events as protocol 1 first sent them.

use bytes::Bytes;
use prost::Message as _;

use crate::events::wire::{
    Batch, Call, Entry, Envelope, Mark, PullAnswer, PullRequest, Range, Section, Want,
};
use crate::tests::golden::hold_message;

#[test]
fn golden_events() {
    let (hash, boot) = (0x0102_0304_0506_0708, 1_700_000_000_000);
    let envelope = Envelope {
        origin: "web-1".to_owned(),
        boot,
        sequence: 17,
        lamport: 40,
        name: "deploy".to_owned(),
        payload: Bytes::from_static(b"v2"),
        ..Envelope::default()
    };
    hold_message("event_envelope", &envelope);
    let full = Envelope {
        target: Bytes::from_static(b"\x0a\x05web-2"),
        coalesce: true,
        child: "front".to_owned(),
        attributes: [("build".to_owned(), "7".to_owned())].into(),
        kind: 1,
        timeout_ms: 5_000,
        want_ack: true,
        ..envelope.clone()
    };
    hold_message("query_envelope", &full);
    let entry = Entry {
        sequence: 17,
        envelope: envelope.encode_to_vec().into(),
    };
    let section = Section {
        batches: vec![Batch {
            hash,
            boot,
            entries: vec![entry.clone()],
        }],
        marks: vec![Mark {
            hash,
            boot,
            position: 17,
        }],
        call: Some(Call {
            who: vec![1, 2, 3],
            through: 17,
        }),
    };
    hold_message("event_section", &section);
    let want = Want {
        hash,
        boot,
        after: 3,
        upto: 17,
    };
    hold_message("event_pull_request", &PullRequest { wants: vec![want] });
    let range = Range {
        hash,
        boot,
        name: "web-1".to_owned(),
        floor: 2,
        position: 17,
        more: true,
        entries: vec![entry],
        next_boot: boot + 1,
    };
    hold_message(
        "event_pull_answer",
        &PullAnswer {
            ranges: vec![range],
        },
    );
}

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Numbers, filtered by "is a multiple of".
#[derive(Debug)]
struct Numbers;

#[derive(Debug)]
struct Multiple(u32, Vec<u8>);

fn multiple(of: u32) -> Multiple {
    let key = if of == 1 {
        Vec::new()
    } else {
        vec![1; of as usize]
    };
    Multiple(of, key)
}

impl Watched for Numbers {
    const KIND: &'static [u8] = b"";
    type Key = u32;
    type Value = u32;
    type Filter = Multiple;
    type Item = pb::EventId;

    fn key(filter: &Multiple) -> &[u8] {
        &filter.1
    }

    fn matches(filter: &Multiple, value: &u32) -> bool {
        value.is_multiple_of(filter.0)
    }

    fn item(entry: &Entry<u32>) -> pb::EventId {
        pb::EventId {
            sequence: u64::from(*entry.value),
            ..pb::EventId::default()
        }
    }

    /// Only the kinds and the values: what the tests look at.
    fn message(_: pb::Position, _: String, part: Part<pb::EventId>) -> Bytes {
        let text = match part {
            Part::Delta(items) => {
                let brief =
                    |(kind, item): (ChangeKind, pb::EventId)| format!("{kind:?} {}", item.sequence);
                items.into_iter().map(brief).collect::<Vec<_>>().join(",")
            }
            Part::Items(items) => {
                let brief = |item: pb::EventId| item.sequence.to_string();
                items.into_iter().map(brief).collect::<Vec<_>>().join(",")
            }
            Part::Begin(_) | Part::End(_) | Part::Resumed | Part::Heartbeat => String::new(),
        };
        Bytes::from(text)
    }
}

/// The value of a key is `key + 12 * n`, so that a reader can tell the key from it.
const KEYS: u32 = 12;

#[derive(Debug, Clone)]
enum Step {
    Put(u32, u32),
    Remove(u32),
    Read(usize),
    /// The reader's view is made anew, as after a time without watches.
    Renew(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..KEYS, 0..6_u32).prop_map(|(key, n)| Step::Put(key, n)),
        2 => (0..KEYS).prop_map(Step::Remove),
        4 => (0..6_usize).prop_map(Step::Read),
        1 => (0..6_usize).prop_map(Step::Renew),
    ];
    prop::collection::vec(step, 1..120)
}

struct Reader {
    view: Arc<View<Numbers>>,
    of: u32,
    shared: bool,
    revision: u64,
    held: BTreeMap<u32, u32>,
}

impl Reader {
    fn new(n: usize) -> Self {
        let (of, shared) = ([1, 2, 3][n % 3], n < 3);
        Self {
            view: Arc::new(View::new(multiple(of), shared)),
            of,
            shared,
            revision: 0,
            held: BTreeMap::new(),
        }
    }

    fn read(&mut self, store: &Store<u32, u32>) {
        let source = Source { epoch: "e", store };
        let (to, step) = self.view.step(&source, self.revision);
        assert_eq!(to, store.revision());
        self.revision = to;
        match step {
            super::Step::Nothing => {}
            super::Step::Resync => panic!("nothing was forgotten"),
            super::Step::Delta { message, .. } => self.apply(&message),
        }
    }

    fn apply(&mut self, message: &[u8]) {
        for change in std::str::from_utf8(message).unwrap().split(',') {
            let (kind, value) = change.split_once(' ').unwrap();
            let value: u32 = value.parse().unwrap();
            let key = value % KEYS;
            match kind {
                "Removed" => _ = self.held.remove(&key),
                "Added" => _ = self.held.insert(key, value),
                "Updated" => {
                    let before = self.held.insert(key, value);
                    assert!(before.is_some(), "updated what is not held");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn expected(&self, truth: &BTreeMap<u32, u32>) -> BTreeMap<u32, u32> {
        let passes = |(_, value): &(&u32, &u32)| value.is_multiple_of(self.of);
        truth
            .iter()
            .filter(passes)
            .map(|(key, value)| (*key, *value))
            .collect()
    }
}

proptest! {
    /// Whatever the filter, the speed and the age of the view, each step brings a
    /// reader to exactly the present state.
    #[test]
    fn every_reader_ends_with_what_its_filter_lets_through(steps in steps()) {
        let store = Store::new();
        let mut truth = BTreeMap::new();
        let mut readers: Vec<_> = (0..6).map(Reader::new).collect();
        for step in steps.into_iter().chain((0..6).map(Step::Read)) {
            match step {
                Step::Put(key, n) => {
                    let value = key + KEYS * n;
                    truth.insert(key, value);
                    store.apply(vec![Update::Put(key, Arc::new(value))], 0);
                }
                Step::Remove(key) => {
                    truth.remove(&key);
                    store.apply(vec![Update::Remove(key)], 0);
                }
                Step::Read(n) => {
                    let reader = &mut readers[n];
                    reader.read(&store);
                    prop_assert_eq!(&reader.held, &reader.expected(&truth));
                }
                Step::Renew(n) => {
                    let reader = &mut readers[n];
                    reader.view = Arc::new(View::new(multiple(reader.of), reader.shared));
                }
            }
        }
        for reader in &readers {
            let source = Source { epoch: "e", store: &store };
            let snapshot = reader.view.snapshot(&source);
            prop_assert_eq!(snapshot.items as usize, reader.held.len());
            prop_assert_eq!(snapshot.revision, store.revision());
        }
    }
}

#[test]
fn watches_at_one_revision_share_their_bytes() {
    let store = Store::new();
    store.apply(vec![Update::Put(1, Arc::new(2))], 0);
    let source = Source {
        epoch: "e",
        store: &store,
    };
    let views = Views::<Numbers>::new();
    let (one, two) = (views.of(multiple(2)), views.of(multiple(2)));
    assert!(Arc::ptr_eq(&one, &two));
    let (first, _) = one.step(&source, 0);
    store.apply(vec![Update::Put(1, Arc::new(4))], 0);
    let bytes = |view: &View<Numbers>| match view.step(&source, first).1 {
        super::Step::Delta { message, .. } => message,
        super::Step::Nothing | super::Step::Resync => panic!("no delta"),
    };
    assert_eq!(bytes(&one).as_ptr(), bytes(&two).as_ptr());
    let parts = |view: &View<Numbers>| view.snapshot(&source).messages.as_ptr();
    assert_eq!(parts(&one), parts(&two));
}

#[test]
fn a_view_that_slept_past_the_horizon_is_read_again() {
    let store = Store::new();
    let age = u64::try_from(crate::hub::store::TOMBSTONE_AGE.as_millis()).unwrap();
    let source = Source {
        epoch: "e",
        store: &store,
    };
    store.apply(
        vec![Update::Put(2, Arc::new(2)), Update::Put(4, Arc::new(4))],
        0,
    );
    let view = View::<Numbers>::new(multiple(2), true);
    let (seen, _) = view.step(&source, 0);
    store.apply(vec![Update::Remove(2)], 0);
    store.apply(vec![Update::Put(6, Arc::new(6))], age + 1);
    assert!(matches!(view.step(&source, seen).1, super::Step::Resync));
    assert_eq!(view.snapshot(&source).items, 2);
}

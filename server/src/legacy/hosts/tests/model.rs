//! A writer and a reader, byte by byte, in every order that a seed gives.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use super::*;

/// A change of one byte, or bytes at the end.
enum Micro {
    Byte(usize, u8),
    Append(Vec<u8>),
}

/// A writer that can be stopped between any two bytes.
struct Writer {
    text: Vec<u8>,
    memory: Memory,
    now: Duration,
    steps: std::collections::VecDeque<Micro>,
    /// What is being written, and what was.
    asked: Answers,
    done: Answers,
}

impl Writer {
    fn ask(&mut self, wanted: Answers) {
        self.asked = wanted;
        self.plan();
    }

    fn plan(&mut self) {
        let plan = plan(&self.text, &self.asked, &mut self.memory, self.now);
        for step in &plan.steps {
            match step {
                Step::Append(block) => self.steps.push_back(Micro::Append(block.clone())),
                Step::Edit(edit) => {
                    let from = edit.at + edit.from;
                    let bytes = edit.bytes.iter().enumerate();
                    let bytes = bytes.map(|(n, byte)| Micro::Byte(from + n, *byte));
                    self.steps.extend(bytes);
                }
            }
        }
        if self.steps.is_empty() && plan.waiting == 0 {
            self.done = self.asked.clone();
        }
    }

    fn step(&mut self) {
        match self.steps.pop_front() {
            Some(Micro::Byte(at, byte)) => self.text[at] = byte,
            Some(Micro::Append(block)) => self.text.extend_from_slice(&block),
            None => {}
        }
        if self.steps.is_empty() {
            self.memory.done(self.now);
            self.plan();
        }
    }
}

/// A reader in the middle of the file.
struct Reader {
    read: Vec<u8>,
    since: Duration,
    /// What was asked for at any time since it began.
    valid: Vec<Answers>,
}

impl Reader {
    fn begin(writer: &Writer) -> Self {
        Self {
            read: Vec::new(),
            since: writer.now,
            valid: vec![writer.done.clone(), writer.asked.clone()],
        }
    }

    /// Every role that was wanted all the time is found, at an address that was wanted at
    /// some time, and nothing else is.
    fn check(&self) -> Result<(), TestCaseError> {
        let found = parse(&self.read);
        let always = self.valid[0].keys();
        let mut always = always.filter(|role| self.valid.iter().all(|v| v.contains_key(*role)));
        prop_assert!(always.all(|role| found.contains_key(role)));
        for (name, ips) in found {
            let right = |ip: &IpAddr| self.valid.iter().any(|v| v.get(&name) == Some(ip));
            let foreign = DOCKER.contains(&name);
            prop_assert!(foreign || ips.iter().all(right), "{} {:?}", name, ips);
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Turn {
    Ask(Vec<Option<u8>>),
    Write(u16),
    Read(u16),
    Wait(u16),
}

fn turn() -> impl Strategy<Value = Turn> {
    let ask = prop::collection::vec(prop::option::of(1..4_u8), 3);
    prop_oneof![
        2 => ask.prop_map(Turn::Ask),
        6 => (1..40_u16).prop_map(Turn::Write),
        6 => (1..200_u16).prop_map(Turn::Read),
        1 => (1..2_500_u16).prop_map(Turn::Wait),
    ]
}

fn answers_of(values: &[Option<u8>]) -> Answers {
    let pairs = ["web", "db", "longer-role"].iter().zip(values);
    let pair = |(role, value): (&&str, &Option<u8>)| {
        let ip = IpAddr::from([*value.as_ref()? + 8, 0, 0, *value.as_ref()?]);
        Some(((*role).to_owned(), ip))
    };
    pairs.filter_map(pair).collect()
}

proptest! {
    #![proptest_config(Config { cases: 100, ..Config::default() })]

    #[test]
    fn readers_of_any_speed_find_what_was_right(turns in prop::collection::vec(turn(), 1..400)) {
        let mut writer = Writer {
            text: DOCKER.as_bytes().to_vec(),
            memory: Memory::new(QUARANTINE),
            now: Duration::ZERO,
            steps: std::collections::VecDeque::new(),
            asked: Answers::new(),
            done: Answers::new(),
        };
        let mut reader = Reader::begin(&writer);
        for turn in turns {
            match turn {
                Turn::Ask(values) if writer.steps.is_empty() => {
                    writer.ask(answers_of(&values));
                    reader.valid.push(writer.asked.clone());
                }
                Turn::Ask(_) => writer.step(),
                Turn::Write(bytes) => (0..bytes).for_each(|_| writer.step()),
                // No reading takes as long as the quarantine.
                Turn::Wait(ms) => {
                    let time = writer.now + Duration::from_millis(ms.into());
                    writer.now = time.min(reader.since + QUARANTINE - Duration::from_millis(1));
                }
                Turn::Read(bytes) => {
                    let at = reader.read.len();
                    let to = writer.text.len().min(at + usize::from(bytes));
                    reader.read.extend_from_slice(&writer.text[at..to]);
                    if at == to {
                        reader.check()?;
                        reader = Reader::begin(&writer);
                    }
                }
            }
        }
    }
}

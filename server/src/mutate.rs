//! Damaged input for parsers: a corpus, and a mutator whose seed decides everything.
//!
//! `FUZZ_ROUNDS=1000000 cargo test --release -p musterd --lib fuzz` plays for longer.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// Inputs of one target unless `FUZZ_ROUNDS` says otherwise.
const ROUNDS: u64 = 4_000;

/// Largest input. More than 16 bits can count.
const INPUT_BYTES_MAX: usize = 80 << 10;

/// Changes of one input.
const CHANGES_MAX: usize = 6;

/// Numbers at the edges of types.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1e400",
    "255",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "99999999999999999999999999",
];

/// Feeds `check` with each of the corpus, and then with what becomes of them. An input
/// that makes it panic is printed. `words` are what a reader looks for.
pub(crate) fn fuzz(seed: u64, corpus: &[&[u8]], words: &[&str], mut check: impl FnMut(&[u8])) {
    for input in corpus {
        run(input, &mut check);
    }
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| {
        rounds.parse().expect("FUZZ_ROUNDS is a number")
    });
    let mut mutator = Mutator {
        rng: StdRng::seed_from_u64(seed),
        corpus,
        words,
    };
    for _ in 0..rounds {
        run(&mutator.input(), &mut check);
    }
}

fn run(input: &[u8], check: &mut impl FnMut(&[u8])) {
    let shown = Shown(input);
    check(input);
    drop(shown);
}

/// Prints an input if it is dropped by a panic.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let head = &self.0[..self.0.len().min(2_000)];
            eprintln!("{} bytes: {}", self.0.len(), head.escape_ascii());
        }
    }
}

struct Mutator<'a> {
    rng: StdRng,
    corpus: &'a [&'a [u8]],
    words: &'a [&'a str],
}

impl Mutator<'_> {
    fn input(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        for _ in 0..self.rng.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
            input.truncate(INPUT_BYTES_MAX);
        }
        input
    }

    fn pick(&mut self) -> &[u8] {
        self.corpus[self.rng.random_range(0..self.corpus.len())]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.rng.random_range(0..12) {
            0 => input.truncate(from),
            1 => drop(input.drain(from..to)),
            2 => {
                let piece = input[from..to].to_vec();
                let at = self.rng.random_range(0..=input.len());
                input.splice(at..at, piece);
            }
            3 => self.repeat(input, from, to),
            4 => {
                let other = self.pick().to_vec();
                let (start, end) = self.range(other.len());
                input.splice(from..to, other[start..end].iter().copied());
            }
            5 => {
                let mut bytes = vec![0; self.rng.random_range(1..9)];
                self.rng.fill_bytes(&mut bytes);
                input.splice(from..from, bytes);
            }
            6 | 7 if !self.words.is_empty() => {
                let word = self.words[self.rng.random_range(0..self.words.len())];
                input.splice(from..to, word.bytes());
            }
            8 => self.number(input),
            _ if from < input.len() => match self.rng.random_range(0..3) {
                0 => input[from] = self.rng.random(),
                1 => input[from] = b"\n\0 \"'{}[]:,#*&-\\"[self.rng.random_range(0..16)],
                _ => input[from] ^= 1 << self.rng.random_range(0..8),
            },
            _ => {}
        }
    }

    /// A piece again and again, now and then as often as there is room for.
    fn repeat(&mut self, input: &mut Vec<u8>, from: usize, to: usize) {
        let piece = input[from..to].to_vec();
        let room = INPUT_BYTES_MAX.saturating_sub(input.len()) / piece.len().max(1);
        let most = match self.rng.random_ratio(1, 8) {
            true => room,
            false => room.min(20),
        };
        let times = self.rng.random_range(0..=most);
        input.splice(to..to, piece.repeat(times));
    }

    /// A number at an edge in the place of one that is there.
    fn number(&mut self, input: &mut Vec<u8>) {
        let starts = |at: &usize| {
            let digit = |at: usize| input.get(at).is_some_and(u8::is_ascii_digit);
            digit(*at) && (*at == 0 || !digit(*at - 1))
        };
        let starts: Vec<usize> = (0..input.len()).filter(starts).collect();
        if starts.is_empty() {
            return;
        }
        let from = starts[self.rng.random_range(0..starts.len())];
        let digits = input[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let to = from + digits.count();
        let number = NUMBERS[self.rng.random_range(0..NUMBERS.len())];
        input.splice(from..to, number.bytes());
    }

    /// A range within so many bytes, short ones more often.
    fn range(&mut self, bytes: usize) -> (usize, usize) {
        let from = self.rng.random_range(0..=bytes);
        let most = match self.rng.random_ratio(1, 4) {
            true => bytes,
            false => 16,
        };
        let to = from + self.rng.random_range(0..=most);
        (from, to.min(bytes))
    }
}

#[test]
fn one_seed_gives_the_same_inputs_of_every_kind() {
    let corpus: [&[u8]; 2] = [b"one 1 two 22", b"three"];
    let all = |seed| {
        let mut inputs = Vec::new();
        fuzz(seed, &corpus, &["word"], |input| {
            inputs.push(input.to_vec())
        });
        inputs
    };
    let inputs = all(1);
    assert_eq!(inputs, all(1));
    assert_ne!(inputs, all(2));
    assert_eq!(inputs[..2], corpus);
    let longest = inputs.iter().map(Vec::len).max();
    assert!(longest > Some(usize::from(u16::MAX)) && longest <= Some(INPUT_BYTES_MAX));
    assert!(inputs.iter().any(Vec::is_empty));
    let has = |part: &[u8]| {
        inputs
            .iter()
            .any(|input| input.windows(part.len()).any(|w| w == part))
    };
    assert!(has(b"word") && has(b"65536") && has(b"\xff"));
}

//! Real readers of a real file, while it changes all the time.

use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::*;

/// Readings of the file by all readers together.
const READS: u64 = 1_000_000;

/// Shorter than in earnest, so that slots come round often.
const SHORT: Duration = Duration::from_secs(2);

/// The file as a program with a buffer of this size reads it.
fn read(path: &Path, buffer: usize, text: &mut Vec<u8>) {
    text.clear();
    let mut file = fs::File::open(path).unwrap();
    let mut chunk = vec![0; buffer];
    loop {
        match file.read(&mut chunk).unwrap() {
            0 => return,
            bytes => text.extend_from_slice(&chunk[..bytes]),
        }
    }
}

/// Lines of ours, as musl's resolver takes them: `web` always at one of its addresses.
fn is_right(text: &[u8]) -> bool {
    if !text.starts_with(DOCKER.as_bytes()) {
        return false;
    }
    let text = std::str::from_utf8(text).unwrap();
    let (mut web, mut wrong) = (0, 0);
    for line in text[DOCKER.len()..].lines() {
        let line = line.split('#').next().unwrap();
        match line.trim_end() {
            "" | "10.0.0.7 db" | "10.0.0.9 db" => {}
            "10.0.0.1 web" | "192.168.100.200 web" | "2001:db8::1 web" => web += 1,
            _ => wrong += 1,
        }
    }
    web > 0 && wrong == 0
}

#[test]
fn no_reading_is_torn_or_empty() {
    let directory = TempDir::new().unwrap();
    let path = made(directory.path());
    let turns = [
        wanted(&[("web", "10.0.0.1"), ("db", "10.0.0.7")]),
        wanted(&[("web", "192.168.100.200")]),
        wanted(&[("web", "2001:db8::1"), ("db", "10.0.0.9")]),
    ];
    let (begun, mut memory) = (Instant::now(), Memory::new(SHORT));
    let mut turn = |number: u64| {
        let mut file = HostsFile::open(rustix::fs::CWD, &path).unwrap();
        let wanted = &turns[usize::try_from(number).unwrap() % turns.len()];
        file.publish(wanted, &mut memory, || begun.elapsed())
            .unwrap()
    };
    turn(0);
    let (reads, torn) = (AtomicU64::new(0), AtomicU64::new(0));
    let changes = thread::scope(|scope| {
        // Of glibc, of musl, and of a program that reads all at once.
        for buffer in [4_096, 1_024, 1 << 16] {
            let (path, reads, torn) = (&path, &reads, &torn);
            scope.spawn(move || {
                let mut text = Vec::new();
                while reads.fetch_add(1, Ordering::Relaxed) < READS {
                    read(path, buffer, &mut text);
                    torn.fetch_add(u64::from(!is_right(&text)), Ordering::Relaxed);
                }
            });
        }
        let reads = &reads;
        let writer = scope.spawn(move || {
            let (mut number, mut changes) = (0, 0);
            while reads.load(Ordering::Relaxed) < READS {
                let outcome = turn(number);
                changes += u64::from(outcome.changed);
                // Where nothing is free, it stays as it was for a while.
                if outcome.waiting == 0 {
                    number += 1;
                } else {
                    thread::park_timeout(Duration::from_millis(1));
                }
            }
            changes
        });
        writer.join().unwrap()
    });
    let torn = torn.load(Ordering::Relaxed);
    println!("{READS} readings during {changes} changes: {torn} torn");
    assert_eq!(torn, 0);
    assert!(changes > 100, "{changes}");
}

use proptest::prelude::*;

use super::file::{HEADER_BYTES, crc32, frame, unframe};
use super::*;

#[derive(Clone, PartialEq, Eq, Message)]
struct Note {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(string, tag = "2")]
    text: String,
}

fn note(number: u64) -> Note {
    let text = "x".repeat(100);
    Note { number, text }
}

fn opened() -> (tempfile::TempDir, DataDir) {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(&dir.path().join("a/b")).unwrap();
    (dir, data)
}

fn names(data: &DataDir) -> Vec<String> {
    let entries = fs::read_dir(data.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_and_nobody_else_can() {
    let (_dir, data) = opened();
    assert_eq!(data.read::<Note>("note").unwrap(), Loaded::Missing);
    data.write("note", &note(1)).unwrap();
    data.write("note", &note(2)).unwrap();
    assert_eq!(data.read("note").unwrap(), Loaded::Found(note(2)));
    assert_eq!(names(&data), ["lock", "note"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data.path()), 0o700);
    assert_eq!(mode(&data.path().join("note")), 0o600);
}

#[test]
fn a_second_daemon_is_told_who_has_it() {
    let (_dir, data) = opened();
    let error = DataDir::open(data.path()).unwrap_err();
    let expected = format!("(process {})", std::process::id());
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(!error.disk_refuses());
    let path = data.path().to_owned();
    drop(data);
    DataDir::open(&path).unwrap();
}

#[test]
fn every_truncation_and_every_flipped_bit_is_found() {
    let whole = frame(&note(7)).unwrap();
    assert_eq!(unframe::<Note>(&whole), Ok(note(7)));
    for length in 0..whole.len() {
        assert!(unframe::<Note>(&whole[..length]).is_err(), "{length}");
    }
    for bit in 0..whole.len() * 8 {
        // Bytes 6 and 7 mean nothing yet.
        if (48..64).contains(&bit) {
            continue;
        }
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(unframe::<Note>(&flipped).is_err(), "{bit}");
    }
}

#[test]
fn a_damaged_file_is_kept_aside_and_writing_goes_on() {
    let (_dir, data) = opened();
    for garbage in [&b""[..], b"garbage", &[0xFF; 4096]] {
        let path = data.path().join("note");
        fs::write(&path, garbage).unwrap();
        let Loaded::Damaged { why, kept } = data.read::<Note>("note").unwrap() else {
            panic!("{garbage:?}");
        };
        assert!(!why.is_empty());
        assert_eq!(fs::read(kept.unwrap()).unwrap(), garbage);
        assert_eq!(data.read::<Note>("note").unwrap(), Loaded::Missing);
        data.write("note", &note(3)).unwrap();
        assert_eq!(data.read("note").unwrap(), Loaded::Found(note(3)));
    }
}

#[test]
fn a_file_of_a_later_version_is_kept_too() {
    let (_dir, data) = opened();
    let mut bytes = frame(&note(1)).unwrap();
    bytes[5] = 9;
    fs::write(data.path().join("note"), &bytes).unwrap();
    let Loaded::Damaged { why, kept } = data.read::<Note>("note").unwrap() else {
        panic!("it was read");
    };
    assert!(why.contains("version 9"), "{why}");
    assert!(kept.is_some());
}

#[test]
fn what_a_crash_leaves_behind_does_no_harm() {
    let (_dir, data) = opened();
    data.write("note", &note(1)).unwrap();
    // Killed in the middle of a write: a part of the next file under its temporary name.
    let next = frame(&note(2)).unwrap();
    for length in [0, 1, 15, 16, next.len() - 1, next.len()] {
        fs::write(data.path().join("note.tmp"), &next[..length]).unwrap();
        assert_eq!(data.read("note").unwrap(), Loaded::Found(note(1)));
    }
    data.write("note", &note(3)).unwrap();
    assert_eq!(data.read("note").unwrap(), Loaded::Found(note(3)));
    assert_eq!(names(&data), ["lock", "note"]);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let (_dir, data) = opened();
    data.write("note", &note(1)).unwrap();
    // Every write to this device fails for want of space.
    std::os::unix::fs::symlink("/dev/full", data.path().join("note.tmp")).unwrap();
    let error = data.write("note", &note(2)).unwrap_err();
    assert!(error.disk_refuses(), "{error:?}");
    assert_eq!(data.read("note").unwrap(), Loaded::Found(note(1)));
    data.write("note", &note(3)).unwrap();
    assert_eq!(data.read("note").unwrap(), Loaded::Found(note(3)));
}

#[test]
fn a_directory_that_vanished_is_an_error() {
    let (_dir, data) = opened();
    fs::remove_dir_all(data.path()).unwrap();
    let error = data.write("note", &note(1)).unwrap_err();
    assert!(error.to_string().contains("note.tmp"), "{error}");
    assert!(DataDir::open(Path::new("/dev/null/x")).is_err());
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _read = unframe::<Note>(&bytes);
        let mut framed = frame(&note(1)).unwrap();
        framed.truncate(HEADER_BYTES);
        framed.extend_from_slice(&bytes);
        prop_assert!(unframe::<Note>(&framed).is_err());
    }
}

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn key(byte: u8) -> KeyBytes {
    KeyBytes::new(vec![byte; 32].into()).unwrap()
}

fn file(text: impl AsRef<[u8]>, mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyring.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

/// As `serf agent -keyring-file` 0.9.4 wrote it after `serf keys -install`.
const SERFS: &str = "[\n  \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\n  \
                     \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"\n]";

#[test]
fn serfs_file_is_read_and_written_byte_for_byte() {
    let (_directory, path) = file(SERFS, 0o600);
    let keys = read(&path).unwrap();
    assert!(keys == [key(1), key(2)]);
    write(&path, &[&keys[0], &keys[1]]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), SERFS);
}

#[test]
fn what_is_written_is_only_for_the_owner_and_leaves_nothing_beside_it() {
    let (directory, path) = file("[]", 0o600);
    let left = directory.path().join("keyring.json.tmp");
    fs::write(&left, "of a crash").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
    write(&path, &[&key(3), &key(1)]).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(read(&path).unwrap() == [key(3), key(1)]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let (directory, path) = file(SERFS, 0o600);
    // The temporary name is taken by a directory.
    fs::create_dir(directory.path().join("keyring.json.tmp")).unwrap();
    let error = write(&path, &[&key(3)]).unwrap_err().to_string();
    assert!(error.contains("temporary file"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), SERFS);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for mode in [0o640, 0o604, 0o666] {
        let (_directory, path) = file(SERFS, mode);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("{mode:04o}")), "{error}");
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_never_repeated() {
    let half = &SERFS[..70];
    let cases = [
        (half.to_owned(), "line 3, column"),
        (String::new(), "it ends in the middle"),
        ("{\"keys\": []}".to_owned(), "line 1"),
        ("[1]".to_owned(), "no text"),
        ("[]".to_owned(), "no key"),
        ("[\"c2VjcmV0\"]".to_owned(), "key 1: the key has 6 bytes"),
        (
            "[\"AQEBAQEBAQEBAQEBAQEBAQ==\", \"!!secret!!\"]".to_owned(),
            "key 2",
        ),
        ("[\"secret\" \"secret\"]".to_owned(), "the syntax is wrong"),
    ];
    for (text, word) in cases {
        let (_directory, path) = file(&text, 0o600);
        let error = read(&path).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains(word), "{told}");
        assert!(!told.contains("secret") && !told.contains("AQEB"), "{told}");
        assert!(!error.is_missing());
    }
    let (_directory, path) = file([0xff, 0xfe], 0o600);
    assert!(read(&path).is_err());
    assert!(
        read(Path::new("/nowhere/keyring"))
            .unwrap_err()
            .is_missing()
    );
}

#[test]
fn a_ring_has_a_bound_and_its_file_one_too() {
    let list = |count: u8| {
        let keys: Vec<_> = (1..=count).map(key).collect();
        text(&keys.iter().collect::<Vec<_>>())
    };
    assert_eq!(parse(list(16).as_bytes()).unwrap().len(), 16);
    let error = parse(list(17).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("17 keys"), "{error}");
    let (_directory, path) = file(vec![b' '; 20 << 10], 0o600);
    assert!(matches!(read(&path), Err(FileError::TooLong)));
    let twice = format!("[\"{0}\", \"{0}\"]", *key(1).to_text());
    assert_eq!(parse(twice.as_bytes()).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _any: Result<_, _> = parse(&bytes);
    }

    #[test]
    fn a_damaged_file_is_never_a_panic_and_never_shown(
        at in 0..100_usize, byte in any::<u8>(), cut in 0..100_usize,
    ) {
        let mut bytes = SERFS.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        if let Err(error) = parse(&bytes) {
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains("AQEB") && !told.contains("AgIC"), "{}", told);
        }
    }
}

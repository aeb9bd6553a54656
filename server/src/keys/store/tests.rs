use tempfile::TempDir;

use super::*;

fn key(byte: u8) -> KeyBytes {
    KeyBytes::new(vec![byte; 32].into()).unwrap()
}

fn settings(bytes: &[u8]) -> Settings {
    Settings {
        keys: bytes.iter().map(|byte| key(*byte)).collect(),
        ..Settings::default()
    }
}

fn data(directory: &TempDir) -> Option<Arc<DataDir>> {
    Some(Arc::new(DataDir::open(directory.path()).unwrap()))
}

/// What a start with these settings has: the keys in order, and notes.
fn start(settings: &Settings, directory: &TempDir) -> (Ring, Vec<String>) {
    let begun = Store::begin(settings, data(directory)).unwrap();
    (begun.ring, begun.notes)
}

/// Begins, rotates from key 1 to key 2, ends.
fn rotated(settings: &Settings, directory: &TempDir) -> Ring {
    let Begun {
        mut ring, store, ..
    } = Store::begin(settings, data(directory)).unwrap();
    let id = ring.install(&key(2)).unwrap();
    ring.use_key(id).unwrap();
    ring.remove(Ring::id_of(&key(1)).unwrap()).unwrap();
    store.keep(&ring).unwrap();
    ring
}

#[test]
fn a_rotation_outlives_a_restart_with_the_old_key_in_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let ring = rotated(&settings(&[1]), &directory);
    let (again, notes) = start(&settings(&[1]), &directory);
    assert_eq!(again, ring);
    assert_eq!(again.in_order(), [&key(2)]);
    assert!(notes[0].contains("changed at run time"), "{notes:?}");
    let (again, notes) = start(&settings(&[2]), &directory);
    assert_eq!((again, notes.len()), (ring, 0));
}

#[test]
fn another_key_in_the_settings_is_a_new_beginning() {
    let directory = tempfile::tempdir().unwrap();
    rotated(&settings(&[1]), &directory);
    let (ring, notes) = start(&settings(&[9]), &directory);
    assert_eq!(ring.in_order(), [&key(9)]);
    assert!(notes[0].contains("another key"), "{notes:?}");
}

#[test]
fn keys_that_a_plaintext_node_got_are_not_undone_by_its_settings() {
    let directory = tempfile::tempdir().unwrap();
    let Begun {
        mut ring, store, ..
    } = Store::begin(&settings(&[]), data(&directory)).unwrap();
    ring.install_locally(&key(1)).unwrap();
    ring.set_stage(Stage::On).unwrap();
    store.keep(&ring).unwrap();
    drop(store);
    let (again, notes) = start(&settings(&[]), &directory);
    assert_eq!(
        (again.stage(), again.primary()),
        (Stage::On, ring.primary())
    );
    assert!(notes[0].contains("--insecure-plaintext"), "{notes:?}");
}

#[test]
fn a_stage_of_the_settings_goes_before_the_kept_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut receive = settings(&[1]);
    receive.stage = Some(Stage::Receive);
    let Begun {
        mut ring, store, ..
    } = Store::begin(&receive, data(&directory)).unwrap();
    assert_eq!(ring.stage(), Stage::Receive);
    ring.set_stage(Stage::Send).unwrap();
    store.keep(&ring).unwrap();
    drop(store);
    assert_eq!(start(&settings(&[1]), &directory).0.stage(), Stage::Send);
    let (again, notes) = start(&receive, &directory);
    assert_eq!(again.stage(), Stage::Receive);
    assert!(notes[0].contains("receive"), "{notes:?}");
}

#[test]
fn a_keyring_file_follows_every_change_and_says_which_keys_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring.json");
    let mut begins = settings(&[1]);
    begins.file = Some(path.clone());
    let ring = rotated(&begins, &directory);
    assert!(file::read(&path).unwrap() == [key(2)]);
    // The next start reads it, and remembers when things were.
    let mut again = settings(&[2]);
    again.file = Some(path);
    again.from_file = true;
    assert_eq!(start(&again, &directory).0, ring);
    // Somebody edits it: another key more, and the removed one back.
    again.keys = vec![key(3), key(1), key(2)];
    let (edited, _) = start(&again, &directory);
    assert_eq!(edited.primary(), Ring::id_of(&key(3)).ok());
    assert!(edited.holds(Ring::id_of(&key(1)).unwrap()));
    let told = edited.told();
    assert!(told.holds(Ring::id_of(&key(2)).unwrap()), "{told:?}");
    assert!(!told.holds(Ring::id_of(&key(3)).unwrap()), "{told:?}");
}

#[test]
fn a_damaged_kept_ring_is_set_aside_and_told() {
    let directory = tempfile::tempdir().unwrap();
    rotated(&settings(&[1]), &directory);
    let path = directory.path().join(FILE);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (ring, notes) = start(&settings(&[1]), &directory);
    assert_eq!(ring.in_order(), [&key(1)]);
    assert!(notes[0].contains("damaged"), "{notes:?}");
    assert!(directory.path().join(format!("{FILE}.bad")).exists());
}

#[test]
fn without_a_place_nothing_is_kept() {
    let begun = Store::begin(&settings(&[1]), None).unwrap();
    assert!(!begun.store.is_kept());
    begun.store.keep(&begun.ring).unwrap();
}

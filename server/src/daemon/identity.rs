//! Who this run is: its boot number, its instance, its epoch.

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use rand::{Rng, RngExt as _};

use crate::storage::{DataDir, Loaded, StorageError};

/// File in the data directory.
const FILE: &str = "boot";

/// Boot numbers travel in 48 bits.
pub const BOOT_MAX: u64 = (1 << 48) - 1;

/// What sets this run apart from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Above every boot of this name that this node knows of.
    pub boot: u64,
    /// Random: the seed of the engine, among others.
    pub seed: u64,
    /// 128 random bits in hex: watch tokens of another run are known by it.
    pub epoch: String,
}

/// Keeps the boot number. Without a data directory it keeps nothing. Clones share
/// everything.
#[derive(Debug, Clone, Default)]
pub struct BootStore {
    data: Option<Arc<DataDir>>,
    /// The highest boot given to be kept; held while it is written.
    highest: Arc<Mutex<u64>>,
    warning: Arc<Mutex<Option<String>>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct BootFile {
    #[prost(uint64, tag = "1")]
    boot: u64,
}

impl Identity {
    /// A new run: its boot is above the kept one and not below the clock, and it is
    /// kept before this returns. A disk that takes no writes is a warning.
    pub fn begin(store: &BootStore, unix_ms: u64, rng: &mut impl Rng) -> Self {
        let kept = store.kept();
        let boot = kept
            .map_or(unix_ms, |kept| unix_ms.max(kept + 1))
            .clamp(1, BOOT_MAX);
        store.keep(boot);
        Self {
            boot,
            seed: rng.random(),
            epoch: format!("{:032x}", rng.random::<u128>()),
        }
    }
}

impl BootStore {
    /// Keeps boots in a directory.
    #[must_use]
    pub fn new(data: Option<Arc<DataDir>>) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// Keeps a boot for the next run; blocks on the disk. A failure is logged and
    /// stays as [`BootStore::warning`] until a write succeeds. A boot below one that
    /// was given before changes nothing.
    pub fn keep(&self, boot: u64) {
        let Some(data) = &self.data else { return };
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if boot < *highest {
            return;
        }
        *highest = boot;
        let written = data.write(FILE, &BootFile { boot });
        self.note(written.err(), "the boot number is not kept");
    }

    /// Writes again what the disk did not take; blocks on it.
    pub fn retry(&self) {
        if self.warning().is_some() {
            let highest = *self.highest.lock().unwrap_or_else(PoisonError::into_inner);
            self.keep(highest);
        }
    }

    /// The data directory, if there is one that can be used.
    #[must_use]
    pub fn data(&self) -> Option<Arc<DataDir>> {
        self.data.clone()
    }

    /// What an operator should know of the disk.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        warning.clone()
    }

    /// Notes that there is no directory to keep boots in, though there should be.
    pub fn note_missing(&self, error: StorageError) {
        self.note(Some(error), "nothing is kept for the next start");
    }

    fn note(&self, error: Option<StorageError>, what: &str) {
        let text = error.map(|error| format!("{what}: {:#}", anyhow::Error::from(error)));
        let mut warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner);
        if *warning != text {
            match &text {
                Some(text) => tracing::warn!("{text}"),
                None => tracing::info!("the boot number is kept again"),
            }
        }
        *warning = text;
    }

    fn kept(&self) -> Option<u64> {
        let data = self.data.as_ref()?;
        match data.read::<BootFile>(FILE) {
            Ok(Loaded::Found(file)) if file.boot < BOOT_MAX => Some(file.boot),
            Ok(Loaded::Found(file)) => {
                let why = format!("boot {} is no boot", file.boot);
                let _set_aside: Loaded<BootFile> = data.damaged(FILE, why);
                None
            }
            Ok(Loaded::Missing | Loaded::Damaged { .. }) => None,
            Err(error) => {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "cannot read the boot number"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn store(dir: &tempfile::TempDir) -> BootStore {
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        BootStore::new(Some(Arc::new(data)))
    }

    fn boot(store: &BootStore, unix_ms: u64) -> u64 {
        Identity::begin(store, unix_ms, &mut StdRng::seed_from_u64(1)).boot
    }

    #[test]
    fn boots_grow_even_if_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(boot(&store(&dir), 1_000_000), 1_000_000);
        assert_eq!(boot(&store(&dir), 2_000_000), 2_000_000);
        assert_eq!(boot(&store(&dir), 1_500_000), 2_000_001);
        assert_eq!(boot(&store(&dir), 2_000_001), 2_000_002);
        assert_eq!(boot(&store(&dir), 0), 2_000_003);
    }

    #[test]
    fn a_boot_that_was_raised_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(&dir);
        assert_eq!(boot(&first, 5), 5);
        first.keep(900);
        drop(first);
        assert_eq!(boot(&store(&dir), 6), 901);
    }

    #[test]
    fn the_highest_boot_wins_whatever_the_order() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(&dir);
        for raised in [900, 800, 950, 10] {
            first.keep(raised);
        }
        drop(first);
        assert_eq!(boot(&store(&dir), 6), 951);
    }

    #[test]
    fn without_a_directory_the_clock_decides() {
        let none = BootStore::default();
        assert_eq!(boot(&none, 77), 77);
        assert_eq!(boot(&none, 0), 1);
        assert_eq!(boot(&none, u64::MAX), BOOT_MAX);
        assert_eq!(none.warning(), None);
    }

    #[test]
    fn garbage_and_impossible_numbers_are_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/boot");
        assert_eq!(boot(&store(&dir), 10), 10);
        std::fs::write(&path, "garbage").unwrap();
        assert_eq!(boot(&store(&dir), 20), 20);
        assert_eq!(
            std::fs::read(path.with_extension("bad")).unwrap(),
            b"garbage"
        );
        store(&dir).keep(u64::MAX);
        assert_eq!(boot(&store(&dir), 30), 30);
        assert_eq!(boot(&store(&dir), 30), 31);
    }

    #[test]
    fn a_full_disk_is_a_warning_that_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        assert_eq!(boot(&store, 10), 10);
        std::os::unix::fs::symlink("/dev/full", dir.path().join("data/boot.tmp")).unwrap();
        assert_eq!(boot(&store, 20), 20);
        assert!(
            store.warning().unwrap().contains("No space left"),
            "{:?}",
            store.warning()
        );
        store.retry();
        assert_eq!(store.warning(), None);
        // What the disk did not take first is what was kept.
        assert_eq!(boot(&store, 15), 21);
    }

    #[test]
    fn runs_are_told_apart_by_chance() {
        let none = BootStore::default();
        let mut rng = StdRng::seed_from_u64(1);
        let (one, two) = (
            Identity::begin(&none, 1, &mut rng),
            Identity::begin(&none, 1, &mut rng),
        );
        assert_eq!(one.epoch.len(), 32);
        assert_ne!((one.seed, &one.epoch), (two.seed, &two.epoch));
    }
}

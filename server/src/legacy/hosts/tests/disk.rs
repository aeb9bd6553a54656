//! Files on a disk, good and bad.

use super::*;

struct Disk {
    directory: TempDir,
    path: PathBuf,
    memory: Memory,
}

impl Disk {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, text).unwrap();
        let memory = Memory::new(QUARANTINE);
        Self {
            directory,
            path,
            memory,
        }
    }

    fn open(&self) -> Result<HostsFile, HostsError> {
        HostsFile::open(rustix::fs::CWD, &self.path)
    }

    fn set(&mut self, pairs: &[(&str, &str)]) -> Result<Outcome, HostsError> {
        let mut file = self.open()?;
        file.publish(&wanted(pairs), &mut self.memory, || Duration::ZERO)
    }

    fn shows(&self, name: &str) -> Vec<IpAddr> {
        parse(&fs::read(&self.path).unwrap())
            .remove(name)
            .unwrap_or_default()
    }
}

#[test]
fn a_file_is_written_in_place_and_left_alone_when_it_is_right() {
    use std::os::unix::fs::MetadataExt as _;
    let mut disk = Disk::new(DOCKER);
    let inode = fs::metadata(&disk.path).unwrap().ino();
    let outcome = disk.set(&[("web", "10.0.0.1")]).unwrap();
    assert!(outcome.changed);
    assert_eq!(
        disk.shows("web"),
        wanted(&[("w", "10.0.0.1")])
            .into_values()
            .collect::<Vec<_>>()
    );
    let meta = fs::metadata(&disk.path).unwrap();
    assert_eq!(meta.ino(), inode);
    assert_eq!(
        disk.set(&[("web", "10.0.0.1")]).unwrap(),
        Outcome::default()
    );
    let after = fs::metadata(&disk.path).unwrap();
    assert_eq!(
        (after.ctime(), after.ctime_nsec()),
        (meta.ctime(), meta.ctime_nsec())
    );
}

#[test]
fn what_is_no_file_of_hosts_is_refused() {
    let mut disk = Disk::new(DOCKER);
    let file = fs::OpenOptions::new().write(true).open(&disk.path).unwrap();
    file.set_len((1 << 20) + 1).unwrap();
    let error = disk.set(&[("web", "10.0.0.1")]).unwrap_err();
    assert!(
        error.to_string().starts_with("it has 1048577 bytes"),
        "{error}"
    );
    fs::remove_file(&disk.path).unwrap();
    assert!(matches!(
        disk.set(&[]),
        Err(HostsError::Io { what: "open", .. })
    ));
    let other = disk.directory.path().join("other");
    fs::write(&other, DOCKER).unwrap();
    std::os::unix::fs::symlink(&other, &disk.path).unwrap();
    assert!(disk.set(&[("web", "10.0.0.1")]).is_err());
    fs::remove_file(&disk.path).unwrap();
    let mode = rustix::fs::Mode::from(0o666);
    rustix::fs::mkfifoat(rustix::fs::CWD, &disk.path, mode).unwrap();
    assert!(matches!(disk.set(&[]), Err(HostsError::NoFile)));
    assert_eq!(fs::read_to_string(other).unwrap(), DOCKER);
}

#[test]
fn a_file_that_others_change_meanwhile_is_looked_at_again() {
    let mut disk = Disk::new(DOCKER);
    disk.set(&[("web", "10.0.0.1")]).unwrap();
    // An old plan meets a file that was rewritten.
    let text = fs::read(&disk.path).unwrap();
    let old = plan(
        &text,
        &wanted(&[("web", "10.0.0.2")]),
        &mut disk.memory,
        Duration::ZERO,
    );
    let moved = [&b"10.9.9.9 new\n"[..], &text].concat();
    fs::write(&disk.path, &moved).unwrap();
    let mut file = disk.open().unwrap();
    assert!(!file.apply(&old).unwrap());
    assert_eq!(fs::read(&disk.path).unwrap(), moved);
    disk.set(&[("web", "10.0.0.2")]).unwrap();
    assert_eq!(disk.shows("web").len(), 1);
    assert_eq!(disk.shows("new").len(), 1);
}

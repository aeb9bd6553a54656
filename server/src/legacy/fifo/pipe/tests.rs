use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const PLACE: &str = "serfnode/children/web";

struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn check(&self, known: Option<FileId>) -> Result<Option<Opened>, PipeError> {
        let root = File::open(self.0.path()).unwrap();
        check(root.as_fd(), Path::new(PLACE), known)
    }

    fn opened(&self) -> Opened {
        self.check(None).unwrap().unwrap()
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join(PLACE)
    }

    fn fifo(&self) -> PathBuf {
        self.directory().join(NAME)
    }

    fn is_ours(&self) -> bool {
        let meta = fs::symlink_metadata(self.fifo()).unwrap();
        meta.file_type().is_fifo() && meta.permissions().mode() & 0o7777 == 0o666
    }
}

#[test]
fn it_is_made_once_and_found_again() {
    let root = Root::new();
    let made = root.opened();
    assert_eq!(made.how, How::Made);
    assert!(root.is_ours());
    for directory in ["serfnode", "serfnode/children", PLACE] {
        let meta = fs::metadata(root.0.path().join(directory)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o755, "{directory}");
    }
    assert!(root.check(Some(made.id)).unwrap().is_none());
    fs::set_permissions(root.fifo(), fs::Permissions::from_mode(0o600)).unwrap();
    let found = root.opened();
    assert_eq!((found.how, found.id), (How::Found, made.id));
    assert!(root.is_ours());
    // Both ends are open: writing waits for nobody, and reading finds no end.
    let mut writer = fs::OpenOptions::new()
        .write(true)
        .open(root.fifo())
        .unwrap();
    writer.write_all(b"x\n").unwrap();
    drop(writer);
    let mut bytes = [0; 4];
    let mut file = &found.file;
    assert_eq!(file.read(&mut bytes).unwrap(), 2);
    let empty = file.read(&mut bytes).unwrap_err();
    assert_eq!(empty.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_stands_in_its_place_goes_and_nothing_is_followed() {
    let root = Root::new();
    let first = root.opened();
    let outside = root.0.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    type Plant<'a> = (&'static str, &'a dyn Fn(&Path));
    let plant: [Plant<'_>; 6] = [
        ("nothing", &|_| ()),
        ("a file", &|at| fs::write(at, "text").unwrap()),
        ("a symbolic link", &|at| symlink(&outside, at).unwrap()),
        ("a directory", &|at| fs::create_dir(at).unwrap()),
        ("a directory", &|at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("file"), "").unwrap();
        }),
        ("a FIFO of somebody else", &|at| {
            let mode = Mode::from_raw_mode(0o600);
            let other = at.with_file_name("other");
            rustix::fs::mkfifoat(rustix::fs::CWD, &other, mode).unwrap();
            fs::hard_link(&other, at).unwrap();
        }),
    ];
    let mut known = first.id;
    let mut held = vec![first];
    for (what, plant) in plant {
        fs::remove_file(root.fifo()).unwrap();
        plant(&root.fifo());
        let opened = root.check(Some(known)).unwrap().unwrap();
        let expected = match what {
            "nothing" => How::Made,
            kind => How::InsteadOf(kind),
        };
        assert_eq!(opened.how, expected);
        assert!(root.is_ours() && opened.id != known, "{what}");
        known = opened.id;
        held.push(opened);
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "precious");
    let other = fs::metadata(root.directory().join("other")).unwrap();
    assert_eq!(other.permissions().mode() & 0o7777, 0o600);
    assert_eq!(other.nlink(), 1);
}

#[test]
fn a_link_to_elsewhere_is_no_directory() {
    let root = Root::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let children = root.0.path().join("serfnode");
    fs::create_dir(&children).unwrap();
    symlink(elsewhere.path(), children.join("children")).unwrap();
    let error = root.check(None).unwrap_err();
    assert!(
        matches!(&error, PipeError::Directory { name, .. } if name == "children"),
        "{error:?}"
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let open = File::open(root.0.path()).unwrap();
    for path in ["..", "/etc", "a/../b"] {
        let error = check(open.as_fd(), Path::new(path), None).unwrap_err();
        assert!(matches!(error, PipeError::Outside(_)), "{path}: {error:?}");
    }
}

#[test]
fn a_full_place_for_what_is_moved_aside_is_an_error() {
    let root = Root::new();
    for round in 0..2 {
        let found = root.check(None);
        assert_eq!(found.is_ok(), round == 0 || root.is_ours());
        fs::remove_file(root.fifo()).unwrap();
        fs::create_dir(root.fifo()).unwrap();
        fs::write(root.fifo().join("file"), "").unwrap();
        let found = root.check(None);
        if round == 0 {
            assert_eq!(found.unwrap().unwrap().how, How::InsteadOf("a directory"));
        } else {
            let error = found.unwrap_err();
            assert!(matches!(error, PipeError::Failed { .. }), "{error:?}");
        }
    }
}

#[test]
fn the_reading_end_alone_sees_the_last_writer_go() {
    let root = Root::new();
    let opened = root.opened();
    let mut writer = fs::OpenOptions::new()
        .write(true)
        .open(root.fifo())
        .unwrap();
    let mut end = reading_end(opened.file.as_fd()).unwrap();
    drop(opened);
    writer.write_all(b"last").unwrap();
    let mut bytes = [0; 8];
    assert_eq!(end.read(&mut bytes).unwrap(), 4);
    assert!(end.read(&mut bytes).is_err());
    drop(writer);
    assert_eq!(end.read(&mut bytes).unwrap(), 0);
}

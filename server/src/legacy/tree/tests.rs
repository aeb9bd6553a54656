use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs as stdfs, thread};

use tempfile::TempDir;

use super::*;

fn tree() -> (TempDir, Dir) {
    let temp = TempDir::new().unwrap();
    let dir = Dir::open(&temp.path().join("root")).unwrap();
    (temp, dir)
}

fn outside(temp: &TempDir) -> PathBuf {
    let outside = temp.path().join("outside");
    stdfs::write(&outside, "keep").unwrap();
    stdfs::set_permissions(&outside, stdfs::Permissions::from_mode(0o600)).unwrap();
    outside
}

fn untouched(outside: &Path) {
    assert_eq!(stdfs::read_to_string(outside).unwrap(), "keep");
    let mode = stdfs::metadata(outside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// The file is as a write leaves it.
fn holds(dir: &Dir, name: &str, text: &str) {
    let path = dir.path().join(name);
    let meta = stdfs::symlink_metadata(&path).unwrap();
    assert!(meta.is_file(), "{path:?}");
    assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
    assert_eq!(stdfs::read_to_string(path).unwrap(), text);
}

fn left_over(dir: &Dir) -> Vec<String> {
    let mut names = dir.names(100).unwrap();
    names.retain(|name| name.starts_with(TEMPORARY));
    names
}

#[test]
fn a_file_is_written_once_and_readable_by_all() {
    let (_temp, root) = tree();
    assert_eq!(root.write("me.json", b"{}").unwrap(), Written::Changed);
    holds(&root, "me.json", "{}");
    let inode = stdfs::metadata(root.path().join("me.json")).unwrap().ino();
    assert_eq!(root.write("me.json", b"{}").unwrap(), Written::Unchanged);
    let after = stdfs::metadata(root.path().join("me.json")).unwrap().ino();
    assert_eq!(inode, after);
    assert_eq!(root.write("me.json", b"[]").unwrap(), Written::Changed);
    holds(&root, "me.json", "[]");
    assert_eq!(left_over(&root), [""; 0]);
}

#[test]
fn directories_are_made_for_everybody_to_pass() {
    let (_temp, root) = tree();
    let child = root.dir("serfnode/children/web").unwrap();
    child.write("me.json", b"{}").unwrap();
    let path = root.path().join("serfnode/children/web");
    assert_eq!(child.path(), path);
    let mode = stdfs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    // The same one again.
    let again = root.dir("serfnode/children/web").unwrap();
    holds(&again, "me.json", "{}");
    again.remove("me.json").unwrap();
    again.remove("me.json").unwrap();
    assert!(!path.join("me.json").exists());
}

#[test]
fn links_in_the_place_of_files_are_replaced_and_not_followed() {
    let (temp, root) = tree();
    let outside = outside(&temp);
    symlink(&outside, root.path().join("me.json")).unwrap();
    root.write("me.json", b"{}").unwrap();
    holds(&root, "me.json", "{}");
    // Not even for reading: this one has the content already.
    symlink(&outside, root.path().join("same")).unwrap();
    assert_eq!(root.write("same", b"keep").unwrap(), Written::Changed);
    stdfs::hard_link(&outside, root.path().join("hard")).unwrap();
    root.write("hard", b"{}").unwrap();
    holds(&root, "hard", "{}");
    untouched(&outside);
    assert_eq!(stdfs::metadata(&outside).unwrap().nlink(), 1);
}

#[test]
fn links_in_the_place_of_directories_are_replaced_and_not_followed() {
    let (temp, root) = tree();
    let outside = temp.path().join("elsewhere");
    stdfs::create_dir(&outside).unwrap();
    stdfs::write(outside.join("me.json"), "keep").unwrap();
    symlink(&outside, root.path().join("serfnode")).unwrap();
    root.dir("serfnode")
        .unwrap()
        .write("me.json", b"{}")
        .unwrap();
    let inside = root.dir("serfnode/children").unwrap();
    symlink("../../../elsewhere", inside.path().join("web")).unwrap();
    root.dir("serfnode/children/web")
        .unwrap()
        .write("me.json", b"{}")
        .unwrap();
    assert_eq!(
        stdfs::read_to_string(outside.join("me.json")).unwrap(),
        "keep"
    );
    assert_eq!(stdfs::read_dir(&outside).unwrap().count(), 1);
    assert!(
        root.path()
            .join("serfnode")
            .symlink_metadata()
            .unwrap()
            .is_dir()
    );
}

#[test]
fn other_things_in_the_way_are_replaced() {
    let (_temp, root) = tree();
    let at = |name: &str| root.path().join(name);
    fs::mkfifoat(root.as_fd(), "fifo", Mode::from(0o666)).unwrap();
    fs::mkfifoat(root.as_fd(), "dir", Mode::from(0o666)).unwrap();
    stdfs::create_dir(at("empty")).unwrap();
    stdfs::create_dir_all(at("full/of")).unwrap();
    stdfs::write(at("secret"), "{}").unwrap();
    stdfs::set_permissions(at("secret"), stdfs::Permissions::from_mode(0o600)).unwrap();
    for name in ["fifo", "empty", "full", "secret"] {
        assert_eq!(root.write(name, b"{}").unwrap(), Written::Changed, "{name}");
        holds(&root, name, "{}");
    }
    root.dir("dir/below")
        .unwrap()
        .write("me.json", b"{}")
        .unwrap();
    // What was in the full one is kept: it is not ours to empty.
    let kept = left_over(&root);
    assert_eq!(kept.len(), 1);
    assert!(at(&kept[0]).join("of").is_dir());
}

#[test]
fn a_huge_file_is_replaced_unread() {
    let (_temp, root) = tree();
    let path = root.path().join("me.json");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    root.write("me.json", b"{}").unwrap();
    holds(&root, "me.json", "{}");
    let too_large = vec![b' '; FILE_BYTES_MAX + 1];
    let error = root.write("me.json", &too_large).unwrap_err();
    assert!(matches!(error, TreeError::Disk(DiskError::TooLarge { .. })));
    holds(&root, "me.json", "{}");
}

#[test]
fn names_are_single_names() {
    let (_temp, root) = tree();
    for name in ["", ".", "..", "a/b", "/etc/passwd", "nul\0"] {
        let error = root.write(name, b"{}").unwrap_err();
        assert!(matches!(error, TreeError::Name { .. }), "{name:?}");
        assert!(root.remove(name).is_err(), "{name:?}");
    }
    for below in ["..", "a/../b", "/a", "a//b", ""] {
        assert!(root.dir(below).is_err(), "{below:?}");
    }
}

#[test]
fn left_overs_are_swept_and_nothing_else() {
    let (_temp, root) = tree();
    root.write("me.json", b"{}").unwrap();
    stdfs::write(root.path().join(".muster-0123"), "half").unwrap();
    stdfs::create_dir(root.path().join(".muster-4567")).unwrap();
    root.sweep().unwrap();
    assert_eq!(root.names(10).unwrap(), ["me.json"]);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let (temp, root) = tree();
    root.write("me.json", b"{}").unwrap();
    // The directory is gone: its descriptor is all that there is.
    let doomed = root.dir("doomed").unwrap();
    stdfs::remove_dir(doomed.path()).unwrap();
    let error = doomed.write("me.json", b"{}").unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    drop(temp);
}

/// Content that shows whether it is whole: one digit, many times, between two others.
fn content(round: u64) -> Vec<u8> {
    let digit = b'a' + u8::try_from(round % 26).unwrap();
    let length = 100 + usize::try_from(round % 7).unwrap() * 3_000;
    let mut bytes = vec![digit; length];
    bytes[0] = b'<';
    bytes[length - 1] = b'>';
    bytes
}

fn is_whole(bytes: &[u8]) -> bool {
    let [b'<', inner @ .., b'>'] = bytes else {
        return false;
    };
    inner.iter().all(|byte| *byte == inner[0])
}

#[test]
fn readers_see_whole_files_only() {
    const READS: u64 = 100_000;
    let (_temp, root) = tree();
    root.write("me.json", &content(0)).unwrap();
    let path = root.path().join("me.json");
    let (done, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                root.write("me.json", &content(round)).unwrap();
                writes.store(round, Ordering::Relaxed);
            }
        });
        let broken = (0..READS).filter(|_| !is_whole(&stdfs::read(&path).unwrap()));
        let broken = broken.count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(broken, 0);
    });
    assert!(writes.load(Ordering::Relaxed) > 100);
}

/// In the environment of the process that is killed: where it writes.
const VICTIM: &str = "MUSTER_TEST_TREE_VICTIM";

#[test]
fn a_killed_writer_leaves_whole_files() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        let root = Dir::open(Path::new(&directory)).unwrap();
        for round in 0.. {
            root.write("me.json", &content(round)).unwrap();
        }
    }
    let (_temp, root) = tree();
    let me = std::env::current_exe().unwrap();
    let name = "legacy::tree::tests::a_killed_writer_leaves_whole_files";
    for round in 0..10_u64 {
        stdfs::write(root.path().join("me.json"), "").unwrap();
        let mut victim = Command::new(&me)
            .args(["--exact", name])
            .env(VICTIM, root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let wanted = 100 + round * 37;
        let mut seen = 0;
        while seen < wanted {
            let bytes = stdfs::read(root.path().join("me.json")).unwrap();
            seen += u64::from(is_whole(&bytes));
            assert!(bytes.is_empty() || is_whole(&bytes));
            assert!(Instant::now() < until, "the writer does not write");
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(is_whole(&stdfs::read(root.path().join("me.json")).unwrap()));
        assert!(left_over(&root).len() <= 1);
        root.sweep().unwrap();
        assert_eq!(left_over(&root), [""; 0]);
    }
}

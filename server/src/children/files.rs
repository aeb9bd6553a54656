//! Waiting for the files that a child should find when it starts.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// Longest wait for the files of one child; it starts without them then, which is logged
/// and counted.
pub const READY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Time between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Largest `me.json` that is read, bytes; a larger one counts as not there.
const ME_BYTES_MAX: u64 = 8 << 20;

/// Knows when the files of a child are there.
pub trait Files: Send + Sync {
    /// Waits until the container `id` of this name has its files and its FIFO. Bounded by
    /// the caller.
    fn ready<'a>(&'a self, container: &'a str, id: &'a str) -> BoxFuture<'a, ()>;
}

/// Looks for them below the directory of all children.
#[derive(Debug, Clone)]
pub struct Written {
    /// As this daemon sees it.
    pub children: PathBuf,
}

impl Files for Written {
    fn ready<'a>(&'a self, container: &'a str, id: &'a str) -> BoxFuture<'a, ()> {
        let directory = self.children.join(container);
        let id = id.to_owned();
        async move {
            loop {
                let (directory, id) = (directory.clone(), id.clone());
                let looked = tokio::task::spawn_blocking(move || are_there(&directory, &id));
                if looked.await.unwrap_or(false) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        .boxed()
    }
}

/// Whether `me.json` tells of this very container, and the FIFO is there.
fn are_there(directory: &Path, id: &str) -> bool {
    let fifo = std::fs::symlink_metadata(directory.join("parent"));
    if !fifo.is_ok_and(|found| found.file_type().is_fifo()) {
        return false;
    }
    let open = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking())
        .open(directory.join("me.json"));
    let Ok(file) = open else { return false };
    let mut text = String::new();
    let read = file.take(ME_BYTES_MAX).read_to_string(&mut text);
    read.is_ok() && text.contains(id)
}

/// A link or a FIFO that somebody put there is not followed and not waited for.
fn nonblocking() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_older_container_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        assert!(!are_there(at, "new"));
        std::fs::write(at.join("me.json"), "{\"Id\":\"old\"}").unwrap();
        let fifo = at.join("parent");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();
        assert!(!are_there(at, "new"));
        std::fs::write(at.join("me.json"), "{\"Id\":\"new\"}").unwrap();
        assert!(are_there(at, "new"));
        std::fs::remove_file(at.join("me.json")).unwrap();
        std::os::unix::fs::symlink("/proc/self/cmdline", at.join("me.json")).unwrap();
        assert!(!are_there(at, ""));
        std::fs::remove_file(at.join("me.json")).unwrap();
        std::fs::rename(&fifo, at.join("me.json")).unwrap();
        assert!(!are_there(at, ""));
    }

    #[tokio::test]
    async fn it_waits_until_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("a");
        let files = Written {
            children: directory.path().to_owned(),
        };
        let waiting = tokio::task::spawn(async move { files.ready("a", "new").await });
        std::fs::create_dir(&at).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, at.join("parent"), fifo, mode, 0).unwrap();
        std::fs::write(at.join("me.json"), "new").unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        ended.unwrap().unwrap();
    }
}

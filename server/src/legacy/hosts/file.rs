//! Files of hosts on the disk.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::Answers;
use super::plan::{Edit, Memory, Plan, Step, plan};
use crate::legacy::tree::TreeError;

/// Largest file that is looked at, bytes; what is larger is no file of hosts.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Times that a file is looked at again at once, after it grew or somebody else changed
/// it; then it waits for the next pass.
const ROUNDS_MAX: usize = 4;

/// Why a file of hosts does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// Something else has its name.
    #[error("it is no ordinary file")]
    NoFile,
    /// See [`FILE_BYTES_MAX`].
    #[error("it has {0} bytes, at most {FILE_BYTES_MAX} are read")]
    TooLarge(u64),
    /// It could not be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The system said no.
    #[error("cannot {what} it: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl HostsError {
    /// Whether there is simply no file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a pass over a file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Something was written.
    pub changed: bool,
    /// When something that waits is due.
    pub again: Option<Duration>,
    /// Roles whose change waits for room.
    pub waiting: usize,
    /// Times that somebody else changed the file meanwhile.
    pub raced: usize,
}

/// An open file of hosts. Which file it is can change with every opening: what is
/// remembered of it belongs to [`HostsFile::id`].
#[derive(Debug)]
pub struct HostsFile {
    file: File,
    id: (u64, u64),
}

impl HostsFile {
    /// Opens a file in a directory, never through a link. It stays a reader's file: it is
    /// neither made nor cut.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn open(directory: impl AsFd, name: &std::path::Path) -> Result<Self, HostsError> {
        // A pipe in its place must not make us wait.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty());
        let file = File::from(opened.map_err(|errno| failed("open")(errno.into()))?);
        let meta = file.metadata().map_err(failed("look at"))?;
        if !meta.is_file() {
            return Err(HostsError::NoFile);
        }
        let id = (meta.dev(), meta.ino());
        Ok(Self { file, id })
    }

    /// Device and inode.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Makes it say `wanted`. `clock` tells the time since a fixed moment.
    ///
    /// # Errors
    /// [`HostsError`]; then the lines are as they were, or some of them new.
    pub fn publish(
        &mut self,
        wanted: &Answers,
        memory: &mut Memory,
        clock: impl Fn() -> Duration,
    ) -> Result<Outcome, HostsError> {
        let mut outcome = Outcome::default();
        for _ in 0..ROUNDS_MAX {
            let text = self.read()?;
            let plan = plan(&text, wanted, memory, clock());
            (outcome.again, outcome.waiting) = (plan.again, plan.waiting);
            outcome.changed |= !plan.steps.is_empty();
            let applied = self.apply(&plan);
            memory.done(clock());
            match applied {
                Ok(true) if plan.more => {}
                Ok(true) => break,
                Ok(false) => {
                    outcome.raced += 1;
                    memory.forget();
                }
                Err(error) => {
                    memory.forget();
                    return Err(error);
                }
            }
        }
        Ok(outcome)
    }

    fn read(&self) -> Result<Vec<u8>, HostsError> {
        let size = self.file.metadata().map_err(failed("look at"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(HostsError::TooLarge(size));
        }
        let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        let reader = Positioned {
            file: &self.file,
            at: 0,
        };
        let read = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
        match read.map_err(failed("read"))? {
            // It grows.
            bytes if bytes as u64 > FILE_BYTES_MAX => Err(HostsError::TooLarge(bytes as u64)),
            _ => Ok(text),
        }
    }

    /// False if somebody else changed the file: then nothing after that was done.
    pub(super) fn apply(&mut self, plan: &Plan) -> Result<bool, HostsError> {
        for step in &plan.steps {
            let done = match step {
                Step::Append(block) => self.append(block).map(|()| true),
                Step::Edit(edit) => self.edit(edit),
            };
            if !done.map_err(failed("write"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn edit(&self, edit: &Edit) -> io::Result<bool> {
        let mut line = vec![0; edit.before.len()];
        let at = edit.at as u64;
        match self.file.read_exact_at(&mut line, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if line != edit.before {
            return Ok(false);
        }
        self.file.write_all_at(&edit.bytes, at + edit.from as u64)?;
        Ok(true)
    }

    /// The end may have moved since the file was read.
    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        rustix::fs::fcntl_setfl(&self.file, OFlags::APPEND)?;
        let written = self.file.write_all(block);
        // Positioned writes would append as well.
        rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
        written
    }
}

/// Reads a file from its start, wherever its own position is.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> HostsError {
    move |source| HostsError::Io { what, source }
}

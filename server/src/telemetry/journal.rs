//! The journal of systemd on the other side of standard error.
//!
//! It stamps lines with the time itself and takes the priority from a prefix `<N>`
//! (`sd-daemon(3)`), so nothing else is needed for `journalctl -p warning` to work.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::log::Target;

/// Where standard error goes. `JOURNAL_STREAM` is `DEVICE:INODE` of the stream to the
/// journal; a service can have inherited the variable and been redirected since, so
/// both must be those of standard error (`systemd.exec(5)`).
pub(super) fn target_of_stderr(journal_stream: Option<&str>) -> Target {
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else {
        return Target::Plain;
    };
    #[allow(
        clippy::useless_conversion,
        reason = "the types differ between architectures"
    )]
    let (device, inode) = (u64::from(stat.st_dev), u64::from(stat.st_ino));
    target(journal_stream, device, inode)
}

fn target(journal_stream: Option<&str>, device: u64, inode: u64) -> Target {
    let numbers = journal_stream.and_then(|text| text.split_once(':'));
    match numbers.map(|(dev, ino)| (dev.parse(), ino.parse())) {
        Some((Ok(dev), Ok(ino))) if (dev, ino) == (device, inode) => Target::Journal,
        _ => Target::Plain,
    }
}

/// Puts the priority before each line that goes to the journal.
#[derive(Debug)]
pub(super) struct Prefixed<W> {
    writer: W,
    target: Target,
}

/// One line on its way.
#[derive(Debug)]
pub(super) struct PrefixedLine<W> {
    writer: W,
    prefix: &'static str,
}

impl<W> Prefixed<W> {
    pub(super) const fn new(writer: W, target: Target) -> Self {
        Self { writer, target }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Prefixed<W> {
    type Writer = PrefixedLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PrefixedLine {
            writer: self.writer.make_writer(),
            prefix: "",
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let prefix = match self.target {
            Target::Plain => "",
            Target::Journal => priority(*metadata.level()),
        };
        PrefixedLine {
            writer: self.writer.make_writer_for(metadata),
            prefix,
        }
    }
}

impl<W: Write> Write for PrefixedLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.prefix.is_empty() {
            return self.writer.write(bytes);
        }
        // One call: the writer takes each for a line of its own.
        let line = [self.prefix.as_bytes(), bytes].concat();
        self.prefix = "";
        self.writer.write_all(&line)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Priorities of `syslog(3)`: 3 error, 4 warning, 6 info, 7 debug.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        assert_eq!(target(Some("9:4711"), 9, 4711), Target::Journal);
        for text in [
            "9:4712", "8:4711", "9", "9:", ":4711", "a:b", "9:4711:1", "",
        ] {
            assert_eq!(target(Some(text), 9, 4711), Target::Plain, "{text:?}");
        }
        assert_eq!(target(None, 9, 4711), Target::Plain);
    }
}

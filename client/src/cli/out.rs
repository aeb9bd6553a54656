//! Standard output: JSON or text, colour only where it is wanted.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::cli::args::Format;
use crate::cli::failure::Failure;

pub(super) struct Out {
    writer: Box<dyn Write + Send>,
    format: Format,
    tty: bool,
    colour: bool,
}

impl Out {
    pub(super) fn stdout(format: Format) -> Self {
        let tty = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            writer: Box::new(io::stdout()),
            format,
            tty: tty && !dumb,
            colour: tty && !refused && !dumb,
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// True where a live view may redraw itself.
    pub(super) fn is_live(&self) -> bool {
        self.tty && !self.is_json()
    }

    pub(super) const fn colour(&self) -> bool {
        self.colour
    }

    /// One line of text. The caller has escaped what others wrote.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.writer, "{text}")?;
        Ok(self.writer.flush()?)
    }

    /// One object on one line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::refused(error.to_string()))?;
        self.line(&text)
    }

    /// The object for programs, or the text for people.
    pub(super) fn answer(
        &mut self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.is_json() {
            self.json(value)
        } else {
            let text = text();
            if text.is_empty() {
                Ok(())
            } else {
                self.line(&text)
            }
        }
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes)?;
        Ok(self.writer.flush()?)
    }
}

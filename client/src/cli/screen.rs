//! A block of lines at the bottom of the terminal that is drawn again in place. The
//! terminal is in its usual state after every call, so nothing is left to restore.

use std::io::{self, Write as _};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, size,
};

/// Lines that a terminal has when it does not say.
const ROWS_UNKNOWN: u16 = 24;

#[derive(Debug, Default)]
pub(super) struct Screen {
    shown: u16,
}

impl Screen {
    /// Replaces the lines of the last call. What does not fit is left out at the end.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let rows = size().map_or(ROWS_UNKNOWN, |(_, rows)| rows);
        let room = usize::from(rows.saturating_sub(1)).max(2);
        let mut out = io::stdout().lock();
        // A line that is too long is cut by the terminal instead of taking two rows.
        queue!(out, BeginSynchronizedUpdate, DisableLineWrap)?;
        if self.shown > 0 {
            queue!(out, MoveToPreviousLine(self.shown))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        let drawn = fit(lines, room);
        for line in &drawn {
            write!(out, "{line}\r\n")?;
        }
        self.shown = u16::try_from(drawn.len()).unwrap_or(rows);
        queue!(out, EnableLineWrap, EndSynchronizedUpdate)?;
        out.flush()
    }
}

fn fit(lines: &[String], room: usize) -> Vec<String> {
    if lines.len() <= room {
        return lines.to_vec();
    }
    let kept = room - 1;
    let mut fitting = lines[..kept].to_vec();
    fitting.push(format!("... {} more", lines.len() - kept));
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        assert_eq!(fit(&lines, 5), lines);
        assert_eq!(fit(&lines, 3), ["0", "1", "... 3 more"]);
        assert_eq!(fit(&[], 3), Vec::<String>::new());
    }
}

//! Tables in markdown.

use std::fmt;

/// A table with a heading; shown as markdown.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            lines: vec![columns.iter().map(|&c| c.to_owned()).collect()],
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.lines.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n### {}\n", self.title)?;
        for (at, line) in self.lines.iter().enumerate() {
            writeln!(f, "| {} |", line.join(" | "))?;
            if at == 0 {
                writeln!(f, "|{}", "---|".repeat(line.len()))?;
            }
        }
        Ok(())
    }
}

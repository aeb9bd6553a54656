//! Cuts what comes out of a pipe into lines. Pure.

/// What comes with a line besides its payload: a name, brackets, room for spaces. A
/// longer line is thrown away up to its end, told and counted.
pub(crate) const LINE_SLACK_BYTES_MAX: usize = 4 << 10;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// A line that was too long, and is gone.
    TooLong {
        /// How long it was.
        bytes: u64,
    },
}

/// The line that is coming in. Holds at most the bytes of one line.
#[derive(Debug)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    /// Bytes of a line that is too long, so far.
    skipped: u64,
    max: usize,
}

impl Lines {
    /// Lines of at most `max` bytes, their end not counted.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            begun: Vec::new(),
            skipped: 0,
            max,
        }
    }

    /// Takes bytes off `chunk`, up to the end of the next line that is not blank. `None`
    /// once the chunk is used up.
    pub(crate) fn take(&mut self, chunk: &mut &[u8]) -> Option<Line> {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = chunk.split_at(end);
            *chunk = rest.get(1..).unwrap_or_default();
            self.add(head);
            if let Some(line) = self.finish() {
                return Some(line);
            }
        }
        self.add(chunk);
        *chunk = &[];
        None
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn has_begun(&self) -> bool {
        self.skipped > 0 || !self.begun.is_empty()
    }

    /// Ends the line that has begun as if its end had come. `None` if it is blank.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        let (begun, bytes) = (
            std::mem::take(&mut self.begun),
            std::mem::take(&mut self.skipped),
        );
        if bytes > 0 {
            return Some(Line::TooLong { bytes });
        }
        (!begun.trim_ascii().is_empty()).then_some(Line::Whole(begun))
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.skipped == 0 && self.begun.len() + bytes.len() <= self.max {
            self.begun.extend_from_slice(bytes);
            return;
        }
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.skipped += count(self.begun.len()) + count(bytes.len());
        self.begun = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]], max: usize) -> Vec<Line> {
        let mut lines = Lines::new(max);
        let mut found = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(line) = lines.take(&mut rest) {
                found.push(line);
            }
            assert!(rest.is_empty() && lines.begun.len() <= max);
        }
        found.extend(lines.finish());
        assert!(!lines.has_begun());
        found
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_end_at_newlines_and_blank_ones_are_none() {
        let found = cut(&[b"a\n\n  \t\r\nb", b"c\r\nd"], 9);
        assert_eq!(found, [whole("a"), whole("bc\r"), whole("d")]);
        assert_eq!(cut(&[b"", b"\n", b" "], 9), []);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let found = cut(&[b"12345\n1234", b"56\n12", b"345678\nx\n"], 5);
        let long = |bytes| Line::TooLong { bytes };
        assert_eq!(found, [whole("12345"), long(6), long(8), whole("x")]);
        assert_eq!(cut(&[b"123456"], 5), [long(6)]);
    }

    /// As one would do it with all bytes at hand.
    fn plainly(bytes: &[u8], max: usize) -> Vec<Line> {
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| {
            if line.len() > max {
                let bytes = line.len() as u64;
                return Some(Line::TooLong { bytes });
            }
            (!line.trim_ascii().is_empty()).then(|| Line::Whole(line.to_vec()))
        });
        lines.collect()
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => Just(b'\n'), 2 => Just(b' '), 5 => any::<u8>()];
        proptest::collection::vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_lines(
            bytes in bytes(),
            cuts in proptest::collection::vec(0_usize..200, 0..20),
            max in 0_usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| *at <= bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(cut(&chunks, max), plainly(&bytes, max));
        }
    }
}

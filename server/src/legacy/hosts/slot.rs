//! Lines of ours in a file of hosts.

use std::net::IpAddr;

/// The end of each.
pub(super) const MARK: &str = "# muster";

/// Bytes of a new slot, its newline included. Most lines fit.
const SHORT: usize = 64;

/// The longest line has 39 + 1 + 63 bytes and the mark.
const LONG: usize = 128;

/// A line of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its first byte in the file.
    pub(super) at: usize,
    /// Its bytes without the newline.
    pub(super) len: usize,
    pub(super) state: State,
}

/// What a slot shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing, and it holds nothing.
    Free,
    /// Nothing: a comment that still holds a line.
    Hidden,
    /// An address of a role.
    Shown(String, IpAddr),
    /// Something that we never write, or a line that was changed by others.
    Broken,
}

impl Slot {
    /// Whether this line can be put into it.
    pub(super) fn fits(&self, role: &str, ip: IpAddr) -> bool {
        self.state == State::Free && self.len >= content(role, ip).len() + 1 + MARK.len()
    }

    /// The slot as it shows a line, without the newline.
    pub(super) fn filled(&self, role: &str, ip: IpAddr) -> Vec<u8> {
        padded(&content(role, ip), self.len)
    }

    /// The slot as it holds nothing.
    pub(super) fn blank(&self) -> Vec<u8> {
        padded("#", self.len)
    }
}

fn content(role: &str, ip: IpAddr) -> String {
    format!("{ip} {role}")
}

fn padded(content: &str, len: usize) -> Vec<u8> {
    // Without a width of `format!`, which has 16 bits: lines of others may be longer.
    let width = len.saturating_sub(MARK.len()).max(content.len());
    let mut line = content.as_bytes().to_vec();
    line.resize(width, b' ');
    line.extend_from_slice(MARK.as_bytes());
    line
}

/// The slots of a file, in order.
pub(super) fn slots(text: &[u8]) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        slots.extend(slot(at, line));
        at += line.len();
    }
    slots
}

fn slot(at: usize, line: &[u8]) -> Option<Slot> {
    let whole = line.strip_suffix(b"\n");
    let line = whole.unwrap_or(line);
    let trimmed = line.trim_ascii_end();
    let content = trimmed.strip_suffix(MARK.as_bytes())?;
    let content = content.strip_suffix(b" ")?.trim_ascii_end();
    // Somebody changed the ends of lines, or cut the file.
    let is_intact = whole.is_some() && trimmed.len() == line.len();
    let state = match (content, is_intact) {
        (b"#", true) => State::Free,
        ([b'#', ..], true) => State::Hidden,
        // A comment that is of no use any more.
        ([b'#', ..], false) | ([], _) => return None,
        (shown, true) => parse(shown).map_or(State::Broken, |(role, ip)| State::Shown(role, ip)),
        (_, false) => State::Broken,
    };
    let len = line.len();
    Some(Slot { at, len, state })
}

fn parse(content: &[u8]) -> Option<(String, IpAddr)> {
    let (ip, role) = std::str::from_utf8(content).ok()?.split_once(' ')?;
    let ip: IpAddr = ip.parse().ok()?;
    super::is_host_name(role).then(|| (role.to_owned(), ip))
}

/// A block of so many free slots, big enough for each of these lines, to be put at the
/// end of a file.
pub(super) fn block<'a>(
    file: &[u8],
    count: usize,
    lines: impl Iterator<Item = (&'a str, IpAddr)>,
) -> Vec<u8> {
    let longest = lines.map(|(role, ip)| content(role, ip).len()).max();
    let fits = longest.unwrap_or_default() + 1 + MARK.len() < SHORT;
    let len = if fits { SHORT } else { LONG } - 1;
    let mut block = Vec::new();
    if file.last().is_some_and(|last| *last != b'\n') {
        block.push(b'\n');
    }
    block.extend_from_slice(b"# BEGIN muster: roles of the cluster; do not edit\n");
    for _ in 0..count {
        block.extend_from_slice(&padded("#", len));
        block.push(b'\n');
    }
    block.extend_from_slice(b"# END muster\n");
    block
}

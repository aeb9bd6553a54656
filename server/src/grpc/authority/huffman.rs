//! The static Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: sorted by length and then by symbol, each code is the
//! one before it plus one. So the lengths are all that has to be written down.

/// The symbol that never appears in a string; its prefix is the padding.
const EOS: u16 = 256;

/// Lengths of the codes run from `SHORTEST` to `LONGEST` bits.
const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;

/// Bits in the code of each octet, and of EOS last.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const CODE: Code = Code::build();

struct Code {
    /// The code of each symbol, right-aligned.
    codes: [u32; 257],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// For each length: the first code beyond it, left-aligned in 32 bits.
    limits: [u64; LONGEST as usize + 1],
    /// For each length: its first code, right-aligned, and the place of that
    /// code's symbol in `symbols`.
    firsts: [(u32, u16); LONGEST as usize + 1],
}

impl Code {
    const fn build() -> Self {
        let mut built = Self {
            codes: [0; 257],
            symbols: [0; 257],
            limits: [0; LONGEST as usize + 1],
            firsts: [(0, 0); LONGEST as usize + 1],
        };
        let mut next = 0u32;
        let mut place = 0u16;
        let mut length = SHORTEST;
        while length <= LONGEST {
            next <<= 1;
            built.firsts[length as usize] = (next, place);
            let mut symbol = 0;
            while symbol < 257 {
                if LENGTHS[symbol] as u32 == length {
                    built.codes[symbol] = next;
                    built.symbols[place as usize] = symbol as u16;
                    next += 1;
                    place += 1;
                }
                symbol += 1;
            }
            built.limits[length as usize] = (next as u64) << (32 - length);
            length += 1;
        }
        built
    }

    /// The symbol whose code the 32 bits begin with, and its length.
    fn lookup(&self, window: u32) -> (u16, u32) {
        let mut length = SHORTEST;
        while length < LONGEST && u64::from(window) >= self.limits[length as usize] {
            length += 1;
        }
        let (first, place) = self.firsts[length as usize];
        let offset = (window >> (32 - length)) - first;
        (self.symbols[place as usize + offset as usize], length)
    }
}

/// The octets that `source` stands for; `None` if it holds the EOS symbol, ends
/// inside a code, or has more than seven bits of padding or not of ones.
pub(super) fn decode(source: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(source.len() * 8 / SHORTEST as usize);
    let mut octets = source.iter();
    let (mut pending, mut bits) = (0u64, 0u32);
    loop {
        while bits < 32
            && let Some(&octet) = octets.next()
        {
            pending = pending << 8 | u64::from(octet);
            bits += 8;
        }
        if bits == 0 {
            break;
        }
        // Missing bits are filled with ones, so that padding looks like EOS.
        let window = match bits.checked_sub(32) {
            Some(spare) => (pending >> spare) as u32,
            None => (pending << (32 - bits)) as u32 | low_ones(32 - bits),
        };
        let (symbol, length) = CODE.lookup(window);
        if length > bits {
            break;
        }
        if symbol == EOS {
            return None;
        }
        decoded.push(symbol as u8);
        bits -= length;
        pending &= (1 << bits) - 1;
    }
    (bits < 8 && pending == u64::from(low_ones(bits))).then_some(decoded)
}

/// Appends the code of `source`, padded with ones to whole octets.
pub(super) fn encode(source: &[u8], out: &mut Vec<u8>) {
    let (mut pending, mut bits) = (0u64, 0u32);
    for &octet in source {
        let length = u32::from(LENGTHS[usize::from(octet)]);
        pending = pending << length | u64::from(CODE.codes[usize::from(octet)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((pending >> bits) as u8);
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push((pending << (8 - bits)) as u8 | low_ones(8 - bits) as u8);
    }
}

/// The number whose lowest `bits` bits, fewer than 32, are ones.
fn low_ones(bits: u32) -> u32 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect()
    }

    #[test]
    fn speaks_the_examples_of_the_rfc() {
        // RFC 7541, appendix C.4 and C.6.
        let examples = [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
                "https://www.example.com",
            ),
        ];
        for (code, text) in examples {
            assert_eq!(decode(&hex(code)).as_deref(), Some(text.as_bytes()));
            let mut encoded = Vec::new();
            encode(text.as_bytes(), &mut encoded);
            assert_eq!(encoded, hex(code));
        }
    }

    #[test]
    fn carries_every_octet() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for length in 0..all.len() {
            let mut encoded = Vec::new();
            encode(&all[length..], &mut encoded);
            assert_eq!(decode(&encoded).as_deref(), Some(&all[length..]));
        }
    }

    #[test]
    fn refuses_what_the_rfc_refuses() {
        assert_eq!(decode(&[]).as_deref(), Some(&[][..]));
        assert_eq!(decode(&hex("ff")), None, "eight bits of padding");
        assert_eq!(decode(&hex("ffff ffff")), None, "EOS");
        assert_eq!(decode(&hex("1c")), None, "padding of zeros");
        assert_eq!(decode(&hex("f1e3 c2fe")), None, "ends inside a code");
    }
}

use super::*;

/// Literals that go into the table, into none, and into none ever.
const KINDS: [(u8, u32); 3] = [(0x40, 6), (0x00, 4), (0x10, 4)];

fn out() -> Output<'static> {
    Output::new(&[])
}

/// `:authority` with the value, by the static index.
fn authority(flags: u8, value: &[u8], huffman: bool) -> Vec<u8> {
    let mut out = out();
    out.rewritten.push(flags | AUTHORITY as u8);
    out.string(value, huffman);
    out.rewritten
}

/// A field that goes into the table, its name spelled out.
fn indexed(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = out();
    out.rewritten.push(0x40);
    out.string(name, false);
    out.string(value, true);
    out.rewritten
}

fn reference(index: usize) -> Vec<u8> {
    let mut out = out();
    out.integer(0x80, 7, index);
    out.rewritten
}

fn resize(size: usize) -> Vec<u8> {
    let mut out = out();
    out.integer(0x20, 5, size);
    out.rewritten
}

#[test]
fn illegal_octets_are_replaced_one_by_one() {
    for (is, becomes) in [
        ("tmp%2Fx.sock", "tmp-2Fx.sock"),
        ("/tmp/x.sock", "-tmp-x.sock"),
        ("host:80/x", "host:80-x"),
        ("[::1", "---1"),
        ("a:b:c", "a-b-c"),
        ("\u{e4}.sock", "--.sock"),
        ("\0", "-"),
    ] {
        for huffman in [false, true] {
            for (flags, _) in KINDS {
                let block = authority(flags, is.as_bytes(), huffman);
                let wanted = authority(flags, becomes.as_bytes(), huffman);
                assert_eq!(
                    Corrector::default().correct(&block),
                    Ok(Some(wanted)),
                    "{is}"
                );
            }
        }
    }
}

#[test]
fn legal_values_stay() {
    for legal in [
        "localhost",
        "example.com:80",
        "[::1]:80",
        "user@host",
        "a~b_c.d-e",
    ] {
        for (flags, _) in KINDS {
            let block = authority(flags, legal.as_bytes(), true);
            assert_eq!(Corrector::default().correct(&block), Ok(None), "{legal}");
        }
    }
}

#[test]
fn a_name_that_is_spelled_out_is_known() {
    for huffman in [false, true] {
        let mut out = out();
        out.rewritten.push(0);
        out.string(b":authority", huffman);
        let mut wanted = out.rewritten.clone();
        out.string(b"/", false);
        wanted.extend_from_slice(b"\x01-");
        assert_eq!(
            Corrector::default().correct(&out.rewritten),
            Ok(Some(wanted))
        );
    }
}

#[test]
fn a_name_from_the_table_is_known() {
    let mut corrector = Corrector::default();
    let first = authority(0x40, b"host", false);
    assert_eq!(corrector.correct(&first), Ok(None));
    // Name by dynamic index 62, not into the table.
    let block = [b"\x0f\x2f".as_slice(), b"\x01/"].concat();
    let wanted = [b"\x0f\x2f".as_slice(), b"\x01-"].concat();
    assert_eq!(corrector.correct(&block), Ok(Some(wanted)));
}

#[test]
fn what_was_replaced_once_passes_by_reference() {
    let mut corrector = Corrector::default();
    assert!(
        corrector
            .correct(&authority(0x40, b"/tmp/x", true))
            .unwrap()
            .is_some()
    );
    assert_eq!(corrector.correct(&reference(62)), Ok(None));
    assert!(!corrector.is_detached());
}

#[test]
fn the_rest_of_the_block_is_untouched() {
    let (before, after) = (indexed(b"a", b"1"), indexed(b"b", b"2"));
    let block = [before.clone(), authority(0x40, b"/x", false), after.clone()].concat();
    let wanted = [before, authority(0x40, b"-x", false), after].concat();
    assert_eq!(Corrector::default().correct(&block), Ok(Some(wanted)));
}

#[test]
fn an_empty_value_outside_of_the_table_is_simply_replaced() {
    let wanted = authority(0, LOCALHOST, false);
    for block in [
        reference(AUTHORITY),
        authority(0, b"", false),
        authority(0x10, b"", true),
    ] {
        let mut corrector = Corrector::default();
        assert_eq!(corrector.correct(&block), Ok(Some(wanted.clone())));
        assert!(!corrector.is_detached());
    }
}

#[test]
fn an_empty_value_in_the_table_detaches() {
    let mut corrector = Corrector::default();
    assert_eq!(corrector.correct(&indexed(b"a", b"1")), Ok(None));
    let block = [authority(0x40, b"", false), indexed(b"b", b"2")].concat();
    let mut wanted = out();
    wanted.literal(&Name::Static(AUTHORITY), LOCALHOST);
    wanted.rewritten.push(0);
    wanted.string(b"b", false);
    wanted.string(b"2", true);
    assert_eq!(corrector.correct(&block), Ok(Some(wanted.rewritten)));
    assert!(corrector.is_detached());

    // From here on every reference is spelled out; static ones stay.
    let block = [reference(64), reference(63), reference(62), reference(3)].concat();
    let mut wanted = out();
    wanted.literal(&Name::Literal(b"a"[..].into()), b"1");
    wanted.literal(&Name::Static(AUTHORITY), LOCALHOST);
    wanted.literal(&Name::Literal(b"b"[..].into()), b"2");
    wanted.rewritten.push(0x83);
    assert_eq!(corrector.correct(&block), Ok(Some(wanted.rewritten)));

    // Resizing is between the client and us now.
    assert_eq!(corrector.correct(&resize(0)), Ok(Some(Vec::new())));
    assert_eq!(corrector.correct(&reference(62)), Err(Malformed));
    let block = [authority(0x40, b"/x", false), authority(0, b"host", false)].concat();
    let wanted = [authority(0, b"-x", false), authority(0, b"host", false)].concat();
    assert_eq!(corrector.correct(&block), Ok(Some(wanted)));
}

#[test]
fn a_detached_block_does_not_grow_without_bound() {
    let mut corrector = Corrector::default();
    let large = indexed(b"a", &[b'x'; 3000]);
    corrector
        .correct(&[authority(0x40, b"", false), large].concat())
        .unwrap();
    let within = DETACHED_LIMIT / 3010;
    assert!(corrector.correct(&reference(62).repeat(within)).is_ok());
    assert_eq!(
        corrector.correct(&reference(62).repeat(within + 2)),
        Err(Malformed)
    );
}

#[test]
fn broken_blocks_are_told_apart() {
    let broken: [&[u8]; 14] = [
        b"\x80",                 // index zero
        b"\xbe",                 // entry 62 of an empty table
        b"\xff",                 // integer without end
        b"\xff\xff\xff\xff\xff", // integer beyond five octets
        b"\x41",                 // no value
        b"\x41\x05host",         // value too short
        b"\x41\x81\x00",         // Huffman code cut off
        b"\x40\x81\x00\x00",     // the same in a name
        b"\x7f\x00\x00",         // name of entry 63 of an empty table
        b"\x00",                 // no name
        b"\x3f\xe2\x1f",         // table of 4,097 octets
        b"\x82\x20",             // resizing after a field
        b"\x41\x84\xff\xff\xff\xff",
        POISON,
    ];
    for block in broken {
        assert_eq!(
            Corrector::default().correct(block),
            Err(Malformed),
            "{block:x?}"
        );
    }
    assert_eq!(Corrector::default().correct(b""), Ok(None));
    assert_eq!(
        Corrector::default().correct(b"\x3f\xe1\x1f\x20\x82"),
        Ok(None)
    );
}

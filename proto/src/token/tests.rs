use super::*;

fn token() -> Token {
    Token {
        cluster: "demo".into(),
        key: KeyBytes::new(Zeroizing::new((0..32).collect())).unwrap(),
        seeds: vec!["10.0.0.1:7946".into(), "seed.example.org".into()],
    }
}

#[test]
fn the_checksum_is_crc32() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_token_survives_the_round_trip() {
    for (bytes, seeds) in [(16u8, 0usize), (24, 1), (32, 64)] {
        let token = Token {
            cluster: "prod".into(),
            key: KeyBytes::new(Zeroizing::new((0..bytes).collect())).unwrap(),
            seeds: (0..seeds).map(|n| format!("10.0.0.{n}:7946")).collect(),
        };
        let line = token.encode().unwrap();
        assert!(line.starts_with(TOKEN_PREFIX));
        assert!(line.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(Token::decode(&line).unwrap(), token);
    }
}

#[test]
fn the_format_stays_what_it_is() {
    // Made with Python's zlib and base64, not with the code under test.
    let line = token().encode().unwrap();
    assert_eq!(
        line.as_str(),
        "muster1_CgRkZW1vEiAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHxoNMTAuMC4wLjE6Nzk0NhoQc2VlZC5leGFtcGxlLm9yZ29GqBA"
    );
}

#[test]
fn spaces_and_line_breaks_of_a_terminal_do_not_matter() {
    let line = token().encode().unwrap();
    let (left, right) = line.split_at(40);
    assert_eq!(
        Token::decode(&format!("  {left}\r\n  {right}\n\n")).unwrap(),
        token()
    );
}

#[test]
fn every_cut_and_every_changed_character_is_noticed() {
    let line = token().encode().unwrap();
    for end in 0..line.len() {
        assert!(Token::decode(&line[..end]).is_err(), "cut at {end}");
    }
    for at in TOKEN_PREFIX.len()..line.len() {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Token::decode(&changed).is_err(), "changed at {at}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let text = |input: &str| Token::decode(input).unwrap_err().to_string();
    assert_eq!(text(" \n"), "the token is empty; `muster token` prints one");
    assert!(text("AAAA").starts_with("a token starts with muster1_"));
    assert!(text("muster2_AAAA").contains("newer format (muster2)"));
    assert!(text("muster1_AAAA").contains("damaged"));
    assert!(text(&"x".repeat(TOKEN_BYTES_MAX + 1)).contains("at most 32768"));
}

#[test]
fn what_is_not_usable_is_neither_written_nor_read() {
    let no_cluster = Token {
        cluster: String::new(),
        ..token()
    };
    assert!(matches!(no_cluster.encode(), Err(TokenError::Content(_))));
    let too_many = Token {
        seeds: vec!["a".into(); TOKEN_SEEDS_MAX + 1],
        ..token()
    };
    assert!(matches!(too_many.encode(), Err(TokenError::Content(_))));
    let control = Token {
        seeds: vec!["a\u{1b}[31m".into()],
        ..token()
    };
    let text = control.encode().unwrap_err().to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let short_key = Wire {
        cluster: "demo".into(),
        key: vec![1; 5],
        seeds: vec![],
    };
    let mut body = short_key.encode_to_vec();
    body.extend_from_slice(&crc32(&body).to_be_bytes());
    let line = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(&body));
    assert!(matches!(Token::decode(&line), Err(TokenError::Content(_))));
}

#[test]
fn debug_never_shows_the_key() {
    let shown = format!("{:?}", token());
    assert!(shown.contains("redacted"), "{shown}");
    assert!(!shown.contains("31"), "{shown}");
}

#[test]
fn keys_are_read_as_serf_prints_them() {
    let key = KeyBytes::new(Zeroizing::new(vec![7; 32])).unwrap();
    let text = key.to_text();
    assert_eq!(text.len(), 44);
    assert_eq!(KeyBytes::parse(&format!(" {}\n", *text)).unwrap(), key);
    assert_eq!(KeyBytes::parse(text.trim_end_matches('=')).unwrap(), key);
    assert_eq!(
        KeyBytes::parse("cg8StVXbQJ0gPvMd9o7yrg==")
            .unwrap()
            .as_bytes()
            .len(),
        16
    );
}

#[test]
fn a_bad_key_is_told_without_repeating_it() {
    let text = |input: &str| KeyBytes::parse(input).unwrap_err().to_string();
    assert!(text("").contains("muster keygen"));
    assert!(text("muster1_abc").contains("--token-file"));
    assert_eq!(
        text("AAAA"),
        "the key has 3 bytes; 16, 24 or 32 are allowed"
    );
    let secret = text("s3cret!!passphrase");
    assert!(secret.contains("character 7"), "{secret}");
    assert!(
        !secret.contains("s3cret") && !secret.contains("33"),
        "{secret}"
    );
    assert!(text(&"A".repeat(4096)).contains("16, 24 or 32"));
}

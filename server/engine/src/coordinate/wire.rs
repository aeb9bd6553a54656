//! A coordinate as it travels: a version, then one varint for each number. On a local
//! network that is about 25 bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::place::{Coordinate, DIMENSIONS};

/// Version of the form; others are not read.
const VERSION: u8 = 1;

/// Lengths are told in these: 100 nanoseconds.
const UNIT: f64 = 1.0e-7;

/// Errors are told in these.
const ERROR_UNIT: f64 = 1.0e-4;

/// Longest form of one number: what does not fit is none.
const VARINT_BYTES_MAX: usize = 5;

/// The bytes of a valid coordinate.
pub(crate) fn encode(place: &Coordinate) -> Bytes {
    let mut bytes = BytesMut::with_capacity(32);
    bytes.put_u8(VERSION);
    put(&mut bytes, place.error / ERROR_UNIT);
    put(&mut bytes, place.adjustment / UNIT);
    put(&mut bytes, place.height / UNIT);
    for component in place.vec {
        put(&mut bytes, component / UNIT);
    }
    bytes.freeze()
}

/// The coordinate that bytes tell of, if they tell of a valid one.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Coordinate> {
    if bytes.is_empty() || bytes.get_u8() != VERSION {
        return None;
    }
    let error = get(&mut bytes)? * ERROR_UNIT;
    let adjustment = get(&mut bytes)? * UNIT;
    let height = get(&mut bytes)? * UNIT;
    let mut vec = [0.0; DIMENSIONS];
    for component in &mut vec {
        *component = get(&mut bytes)? * UNIT;
    }
    let place = Coordinate {
        vec,
        error,
        adjustment,
        height,
    };
    (bytes.is_empty() && place.is_valid()).then_some(place)
}

/// Zigzag varint of a rounded number; `as` keeps to the bounds of `i32`, and makes
/// zero of what is no number.
fn put(bytes: &mut BytesMut, value: f64) {
    let whole = value.round() as i32;
    let mut rest = (whole.cast_unsigned() << 1) ^ (whole >> 31).cast_unsigned();
    while rest >= 0x80 {
        bytes.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
}

fn get(bytes: &mut &[u8]) -> Option<f64> {
    let mut value: u64 = 0;
    for n in 0..VARINT_BYTES_MAX {
        if bytes.is_empty() {
            return None;
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            let folded = u32::try_from(value).ok()?;
            let whole = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
            return Some(f64::from(whole));
        }
    }
    None
}

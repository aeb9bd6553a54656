//! Datagrams in and out.
//!
//! A datagram that leaves anyway carries along whatever waits to be spread. One
//! that comes in is taken apart in an order that lets nothing be applied before
//! the record that says who is meant: what lacks a record is parked and asked for.

mod parked;
pub(super) mod receiving;
mod sending;
mod told;

use bytes::{Bytes, BytesMut};

use crate::ident::{IDENT_BYTES, Ident};

pub(super) use parked::Parked;
pub(super) use receiving::Came;
pub(super) use sending::Extra;

/// The identity's 16 bytes.
pub(crate) fn ident_bytes(ident: Ident) -> Bytes {
    let mut bytes = BytesMut::with_capacity(IDENT_BYTES);
    ident.put(&mut bytes);
    bytes.freeze()
}

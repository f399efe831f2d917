//! Fields of messages in protobuf (<https://protobuf.dev/programming-guides/encoding/>).

/// Kinds of fields on the wire.
const VARINT: u64 = 0;
const FIXED: u64 = 1;
const BYTES: u64 = 2;

pub(super) fn message(field: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut inside = Vec::new();
    fill(&mut inside);
    let mut out = Vec::with_capacity(inside.len() + 6);
    bytes(&mut out, field, &inside);
    out
}

pub(super) fn text(out: &mut Vec<u8>, field: u64, text: &str) {
    bytes(out, field, text.as_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn number(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, number);
}

pub(super) fn fixed(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3 | FIXED);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Seven bits at a time, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Several of [`fixed`] as one field.
pub(super) fn packed(out: &mut Vec<u8>, field: u64, numbers: impl Iterator<Item = u64>) {
    let inside: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    bytes(out, field, &inside);
}

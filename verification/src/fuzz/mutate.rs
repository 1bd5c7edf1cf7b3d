//! Inputs made of other inputs.

use fastrand::Rng;

/// No input grows beyond this.
pub const INPUT_MAX_BYTES: usize = 64 << 10;

/// Bytes on which readers go wrong: ends of ranges, signs, what separates and what ends.
const ODD_BYTES: [u8; 16] = *b"\x00\x01\x7f\x80\xff\n\r\t /%&=;<\"";
/// Lengths on which readers go wrong, as they stand in messages.
const ODD_LENGTHS: [&[u8]; 6] = [
    &[0xff; 4],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0xff; 8],
    // Variable-length numbers: the greatest of 32 and of 64 bits.
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// One of the seeds, with one to four changes.
pub fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=4) {
        change(&mut input, seeds, rng);
    }
    input.truncate(INPUT_MAX_BYTES);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let range = at..rng.usize(at..=input.len().min(at + 32));
    match rng.u8(0..8) {
        0 => flip(input, at, 1 << rng.u8(0..8)),
        1 => flip(input, at, rng.u8(..)),
        2 => input.truncate(at),
        3 => drop(input.drain(range)),
        4 => put(input, at, rng.choice(&ODD_BYTES).map_or(&[], std::slice::from_ref)),
        5 => put(input, at, rng.choice(ODD_LENGTHS).unwrap_or_default()),
        6 => {
            // The same once more, as often as may be.
            let piece = input[range].repeat(rng.usize(1..=64));
            put(input, at, &piece);
        }
        _ => {
            let other = rng.choice(seeds).map_or(&[][..], Vec::as_slice);
            let from = rng.usize(..=other.len());
            let until = rng.usize(from..=other.len());
            put(input, at, &other[from..until]);
        }
    }
}

fn flip(input: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= bits;
    }
}

/// In between, or over what is there.
fn put(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let over = if piece.len().is_multiple_of(2) { piece.len() } else { 0 };
    let end = (at + over).min(input.len());
    input.splice(at..end, piece.iter().copied());
}

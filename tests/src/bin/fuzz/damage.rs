//! Random changes of a file's bytes.

use kymhost::dataset::gunzip;
use kymhost_tests::fixture::gzip;

/// Numbers that break what is not checked.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "1e308",
    "-1e999",
    "NaN",
    "null",
];

/// Pieces that mean something to one of the formats.
const PIECES: [&str; 18] = [
    "{}",
    "[]",
    "{\"\":0},",
    "[[],[]],",
    "\"",
    "\\u0000",
    "\\ud800",
    ",",
    "\n",
    "\r",
    "\u{1b}[31m",
    "\u{202e}",
    "../",
    "//",
    "\u{feff}",
    "PAR1",
    "NaN",
    "\0",
];

/// The bytes with one to four changes; a packed text is mostly unpacked before and packed again.
pub(crate) fn damaged(random: &mut fastrand::Rng, name: &str, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    if name.ends_with(".gz")
        && random.u8(..4) > 0
        && let Ok(text) = gunzip(bytes, 16 << 20)
    {
        return gzip(&changed(random, text, others));
    }
    changed(random, bytes.to_vec(), others)
}

fn changed(random: &mut fastrand::Rng, mut bytes: Vec<u8>, others: &[Vec<u8>]) -> Vec<u8> {
    for _ in 0..random.usize(1..=4) {
        change(random, &mut bytes, others);
    }
    bytes
}

fn change(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.extend_from_slice(PIECES[random.usize(..PIECES.len())].as_bytes());
        return;
    }
    let at = random.usize(..bytes.len());
    let length = random.usize(..=(bytes.len() - at).min(64));
    match random.u8(..12) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let piece = bytes[at..at + length].to_vec();
            let place = random.usize(..=bytes.len());
            bytes.splice(place..place, piece);
        }
        5 => {
            let piece = PIECES[random.usize(..PIECES.len())].as_bytes();
            bytes.splice(at..at, piece.iter().copied());
        }
        // The same piece many times: what is short for what it makes.
        6 => {
            let piece = PIECES[random.usize(..PIECES.len())].as_bytes().repeat(1 << random.u8(..18));
            bytes.splice(at..at, piece);
        }
        7 | 8 => replace_number(random, bytes, at),
        9 if at + 8 <= bytes.len() => {
            let value = [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 40, 1 << 62][random.usize(..7)];
            let width = [1, 2, 4, 8][random.usize(..4)];
            let packed = if random.bool() { value.to_le_bytes() } else { value.to_be_bytes() };
            bytes[at..at + width].copy_from_slice(&packed[..width]);
        }
        10 if !others.is_empty() => {
            let other = &others[random.usize(..others.len())];
            let from = random.usize(..=other.len());
            let piece = other[from..other.len().min(from + 256)].to_vec();
            bytes.splice(at..at + length, piece);
        }
        _ => {
            let random_bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            bytes[at..at + length].copy_from_slice(&random_bytes);
        }
    }
}

/// Puts an extreme number in the place of the next number in a text.
fn replace_number(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, at: usize) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|ahead| at + ahead) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.usize(..NUMBERS.len())].as_bytes();
    bytes.splice(start..start + length, number.iter().copied());
}

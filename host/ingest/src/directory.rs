//! The directories of a TIFF, read before it is decoded.
//!
//! The `tiff` crate and libtiff differ in a few tags; here the file is read as libtiff understands it. If a directory
//! cannot be read, the decoder reports why.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

/// Compressions that libtiff knows predictors of: LZW, Deflate (both numbers), LZMA and Zstandard. Any other ignores
/// the tag.
const PREDICTED: [u64; 5] = [5, 8, 32946, 34925, 50000];
const NEW_SUBFILE_TYPE: u64 = 254;
const SUBFILE_TYPE: u64 = 255;
const COMPRESSION: u64 = 259;
const FILL_ORDER: u64 = 266;
const PREDICTOR: u64 = 317;
const SAMPLE_FORMAT: u64 = 339;
/// `NewSubfileType`: the page shows another one in fewer pixels, or which of another's pixels count.
const REDUCED_OR_MASK: u64 = 0b101;
/// `SampleFormat`: the type of the numbers is unknown. libtiff takes them as unsigned.
const UNDEFINED: u64 = 4;
/// The most entries of a directory that are read.
const MAX_ENTRIES: u64 = 1 << 12;

/// What is known of a page from its directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directory {
    /// It is a smaller picture of another page, or a mask.
    pub is_reduced: bool,
    /// The lowest bit of each byte comes first.
    pub bits_reversed: bool,
    /// It names a predictor that its compression does not have.
    pub predictor_ignored: bool,
}

/// Bytes that are read instead of those in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patches(Vec<(u64, Vec<u8>)>);

/// Looks at up to `limit` directories, as far as they can be read.
pub fn scan(file: &mut (impl Read + Seek), limit: usize) -> (Vec<Directory>, Patches) {
    let (mut found, mut patches) = (Vec::new(), Patches::default());
    // What cannot be read ends the look; the decoder finds the same and says so.
    let _ = Scan { file, found: &mut found, patches: &mut patches }.all(limit);
    patches.0.sort_unstable();
    (found, patches)
}

struct Scan<'a, F> {
    file: &'a mut F,
    found: &'a mut Vec<Directory>,
    patches: &'a mut Patches,
}

#[derive(Clone, Copy)]
struct WordForm {
    big_endian: bool,
    /// Bytes of an offset.
    word: usize,
}

impl WordForm {
    fn number(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    fn bytes(self, value: u64, count: usize) -> Vec<u8> {
        let little = value.to_le_bytes();
        let mut bytes: Vec<u8> = little.iter().take(count).copied().collect();
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }
}

/// A tag with one number.
#[derive(Clone, Copy)]
struct Value {
    at: u64,
    size: usize,
    number: u64,
}

impl<F: Read + Seek> Scan<'_, F> {
    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.file.read_exact(&mut bytes).map(|()| bytes)
    }

    fn all(&mut self, limit: usize) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let head = self.take(4)?;
        let big_endian = head.starts_with(b"MM");
        let mut form = WordForm { big_endian, word: 4 };
        if form.number(head.get(2..).unwrap_or_default()) == 43 {
            form.word = 8;
            self.take(4)?;
        }
        let mut next = form.number(&self.take(form.word)?);
        let mut seen = HashSet::new();
        while next != 0 && seen.insert(next) && self.found.len() < limit {
            self.file.seek(SeekFrom::Start(next))?;
            let count = form.number(&self.take(if form.word == 8 { 8 } else { 2 })?);
            let entries = next + if form.word == 8 { 8 } else { 2 };
            // A count, or a value, is as long as an offset.
            let length = 4 + 2 * form.word;
            let (mut values, mut at) = (Vec::new(), entries);
            for _ in 0..count.min(MAX_ENTRIES) {
                let entry = self.take(length)?;
                values.extend(value(form, &entry, at));
                at += length as u64;
            }
            self.page(form, &values);
            let link = count.checked_mul(length as u64).and_then(|bytes| entries.checked_add(bytes));
            self.file.seek(SeekFrom::Start(link.ok_or(io::ErrorKind::InvalidData)?))?;
            next = form.number(&self.take(form.word)?);
        }
        Ok(())
    }

    fn page(&mut self, form: WordForm, values: &[(u64, Value)]) {
        let value = |tag: u64| values.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
        let number = |tag: u64| value(tag).map(|value| value.number);
        let mut read_as_one = |value: Value| self.patches.0.push((value.at, form.bytes(1, value.size)));
        let mut page = Directory {
            is_reduced: number(NEW_SUBFILE_TYPE).is_some_and(|kind| kind & REDUCED_OR_MASK != 0)
                || number(SUBFILE_TYPE) == Some(2),
            bits_reversed: number(FILL_ORDER) == Some(2),
            predictor_ignored: false,
        };
        if let Some(predictor) = value(PREDICTOR)
            && predictor.number != 1
            && !number(COMPRESSION).is_some_and(|kind| PREDICTED.contains(&kind))
        {
            page.predictor_ignored = true;
            read_as_one(predictor);
        }
        if let Some(format) = value(SAMPLE_FORMAT).filter(|format| format.number == UNDEFINED) {
            read_as_one(format);
        }
        self.found.push(page);
    }
}

/// The tag of an entry and its value, if that is one unsigned number.
fn value(form: WordForm, entry: &[u8], at: u64) -> Option<(u64, Value)> {
    let size = match form.number(entry.get(2..4)?) {
        1 => 1,
        3 => 2,
        4 => 4,
        16 if form.word == 8 => 8,
        _ => return None,
    };
    let place = 4 + form.word;
    (form.number(entry.get(4..place)?) == 1).then_some(())?;
    let number = form.number(entry.get(place..place + size)?);
    Some((form.number(entry.get(..2)?), Value { at: at + place as u64, size, number }))
}

/// A file with other bytes in some places.
#[derive(Debug)]
pub struct Patched<'a, F> {
    file: F,
    at: u64,
    patches: &'a Patches,
}

impl<'a, F: Seek> Patched<'a, F> {
    /// From the file's beginning.
    ///
    /// # Errors
    /// If it cannot be set to that.
    pub fn new(mut file: F, patches: &'a Patches) -> io::Result<Self> {
        let at = file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, at, patches })
    }
}

impl<F: Read> Read for Patched<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let (begin, end) = (self.at, self.at + count as u64);
        self.at = end;
        // Patches do not overlap, and none is longer than 8 bytes.
        let first = self.patches.0.partition_point(|(at, bytes)| at + bytes.len() as u64 <= begin);
        for (at, bytes) in self.patches.0.iter().skip(first).take_while(|(at, _)| *at < end) {
            for (place, byte) in (*at..).zip(bytes) {
                let place = place.checked_sub(begin).and_then(|place| usize::try_from(place).ok());
                if let Some(there) = place.and_then(|place| buffer.get_mut(..count)?.get_mut(place)) {
                    *there = *byte;
                }
            }
        }
        Ok(count)
    }
}

impl<F: Seek> Seek for Patched<'_, F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn patched_bytes_are_read_in_place() {
        let patches = Patches(vec![(2, vec![9, 9]), (7, vec![8])]);
        let file: Vec<u8> = (0..10).collect();
        for step in 1..11 {
            let mut patched = Patched::new(Cursor::new(&file), &patches).unwrap();
            let mut read = Vec::new();
            let mut buffer = vec![0; step];
            while let count @ 1.. = patched.read(&mut buffer).unwrap() {
                read.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(read, [0, 1, 9, 9, 4, 5, 6, 8, 8, 9], "steps of {step}");
            patched.seek(SeekFrom::Start(3)).unwrap();
            let mut two = [0; 2];
            patched.read_exact(&mut two).unwrap();
            assert_eq!(two, [9, 4]);
        }
    }

    proptest! {
        #[test]
        fn directory_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
            let head: &[u8] = if big { b"MM\0\x2b\0\x08\0\0\0\0\0\0\0\0\0\x10" } else { b"II\x2a\0\x08\0\0\0" };
            let (found, _) = scan(&mut Cursor::new([head, &bytes].concat()), 100);
            prop_assert!(found.len() <= 100);
        }
    }
}

//! TIFF files: pages of gray pixels into one array, and an array into pages.
//!
//! The `tiff` crate decodes the file as [`crate::directory`] presents it. Before anything is allocated, the sizes
//! that the file claims are compared with what its bytes could hold at the best possible compression. A panic of the
//! crate is an error.

use crate::directory::{self, Patched};
use crate::error::{FileError, FileErrorKind};
use kymhost_dataset::default_axes;
use kymhost_dataset::limits::MAX_ARRAY_BYTES;
use kymhost_plugin_api::array::{Array, DType};
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingSampleType, Limits};
use tiff::encoder::{TiffEncoder, TiffKindBig, TiffKindStandard, TiffValue, colortype};
use tiff::tags::Tag;

/// The most pages of a file.
const MAX_PAGES: usize = 1 << 16;
/// Files of up to this many bytes are read at once; larger ones piece by piece.
const IN_MEMORY: u64 = 1 << 30;
/// The most bytes that one strip or tile takes while it is unpacked.
const MAX_INTERMEDIATE: usize = 1 << 30;

/// Memory for decoded pixels that several threads share: who wants more waits until others are done.
#[derive(Debug)]
pub struct Budget {
    whole: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    /// This many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { whole: bytes, free: Mutex::new(bytes), freed: Condvar::new() }
    }

    /// Waits for this many bytes. A request for more than the whole budget waits until all of it is free.
    pub fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.whole);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Share { budget: self, bytes }
    }
}

/// A part of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    width: u32,
    height: u32,
    dtype: DType,
    /// How many times more bytes its compression may unpack to.
    expansion: u64,
    /// Kept with 0 as white. The decoder inverts that; kymflow sees the numbers as stored.
    inverted: bool,
}

impl Page {
    fn bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * self.dtype.size() as u64
    }

    fn same_shape(&self, other: &Self) -> bool {
        (self.width, self.height, self.dtype) == (other.width, other.height, other.dtype)
    }
}

fn broken(why: impl std::fmt::Display) -> FileError {
    FileError::new(FileErrorKind::Broken, format!("it cannot be read as a TIFF: {why}"))
}

fn decoder_error(error: tiff::TiffError) -> FileError {
    use tiff::TiffError;
    match error {
        TiffError::UnsupportedError(error) => FileError::new(FileErrorKind::Unsupported, error.to_string()),
        TiffError::LimitsExceeded => FileError::new(
            FileErrorKind::TooLarge,
            "a strip, tile or list in it is larger than kymhost takes".to_owned(),
        ),
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            broken("it ends before its pixels do")
        }
        other => broken(other),
    }
}

/// What a file held.
#[derive(Debug)]
pub struct DecodedTiff<'a> {
    /// Axes `y x`, or `z y x` if it has several pages.
    pub pixels: Array,
    /// Notes for people: what was skipped.
    pub notes: Vec<String>,
    /// What it takes of the budget, until it is dropped.
    pub share: Share<'a>,
}

/// Reads a file of `length` bytes.
pub fn read<'a>(mut file: impl Read + Seek, length: u64, budget: &'a Budget) -> Result<DecodedTiff<'a>, FileError> {
    let work = || {
        if length <= IN_MEMORY {
            let mut bytes = Vec::new();
            let expected = usize::try_from(length).map_err(broken)?;
            bytes.try_reserve_exact(expected.saturating_add(1)).map_err(broken)?;
            file.by_ref().take(length).read_to_end(&mut bytes).map_err(broken)?;
            decode(&mut || Ok(Cursor::new(bytes.as_slice())), length, budget)
        } else {
            let file = Mutex::new(file);
            decode(
                &mut || {
                    let mut file = Shared(&file);
                    file.seek(SeekFrom::Start(0)).map_err(broken)?;
                    Ok(BufReader::with_capacity(1 << 16, file))
                },
                length,
                budget,
            )
        }
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(broken("the decoder panicked")))
}

/// A file that is read from its beginning more than once.
struct Shared<'a, F>(&'a Mutex<F>);

impl<F: Read> Read for Shared<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl<F: Seek> Seek for Shared<'_, F> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seek(to)
    }
}

fn decode<'a, R: Read + Seek>(
    open: &mut dyn FnMut() -> Result<R, FileError>,
    length: u64,
    budget: &'a Budget,
) -> Result<DecodedTiff<'a>, FileError> {
    let (directories, patches) = directory::scan(&mut open()?, MAX_PAGES + 1);
    let start = |reader: R| -> Result<Decoder<Patched<'_, R>>, FileError> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = usize::try_from(MAX_ARRAY_BYTES).unwrap_or(usize::MAX);
        limits.intermediate_buffer_size = MAX_INTERMEDIATE;
        // A list of offsets cannot be longer than the file.
        limits.ifd_value_size = usize::try_from(length).unwrap_or(usize::MAX).clamp(1 << 20, 1 << 28);
        let reader = Patched::new(reader, &patches).map_err(broken)?;
        Ok(Decoder::new(reader).map_err(decoder_error)?.with_limits(limits))
    };
    // If every page claims to be a smaller picture of another, all of them are used.
    let all_reduced = directories.iter().all(|page| page.is_reduced);
    let about = |number: usize| directories.get(number).copied().unwrap_or_default();
    let is_kept = |number: usize| all_reduced || !about(number).is_reduced;
    let mut decoder = start(open()?)?;
    let (mut first, mut pages, mut passed, mut expansion) = (None::<(usize, Page)>, 0usize, 0usize, 1u64);
    for number in 0.. {
        if number >= MAX_PAGES {
            return Err(FileError::new(FileErrorKind::TooLarge, format!("it has more than {MAX_PAGES} pages")));
        }
        if number > 0 {
            match decoder.next_image() {
                // Errors in a skipped page do not matter, as long as it leads to the next.
                Err(error) if is_kept(number) || number >= directories.len() => {
                    return Err(named(number, decoder_error(error)));
                }
                _ => {}
            }
        }
        if is_kept(number) {
            let told = |error| if number > 0 { named(number, error) } else { error };
            if about(number).bits_reversed {
                let why = "the bits of its bytes are in reverse order (FillOrder 2)";
                return Err(told(FileError::new(FileErrorKind::Unsupported, why)));
            }
            let next = page(&mut decoder).map_err(told)?;
            let (at, first) = first.get_or_insert((number, next));
            if !next.same_shape(first) {
                let told = |page: &Page| format!("{} x {} of {}", page.height, page.width, page.dtype);
                return Err(FileError::new(
                    FileErrorKind::Unsupported,
                    format!(
                        "page {} is {}, page {} {}; pages of one recording are alike",
                        number + 1,
                        told(&next),
                        *at + 1,
                        told(first)
                    ),
                ));
            }
            pages += 1;
            expansion = expansion.max(next.expansion);
        } else {
            passed += 1;
        }
        if !decoder.more_images() {
            break;
        }
    }
    let (_, first) = first.ok_or_else(|| broken("it has no page"))?;
    let claimed =
        first.bytes().checked_mul(pages as u64).filter(|&bytes| bytes <= MAX_ARRAY_BYTES).ok_or_else(|| {
            FileError::new(
                FileErrorKind::TooLarge,
                format!(
                    "it claims {pages} pages of {} x {} {}, more than {MAX_ARRAY_BYTES} bytes, kymhost's limit",
                    first.height, first.width, first.dtype
                ),
            )
        })?;
    if claimed > length.saturating_mul(expansion) {
        return Err(broken(format!("it claims {claimed} bytes of pixels, which its {length} bytes cannot hold")));
    }
    let share = budget.take(claimed.saturating_add(length.min(IN_MEMORY)));
    let mut pixels: Vec<u8> = Vec::new();
    let total = usize::try_from(claimed).map_err(broken)?;
    pixels.try_reserve_exact(total).map_err(|_| {
        FileError::new(FileErrorKind::TooLarge, format!("its {claimed} bytes of pixels do not fit into memory"))
    })?;
    pixels.resize(total, 0);
    let page_bytes = usize::try_from(first.bytes()).map_err(broken)?;
    if pages + passed > 1 {
        decoder = start(open()?)?;
    }
    let mut numbers = (0..pages + passed).filter(|number| is_kept(*number));
    let mut current = 0;
    for into in pixels.chunks_exact_mut(page_bytes) {
        let number = numbers.next().ok_or_else(|| broken("a page is missing"))?;
        while current < number {
            current += 1;
            match decoder.next_image() {
                Err(error) if current == number => return Err(named(number, decoder_error(error))),
                _ => {}
            }
        }
        let inverted = page(&mut decoder)?.inverted;
        let read = decoder.read_image_bytes(into);
        read.map_err(|error| if pages > 1 { named(number, decoder_error(error)) } else { decoder_error(error) })?;
        if inverted {
            into.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    let mut notes = Vec::new();
    if passed > 0 {
        notes
            .push(format!("{passed} of its {} pages were skipped: they are smaller pictures or masks", pages + passed));
    }
    let mut read = directories.iter().enumerate().filter(|(number, _)| is_kept(*number));
    if read.any(|(_, page)| page.predictor_ignored) {
        notes.push(
            "it names a predictor, which its compression does not have; the tag was ignored, as libtiff does"
                .to_owned(),
        );
    }
    let plane = [first.height as usize, first.width as usize];
    let shape = if pages == 1 { plane.to_vec() } else { [&[pages][..], &plane].concat() };
    let axes = default_axes(shape.len());
    let pixels = Array::new(first.dtype, shape, axes, pixels).map_err(|error| broken(error.message()))?;
    Ok(DecodedTiff { pixels, notes, share })
}

fn named(before: usize, error: FileError) -> FileError {
    FileError::new(error.kind, format!("page {}: {}", before + 1, error.message))
}

/// What the current page is, if it is one of a recording.
fn page<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<Page, FileError> {
    let unsupported = |what: String| FileError::new(FileErrorKind::Unsupported, what);
    let (width, height) = decoder.dimensions().map_err(decoder_error)?;
    let color = decoder.colortype().map_err(decoder_error)?;
    let ColorType::Gray(bits) = color else {
        return Err(unsupported(format!("its pixels are {color:?}; a kymograph has one gray value per pixel")));
    };
    let layout = decoder.image_buffer_layout().map_err(decoder_error)?;
    let dtype = match (bits, layout.sample_type) {
        (8, Some(DecodingSampleType::U8)) => DType::UInt8,
        (16, Some(DecodingSampleType::U16)) => DType::UInt16,
        (16, Some(DecodingSampleType::I16)) => DType::Int16,
        (32, Some(DecodingSampleType::F32)) => DType::Float32,
        (64, Some(DecodingSampleType::F64)) => DType::Float64,
        (bits, kind) => {
            let kind = kind.map_or_else(|| "unknown".to_owned(), |kind| format!("{kind:?}"));
            return Err(unsupported(format!(
                "its pixels have {bits} bits of type {kind}; kymhost takes uint8, uint16, int16, float32 and float64"
            )));
        }
    };
    let tag = |decoder: &mut Decoder<R>, tag| decoder.find_tag_unsigned::<u16>(tag).ok().flatten();
    let inverted = tag(decoder, Tag::PhotometricInterpretation) == Some(0);
    if inverted && !matches!(dtype, DType::UInt8 | DType::UInt16) {
        return Err(unsupported(format!(
            "its {dtype} pixels have 0 as white; kymhost accepts that only for uint8 and uint16"
        )));
    }
    let expansion = match tag(decoder, Tag::Compression) {
        None | Some(1) => 1,
        // PackBits: 128 bytes of 2. Deflate: 1,032 of one. LZW: strings of up to 4,096 of 12 bits.
        Some(32773) => 128,
        Some(8 | 32946) => 1100,
        Some(5) => 4096,
        _ => 1 << 16,
    };
    Ok(Page { width, height, dtype, expansion, inverted })
}

/// Writes an array as a TIFF without compression: its last two axes are a page's, all others are pages one after the
/// other.
pub fn write(array: &Array, to: impl Write + Seek) -> Result<(), String> {
    let [.., height, width] = array.shape() else { return Err("it has fewer than 2 dimensions".to_owned()) };
    let lengths = u32::try_from(*height).ok().zip(u32::try_from(*width).ok());
    let (height, width) = lengths.filter(|(h, w)| *h > 0 && *w > 0).ok_or("a TIFF cannot have such a shape")?;
    // Offsets of 32 bits, with room for the directories.
    let large = array.bytes().len() as u64 > (u64::from(u32::MAX) / 4 * 3);
    catch_unwind(AssertUnwindSafe(|| match array.dtype() {
        DType::UInt8 => pages::<colortype::Gray8>(array.to_vec(), height, width, large, to),
        DType::UInt16 => pages::<colortype::Gray16>(array.to_vec(), height, width, large, to),
        DType::Int16 => pages::<colortype::GrayI16>(array.to_vec(), height, width, large, to),
        DType::Float32 => pages::<colortype::Gray32Float>(array.to_vec(), height, width, large, to),
        DType::Float64 => pages::<colortype::Gray64Float>(array.to_vec(), height, width, large, to),
        other => Err(format!("kymhost cannot write pixels of {other} as a TIFF")),
    }))
    .unwrap_or_else(|_| Err("the encoder panicked".to_owned()))
}

fn pages<C: colortype::ColorType>(
    elements: Option<Vec<C::Inner>>,
    height: u32,
    width: u32,
    large: bool,
    to: impl Write + Seek,
) -> Result<(), String>
where
    [C::Inner]: TiffValue,
{
    let elements = elements.ok_or("its elements are of another type")?;
    let page = height as usize * width as usize;
    let plain = |error: tiff::TiffError| error.to_string();
    if large {
        let mut encoder = TiffEncoder::<_, TiffKindBig>::new_big(to).map_err(plain)?;
        for elements in elements.chunks_exact(page) {
            encoder.write_image::<C>(width, height, elements).map_err(plain)?;
        }
    } else {
        let mut encoder = TiffEncoder::<_, TiffKindStandard>::new(to).map_err(plain)?;
        for elements in elements.chunks_exact(page) {
            encoder.write_image::<C>(width, height, elements).map_err(plain)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn round(array: &Array) -> Array {
        let mut file = Cursor::new(Vec::new());
        write(array, &mut file).unwrap();
        let length = file.get_ref().len() as u64;
        file.set_position(0);
        read(file, length, &Budget::new(1 << 20)).unwrap().pixels
    }

    #[test]
    fn arrays_of_every_type_round_trip() {
        for dtype in [DType::UInt8, DType::UInt16, DType::Int16, DType::Float32, DType::Float64] {
            for shape in [vec![1, 1], vec![7, 3], vec![3, 5, 4]] {
                let bytes: Vec<u8> =
                    (0..shape.iter().product::<usize>() * dtype.size()).map(|at| (at * 37) as u8).collect();
                let array = Array::new(dtype, shape.clone(), default_axes(shape.len()), bytes).unwrap();
                assert_eq!(round(&array), array, "{dtype} {shape:?}");
            }
        }
    }

    #[test]
    fn budget_waits_for_free_memory() {
        let budget = Budget::new(10);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let held = budget.take(6);
            scope.spawn(|| {
                drop(budget.take(100));
                done.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!done.load(Ordering::SeqCst));
            drop(held);
        });
        assert!(done.load(Ordering::SeqCst));
    }

    proptest! {
        #[test]
        fn damaged_tiff_never_panics(places in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..12), cut in any::<u16>()) {
            let array = Array::new(DType::UInt16, vec![2, 9, 5], default_axes(3), vec![7; 180]).unwrap();
            let mut file = Cursor::new(Vec::new());
            write(&array, &mut file).unwrap();
            let mut bytes = file.into_inner();
            for (place, byte) in places {
                let at = usize::from(place) % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - usize::from(cut) % 40);
            let length = bytes.len() as u64;
            let _ = read(Cursor::new(bytes), length, &Budget::new(1 << 30));
        }

        #[test]
        fn tiff_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), big in any::<bool>()) {
            let head: &[u8] = if big { b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0" } else { b"II\x2a\0\x08\0\0\0" };
            let bytes = [head, &bytes].concat();
            let length = bytes.len() as u64;
            let _ = read(Cursor::new(bytes), length, &Budget::new(1 << 30));
        }
    }
}

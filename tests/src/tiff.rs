//! TIFF files made for tests by code of their own, of every form that is to be read, and broken ones.
//!
//! Writes both byte orders, BigTIFF, strips and tiles, five compressions and pages, without a TIFF library.

use std::io::Write as _;

/// How pixels are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// PackBits, literal runs and repeats.
    PackBits,
    /// LZW, without ever growing the codes.
    Lzw,
    /// zlib.
    Deflate,
    /// Zstandard.
    Zstd,
}

/// How a page is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Strips of this many lines.
    Strips(usize),
    /// Tiles of this many pixels by this many lines, multiples of 16.
    Tiles(usize, usize),
}

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned.
    Uint,
    /// Signed.
    Int,
    /// IEEE.
    Float,
}

/// One page: elements in little-endian order.
#[derive(Debug, Clone)]
pub struct Page {
    /// Lines.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
    /// Bytes of an element.
    pub size: usize,
    /// What an element is.
    pub kind: Kind,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// A file.
#[derive(Debug, Clone)]
pub struct Tiff {
    /// The high byte first.
    pub big_endian: bool,
    /// Offsets of 64 bits.
    pub big_tiff: bool,
    /// How pages are cut.
    pub layout: Layout,
    /// How pixels are packed.
    pub packing: Packing,
    /// 0: zero is white; 1: zero is black; 2: RGB …
    pub photometric: u16,
    /// Samples of a pixel.
    pub samples: u16,
    /// Horizontal differences are kept instead of values (of integers).
    pub differences: bool,
    /// The pages.
    pub pages: Vec<Page>,
}

impl Tiff {
    /// A plain file of one page: strips of 7 lines, little-endian, unpacked.
    pub fn new(page: Page) -> Self {
        Self {
            big_endian: false,
            big_tiff: false,
            layout: Layout::Strips(7),
            packing: Packing::None,
            photometric: 1,
            samples: 1,
            differences: false,
            pages: vec![page],
        }
    }

    /// The file's bytes. Each page's directory follows its pixels.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(&[])
    }

    /// The same with more tags, or other values of them: the page's number, the tag, its value as a number of 16 bits.
    pub fn bytes_with(&self, tags: &[(usize, u16, u16)]) -> Vec<u8> {
        let mut file = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        if self.big_tiff {
            self.put(&mut file, 43, 2);
            self.put(&mut file, 8, 2);
            self.put(&mut file, 0, 2);
        } else {
            self.put(&mut file, 42, 2);
        }
        let mut link = file.len();
        self.put(&mut file, 0, self.word());
        for (number, page) in self.pages.iter().enumerate() {
            let of_page = tags.iter().filter(|(of, ..)| *of == number);
            let tags: Vec<(u16, u16)> = of_page.map(|(_, tag, value)| (*tag, *value)).collect();
            link = self.page(&mut file, page, &tags, link);
        }
        file
    }

    /// Bytes of an offset.
    fn word(&self) -> usize {
        if self.big_tiff { 8 } else { 4 }
    }

    fn put(&self, file: &mut Vec<u8>, value: u64, bytes: usize) {
        file.extend(self.number(value, bytes));
    }

    fn number(&self, value: u64, bytes: usize) -> Vec<u8> {
        if self.big_endian { value.to_be_bytes()[8 - bytes..].to_vec() } else { value.to_le_bytes()[..bytes].to_vec() }
    }

    fn patch(&self, file: &mut [u8], at: usize, value: u64) {
        let bytes = self.number(value, self.word());
        file[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    /// Appends a page and links it; where the link to the next one stands.
    fn page(&self, file: &mut Vec<u8>, page: &Page, other: &[(u16, u16)], link: usize) -> usize {
        let row = page.width * page.size * usize::from(self.samples);
        let rows: Vec<&[u8]> = page.bytes.chunks(row.max(1)).collect();
        // Differences restart in each line of a strip or tile.
        let kept = |line: &[u8]| {
            let mut line = line.to_vec();
            if self.differences {
                differences(&mut line, page.size);
            }
            if self.big_endian {
                line.chunks_exact_mut(page.size).for_each(<[u8]>::reverse);
            }
            line
        };
        let blocks: Vec<Vec<u8>> = match self.layout {
            Layout::Strips(lines) => {
                rows.chunks(lines).map(|lines| lines.iter().flat_map(|line| kept(line)).collect()).collect()
            }
            Layout::Tiles(width, height) => {
                let pixel = page.size * usize::from(self.samples);
                let mut blocks = Vec::new();
                for top in (0..page.height).step_by(height) {
                    for left in (0..page.width).step_by(width) {
                        let mut tile = Vec::new();
                        for line in top..top + height {
                            let from = rows
                                .get(line)
                                .map_or(&[][..], |row| &row[left * pixel..((left + width).min(page.width)) * pixel]);
                            let mut whole = from.to_vec();
                            // What lies outside the image may be anything.
                            whole.resize(width * pixel, 0xaa);
                            tile.extend(kept(&whole));
                        }
                        blocks.push(tile);
                    }
                }
                blocks
            }
        };
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for block in blocks {
            let packed = pack(&block, self.packing);
            offsets.push(file.len() as u64);
            counts.push(packed.len() as u64);
            file.extend(packed);
        }
        if file.len() % 2 == 1 {
            file.push(0);
        }
        let long = if self.big_tiff { 16 } else { 4 };
        let compression = match self.packing {
            Packing::None => 1,
            Packing::Lzw => 5,
            Packing::Deflate => 8,
            Packing::PackBits => 32773,
            Packing::Zstd => 50000,
        };
        let format = match page.kind {
            Kind::Uint => 1,
            Kind::Int => 2,
            Kind::Float => 3,
        };
        let each = |value: u64| vec![value; usize::from(self.samples)];
        let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
            (256, 4, vec![page.width as u64]),
            (257, 4, vec![page.height as u64]),
            (258, 3, each(page.size as u64 * 8)),
            (259, 3, vec![compression]),
            (262, 3, vec![u64::from(self.photometric)]),
            (277, 3, vec![u64::from(self.samples)]),
            (339, 3, each(format)),
        ];
        if self.differences {
            tags.push((317, 3, vec![2]));
        }
        match self.layout {
            Layout::Strips(lines) => {
                tags.push((273, long, offsets));
                tags.push((278, 4, vec![lines as u64]));
                tags.push((279, long, counts));
            }
            Layout::Tiles(width, height) => {
                tags.push((322, 4, vec![width as u64]));
                tags.push((323, 4, vec![height as u64]));
                tags.push((324, long, offsets));
                tags.push((325, long, counts));
            }
        }
        tags.retain(|(tag, ..)| !other.iter().any(|(there, _)| there == tag));
        tags.extend(other.iter().map(|(tag, value)| (*tag, 3, vec![u64::from(*value)])));
        tags.sort_by_key(|(tag, ..)| *tag);
        self.directory(file, &tags, link)
    }

    fn directory(&self, file: &mut Vec<u8>, tags: &[(u16, u16, Vec<u64>)], link: usize) -> usize {
        let word = self.word();
        let bytes_of = |kind: u16| match kind {
            3 => 2,
            4 => 4,
            _ => 8,
        };
        // What does not fit into its place stands before the directory.
        let mut places = Vec::new();
        for (_, kind, values) in tags {
            let whole: Vec<u8> = values.iter().flat_map(|value| self.number(*value, bytes_of(*kind))).collect();
            if whole.len() > word {
                places.push(self.number(file.len() as u64, word));
                file.extend(&whole);
                if file.len() % 2 == 1 {
                    file.push(0);
                }
            } else {
                let mut place = whole;
                place.resize(word, 0);
                places.push(place);
            }
        }
        let at = file.len() as u64;
        self.patch(file, link, at);
        self.put(file, tags.len() as u64, if self.big_tiff { 8 } else { 2 });
        for ((tag, kind, values), place) in tags.iter().zip(places) {
            self.put(file, u64::from(*tag), 2);
            self.put(file, u64::from(*kind), 2);
            self.put(file, values.len() as u64, word);
            file.extend(place);
        }
        let next = file.len();
        self.put(file, 0, word);
        next
    }
}

fn differences(row: &mut [u8], size: usize) {
    let count = row.len() / size;
    for at in (1..count).rev() {
        let get = |row: &[u8], at: usize| {
            let mut wide = [0u8; 8];
            wide[..size].copy_from_slice(&row[at * size..(at + 1) * size]);
            u64::from_le_bytes(wide)
        };
        let difference = get(row, at).wrapping_sub(get(row, at - 1)).to_le_bytes();
        row[at * size..(at + 1) * size].copy_from_slice(&difference[..size]);
    }
}

fn pack(block: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::None => block.to_vec(),
        Packing::PackBits => {
            let mut packed = Vec::new();
            let mut rest = block;
            while let Some(&first) = rest.first() {
                let run = rest.iter().take(128).take_while(|byte| **byte == first).count();
                if run > 2 {
                    packed.extend([(257 - run) as u8, first]);
                    rest = &rest[run..];
                } else {
                    let literal = rest.len().min(5);
                    packed.push(literal as u8 - 1);
                    packed.extend_from_slice(&rest[..literal]);
                    rest = &rest[literal..];
                }
            }
            packed
        }
        Packing::Lzw => {
            // Codes of 9 bits, high bit first: the table is cleared before they would grow.
            let mut codes = Vec::new();
            for run in block.chunks(200) {
                codes.push(256u16);
                codes.extend(run.iter().map(|byte| u16::from(*byte)));
            }
            codes.push(257);
            let (mut packed, mut bits, mut held) = (Vec::new(), 0u32, 0);
            for code in codes {
                bits = bits << 9 | u32::from(code);
                held += 9;
                while held >= 8 {
                    held -= 8;
                    packed.push((bits >> held) as u8);
                }
            }
            packed.push((bits << (8 - held)) as u8);
            packed
        }
        Packing::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(block).and_then(|()| encoder.finish()).expect("zlib in memory")
        }
        Packing::Zstd => zstd::encode_all(block, 1).expect("zstd in memory"),
    }
}

/// A page whose elements all differ, in any type.
pub fn page(height: usize, width: usize, size: usize, kind: Kind, seed: u64) -> Page {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = Vec::with_capacity(height * width * size);
    for at in 0..height * width {
        // Runs and noise: packing has something to do.
        let value = if at % 11 < 5 { seed } else { random.u64(..) };
        match (kind, size) {
            (Kind::Float, 4) => bytes.extend((value as f32 / 7.0 - 3.5).to_le_bytes()),
            (Kind::Float, _) => bytes.extend((value as f64 / 7.0 - 3.5).to_le_bytes()),
            _ => bytes.extend(&value.to_le_bytes()[..size]),
        }
    }
    Page { height, width, size, kind, bytes }
}

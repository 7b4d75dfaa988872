//! Reads a library's card from its file, without running anything.
//!
//! Responsible for finding the section in a library of any platform, and for which platform that is. It does not load the
//! library and reads no more of it than it must.

use crate::error::{PluginError, Refusal};
use crate::names::plain_name;
use crate::platform::{FileFormat, Platform, check_platform};
use kymhost_plugin_api::card::{Card, MAGIC, MAX_CARD_BYTES, SECTION, SECTION_MACHO};
use object::read::elf::FileHeader;
use object::read::macho::{FatArch, MachHeader, MachOFatFile32, MachOFatFile64};
use object::read::{ReadCache, ReadCacheOps, ReadRef};
use object::{Architecture, Endianness, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// The help for a library that is not a plugin.
const HELP: &str = "give the library of a kymhost plugin, or rebuild or reinstall the plugin";
/// The longest section: there may be padding after the card.
const MAX_SECTION_BYTES: u64 = 2 * MAX_CARD_BYTES as u64;
/// No library has nearly as many bytes of names.
const MAX_NAMES_BYTES: u64 = 16 << 20;
/// No library is for nearly as many architectures.
const MAX_ARCHES: usize = 64;

/// Why a file gives no card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoCard {
    /// `no_library`: not a dynamic library; `truncated`; `no_card`: a library, but not a plugin; `bad_card`.
    pub(crate) code: &'static str,
    why: String,
}

fn no_card(code: &'static str, why: impl Into<String>) -> NoCard {
    NoCard { code, why: why.into() }
}

/// What a plugin's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFile {
    /// The form of the file.
    pub format: FileFormat,
    /// The architectures that it has code for; only a fat file has several.
    pub platforms: Vec<Platform>,
    /// The card; in a fat file the one for this architecture, or else the first one.
    pub card: Card,
    /// The card's JSON text as it is in the file, with unknown keys.
    pub card_json: String,
}

impl CardFile {
    /// Whether it has an indexer of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.card.indexers.iter().any(|indexer| plain_name(&indexer.name) == plain_name(name))
    }

    /// Refuses a library that this system's loader cannot load.
    pub(crate) fn check_platform(&self) -> Result<(), Refusal> {
        check_platform(self.format, &self.platforms, &self.card.target)
    }
}

/// The card of a library's file for any platform. None of its code runs.
///
/// # Errors
/// [`PluginError::Refused`] with code `unreadable`, `no_library`, `truncated`, `no_card` or `bad_card`.
pub fn read_card(library: &Path) -> Result<Card, PluginError> {
    read_card_file(library).map(|file| file.card)
}

/// The card of a library's file, and the platforms that the file is for.
///
/// # Errors
/// As [`read_card`].
pub fn read_card_file(library: &Path) -> Result<CardFile, PluginError> {
    let refused = |code, why: String| Refusal::new(code, why, HELP).of(library);
    let unreadable = |error: std::io::Error| refused("unreadable", error.to_string());
    // Before it is opened: opening a named pipe may never return.
    if !library.metadata().map_err(unreadable)?.is_file() {
        return Err(refused("no_library", "it is not a file".to_owned()));
    }
    let file = File::open(library).map_err(unreadable)?;
    card_of(file).map_err(|NoCard { code, why }| refused(code, why))
}

/// The card of a library that is for this platform.
///
/// # Errors
/// As [`read_card`], and `platform`.
pub(crate) fn read_native(library: &Path) -> Result<Card, PluginError> {
    let file = read_card_file(library)?;
    file.check_platform().map_err(|refusal| refusal.of(library).about(&file.card))?;
    Ok(file.card)
}

/// The card in a library's bytes.
pub(crate) fn card_of(library: impl Read + Seek) -> Result<CardFile, NoCard> {
    let cache = ReadCache::new(library);
    let length = (&cache).len().map_err(|()| no_card("unreadable", "its length is unknown"))?;
    let data = Bounded { data: &cache, length };
    if length == 0 {
        return Err(no_card("truncated", "it is empty"));
    }
    match FileKind::parse(data) {
        Ok(FileKind::MachOFat32) => card_in_fat(&cache, length, MachOFatFile32::parse(data).map(|fat| fat.arches())),
        Ok(FileKind::MachOFat64) => card_in_fat(&cache, length, MachOFatFile64::parse(data).map(|fat| fat.arches())),
        Ok(kind) => card_in(&cache, kind, length),
        Err(_) => Err(no_card("no_library", "it is not a dynamic library (ELF, Mach-O or PE)")),
    }
}

/// A Mach-O file for several architectures holds a library for each. Ours is read, or else the first one.
fn card_in_fat<R: ReadCacheOps>(
    cache: &ReadCache<R>,
    length: u64,
    arches: object::Result<&[impl FatArch]>,
) -> Result<CardFile, NoCard> {
    let arches =
        arches.map_err(|error| no_card("truncated", format!("its list of architectures cannot be read: {error}")))?;
    if arches.len() > MAX_ARCHES {
        return Err(no_card("no_library", format!("it claims to be for {} architectures", arches.len())));
    }
    let native = |arch: &&_| FatArch::architecture(*arch) == NATIVE;
    let arch = arches.iter().find(native).or_else(|| arches.first());
    let arch = arch.ok_or_else(|| no_card("no_library", "it lists no architecture"))?;
    for (offset, size) in arches.iter().map(FatArch::file_range) {
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(truncated(offset.saturating_add(size), length));
        }
    }
    let (offset, size) = arch.file_range();
    let slice = cache.range(offset, size);
    let kind = FileKind::parse(slice).map_err(|_| no_card("no_library", "a part of it is not a library"))?;
    let file = card_in(slice, kind, size)?;
    // The list names the architectures; the other parts are not read.
    let platform = |arch: &_| {
        let arch = FatArch::architecture(arch);
        let is_64 = arch.address_size().is_some_and(|size| size.bytes() == 8);
        let is_big = matches!(arch, Architecture::PowerPc | Architecture::PowerPc64);
        Platform::new(arch, is_64, if is_big { Endianness::Big } else { Endianness::Little })
    };
    Ok(CardFile { format: FileFormat::MachOFat, platforms: arches.iter().map(platform).collect(), ..file })
}

const NATIVE: Architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

fn truncated(expected: u64, found: u64) -> NoCard {
    no_card("truncated", format!("it is cut off: expected at least {expected} bytes, found {found}"))
}

fn card_in<'data>(data: impl ReadRef<'data>, kind: FileKind, length: u64) -> Result<CardFile, NoCard> {
    let data = Bounded { data, length };
    let format = match kind {
        FileKind::Elf32 | FileKind::Elf64 => FileFormat::Elf,
        FileKind::MachO32 | FileKind::MachO64 => FileFormat::MachO,
        FileKind::Pe32 | FileKind::Pe64 => FileFormat::Pe,
        FileKind::Archive => {
            return Err(no_card("no_library", "it is an archive (static library), not a dynamic library"));
        }
        _ => return Err(no_card("no_library", "it is not a dynamic library (ELF, Mach-O or PE)")),
    };
    let promised = match kind {
        FileKind::Elf32 => elf_length::<object::elf::FileHeader32<Endianness>>(data),
        FileKind::Elf64 => elf_length::<object::elf::FileHeader64<Endianness>>(data),
        FileKind::MachO32 => macho_length::<object::macho::MachHeader32<Endianness>>(data),
        FileKind::MachO64 => macho_length::<object::macho::MachHeader64<Endianness>>(data),
        _ => None,
    };
    if let Some(promised) = promised
        && promised > length
    {
        return Err(truncated(promised, length));
    }
    let file = object::File::parse(data)
        .map_err(|error| no_card("no_library", format!("it is not a dynamic library, or it is cut off: {error}")))?;
    for segment in file.segments() {
        let (offset, size) = segment.file_range();
        if size > 0 && offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(truncated(offset.saturating_add(size), length));
        }
    }
    let what = match file.kind() {
        ObjectKind::Relocatable => Some("an object file"),
        ObjectKind::Executable => Some("a program"),
        ObjectKind::Core => Some("a core dump"),
        _ => None,
    };
    if let Some(what) = what {
        return Err(no_card("no_library", format!("it is {what}, not a dynamic library")));
    }
    let ours = |name: &str| name == SECTION || name == SECTION_MACHO.1;
    let section = file
        .sections()
        .find(|section| section.name().is_ok_and(ours))
        .ok_or_else(|| no_card("no_card", "it is not a kymhost plugin: it has no card"))?;
    if section.size() > MAX_SECTION_BYTES {
        return Err(no_card("bad_card", format!("its card's section has {} bytes", section.size())));
    }
    let bytes = section.data().map_err(|error| no_card("bad_card", format!("its card cannot be read: {error}")))?;
    let card = Card::parse(bytes).map_err(|error| no_card("bad_card", error.to_string()))?;
    Ok(CardFile {
        format,
        platforms: vec![Platform::new(file.architecture(), file.is_64(), file.endianness())],
        card,
        card_json: json_of(bytes).to_owned(),
    })
}

/// The JSON of a section that holds a card.
fn json_of(section: &[u8]) -> &str {
    let text = || {
        let (length, rest) = section.get(MAGIC.len()..)?.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        std::str::from_utf8(rest.get(..length)?).ok()
    };
    text().unwrap_or_default()
}

/// The least length of an ELF file by its header. `object` would report a missing table and not that the file is cut off.
fn elf_length<'data, H: FileHeader<Endian = Endianness>>(data: impl ReadRef<'data>) -> Option<u64> {
    let Ok(header) = H::parse(data) else { return Some(size_of::<H>() as u64) };
    let endian = header.endian().ok()?;
    let end = |start: u64, count: u16, size: u16| start.saturating_add(u64::from(count) * u64::from(size));
    let sections = end(header.e_shoff(endian).into(), header.e_shnum(endian), header.e_shentsize(endian));
    let segments = end(header.e_phoff(endian).into(), header.e_phnum(endian), header.e_phentsize(endian));
    Some(sections.max(segments))
}

/// The least length of a Mach-O file with all of its load commands.
fn macho_length<'data, H: MachHeader<Endian = Endianness>>(data: impl ReadRef<'data>) -> Option<u64> {
    let header_bytes = size_of::<H>() as u64;
    let Ok(header) = H::parse(data, 0) else { return Some(header_bytes) };
    let endian = header.endian().ok()?;
    Some(header_bytes + u64::from(header.sizeofcmds(endian)))
}

/// Refuses reads that are too long for any real library before memory is allocated for them.
#[derive(Debug, Clone, Copy)]
struct Bounded<R> {
    data: R,
    length: u64,
}

impl<'data, R: ReadRef<'data>> ReadRef<'data> for Bounded<R> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        if size > MAX_NAMES_BYTES {
            return Err(());
        }
        self.data.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.data.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::card::MAGIC;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn card(name: &str) -> Vec<u8> {
        let json = format!(
            r#"{{"card":1,"api":"1.0","needs_api":"1.0","door":"abi_stable-0.11","sdk":"1.0.0","rustc":"r","target":"t","indexers":[{{"name":"{name}","analysis_version":"v@1","marker":"m"}}]}}"#
        );
        let mut bytes = MAGIC.to_vec();
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json.as_bytes());
        bytes
    }

    /// The width and byte order of a file's numbers.
    #[derive(Debug, Clone, Copy)]
    struct Shape {
        is_64: bool,
        is_big: bool,
    }

    const LITTLE_64: Shape = Shape { is_64: true, is_big: false };
    const LITTLE_32: Shape = Shape { is_64: false, is_big: false };
    const BIG_64: Shape = Shape { is_64: true, is_big: true };
    const BIG_32: Shape = Shape { is_64: false, is_big: true };

    impl Shape {
        fn half(self, value: u16) -> [u8; 2] {
            if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        fn u32(self, value: u32) -> [u8; 4] {
            if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        /// An address, offset or size: as wide as the file's class.
        fn word(self, value: u64) -> Vec<u8> {
            match (self.is_64, self.is_big) {
                (true, true) => value.to_be_bytes().to_vec(),
                (true, false) => value.to_le_bytes().to_vec(),
                (false, _) => self.u32(value as u32).to_vec(),
            }
        }
    }

    fn elf(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
        elf_of(LITTLE_64, machine, sections)
    }

    /// An ELF file with one loaded segment and, in it, sections of these names and contents.
    fn elf_of(shape: Shape, machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
        let (header_bytes, segment_bytes, section_bytes) = if shape.is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let mut names = b"\0.shstrtab\0".to_vec();
        let mut bodies = Vec::new();
        let mut headers = vec![vec![0u8; section_bytes]];
        let mut header = |name: u32, kind: u32, offset: u64, size: u64| {
            let mut bytes = [shape.u32(name), shape.u32(kind)].concat();
            // Flags, address, offset, size.
            for value in [0, 0, offset, size] {
                bytes.extend(shape.word(value));
            }
            bytes.extend([0; 8]);
            bytes.extend(shape.word(1));
            bytes.extend(shape.word(0));
            assert_eq!(bytes.len(), section_bytes);
            headers.push(bytes);
        };
        let start = header_bytes + segment_bytes;
        for (name, body) in sections {
            header(names.len() as u32, 1, (start + bodies.len()) as u64, body.len() as u64);
            names.extend(name.as_bytes());
            names.push(0);
            bodies.extend_from_slice(body);
        }
        let loaded = start + bodies.len();
        header(1, 3, loaded as u64, names.len() as u64);
        let table = loaded + names.len();
        let mut file = b"\x7fELF".to_vec();
        file.extend([1 + u8::from(shape.is_64), 1 + u8::from(shape.is_big), 1]);
        file.resize(16, 0);
        file.extend(shape.half(3));
        file.extend(shape.half(machine));
        file.extend(shape.u32(1));
        for value in [0, header_bytes as u64, table as u64] {
            file.extend(shape.word(value));
        }
        file.extend(shape.u32(0));
        let count = headers.len() as u16;
        for value in [header_bytes as u16, segment_bytes as u16, 1, section_bytes as u16, count, count - 1] {
            file.extend(shape.half(value));
        }
        let (flags, sizes) = (shape.u32(4), [0, 0, 0, loaded as u64, loaded as u64]);
        file.extend(shape.u32(1));
        if shape.is_64 {
            file.extend(flags);
        }
        sizes.iter().for_each(|value| file.extend(shape.word(*value)));
        if !shape.is_64 {
            file.extend(flags);
        }
        file.extend(shape.word(4096));
        assert_eq!(file.len(), start);
        file.extend(bodies);
        file.extend(names);
        headers.iter().for_each(|header| file.extend(header));
        file
    }

    fn macho(cpu: u32, segment: &str, section: &str, body: &[u8]) -> Vec<u8> {
        macho_of(LITTLE_64, cpu, segment, section, body)
    }

    /// A Mach-O file with one segment of one section.
    fn macho_of(shape: Shape, cpu: u32, segment: &str, section: &str, body: &[u8]) -> Vec<u8> {
        let name = |text: &str| {
            let mut bytes = [0u8; 16];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            bytes
        };
        let (magic, header_bytes, command, command_bytes) =
            if shape.is_64 { (0xfeed_facf_u32, 32, 0x19, 72 + 80) } else { (0xfeed_face, 28, 1, 56 + 68) };
        let offset = u64::from(header_bytes + command_bytes);
        let length = body.len() as u64;
        let mut file = Vec::new();
        for value in [magic, cpu, 0, 6, 1, command_bytes, 0] {
            file.extend(shape.u32(value));
        }
        if shape.is_64 {
            file.extend([0; 4]);
        }
        file.extend(shape.u32(command));
        file.extend(shape.u32(command_bytes));
        file.extend(name(segment));
        for value in [0, length, offset, length] {
            file.extend(shape.word(value));
        }
        for value in [3u32, 3, 1, 0] {
            file.extend(shape.u32(value));
        }
        file.extend(name(section));
        file.extend(name(segment));
        for value in [0, length] {
            file.extend(shape.word(value));
        }
        for value in [offset as u32, 0, 0, 0, 0, 0, 0] {
            file.extend(shape.u32(value));
        }
        if shape.is_64 {
            file.extend([0; 4]);
        }
        assert_eq!(file.len() as u64, offset);
        file.extend(body);
        file
    }

    fn fat(slices: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = 0xcafe_babe_u32.to_be_bytes().to_vec();
        file.extend((slices.len() as u32).to_be_bytes());
        let mut offset = 8 + 20 * slices.len();
        for (cpu, slice) in slices {
            for value in [*cpu, 0, offset as u32, slice.len() as u32, 0] {
                file.extend(value.to_be_bytes());
            }
            offset += slice.len();
        }
        slices.iter().for_each(|(_, slice)| file.extend(slice));
        file
    }

    fn fat_64(slices: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = 0xcafe_babf_u32.to_be_bytes().to_vec();
        file.extend((slices.len() as u32).to_be_bytes());
        let mut offset = 8 + 32 * slices.len();
        for (cpu, slice) in slices {
            file.extend([cpu.to_be_bytes(), [0; 4]].concat());
            file.extend((offset as u64).to_be_bytes());
            file.extend((slice.len() as u64).to_be_bytes());
            file.extend([0; 8]);
            offset += slice.len();
        }
        slices.iter().for_each(|(_, slice)| file.extend(slice));
        file
    }

    fn pe(machine: u16, section: &str, body: &[u8]) -> Vec<u8> {
        pe_of(true, machine, section, body)
    }

    /// A PE32+ (64-bit) or PE32 file with one section.
    fn pe_of(is_64: bool, machine: u16, section: &str, body: &[u8]) -> Vec<u8> {
        // Where the count of data directories stands, and how long the optional header is with 16 of them.
        let (magic, counted_at, optional_bytes) = if is_64 { (0x20bu16, 108, 240u16) } else { (0x10b, 92, 224) };
        let mut file = b"MZ".to_vec();
        file.resize(0x3c, 0);
        file.extend(0x40u32.to_le_bytes());
        file.extend(b"PE\0\0");
        file.extend(machine.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.resize(file.len() + 12, 0);
        file.extend(optional_bytes.to_le_bytes());
        file.extend(0x2022u16.to_le_bytes());
        let optional = file.len();
        file.extend(magic.to_le_bytes());
        file.resize(optional + counted_at, 0);
        file.extend(16u32.to_le_bytes());
        file.resize(optional + usize::from(optional_bytes), 0);
        let mut name = [0u8; 8];
        name.copy_from_slice(&section.as_bytes()[..8]);
        file.extend(name);
        let offset = file.len() as u32 + 32;
        for value in [body.len() as u32, 0x1000, body.len() as u32, offset, 0, 0, 0, 0x4000_0040] {
            file.extend(value.to_le_bytes());
        }
        file.extend(body);
        file
    }

    const ARM: u32 = 0x0100_000c;
    const X86: u32 = 0x0100_0007;

    #[test]
    fn cards_of_every_platform() {
        let native = if cfg!(target_arch = "aarch64") { ARM } else { X86 };
        let other = if native == ARM { X86 } else { ARM };
        let thin = |cpu, name| macho(cpu, "__DATA", "__kymhost", &card(name));
        let mut padded = card("here");
        padded.resize(padded.len() + 50, 0);
        let elf_ours = elf(62, &[(".text", b"code"), (".kymhost", &card("here"))]);
        let cases: Vec<(&str, Vec<u8>, Result<&str, &str>)> = vec![
            ("ELF x86-64", elf_ours.clone(), Ok("here")),
            ("ELF aarch64, padded", elf(183, &[(".kymhost", &padded)]), Ok("here")),
            ("ELF without", elf(62, &[(".text", b"code")]), Err("no_card")),
            ("ELF with garbage", elf(62, &[(".kymhost", b"KYMCARD\nxxxx")]), Err("bad_card")),
            ("ELF with an empty card", elf(62, &[(".kymhost", b"")]), Err("bad_card")),
            ("ELF with a huge card", elf(62, &[(".kymhost", &vec![0; 200_000])]), Err("bad_card")),
            ("ELF cut off at its end", elf_ours[..elf_ours.len() - 100].to_vec(), Err("truncated")),
            ("ELF cut off early", elf_ours[..40].to_vec(), Err("truncated")),
            ("Mach-O", thin(native, "here"), Ok("here")),
            ("Mach-O of the other architecture", thin(other, "here"), Ok("here")),
            ("Mach-O without", macho(native, "__DATA", "__other", b"x"), Err("no_card")),
            ("Mach-O cut off", thin(native, "here")[..200].to_vec(), Err("truncated")),
            ("Mach-O cut off in its commands", thin(native, "here")[..100].to_vec(), Err("truncated")),
            ("fat, ours second", fat(&[(other, thin(other, "there")), (native, thin(native, "here"))]), Ok("here")),
            ("fat, others only", fat(&[(other, thin(other, "there"))]), Ok("there")),
            ("fat, none", fat(&[]), Err("no_library")),
            ("fat, cut off", fat(&[(native, thin(native, "here"))])[..150].to_vec(), Err("truncated")),
            ("PE", pe(0x8664, ".kymhost", &card("here")), Ok("here")),
            ("PE without", pe(0x8664, ".text\0\0\0", b"x"), Err("no_card")),
            ("text", b"just a few words, and then some more of them".to_vec(), Err("no_library")),
            ("an archive", b"!<arch>\n                                ".to_vec(), Err("no_library")),
            ("nothing", Vec::new(), Err("truncated")),
        ];
        for (what, bytes, expected) in cases {
            let found = card_of(Cursor::new(bytes));
            let found = found.as_ref().map(|file| file.card.indexers[0].name.as_str()).map_err(|error| error.code);
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn platforms_are_told_from_the_file() {
        use FileFormat::*;
        let section = |name| card(name);
        let elf = |shape, machine| elf_of(shape, machine, &[(".kymhost", &section("here"))]);
        let macho = |shape, cpu| macho_of(shape, cpu, "__DATA", "__kymhost", &section("here"));
        let universal = vec![(X86, macho(LITTLE_64, X86)), (ARM, macho(LITTLE_64, ARM)), (18, macho(BIG_32, 18))];
        let cases: Vec<(Vec<u8>, FileFormat, &[&str])> = vec![
            (elf(LITTLE_64, 62), Elf, &["x86_64, 64-bit little-endian"]),
            (elf(LITTLE_32, 62), Elf, &["x86_64 (x32), 32-bit little-endian"]),
            (elf(LITTLE_32, 3), Elf, &["x86, 32-bit little-endian"]),
            (elf(LITTLE_64, 183), Elf, &["aarch64, 64-bit little-endian"]),
            (elf(LITTLE_32, 40), Elf, &["arm, 32-bit little-endian"]),
            (elf(BIG_32, 40), Elf, &["arm, 32-bit big-endian"]),
            (elf(LITTLE_64, 243), Elf, &["riscv64, 64-bit little-endian"]),
            (elf(BIG_64, 21), Elf, &["powerpc64, 64-bit big-endian"]),
            (elf(LITTLE_64, 21), Elf, &["powerpc64, 64-bit little-endian"]),
            (elf(BIG_64, 22), Elf, &["s390x, 64-bit big-endian"]),
            (elf(BIG_32, 8), Elf, &["mips, 32-bit big-endian"]),
            (elf(LITTLE_64, 0xfff0), Elf, &["unknown, 64-bit little-endian"]),
            (macho(LITTLE_64, ARM), MachO, &["aarch64, 64-bit little-endian"]),
            (macho(LITTLE_32, 7), MachO, &["x86, 32-bit little-endian"]),
            (macho(BIG_32, 18), MachO, &["powerpc, 32-bit big-endian"]),
            (macho(BIG_64, 0x0100_0012), MachO, &["powerpc64, 64-bit big-endian"]),
            (
                fat(&universal),
                MachOFat,
                &["x86_64, 64-bit little-endian", "aarch64, 64-bit little-endian", "powerpc, 32-bit big-endian"],
            ),
            (fat_64(&universal[..1]), MachOFat, &["x86_64, 64-bit little-endian"]),
            (pe_of(true, 0x8664, ".kymhost", &section("here")), Pe, &["x86_64, 64-bit little-endian"]),
            (pe_of(true, 0xaa64, ".kymhost", &section("here")), Pe, &["aarch64, 64-bit little-endian"]),
            (pe_of(false, 0x14c, ".kymhost", &section("here")), Pe, &["x86, 32-bit little-endian"]),
        ];
        for (bytes, format, platforms) in cases {
            let file = card_of(Cursor::new(&bytes)).unwrap_or_else(|error| panic!("{platforms:?}: {error:?}"));
            let found: Vec<String> = file.platforms.iter().map(ToString::to_string).collect();
            assert_eq!(
                (file.format, found.as_slice()),
                (format, platforms.iter().map(|p| p.to_string()).collect::<Vec<_>>().as_slice())
            );
            assert_eq!(file.card.indexers[0].name, "here");
            assert_eq!(file.card_json.as_bytes(), &card("here")[12..]);
            // Wherever it ends too early, that is said, or that it is no library; never another card.
            for end in 0..bytes.len() {
                if let Err(error) = card_of(Cursor::new(&bytes[..end])) {
                    assert!(["truncated", "no_library"].contains(&error.code), "{platforms:?} cut at {end}: {error:?}");
                } else {
                    panic!("{platforms:?} cut at {end} of {} gives a card", bytes.len());
                }
            }
        }
    }

    #[test]
    fn objects_and_programs_are_no_libraries() {
        let kind = |kind: u16| {
            let mut file = elf(62, &[(".kymhost", &card("here"))]);
            file[16..18].copy_from_slice(&kind.to_le_bytes());
            card_of(Cursor::new(file)).map(|file| file.format).map_err(|error| error.code)
        };
        assert_eq!(
            [1, 2, 3, 4].map(kind),
            [Err("no_library"), Err("no_library"), Ok(FileFormat::Elf), Err("no_library")]
        );
    }

    #[test]
    fn refusals_of_files_take_at_most_five_lines() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.so");
        std::fs::write(&text, "words").unwrap();
        for (path, code) in [
            (text, "no_library"),
            (folder.path().into(), "no_library"),
            (folder.path().join("absent.so"), "unreadable"),
        ] {
            let error = read_card(&path).unwrap_err();
            assert_eq!(error.code(), code);
            assert!(error.to_string().lines().count() <= 5, "{error}");
        }
    }

    fn any_library() -> impl Strategy<Value = Vec<u8>> {
        let whole = prop_oneof![
            Just(elf(62, &[(".text", b"code"), (".kymhost", &card("here"))])),
            Just(macho(ARM, "__DATA", "__kymhost", &card("here"))),
            Just(fat(&[(X86, macho(X86, "__DATA", "__kymhost", &card("here")))])),
            Just(pe(0x8664, ".kymhost", &card("here"))),
            Just(elf_of(BIG_32, 8, &[(".kymhost", &card("here"))])),
            Just(elf_of(BIG_64, 22, &[(".kymhost", &card("here"))])),
            Just(macho_of(BIG_32, 18, "__DATA", "__kymhost", &card("here"))),
            Just(fat_64(&[(ARM, macho(ARM, "__DATA", "__kymhost", &card("here")))])),
            Just(pe_of(false, 0x14c, ".kymhost", &card("here"))),
        ];
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
        (whole, damage, any::<Option<prop::sample::Index>>()).prop_map(|(mut bytes, damage, cut)| {
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(kymhost_test_cases::cases(100))]
        #[test]
        fn any_bytes_give_a_card_or_an_error(bytes in prop_oneof![any_library(), prop::collection::vec(any::<u8>(), 0..300)]) {
            let _ = card_of(Cursor::new(bytes));
        }
    }
}

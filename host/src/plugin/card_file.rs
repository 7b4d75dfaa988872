//! Reading a library's card from its file, without running anything.
//!
//! Owns: finding the section in any platform's library. Never: loads the library, reads more of it than it must.

use super::PluginError;
use kymhost_plugin_api::card::{Card, MAX_CARD_BYTES, SECTION, SECTION_MACHO};
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use object::read::{ReadCache, ReadCacheOps, ReadRef};
use object::{Architecture, FileKind, Object, ObjectSection, ObjectSegment};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// What is told of a library that is none of ours.
const HELP: &str = "help: give the library of a kymhost plugin, or rebuild or reinstall the plugin";
/// The section may be padded beyond the card, not by more than this.
const MAX_SECTION_BYTES: u64 = 2 * MAX_CARD_BYTES as u64;
/// No library has near as many bytes of names.
const MAX_NAMES_BYTES: u64 = 16 << 20;

/// Why a file gives no card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoCard {
    /// `no_library`: no dynamic library at all; `truncated`; `no_card`: a library, but no plugin; `bad_card`.
    pub(super) code: &'static str,
    why: String,
}

fn no_card(code: &'static str, why: impl Into<String>) -> NoCard {
    NoCard { code, why: why.into() }
}

/// The card of a library's file, of any platform. Nothing of it is run.
///
/// # Errors
/// [`PluginError::Refused`] with code `unreadable`, `no_library`, `truncated`, `no_card` or `bad_card`.
pub fn read_card(library: &Path) -> Result<Card, PluginError> {
    let refused = |code, why: String| PluginError::Refused { library: library.display().to_string(), code, why };
    let unreadable = |error: std::io::Error| refused("unreadable", format!("{error}\n{HELP}"));
    // Before it is opened, which waits for ever where it is a named pipe.
    if !library.metadata().map_err(unreadable)?.is_file() {
        return Err(refused("no_library", format!("it is no file\n{HELP}")));
    }
    let file = File::open(library).map_err(unreadable)?;
    card_of(file).map_err(|NoCard { code, why }| refused(code, format!("{why}\n{HELP}")))
}

/// The card in a library's bytes.
pub(super) fn card_of(library: impl Read + Seek) -> Result<Card, NoCard> {
    let cache = ReadCache::new(library);
    let length = (&cache).len().map_err(|()| no_card("unreadable", "its length cannot be told"))?;
    match FileKind::parse(&cache) {
        Ok(FileKind::MachOFat32) => card_in_fat(&cache, length, MachOFatFile32::parse(&cache).map(|fat| fat.arches())),
        Ok(FileKind::MachOFat64) => card_in_fat(&cache, length, MachOFatFile64::parse(&cache).map(|fat| fat.arches())),
        Ok(_) => card_in(&cache, length),
        Err(_) => Err(no_card("no_library", "it is no dynamic library of any known platform")),
    }
}

/// A Mach-O file for several architectures holds a library for each: ours first, else any.
fn card_in_fat<R: ReadCacheOps>(
    cache: &ReadCache<R>,
    length: u64,
    arches: object::Result<&[impl FatArch]>,
) -> Result<Card, NoCard> {
    let arches = arches.map_err(|error| no_card("truncated", format!("its list of architectures: {error}")))?;
    let native = |arch: &&_| FatArch::architecture(*arch) == NATIVE;
    let arch = arches.iter().find(native).or_else(|| arches.first());
    let arch = arch.ok_or_else(|| no_card("no_library", "it lists no architecture"))?;
    let (offset, size) = arch.file_range();
    if offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(truncated(offset.saturating_add(size), length));
    }
    card_in(cache.range(offset, size), size)
}

const NATIVE: Architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

fn truncated(expected: u64, found: u64) -> NoCard {
    no_card("truncated", format!("it is cut off: expected at least {expected} bytes, found {found}"))
}

fn card_in<'data>(data: impl ReadRef<'data>, length: u64) -> Result<Card, NoCard> {
    let data = Bounded { data, length };
    let file = object::File::parse(data)
        .map_err(|error| no_card("no_library", format!("it is no dynamic library, or cut off: {error}")))?;
    for segment in file.segments() {
        let (offset, size) = segment.file_range();
        if size > 0 && offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(truncated(offset.saturating_add(size), length));
        }
    }
    let ours = |name: &str| name == SECTION || name == SECTION_MACHO.1;
    let section = file
        .sections()
        .find(|section| section.name().is_ok_and(ours))
        .ok_or_else(|| no_card("no_card", "it is no kymhost plugin: it has no card"))?;
    if section.size() > MAX_SECTION_BYTES {
        return Err(no_card("bad_card", format!("its card's section has {} bytes", section.size())));
    }
    let data = section.data().map_err(|error| no_card("bad_card", format!("its card cannot be read: {error}")))?;
    Card::parse(data).map_err(|error| no_card("bad_card", error.to_string()))
}

/// Refuses reads that no header of an honest library asks for, before memory is taken for them.
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

    /// A 64-bit ELF file with one loaded segment and, in it, sections of these names and contents.
    fn elf(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = b"\0.shstrtab\0".to_vec();
        let mut bodies = Vec::new();
        let mut headers = vec![[0u8; 64]];
        let mut header = |name: u32, kind: u32, offset: u64, size: u64| {
            let mut bytes = [0; 64];
            bytes[..4].copy_from_slice(&name.to_le_bytes());
            bytes[4..8].copy_from_slice(&kind.to_le_bytes());
            bytes[24..32].copy_from_slice(&offset.to_le_bytes());
            bytes[32..40].copy_from_slice(&size.to_le_bytes());
            bytes[48..56].copy_from_slice(&1u64.to_le_bytes());
            headers.push(bytes);
        };
        let start = 64 + 56;
        for (name, body) in sections {
            header(names.len() as u32, 1, (start + bodies.len()) as u64, body.len() as u64);
            names.extend(name.as_bytes());
            names.push(0);
            bodies.extend_from_slice(body);
        }
        let loaded = start + bodies.len();
        header(1, 3, loaded as u64, names.len() as u64);
        let table = loaded + names.len();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend(3u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        for value in [0, 64, table as u64] {
            file.extend(value.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for value in [64, 56, 1, 64, headers.len() as u16, headers.len() as u16 - 1] {
            file.extend(value.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        file.extend(4u32.to_le_bytes());
        for value in [0, 0, 0, loaded as u64, loaded as u64, 4096] {
            file.extend(value.to_le_bytes());
        }
        file.extend(bodies);
        file.extend(names);
        headers.iter().for_each(|header| file.extend(header));
        file
    }

    /// A 64-bit Mach-O file with one segment of one section.
    fn macho(cpu: u32, segment: &str, section: &str, body: &[u8]) -> Vec<u8> {
        let name = |text: &str| {
            let mut bytes = [0u8; 16];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            bytes
        };
        let offset = 32 + 72 + 80;
        let mut file = Vec::new();
        for value in [0xfeed_facf_u32, cpu, 0, 6, 1, 72 + 80, 0, 0, 0x19, 72 + 80] {
            file.extend(value.to_le_bytes());
        }
        file.extend(name(segment));
        for value in [0, body.len() as u64, offset, body.len() as u64] {
            file.extend(value.to_le_bytes());
        }
        for value in [3u32, 3, 1, 0] {
            file.extend(value.to_le_bytes());
        }
        file.extend(name(section));
        file.extend(name(segment));
        for value in [0, body.len() as u64] {
            file.extend(value.to_le_bytes());
        }
        for value in [offset as u32, 0, 0, 0, 0, 0, 0, 0] {
            file.extend(value.to_le_bytes());
        }
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

    /// A PE32+ file with one section.
    fn pe(machine: u16, section: &str, body: &[u8]) -> Vec<u8> {
        let mut file = b"MZ".to_vec();
        file.resize(0x3c, 0);
        file.extend(0x40u32.to_le_bytes());
        file.extend(b"PE\0\0");
        file.extend(machine.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.resize(file.len() + 12, 0);
        file.extend(240u16.to_le_bytes());
        file.extend(0x2022u16.to_le_bytes());
        let optional = file.len();
        file.extend(0x20bu16.to_le_bytes());
        file.resize(optional + 108, 0);
        file.extend(16u32.to_le_bytes());
        file.resize(optional + 240, 0);
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
            ("ELF cut off at its end", elf_ours[..elf_ours.len() - 100].to_vec(), Err("no_library")),
            ("ELF cut off early", elf_ours[..40].to_vec(), Err("no_library")),
            ("Mach-O", thin(native, "here"), Ok("here")),
            ("Mach-O of the other architecture", thin(other, "here"), Ok("here")),
            ("Mach-O without", macho(native, "__DATA", "__other", b"x"), Err("no_card")),
            ("Mach-O cut off", thin(native, "here")[..200].to_vec(), Err("truncated")),
            ("fat, ours second", fat(&[(other, thin(other, "there")), (native, thin(native, "here"))]), Ok("here")),
            ("fat, others only", fat(&[(other, thin(other, "there"))]), Ok("there")),
            ("fat, none", fat(&[]), Err("no_library")),
            ("fat, cut off", fat(&[(native, thin(native, "here"))])[..150].to_vec(), Err("truncated")),
            ("PE", pe(0x8664, ".kymhost", &card("here")), Ok("here")),
            ("PE without", pe(0x8664, ".text\0\0\0", b"x"), Err("no_card")),
            ("text", b"just a few words, and then some more of them".to_vec(), Err("no_library")),
            ("nothing", Vec::new(), Err("no_library")),
        ];
        for (what, bytes, expected) in cases {
            let found = card_of(Cursor::new(bytes));
            let found = found.as_ref().map(|card| card.indexers[0].name.as_str()).map_err(|error| error.code);
            assert_eq!(found, expected, "{what}");
        }
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
            let PluginError::Refused { code: found, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, code);
            assert!(error.to_string().lines().count() <= 5, "{error}");
        }
    }

    fn any_library() -> impl Strategy<Value = Vec<u8>> {
        let whole = prop_oneof![
            Just(elf(62, &[(".text", b"code"), (".kymhost", &card("here"))])),
            Just(macho(ARM, "__DATA", "__kymhost", &card("here"))),
            Just(fat(&[(X86, macho(X86, "__DATA", "__kymhost", &card("here")))])),
            Just(pe(0x8664, ".kymhost", &card("here"))),
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
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn any_bytes_give_a_card_or_an_error(bytes in prop_oneof![any_library(), prop::collection::vec(any::<u8>(), 0..300)]) {
            let _ = card_of(Cursor::new(bytes));
        }
    }
}

//! The systems and processors that a library's file is for, and whether this host is one of them.
//!
//! Pure rules: it does not read files.

use crate::error::Refusal;
use kymhost_plugin_api::card::TARGET;
use object::{Architecture, Endianness};
use std::fmt;

/// The format of a library's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Linux and most other Unix systems.
    Elf,
    /// Apple's systems, one architecture.
    MachO,
    /// Apple's systems, several architectures.
    MachOFat,
    /// Windows.
    Pe,
}

impl FileFormat {
    /// Its name in `plugin inspect --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::MachO => "mach-o",
            Self::MachOFat => "mach-o-fat",
            Self::Pe => "pe",
        }
    }

    /// Its name for people, with the systems that load it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Elf => "ELF (Linux and other Unix)",
            Self::MachO => "Mach-O (macOS)",
            Self::MachOFat => "fat Mach-O (macOS)",
            Self::Pe => "PE (Windows)",
        }
    }

    fn is_native(self) -> bool {
        match self {
            Self::Elf => cfg!(all(unix, not(target_vendor = "apple"))),
            Self::MachO | Self::MachOFat => cfg!(target_vendor = "apple"),
            Self::Pe => cfg!(windows),
        }
    }
}

/// A processor architecture that a library has code for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Its name in Rust's target triples (`x86_64`, `aarch64`, `powerpc64`); `unknown` if we do not know it.
    pub arch: String,
    /// 32 or 64.
    pub bits: u8,
    /// Whether the byte order is big-endian.
    pub is_big_endian: bool,
}

impl Platform {
    pub(crate) fn new(arch: Architecture, is_64: bool, endian: Endianness) -> Self {
        let arch = match arch {
            Architecture::I386 => "x86".to_owned(),
            Architecture::X86_64_X32 => "x86_64 (x32)".to_owned(),
            Architecture::Aarch64_Ilp32 => "aarch64 (ilp32)".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        Self { arch, bits: if is_64 { 64 } else { 32 }, is_big_endian: endian == Endianness::Big }
    }

    /// The platform of this process.
    pub fn native() -> Self {
        Self {
            arch: std::env::consts::ARCH.to_owned(),
            bits: if cfg!(target_pointer_width = "64") { 64 } else { 32 },
            is_big_endian: cfg!(target_endian = "big"),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.is_big_endian { "big-endian" } else { "little-endian" };
        write!(f, "{}, {}-bit {order}", self.arch, self.bits)
    }
}

/// Refuses a library that this system's loader cannot load.
pub(crate) fn check_platform(format: FileFormat, platforms: &[Platform], target: &str) -> Result<(), Refusal> {
    let native = Platform::native();
    if format.is_native() && platforms.contains(&native) {
        return Ok(());
    }
    let theirs: Vec<String> = platforms.iter().take(8).map(ToString::to_string).collect();
    Err(Refusal::new(
        "platform",
        format!(
            "it is for another platform: {} for {} (built for {target}); this kymhost runs on {} ({native})",
            format.words(),
            theirs.join("; "),
            TARGET
        ),
        format!(
            "get the plugin's build for {TARGET}, or build it on this machine from its source: cargo build --release (C: make)"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_platform_accepts_only_native_libraries() {
        let native_format = if cfg!(target_vendor = "apple") { FileFormat::MachO } else { FileFormat::Elf };
        let native = Platform::native();
        let swapped = Platform { is_big_endian: !native.is_big_endian, ..native.clone() };
        let narrow = Platform { bits: 32, ..native.clone() };
        let other = Platform { arch: "s390x".into(), bits: 64, is_big_endian: true };
        let cases: [(FileFormat, Vec<Platform>, bool); 7] = [
            (native_format, vec![native.clone()], true),
            (native_format, vec![other.clone(), native.clone()], true),
            (native_format, vec![other.clone()], false),
            (native_format, vec![swapped], false),
            (native_format, vec![narrow], false),
            (native_format, vec![], false),
            (FileFormat::Pe, vec![native.clone()], cfg!(windows)),
        ];
        for (format, platforms, loads) in cases {
            let found = check_platform(format, &platforms, "t");
            assert_eq!(found.is_ok(), loads, "{format:?} {platforms:?}");
            if let Err(refusal) = found {
                let text = format!("{}\n{}", refusal.why, refusal.help);
                for part in [format.words(), TARGET, "get the plugin's build for"] {
                    assert!(text.contains(part), "{text} does not say {part}");
                }
                assert_eq!(text.lines().count(), 2, "{text}");
            }
        }
    }
}

//! Opens what is below a folder, and nothing else: no key leads out of the root, not even through a symbolic link.
//!
//! On Linux the kernel keeps this rule (`openat2`, one call). If it cannot (an old kernel, a sandbox that forbids the
//! call, another Unix), the canonical path is compared with the canonical root first.
//!
//! Folders that are to be changed are opened without following any link ([`Root::open_to_change`]).

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How often a lookup that raced with a rename is tried again.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
const RETRIES: usize = 16;

/// Why something could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A symbolic link leads out of the root.
    LeadsOut,
    /// There is a symbolic link where none is followed: this many bytes of the key are the link's own.
    ThroughLink(usize),
    /// The operating system's word.
    Os(Errno),
}

impl Refusal {
    /// Whether there is simply nothing under that name. (A name too long for the file system cannot be there.)
    pub(crate) fn is_absent(self) -> bool {
        matches!(self, Self::Os(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG))
    }
}

/// A held root folder.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    canonical: PathBuf,
    fd: OwnedFd,
    device: u64,
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    kernel_keeps: bool,
}

impl Root {
    /// Opens a folder that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let canonical = std::fs::canonicalize(&path)?;
        let fd =
            rustix::fs::openat(CWD, &canonical, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let device = device_of(&fd)?;
        #[cfg(all(target_os = "linux", not(feature = "portable")))]
        let kernel_keeps = !matches!(
            kernel_open(&fd, ".", OFlags::PATH | OFlags::CLOEXEC),
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL)
        );
        Ok(Self {
            path,
            canonical,
            fd,
            device,
            #[cfg(all(target_os = "linux", not(feature = "portable")))]
            kernel_keeps,
        })
    }

    /// The folder itself, for looks that need not keep the rule.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The file system that the folder is on.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// The folder as it was named, made absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at a key's text; the empty text is the root itself. Never creates.
    pub(crate) fn open_beneath(&self, key: &str, flags: OFlags) -> Result<OwnedFd, Refusal> {
        let flags = flags | OFlags::CLOEXEC;
        let key = if key.is_empty() { "." } else { key };
        #[cfg(all(target_os = "linux", not(feature = "portable")))]
        if self.kernel_keeps {
            return match kernel_open(&self.fd, key, flags) {
                Ok(fd) => Ok(fd),
                // Links inside the root may be absolute: the kernel refuses those too, so follow them by name and ask
                // again.
                Err(Errno::XDEV) => {
                    let inside = self.canonical_below(key)?;
                    kernel_open(&self.fd, &inside, flags).map_err(|errno| match errno {
                        Errno::XDEV => Refusal::LeadsOut,
                        other => Refusal::Os(other),
                    })
                }
                Err(errno) => Err(Refusal::Os(errno)),
            };
        }
        let inside = self.canonical_below(key)?;
        rustix::fs::openat(&self.fd, &inside, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(Refusal::Os)
    }

    /// Opens a folder that is to be changed: no link is followed, neither on the way nor at its end.
    pub(crate) fn open_to_change(&self, folder: &str) -> Result<OwnedFd, Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        #[cfg(all(target_os = "linux", not(feature = "portable")))]
        if self.kernel_keeps {
            let key = if folder.is_empty() { "." } else { folder };
            return kernel_open_with(&self.fd, key, flags, rustix::fs::ResolveFlags::NO_SYMLINKS)
                .map_err(|errno| self.why_not_to_change(folder, errno));
        }
        let mut open = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(Refusal::Os)?;
        for segment in folder.split('/').filter(|segment| !segment.is_empty()) {
            open = rustix::fs::openat(&open, segment, flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|errno| self.why_not_to_change(folder, errno))?;
        }
        Ok(open)
    }

    /// Names the link if one was in the way: systems differ in what they say of it.
    fn why_not_to_change(&self, folder: &str, errno: Errno) -> Refusal {
        if !matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::MLINK) {
            return Refusal::Os(errno);
        }
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        let link = ends.into_iter().find(|&end| {
            let prefix = folder.get(..end).unwrap_or_default();
            rustix::fs::statat(&self.fd, prefix, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        });
        match link {
            // Out of the root is the worse of the two.
            Some(_) if self.open_beneath(folder, OFlags::RDONLY).err() == Some(Refusal::LeadsOut) => Refusal::LeadsOut,
            Some(end) => Refusal::ThroughLink(end),
            None => Refusal::Os(errno),
        }
    }

    /// The path below the root, without links, that a key's text leads to.
    fn canonical_below(&self, key: &str) -> Result<PathBuf, Refusal> {
        let asked = self.canonical.join(key);
        let target = match std::fs::canonicalize(&asked) {
            Ok(target) => target,
            Err(error) => {
                // Nothing there; the nearest existing folder above shows whether that is inside or outside.
                let above = asked.ancestors().skip(1).find_map(|above| std::fs::canonicalize(above).ok());
                return Err(match above {
                    Some(above) if !above.starts_with(&self.canonical) => Refusal::LeadsOut,
                    _ => Refusal::Os(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
                });
            }
        };
        match target.strip_prefix(&self.canonical) {
            Ok(below) if below.as_os_str().is_empty() => Ok(PathBuf::from(".")),
            Ok(below) => Ok(below.to_owned()),
            Err(_) => Err(Refusal::LeadsOut),
        }
    }

    /// The same folder, with the rule kept by comparing paths, as on other systems; for tests on Linux.
    #[cfg(all(test, target_os = "linux", not(feature = "portable")))]
    pub(crate) fn without_kernel(mut self) -> Self {
        self.kernel_keeps = false;
        self
    }
}

// The width of this field differs from system to system.
#[allow(clippy::unnecessary_cast)]
fn device_of(fd: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_dev as u64)
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn kernel_open<P: rustix::path::Arg + Copy>(root: &OwnedFd, key: P, flags: OFlags) -> Result<OwnedFd, Errno> {
    kernel_open_with(root, key, flags, rustix::fs::ResolveFlags::empty())
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn kernel_open_with<P: rustix::path::Arg + Copy>(
    root: &OwnedFd,
    key: P,
    flags: OFlags,
    more: rustix::fs::ResolveFlags,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    let mut result = rustix::fs::openat2(root, key, flags, Mode::empty(), resolve);
    for _ in 0..RETRIES {
        match result {
            Err(Errno::AGAIN | Errno::INTR) => {
                result = rustix::fs::openat2(root, key, flags, Mode::empty(), resolve);
            }
            _ => break,
        }
    }
    result
}

//! The calls that change a disk: create, write, sync, rename, remove. Every change that the program makes passes here.
//!
//! Never decides what is written where.
//!
//! Each call first asks [`before`], where a test makes it fail. A call's `label` says, for people and for tests, what
//! is changed: the key that a temporary file is to become, not the name that it has in the meantime.
//!
//! # Faults from outside
//!
//! Builds with debug assertions number the changes of the whole process, from 1 on, and read two variables:
//!
//! - `KYMHOST_FAULT=<n>:<what>`: the `n`-th change fails with `ENOSPC`, `EIO` or `EACCES`, and nothing of it is done; or the
//!   process kills itself with SIGKILL right before it (`KILL`); or half of the bytes are written and then it kills itself
//!   (`TORN`; the same as `KILL` for all but writes). `<n>+:<errno>`: that change and all after it fail. `RUN`: right before
//!   that change the program that `KYMHOST_FAULT_RUN` names runs to its end, as another program would at that moment.
//! - `KYMHOST_FAULT_LOG=<file>`: each change appends a line, before it is made: its number, what it is (`create`, `write`,
//!   `sync`, `sync_all`, `rename`, `mkdir`, `remove`) and its label, with a space between.
//!
//! Workers change nothing, so only the host counts. Two runs that do the same count the same. Release builds have
//! none of it.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A change of the disk, for fault injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Write,
    Sync,
    SyncAll,
    Rename,
    MakeFolder,
    Remove,
}

impl Change {
    #[cfg(debug_assertions)]
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::SyncAll => "sync_all",
            Self::Rename => "rename",
            Self::MakeFolder => "mkdir",
            Self::Remove => "remove",
        }
    }
}

/// What is left to be done of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of it, as usual.
    Whole,
    /// Half of what is to be written; then the process is to end ([`outside::kill`]).
    #[cfg(debug_assertions)]
    Torn,
}

#[inline(always)]
fn before(change: Change, label: &str) -> io::Result<Fate> {
    #[cfg(test)]
    faults::before(change)?;
    #[cfg(debug_assertions)]
    return outside::before(change, label);
    #[cfg(not(debug_assertions))]
    {
        let _ = (change, label);
        Ok(Fate::Whole)
    }
}

/// As [`before`], for a write of these bytes, of which half may be written.
#[inline(always)]
fn before_write(label: &str, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let fate = before(Change::Write, label)?;
    #[cfg(debug_assertions)]
    if fate == Fate::Torn {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let written = write(half);
        outside::kill();
        return written;
    }
    let _ = (fate, bytes, write);
    Ok(())
}

/// Makes a new file that nobody else has; as readable for others as the umask allows, like any file a user makes.
pub(crate) fn create(folder: &OwnedFd, name: &str, label: &str) -> io::Result<File> {
    before(Change::Create, label)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?))
}

/// How a lock's file is opened: no link is followed, and a FIFO or terminal in its place is not waited for.
const LOCK: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a lock's file, made if there is none.
pub(crate) fn open_lock(folder: &OwnedFd, name: &str, label: &str) -> io::Result<File> {
    before(Change::Create, label)?;
    let flags = OFlags::RDWR | OFlags::CREATE | LOCK;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?))
}

/// Opens a lock's file that we may only read.
pub(crate) fn open_lock_of_another(folder: &OwnedFd, name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::openat(folder, name, OFlags::RDONLY | LOCK, Mode::empty())?))
}

/// Replaces a file's bytes in place: for what only people read, and nobody while we hold it.
pub(crate) fn overwrite(file: &File, bytes: &[u8], label: &str) -> io::Result<()> {
    before_write(label, bytes, |half| file.write_all_at(half, 0))?;
    // The new text first: who reads in between finds it, with the end of the old one behind it.
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

/// Makes a folder; one that exists is fine. Tells whether it is new.
pub(crate) fn make_folder(parent: &OwnedFd, name: &str, label: &str) -> io::Result<bool> {
    before(Change::MakeFolder, label)?;
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the folder of a store, and those above it, if there are none.
pub(crate) fn make_root(root: &Path) -> io::Result<()> {
    before(Change::MakeFolder, ".")?;
    std::fs::create_dir_all(root)
}

/// A file that is written through [`before`].
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) file: &'a File,
    pub(crate) label: &'a str,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        before_write(self.label, bytes, |half| (&*self.file).write_all(half))?;
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a file's bytes are on disk.
pub(crate) fn sync_file(file: &File, label: &str) -> io::Result<()> {
    before(Change::Sync, label)?;
    file.sync_all()
}

/// Waits until a folder's entries are on disk. Some network file systems know no such thing; there the rename is all
/// there is.
pub(crate) fn sync_folder(folder: &OwnedFd, label: &str) -> io::Result<()> {
    before(Change::Sync, label)?;
    match rustix::fs::fsync(folder) {
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether one call can wait for a whole file system ([`sync_all`]). If not, each file and folder is synced by itself.
pub(crate) const CAN_SYNC_ALL: bool = cfg!(all(target_os = "linux", not(feature = "portable")));

/// Waits until everything that was written to a file system is on disk. Only called if [`CAN_SYNC_ALL`].
pub(crate) fn sync_all(on: &OwnedFd, label: &str) -> io::Result<()> {
    before(Change::SyncAll, label)?;
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    return Ok(rustix::fs::syncfs(on)?);
    #[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
    {
        let _ = on;
        Err(Errno::NOSYS.into())
    }
}

/// Waits until what other programs wrote to a file system is on disk. It changes nothing of ours, so it is no fault
/// point; without it, times are trusted later.
pub(crate) fn sync_mapped(on: &OwnedFd) -> io::Result<()> {
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    return Ok(rustix::fs::syncfs(on)?);
    // POSIX lets `sync` return before the disk has all; Linux waits.
    #[cfg(all(target_os = "linux", feature = "portable"))]
    {
        let _ = on;
        rustix::fs::sync();
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = on;
        Err(Errno::NOSYS.into())
    }
}

/// How a key is opened to look at it only.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) const LOOK: OFlags = OFlags::PATH;
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub(crate) const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Puts `name` of one folder into the place `new_name` of another, over what was there.
pub(crate) fn rename(
    folder: &OwnedFd,
    name: &str,
    new_folder: &OwnedFd,
    new_name: &str,
    label: &str,
) -> io::Result<()> {
    before(Change::Rename, label)?;
    Ok(rustix::fs::renameat(folder, name, new_folder, new_name)?)
}

/// Exchanges what is at two names, atomically.
pub(crate) fn exchange(
    folder: &OwnedFd,
    name: &str,
    other_folder: &OwnedFd,
    other_name: &str,
    label: &str,
) -> io::Result<()> {
    before(Change::Rename, label)?;
    #[cfg(all(any(target_os = "linux", target_vendor = "apple"), not(feature = "portable")))]
    return Ok(rustix::fs::renameat_with(folder, name, other_folder, other_name, rustix::fs::RenameFlags::EXCHANGE)?);
    #[cfg(not(all(any(target_os = "linux", target_vendor = "apple"), not(feature = "portable"))))]
    {
        let _ = (folder, name, other_folder, other_name);
        Err(Errno::NOSYS.into())
    }
}

/// Removes a file or a link (not what it leads to).
pub(crate) fn remove(folder: impl AsFd, name: impl rustix::path::Arg, label: &str) -> io::Result<()> {
    before(Change::Remove, label)?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(crate) fn remove_folder(folder: impl AsFd, name: impl rustix::path::Arg, label: &str) -> io::Result<()> {
    before(Change::Remove, label)?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Faults from outside: see the head of this file.
#[cfg(debug_assertions)]
mod outside {
    use super::{Change, Errno, Fate};
    use rustix::process::Signal;
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::sync::{Mutex, OnceLock, PoisonError};

    const FAULT: &str = "KYMHOST_FAULT";
    const LOG: &str = "KYMHOST_FAULT_LOG";
    const RUN: &str = "KYMHOST_FAULT_RUN";

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Effect {
        Fail(Errno),
        Kill,
        Torn,
        Run,
    }

    /// The change that is hit, whether those after it are too, and how.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Fault {
        pub(crate) at: u64,
        pub(crate) and_after: bool,
        pub(crate) effect: Effect,
    }

    impl Fault {
        pub(crate) fn parse(text: &str) -> Option<Self> {
            let (at, effect) = text.split_once(':')?;
            let effect = match effect {
                "ENOSPC" => Effect::Fail(Errno::NOSPC),
                "EIO" => Effect::Fail(Errno::IO),
                "EACCES" => Effect::Fail(Errno::ACCESS),
                "KILL" => Effect::Kill,
                "TORN" => Effect::Torn,
                "RUN" => Effect::Run,
                _ => return None,
            };
            let (at, and_after) = at.strip_suffix('+').map_or((at, false), |at| (at, true));
            let at = at.parse().ok().filter(|&at| at > 0)?;
            Some(Self { at, and_after, effect })
        }

        fn hits(self, number: u64) -> bool {
            number == self.at || (self.and_after && number > self.at)
        }
    }

    struct Seam {
        fault: Option<Fault>,
        log: Option<File>,
        count: u64,
    }

    fn open() -> Result<Option<Mutex<Seam>>, String> {
        let (fault, log) = (std::env::var_os(FAULT), std::env::var_os(LOG));
        if fault.is_none() && log.is_none() {
            return Ok(None);
        }
        let fault = match fault {
            None => None,
            Some(text) => match text.to_str().and_then(Fault::parse) {
                Some(fault) => Some(fault),
                None => return Err(format!("{FAULT} is {text:?}, expected <n>:<ENOSPC|EIO|EACCES|KILL|TORN|RUN>")),
            },
        };
        let log = match log {
            None => None,
            Some(path) => match OpenOptions::new().create(true).append(true).open(&path) {
                Ok(file) => Some(file),
                Err(error) => return Err(format!("{LOG} is {path:?}, which cannot be written: {error}")),
            },
        };
        Ok(Some(Mutex::new(Seam { fault, log, count: 0 })))
    }

    pub(crate) fn before(change: Change, label: &str) -> io::Result<Fate> {
        static SEAM: OnceLock<Result<Option<Mutex<Seam>>, String>> = OnceLock::new();
        let seam = match SEAM.get_or_init(open) {
            Ok(None) => return Ok(Fate::Whole),
            Ok(Some(seam)) => seam,
            Err(why) => return Err(io::Error::new(io::ErrorKind::InvalidInput, why.as_str())),
        };
        // Held while the line is written: so lines are in the order of their numbers.
        let mut seam = seam.lock().unwrap_or_else(PoisonError::into_inner);
        seam.count += 1;
        let number = seam.count;
        if let Some(log) = &mut seam.log {
            let label = if label.is_empty() { "." } else { label };
            log.write_all(format!("{number} {} {label}\n", change.name()).as_bytes())?;
        }
        match seam.fault.filter(|fault| fault.hits(number)).map(|fault| fault.effect) {
            None => Ok(Fate::Whole),
            Some(Effect::Fail(errno)) => Err(errno.into()),
            Some(Effect::Torn) if change == Change::Write => Ok(Fate::Torn),
            Some(Effect::Run) => run().map(|()| Fate::Whole),
            Some(Effect::Kill | Effect::Torn) => {
                kill();
                Ok(Fate::Whole)
            }
        }
    }

    /// Lets another program do its work now.
    fn run() -> io::Result<()> {
        let program = std::env::var_os(RUN)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{RUN} names no program")))?;
        let status = std::process::Command::new(program).env_remove(FAULT).env_remove(LOG).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the program of {RUN} ended with {status}")))
        }
    }

    /// Ends this process as a power cut would, as far as a process can be.
    pub(crate) fn kill() {
        if rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).is_ok() {
            // It takes effect on the way back from the call, if not here.
            std::thread::park();
        }
    }
}

/// Faults, one thread's own: the n-th change from now on fails, and, if asked, all after it.
#[cfg(test)]
pub(crate) mod faults {
    use super::{Change, Errno};
    use std::cell::{Cell, RefCell};
    use std::io;

    /// What another program does after so many changes.
    type Other = (usize, Box<dyn FnOnce()>);

    thread_local! {
        static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static SEEN: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
    }

    /// Lets `left` changes pass and fails the next one with "no space left on device".
    pub(crate) fn fail_after(left: Option<usize>) {
        LEFT.set(left);
        SEEN.take();
        OTHER.take();
    }

    /// Lets `left` changes pass, then lets another program do its work before the next one.
    pub(crate) fn run_after(left: usize, work: impl FnOnce() + 'static) {
        OTHER.set(Some((left, Box::new(work))));
    }

    /// The changes asked for since [`fail_after`].
    pub(crate) fn seen() -> Vec<Change> {
        SEEN.with_borrow(Clone::clone)
    }

    pub(crate) fn before(change: Change) -> io::Result<()> {
        SEEN.with_borrow_mut(|seen| seen.push(change));
        match OTHER.take() {
            Some((0, work)) => work(),
            Some((left, work)) => OTHER.set(Some((left - 1, work))),
            None => {}
        }
        match LEFT.get() {
            None => Ok(()),
            // Only one fails: tidying up afterwards works, as it does on a full disk.
            Some(0) => {
                LEFT.set(None);
                Err(Errno::NOSPC.into())
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::outside::{Effect, Fault};
    use super::*;

    #[test]
    fn fault_variable_is_parsed() {
        let fault = |at, and_after, effect| Some(Fault { at, and_after, effect });
        for (text, expected) in [
            ("1:ENOSPC", fault(1, false, Effect::Fail(Errno::NOSPC))),
            ("7+:EIO", fault(7, true, Effect::Fail(Errno::IO))),
            ("12:EACCES", fault(12, false, Effect::Fail(Errno::ACCESS))),
            ("3:KILL", fault(3, false, Effect::Kill)),
            ("3:TORN", fault(3, false, Effect::Torn)),
            ("3:RUN", fault(3, false, Effect::Run)),
            ("0:KILL", None),
            ("-1:KILL", None),
            ("KILL", None),
            ("1:kill", None),
            ("1:", None),
            ("", None),
        ] {
            assert_eq!(Fault::parse(text), expected, "{text}");
        }
    }
}

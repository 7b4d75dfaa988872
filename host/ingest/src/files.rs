//! Files of other programs: what each is known by, and bounded reads.

use kymhost_store::time::epoch_ns;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes of a header in text.
pub(crate) const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The most bytes of a document next to a recording.
pub(crate) const MAX_SIDECAR_BYTES: u64 = 256 << 20;

/// Size and time of a file: what it is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileStamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let mtime_ns = metadata.modified().map(epoch_ns).unwrap_or_default();
        Self { size: metadata.len(), mtime_ns }
    }
}

/// Opens a regular file. Never waits for the writer of a FIFO.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let (file, metadata) = open_regular(path).map_err(|error| error.to_string())?;
    let too_large = || format!("it has more than {limit} bytes, the limit for such a file");
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let expected = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    bytes.try_reserve_exact(expected.saturating_add(1)).map_err(|error| error.to_string())?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

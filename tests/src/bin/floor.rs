//! The least that a run with nothing to do can do: lists the images, opens and reads each one's params and marker
//! as bytes, and the table's bytes, once, on one thread, parsing nothing. `kymhost-floor DATASET` prints how many bytes
//! it read. Never: decides, writes, parses.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("usage: kymhost-floor DATASET")?;
    let root = Path::new(&root);
    let images = root.join("images");
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    for entry in fs::read_dir(&images)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let folder = images.join(entry.file_name()).join("analysis/velocity_events");
        for name in ["params.json", "summary.json"] {
            total += read(&folder.join(name), &mut buffer)?;
        }
    }
    total += read(&root.join("tables/kym_velocity_events.parquet"), &mut buffer)?;
    writeln!(io::stdout(), "{total}")?;
    Ok(())
}

/// Reads a file to its end; one that is absent has no bytes.
fn read(path: &Path, buffer: &mut [u8]) -> io::Result<usize> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut total = 0;
    loop {
        match file.read(buffer)? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

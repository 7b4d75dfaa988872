//! Holds a run of the debug program at its changes of the disk, so that a test can do something in its midst.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A named pipe for `KYMHOST_FAULT_LOG`. The program writes a line into it before each change of the disk, and
/// waits if the pipe is full: on Linux after about 80 lines.
#[derive(Debug)]
pub struct Brake {
    path: PathBuf,
    pipe: File,
}

impl Brake {
    /// Makes the pipe at this path.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(path: &Path) -> Self {
        // The command exists on every Unix; the call does not have one name.
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo can be started");
        assert!(made.success(), "mkfifo makes {}", path.display());
        // With both ends open here, neither this process nor the program waits for the other to open it.
        let pipe = OpenOptions::new().read(true).write(true).open(path).expect("an open pipe");
        #[cfg(target_os = "linux")]
        rustix::pipe::fcntl_setpipe_size(&pipe, 4096).expect("a small pipe");
        Self { path: path.to_owned(), pipe }
    }

    /// Lets the program make a few more changes. Waits until it wants to.
    ///
    /// # Panics
    /// If the pipe cannot be read.
    pub fn advance(&mut self) {
        let mut lines = [0; 1024];
        let _ = self.pipe.read(&mut lines).expect("lines of the log");
    }

    /// Lets the program go on to its end. It must have made a change already.
    ///
    /// # Panics
    /// If the pipe cannot be read.
    pub fn release(self) {
        let mut rest = File::open(&self.path).expect("the pipe's end");
        drop(self.pipe);
        std::thread::spawn(move || std::io::copy(&mut rest, &mut std::io::sink()));
    }
}

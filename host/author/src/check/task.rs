//! What the suite and the process of one check say to each other, and starting that process.
//!
//! A process is started as `kymhost plugin-check-one TASK LIBRARY SANDBOX INDEXER SEED TIMEOUT CALLS`. Standard input is a
//! pipe that stays open as long as the suite waits. Each answer is a line of JSON on standard output.

use crate::check::check_list::Check;
use crate::check::options::CHILD;
use crate::check::report::Outcome;
use crate::check::sandbox::Sandbox;
use crate::check::writes::Use;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Load the library.
    Load,
    /// Run the indexer over all images, and say what it looked for in vain.
    Seek,
    /// Extract all images of the dataset into a folder.
    Extract,
    /// Extract all images of the other dataset into a folder.
    ExtractOther,
    /// Use the indexer where it may not write elsewhere than in the sandbox.
    UseDenied,
    /// Do a check.
    Check(Check),
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load library",
            Self::Seek => "seek",
            Self::Extract => "extract",
            Self::ExtractOther => "extract other",
            Self::UseDenied => "use denied",
            Self::Check(check) => check.name(),
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let tasks = [Self::Load, Self::Seek, Self::Extract, Self::ExtractOther, Self::UseDenied];
        let task = tasks.into_iter().find(|task| task.name() == name);
        task.or_else(|| Check::from_name(name).map(Self::Check))
    }
}

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The library is loaded.
    Loaded,
    /// It is not.
    Refused {
        /// Its code.
        code: String,
        /// Why.
        why: String,
        /// What to do about it.
        help: String,
    },
    /// Keys below an image's group under which nothing was found.
    Sought {
        /// They.
        keys: Vec<String>,
        /// How many images it gave a hash and rows for.
        taken: usize,
    },
    /// All images are extracted.
    Extracted,
    /// The indexer was used where it might not write; `None` where this system cannot forbid it.
    Used {
        /// What came of it.
        used: Option<Use>,
    },
    /// What the check came to.
    Checked(Outcome),
}

/// What a process is started with.
#[derive(Debug, Clone)]
pub(crate) struct Order<'a> {
    pub program: &'a Path,
    pub library: &'a Path,
    pub sandbox: &'a Sandbox,
    pub indexer: &'a str,
    pub seed: u64,
    pub timeout: Duration,
    /// Extractions over which memory is to be steady.
    pub calls: u64,
}

impl Order<'_> {
    /// The command, in the folders and the environment of the sandbox.
    pub(crate) fn command(&self, task: Task) -> Command {
        let mut command = Command::new(self.program);
        command.arg(CHILD).arg(task.name()).arg(self.library).arg(self.sandbox.root()).arg(self.indexer);
        command.arg(self.seed.to_string()).arg(self.timeout.as_millis().to_string()).arg(self.calls.to_string());
        let sandbox = self.sandbox;
        command.current_dir(sandbox.work()).env("HOME", sandbox.home());
        for name in ["TMPDIR", "TMP", "TEMP"] {
            command.env(name, sandbox.temporary());
        }
        for (name, below) in [
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_STATE_HOME", ".local/state"),
        ] {
            command.env(name, sandbox.home().join(below));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

/// A process that was started, and the pipes that it lives by.
pub(crate) struct Started {
    pub child: Child,
    /// While it is open the process lives.
    pub lifeline: Option<ChildStdin>,
    pub output: Option<ChildStdout>,
}

impl Started {
    /// Starts it.
    pub(crate) fn new(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (lifeline, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self { child, lifeline, output })
    }
}

/// The longest answer that is read: a message, or a list of keys.
const MAX_ANSWER: u64 = 16 << 20;

/// The answer of a process, when it comes; `None` where it ends without one.
pub(crate) fn listen(output: ChildStdout) -> Option<Answer> {
    let mut line = Vec::new();
    BufReader::new(io::Read::take(output, MAX_ANSWER)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

//! The messages between the suite and the process of one check, and how that process is started.
//!
//! A process is started as `kymhost plugin-check-one TASK LIBRARY SANDBOX INDEXER SEED TIMEOUT CALLS`. Its standard input is
//! a pipe that stays open as long as the suite waits. Its answer is one line of JSON on standard output.

use crate::check::check_list::Check;
use crate::check::options::CHILD;
use crate::check::report::Outcome;
use crate::check::sandbox::Sandbox;
use crate::check::writes::Use;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What a process has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Load the library.
    Load,
    /// Run the indexer over all images, and report which keys it did not find.
    Seek,
    /// Extract all images of the dataset into a folder.
    Extract,
    /// Extract all images of the other dataset into a folder.
    ExtractOther,
    /// Use the indexer while the system refuses writes outside of the sandbox.
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

    fn from_name(name: &str) -> Option<Self> {
        let tasks = [Self::Load, Self::Seek, Self::Extract, Self::ExtractOther, Self::UseDenied];
        let task = tasks.into_iter().find(|task| task.name() == name);
        task.or_else(|| Check::from_name(name).map(Self::Check))
    }
}

/// What a process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The library is loaded.
    Loaded,
    /// The library is refused.
    Refused {
        /// The refusal's code.
        code: String,
        /// Why.
        why: String,
        /// What to do about it.
        help: String,
    },
    /// The indexer has run over all images.
    Missing {
        /// Keys below an image's group that it read and that do not exist.
        keys: Vec<String>,
        /// How many images it gave a hash and rows for.
        taken: usize,
    },
    /// All images are extracted.
    Extracted,
    /// The indexer was used while writes were refused; `None` if this system cannot refuse them.
    Used {
        /// What it did.
        used: Option<Use>,
    },
    /// The result of the check.
    Checked(Outcome),
}

/// What a process is started with.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub program: PathBuf,
    pub library: PathBuf,
    pub sandbox: Sandbox,
    pub indexer: String,
    pub seed: u64,
    pub timeout: Duration,
    /// Extractions for the memory check.
    pub calls: u64,
}

impl Order {
    /// The command, in the folders and the environment of the sandbox.
    pub(crate) fn command(&self, task: Task) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(CHILD).arg(task.name()).arg(&self.library).arg(self.sandbox.root()).arg(&self.indexer);
        command.arg(self.seed.to_string()).arg(self.timeout.as_millis().to_string()).arg(self.calls.to_string());
        let home = self.sandbox.home();
        command.current_dir(self.sandbox.work()).env("HOME", &home);
        for name in ["TMPDIR", "TMP", "TEMP"] {
            command.env(name, self.sandbox.temporary());
        }
        for (name, folder) in [
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_STATE_HOME", ".local/state"),
        ] {
            command.env(name, home.join(folder));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// The task and the order of a process that was started with [`Order::command`]: its arguments after [`CHILD`].
    pub(crate) fn parse(arguments: &[OsString], program: PathBuf) -> Option<(Task, Self)> {
        let [task, library, sandbox, indexer, seed, timeout, calls] = arguments else { return None };
        let order = Self {
            program,
            library: library.into(),
            sandbox: Sandbox::at(Path::new(sandbox)),
            indexer: indexer.to_str()?.to_owned(),
            seed: seed.to_str()?.parse().ok()?,
            timeout: Duration::from_millis(timeout.to_str()?.parse().ok()?),
            calls: calls.to_str()?.parse().ok()?,
        };
        Some((Task::from_name(task.to_str()?)?, order))
    }
}

/// A process that was started, and its pipes.
pub(crate) struct Started {
    pub child: Child,
    /// The process ends itself when this is closed.
    pub lifeline: Option<ChildStdin>,
    pub output: Option<ChildStdout>,
}

impl Started {
    /// Starts the process.
    pub(crate) fn new(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (lifeline, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self { child, lifeline, output })
    }
}

/// No longer answer is read: a message, or a list of keys.
const MAX_ANSWER: u64 = 16 << 20;

/// Waits for the answer of a process; `None` if it ends without one.
pub(crate) fn listen(output: ChildStdout) -> Option<Answer> {
    let mut line = Vec::new();
    BufReader::new(io::Read::take(output, MAX_ANSWER)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

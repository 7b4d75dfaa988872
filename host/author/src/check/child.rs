//! The process of one check: loads the library, does one thing with it, and says what came of it.
//!
//! Owns: the arguments and answers between the suite and this process. Never: lets the plugin near the pipe of the answers.
//!
//! Started as `kymhost plugin-check-one TASK LIBRARY SANDBOX INDEXER SEED TIMEOUT CALLS`. Standard input is a pipe that stays open as long as
//! the suite waits; when it closes, this process ends itself. Each answer is a line of JSON on standard output, which is taken
//! away from the plugin before its library is opened: what it prints goes to a file.

use super::judge::{self, Subject};
use super::sandbox::Sandbox;
use super::writes::{Use, deny_writes};
use super::{CHILD, Check, Outcome};
use kymhost_plugin::{Indexer, IndexerInfo, load_library, take_pipes, watch_host};
use kymhost_store::Diagnose as _;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
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

    fn from_name(name: &str) -> Option<Self> {
        let tasks = [Self::Load, Self::Seek, Self::Extract, Self::ExtractOther, Self::UseDenied];
        let task = tasks.into_iter().find(|task| task.name() == name);
        task.or_else(|| Check::from_name(name).map(Self::Check))
    }
}

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
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
pub(super) struct Order<'a> {
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
    pub(super) fn command(&self, task: Task) -> Command {
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

/// What the hidden subcommand [`CHILD`] calls, before anything else has touched standard output.
pub fn check_main(arguments: &[OsString]) -> ExitCode {
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "kymhost {CHILD}: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(arguments: &[OsString]) -> io::Result<()> {
    let usage = || io::Error::other("is started by `kymhost plugin check` itself");
    let [task, library, sandbox, indexer, seed, timeout, calls] = arguments else { return Err(usage()) };
    let task = task.to_str().and_then(Task::from_name).ok_or_else(usage)?;
    let seed = seed.to_str().and_then(|seed| seed.parse().ok()).ok_or_else(usage)?;
    let timeout = timeout.to_str().and_then(|timeout| timeout.parse().ok()).map(Duration::from_millis);
    let timeout = timeout.ok_or_else(usage)?;
    let calls = calls.to_str().and_then(|calls| calls.parse().ok()).ok_or_else(usage)?;
    let indexer = indexer.to_str().ok_or_else(usage)?;
    let (library, sandbox) = (PathBuf::from(library), Sandbox::at(Path::new(sandbox)));
    let (input, mut output) = take_pipes()?;
    let printed = File::options().create(true).append(true).open(sandbox.printed())?;
    rustix::stdio::dup2_stdout(printed)?;
    watch_host(&input)?;
    if task == Task::UseDenied && !deny_writes(&sandbox) {
        return say(&mut output, &Answer::Used { used: None });
    }

    let loaded = match load_library(&library) {
        Ok(loaded) => loaded,
        Err(error) => {
            let said = error.diagnose();
            let (why, help) = (said.why.unwrap_or(said.what), said.help.unwrap_or_default());
            return say(&mut output, &Answer::Refused { code: said.code.to_owned(), why, help });
        }
    };
    if task == Task::Load {
        return say(&mut output, &Answer::Loaded);
    }
    let others: Vec<IndexerInfo> =
        loaded.iter().map(|loaded| loaded.info()).filter(|info| info.name != indexer).cloned().collect();
    let found: Option<Box<dyn Indexer>> = loaded.into_iter().find(|loaded| loaded.info().name == indexer);
    let found = found.ok_or_else(|| io::Error::other("the library has no such indexer"))?;
    let program = std::env::current_exe()?;
    // A call that never returns may hold it until this process ends.
    let indexer: &'static dyn Indexer = Box::leak(found);
    let subject = Subject {
        indexer,
        program: &program,
        library: &library,
        sandbox: &sandbox,
        seed,
        timeout,
        calls,
        others: &others,
    };
    let answer = match task {
        Task::Load => Answer::Loaded,
        Task::Seek => {
            let (keys, taken) = judge::sought(&subject).map_err(io::Error::other)?;
            Answer::Sought { keys, taken }
        }
        Task::Extract | Task::ExtractOther => {
            let dataset = if task == Task::Extract { sandbox.dataset() } else { sandbox.other() };
            judge::extract_into(&subject, &dataset, &sandbox.out()).map_err(io::Error::other)?;
            Answer::Extracted
        }
        Task::UseDenied => Answer::Used { used: Some(judge::used(&subject).map_err(io::Error::other)?) },
        Task::Check(check) => Answer::Checked(judge::judge(check, &subject)),
    };
    say(&mut output, &answer)
}

fn say(output: &mut File, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    output.write_all(&line)
}

/// A process that was started, and the pipes that it lives by.
pub(super) struct Started {
    pub child: Child,
    /// While it is open the process lives.
    pub lifeline: Option<ChildStdin>,
    pub output: Option<ChildStdout>,
}

impl Started {
    /// Starts it.
    pub(super) fn new(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (lifeline, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self { child, lifeline, output })
    }
}

/// The longest answer that is read: a message, or a list of keys.
const MAX_ANSWER: u64 = 16 << 20;

/// The answer of a process, when it comes; `None` where it ends without one.
pub(super) fn listen(output: ChildStdout) -> Option<Answer> {
    let mut line = Vec::new();
    BufReader::new(io::Read::take(output, MAX_ANSWER)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

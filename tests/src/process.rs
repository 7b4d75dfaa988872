//! Running the program under test as a user would: a process of its own, in a clean environment.
//!
//! Sets arguments and environment, captures output, limits time, and shows everything if an expectation fails.
//! It does not know what the program's output means.

use crate::TestDir;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A hang fails a test after this long. Nothing that works takes nearly as long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pipes close this soon after the program ends, unless it started a process that outlives it.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// One run of a program, by default of `kymhost`.
#[derive(Debug)]
pub struct Run {
    program: PathBuf,
    before: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    stdin: Vec<u8>,
    patience: Duration,
}

impl Run {
    /// A run of `kymhost` with these arguments.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Self {
        Self::program(&crate::program(), args)
    }

    /// A run of any program with these arguments.
    pub fn program<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(program: &Path, args: I) -> Self {
        Self {
            program: program.to_path_buf(),
            before: Vec::new(),
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env: Vec::new(),
            folder: None,
            stdin: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// `--dataset PATH`.
    #[must_use]
    pub fn dataset(self, path: &Path) -> Self {
        self.arg("--dataset").arg(path)
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working folder (default: a fresh, empty one).
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_path_buf());
        self
    }

    /// What it reads on its standard input (default: nothing).
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// A command that is put before the program: `strace -f …`, `setpriv …`.
    #[must_use]
    pub fn under<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, command: I) -> Self {
        self.before = command.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// How long it may take before it counts as hanging.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The command as it will be started, with `home` as its home and, by default, as its working folder.
    /// It leads a process group of its own.
    fn command(&self, home: &Path) -> Command {
        let mut words =
            self.before.iter().chain([self.program.as_os_str().to_owned()].iter()).cloned().collect::<Vec<_>>();
        words.extend(self.args.iter().cloned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().env("HOME", home).process_group(0);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.as_deref().unwrap_or(home));
        command
    }

    /// Starts it with nothing captured and no input, for a test that ends it itself. `home` must outlive it.
    #[track_caller]
    pub fn start(&self, home: &Path) -> Child {
        let mut command = self.command(home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        spawn(&mut command).unwrap_or_else(|error| panic!("start {}: {error}", self.line()))
    }

    /// Runs it to its end. A run that hangs, or that leaves processes behind which hold its output open, is killed
    /// and fails the test.
    #[track_caller]
    pub fn output(self) -> Output {
        let home = TestDir::new();
        let mut command = self.command(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command).unwrap_or_else(|error| panic!("start {}: {error}", self.line()));
        let group = rustix::process::Pid::from_child(&child);
        let line = self.line();

        let input = child.stdin.take();
        let bytes = self.stdin;
        std::thread::spawn(move || {
            // A program that does not want its input closes it.
            let _ = input.map(|mut input| input.write_all(&bytes));
        });
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());

        let status = wait(&mut child, self.patience);
        let deadline = Instant::now() + AFTERLIFE;
        let mut trouble =
            if status.is_none() { Some(format!("it hung for {:?} and was killed", self.patience)) } else { None };
        if status.is_none() {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait();
        }
        let mut text = |pipe: mpsc::Receiver<Vec<u8>>| -> Vec<u8> {
            match pipe.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => bytes,
                Err(_) => {
                    trouble.get_or_insert_with(|| {
                        "a process that it started outlives it and holds its output open".into()
                    });
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                    pipe.recv_timeout(AFTERLIFE).unwrap_or_default()
                }
            }
        };
        let stdout = text(stdout);
        let stderr = text(stderr);
        let output = Output { line, status: status.unwrap_or_default(), stdout, stderr };
        if let Some(trouble) = trouble {
            panic!("{trouble}\n{output}");
        }
        output
    }

    fn line(&self) -> String {
        let words = self.before.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let words = words.chain(self.args.iter().map(OsString::as_os_str));
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// Starts a command. A program that this process has just written is busy for a moment if another thread starts a
/// process at the same time, because that process has the open file until it runs its own program.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let deadline = Instant::now() + AFTERLIFE;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits for a process to end; `None` if it does not end in time.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("the state of a child process") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Starts a process and kills it after `moment`. If it has ended by then, another one is started and killed
/// after half the time, and so on: one is always killed in the midst, however fast or busy the machine is.
/// `start` also gives what belongs to the process, e.g. the dataset, and that of the killed one is returned.
///
/// # Panics
/// If a process cannot be killed.
#[track_caller]
pub fn kill_in_the_midst<T>(mut moment: Duration, mut start: impl FnMut() -> (Child, T)) -> T {
    for _ in 0..40 {
        let (mut child, belongings) = start();
        std::thread::sleep(moment);
        child.kill().expect("kill the process");
        let status = wait(&mut child, PATIENCE).expect("the process's end");
        if status.code().is_none() {
            return belongings;
        }
        moment /= 2;
    }
    panic!("the process ends before it can be killed");
}

/// Waits until `look` finds something. It looks often; the limit only ends a test that would otherwise hang.
///
/// # Panics
/// If nothing is found in ten minutes.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Output {
    line: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}", self.line)?;
        writeln!(f, "-- {}", self.status)?;
        writeln!(f, "-- stdout\n{}", self.stdout())?;
        writeln!(f, "-- stderr\n{}--", self.stderr())
    }
}

impl Output {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard output's bytes.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Its standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails, showing everything, unless it exited with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "exit code\n{self}");
        self
    }

    /// Fails, showing everything, unless all these texts are in its standard error.
    #[track_caller]
    pub fn expect_stderr(self, texts: &[&str]) -> Self {
        let stderr = self.stderr();
        for text in texts {
            assert!(stderr.contains(text), "stderr lacks {text:?}\n{self}");
        }
        self
    }

    /// Fails, showing everything, unless all these texts are in its standard output.
    #[track_caller]
    pub fn expect_stdout(self, texts: &[&str]) -> Self {
        let stdout = self.stdout();
        for text in texts {
            assert!(stdout.contains(text), "stdout lacks {text:?}\n{self}");
        }
        self
    }

    /// The one JSON document on its standard output; fails, showing everything, if there is anything else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }
}

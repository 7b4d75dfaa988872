//! The process of one check: loads the library, does one thing with it, and says what came of it.
//!
//! It takes standard output away from the plugin before it opens the library: what the plugin prints goes to a file. When
//! standard input closes, this process ends itself.

use crate::check::judge::judge;
use crate::check::options::CHILD;
use crate::check::other_process::{extract_into, sought, used};
use crate::check::sandbox::Sandbox;
use crate::check::subject::Subject;
use crate::check::task::{Answer, Task};
use crate::check::writes::deny_writes;
use kymhost_plugin::{Indexer, IndexerInfo, load_library, take_pipes, watch_host};
use kymhost_store::Diagnose as _;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

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
            let (keys, taken) = sought(&subject).map_err(io::Error::other)?;
            Answer::Sought { keys, taken }
        }
        Task::Extract | Task::ExtractOther => {
            let dataset = if task == Task::Extract { sandbox.dataset() } else { sandbox.other() };
            extract_into(&subject, &dataset, &sandbox.out()).map_err(io::Error::other)?;
            Answer::Extracted
        }
        Task::UseDenied => Answer::Used { used: Some(used(&subject).map_err(io::Error::other)?) },
        Task::Check(check) => Answer::Checked(judge(check, &subject)),
    };
    say(&mut output, &answer)
}

fn say(output: &mut File, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    output.write_all(&line)
}

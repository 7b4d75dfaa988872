//! The process of one check: loads the library, does one task with it, and answers.
//!
//! It takes standard output away from the plugin before it opens the library: what the plugin prints goes to a file. When
//! standard input closes, this process ends itself.

use crate::check::judge::judge;
use crate::check::options::CHILD;
use crate::check::other_process::{extract_into, missing_keys, used};
use crate::check::subject::Subject;
use crate::check::task::{Answer, Order, Task};
use crate::check::writes::deny_writes;
use kymhost_plugin::{Indexer, IndexerInfo, load_library, take_pipes, watch_host};
use kymhost_store::Diagnose as _;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the hidden subcommand [`CHILD`]. Call it before anything else uses standard output.
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
    let (task, order) = Order::parse(arguments, std::env::current_exe()?)
        .ok_or_else(|| io::Error::other("only `kymhost plugin check` starts this command"))?;
    let (input, mut output) = take_pipes()?;
    let printed = File::options().create(true).append(true).open(order.sandbox.printed())?;
    rustix::stdio::dup2_stdout(printed)?;
    watch_host(&input)?;
    let mut line = serde_json::to_vec(&answer(task, &order)?)?;
    line.push(b'\n');
    output.write_all(&line)
}

fn answer(task: Task, order: &Order) -> io::Result<Answer> {
    if task == Task::UseDenied && !deny_writes(&order.sandbox) {
        return Ok(Answer::Used { used: None });
    }
    let loaded = match load_library(&order.library) {
        Ok(loaded) => loaded,
        Err(error) => {
            let said = error.diagnose();
            let (why, help) = (said.why.unwrap_or(said.what), said.help.unwrap_or_default());
            return Ok(Answer::Refused { code: said.code.to_owned(), why, help });
        }
    };
    if task == Task::Load {
        return Ok(Answer::Loaded);
    }
    let (mut found, others): (Vec<_>, Vec<_>) =
        loaded.into_iter().partition(|loaded| loaded.info().name == order.indexer);
    let found = found.pop().ok_or_else(|| io::Error::other("the library has no such indexer"))?;
    let others: Vec<IndexerInfo> = others.iter().map(|other| other.info().clone()).collect();
    // A call that never returns may use it until this process ends.
    let indexer: &'static dyn Indexer = Box::leak(found);
    let subject = Subject { indexer, order, others: &others };
    Ok(match task {
        Task::Load => Answer::Loaded,
        Task::Seek => {
            let (keys, taken) = missing_keys(&subject).map_err(io::Error::other)?;
            Answer::Missing { keys, taken }
        }
        Task::Extract | Task::ExtractOther => {
            let sandbox = &order.sandbox;
            let dataset = if task == Task::Extract { sandbox.dataset() } else { sandbox.other() };
            extract_into(&subject, &dataset, &sandbox.out()).map_err(io::Error::other)?;
            Answer::Extracted
        }
        Task::UseDenied => Answer::Used { used: Some(used(&subject).map_err(io::Error::other)?) },
        Task::Check(check) => Answer::Checked(judge(check, &subject)),
    })
}

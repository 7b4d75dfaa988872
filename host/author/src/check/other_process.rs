//! What another process does with the indexer: in other folders and another environment, or without permission to write.
//!
//! Responsible for starting that process and for the files that it leaves. The checks decide what its answers mean.

use crate::check::report::Outcome;
use crate::check::sandbox::Sandbox;
use crate::check::subject::{Subject, records};
use crate::check::task::{Answer, Started, Task, listen};
use crate::check::writes::{Use, written_bytes};
use arrow::array::RecordBatch;
use kymhost_dataset::{Dataset, InputState};
use kymhost_plugin::{read_rows, write_rows};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

impl Subject<'_> {
    /// What another process makes of a dataset's images: in these folders, or elsewhere.
    pub(crate) fn in_another_process(&self, task: Task, is_elsewhere: bool) -> Result<Vec<Elsewhere>, Outcome> {
        let (answer, sandbox) = self.answer_of_another(task, is_elsewhere)?;
        if answer != Some(Answer::Extracted) {
            return Err(Outcome::failed("another process died of the same work"));
        }
        let count = self.records()?.len();
        (0..count).map(|number| Ok(Elsewhere::read(&sandbox.out(), number)?)).collect()
    }

    /// The answer of another process and its folders; `None` if it dies.
    pub(crate) fn answer_of_another(
        &self,
        task: Task,
        is_elsewhere: bool,
    ) -> Result<(Option<Answer>, Sandbox), Outcome> {
        let mut order = self.order.clone();
        if is_elsewhere {
            // Rows may hold the time in whole seconds.
            thread::sleep(Duration::from_millis(1100));
            let root = order.sandbox.out().join("elsewhere").join("a folder further down");
            order.sandbox = Sandbox::make(&root, &order.sandbox.dataset(), &order.sandbox.other())?;
        }
        let mut command = order.command(task);
        if is_elsewhere {
            command.envs([
                ("TZ", "Asia/Kathmandu"),
                ("LANG", "de_DE.UTF-8"),
                ("LC_ALL", "de_DE.UTF-8"),
                ("USER", "another"),
                ("LOGNAME", "another"),
                ("HOSTNAME", "elsewhere"),
                ("KYMHOST_PLUGIN_CHECK", "elsewhere"),
            ]);
        }
        let mut started = Started::new(&mut command)?;
        let answer = started.output.take().and_then(listen);
        drop(started.lifeline.take());
        let _ = started.child.kill();
        let _ = started.child.wait();
        Ok((answer, order.sandbox))
    }
}

/// The keys that an indexer reads and that do not exist, and how many images it accepts.
pub(crate) fn missing_keys(subject: &Subject<'_>) -> Result<(Vec<String>, usize), String> {
    let mut keys = BTreeSet::new();
    let mut taken = 0;
    for record in subject.records().map_err(|outcome| outcome.message)? {
        let inputs = subject.inputs(&record);
        keys.extend(inputs.into_iter().filter(|input| input.found == InputState::Absent).map(|input| input.key));
        taken += usize::from(subject.ask(&record).failures().next().is_none());
    }
    Ok((keys.into_iter().collect(), taken))
}

/// Uses the indexer on all records, and measures what is written meanwhile.
pub(crate) fn used(subject: &Subject<'_>) -> Result<Use, String> {
    let records = subject.records().map_err(|outcome| outcome.message)?;
    let sandbox = &subject.order.sandbox;
    let before = written_bytes(sandbox);
    let failure = |record| subject.ask(record).failures().next().map(|failure| failure.message.clone());
    let failures = records.iter().map(failure).collect();
    let _ = subject.indexer.read_old_marker(b"{\"n_events\": 1}");
    let after = written_bytes(sandbox);
    let written_bytes = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    Ok(Use { written_bytes, failures })
}

/// What another process made of an image.
pub(crate) struct Elsewhere {
    pub(crate) hash: Result<String, String>,
    pub(crate) rows: Result<RecordBatch, String>,
}

/// Makes hashes and rows of a dataset's images, and leaves them in a folder.
pub(crate) fn extract_into(subject: &Subject<'_>, dataset: &Path, out: &Path) -> Result<(), String> {
    let open = Dataset::open(dataset).map_err(|error| error.to_string())?;
    for (number, record) in records(&open).map_err(|outcome| outcome.message)?.iter().enumerate() {
        let done = Elsewhere {
            hash: subject.hash(record).map_err(|failure| failure.message),
            rows: subject.rows(record).map_err(|failure| failure.message),
        };
        done.write(out, number).map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Elsewhere {
    fn write(&self, out: &Path, number: usize) -> io::Result<()> {
        let text = serde_json::to_vec(&(&self.hash, self.rows.as_ref().err()))?;
        fs::write(out.join(format!("{number}.json")), text)?;
        let mut bytes = Vec::new();
        if let Ok(rows) = &self.rows {
            write_rows(rows, &mut bytes).map_err(io::Error::other)?;
        }
        fs::write(out.join(format!("{number}.arrow")), bytes)
    }

    fn read(out: &Path, number: usize) -> io::Result<Self> {
        let text = fs::read(out.join(format!("{number}.json")))?;
        let (hash, failure): (Result<String, String>, Option<String>) = serde_json::from_slice(&text)?;
        let bytes = fs::read(out.join(format!("{number}.arrow")))?;
        let rows = match failure {
            Some(why) => Err(why),
            None => Ok(read_rows(bytes.into()).map_err(io::Error::other)?),
        };
        Ok(Self { hash, rows })
    }
}

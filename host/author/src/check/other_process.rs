//! What another process does with the indexer: in other folders, another environment, or without leave to write.
//!
//! Responsible for starting that process and for what it leaves behind. What its answers mean is the checks' affair.

use crate::check::report::Outcome;
use crate::check::sandbox::Sandbox;
use crate::check::subject::{Subject, records};
use crate::check::task::{Answer, Order, Started, Task, listen};
use crate::check::writes::{Use, written_bytes};
use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use kymhost_dataset::{Dataset, InputState};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

impl Subject<'_> {
    /// What another process makes of a dataset's images; in other folders and another environment, or in these.
    pub(crate) fn in_another_process(&self, task: Task, is_elsewhere: bool) -> Result<Vec<Elsewhere>, Outcome> {
        let (answer, sandbox) = self.answer_of_another(task, is_elsewhere)?;
        if answer != Some(Answer::Extracted) {
            return Err(Outcome::failed("another process that does the same has died of it"));
        }
        let mut all = Vec::new();
        for number in 0..self.records()?.len() {
            all.push(Elsewhere::read(&sandbox.out(), number)?);
        }
        Ok(all)
    }

    /// What another process answers, `None` where it dies; and where it lived.
    pub(crate) fn answer_of_another(
        &self,
        task: Task,
        is_elsewhere: bool,
    ) -> Result<(Option<Answer>, Sandbox), Outcome> {
        let sandbox = if is_elsewhere {
            // Some clocks that rows could hold tick once a second.
            thread::sleep(Duration::from_millis(1100));
            let root = self.sandbox.out().join("elsewhere").join("a folder further down");
            Sandbox::make(&root, &self.sandbox.dataset(), &self.sandbox.other())?
        } else {
            self.sandbox.clone()
        };
        let order = Order {
            program: self.program,
            library: self.library,
            sandbox: &sandbox,
            indexer: &self.indexer.info().name,
            seed: self.seed,
            timeout: self.timeout,
            calls: self.calls,
        };
        let mut command = order.command(task);
        if is_elsewhere {
            for (name, value) in [
                ("TZ", "Asia/Kathmandu"),
                ("LANG", "de_DE.UTF-8"),
                ("LC_ALL", "de_DE.UTF-8"),
                ("USER", "another"),
                ("LOGNAME", "another"),
                ("HOSTNAME", "elsewhere"),
                ("KYMHOST_PLUGIN_CHECK", "elsewhere"),
            ] {
                command.env(name, value);
            }
        }
        let mut started = Started::new(&mut command)?;
        let answer = started.output.take().and_then(listen);
        drop(started.lifeline.take());
        let _ = started.child.kill();
        let _ = started.child.wait();
        Ok((answer, sandbox))
    }
}

/// What an indexer looks for in vain, and how many images it takes.
pub(crate) fn sought(subject: &Subject<'_>) -> Result<(Vec<String>, usize), String> {
    let mut keys = BTreeSet::new();
    let mut taken = 0;
    for record in subject.records().map_err(|outcome| outcome.message)? {
        let inputs = subject.inputs(&record);
        keys.extend(inputs.into_iter().filter(|input| input.found == InputState::Absent).map(|input| input.key));
        taken += usize::from(subject.hash(&record).is_ok() && subject.rows(&record).is_ok());
    }
    Ok((keys.into_iter().collect(), taken))
}

/// Uses the indexer on all records, and looks what was written meanwhile.
pub(crate) fn used(subject: &Subject<'_>) -> Result<Use, String> {
    let records = subject.records().map_err(|outcome| outcome.message)?;
    let before = written_bytes(subject.sandbox);
    let mut failures = Vec::new();
    for record in &records {
        let hash = subject.hash(record);
        let _ = subject.indexer.params(record);
        let rows = subject.rows(record);
        failures.push(hash.err().or(rows.err()).map(|failure| failure.message));
    }
    let _ = subject.indexer.read_old_marker(b"{\"n_events\": 1}");
    let after = written_bytes(subject.sandbox);
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
        if let Ok(rows) = &self.rows {
            let file = File::create(out.join(format!("{number}.arrow")))?;
            let mut writer = StreamWriter::try_new(file, &rows.schema()).map_err(io::Error::other)?;
            writer.write(rows).and_then(|()| writer.finish()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn read(out: &Path, number: usize) -> io::Result<Self> {
        let text = fs::read(out.join(format!("{number}.json")))?;
        let (hash, why): (Result<String, String>, Option<String>) = serde_json::from_slice(&text)?;
        let rows = match why {
            Some(why) => Err(why),
            None => {
                let file = File::open(out.join(format!("{number}.arrow")))?;
                let mut reader = StreamReader::try_new(file, None).map_err(io::Error::other)?;
                let batch = reader.next().ok_or_else(|| io::Error::other("no rows were left"))?;
                Ok(batch.map_err(io::Error::other)?)
            }
        };
        Ok(Self { hash, rows })
    }
}

//! The checks themselves, as they run in a process of their own with the indexer in hand.
//!
//! Owns: what is called with what, and what that says of the indexer. Never: starts itself; damages (see [`super::damage`]).
//!
//! Each is wrong in one way only: a check that finds another check's fault is skipped and names that check.

use super::child::{Answer, Order, Started, Task, listen};
use super::compare::{CALLS, Memory, all_changed, difference, growth, one_changed, schema_conflict};
use super::damage;
use super::sandbox::{Sandbox, copy_tree};
use super::writes::{Use, verdict, written_bytes};
use super::{Check, Outcome, Status};
use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use fastrand::Rng;
use kymhost_dataset::{Dataset, DatasetError, Input, InputState, Record, artifact_keys};
use kymhost_plugin::{Failure, FailureCause, FailureKind, Indexer, IndexerInfo, MAX_PARAMS_BYTES, Made};
use kymhost_plugin::{Schema, is_same_value};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, RunMarker, canonical_json, params_hash};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What the checks are done with.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub indexer: &'static dyn Indexer,
    pub program: &'a Path,
    pub library: &'a Path,
    pub sandbox: &'a Sandbox,
    pub seed: u64,
    pub timeout: Duration,
    /// Extractions over which memory is to be steady.
    pub calls: u64,
    /// The other indexers of the library.
    pub others: &'a [IndexerInfo],
}

/// An outcome on either side: `?` ends a check early.
type Judged = Result<Outcome, Outcome>;

impl From<DatasetError> for Outcome {
    fn from(error: DatasetError) -> Self {
        Self::skipped(format!("kymhost could not make the check ready: {error}"))
    }
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        Self::skipped(format!("kymhost could not make the check ready: {error}"))
    }
}

/// A table that the indexer made of an ordinary record.
pub(super) struct Ordinary {
    pub record: Record,
    pub rows: RecordBatch,
}

/// What the author can do about records that the indexer does not take.
const GIVE_DATASET: &str = "give records that it takes with --dataset PATH";

/// Does a check.
pub(super) fn judge(check: Check, subject: &Subject<'_>) -> Outcome {
    let judged = match check {
        // These are the suite's.
        Check::Card | Check::Api | Check::Load | Check::CardAgrees | Check::Name | Check::Version => {
            Ok(Outcome::skipped("this is not checked here"))
        }
        Check::Marker => marker(subject),
        Check::Extracts => extracts(subject),
        Check::Ends | Check::PrintsNothing => use_it(subject),
        Check::WritesNothing => writes_nothing(subject),
        Check::HashForm => hash_form(subject),
        Check::HashRepeats => hash_repeats(subject),
        Check::HashElsewhere => hash_elsewhere(subject),
        Check::HashFollowsParams => hash_follows_params(subject),
        Check::IgnoresMarkers => ignores_markers(subject),
        Check::ParamsAgree => params_agree(subject),
        Check::ParamsSchema => params_schema(subject),
        Check::Reads => reads(subject),
        Check::RowsRepeat => rows_repeat(subject),
        Check::RowsElsewhere => rows_elsewhere(subject),
        Check::AtOnce => at_once(subject),
        Check::TwoDatasets => two_datasets(subject),
        Check::ProperTable => proper_table(subject),
        Check::Storable => storable(subject),
        Check::SchemaSame => schema_same(subject),
        Check::Artifacts => artifacts(subject),
        Check::OwnRows => own_rows(subject),
        Check::Provenance => provenance(subject),
        Check::MissingArtifacts => damage::missing(subject),
        Check::EmptyArtifacts => damage::empty(subject),
        Check::CorruptArtifacts => damage::corrupt(subject),
        Check::OddArtifacts => damage::odd(subject),
        Check::OddPixels => damage::odd_pixels(subject),
        Check::ErrorTexts => damage::error_texts(subject),
        Check::OldMarkers => old_markers(subject),
        Check::MemorySteady => memory_steady(subject),
        Check::Cancel => cancel(subject),
        Check::Threads => threads(subject),
    };
    match judged {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

impl Subject<'_> {
    pub(super) fn open(&self) -> Result<Dataset, Outcome> {
        Ok(Dataset::open(&self.sandbox.dataset())?)
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, Outcome> {
        records(&self.open()?)
    }

    pub(super) fn hash(&self, record: &Record) -> Result<String, Failure> {
        self.indexer.params_hash(record)
    }

    pub(super) fn rows(&self, record: &Record) -> Result<RecordBatch, Failure> {
        self.indexer.extract_rows(record, 1, &|| false)
    }

    /// What hash, params and rows read of an image, or looked for; never its own run marker.
    pub(super) fn inputs(&self, record: &Record) -> Vec<Input> {
        let watched = record.watched(&self.indexer.info().marker_name);
        let _ = self.hash(&watched);
        let _ = self.indexer.params(&watched);
        let _ = self.rows(&watched);
        watched.inputs().unwrap_or_default()
    }

    /// The ordinary records that rows can be made of, at least one.
    pub(super) fn ordinary(&self) -> Result<Vec<Ordinary>, Outcome> {
        let mut ordinary = Vec::new();
        let mut why = None;
        for record in self.records()? {
            match self.rows(&record) {
                Ok(rows) => ordinary.push(Ordinary { record, rows }),
                Err(failure) => drop(why.get_or_insert(failure)),
            }
        }
        match why {
            Some(failure) if ordinary.is_empty() => Err(no_rows(&failure)),
            _ => Ok(ordinary),
        }
    }

    /// Ordinary records of which at least one gives rows.
    fn ordinary_with_rows(&self) -> Result<Vec<Ordinary>, Outcome> {
        let ordinary = self.ordinary()?;
        if ordinary.iter().all(|one| one.rows.num_rows() == 0) {
            return Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}")));
        }
        Ok(ordinary)
    }

    /// Ordinary records whose rows are the same when they are extracted once more.
    fn repeating(&self) -> Result<Vec<Ordinary>, Outcome> {
        let ordinary = self.ordinary_with_rows()?;
        for one in &ordinary {
            if !matches!(self.rows(&one.record), Ok(rows) if difference(&one.rows, &rows).is_none()) {
                return Err(Outcome::skipped("rows are not the same twice: see rows_repeat"));
            }
        }
        Ok(ordinary)
    }

    /// Records with their params hashes, at least one.
    fn hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        let mut hashes = Vec::new();
        let mut why = None;
        for record in self.records()? {
            match self.hash(&record) {
                Ok(hash) => hashes.push((record, hash)),
                Err(failure) => drop(why.get_or_insert(failure)),
            }
        }
        match why {
            Some(failure) if hashes.is_empty() => Err(no_hash(&failure)),
            _ => Ok(hashes),
        }
    }

    /// Records whose params hashes are the same when they are asked for once more.
    fn repeating_hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        let hashes = self.hashes()?;
        if hashes.iter().any(|(record, hash)| self.hash(record).ok().as_ref() != Some(hash)) {
            return Err(Outcome::skipped("params_hash is not the same twice: see hash_repeats"));
        }
        Ok(hashes)
    }

    /// What another process makes of a dataset's images; in other folders and another environment, or in these.
    fn in_another_process(&self, task: Task, is_elsewhere: bool) -> Result<Vec<Elsewhere>, Outcome> {
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
    fn answer_of_another(&self, task: Task, is_elsewhere: bool) -> Result<(Option<Answer>, Sandbox), Outcome> {
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

fn records(dataset: &Dataset) -> Result<Vec<Record>, Outcome> {
    dataset.image_ids()?.iter().map(|id| Ok(dataset.record(id)?)).collect()
}

fn is_undeclared(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::Undeclared { .. }))
}

fn is_bad_hash(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::BadHash { .. }))
}

fn no_rows(failure: &Failure) -> Outcome {
    let see = match failure.kind {
        FailureKind::Panic => "see extracts".to_owned(),
        FailureKind::BadTable => "see proper_table".to_owned(),
        _ if is_undeclared(failure) => "see artifacts".to_owned(),
        _ => GIVE_DATASET.to_owned(),
    };
    Outcome::skipped(format!("it takes no record ({}: {}); {see}", failure.kind, failure.message))
}

fn no_hash(failure: &Failure) -> Outcome {
    if is_bad_hash(failure) {
        return Outcome::skipped("it gives no proper params hash: see hash_form");
    }
    let see = if failure.kind == FailureKind::Panic { "see extracts" } else { GIVE_DATASET };
    Outcome::skipped(format!("no record has a params hash ({}: {}); {see}", failure.kind, failure.message))
}

/// What an indexer looks for in vain, and how many images it takes.
pub(super) fn sought(subject: &Subject<'_>) -> Result<(Vec<String>, usize), String> {
    let mut keys = BTreeSet::new();
    let mut taken = 0;
    for record in subject.records().map_err(|outcome| outcome.message)? {
        let inputs = subject.inputs(&record);
        keys.extend(inputs.into_iter().filter(|input| input.found == InputState::Absent).map(|input| input.key));
        taken += usize::from(subject.hash(&record).is_ok() && subject.rows(&record).is_ok());
    }
    Ok((keys.into_iter().collect(), taken))
}

/// What another process made of an image.
struct Elsewhere {
    hash: Result<String, String>,
    rows: Result<RecordBatch, String>,
}

/// Makes hashes and rows of a dataset's images, and leaves them in a folder.
pub(super) fn extract_into(subject: &Subject<'_>, dataset: &Path, out: &Path) -> Result<(), String> {
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

// The library's own affairs.

/// Has the indexer do all that it can, for what is looked at from outside.
fn use_it(subject: &Subject<'_>) -> Judged {
    let mut taken = 0;
    let records = subject.records()?;
    for record in &records {
        let _ = subject.hash(record);
        let _ = subject.indexer.params(record);
        taken += usize::from(subject.rows(record).is_ok());
    }
    let _ = subject.indexer.read_old_marker(b"{\"n_events\": 1}");
    Ok(Outcome::passed(format!("{taken} of {} records extracted", records.len())))
}

/// Uses the indexer on all records, and looks what was written meanwhile.
pub(super) fn used(subject: &Subject<'_>) -> Result<Use, String> {
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

/// What it writes into its folders the suite sees afterwards.
fn writes_nothing(subject: &Subject<'_>) -> Judged {
    let (answer, _) = subject.answer_of_another(Task::UseDenied, false)?;
    let free = used(subject).map_err(Outcome::skipped)?;
    match answer {
        Some(Answer::Used { used: denied }) => Ok(verdict(&free, denied.as_ref())),
        _ => Ok(Outcome::failed("where it may not write elsewhere than in its own folders, its process dies")),
    }
}

fn marker(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let marker = &info.marker_name;
    let key = |name: &str| -> Result<BTreeSet<String>, Outcome> {
        let Some(record) = subject.records()?.into_iter().next() else { return Ok(BTreeSet::new()) };
        let watched = record.watched("kymhost-check/none");
        let _ = watched.json_bytes(name);
        Ok(watched.inputs().unwrap_or_default().into_iter().map(|input| input.key).collect())
    };
    let own = key(marker)?;
    if own.is_empty() {
        return Ok(Outcome::failed(format!("'{marker}' is no name of an artifact")));
    }
    for taken in info.params_artifacts.iter().map(String::as_str).chain(["metadata"]) {
        if key(taken)? == own {
            return Ok(Outcome::failed(format!(
                "its run marker '{marker}' is kept where the artifact '{taken}' is: each run would overwrite it"
            )));
        }
    }
    for made in info.writes.iter().filter(|made| made.kind == ArtifactKind::Json) {
        if key(&made.name)? == own {
            return Ok(Outcome::failed(format!(
                "its run marker '{marker}' is kept where the artifact '{}' is that it makes: each run would overwrite it",
                made.name
            )));
        }
    }
    Ok(Outcome::passed(marker.clone()))
}

fn extracts(subject: &Subject<'_>) -> Judged {
    let records = subject.records()?;
    let (mut rows, mut taken, mut why) = (0, 0, None);
    for record in &records {
        for failure in [subject.hash(record).err(), subject.rows(record).map(|r| rows += r.num_rows()).err()] {
            match failure {
                Some(failure) if failure.kind == FailureKind::Panic => {
                    return Ok(Outcome::failed(format!("image {} panics: {}", record.image_id(), failure.message)));
                }
                Some(failure) => drop(why.get_or_insert(failure)),
                None => {}
            }
        }
        taken += usize::from(subject.rows(record).is_ok());
    }
    match why {
        Some(failure) if taken == 0 => Err(no_rows(&failure)),
        _ if rows == 0 => Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}"))),
        _ => Ok(Outcome::passed(format!("{rows} rows of {taken} of {} records", records.len()))),
    }
}

// Params hashes.

/// Whether a hash has what no hash has.
fn is_odd(hash: &str) -> bool {
    hash.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn hash_form(subject: &Subject<'_>) -> Judged {
    for record in subject.records()? {
        match subject.hash(&record) {
            Ok(hash) if is_odd(&hash) => {
                return Ok(Outcome::failed(format!("it has blanks or control characters: {hash:?}")));
            }
            Ok(_) => {}
            Err(failure) if is_bad_hash(&failure) => return Ok(Outcome::failed(failure.message)),
            Err(_) => {}
        }
    }
    let hashes = subject.hashes()?;
    Ok(Outcome::passed(hashes.first().map(|(_, hash)| hash.clone()).unwrap_or_default()))
}

fn hash_repeats(subject: &Subject<'_>) -> Judged {
    let hashes = subject.hashes()?;
    let again = || -> Option<String> {
        for (record, hash) in hashes.iter().rev() {
            match subject.hash(record) {
                Ok(second) if second == *hash => {}
                Ok(second) => return Some(format!("image {}: {hash}, then {second}", record.image_id())),
                Err(failure) => return Some(format!("image {}: {hash}, then {}", record.image_id(), failure.message)),
            }
        }
        None
    };
    if let Some(why) = again() {
        return Ok(Outcome::failed(why));
    }
    if let Some(why) = on_a_thread(again) {
        return Ok(Outcome::failed(format!("on another thread: {why}")));
    }
    Ok(Outcome::passed(format!("{} records, three times", hashes.len())))
}

fn on_a_thread<T: Send>(work: impl Fn() -> Option<T> + Sync) -> Option<T> {
    thread::scope(|scope| scope.spawn(&work).join()).ok().flatten()
}

fn hash_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating_hashes()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.hash(record)).collect();
    for (one, other) in here.into_iter().zip(subject.in_another_process(Task::Extract, true)?) {
        match (one, other.hash) {
            (Ok(one), Ok(other)) if one == other => {}
            (Ok(one), Ok(other) | Err(other)) => return Ok(Outcome::failed(format!("{one} here, {other} elsewhere"))),
            (Err(_), _) => {}
        }
    }
    Ok(Outcome::passed("the same a second later, in another folder and time zone"))
}

/// The JSON artifacts among inputs, by name.
pub(super) fn json_artifacts(inputs: &[Input]) -> Vec<String> {
    let there = inputs.iter().filter(|input| matches!(input.found, InputState::File { .. }));
    let name = |key: &str| {
        let name = key.strip_prefix("analysis/")?;
        Some(name.strip_suffix(".json").or_else(|| name.strip_suffix(".json.gz"))?.to_owned())
    };
    there.filter_map(|input| name(&input.key)).collect()
}

fn hash_follows_params(subject: &Subject<'_>) -> Judged {
    if marker(subject)?.status != Status::Passed {
        return Err(Outcome::skipped("its run marker has no place of its own: see marker"));
    }
    let hashes = subject.repeating_hashes()?;
    let Some((record, before)) = hashes.first() else { return Ok(Outcome::skipped("there is no record")) };
    let watched = record.watched(&subject.indexer.info().marker_name);
    let _ = subject.hash(&watched);
    let _ = subject.indexer.params(&watched);
    let read = json_artifacts(&watched.inputs().unwrap_or_default());
    let declared = &subject.indexer.info().params_artifacts;
    let mut unheeded = Vec::new();
    let rows_repeat = subject.repeating().is_ok();
    for name in read.iter().chain(declared.iter().filter(|name| !read.contains(name))) {
        let Ok(Some(original)) = record.json(name) else { continue };
        record.put_json(name, &all_changed(&original))?;
        if subject.hash(record).as_ref() == Ok(before) {
            unheeded.push(name.clone());
        } else if rows_repeat {
            // Rows that follow one of its values, when the hash does not, would be stale and not be seen to be.
            for (leaf, changed) in one_changed(&original) {
                record.put_json(name, &original)?;
                let rows = subject.rows(record);
                record.put_json(name, &changed)?;
                if subject.hash(record).as_ref() != Ok(before) {
                    continue;
                }
                if let (Ok(one), Ok(two)) = (rows, subject.rows(record))
                    && let Some(why) = difference(&one, &two)
                {
                    return Ok(Outcome::failed(format!(
                        "'{leaf}' of the artifact '{name}' changes the rows ({why}) and not params_hash"
                    )));
                }
            }
        }
        record.put_json(name, &original)?;
    }
    // Of several names the first that exists counts: the others may be there and not be read.
    let declared_read = declared.iter().any(|name| read.contains(name));
    let fault = unheeded.iter().find(|name| declared.contains(name) && read.contains(name));
    Ok(match (fault, unheeded.iter().find(|name| read.contains(name))) {
        (Some(name), _) => {
            Outcome::failed(format!("it stays {before} when every value of its params artifact '{name}' changes"))
        }
        (None, Some(name)) => {
            Outcome::warned(format!("params read the artifact '{name}', but nothing of it changes params_hash"))
        }
        _ if !declared.is_empty() && !declared_read => Outcome::warned(format!(
            "its card says that '{}' holds its params, but they are not made of it",
            declared.join("', '")
        )),
        _ if read.is_empty() => Outcome::passed("its params are made of no JSON artifact"),
        _ => Outcome::passed(format!("follows '{}'", read.join("', '"))),
    })
}

fn ignores_markers(subject: &Subject<'_>) -> Judged {
    if marker(subject)?.status != Status::Passed {
        return Err(Outcome::skipped("its run marker has no place of its own: see marker"));
    }
    let hashes = subject.repeating_hashes();
    let ordinary = subject.repeating();
    if let (Err(why), Err(_)) = (&hashes, &ordinary) {
        return Err(why.clone());
    }
    let info = subject.indexer.info();
    for (number, record) in subject.records()?.iter().enumerate() {
        for name in [info.marker_name.as_str(), "kymhost_check_run"] {
            let marker = RunMarker::new(&info.name, "h", &info.analysis_version, 3 + number as u64, 1_700_000_000);
            record.put_json(name, &marker.to_json())?;
        }
    }
    for (record, hash) in hashes.unwrap_or_default() {
        if subject.hash(&record).as_ref() != Ok(&hash) {
            return Ok(Outcome::failed(
                "params_hash changes once there is a run marker: each run would make its own images stale",
            ));
        }
    }
    for one in ordinary.unwrap_or_default() {
        if !matches!(subject.rows(&one.record), Ok(rows) if difference(&one.rows, &rows).is_none()) {
            return Ok(Outcome::failed("rows are other ones once there is a run marker"));
        }
    }
    Ok(Outcome::passed("the same with run markers"))
}

fn params_agree(subject: &Subject<'_>) -> Judged {
    for (record, hash) in subject.repeating_hashes()? {
        if is_odd(&hash) {
            return Err(Outcome::skipped("it gives no proper params hash: see hash_form"));
        }
        let Some(params) =
            subject.indexer.params(&record).filter(|params| canonical_json(params).len() <= MAX_PARAMS_BYTES)
        else {
            return Ok(Outcome::warned(
                "there is a params_hash, but params give an error, no JSON or more than 64 KiB: `kymhost explain` cannot show them",
            ));
        };
        if params_hash(&params) != hash {
            return Ok(Outcome::warned(format!(
                "params_hash is {hash}, the hash of params {}: what `kymhost explain` shows is not what decides",
                params_hash(&params)
            )));
        }
    }
    Ok(Outcome::passed("params_hash is the hash of params"))
}

/// What is no params, one of each kind.
const NO_PARAMS: [&str; 5] = ["null", "true", "1", "\"text\"", "[]"];

fn params_schema(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let schema = match Schema::parse(&info.params_schema) {
        Ok(Some(schema)) => schema,
        Ok(None) => return Ok(Outcome::passed("it declares none")),
        Err(error) => return Ok(Outcome::failed(error.to_string())),
    };
    let parsed = |text: &str| Json::parse(text.as_bytes()).unwrap_or(Json::Null);
    if let Some(odd) = NO_PARAMS.iter().find(|text| schema.check(&parsed(text)).is_ok()) {
        return Ok(Outcome::failed(format!("it takes {odd}, but params are an object: it lacks \"type\": \"object\"")));
    }
    let Some(artifact) = info.params_artifacts.first() else {
        return Ok(Outcome::failed("there is a schema, and no params artifact that could be as it has it"));
    };
    // Each default by itself: which others have to be given is the schema's own affair.
    let text = parsed(&info.params_schema);
    let properties = text.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
    for (name, property) in &properties {
        let Some(default) = property.get("default") else { continue };
        let alone = Schema::parse(&canonical_json(property)).ok().flatten();
        if let Some(Err(error)) = alone.map(|schema| schema.check(default)) {
            return Ok(Outcome::failed(format!("the default of '{name}' is one that it does not take: {error}")));
        }
    }
    // What it makes of an image that nobody has set params for.
    let Some(record) = subject.records()?.into_iter().next() else {
        return Ok(Outcome::skipped("there is no record"));
    };
    let patient = Patient::new(subject, &record)?;
    for name in &info.params_artifacts {
        for key in artifact_keys(&Artifact::new(name.as_str(), ArtifactKind::Json)).unwrap_or_default() {
            match fs::remove_file(patient.file(&key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    let default = subject.indexer.params(&record);
    patient.heal()?;
    let Some(Json::Object(default)) = default else {
        return Ok(Outcome::passed("it is a schema of objects; without params there are none to hold against it"));
    };
    if !default.is_empty() && !default.keys().any(|name| properties.contains_key(name)) {
        return Ok(Outcome::passed("it is a schema of objects; params have another form than their artifact"));
    }
    let shown = Json::Object(default.clone());
    if let Err(error) = schema.check(&shown) {
        return Ok(Outcome::failed(format!(
            "without '{artifact}' params are {shown}, which it does not take: {error}"
        )));
    }
    for (name, property) in &properties {
        if let (Some(said), Some(used)) = (property.get("default"), default.get(name))
            && !is_same_value(said, used)
        {
            return Ok(Outcome::warned(format!("it says that '{name}' is {said} by default, but it is {used}")));
        }
    }
    let mut accepted = format!("it takes what params are without '{artifact}'");
    if !schema.unchecked().is_empty() {
        accepted.push_str(&format!("; kymhost does not check {}, so the plugin must", schema.unchecked().join(", ")));
    }
    Ok(Outcome::passed(accepted))
}

fn reads(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let mut read = BTreeSet::new();
    let mut taken = 0;
    for record in subject.records()? {
        // Nothing is its own here: what it writes itself is to be seen, too.
        let watched = record.watched("kymhost-check/none");
        taken += usize::from(subject.hash(&watched).is_ok());
        let _ = subject.indexer.params(&watched);
        taken += usize::from(subject.rows(&watched).is_ok());
        read.extend(watched.inputs().unwrap_or_default().into_iter().map(|input| input.key));
    }
    if taken == 0 {
        return Err(Outcome::skipped(format!("it takes no record; {GIVE_DATASET}")));
    }
    let is_read = |artifact: &&Artifact| {
        let keys = artifact_keys(artifact).unwrap_or_default();
        keys.iter().any(|key| read.contains(key))
    };
    if let Some(own) = info.writes.iter().find(is_read) {
        return Ok(Outcome::failed(format!(
            "it reads '{}', which it writes itself: its rows depend on the run before, and nothing tells when they are stale",
            own.name
        )));
    }
    let is_declared = |name: &String| info.reads.contains(name) || info.params_artifacts.contains(name);
    for other in subject.others {
        if let Some(artifact) = other.writes.iter().filter(|artifact| !is_declared(&artifact.name)).find(is_read) {
            return Ok(Outcome::failed(format!(
                "it reads '{}', which '{}' writes, but its READS does not name it: it may run before that",
                artifact.name, other.name
            )));
        }
    }
    Ok(Outcome::passed(match info.reads.as_slice() {
        [] => "it reads nothing that an indexer of its library writes".to_owned(),
        names => format!("declares '{}'", names.join("', '")),
    }))
}

// Rows.

fn rows_repeat(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    let again = || -> Option<String> { ordinary.iter().rev().find_map(|one| differs(subject, one)) };
    if let Some(why) = again() {
        return Ok(Outcome::failed(why));
    }
    if let Some(why) = on_a_thread(again) {
        return Ok(Outcome::failed(format!("on another thread: {why}")));
    }
    Ok(Outcome::passed(format!("{} records, three times", ordinary.len())))
}

/// How the rows of a record, extracted again, differ.
fn differs(subject: &Subject<'_>, one: &Ordinary) -> Option<String> {
    let why = match subject.rows(&one.record) {
        Ok(rows) => difference(&one.rows, &rows)?,
        Err(failure) => format!("rows, then {}: {}", failure.kind, failure.message),
    };
    Some(format!("image {}: {why}", one.record.image_id()))
}

fn rows_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    let there = subject.in_another_process(Task::Extract, true)?;
    match first_difference(here, there) {
        Some(why) => Ok(Outcome::failed(format!("here, then elsewhere: {why}"))),
        None => Ok(Outcome::passed("the same a second later, in another folder and time zone")),
    }
}

fn first_difference(here: Vec<Result<RecordBatch, Failure>>, there: Vec<Elsewhere>) -> Option<String> {
    here.into_iter().zip(there).find_map(|(one, other)| match (one, other.rows) {
        (Ok(one), Ok(other)) => difference(&one, &other),
        (Ok(_), Err(why)) => Some(format!("rows, then {why}")),
        (Err(failure), Ok(_)) => Some(format!("{}, then rows", failure.message)),
        (Err(_), Err(_)) => None,
    })
}

/// Threads that extract at once.
const THREADS: usize = 4;
/// How often each of them does every record.
const ROUNDS: usize = 4;

fn at_once(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.repeating()?;
    let why = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|shift| {
                let ordinary = &ordinary;
                scope.spawn(move || {
                    (0..ROUNDS).find_map(|_| {
                        let mut order = ordinary.iter().cycle().skip(shift).take(ordinary.len());
                        order.find_map(|one| differs(subject, one))
                    })
                })
            })
            .collect();
        threads.into_iter().find_map(|thread| thread.join().ok().flatten())
    });
    Ok(match why {
        Some(why) => Outcome::failed(format!("{THREADS} threads at once: {why}")),
        None => Outcome::passed(format!("{THREADS} threads at once, {} records each", ROUNDS * ordinary.len())),
    })
}

fn two_datasets(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.repeating()?;
    if ordinary.len() < 2 {
        return Err(Outcome::skipped(format!("there are fewer than two records that it takes; {GIVE_DATASET}")));
    }
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    if first_difference(here, subject.in_another_process(Task::Extract, false)?).is_some() {
        return Err(Outcome::skipped("rows are others in another process: see rows_elsewhere"));
    }
    let other = Dataset::open(&subject.sandbox.other())?;
    let after: Vec<_> = records(&other)?.iter().map(|record| subject.rows(record)).collect();
    match first_difference(after, subject.in_another_process(Task::ExtractOther, false)?) {
        Some(why) => Ok(Outcome::failed(format!("after another dataset, then by itself: {why}"))),
        None => Ok(Outcome::passed("the same before and after another dataset")),
    }
}

fn proper_table(subject: &Subject<'_>) -> Judged {
    let mut tables = 0;
    let mut why = None;
    for record in subject.records()? {
        match subject.rows(&record) {
            Ok(_) => tables += 1,
            Err(failure) if failure.kind == FailureKind::BadTable => return Ok(Outcome::failed(failure.message)),
            Err(failure) => drop(why.get_or_insert(failure)),
        }
    }
    match why {
        Some(failure) if tables == 0 => Err(no_rows(&failure)),
        _ => Ok(Outcome::passed(format!("{tables} tables"))),
    }
}

fn artifacts(subject: &Subject<'_>) -> Judged {
    let declared = &subject.indexer.info().writes;
    let extract = |record: &Record| subject.indexer.extract(record, 1, &|| false).map(|produced| produced.artifacts);
    let mut seen = BTreeSet::new();
    let mut why = None;
    let mut taken = 0;
    for record in subject.records()? {
        let made = match extract(&record) {
            Ok(made) => made,
            Err(failure) if is_undeclared(&failure) => return Ok(Outcome::failed(failure.message)),
            Err(failure) => {
                why.get_or_insert(failure);
                continue;
            }
        };
        taken += 1;
        let again = extract(&record).unwrap_or_default();
        if let Some(name) = other_artifact(&made, &again).or_else(|| other_artifact(&again, &made)) {
            return Ok(Outcome::failed(format!(
                "image {}: the artifact '{name}' is not the same when it is made twice",
                record.image_id()
            )));
        }
        seen.extend(made.into_iter().map(|made| made.name));
    }
    match why {
        Some(failure) if taken == 0 => return Err(no_rows(&failure)),
        _ => {}
    }
    let never = declared.iter().find(|artifact| !seen.contains(&artifact.name));
    Ok(match never {
        Some(artifact) if seen.is_empty() => {
            Outcome::warned(format!("it declares '{}', and hands nothing over for any record", artifact.name))
        }
        _ if declared.is_empty() => Outcome::passed("it hands nothing over"),
        _ => Outcome::passed(format!("hands over {}", seen.into_iter().collect::<Vec<_>>().join(", "))),
    })
}

/// An artifact that the other extraction did not make so.
fn other_artifact(made: &[Made], others: &[Made]) -> Option<String> {
    made.iter().find(|one| !others.contains(one)).map(|one| one.name.clone())
}

fn storable(subject: &Subject<'_>) -> Judged {
    let scratch = Dataset::create(&subject.sandbox.out().join("scratch.zarr"))?;
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        let kept = scratch.write_table("kym_check", &one.rows).and_then(|()| scratch.read_table("kym_check", None));
        match kept {
            Ok(Some(rows)) if rows.num_rows() == one.rows.num_rows() => {}
            Ok(rows) => {
                let rows = rows.map_or(0, |rows| rows.num_rows());
                return Ok(Outcome::failed(format!("{} rows were kept as {rows}", one.rows.num_rows())));
            }
            Err(error) => return Ok(Outcome::failed(error.to_string())),
        }
    }
    Ok(Outcome::passed(format!("{} tables kept", ordinary.len())))
}

fn schema_same(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    let Some(full) = ordinary.iter().find(|one| one.rows.num_rows() > 0) else {
        return Err(Outcome::skipped("no record gives a row"));
    };
    let schema = full.rows.schema();
    for one in &ordinary {
        if let Some(why) = schema_conflict(&schema, &one.rows.schema(), false) {
            return Ok(Outcome::failed(format!("image {}: {why}", one.record.image_id())));
        }
    }
    let mut without_rows = 0;
    for (what, may_lack, rows) in damage::without_rows(subject, full)? {
        without_rows += usize::from(rows.num_rows() == 0);
        // Rows that are there all the same are another case: columns may then depend on the artifact.
        if rows.num_rows() == 0
            && let Some(why) = schema_conflict(&schema, &rows.schema(), may_lack)
        {
            return Ok(Outcome::failed(format!("with no rows ({what}): {why}")));
        }
    }
    let columns = schema.fields().len();
    Ok(Outcome::passed(format!("{columns} columns, {} records, {without_rows} tables without rows", ordinary.len())))
}

/// A column as text, where it is there and of a type that can be.
fn text_column(rows: &RecordBatch, name: &str) -> Option<Result<StringArray, DataType>> {
    let column = rows.column_by_name(name)?;
    let text = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => cast(column, &DataType::Utf8).ok(),
        _ => None,
    };
    let text = text.and_then(|text| text.as_any().downcast_ref::<StringArray>().cloned());
    Some(text.ok_or_else(|| column.data_type().clone()))
}

/// What is wrong with a column whose every cell should be this.
fn not_all(rows: &RecordBatch, name: &str, expected: &str) -> Option<String> {
    match text_column(rows, name)? {
        Err(found) => Some(format!("the column '{name}' is {found}, expected text")),
        Ok(texts) => {
            let other = texts.iter().flatten().find(|text| *text != expected)?;
            Some(format!("the column '{name}' says '{other}', expected '{expected}'"))
        }
    }
}

fn own_rows(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        if let Some(why) = not_all(&one.rows, "image_id", one.record.image_id()) {
            return Ok(Outcome::failed(why));
        }
    }
    let has = ordinary.iter().any(|one| one.rows.column_by_name("image_id").is_some());
    Ok(Outcome::passed(if has { "its image_id is the image's" } else { "the host adds image_id" }))
}

fn provenance(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        let version = &subject.indexer.info().analysis_version;
        let hash = subject.hash(&one.record).ok();
        let wrong = not_all(&one.rows, "analysis_version", version)
            .or_else(|| not_all(&one.rows, "params_hash", hash.as_deref()?));
        if let Some(why) = wrong {
            return Ok(Outcome::failed(why));
        }
    }
    Ok(Outcome::passed("nothing that the host would say otherwise"))
}

// What else an indexer must do.

fn old_markers(subject: &Subject<'_>) -> Judged {
    let mut rng = Rng::with_seed(subject.seed);
    let mut payloads: Vec<Vec<u8>> = damage::ODD_JSON.iter().map(|text| text.as_bytes().to_vec()).collect();
    let fields = [
        "marker_version",
        "indexer_name",
        "params_hash",
        "analysis_version",
        "n_rows",
        "n_events",
        "ran_utc_epoch_ns",
        "computed_utc_epoch_ns",
        "status",
    ];
    for _ in 0..400 {
        let mut members = Vec::new();
        for field in fields {
            if rng.u8(..) < 200 {
                let odd = rng.usize(..damage::ODD_JSON.len());
                members.push(format!("\"{field}\": {}", damage::ODD_JSON.get(odd).unwrap_or(&"null")));
            }
        }
        payloads.push(format!("{{{}}}", members.join(", ")).into_bytes());
    }
    payloads.extend([b"".to_vec(), b"\xff".to_vec(), b"{".to_vec()]);
    let mut read = 0;
    for payload in &payloads {
        match subject.indexer.read_old_marker(payload) {
            Ok(marker) => read += usize::from(marker.is_some()),
            Err(failure) if failure.kind == FailureKind::Panic => {
                let payload = String::from_utf8_lossy(payload);
                return Ok(Outcome::failed(format!("it panics at {payload}: {}", failure.message)));
            }
            Err(_) => {}
        }
    }
    Ok(Outcome::passed(format!("{} payloads, {read} of them taken for markers", payloads.len())))
}

/// Fewer extractions say nothing.
const LEAST_CALLS: u64 = 100;
/// Where so much was added, it is not waited for more: the machine is others' too.
const ENOUGH_BYTES: u64 = 512 << 20;

fn memory_steady(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary()?;
    let Some(first) = resident_bytes() else {
        return Err(Outcome::skipped("this system does not tell how much memory a process has"));
    };
    let limit = subject.timeout / 2;
    let deadline = Instant::now() + limit;
    let mut measured = Vec::new();
    let mut calls = 0;
    for one in ordinary.iter().cycle() {
        if calls >= subject.calls || Instant::now() >= deadline {
            break;
        }
        let _ = subject.hash(&one.record);
        let _ = subject.rows(&one.record);
        calls += 1;
        measured.extend(resident_bytes());
        let grown = measured.last().map_or(0, |now| now.saturating_sub(first));
        if calls >= LEAST_CALLS && grown > ENOUGH_BYTES {
            return Ok(Outcome::failed(format!("it keeps memory: {} MiB after {calls} extractions", grown >> 20)));
        }
    }
    let wanted = subject.calls;
    let cut_short = match calls < wanted {
        true => format!(" of {wanted}, which is what {} s (half of --timeout) were enough for", limit.as_secs_f64()),
        false => String::new(),
    };
    if calls < LEAST_CALLS.min(wanted) {
        return Err(Outcome::skipped(format!(
            "{calls} extractions{cut_short}: give smaller records with --dataset PATH, or a longer --timeout"
        )));
    }
    let Some(growth) = growth(&measured, calls) else { return Err(Outcome::skipped("too few measurements")) };
    let says = format!(
        "{calls} extractions{cut_short}, {} KiB more for each {CALLS}, {} bytes each",
        growth.of_all_bytes >> 10,
        growth.of_all_bytes / CALLS
    );
    Ok(match growth.verdict() {
        Memory::Leaks => Outcome::failed(format!("it keeps memory: {says}")),
        Memory::Drifts => Outcome::warned(format!("it may keep memory: {says}")),
        Memory::Steady => Outcome::passed(says),
    })
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
fn resident_bytes() -> Option<u64> {
    None
}

/// A cancelled extraction that goes on for longer is too slow to stop, unless it takes less than half of the time that was left.
const TO_STOP: Duration = Duration::from_secs(1);
/// It is waited at least so long for one.
const PATIENCE: Duration = Duration::from_secs(3);

/// When an extraction is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before it begins.
    Start,
    /// When half of its time is over, or it has asked half as often as it does.
    Middle,
}

impl Moment {
    fn words(self) -> &'static str {
        match self {
            Self::Start => "from the start",
            Self::Middle => "in the middle",
        }
    }
}

fn cancel(subject: &Subject<'_>) -> Judged {
    let mut longest: Option<(Duration, u64, Record)> = None;
    for one in subject.ordinary()? {
        let asked = AtomicU64::new(0);
        let start = Instant::now();
        let never = || {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        };
        let _ = subject.indexer.extract_rows(&one.record, 1, &never);
        let took = start.elapsed();
        if longest.as_ref().is_none_or(|(most, _, _)| took > *most) {
            longest = Some((took, asked.into_inner(), one.record));
        }
    }
    let Some((took, asks, record)) = longest else { return Err(Outcome::skipped("there is no record")) };
    let patience = PATIENCE.max(took * 2).min(subject.timeout / 3);
    let mut says = format!("it takes {} s and asks {asks} times", seconds(took));
    let mut slow = None;
    for moment in [Moment::Start, Moment::Middle] {
        let left = if moment == Moment::Start { took } else { took / 2 };
        let words = moment.words();
        match cancelled(subject, record.clone(), moment, took, asks, patience) {
            Some(after) if after > TO_STOP && after > left / 2 => {
                return Ok(Outcome::failed(format!(
                    "{says}; cancelled {words} it goes on for {} s: ask run.cancelled() now and then",
                    seconds(after)
                )));
            }
            Some(after) => {
                says = format!("{says}; cancelled {words} it goes on for {} s", seconds(after));
                slow = slow.or((after > TO_STOP).then_some(moment));
            }
            None => {
                return Ok(Outcome::failed(format!(
                    "{says}; cancelled {words} it did not return within {} s",
                    seconds(patience)
                )));
            }
        }
    }
    Ok(if slow.is_some() { Outcome::warned(says) } else { Outcome::passed(says) })
}

/// How long an extraction goes on after it is cancelled; `None` where it does not return in time.
fn cancelled(
    subject: &Subject<'_>,
    record: Record,
    moment: Moment,
    took: Duration,
    asks: u64,
    patience: Duration,
) -> Option<Duration> {
    let (sender, receiver) = mpsc::channel();
    let indexer = subject.indexer;
    let (half, half_asks) = match moment {
        Moment::Start => (Duration::ZERO, 0),
        Moment::Middle => (took / 2, (asks / 2).max(1)),
    };
    // Not waited for: it may never return, and this process ends soon.
    thread::spawn(move || {
        let (asked, since) = (AtomicU64::new(0), OnceLock::new());
        let start = Instant::now();
        let is_cancelled = || {
            let is_time = asked.fetch_add(1, Ordering::Relaxed) >= half_asks || start.elapsed() >= half;
            if is_time {
                since.get_or_init(Instant::now);
            }
            is_time
        };
        let _ = indexer.extract_rows(&record, 1, &is_cancelled);
        // One that does not ask is cancelled all the same.
        let since = since.get().copied().unwrap_or(start + half).min(start + half);
        let _ = sender.send(since.elapsed());
    });
    receiver.recv_timeout(patience + half).ok()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// How long threads that end may take to be gone.
const TO_BE_GONE: Duration = Duration::from_millis(500);

fn threads(subject: &Subject<'_>) -> Judged {
    let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    // The threads by which kymhost itself reads arrays are not the plugin's.
    for record in subject.records()? {
        let _ = record.pixels();
    }
    let Some(alone) = thread_count() else {
        return Err(Outcome::skipped("this system does not tell how many threads a process has"));
    };
    let ordinary = subject.ordinary()?;
    // The one that counts is not the plugin's.
    let own = alone + 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(thread_count().unwrap_or_default(), Ordering::Relaxed);
            }
        });
        for one in ordinary.iter().cycle().take(20.max(ordinary.len())) {
            let _ = subject.rows(&one.record);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let deadline = Instant::now() + TO_BE_GONE;
    while thread_count().is_some_and(|now| now > alone) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let left = thread_count().unwrap_or_default().saturating_sub(alone);
    let more = most.load(Ordering::Relaxed).saturating_sub(own);
    Ok(if left > 0 {
        Outcome::warned(format!("{left} threads are left running after the extractions"))
    } else if more > 0 {
        Outcome::warned(format!("it starts {more} threads where run.threads() is 1"))
    } else {
        Outcome::passed("no thread of its own where run.threads() is 1")
    })
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn thread_count() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
fn thread_count() -> Option<usize> {
    None
}

/// An image's folder, and a copy of it by which damage is undone.
pub(super) struct Patient {
    folder: std::path::PathBuf,
    copy: std::path::PathBuf,
    pub(super) record: Record,
}

impl Patient {
    /// The image of a record of the sandbox's dataset.
    pub(super) fn new(subject: &Subject<'_>, record: &Record) -> Result<Self, Outcome> {
        let folder = subject.sandbox.dataset().join("images").join(record.image_id());
        let copy = subject.sandbox.out().join("as-it-was");
        let _ = fs::remove_dir_all(&copy);
        copy_tree(&folder, &copy)?;
        Ok(Self { folder, copy, record: record.clone() })
    }

    /// The file of a key below the image's group.
    pub(super) fn file(&self, key: &str) -> std::path::PathBuf {
        self.folder.join(key)
    }

    /// Undoes damage to one file.
    pub(super) fn heal_file(&self, key: &str) -> Result<(), Outcome> {
        fs::copy(self.copy.join(key), self.folder.join(key))?;
        Ok(())
    }

    /// Undoes all damage.
    pub(super) fn heal(&self) -> Result<(), Outcome> {
        fs::remove_dir_all(&self.folder)?;
        copy_tree(&self.copy, &self.folder)?;
        Ok(())
    }
}

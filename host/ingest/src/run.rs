//! An ingest: recordings decoded and encoded by several threads, put into the dataset by one.
//!
//! Owns: what a recording's image is made of, batches, the order of writes. Never: which recordings there are, prints.
//!
//! Each thread decodes a recording, encodes its chunks and writes the image's whole folder aside. The caller's thread
//! publishes them in batches, a rename each with one wait for the disk, and then names them in the sources table. A kill at any
//! moment leaves whole images or none; those that the table does not name yet are known by their provenance.

use super::find::{self, Found, LISTING, Recording, Role};
use super::listing::Listing;
use super::plan::{self, Action, Vanished};
use super::sidecar::{self, Content};
use super::sources::{self, PROVENANCE, Provenance, Row};
use super::tiff::{self, Budget};
use super::{FileError, FileErrorKind, IngestError, MAX_HEADER_BYTES, Stamp, metadata, olympus, read_bounded};
use kymhost_dataset::{Dataset, DatasetError, StagedImage, StagedPixels, check_array, check_pixels, check_rows, hex};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::json::Object;
use kymhost_store::time::epoch_ns;
use kymhost_store::{Holder, Key, LockGuard, StoreError};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Keeps a second ingest out.
const LOCK: &str = "index/kymhost/locks/ingest.lock";
/// A batch is published when it has so many images, or bytes, or after so long.
const BATCH_IMAGES: usize = 512;
const BATCH_BYTES: u64 = 256 << 20;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// The sources table is written at least so far apart, and then so many times what the last write took.
const TABLE_TIME: Duration = Duration::from_secs(10);
const TABLE_SHARE: u32 = 19;
/// Decoded pixels that all threads may hold at once; a larger recording is decoded alone.
const PIXEL_MEMORY: u64 = 2 << 30;
/// Recordings that may wait to be published: they stand on the disk, not in memory.
const RUN_AHEAD: usize = 64;
/// How many files that are gone are named.
const NAMED_GONE: usize = 5;
/// The artifact that the payload is kept in.
const METADATA: &str = "metadata";

/// How an ingest is done.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Threads.
    pub jobs: usize,
    /// Whether changed recordings are read again.
    pub reingest: bool,
    /// Everything is read as ever, and nothing is written.
    pub dry_run: bool,
    /// Becomes true where it is to end: what is done is published.
    pub stop: Arc<AtomicBool>,
}

/// Who is told how far an ingest is.
pub trait Observer {
    /// So many recordings are to be read.
    fn planned(&mut self, _to_do: usize) {}
    /// One of them is done.
    fn file_done(&mut self, _failed: bool) {}
    /// A batch is being published.
    fn committing(&mut self) {}
}

/// What became of a recording (or would become of it, where nothing is written).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is a new image.
    Added,
    /// Its image has its new pixels and metadata.
    Reingested,
    /// It is known and has not changed.
    Unchanged,
    /// It has changed, and was to be left alone.
    SkippedChanged,
    /// It failed; nothing of it was written.
    Failed(FileError),
    /// The ingest was stopped before it.
    NotDone,
}

/// A recording and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutcome {
    /// The file.
    pub path: PathBuf,
    /// Its image.
    pub image_id: Option<String>,
    /// What became of it.
    pub what: What,
    /// Why it counts as changed.
    pub why: Option<String>,
    /// The pixels' lengths and type, where they were read.
    pub pixels: Option<(Vec<usize>, DType)>,
    /// Words for people.
    pub notes: Vec<String>,
}

/// What became of all.
#[derive(Debug)]
pub struct Outcome {
    /// Each recording, by path; then what could not be looked at.
    pub files: Vec<FileOutcome>,
    /// Files that images were read from and that are gone.
    pub vanished: Vec<Vanished>,
    /// Words for people.
    pub notes: Vec<String>,
}

/// Brings recordings into a dataset (`None`, for a dry run alone: one that is not there yet).
///
/// # Errors
/// Where the dataset cannot be read or written. What was published until then stays, and the next ingest goes on from there.
pub fn ingest(
    dataset: Option<&Dataset>,
    found: Found,
    options: &IngestOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome, IngestError> {
    let _lock = match dataset {
        Some(dataset) if !options.dry_run => lock(dataset)?,
        _ => None,
    };
    let plan = plan::plan(dataset, &found)?;
    let mut files: Vec<FileOutcome> = found
        .recordings
        .iter()
        .zip(plan.actions.iter().zip(&plan.moved))
        .map(|(recording, (action, moved))| {
            let (image_id, what, why) = match action {
                Action::New => (None, What::NotDone, None),
                Action::Unchanged { image_id } => (Some(image_id), What::Unchanged, None),
                Action::Changed { image_id, why } => {
                    let what = if options.reingest { What::NotDone } else { What::SkippedChanged };
                    (Some(image_id), what, Some(why))
                }
            };
            let moved = moved.as_ref().map(|Vanished { path, image_id }| {
                format!(
                    "it has the size and time of {path}, which is gone and whose image is {image_id}; if it was moved, \
                     they are one recording as two images"
                )
            });
            FileOutcome {
                path: recording.path.clone(),
                image_id: image_id.cloned(),
                what,
                why: why.cloned(),
                pixels: None,
                notes: moved.into_iter().collect(),
            }
        })
        .collect();
    let to_do: Vec<usize> =
        (0..files.len()).filter(|&at| files.get(at).is_some_and(|f| f.what == What::NotDone)).collect();
    observer.planned(to_do.len());
    let work = Work { dataset, found: &found, actions: &plan.actions, to_do: &to_do };
    match dataset.filter(|_| !options.dry_run) {
        Some(dataset) => {
            let mut committer = Committer {
                dataset,
                batch: Vec::new(),
                bytes: 0,
                since: Instant::now(),
                rows: plan.unlisted,
                table_due: Instant::now() + TABLE_TIME,
            };
            work.run(options, &mut |receiver| committer.receive(receiver, observer, &mut files))?;
        }
        None => work.run(options, &mut |receiver| {
            looked_at(receiver, observer, &plan.actions, &mut files);
            Ok(())
        })?,
    }
    files.extend(found.failures.into_iter().map(|(path, error)| FileOutcome {
        path,
        image_id: None,
        what: What::Failed(error),
        why: None,
        pixels: None,
        notes: Vec::new(),
    }));
    Ok(Outcome { files, vanished: plan.vanished, notes: found.notes })
}

fn lock(dataset: &Dataset) -> Result<Option<LockGuard>, IngestError> {
    let key = Key::new(LOCK).map_err(DatasetError::from)?;
    match dataset.store().lock(&key, &Holder::this_process("ingesting").to_text()) {
        Ok(Some(guard)) => Ok(Some(guard)),
        Ok(None) => Err(IngestError::Locked { holder: dataset.store().lock_holder(&key) }),
        // As with the dataset's structure: a place without locks is no reason not to work there.
        Err(StoreError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            tracing::warn!(%source, "the dataset has no place for locks; going on without one");
            Ok(None)
        }
        Err(error) => Err(DatasetError::from(error).into()),
    }
}

/// What the threads share.
struct Work<'a> {
    /// `None` where nothing is to be written, and there is none yet.
    dataset: Option<&'a Dataset>,
    found: &'a Found,
    actions: &'a [Action],
    to_do: &'a [usize],
}

impl Work<'_> {
    /// Has the threads read; `receive` takes what they have.
    fn run(
        &self,
        options: &IngestOptions,
        receive: &mut dyn FnMut(&mpsc::Receiver<Prepared>) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let jobs = options.jobs.clamp(1, self.to_do.len().max(1));
        let budget = Budget::new(PIXEL_MEMORY);
        let next = AtomicUsize::new(0);
        let ids = Mutex::new(HashSet::new());
        // Set where publishing failed: nobody needs what is still being read.
        let given_up = AtomicBool::new(false);
        let (sender, receiver) = mpsc::sync_channel::<Prepared>(RUN_AHEAD);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (sender, budget, next, ids, given_up) = (sender.clone(), &budget, &next, &ids, &given_up);
                scope.spawn(move || {
                    while !options.stop.load(Ordering::Relaxed) && !given_up.load(Ordering::Relaxed) {
                        let Some(&at) = self.to_do.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let (Some(recording), Some(action)) = (self.found.recordings.get(at), self.actions.get(at))
                        else {
                            return;
                        };
                        let to = self.dataset.filter(|_| !options.dry_run);
                        let ready = prepare(self.dataset, to, recording, action, ids, budget);
                        if sender.send((at, ready)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let result = receive(&receiver);
            given_up.store(true, Ordering::Relaxed);
            // Threads that wait to send are let go.
            drop(receiver);
            result
        })
    }
}

/// A recording by its place in the list, and what became of it.
type Prepared = (usize, Result<Ready, FileError>);

/// A recording that is ready to be published.
struct Ready {
    row: Row,
    pixels: (Vec<usize>, DType),
    notes: Vec<String>,
    how: How,
}

enum How {
    /// It could be published; nothing was written.
    Looked,
    New(StagedImage),
    Changed(Box<Replacement>),
}

/// What is new of an image that is there.
struct Replacement {
    /// Where they differ from those that are there.
    pixels: Option<StagedPixels>,
    metadata: Option<Json>,
    artifacts: Vec<(String, Content)>,
    provenance: Json,
}

/// Takes what was read without being written.
fn looked_at(
    receiver: &mpsc::Receiver<Prepared>,
    observer: &mut dyn Observer,
    actions: &[Action],
    files: &mut [FileOutcome],
) {
    for (at, ready) in receiver {
        observer.file_done(ready.is_err());
        let (Some(file), Some(action)) = (files.get_mut(at), actions.get(at)) else { continue };
        file.what = match ready {
            Err(error) => What::Failed(error),
            Ok(ready) => {
                file.pixels = Some(ready.pixels);
                file.notes.extend(ready.notes);
                if *action == Action::New { What::Added } else { What::Reingested }
            }
        };
    }
}

/// Publishes what is ready.
struct Committer<'a> {
    dataset: &'a Dataset,
    batch: Vec<(usize, Ready)>,
    bytes: u64,
    since: Instant,
    /// Rows that the sources table lacks.
    rows: Vec<Row>,
    table_due: Instant,
}

impl Committer<'_> {
    fn receive(
        &mut self,
        receiver: &mpsc::Receiver<Prepared>,
        observer: &mut dyn Observer,
        files: &mut [FileOutcome],
    ) -> Result<(), IngestError> {
        loop {
            match receiver.recv_timeout(BATCH_TIME) {
                Ok((at, Ok(ready))) => {
                    observer.file_done(false);
                    if self.batch.is_empty() {
                        self.since = Instant::now();
                    }
                    if let How::New(image) = &ready.how {
                        self.bytes += image.bytes();
                    }
                    self.batch.push((at, ready));
                }
                Ok((at, Err(error))) => {
                    observer.file_done(true);
                    if let Some(file) = files.get_mut(at) {
                        file.what = What::Failed(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let is_full = self.batch.len() >= BATCH_IMAGES || self.bytes >= BATCH_BYTES;
            if is_full || (!self.batch.is_empty() && self.since.elapsed() >= BATCH_TIME) {
                self.publish(observer, files)?;
                if Instant::now() >= self.table_due {
                    self.save_rows()?;
                }
            }
        }
        let published = self.publish(observer, files);
        // What is published is named, also where the last batch failed.
        self.save_rows()?;
        published
    }

    fn save_rows(&mut self) -> Result<(), IngestError> {
        let begun = Instant::now();
        sources::save(self.dataset, &self.rows)?;
        self.rows.clear();
        self.table_due = Instant::now() + TABLE_TIME.max(begun.elapsed() * TABLE_SHARE);
        Ok(())
    }

    fn publish(&mut self, observer: &mut dyn Observer, files: &mut [FileOutcome]) -> Result<(), IngestError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        observer.committing();
        let (mut images, mut published) = (Vec::new(), Vec::new());
        let mut failures: Vec<(usize, FileError)> = Vec::new();
        for (at, ready) in batch {
            let Ready { row, pixels, notes, how } = ready;
            if let Some(file) = files.get_mut(at) {
                file.pixels = Some(pixels);
                file.notes.extend(notes);
            }
            match how {
                How::Looked => {}
                How::New(image) => {
                    images.push(image);
                    published.push((at, row, What::Added));
                }
                How::Changed(replacement) => match self.replace(&row.image_id, *replacement) {
                    Ok(()) => published.push((at, row, What::Reingested)),
                    Err(DatasetError::Store(StoreError::Io { source, .. }))
                        if source.kind() == io::ErrorKind::StorageFull =>
                    {
                        failures.push((at, FileError::new(FileErrorKind::Dataset, "the disk is full")));
                    }
                    Err(error) => failures.push((at, error.into())),
                },
            }
        }
        let taken: HashSet<String> = self.dataset.publish_images(images)?.into_iter().collect();
        for (at, row, what) in published {
            let Some(file) = files.get_mut(at) else { continue };
            if what == What::Added && taken.contains(&row.image_id) {
                let why = format!("an image {} was added by another program meanwhile", row.image_id);
                file.what = What::Failed(FileError::new(FileErrorKind::Dataset, why));
                continue;
            }
            file.what = what;
            file.image_id = Some(row.image_id.clone());
            self.rows.push(row);
        }
        for (at, error) in failures {
            if let Some(file) = files.get_mut(at) {
                file.what = What::Failed(error);
            }
        }
        Ok(())
    }

    /// The provenance comes last: until it is written, the recording counts as changed.
    fn replace(&self, image_id: &str, new: Replacement) -> Result<(), DatasetError> {
        let record = self.dataset.find_record(image_id)?;
        if let Some(pixels) = new.pixels {
            self.dataset.publish_pixels(pixels)?;
        }
        for (name, content) in &new.artifacts {
            match content {
                Content::Json(payload) => record.put_json(name, payload)?,
                Content::Rows(rows) => record.put_parquet(name, rows)?,
                Content::Array(array) => record.put_array(name, array)?,
                Content::CsvGz(bytes) => record.put_csv_gz(name, bytes)?,
            }
        }
        if let Some(payload) = &new.metadata {
            record.put_json(METADATA, payload)?;
        }
        record.put_json(PROVENANCE, &new.provenance)
    }
}

/// What a recording is made of, beside its pixels.
#[derive(Debug, Default)]
struct Gathered {
    metadata: Option<Json>,
    /// Each with the file that it was read from.
    artifacts: Vec<(String, Content, String)>,
    /// Of an exported image: the id that it had, and where it came from.
    image_id: Option<String>,
    provenance: Option<Object>,
    notes: Vec<String>,
}

impl Gathered {
    /// No two files become one artifact.
    fn add(&mut self, name: &str, content: Content, file: &str) -> Result<(), FileError> {
        let kind = |content: &Content| std::mem::discriminant(content);
        let twin = self.artifacts.iter().find(|(there, other, _)| there == name && kind(other) == kind(&content));
        if let Some((_, _, other)) = twin {
            let why = format!("{other} and {file} both become the artifact '{name}'; rename one of them");
            return Err(FileError::new(FileErrorKind::Sidecar, why));
        }
        self.artifacts.push((name.to_owned(), content, file.to_owned()));
        Ok(())
    }
}

/// What is known of an image that is to be read again.
struct Before {
    provenance: Provenance,
    /// Its payload, where there is one, and whether it was edited in the dataset.
    metadata: Option<(Json, bool)>,
    /// What once stood beside the recording and does not any more.
    gone: Vec<String>,
    /// What the metadata is taken from where the files do not say it: the payload, where one of them is gone; its header, where
    /// it was edited (all else of it stays anyway).
    stands_in: Option<Json>,
}

impl Before {
    fn load(dataset: &Dataset, image_id: &str, recording: &Recording) -> Result<Self, FileError> {
        let provenance = Provenance::load(dataset, image_id)?;
        let read = dataset.find_record(image_id)?.json_with_bytes(METADATA)?;
        let metadata = read.map(|(text, payload)| {
            let is_ours = provenance.metadata_sha256.as_deref() == Some(hex(&Sha256::digest(text)).as_str());
            (payload, !is_ours)
        });
        let here: HashSet<&str> = recording.beside.iter().map(|beside| beside.name.as_str()).collect();
        let then = provenance.beside.iter().flatten().map(|(name, _)| name).chain(&provenance.gone);
        let mut gone: Vec<String> = then.filter(|name| !here.contains(name.as_str())).cloned().collect();
        gone.sort_unstable();
        gone.dedup();
        let stands_in = match &metadata {
            Some((payload, true)) => payload.get("header").map(|header| Json::object([("header", header.clone())])),
            Some((payload, false)) if gone.iter().any(|name| find::is_metadata(&recording.path, name)) => {
                Some(payload.clone())
            }
            _ => None,
        };
        Ok(Self { provenance, metadata, gone, stands_in })
    }

    /// What is to be told of files that are gone.
    fn notes(&self) -> Vec<String> {
        let stays = "what came from it stays, where no other file has taken its place";
        let mut notes: Vec<String> =
            self.gone.iter().take(NAMED_GONE).map(|name| format!("{name} is gone; {stays}")).collect();
        if self.gone.len() > NAMED_GONE {
            notes.push(format!("and {} more files beside it are gone", self.gone.len() - NAMED_GONE));
        }
        notes
    }
}

/// Reads a recording and writes what is new of it aside; without `to`, everything but the writing is done.
fn prepare(
    dataset: Option<&Dataset>,
    to: Option<&Dataset>,
    recording: &Recording,
    action: &Action,
    ids: &Mutex<HashSet<String>>,
    budget: &Budget,
) -> Result<Ready, FileError> {
    let before = match (action, dataset) {
        (Action::Changed { image_id, .. }, Some(dataset)) => Some(Before::load(dataset, image_id, recording)?),
        _ => None,
    };
    let (stamp, decoded) = pixels(&recording.path, budget)?;
    let tiff::Decoded { pixels, notes: told, share } = decoded;
    let (pixels, gathered) = if recording.exported {
        exported(recording, pixels)?
    } else {
        beside(recording, pixels, before.as_ref().and_then(|before| before.stands_in.as_ref()))?
    };
    let Gathered { metadata, artifacts, image_id, provenance, mut notes } = gathered;
    notes.extend(told);
    let seen: Vec<(String, Stamp)> = recording.beside.iter().map(|file| (file.name.clone(), file.stamp)).collect();
    let kept = provenance.as_ref().map(sources::without_own);
    let digest = hex(&Sha256::digest(metadata.as_ref().map(Json::to_file_text).unwrap_or_default()));
    let row = |image_id: &str| Row {
        path: recording.path.to_string_lossy().into_owned(),
        image_id: image_id.to_owned(),
        stamp,
        ingested_epoch_ns: epoch_ns(SystemTime::now()),
    };
    let about = (pixels.shape().to_vec(), pixels.dtype());
    let (row, how) = match (to, action, before) {
        (None, action, before) => {
            notes.extend(before.iter().flat_map(Before::notes));
            check(&pixels, &artifacts)?;
            let image_id = match action {
                Action::Changed { image_id, .. } => image_id.as_str(),
                _ => "",
            };
            (row(image_id), How::Looked)
        }
        (Some(dataset), Action::Changed { image_id, .. }, Some(before)) => {
            let row = row(image_id);
            notes.extend(before.notes());
            let record = dataset.find_record(image_id)?;
            // Those that cannot be read are no reason to keep them.
            let differ = !record.pixels().is_ok_and(|there| there.as_ref() == Some(&pixels));
            let staged = if differ { Some(dataset.stage_pixels(image_id, &pixels)?) } else { None };
            // What a person has edited in the dataset stays, but for what the files say of the header.
            let edited = before.metadata.filter(|(_, edited)| *edited);
            let metadata = match (metadata, edited) {
                (Some(made), Some((edited, _))) if edited != made => {
                    notes.push("its metadata was edited in the dataset: only the header is new".to_owned());
                    Some(metadata::with_header_of(&edited, &made))
                }
                (made, _) => made,
            };
            // Artifacts that have not changed beside the recording stay as they are in the dataset.
            let then: HashMap<&str, Stamp> =
                before.provenance.beside.iter().flatten().map(|(name, stamp)| (name.as_str(), *stamp)).collect();
            let now: HashMap<&str, Stamp> =
                recording.beside.iter().map(|beside| (beside.name.as_str(), beside.stamp)).collect();
            let is_new = |file: &str| then.get(file).is_none_or(|stamp| now.get(file) != Some(stamp));
            let artifacts =
                artifacts.into_iter().filter(|(_, _, file)| is_new(file)).map(|(name, content, _)| (name, content));
            let provenance = sources::provenance(&row, &seen, &before.gone, &digest, kept.as_ref());
            let new = Replacement { pixels: staged, metadata, artifacts: artifacts.collect(), provenance };
            (row, How::Changed(Box::new(new)))
        }
        (Some(dataset), _, _) => {
            let image_id = free_id(dataset, image_id, ids)?;
            let row = row(&image_id);
            let mut draft = dataset.draft_image(&image_id, &pixels)?;
            for (name, content, _) in artifacts {
                match content {
                    Content::Json(payload) => draft.put_json(&name, &payload)?,
                    Content::Rows(rows) => draft.put_parquet(&name, &rows)?,
                    Content::Array(array) => draft.put_array(&name, &array)?,
                    Content::CsvGz(bytes) => draft.put_csv_gz(&name, bytes)?,
                }
            }
            if let Some(payload) = &metadata {
                draft.put_json(METADATA, payload)?;
            }
            draft.put_json(PROVENANCE, &sources::provenance(&row, &seen, &[], &digest, kept.as_ref()))?;
            drop(pixels);
            (row, How::New(draft.stage()?))
        }
    };
    drop(share);
    Ok(Ready { row, pixels: about, notes, how })
}

/// What a dataset would refuse of a recording.
fn check(pixels: &Array, artifacts: &[(String, Content, String)]) -> Result<(), FileError> {
    check_pixels(pixels).map_err(|why| FileError::new(FileErrorKind::Dataset, why))?;
    for (name, content, file) in artifacts {
        let checked = match content {
            Content::Json(_) | Content::CsvGz(_) => Ok(()),
            Content::Rows(rows) => check_rows(rows),
            Content::Array(array) => check_array(array),
        };
        let refused = |why| FileError::new(FileErrorKind::Dataset, format!("{file}: no artifact '{name}': {why}"));
        checked.map_err(refused)?;
    }
    Ok(())
}

/// The id that an exported image had, where no other has it; else a new one.
fn free_id(dataset: &Dataset, wanted: Option<String>, ids: &Mutex<HashSet<String>>) -> Result<String, FileError> {
    if let Some(id) = wanted
        && dataset.is_free(&id)?
        && ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone())
    {
        return Ok(id);
    }
    Ok(uuid::Uuid::new_v4().to_string())
}

/// A file's pixels, and what it was known by while they were read.
fn pixels<'a>(path: &Path, budget: &'a Budget) -> Result<(Stamp, tiff::Decoded<'a>), FileError> {
    let of = |error: io::Error| FileError::io(path, &error);
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(of)?;
    let metadata = file.metadata().map_err(of)?;
    if !metadata.is_file() {
        return Err(FileError::new(FileErrorKind::Io, "it is no regular file"));
    }
    let stamp = Stamp::of(&metadata);
    let decoded = tiff::read(&file, stamp.size, budget)?;
    if Stamp::of(&file.metadata().map_err(of)?) != stamp {
        return Err(FileError::new(FileErrorKind::Changed, "it was written while it was read; run the ingest again"));
    }
    Ok((stamp, decoded))
}

/// A recording as it comes from the microscope or from kymflow.
fn beside(recording: &Recording, pixels: Array, before: Option<&Json>) -> Result<(Array, Gathered), FileError> {
    let mut gathered = Gathered::default();
    let of_role = |role: &Role| recording.beside.iter().find(|beside| beside.role == *role);
    let json = match of_role(&Role::Payload).or_else(|| of_role(&Role::Json)) {
        Some(file) => Some((file, sidecar::json(&file.path, FileErrorKind::Metadata)?)),
        None => None,
    };
    let mut header = None;
    if let Some(file) = of_role(&Role::Header) {
        let refused = |why: String| FileError::beside(FileErrorKind::Metadata, &file.path, why);
        header = olympus::parse(&read_bounded(&file.path, MAX_HEADER_BYTES).map_err(refused)?);
        if header.is_none() {
            gathered.notes.push(format!("{} is no Olympus header; it was passed over", file.name));
        }
    }
    let made = metadata::payload(pixels.shape(), json.as_ref().map(|(_, json)| json), header.as_ref(), before);
    let made = made.map_err(|why| {
        let path = json.as_ref().map_or(recording.path.as_path(), |(file, _)| file.path.as_path());
        FileError::beside(FileErrorKind::Metadata, path, why)
    })?;
    gathered.notes.extend(made.notes);
    gathered.metadata = Some(made.payload);
    for file in &recording.beside {
        if let Role::Artifact(name, form) = &file.role {
            gathered.add(name, sidecar::read(&file.path, *form, None, None)?, &file.name)?;
        }
    }
    Ok((pixels, gathered))
}

/// A recording that an export made: its listing says what everything is.
fn exported(recording: &Recording, pixels: Array) -> Result<(Array, Gathered), FileError> {
    let folder = recording.path.parent().unwrap_or(Path::new("/"));
    let path = folder.join(LISTING);
    let refused = |why: String| FileError::beside(FileErrorKind::Sidecar, &path, why);
    let listing = Listing::parse(&sidecar::json(&path, FileErrorKind::Sidecar)?).map_err(refused)?;
    let told = format!("its shape {:?} is not that of {:?} in the TIFF", listing.shape, pixels.shape());
    let dtype = pixels.dtype();
    let pixels = Array::new(dtype, listing.shape, listing.axes, pixels.into_bytes()).map_err(|_| refused(told))?;
    let mut gathered = Gathered { image_id: Some(listing.image_id), ..Gathered::default() };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    for entry in listing.artifacts {
        let path = folder.join(&entry.file);
        if real(&path).zip(real(folder)).is_some_and(|(file, folder)| !file.starts_with(folder)) {
            return Err(refused(format!("{} is a link that leads out of its folder", entry.file)));
        }
        let content = if entry.stays_csv {
            let bytes = read_bounded(&path, super::MAX_SIDECAR_BYTES);
            Content::CsvGz(bytes.map_err(|why| FileError::beside(FileErrorKind::Sidecar, &path, why))?)
        } else {
            sidecar::read(&path, entry.form, Some(&entry.axes), Some(&entry.types))?
        };
        match (entry.name.as_str(), content) {
            (METADATA, Content::Json(payload)) => gathered.metadata = Some(payload),
            (PROVENANCE, Content::Json(Json::Object(provenance))) => gathered.provenance = Some(provenance),
            (name, content) => gathered.add(name, content, &entry.file)?,
        }
    }
    Ok((pixels, gathered))
}

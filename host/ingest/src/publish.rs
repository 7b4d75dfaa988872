//! Images that are ready, put into the dataset in batches, and the sources table that names them.

use crate::error::{FileError, FileErrorKind, IngestError};
use crate::metadata;
use crate::outcome::{FileOutcome, FileStatus, IngestObserver};
use crate::prepare::{NewArtifact, NewMetadata, Prepared, Ready, ReadyImage, Replacement};
use crate::sidecar::SidecarContent;
use crate::sources::{self, Row};
use kymhost_dataset::{Dataset, DatasetError, MAX_TRIES, METADATA, PROVENANCE, Record};
use kymhost_store::StoreError;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A batch is published when it has this many images, or bytes, or after so long.
const BATCH_IMAGES: usize = 512;

const BATCH_BYTES: u64 = 256 << 20;

const BATCH_TIME: Duration = Duration::from_secs(2);

/// The sources table is written at least so far apart, and then this many times what the last write took.
const TABLE_TIME: Duration = Duration::from_secs(10);

const TABLE_SHARE: u32 = 19;

/// Publishes what is ready.
pub(crate) struct Publisher<'a> {
    dataset: &'a Dataset,
    batch: Vec<(usize, Ready)>,
    bytes: u64,
    since: Instant,
    /// Rows that the sources table lacks.
    rows: Vec<Row>,
    table_due: Instant,
}

impl<'a> Publisher<'a> {
    /// `rows`: those that the sources table lacks already.
    pub(crate) fn new(dataset: &'a Dataset, rows: Vec<Row>) -> Self {
        let now = Instant::now();
        Self { dataset, batch: Vec::new(), bytes: 0, since: now, rows, table_due: now + TABLE_TIME }
    }

    pub(crate) fn receive(
        &mut self,
        receiver: &mpsc::Receiver<Prepared>,
        observer: &mut dyn IngestObserver,
        files: &mut [FileOutcome],
    ) -> Result<(), IngestError> {
        loop {
            match receiver.recv_timeout(BATCH_TIME) {
                Ok((at, Ok(ready))) => {
                    observer.file_done(false);
                    if self.batch.is_empty() {
                        self.since = Instant::now();
                    }
                    if let ReadyImage::New(image) = &ready.how {
                        self.bytes += image.bytes();
                    }
                    self.batch.push((at, ready));
                }
                Ok((at, Err(error))) => {
                    observer.file_done(true);
                    if let Some(file) = files.get_mut(at) {
                        file.what = FileStatus::Failed(error);
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
        // What is published is listed, even if the last batch failed.
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

    fn publish(&mut self, observer: &mut dyn IngestObserver, files: &mut [FileOutcome]) -> Result<(), IngestError> {
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
                ReadyImage::Looked => {}
                ReadyImage::New(image) => {
                    images.push(image);
                    published.push((at, row, FileStatus::Added));
                }
                ReadyImage::Changed(replacement) => match self.replace(&row.image_id, *replacement) {
                    Ok(notes) => {
                        if let Some(file) = files.get_mut(at) {
                            file.notes.extend(notes);
                        }
                        published.push((at, row, FileStatus::Reingested));
                    }
                    Err(error) => failures.push((at, error)),
                },
            }
        }
        let taken: HashSet<String> = self.dataset.publish_images(images)?.into_iter().collect();
        for (at, row, what) in published {
            let Some(file) = files.get_mut(at) else { continue };
            if what == FileStatus::Added && taken.contains(&row.image_id) {
                let why = format!("a recording {} was added by another program in the meantime", row.image_id);
                file.what = FileStatus::Failed(FileError::new(FileErrorKind::Dataset, why));
                continue;
            }
            file.what = what;
            file.image_id = Some(row.image_id.clone());
            self.rows.push(row);
        }
        for (at, error) in failures {
            if let Some(file) = files.get_mut(at) {
                file.what = FileStatus::Failed(error);
            }
        }
        Ok(())
    }

    /// The provenance comes last: until it is written, the recording counts as changed. What another program has changed
    /// since the recording was read stays. Returns notes for people.
    fn replace(&self, image_id: &str, new: Replacement) -> Result<Vec<String>, FileError> {
        let record = self.dataset.find_record(image_id).map_err(refused)?;
        for artifact in &new.artifacts {
            if !record.is_still(&artifact.seen).map_err(refused)? {
                return Err(changed(&artifact.name));
            }
        }
        if let Some(pixels) = new.pixels {
            self.dataset.publish_pixels(pixels).map_err(refused)?;
        }
        for NewArtifact { name, content, seen } in new.artifacts {
            let written = match &content {
                SidecarContent::Json(payload) => record.put_json_if(&name, payload, seen),
                SidecarContent::Rows(rows) => record.put_parquet_if(&name, rows, seen),
                SidecarContent::Array(array) => record.put_array_if(&name, array, &seen),
                SidecarContent::CsvGz(bytes) => record.put_csv_gz_if(&name, bytes, seen),
            };
            if !written.map_err(refused)? {
                return Err(changed(&name));
            }
        }
        let notes = match new.metadata {
            Some(metadata) => merge_metadata(&record, metadata)?,
            None => Vec::new(),
        };
        record.put_json(PROVENANCE, &new.provenance).map_err(refused)?;
        Ok(notes)
    }
}

/// Writes an image's metadata, merged with what another program has written since it was made. Returns notes for people.
fn merge_metadata(record: &Record, new: NewMetadata) -> Result<Vec<String>, FileError> {
    let NewMetadata { mut payload, mut base, mut seen } = new;
    let (mut is_merged, mut kept) = (false, BTreeSet::new());
    for _ in 0..MAX_TRIES {
        if record.put_json_if(METADATA, &payload, seen).map_err(refused)? {
            let mut notes = Vec::new();
            if is_merged {
                notes
                    .push("another program changed its metadata during the ingest; those changes were kept".to_owned());
            }
            if !kept.is_empty() {
                let kept: Vec<String> = kept.into_iter().collect();
                notes
                    .push(format!("the files say otherwise, but the other program's values stay: {}", kept.join(", ")));
            }
            return Ok(notes);
        }
        let (theirs, seen_now) = record.json_to_change(METADATA).map_err(refused)?;
        seen = seen_now;
        let theirs = theirs.map(|(_, payload)| payload);
        if let Some(theirs) = &theirs {
            let (merged, differing) = metadata::merged(base.as_ref(), &payload, theirs);
            (payload, is_merged) = (merged, true);
            kept.extend(differing);
        }
        base = theirs;
    }
    Err(changed(METADATA))
}

fn changed(artifact: &str) -> FileError {
    let why = format!("its artifact '{artifact}' was changed by another program meanwhile; run the ingest again");
    FileError::new(FileErrorKind::Changed, why)
}

fn refused(error: DatasetError) -> FileError {
    match error {
        DatasetError::Store(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
            FileError::new(FileErrorKind::Dataset, "the disk is full")
        }
        other => other.into(),
    }
}

//! Images that are ready, put into the dataset in batches, and the sources table that names them.

use crate::error::{FileError, FileErrorKind, IngestError};
use crate::outcome::{FileOutcome, FileStatus, IngestObserver};
use crate::prepare::{Prepared, Ready, ReadyImage, Replacement};
use crate::sidecar::SidecarContent;
use crate::sources::{self, Row};
use kymhost_dataset::{Dataset, DatasetError, METADATA, PROVENANCE};
use kymhost_store::StoreError;
use std::collections::HashSet;
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
                    Ok(()) => published.push((at, row, FileStatus::Reingested)),
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

    /// The provenance comes last: until it is written, the recording counts as changed.
    fn replace(&self, image_id: &str, new: Replacement) -> Result<(), DatasetError> {
        let record = self.dataset.find_record(image_id)?;
        if let Some(pixels) = new.pixels {
            self.dataset.publish_pixels(pixels)?;
        }
        for (name, content) in &new.artifacts {
            match content {
                SidecarContent::Json(payload) => record.put_json(name, payload)?,
                SidecarContent::Rows(rows) => record.put_parquet(name, rows)?,
                SidecarContent::Array(array) => record.put_array(name, array)?,
                SidecarContent::CsvGz(bytes) => record.put_csv_gz(name, bytes)?,
            }
        }
        if let Some(payload) = &new.metadata {
            record.put_json(METADATA, payload)?;
        }
        record.put_json(PROVENANCE, &new.provenance)
    }
}

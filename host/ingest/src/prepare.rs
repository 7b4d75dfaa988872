//! One recording made ready: decoded, its files gathered, and the image written aside.
//!
//! Never puts anything into its place.

use crate::error::{FileError, FileErrorKind};
use crate::files::{self, FileStamp, MAX_HEADER_BYTES, MAX_SIDECAR_BYTES, read_bounded};
use crate::find::{self, LISTING, Recording, SidecarRole};
use crate::listing::Listing;
use crate::plan::Action;
use crate::sidecar::{self, SidecarContent};
use crate::sources::{self, Provenance, Row};
use crate::tiff::{self, Budget};
use crate::{metadata, olympus};
use kymhost_dataset::{
    Dataset, DatasetError, METADATA, PROVENANCE, StagedImage, StagedPixels, check_array, check_pixels, check_rows, hex,
};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::json::Object;
use kymhost_store::Seen;
use kymhost_store::time::epoch_ns;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many files that are gone are named.
const NAMED_GONE: usize = 5;

/// A recording by its place in the list, and what became of it.
pub(crate) type Prepared = (usize, Result<Ready, FileError>);

/// A recording that is ready to be published.
pub(crate) struct Ready {
    pub(crate) row: Row,
    pub(crate) pixels: (Vec<usize>, DType),
    pub(crate) notes: Vec<String>,
    pub(crate) how: ReadyImage,
}

pub(crate) enum ReadyImage {
    /// Ready, but nothing was written (a dry run).
    Looked,
    New(StagedImage),
    Changed(Box<Replacement>),
}

/// What is new of an image that is there.
pub(crate) struct Replacement {
    /// If they differ from those in the dataset.
    pub(crate) pixels: Option<StagedPixels>,
    pub(crate) metadata: Option<NewMetadata>,
    pub(crate) artifacts: Vec<NewArtifact>,
    pub(crate) provenance: Json,
}

/// A metadata payload, and what it was made over.
pub(crate) struct NewMetadata {
    pub(crate) payload: Json,
    /// What was there when it was made.
    pub(crate) base: Option<Json>,
    pub(crate) seen: Vec<Seen>,
}

/// An artifact, and what was in its place when it was read.
pub(crate) struct NewArtifact {
    pub(crate) name: String,
    pub(crate) content: SidecarContent,
    pub(crate) seen: Vec<Seen>,
}

/// The parts of a recording apart from its pixels.
#[derive(Debug, Default)]
struct RecordingParts {
    metadata: Option<Json>,
    /// Each with the file that it was read from.
    artifacts: Vec<(String, SidecarContent, String)>,
    /// Of an exported image: the id that it had, and where it came from.
    image_id: Option<String>,
    provenance: Option<Object>,
    notes: Vec<String>,
}

impl RecordingParts {
    /// No two files become one artifact.
    fn add(&mut self, name: &str, content: SidecarContent, file: &str) -> Result<(), FileError> {
        let kind = |content: &SidecarContent| std::mem::discriminant(content);
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
struct EarlierImage {
    provenance: Provenance,
    /// Its payload, if there is one, and whether it was edited in the dataset.
    metadata: Option<(Json, bool)>,
    seen: Vec<Seen>,
    /// Files that were next to the recording once and are gone.
    gone: Vec<String>,
    /// What the metadata is taken from if the files do not say it: the payload, if one of them is gone; its header, if
    /// it was edited (all else of it stays anyway).
    stands_in: Option<Json>,
}

impl EarlierImage {
    fn load(dataset: &Dataset, image_id: &str, recording: &Recording) -> Result<Self, FileError> {
        let provenance = Provenance::load(dataset, image_id)?;
        let (read, seen) = dataset.find_record(image_id)?.json_to_change(METADATA)?;
        let metadata = read.map(|(text, payload)| {
            let is_ours = provenance.metadata_sha256.as_deref() == Some(hex(&Sha256::digest(text)).as_str());
            (payload, !is_ours)
        });
        let here: HashSet<&str> = recording.sidecars.iter().map(|sidecar| sidecar.name.as_str()).collect();
        let then = provenance.sidecars.iter().flatten().map(|(name, _)| name).chain(&provenance.gone);
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
        Ok(Self { provenance, metadata, seen, gone, stands_in })
    }

    /// Notes about files that are gone.
    fn notes(&self) -> Vec<String> {
        let stays = "what came from it stays, unless another file replaces it";
        let mut notes: Vec<String> =
            self.gone.iter().take(NAMED_GONE).map(|name| format!("{name} is gone; {stays}")).collect();
        if self.gone.len() > NAMED_GONE {
            notes.push(format!("and {} more files next to it are gone", self.gone.len() - NAMED_GONE));
        }
        notes
    }
}

/// Reads a recording and writes what is new of it aside; without `to`, everything except writing is done.
pub(crate) fn prepare(
    dataset: Option<&Dataset>,
    to: Option<&Dataset>,
    recording: &Recording,
    action: &Action,
    ids: &Mutex<HashSet<String>>,
    budget: &Budget,
) -> Result<Ready, FileError> {
    let before = match (action, dataset) {
        (Action::Changed { image_id, .. }, Some(dataset)) => Some(EarlierImage::load(dataset, image_id, recording)?),
        _ => None,
    };
    let (stamp, decoded) = pixels(&recording.path, budget)?;
    let tiff::DecodedTiff { pixels, notes: of_tiff, share } = decoded;
    let (pixels, gathered) = if recording.exported {
        exported(recording, pixels)?
    } else {
        read_sidecars(recording, pixels, before.as_ref().and_then(|before| before.stands_in.as_ref()))?
    };
    let RecordingParts { metadata, artifacts, image_id, provenance, mut notes } = gathered;
    notes.extend(of_tiff);
    let seen: Vec<(String, FileStamp)> =
        recording.sidecars.iter().map(|file| (file.name.clone(), file.stamp)).collect();
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
            notes.extend(before.iter().flat_map(EarlierImage::notes));
            check(&pixels, &artifacts)?;
            let image_id = match action {
                Action::Changed { image_id, .. } => image_id.as_str(),
                _ => "",
            };
            (row(image_id), ReadyImage::Looked)
        }
        (Some(dataset), Action::Changed { image_id, .. }, Some(before)) => {
            let row = row(image_id);
            notes.extend(before.notes());
            let record = dataset.find_record(image_id)?;
            // If they cannot be read, they are not kept.
            let differ = !record.pixels().is_ok_and(|there| there.as_ref() == Some(&pixels));
            let staged = if differ { Some(dataset.stage_pixels(image_id, &pixels)?) } else { None };
            // What a person edited in the dataset stays, except for the header, if the files have one.
            let base = before.metadata.as_ref().map(|(payload, _)| payload.clone());
            let edited = before.metadata.filter(|(_, edited)| *edited);
            let metadata = match (metadata, edited) {
                (Some(made), Some((edited, _))) if edited != made => {
                    notes.push("its metadata was edited in the dataset: only the header is new".to_owned());
                    Some(metadata::with_header_of(&edited, &made))
                }
                (made, _) => made,
            };
            let metadata = metadata.map(|payload| NewMetadata { payload, base, seen: before.seen });
            // Artifacts that have not changed next to the recording stay as they are in the dataset.
            let then: HashMap<&str, FileStamp> =
                before.provenance.sidecars.iter().flatten().map(|(name, stamp)| (name.as_str(), *stamp)).collect();
            let now: HashMap<&str, FileStamp> =
                recording.sidecars.iter().map(|sidecar| (sidecar.name.as_str(), sidecar.stamp)).collect();
            let is_new = |file: &str| then.get(file).is_none_or(|stamp| now.get(file) != Some(stamp));
            let artifacts: Vec<NewArtifact> = artifacts
                .into_iter()
                .filter(|(_, _, file)| is_new(file))
                .map(|(name, content, _)| {
                    let seen = record.see_artifact(&name, content.kind())?;
                    Ok(NewArtifact { name, content, seen })
                })
                .collect::<Result<_, DatasetError>>()?;
            let provenance = sources::provenance(&row, &seen, &before.gone, &digest, kept.as_ref());
            let new = Replacement { pixels: staged, metadata, artifacts, provenance };
            (row, ReadyImage::Changed(Box::new(new)))
        }
        (Some(dataset), _, _) => {
            let image_id = free_id(dataset, image_id, ids)?;
            let row = row(&image_id);
            let mut draft = dataset.draft_image(&image_id, &pixels)?;
            for (name, content, _) in artifacts {
                match content {
                    SidecarContent::Json(payload) => draft.put_json(&name, &payload)?,
                    SidecarContent::Rows(rows) => draft.put_parquet(&name, &rows)?,
                    SidecarContent::Array(array) => draft.put_array(&name, &array)?,
                    SidecarContent::CsvGz(bytes) => draft.put_csv_gz(&name, bytes)?,
                }
            }
            if let Some(payload) = &metadata {
                draft.put_json(METADATA, payload)?;
            }
            draft.put_json(PROVENANCE, &sources::provenance(&row, &seen, &[], &digest, kept.as_ref()))?;
            drop(pixels);
            (row, ReadyImage::New(draft.stage()?))
        }
    };
    drop(share);
    Ok(Ready { row, pixels: about, notes, how })
}

/// What a dataset would refuse of a recording.
fn check(pixels: &Array, artifacts: &[(String, SidecarContent, String)]) -> Result<(), FileError> {
    check_pixels(pixels).map_err(|why| FileError::new(FileErrorKind::Dataset, why))?;
    for (name, content, file) in artifacts {
        let checked = match content {
            SidecarContent::Json(_) | SidecarContent::CsvGz(_) => Ok(()),
            SidecarContent::Rows(rows) => check_rows(rows),
            SidecarContent::Array(array) => check_array(array),
        };
        let refused =
            |why| FileError::new(FileErrorKind::Dataset, format!("{file} cannot become the artifact '{name}': {why}"));
        checked.map_err(refused)?;
    }
    Ok(())
}

/// The id that an exported image had, if no other has it; else a new one.
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
fn pixels<'a>(path: &Path, budget: &'a Budget) -> Result<(FileStamp, tiff::DecodedTiff<'a>), FileError> {
    let of = |error: io::Error| FileError::io(path, &error);
    let (file, metadata) = files::open_regular(path).map_err(of)?;
    let stamp = FileStamp::of(&metadata);
    let decoded = tiff::read(&file, stamp.size, budget)?;
    if FileStamp::of(&file.metadata().map_err(of)?) != stamp {
        return Err(FileError::new(FileErrorKind::Changed, "it was written while it was read; run the ingest again"));
    }
    Ok((stamp, decoded))
}

/// A recording as it comes from the microscope or from kymflow.
fn read_sidecars(
    recording: &Recording,
    pixels: Array,
    before: Option<&Json>,
) -> Result<(Array, RecordingParts), FileError> {
    let mut gathered = RecordingParts::default();
    let of_role = |role: &SidecarRole| recording.sidecars.iter().find(|sidecar| sidecar.role == *role);
    let json = match of_role(&SidecarRole::Payload).or_else(|| of_role(&SidecarRole::Json)) {
        Some(file) => Some((file, sidecar::json(&file.path, FileErrorKind::Metadata)?)),
        None => None,
    };
    let mut header = None;
    if let Some(file) = of_role(&SidecarRole::Header) {
        let refused = |why: String| FileError::in_sidecar(FileErrorKind::Metadata, &file.path, why);
        header = olympus::parse(&read_bounded(&file.path, MAX_HEADER_BYTES).map_err(refused)?);
        if header.is_none() {
            gathered.notes.push(format!("{} is not an Olympus header; it was skipped", file.name));
        }
    }
    let made = metadata::payload(pixels.shape(), json.as_ref().map(|(_, json)| json), header.as_ref(), before);
    let made = made.map_err(|why| {
        let path = json.as_ref().map_or(recording.path.as_path(), |(file, _)| file.path.as_path());
        FileError::in_sidecar(FileErrorKind::Metadata, path, why)
    })?;
    gathered.notes.extend(made.notes);
    gathered.metadata = Some(made.payload);
    for file in &recording.sidecars {
        if let SidecarRole::Artifact(name, form) = &file.role {
            gathered.add(name, sidecar::read(&file.path, *form, None, None)?, &file.name)?;
        }
    }
    Ok((pixels, gathered))
}

/// A recording that an export made: its listing says what everything is.
fn exported(recording: &Recording, pixels: Array) -> Result<(Array, RecordingParts), FileError> {
    let folder = recording.path.parent().unwrap_or(Path::new("/"));
    let path = folder.join(LISTING);
    let refused = |why: String| FileError::in_sidecar(FileErrorKind::Sidecar, &path, why);
    let listing = Listing::parse(&sidecar::json(&path, FileErrorKind::Sidecar)?).map_err(refused)?;
    let why = format!("its shape {:?} is not that of {:?} in the TIFF", listing.shape, pixels.shape());
    let dtype = pixels.dtype();
    let pixels = Array::new(dtype, listing.shape, listing.axes, pixels.into_bytes()).map_err(|_| refused(why))?;
    let mut gathered = RecordingParts { image_id: Some(listing.image_id), ..RecordingParts::default() };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    for entry in listing.artifacts {
        let path = folder.join(&entry.file);
        if real(&path).zip(real(folder)).is_some_and(|(file, folder)| !file.starts_with(folder)) {
            return Err(refused(format!("{} is a link that leads out of its folder", entry.file)));
        }
        let content = if entry.stays_csv {
            let bytes = read_bounded(&path, MAX_SIDECAR_BYTES);
            SidecarContent::CsvGz(bytes.map_err(|why| FileError::in_sidecar(FileErrorKind::Sidecar, &path, why))?)
        } else {
            sidecar::read(&path, entry.form, Some(&entry.axes), Some(&entry.types))?
        };
        match (entry.name.as_str(), content) {
            (METADATA, SidecarContent::Json(payload)) => gathered.metadata = Some(payload),
            (PROVENANCE, SidecarContent::Json(Json::Object(provenance))) => gathered.provenance = Some(provenance),
            (name, content) => gathered.add(name, content, &entry.file)?,
        }
    }
    Ok((pixels, gathered))
}

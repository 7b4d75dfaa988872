//! What to do with each recording: which are known, and which of those have changed. Never writes.

use crate::files::FileStamp;
use crate::find::{FoundRecordings, Recording};
use crate::sources::{self, KnownSource, Provenance};
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_store::time::epoch_ns;
use std::collections::{HashMap, HashSet};

/// What is to be done with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It becomes an image.
    New,
    /// Its image is there, but the file or a file next to it has changed; `why` says how.
    Changed {
        /// Its image.
        image_id: String,
        /// What has changed.
        why: String,
    },
    /// Its image is there, and nothing has changed.
    Unchanged {
        /// Its image.
        image_id: String,
    },
}

/// A file that an image was read from and that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// Where it was.
    pub path: String,
    /// Its image, which stays.
    pub image_id: String,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct IngestPlan {
    /// For each recording, in its order.
    pub actions: Vec<Action>,
    /// For each recording that is new: the file that is gone and had its size and time. It may have been moved.
    pub moved: Vec<Option<Vanished>>,
    /// Files within what was named that images were read from and that are gone, sorted.
    pub vanished: Vec<Vanished>,
    /// Files whose image is there though the table does not say so: their rows are written again.
    pub(crate) unlisted: Vec<sources::Row>,
}

/// Plans. Without a dataset every recording is new.
pub fn plan(dataset: Option<&Dataset>, found: &FoundRecordings) -> Result<IngestPlan, DatasetError> {
    let Some(dataset) = dataset else {
        let count = found.recordings.len();
        return Ok(IngestPlan { actions: vec![Action::New; count], moved: vec![None; count], ..IngestPlan::default() });
    };
    let images: HashSet<String> = dataset.image_ids()?.into_iter().collect();
    let mut known = sources::load(dataset)?;
    known.retain(|_, known| images.contains(&known.image_id));
    let unlisted = unlisted(dataset, &images, &mut known);
    let mut actions = Vec::with_capacity(found.recordings.len());
    for recording in &found.recordings {
        let action = match known.get(recording.path.to_string_lossy().as_ref()) {
            None => Action::New,
            Some(known) => judged(dataset, recording, known),
        };
        actions.push(action);
    }
    let moved = moved(found, &actions, &known);
    let there: HashSet<String> = found.recordings.iter().map(|r| r.path.to_string_lossy().into_owned()).collect();
    let within = |path: &str| found.roots.iter().any(|root| std::path::Path::new(path).starts_with(root));
    let mut vanished: Vec<Vanished> = known
        .into_iter()
        .filter(|(path, _)| !there.contains(path) && within(path) && !std::path::Path::new(path).exists())
        .map(|(path, known)| Vanished { path, image_id: known.image_id })
        .collect();
    vanished.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(IngestPlan { actions, moved, vanished, unlisted })
}

/// For each new recording the known file that has its size and time and is gone: if there are several, the one with
/// its name.
fn moved(found: &FoundRecordings, actions: &[Action], known: &HashMap<String, KnownSource>) -> Vec<Option<Vanished>> {
    let new = |(recording, action): (&Recording, &Action)| (*action == Action::New).then_some(recording.stamp);
    let wanted: HashSet<FileStamp> = found.recordings.iter().zip(actions).filter_map(new).collect();
    let mut gone: HashMap<FileStamp, Vec<Vanished>> = HashMap::new();
    for (path, known) in known {
        if let Some(stamp) = known.stamp.filter(|stamp| wanted.contains(stamp))
            && !std::path::Path::new(path).exists()
        {
            let file = Vanished { path: path.clone(), image_id: known.image_id.clone() };
            gone.entry(stamp).or_default().push(file);
        }
    }
    let before = |of: (&Recording, &Action)| match gone.get(&new(of)?)?.as_slice() {
        [only] => Some(only.clone()),
        several => several.iter().find(|file| name_of(&file.path) == name_of(&of.0.path.to_string_lossy())).cloned(),
    };
    found.recordings.iter().zip(actions).map(before).collect()
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Images that the table does not name, by what their provenance says: an ingest was killed before it could write the
/// table.
fn unlisted(
    dataset: &Dataset,
    images: &HashSet<String>,
    known: &mut HashMap<String, KnownSource>,
) -> Vec<sources::Row> {
    let listed: HashSet<&str> = known.values().map(|known| known.image_id.as_str()).collect();
    let mut strangers: Vec<&String> = images.iter().filter(|id| !listed.contains(id.as_str())).collect();
    strangers.sort_unstable();
    let mut rows = Vec::new();
    for image_id in strangers {
        // A provenance that cannot be read says nothing; `dataset validate` reports it.
        let Ok(Provenance { path: Some(path), stamp, sidecars, .. }) = Provenance::load(dataset, image_id) else {
            continue;
        };
        if known.contains_key(&path) {
            continue;
        }
        if let (Some(stamp), Some(_)) = (stamp, sidecars) {
            let row = sources::Row {
                path: path.clone(),
                image_id: image_id.clone(),
                stamp,
                ingested_epoch_ns: epoch_ns(std::time::SystemTime::now()),
            };
            rows.push(row);
        }
        known.insert(path, KnownSource { image_id: image_id.clone(), stamp });
    }
    rows
}

fn judged(dataset: &Dataset, recording: &Recording, known: &KnownSource) -> Action {
    let image_id = known.image_id.clone();
    let changed = |why: &str| Action::Changed { image_id: known.image_id.clone(), why: why.to_owned() };
    match known.stamp {
        None => return changed("the dataset does not record its size and time"),
        Some(stamp) if stamp.size != recording.stamp.size => return changed("its size changed"),
        Some(stamp) if stamp.mtime_ns != recording.stamp.mtime_ns => return changed("it was modified"),
        Some(_) => {}
    }
    // Other programs do not record which files they read.
    let Ok(Provenance { sidecars: Some(before), .. }) = Provenance::load(dataset, &image_id) else {
        return Action::Unchanged { image_id };
    };
    let differs = recording
        .sidecars
        .iter()
        .find(|sidecar| !before.iter().any(|(name, stamp)| *name == sidecar.name && *stamp == sidecar.stamp));
    match differs {
        Some(sidecar) if before.iter().any(|(name, _)| *name == sidecar.name) => {
            changed(&format!("{} was modified", sidecar.name))
        }
        Some(sidecar) => changed(&format!("{} is new", sidecar.name)),
        None => match before.iter().find(|(name, _)| !recording.sidecars.iter().any(|sidecar| sidecar.name == *name)) {
            Some((name, _)) => changed(&format!("{name} is gone")),
            None => Action::Unchanged { image_id },
        },
    }
}

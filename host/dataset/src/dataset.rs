//! A dataset: opened or created, and its images.
//!
//! Never decides what is stale or what is to be done.

use crate::attributes::PreparedWrite;
use crate::error::{DatasetError, unreadable, unwritable};
use crate::missing_chunks::{self, MissingChunks};
use crate::record::Record;
use crate::{arrays, attributes, guarded, names};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::json::Object;
use kymhost_store::time::now_utc;
use kymhost_store::{Key, LocalStore, Seen, Store, StoreError};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `format` says in the root attributes.
pub const FORMAT: &str = "kymflow_zarr_v1";
/// The `schema_version` that this program reads and writes.
pub const SCHEMA_VERSION: i64 = 1;

/// What to do if the folder may be the one above or below the dataset.
const GIVE_FOLDER: &str = "give the dataset's folder (it holds .zgroup and images/) with --dataset PATH";

/// An open dataset. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) missing_chunks: MissingChunks,
}

impl Dataset {
    /// Opens the dataset in a folder of the local file system.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        match LocalStore::open(path) {
            Ok(store) => Self::open_store(Arc::new(store)),
            // That says nothing about the folder.
            Err(error) if error.is_shortage() => Err(error.into()),
            Err(StoreError::Io { source, .. }) => {
                let (why, help) = match source.kind() {
                    io::ErrorKind::NotFound => (
                        "nothing exists at this path".to_owned(),
                        "check the path, or make a new dataset with `kymhost dataset create PATH`",
                    ),
                    io::ErrorKind::NotADirectory => {
                        ("it is a file".to_owned(), "give the dataset's folder, usually named NAME.zarr")
                    }
                    io::ErrorKind::PermissionDenied => {
                        ("you may not open the folder".to_owned(), "ask its owner for permission")
                    }
                    _ => (format!("the folder cannot be opened: {source}"), GIVE_FOLDER),
                };
                Err(DatasetError::NotADataset { path: path.display().to_string(), why, help })
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Opens the dataset in a store.
    pub fn open_store(store: Arc<dyn Store>) -> Result<Self, DatasetError> {
        let refused = |why: String, help: &'static str| {
            Err(DatasetError::NotADataset { path: store.root().display().to_string(), why, help })
        };
        if !attributes::is_group(&*store, &Key::root())? {
            if store.stat(&Key::new("zarr.json")?)?.is_some() {
                let why = "it is a Zarr v3 store; kymflow and kymhost keep datasets in Zarr v2";
                return refused(why.to_owned(), GIVE_FOLDER);
            }
            return refused("it has no file .zgroup".to_owned(), GIVE_FOLDER);
        }
        let root = attributes::read(&*store, &Key::root())?;
        match root.get("format").and_then(Json::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return refused(format!("its attribute 'format' is '{other}', expected '{FORMAT}'"), GIVE_FOLDER);
            }
            None => {
                let why = format!("it is a Zarr group without the attribute format = '{FORMAT}'");
                return refused(why, GIVE_FOLDER);
            }
        }
        match root.get("schema_version").map(|version| (version, version.as_i64())) {
            Some((_, Some(SCHEMA_VERSION))) => {}
            Some((_, Some(newer))) if newer > SCHEMA_VERSION => {
                let why = format!("its schema_version is {newer}, this kymhost knows {SCHEMA_VERSION}");
                return refused(why, "use a newer kymhost");
            }
            found => {
                let found = found.map_or_else(|| "missing".to_owned(), |(version, _)| version.to_string());
                let why = format!("its attribute 'schema_version' is {found}, expected {SCHEMA_VERSION}");
                return refused(why, GIVE_FOLDER);
            }
        }
        Ok(Self { store, missing_chunks: MissingChunks::default() })
    }

    /// Makes a new, empty dataset in a folder that does not exist or is empty.
    pub fn create(path: &Path) -> Result<Self, DatasetError> {
        let store = LocalStore::create(path)?;
        if store.list(&Key::root())?.is_some_and(|entries| !entries.is_empty()) {
            let why = "the folder is not empty; a new dataset needs a folder of its own".to_owned();
            return Err(DatasetError::Unwritable { key: path.display().to_string(), why });
        }
        let now = now_utc();
        let mut root = Object::new();
        root.insert("created_utc".to_owned(), now.as_str().into());
        root.insert("format".to_owned(), FORMAT.into());
        root.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
        root.insert("updated_utc".to_owned(), now.into());
        // The root's `.zgroup` comes last: what a crash leaves is not a dataset, rather than half of one.
        let items = [
            attributes::group_item(&Key::new(names::IMAGES)?)?,
            attributes::group_item(&Key::new(names::INDEX)?)?,
            attributes::item(&Key::root(), root)?,
            attributes::group_item(&Key::root())?,
        ];
        store.put_many(&mut items.into_iter())?;
        Ok(Self { store: Arc::new(store), missing_chunks: MissingChunks::default() })
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where the dataset is: the path by which another process opens it again.
    pub fn path(&self) -> PathBuf {
        self.store.root()
    }

    /// The ids of all images (sub-groups of `images/`), sorted. An `images` folder that is missing or cannot be
    /// listed is an error.
    pub fn image_ids(&self) -> Result<Vec<String>, DatasetError> {
        let images = Key::new(names::IMAGES)?;
        self.store.folders_with(&images, names::GROUP)?.ok_or_else(|| {
            let found = "the folder does not exist";
            unreadable(&*self.store, &images, "the folder of the recordings", found)
        })
    }

    /// An image's record. Does not check that it exists (see [`Dataset::find_record`]).
    pub fn record(&self, image_id: &str) -> Result<Record, DatasetError> {
        Record::new(Arc::clone(&self.store), image_id, self.missing_chunks)
    }

    /// An image's record, or [`DatasetError::UnknownImage`].
    pub fn find_record(&self, image_id: &str) -> Result<Record, DatasetError> {
        let unknown =
            || DatasetError::UnknownImage { id: image_id.to_owned(), dataset: self.path().display().to_string() };
        let record = match self.record(image_id) {
            // A text that no image can have as its id.
            Err(DatasetError::Store(StoreError::BadKey { .. })) => return Err(unknown()),
            other => other?,
        };
        if record.exists()? { Ok(record) } else { Err(unknown()) }
    }

    /// This dataset with another answer to missing chunks.
    pub fn with_missing_chunks(&self, policy: MissingChunks) -> Self {
        Self { missing_chunks: policy, ..self.clone() }
    }

    /// Records that the chunks which an image's pixels lack now are empty: readers take the fill value for them. How
    /// many they are; 0 if none is missing or the same was recorded already.
    pub fn fill_missing_chunks(&self, image_id: &str) -> Result<u64, DatasetError> {
        missing_chunks::record_as_empty(&*self.store, &names::image_key(image_id)?.join(names::DATA)?)
    }

    /// Adds an image with pixels; its id is a new UUID v4 if none is given. `chunks`: kymflow's default if none are
    /// given.
    pub fn add_image(
        &self,
        image_id: Option<&str>,
        pixels: &Array,
        chunks: Option<&[usize]>,
    ) -> Result<Record, DatasetError> {
        let id = image_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let record = self.record(&id)?;
        let group = names::image_key(&id)?;
        let refused = |why: String| unwritable(&*self.store, &group, why);
        let taken = || refused("there is a recording with this id already".to_owned());
        if record.exists()? {
            return Err(taken());
        }
        arrays::check_pixels(pixels).map_err(refused)?;
        let mut items = arrays::encode(&group.join(names::DATA)?, pixels, chunks).map_err(refused)?;
        let _structure = self.lock_structure("adding a recording")?;
        if record.exists()? {
            return Err(taken());
        }
        let root = attributes::touched(&*self.store, &Key::root())?;
        items.push(attributes::item(&group, attributes::of_image(pixels.axes()))?);
        // Last: the image is there when all of it is.
        items.push(attributes::group_item(&group)?);
        guarded::write(&*self.store, &mut items.into_iter().map(PreparedWrite::from).chain([root]))?;
        Ok(record)
    }

    /// Deletes an image with all its artifacts; `false` if there was none.
    pub fn delete_image(&self, image_id: &str) -> Result<bool, DatasetError> {
        let group = names::image_key(image_id)?;
        let _structure = self.lock_structure("deleting a recording")?;
        let root = attributes::touched(&*self.store, &Key::root())?;
        let found = self.store.delete_tree(&group)?;
        if found {
            self.write_root(root)?;
        }
        Ok(found)
    }

    /// The root group's attributes.
    pub fn attributes(&self) -> Result<Json, DatasetError> {
        Ok(Json::Object(attributes::read(&*self.store, &Key::root())?))
    }

    /// Makes a JSON artifact ready to be written with many others. What would keep it from being written (the image is
    /// gone, its attributes are broken) is reported now, before anything is.
    pub fn prepare_json(&self, image_id: &str, name: &str, payload: &Json) -> Result<PreparedJson, DatasetError> {
        Ok(PreparedJson(self.record(image_id)?.json_items(name, payload)?))
    }

    /// As [`Dataset::prepare_json`], to be written only if all of these are still what they were.
    pub fn prepare_changed_json(
        &self,
        image_id: &str,
        name: &str,
        payload: &Json,
        seen: Vec<Seen>,
    ) -> Result<PreparedJson, DatasetError> {
        let record = self.record(image_id)?;
        Ok(PreparedJson(vec![record.json_item(name, payload)?.if_still(seen), record.touched()?]))
    }

    /// As [`Dataset::prepare_json`], for a run marker: a marker says when it was written, so the image's attributes stay
    /// untouched.
    pub fn prepare_marker(&self, image_id: &str, name: &str, payload: &Json) -> Result<PreparedJson, DatasetError> {
        let record = self.record(image_id)?;
        let marker = record.json_item(name, payload)?;
        // Only read: an image whose attributes are broken fails now, as it would when an artifact is saved.
        attributes::read(&*self.store, record.group())?;
        Ok(PreparedJson(vec![marker]))
    }

    /// Writes JSON artifacts of many images with one wait for the disk, and what was prepared with them. Returns the ids
    /// of images whose artifact was left because another program has changed it meanwhile.
    pub fn put_json_many(
        &self,
        prepared: &mut dyn Iterator<Item = PreparedJson>,
    ) -> Result<BTreeSet<String>, DatasetError> {
        let differing = guarded::write(&*self.store, &mut prepared.flat_map(|artifact| artifact.0))?;
        Ok(differing.iter().filter_map(image_of).map(str::to_owned).collect())
    }

    /// Replaces JSON artifacts of one name by texts that say the same, with one wait for the disk: each given with its
    /// image and what was seen of it. The images' attributes stay. What another program has changed meanwhile is left.
    pub fn put_json_texts(
        &self,
        name: &str,
        texts: &mut dyn Iterator<Item = (String, Vec<u8>, Vec<Seen>)>,
    ) -> Result<(), DatasetError> {
        let items: Result<Vec<_>, DatasetError> = texts
            .map(|(image_id, text, seen)| {
                let key = names::artifact_key(&image_id, name, ".json")?;
                Ok(PreparedWrite::from((key, text)).if_still(seen))
            })
            .collect();
        guarded::write(&*self.store, &mut items?.into_iter()).map(drop)
    }
}

/// The image that a key belongs to.
pub(crate) fn image_of(key: &Key) -> Option<&str> {
    key.as_str().strip_prefix(names::IMAGES)?.strip_prefix('/')?.split('/').next()
}

/// A JSON artifact that is ready to be written, and its image's attributes with it if they change.
#[derive(Debug, Clone)]
pub struct PreparedJson(Vec<PreparedWrite>);

#[cfg(test)]
mod tests;

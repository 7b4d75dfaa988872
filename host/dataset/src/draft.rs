//! New images, and new pixels of images, put into the dataset at once.
//!
//! Whoever makes a draft writes it aside, several at a time. Publishing is one rename for each. A reader sees no
//! image or a whole one.

use crate::array_layout::{Layout, layout_of};
use crate::attributes::AttributesEdit;
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::error::unwritable;
use crate::names::{self, ARRAY, DATA};
use crate::tables;
use crate::{arrays, attributes, guarded};
use arrow::array::RecordBatch;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_store::{Key, StagedTree};
use std::collections::HashSet;

/// A new image, in memory.
#[derive(Debug)]
pub struct ImageDraft<'a> {
    dataset: &'a Dataset,
    image_id: String,
    /// Keys below the image's group.
    items: Vec<(Key, Vec<u8>)>,
    /// Groups on the way to array artifacts.
    groups: HashSet<Key>,
}

/// A new image, written aside.
#[derive(Debug)]
pub struct StagedImage {
    image_id: String,
    bytes: u64,
    tree: StagedTree,
}

impl StagedImage {
    /// The id that it will have.
    pub fn image_id(&self) -> &str {
        &self.image_id
    }

    /// How many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// New pixels of an image that is there, written aside.
#[derive(Debug)]
pub struct StagedPixels {
    image_id: String,
    axes: Vec<String>,
    tree: StagedTree,
}

/// What is known of an array without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Lengths, slowest axis first.
    pub shape: Vec<usize>,
    /// The type of an element.
    pub dtype: DType,
    /// A name for each axis.
    pub axes: Vec<String>,
}

/// Whether an image could have such pixels: what [`Dataset::draft_image`] refuses, without encoding anything.
///
/// # Errors
/// Why not.
pub fn check_pixels(pixels: &Array) -> Result<(), String> {
    arrays::check_pixels(pixels)?;
    layout_of(pixels, None).map(drop)
}

/// Whether an image could have such a table artifact.
///
/// # Errors
/// Why not.
pub fn check_rows(rows: &RecordBatch) -> Result<(), String> {
    tables::prepare(rows).map(drop)
}

/// Whether an image could have such an array artifact.
///
/// # Errors
/// Why not.
pub fn check_array(array: &Array) -> Result<(), String> {
    layout_of(array, None).map(drop)
}

/// An array's files below `folder`, its chunks first.
fn encoded(dataset: &Dataset, about: &Key, folder: &Key, array: &Array) -> Result<Vec<(Key, Vec<u8>)>, DatasetError> {
    arrays::encode(folder, array, None).map_err(|why| unwritable(&**dataset.store(), about, why))
}

impl<'a> ImageDraft<'a> {
    /// Adds a JSON artifact.
    pub fn put_json(&mut self, name: &str, payload: &Json) -> Result<(), DatasetError> {
        let key = self.artifact(name, ".json")?;
        self.put(key, payload.to_file_text().into_bytes());
        Ok(())
    }

    /// Adds a table artifact.
    pub fn put_parquet(&mut self, name: &str, rows: &RecordBatch) -> Result<(), DatasetError> {
        let key = self.artifact(name, ".parquet")?;
        let bytes = tables::artifact_bytes(rows).map_err(|why| unwritable(&**self.dataset.store(), &key, why))?;
        self.put(key, bytes);
        Ok(())
    }

    /// Adds a table artifact that is CSV already, as gzip.
    pub fn put_csv_gz(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), DatasetError> {
        let key = self.artifact(name, ".csv.gz")?;
        self.put(key, bytes);
        Ok(())
    }

    /// Adds an array artifact.
    pub fn put_array(&mut self, name: &str, array: &Array) -> Result<(), DatasetError> {
        let group = below_image(&names::array_key(&self.image_id, name)?)?;
        let mut above = Some(group.clone());
        while let Some(key) = above.filter(|key| !key.is_root()) {
            if self.groups.insert(key.clone()) {
                self.items.push(attributes::group_item(&key)?);
            }
            above = key.split().map(|(folder, _)| folder);
        }
        let (key, bytes) = attributes::item(&group, attributes::of_array(array.axes()))?;
        self.put(key, bytes);
        for (key, bytes) in encoded(self.dataset, &group, &group.join(DATA)?, array)? {
            self.put(key, bytes);
        }
        Ok(())
    }

    /// Writes it aside.
    pub fn stage(self) -> Result<StagedImage, DatasetError> {
        let group = names::image_key(&self.image_id)?;
        let bytes = self.items.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let tree = self.dataset.store().stage_tree(&group, &mut self.items.into_iter())?;
        Ok(StagedImage { image_id: self.image_id, bytes, tree })
    }

    fn artifact(&self, name: &str, ending: &str) -> Result<Key, DatasetError> {
        below_image(&names::artifact_key(&self.image_id, name, ending)?)
    }

    /// The last write of a key wins, as it does in a dataset.
    fn put(&mut self, key: Key, bytes: Vec<u8>) {
        match self.items.iter_mut().find(|(there, _)| *there == key) {
            Some(item) => item.1 = bytes,
            None => self.items.push((key, bytes)),
        }
    }
}

/// `images/<id>/a/b` as `a/b`.
fn below_image(key: &Key) -> Result<Key, DatasetError> {
    let below = key.as_str().splitn(3, '/').nth(2).unwrap_or_default();
    Ok(Key::new(below)?)
}

impl Dataset {
    /// A new image with these pixels, in chunks of kymflow's default; nothing is written yet.
    ///
    /// # Errors
    /// If an image cannot have such pixels.
    pub fn draft_image(&self, image_id: &str, pixels: &Array) -> Result<ImageDraft<'_>, DatasetError> {
        let group = names::image_key(image_id)?;
        arrays::check_pixels(pixels).map_err(|why| unwritable(&**self.store(), &group, why))?;
        let mut items = encoded(self, &group, &Key::new(DATA)?, pixels)?;
        items.push(attributes::item(&Key::root(), attributes::of_image(pixels.axes()))?);
        items.push(attributes::group_item(&Key::root())?);
        Ok(ImageDraft { dataset: self, image_id: image_id.to_owned(), items, groups: HashSet::new() })
    }

    /// Whether an id could be a new image's: nothing exists in its place.
    pub fn is_free(&self, image_id: &str) -> Result<bool, DatasetError> {
        Ok(self.store().list(&names::image_key(image_id)?)?.is_none())
    }

    /// Adds images that were written aside, with one wait for the disk. Gives back the ids of which there was an image
    /// already; those were not added.
    pub fn publish_images(&self, images: Vec<StagedImage>) -> Result<Vec<String>, DatasetError> {
        let _structure = self.lock_structure("adding recordings")?;
        let root = attributes::touched(&**self.store(), &Key::root())?;
        let (mut trees, mut taken) = (Vec::new(), Vec::new());
        let mut ids = HashSet::new();
        for image in images {
            if ids.insert(image.image_id.clone()) && self.is_free(&image.image_id)? {
                trees.push((names::image_key(&image.image_id)?, image.tree));
            } else {
                taken.push(image.image_id);
            }
        }
        if !trees.is_empty() {
            self.store().publish_trees(trees)?;
            self.write_root(root)?;
        }
        Ok(taken)
    }

    /// Writes new pixels of an image aside.
    pub fn stage_pixels(&self, image_id: &str, pixels: &Array) -> Result<StagedPixels, DatasetError> {
        let data = names::image_key(image_id)?.join(DATA)?;
        arrays::check_pixels(pixels).map_err(|why| unwritable(&**self.store(), &data, why))?;
        let items = encoded(self, &data, &Key::new(DATA)?, pixels)?;
        let mut below = Vec::with_capacity(items.len());
        for (key, bytes) in items {
            let (_, name) = key.split().unwrap_or((Key::root(), ARRAY));
            below.push((Key::new(name)?, bytes));
        }
        let tree = self.store().stage_tree(&data, &mut below.into_iter())?;
        Ok(StagedPixels { image_id: image_id.to_owned(), axes: pixels.axes().to_vec(), tree })
    }

    /// Replaces an image's pixels atomically, then sets the image's `axes` and `updated_utc`.
    pub fn publish_pixels(&self, pixels: StagedPixels) -> Result<(), DatasetError> {
        let group = names::image_key(&pixels.image_id)?;
        if !attributes::is_group(&**self.store(), &group)? {
            return Err(self.record(&pixels.image_id)?.unknown());
        }
        let edited = AttributesEdit::of_array(&group, &pixels.axes).prepare(&**self.store())?;
        self.store().publish_trees(vec![(group.join(DATA)?, pixels.tree)])?;
        guarded::write(&**self.store(), &mut std::iter::once(edited)).map(drop)
    }

    /// What is known of an image's pixels without reading them; `None` if it has none.
    pub fn pixels_info(&self, image_id: &str) -> Result<Option<ArrayInfo>, DatasetError> {
        let group = names::image_key(image_id)?;
        let Some(layout) = arrays::read_layout(&**self.store(), &group.join(DATA)?)? else { return Ok(None) };
        let axes = arrays::axes(&**self.store(), &group, layout.shape.len())?;
        Ok(Some(ArrayInfo { shape: layout.shape, dtype: layout.dtype, axes }))
    }
}

/// An artifact's name as the dataset makes it safe.
///
/// # Errors
/// If nothing is left of it.
pub fn safe_artifact_name(name: &str) -> Result<String, DatasetError> {
    names::safe_name(name)
}

/// The names of axes that nobody has named, by their number: `y x`, `z y x` …, else `a0`, `a1` …
pub fn default_axes(rank: usize) -> Vec<String> {
    Layout::default_axes(rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn dataset() -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
        (folder, dataset)
    }

    fn pixels(lines: usize) -> Array {
        let elements: Vec<u16> = (0..lines * 3).map(|value| value as u16).collect();
        Array::from_elements(&elements, vec![lines, 3], default_axes(2)).unwrap()
    }

    #[test]
    fn draft_is_invisible_until_published() {
        let (_folder, dataset) = dataset();
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let mut draft = dataset.draft_image("a", &pixels(600)).unwrap();
        draft.put_json("velocity_events/params", &Json::from(1)).unwrap();
        draft.put_json("velocity_events/params", &Json::from(2)).unwrap();
        draft.put_parquet("t", &rows).unwrap();
        draft.put_array("deep/er", &pixels(2)).unwrap();
        draft.put_array("deep/est", &pixels(2)).unwrap();
        let staged = draft.stage().unwrap();
        assert_eq!(dataset.image_ids().unwrap(), [""; 0]);
        assert_eq!(dataset.publish_images(vec![staged]).unwrap(), [""; 0]);
        assert_eq!(dataset.image_ids().unwrap(), ["a"]);
        let record = dataset.find_record("a").unwrap();
        assert_eq!(record.pixels().unwrap().unwrap(), pixels(600));
        assert_eq!(record.json("velocity_events/params").unwrap(), Some(Json::from(2)));
        assert_eq!(record.parquet("t").unwrap().unwrap().num_rows(), 2);
        assert_eq!(record.array("deep/est").unwrap().unwrap(), pixels(2));
        assert_eq!(dataset.validate(), []);
        assert_eq!(dataset.pixels_info("a").unwrap().unwrap().shape, [600, 3]);
    }

    #[test]
    fn publish_reports_taken_ids_and_keeps_them() {
        let (_folder, dataset) = dataset();
        dataset.add_image(Some("a"), &pixels(4), None).unwrap();
        let staged = |id| dataset.draft_image(id, &pixels(5)).unwrap().stage().unwrap();
        assert_eq!(dataset.publish_images(vec![staged("a"), staged("b"), staged("b")]).unwrap(), ["a", "b"]);
        assert_eq!(dataset.find_record("a").unwrap().pixels().unwrap().unwrap(), pixels(4));
    }

    #[test]
    fn publish_pixels_replaces_pixels_only() {
        let (folder, dataset) = dataset();
        let record = dataset.add_image(Some("a"), &pixels(2000), None).unwrap();
        record.put_json("kept", &Json::from(1)).unwrap();
        let staged = dataset.stage_pixels("a", &pixels(10)).unwrap();
        assert_eq!(record.pixels().unwrap().unwrap(), pixels(2000));
        dataset.publish_pixels(staged).unwrap();
        assert_eq!(record.pixels().unwrap().unwrap(), pixels(10));
        assert_eq!(record.json("kept").unwrap(), Some(Json::from(1)));
        assert_eq!(dataset.validate(), [], "no chunk of the old pixels is left");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("d.zarr/index/kymhost/tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn dropped_draft_leaves_nothing() {
        let (folder, dataset) = dataset();
        drop(dataset.draft_image("a", &pixels(2000)).unwrap().stage().unwrap());
        assert_eq!(std::fs::read_dir(folder.path().join("d.zarr/index/kymhost/tmp")).unwrap().count(), 0);
        assert!(dataset.is_free("a").unwrap());
    }
}

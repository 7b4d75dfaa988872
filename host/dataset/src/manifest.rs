//! The manifest: a derived list of the images. It can always be rebuilt, and nobody reads it to find an image.

use crate::attributes::PreparedWrite;
use crate::dataset::Dataset;
use crate::dataset::FORMAT;
use crate::dataset::SCHEMA_VERSION;
use crate::error::DatasetError;
use crate::error::{unreadable, unwritable};
use crate::guarded::{self, MAX_TRIES};
use crate::limits::{MAX_FOLDERS, MAX_MANIFEST_TEXT_BYTES, MAX_MANIFEST_VALUE_BYTES};
use crate::names::{ANALYSIS, DATA, IMAGES, MANIFEST};
use crate::{arrays, attributes, gzip, names};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use kymhost_store::Key;
use kymhost_store::text;
use kymhost_store::time::now_utc;
use std::collections::HashSet;

/// A line's field: all keys below the image's `analysis/`.
const ANALYSIS_KEYS: &str = "analysis_keys";

/// Where the manifest and the images differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDifference {
    /// The image, or empty if it is about the whole manifest.
    pub image_id: String,
    /// What differs, e.g. `shape is [3, 4] in the manifest, [5, 4] in the image`.
    pub message: String,
}

impl Dataset {
    /// The manifest of the images as they are now; `created_utc` is taken from the existing one.
    pub fn build_manifest(&self) -> Result<Json, DatasetError> {
        let mut images = Vec::new();
        for id in self.image_ids()? {
            images.push(self.manifest_line(&id)?);
        }
        let now = now_utc();
        // A manifest that cannot be read is no reason not to build a new one.
        let old = self.read_manifest().ok().flatten();
        let created = old.and_then(|old| old.get("created_utc").and_then(Json::as_str).map(str::to_owned));
        Ok(Json::object([
            ("schema_version", SCHEMA_VERSION.into()),
            ("format", FORMAT.into()),
            ("created_utc", created.unwrap_or_else(|| now.clone()).into()),
            ("updated_utc", now.into()),
            ("images", Json::Array(images)),
        ]))
    }

    /// Rebuilds the manifest from the images, and sets the root's `updated_utc`. Returns how many images it lists.
    pub fn rebuild_manifest(&self) -> Result<usize, DatasetError> {
        let key = Key::new(MANIFEST)?;
        // From the listing on: else an older list could take the place of a newer one.
        let _structure = self.lock_structure("writing the manifest")?;
        for _ in 0..MAX_TRIES {
            // Python takes no lock: a manifest that it has written meanwhile may know more images.
            let (_, seen) = self.store().get_seen(&key, MAX_MANIFEST_TEXT_BYTES)?;
            let manifest = self.build_manifest()?;
            let count = manifest.get("images").and_then(Json::as_array).map_or(0, <[Json]>::len);
            let packed = gzip::compress(manifest.to_file_text().as_bytes());
            let packed = packed.map_err(|why| unwritable(&**self.store(), &key, why))?;
            let root = attributes::touched(&**self.store(), &Key::root())?;
            let manifest = PreparedWrite::from((key.clone(), packed)).if_still(vec![seen]);
            if guarded::write(&**self.store(), &mut [manifest, root].into_iter())?.is_empty() {
                return Ok(count);
            }
        }
        Err(guarded::busy(&**self.store(), &key))
    }

    /// The existing manifest; `None` if there is none.
    pub fn read_manifest(&self) -> Result<Option<Json>, DatasetError> {
        let key = Key::new(MANIFEST)?;
        let Some(packed) = self.store().get(&key, MAX_MANIFEST_TEXT_BYTES)? else { return Ok(None) };
        let broken = |found: String| unreadable(&**self.store(), &key, "a manifest (gzip of a JSON object)", found);
        parse(&packed).map(Some).map_err(broken)
    }

    /// How the manifest that is there differs from the images; empty when it does not. The manifest's own times do
    /// not count.
    pub fn check_manifest(&self) -> Result<Vec<ManifestDifference>, DatasetError> {
        let Some(old) = self.read_manifest()? else {
            let message = "there is no manifest; make one with `kymhost dataset manifest`".to_owned();
            return Ok(vec![ManifestDifference { image_id: String::new(), message }]);
        };
        Ok(differences(&old, &self.build_manifest()?))
    }

    fn manifest_line(&self, id: &str) -> Result<Json, DatasetError> {
        let store = &**self.store();
        let group = names::image_key(id)?;
        let attributes = attributes::read(store, &group)?;
        let layout = arrays::read_layout(store, &group.join(DATA)?)?;
        let lengths = |lengths: &[usize]| lengths.iter().copied().collect::<Json>();
        let (shape, dtype, chunks, axes) = match &layout {
            Some(layout) => {
                let axes = arrays::axes(store, &group, layout.shape.len())?;
                (lengths(&layout.shape), layout.dtype.name().into(), lengths(&layout.chunks), axes.into())
            }
            None => (Json::Null, Json::Null, Json::Null, attributes.get("axes").cloned().unwrap_or(Json::Null)),
        };
        let time = |name: &str| attributes.get(name).cloned().unwrap_or(Json::Null);
        let metadata = self.record(id)?.json("metadata")?;
        let acquired = metadata
            .as_ref()
            .and_then(|metadata| metadata.get("header")?.get("acquired_local_epoch_ns"))
            .cloned()
            .unwrap_or(Json::Null);
        Ok(Json::object([
            ("image_id", id.into()),
            ("shape", shape),
            ("dtype", dtype),
            ("chunks", chunks),
            ("axes", axes),
            ("created_utc", time("created_utc")),
            ("updated_utc", time("updated_utc")),
            ("acquired_local_epoch_ns", acquired),
            (ANALYSIS_KEYS, self.analysis_keys(&group)?.into()),
        ]))
    }

    /// Every key below an image's `analysis/`, sorted.
    fn analysis_keys(&self, group: &Key) -> Result<Vec<String>, DatasetError> {
        let mut keys = Vec::new();
        let mut open = vec![(group.join(ANALYSIS)?, MAX_FOLDERS)];
        while let Some((folder, depth)) = open.pop() {
            for entry in self.store().list(&folder)?.unwrap_or_default() {
                let key = folder.join(&entry.name)?;
                if !entry.is_dir {
                    keys.push(key.as_str().to_owned());
                } else if depth > 0 {
                    open.push((key, depth - 1));
                } else {
                    let found = format!("its folders nest deeper than {MAX_FOLDERS}");
                    return Err(unreadable(&**self.store(), &folder, "artifacts", found));
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

/// A manifest's bytes as the JSON object they must be.
fn parse(packed: &[u8]) -> Result<Json, String> {
    let text = gzip::decompress(packed, MAX_MANIFEST_TEXT_BYTES)?;
    let manifest = Json::parse_within(&text, MAX_MANIFEST_VALUE_BYTES).map_err(|error| error.to_string())?;
    if manifest.as_object().is_none() {
        return Err("it is JSON, but not an object".to_owned());
    }
    if manifest.get("images").and_then(Json::as_array).is_none() {
        return Err("it has no list 'images'".to_owned());
    }
    Ok(manifest)
}

/// What differs between a manifest and one that is built now.
fn differences(old: &Json, new: &Json) -> Vec<ManifestDifference> {
    let mut found = Vec::new();
    let mut report = |image_id: &str, message: String| {
        found.push(ManifestDifference { image_id: image_id.to_owned(), message });
    };
    let null = Json::Null;
    for name in ["schema_version", "format"] {
        let (old, new) = (old.get(name).unwrap_or(&null), new.get(name).unwrap_or(&null));
        if old != new {
            report("", format!("{name} is {old} in the manifest, should be {new}"));
        }
    }
    let mut listed: Object = Object::new();
    for line in old.get("images").and_then(Json::as_array).unwrap_or_default() {
        match line.get("image_id").and_then(Json::as_str) {
            None => report("", format!("a line without image_id: {line}")),
            Some(id) => {
                if listed.insert(id.to_owned(), line.clone()).is_some() {
                    report(id, "it is listed twice".to_owned());
                }
            }
        }
    }
    for line in new.get("images").and_then(Json::as_array).unwrap_or_default() {
        let id = line.get("image_id").and_then(Json::as_str).unwrap_or_default();
        let Some(old) = listed.shift_remove(id) else {
            report(id, "it is not in the manifest".to_owned());
            continue;
        };
        for (name, new) in line.as_object().into_iter().flatten() {
            let old = old.get(name).unwrap_or(&null);
            if old == new {
                continue;
            }
            match (name.as_str(), old.as_array(), new.as_array()) {
                (ANALYSIS_KEYS, Some(old), Some(new)) => report(id, keys_message(id, old, new)),
                _ => report(id, format!("{name} is {old} in the manifest, {new} in the recording")),
            }
        }
    }
    for id in listed.keys() {
        report(id, "it is in the manifest, but not in images/".to_owned());
    }
    found
}

/// In which keys two lists differ: each may have hundreds.
fn keys_message(id: &str, old: &[Json], new: &[Json]) -> String {
    const SHOWN: usize = 5;
    let prefix = format!("{IMAGES}/{id}/");
    let lacks = |these: &[Json], those: &[Json], whose: &str| {
        let there: HashSet<String> = these.iter().map(Json::to_string).collect();
        let missing: Vec<&Json> = those.iter().filter(|key| !there.contains(&key.to_string())).collect();
        let names = missing.iter().map(|key| match key.as_str() {
            Some(key) => key.strip_prefix(&prefix).unwrap_or(key).to_owned(),
            None => key.to_string(),
        });
        (!missing.is_empty()).then(|| format!("{whose} lacks {}", text::listed(names, SHOWN)))
    };
    let parts = [lacks(old, new, "the manifest"), lacks(new, old, "the recording")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        format!("{ANALYSIS_KEYS}: the same keys, but twice or in another order")
    } else {
        format!("{ANALYSIS_KEYS}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(images: &str) -> Json {
        let text = format!(r#"{{"schema_version": 1, "format": "{FORMAT}", "images": [{images}]}}"#);
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn manifest_check_reports_every_difference() {
        let base = r#"{"image_id": "a", "shape": [2, 3]}, {"image_id": "b", "shape": [2, 3]}"#;
        for (old, expected) in [
            (base, vec![]),
            (r#"{"image_id": "b", "shape": [2, 3]}, {"image_id": "a", "shape": [2, 3]}"#, vec![]),
            (r#"{"image_id": "a", "shape": [2, 3]}"#, vec![("b", "not in the manifest")]),
            (r#"{"image_id": "a", "shape": [9]}, {"image_id": "b", "shape": [2, 3]}"#, vec![("a", "shape is [9]")]),
            (
                r#"{"image_id": "a", "shape": [2, 3]}, {"image_id": "b", "shape": [2, 3]}, {"image_id": "c"}, 7"#,
                vec![("", "without image_id"), ("c", "not in images/")],
            ),
            (
                r#"{"image_id": "a", "shape": [2, 3]}, {"image_id": "a", "shape": [2, 3]}, {"image_id": "b"}"#,
                vec![("a", "twice"), ("b", "shape is null")],
            ),
        ] {
            let found = differences(&manifest(old), &manifest(base));
            assert_eq!(found.len(), expected.len(), "{old}: {found:?}");
            for (found, (id, text)) in found.iter().zip(expected) {
                assert!(found.image_id == id && found.message.contains(text), "{old}: {found:?}");
            }
        }
    }

    #[test]
    fn manifest_check_names_differing_keys() {
        let keys = |names: &[&str]| names.iter().map(|name| Json::from(format!("images/a/{name}"))).collect::<Vec<_>>();
        for (old, new, expected) in [
            (&["x", "y"][..], &["x", "z"][..], "analysis_keys: the manifest lacks z; the recording lacks y"),
            (&[], &["1", "2", "3", "4", "5", "6", "7"], "analysis_keys: the manifest lacks 1, 2, 3, 4, 5 and 2 more"),
            (&["x", "y"], &["y", "x"], "analysis_keys: the same keys, but twice or in another order"),
        ] {
            assert_eq!(keys_message("a", &keys(old), &keys(new)), expected);
        }
    }

    proptest! {
        #![proptest_config(kymhost_test_cases::cases(16))]
        #[test]
        fn manifest_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), pack: bool) {
            let packed = if pack { gzip::compress(&bytes).unwrap() } else { bytes };
            if let Ok(manifest) = parse(&packed) {
                differences(&manifest, &manifest);
            }
        }

        #[test]
        fn manifest_of_any_json_never_panics(images in "[\\[\\]{}\",:a-z0-9 ]{0,40}") {
            let text = format!("{{\"images\": [{images}]}}");
            if let Ok(manifest) = parse(&gzip::compress(text.as_bytes()).unwrap()) {
                differences(&manifest, &manifest);
            }
        }
    }
}

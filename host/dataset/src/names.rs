//! Where each thing of a dataset is kept: every key of the format, and names made safe for keys.

use crate::error::DatasetError;
use kymhost_plugin_api::ArtifactKind;
use kymhost_store::{Key, StoreError};

/// The folder of the images.
pub(crate) const IMAGES: &str = "images";
/// The group of what is derived.
pub(crate) const INDEX: &str = "index";
/// The folder of the dataset tables.
pub(crate) const TABLES: &str = "tables";
/// What a Zarr group is known by.
pub(crate) const GROUP: &str = ".zgroup";
/// A group's attributes.
pub(crate) const ATTRIBUTES: &str = ".zattrs";
/// What a Zarr array is known by.
pub(crate) const ARRAY: &str = ".zarray";
/// The folder of an image's JSON and table artifacts.
pub(crate) const ANALYSIS: &str = "analysis";
/// The folder of an image's array artifacts.
pub(crate) const ANALYSIS_ARRAYS: &str = "analysis_arrays";
/// The array below an image, and below an array artifact.
pub(crate) const DATA: &str = "data";
/// The manifest.
pub(crate) const MANIFEST: &str = "index/manifest.json.gz";
/// What kymhost keeps next to kymflow's keys.
pub(crate) const OWN: &str = "index/kymhost";
/// Which images' missing chunks are recorded as empty: a file for each.
pub(crate) const FILL_MISSING: &str = "index/kymhost/fill-missing";
/// Where the store stages what it writes.
pub(crate) const TEMPORARY: &str = "index/kymhost/tmp";

/// The endings of artifacts' files, longest first if one ends like another.
pub(crate) const ENDINGS: [(&str, ArtifactKind); 4] = [
    (".json.gz", ArtifactKind::Json),
    (".json", ArtifactKind::Json),
    (".parquet", ArtifactKind::Parquet),
    (".csv.gz", ArtifactKind::Csv),
];

/// An artifact's name as kymflow makes it safe: trimmed, `\` to `/`, `..` to `_`, each run of characters outside
/// `A-Z a-z 0-9 _ . - /` to one `_`, no `/` at either end. Empty and `.` segments, which a file system
/// ignores, are dropped from the key later.
///
/// # Errors
/// When nothing is left of it.
pub(crate) fn safe_name(name: &str) -> Result<String, DatasetError> {
    // Python's `strip` takes the four separators that Rust's `trim` leaves.
    let trimmed = name.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c));
    let mut safe = String::with_capacity(trimmed.len());
    let mut characters = trimmed.chars().peekable();
    let mut in_run = false;
    while let Some(character) = characters.next() {
        let character = if character == '\\' { '/' } else { character };
        if character == '.' && characters.peek() == Some(&'.') {
            characters.next();
            safe.push('_');
            in_run = false;
        } else if character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | '/') {
            safe.push(character);
            in_run = false;
        } else if !in_run {
            safe.push('_');
            in_run = true;
        }
    }
    let kept = safe.trim_matches('/');
    if kept.is_empty() {
        let why = "an artifact's name needs at least one of A-Z a-z 0-9 _ . -".to_owned();
        return Err(DatasetError::Unwritable { key: format!("an artifact named {name:?}"), why });
    }
    Ok(if kept.len() == safe.len() { safe } else { kept.to_owned() })
}

/// The key of a path, without the segments that a file system ignores.
fn normal_key(path: &str) -> Result<Key, StoreError> {
    if path.split('/').any(|segment| segment.is_empty() || segment == ".") {
        let kept: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
        Key::new(kept.join("/"))
    } else {
        Key::new(path)
    }
}

/// An image's group. Any single segment is an id: kymflow's are UUIDs, but a folder of another name is an image too.
pub(crate) fn image_key(image_id: &str) -> Result<Key, StoreError> {
    if image_id.contains('/') {
        return Err(StoreError::BadKey { key: image_id.to_owned(), why: "a recording's id cannot contain '/'" });
    }
    Key::new(format!("{IMAGES}/{image_id}"))
}

/// The key of an artifact kept as one file; `ending` is one of [`ENDINGS`].
pub(crate) fn artifact_key(image_id: &str, name: &str, ending: &str) -> Result<Key, DatasetError> {
    let name = safe_name(name)?;
    Ok(normal_key(&format!("{IMAGES}/{image_id}/{ANALYSIS}/{name}{ending}"))?)
}

/// The group of an array artifact; its array is `data` below.
pub(crate) fn array_key(image_id: &str, name: &str) -> Result<Key, DatasetError> {
    let key = normal_key(&format!("{IMAGES}/{image_id}/{ANALYSIS_ARRAYS}/{}", safe_name(name)?))?;
    if key.as_str().ends_with(ANALYSIS_ARRAYS) && key.as_str().split('/').count() == 3 {
        let why = "only '.' segments are left of it".to_owned();
        return Err(DatasetError::Unwritable { key: format!("an artifact named {name:?}"), why });
    }
    Ok(key)
}

/// A dataset table's key.
pub(crate) fn table_key(table: &str) -> Result<Key, StoreError> {
    if table.contains('/') {
        return Err(StoreError::BadKey { key: table.to_owned(), why: "a table's name cannot contain '/'" });
    }
    if table.is_empty() {
        return Err(StoreError::BadKey { key: String::new(), why: "a table needs a name" });
    }
    Key::new(format!("{TABLES}/{table}.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn safe_name_equals_kymflows() {
        for (name, safe) in [
            ("metadata", "metadata"),
            ("velocity_events/params", "velocity_events/params"),
            ("  a  ", "a"),
            ("\u{1c}a\u{a0}", "a"),
            ("a\\b", "a/b"),
            ("/a/b/", "a/b"),
            ("//a//", "a"),
            ("..", "_"),
            ("../../etc/passwd", "_/_/etc/passwd"),
            ("a...b", "a_.b"),
            ("....", "__"),
            ("a b  c", "a_b_c"),
            ("a b\u{e9}\u{1F600}c", "a_b_c"),
            ("\u{e9}", "_"),
            ("\u{e9}..\u{e9}", "___"),
            ("a:b*c", "a_b_c"),
            ("radon.params", "radon.params"),
            ("C:\\data\\x", "C_/data/x"),
            ("a\0b", "a_b"),
            (".", "."),
        ] {
            assert_eq!(safe_name(name).unwrap(), safe, "{name:?}");
        }
        for name in ["", "   ", "/", "///", "\\", " / "] {
            assert!(safe_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn keys_of_odd_names_are_normalized() {
        for (name, key) in [
            ("a//b", "images/i/analysis/a/b.json"),
            ("./a", "images/i/analysis/a.json"),
            ("a/./b", "images/i/analysis/a/b.json"),
            (".", "images/i/analysis/..json"),
        ] {
            assert_eq!(artifact_key("i", name, ".json").unwrap().as_str(), key, "{name:?}");
        }
        assert_eq!(array_key("i", "./a").unwrap().as_str(), "images/i/analysis_arrays/a");
        assert!(array_key("i", "./.").is_err());
        for id in ["", ".", "..", "a/b", "../x", "a\\b", "a\0"] {
            assert!(image_key(id).is_err(), "{id:?}");
            assert!(artifact_key(id, "a", ".json").map_or(true, |key| key.as_str() != "images/a.json"), "{id:?}");
        }
        for table in ["", "a/b", "../x", "a\\b"] {
            assert!(table_key(table).is_err(), "{table:?}");
        }
    }

    proptest! {
        #[test]
        fn names_never_lead_out_of_dataset(name in "\\PC*|[./\\\\ a]{0,12}") {
            if let Ok(safe) = safe_name(&name) {
                prop_assert!(!safe.contains("..") && !safe.starts_with('/') && !safe.ends_with('/') && !safe.is_empty());
                prop_assert!(safe.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)));
                let key = artifact_key("i", &name, ".json").unwrap();
                prop_assert!(key.as_str().starts_with("images/i/analysis/"));
                if let Ok(key) = array_key("i", &name) {
                    prop_assert!(key.as_str().starts_with("images/i/analysis_arrays/"));
                }
            }
        }
    }
}

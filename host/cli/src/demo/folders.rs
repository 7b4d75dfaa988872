//! The two folders of a demo: the dataset, and next to it the folder of its recordings.
//!
//! This file changes only folders that a demo made. It must not know what is in a recording.

use super::kymographs::{self, COUNT, Kymograph};
use crate::error::CliError;
use crate::shell_quote::quoted;
use kymhost_dataset::Dataset;
use kymhost_plugin_api::Json;
use kymhost_store::{Class, Key, LocalStore, MAX_DOCUMENT_BYTES, Store};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The key that marks a dataset as made by a demo.
const MADE_BY: &str = "index/kymhost/demo.json";
/// The same for the folder of recordings. An import ignores such a name.
const MADE_BY_FILE: &str = ".kymhost-demo.json";

/// Makes both folders: new, in empty folders, or in place of those of an earlier demo. Does nothing unless both can be made.
pub fn make(dir: &Path) -> Result<(Dataset, PathBuf), CliError> {
    let recordings = recordings_of(dir);
    let advice = |error: CliError| {
        error.help(format!("name a folder that does not exist yet: kymhost demo {}", quoted(&unused_next_to(dir))))
    };
    let before = if dir.symlink_metadata().is_ok() { made_before(dir).map_err(advice)? } else { None };
    check_recordings(&recordings).map_err(advice)?;
    let dataset = match before {
        Some(dataset) => {
            for image in dataset.image_ids()? {
                dataset.delete_image(&image)?;
            }
            for table in dataset.table_names()? {
                dataset.delete_table(&table)?;
            }
            dataset
        }
        None => {
            let dataset = Dataset::create(dir)?;
            dataset.store().put(&Key::new(MADE_BY)?, made_by().as_bytes())?;
            dataset
        }
    };
    let written = fs::create_dir_all(&recordings).and_then(|()| fs::write(recordings.join(MADE_BY_FILE), made_by()));
    written.map_err(|error| cannot_write(&recordings, &error))?;
    Ok((dataset, recordings))
}

/// Writes a recording: the TIFF, and next to it a JSON file with its scale and time.
pub fn write(recordings: &Path, kymograph: &Kymograph) -> Result<PathBuf, CliError> {
    let [tiff, json] = files_of(&kymograph.name).map(|name| recordings.join(name));
    kymhost_ingest::write_tiff(&kymograph.pixels, &tiff)?;
    fs::write(&json, kymograph.metadata.to_file_text()).map_err(|error| cannot_write(&json, &error))?;
    Ok(tiff)
}

fn files_of(name: &str) -> [String; 2] {
    [format!("{name}.tif"), format!("{name}.json")]
}

fn made_by() -> String {
    Json::object([("made_by", Json::from("kymhost demo")), ("version", env!("CARGO_PKG_VERSION").into())])
        .to_file_text()
}

fn cannot_write(path: &Path, why: &std::io::Error) -> CliError {
    CliError::new(
        Class::Unusable,
        "io",
        format!("cannot write {}", path.display()),
        "name a folder that you may write to",
    )
    .why(why)
}

fn refused(dir: &Path, why: &str) -> CliError {
    CliError::new(
        Class::Refused,
        "not_ours",
        format!("{} {why}; nothing was changed", dir.display()),
        "name another folder",
    )
}

/// The dataset that an earlier demo made in a folder, or `None` if the folder is empty. Any other folder is refused.
fn made_before(dir: &Path) -> Result<Option<Dataset>, CliError> {
    if !dir.is_dir() {
        return Err(refused(dir, "is not a folder"));
    }
    let store = LocalStore::open(dir)?;
    if store.list(&Key::root())?.is_none_or(|entries| entries.is_empty()) {
        return Ok(None);
    }
    if store.get(&Key::new(MADE_BY)?, MAX_DOCUMENT_BYTES)?.is_none() {
        return Err(refused(dir, "exists already and was not made by a demo"));
    }
    let dataset = Dataset::open(dir)?;
    for image in dataset.image_ids()? {
        // A recording whose metadata cannot be read was not made by a demo.
        let metadata = dataset.record(&image)?.json("metadata").ok().flatten();
        if !metadata.is_some_and(|metadata| kymographs::is_ours(&metadata)) {
            return Err(refused(dir, "was made by a demo but holds your own recordings"));
        }
    }
    Ok(Some(dataset))
}

/// Checks that a demo may write its recordings there: the folder does not exist, is empty, or was made by a demo.
fn check_recordings(folder: &Path) -> Result<(), CliError> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    if !folder.is_dir() {
        return Err(refused(folder, "is not a folder"));
    }
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let entries = list().map_err(|error| cannot_write(folder, &error))?;
    let ours: Vec<OsString> =
        (0..COUNT).flat_map(|number| files_of(&kymographs::name(number))).map(OsString::from).collect();
    let is_file = |name: &OsString| folder.join(name).symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let is_marked = entries.iter().any(|name| *name == MADE_BY_FILE && is_file(name));
    match entries.iter().find(|name| !(*name == MADE_BY_FILE || ours.contains(name)) || !is_file(name)) {
        _ if !entries.is_empty() && !is_marked => Err(refused(folder, "exists already and was not made by a demo")),
        Some(_) => Err(refused(folder, "was made by a demo but holds your own files")),
        None => Ok(()),
    }
}

/// `kymhost-demo.zarr` has its recordings in `kymhost-demo-recordings`.
fn recordings_of(dir: &Path) -> PathBuf {
    // `.` has no name of its own.
    let named = if dir.file_name().is_some() { dir.to_path_buf() } else { dir.canonicalize().unwrap_or_default() };
    named.with_file_name(format!("{}-recordings", stem(&named)))
}

/// A similar name for which neither the dataset nor its folder of recordings exists.
fn unused_next_to(dir: &Path) -> PathBuf {
    let numbered = (2..100).map(|number| dir.with_file_name(format!("{}-{number}.zarr", stem(dir))));
    let is_free = |path: &PathBuf| path.symlink_metadata().is_err() && recordings_of(path).symlink_metadata().is_err();
    numbered.into_iter().find(is_free).unwrap_or_else(|| dir.with_extension("new.zarr"))
}

fn stem(dir: &Path) -> String {
    let name = dir.file_name().map_or_else(|| "kymhost-demo".to_owned(), |name| name.to_string_lossy().into_owned());
    name.strip_suffix(".zarr").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use kymhost_plugin_api::array::Array;

    fn outcome(path: &Path) -> Result<(), (Exit, &'static str)> {
        make(path).map(drop).map_err(|error| (error.exit, error.code()))
    }

    const NOT_OURS: Result<(), (Exit, &str)> = Err((Exit::Refused, "not_ours"));

    fn add(dir: &Path, metadata: &Json) {
        let pixels = Array::from_elements(&[1_u8, 2], vec![1, 2], vec!["y".into(), "x".into()]).unwrap();
        let record = Dataset::open(dir).unwrap().add_image(None, &pixels, None).unwrap();
        record.put_json("metadata", metadata).unwrap();
    }

    #[test]
    fn make_replaces_only_demo_datasets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.zarr");
        assert_eq!(outcome(&path), Ok(()), "a new folder");
        assert_eq!(outcome(&path), Ok(()), "one that a demo made");
        add(&path, &kymographs::kymograph(0).unwrap().metadata);
        assert_eq!(outcome(&path), Ok(()), "with a recording that a demo made");
        assert_eq!(Dataset::open(&path).unwrap().image_ids().unwrap(), Vec::<String>::new());
        add(&path, &Json::Null);
        assert_eq!(outcome(&path), NOT_OURS, "with another recording");
        assert_eq!(Dataset::open(&path).unwrap().image_ids().unwrap().len(), 1);

        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        assert_eq!(outcome(&other), Ok(()), "an empty folder");
        let mine = folder.path().join("mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("notes.txt"), "mine").unwrap();
        assert_eq!(outcome(&mine), NOT_OURS, "a folder with a file");
        assert_eq!(fs::read(mine.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(outcome(&mine.join("notes.txt")), NOT_OURS, "a file");
        assert!(!folder.path().join("mine-recordings").exists(), "a demo that is refused makes nothing");
    }

    #[test]
    fn make_replaces_only_demo_recordings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.zarr");
        let recordings = folder.path().join("demo-recordings");
        fs::create_dir(&recordings).unwrap();
        fs::write(recordings.join("vessel-1.tif"), "mine").unwrap();
        assert_eq!(outcome(&path), NOT_OURS, "a file with one of our names, but no mark of a demo");
        assert!(!path.exists(), "a demo that is refused makes nothing");
        fs::remove_file(recordings.join("vessel-1.tif")).unwrap();
        assert_eq!(outcome(&path), Ok(()), "an empty folder");
        write(&recordings, &kymographs::kymograph(0).unwrap()).unwrap();
        assert_eq!(outcome(&path), Ok(()), "our own");
        fs::write(recordings.join("mine.tif"), "mine").unwrap();
        assert_eq!(outcome(&path), NOT_OURS, "another next to our own");
        fs::remove_file(recordings.join("mine.tif")).unwrap();
        fs::write(folder.path().join("mine.tif"), "mine").unwrap();
        fs::remove_file(recordings.join("vessel-1.tif")).unwrap();
        std::os::unix::fs::symlink("../mine.tif", recordings.join("vessel-1.tif")).unwrap();
        assert_eq!(outcome(&path), NOT_OURS, "a link that leads out");
        assert_eq!(fs::read(folder.path().join("mine.tif")).unwrap(), b"mine");
    }

    #[test]
    fn recordings_are_named_after_dataset() {
        for (dir, expected) in [
            ("kymhost-demo.zarr", "kymhost-demo-recordings"),
            ("/tmp/try", "/tmp/try-recordings"),
            ("a/my demo.zarr", "a/my demo-recordings"),
        ] {
            assert_eq!(recordings_of(Path::new(dir)), Path::new(expected));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(recordings_of(Path::new(".")).parent(), here.canonicalize().unwrap().parent());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("demo-2.zarr")).unwrap();
        fs::create_dir(folder.path().join("demo-3-recordings")).unwrap();
        assert_eq!(unused_next_to(&folder.path().join("demo.zarr")), folder.path().join("demo-4.zarr"));
    }
}

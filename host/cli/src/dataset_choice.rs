//! Which dataset a command works on: `--dataset`, `KYMHOST_DATASET`, the working folder, the one `*.zarr` in it.
//!
//! This file must not open the dataset.

use crate::error::CliError;
use kymhost_store::Class;
use kymhost_store::text::listed;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable that names the dataset.
pub const VARIABLE: &str = "KYMHOST_DATASET";

/// How many candidates an error lists.
const MAX_NAMED: usize = 10;

/// The folder to open, as a user would type it from `working`.
///
/// # Errors
/// If no rule finds one, or the last rule finds several.
pub fn choose(flag: Option<&Path>, variable: Option<&OsStr>, working: &Path) -> Result<PathBuf, CliError> {
    if let Some(path) = flag {
        return Ok(path.to_owned());
    }
    if let Some(path) = variable.filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    if looks_like_a_dataset(working) {
        return Ok(PathBuf::from("."));
    }
    let mut found = zarr_datasets(working)?;
    match found.len() {
        0 => Err(CliError::new(
            Class::Unusable,
            "no_dataset",
            "no dataset was given",
            "name one with --dataset PATH, or create one: `kymhost demo` (to try), `kymhost dataset create PATH` (empty)",
        )
        .why(format_args!(
            "no --dataset, {VARIABLE} is not set, and the working folder is not a dataset and contains no *.zarr dataset"
        ))),
        1 => Ok(PathBuf::from(found.swap_remove(0))),
        count => Err(CliError::new(
            Class::Unusable,
            "several_datasets",
            format!("the working folder contains {count} datasets: {}", listed(&found, MAX_NAMED)),
            format!("name one with --dataset PATH or {VARIABLE}"),
        )),
    }
}

/// Whether a folder is a group with a folder `images`. Any other Zarr store is not a dataset.
fn looks_like_a_dataset(folder: &Path) -> bool {
    folder.join(".zgroup").exists() && folder.join("images").exists()
}

fn zarr_datasets(working: &Path) -> Result<Vec<String>, CliError> {
    let cannot = |error: std::io::Error| {
        CliError::new(
            Class::Unusable,
            "no_dataset",
            "cannot list the working folder",
            "name the dataset with --dataset PATH",
        )
        .why(error)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(working).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().ends_with(b".zarr") && looks_like_a_dataset(&entry.path()) {
            found.push(name.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder in which these are datasets.
    fn folder(datasets: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in datasets {
            let path = folder.path().join(name);
            fs::create_dir_all(path.join("images")).unwrap();
            fs::write(path.join(".zgroup"), "{}").unwrap();
        }
        folder
    }

    #[test]
    fn choose_uses_first_rule_that_applies() {
        for (flag, variable, datasets, chosen) in [
            (Some("a"), Some("b"), &["."][..], Ok("a")),
            (None, Some("b"), &["."], Ok("b")),
            (None, Some(""), &["."], Ok(".")),
            (None, None, &[".", "x.zarr"], Ok(".")),
            (None, None, &["x.zarr"], Ok("x.zarr")),
            (None, None, &["x.zarr", "not-named-so"], Ok("x.zarr")),
            (None, None, &["not-named-so"], Err("no_dataset")),
            (None, None, &[], Err("no_dataset")),
            (None, None, &["x.zarr", "y.zarr"], Err("several_datasets")),
        ] {
            let folder = folder(datasets);
            let got = choose(flag.map(Path::new), variable.map(OsStr::new), folder.path());
            let got = got.as_deref().map(|path| path.to_str().unwrap()).map_err(|error| error.code());
            assert_eq!(got, chosen, "{flag:?} {variable:?} {datasets:?}");
        }
    }

    #[test]
    fn choose_ignores_zarr_without_images() {
        let folder = folder(&["x.zarr"]);
        fs::create_dir(folder.path().join("plain.zarr")).unwrap();
        fs::write(folder.path().join("plain.zarr/.zgroup"), "{}").unwrap();
        assert_eq!(choose(None, None, folder.path()).unwrap(), Path::new("x.zarr"));
    }

    #[test]
    fn choose_lists_candidates_up_to_a_bound() {
        let names: Vec<String> = (0..13).map(|i| format!("d{i:02}.zarr")).collect();
        let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let error = choose(None, None, folder.path()).unwrap_err();
        assert_eq!(error.said.class, Class::Unusable);
        assert!(error.message().contains("d00.zarr, d01.zarr"), "{}", error.message());
        assert!(error.message().contains("and 3 more") && !error.message().contains("d10"), "{}", error.message());
        assert!(error.said.help.unwrap().contains("--dataset"));
    }
}

use crate::{Dataset, DatasetError, MissingChunks};
use kymhost_plugin_api::array::Array;
use kymhost_store::Key;
use tempfile::TempDir;

/// A dataset with the image `a` of 6 lines in 6 chunks, some of which are removed or renamed by `change`.
fn dataset(change: impl Fn(&Dataset)) -> (TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
    let pixels: Vec<u16> = (1..=24).collect();
    let pixels = Array::from_elements(&pixels, vec![6, 4], vec!["y".into(), "x".into()]).unwrap();
    dataset.add_image(Some("a"), &pixels, Some(&[2, 2])).unwrap();
    change(&dataset);
    (folder, dataset)
}

fn key(name: &str) -> Key {
    Key::new(format!("images/a/data/{name}")).unwrap()
}

fn remove(dataset: &Dataset, names: &[&str]) {
    for name in names {
        assert!(dataset.store().delete(&key(name)).unwrap(), "{name}");
    }
}

fn found(dataset: &Dataset) -> String {
    match dataset.record("a").unwrap().pixels() {
        Err(DatasetError::Unreadable { found, .. }) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn missing_chunks_are_unreadable_and_named_by_lines() {
    let all = ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"];
    for (names, expected) in [
        (&["0.1"][..], "1 of 6 chunks of the pixels is missing (lines 0 to 1)"),
        (&["0.0", "0.1"], "2 of 6 chunks of the pixels are missing (lines 0 to 1)"),
        (&["1.0", "2.1"], "2 of 6 chunks of the pixels are missing (lines 2 to 5)"),
        (&["0.0", "2.0"], "2 of 6 chunks of the pixels are missing (lines 0 to 1, 4 to 5)"),
        (&all, "6 of 6 chunks of the pixels are missing (lines 0 to 5)"),
    ] {
        let (_folder, dataset) = dataset(|dataset| remove(dataset, names));
        let found = found(&dataset);
        assert!(found.starts_with(expected) && found.contains("--fill-missing"), "{names:?}: {found}");
        let problems = dataset.validate();
        assert!(problems.iter().any(|problem| problem.message.contains(expected)), "{problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn chunks_under_the_other_separator_are_a_mismatch() {
    for (separator, new) in [(None, '/'), (Some('.'), '/'), (Some('/'), '.')] {
        let old = if new == '/' { '.' } else { '/' };
        let (_folder, dataset) = dataset(|dataset| {
            for y in 0..3 {
                for x in 0..2 {
                    let bytes = dataset.store().get(&key(&format!("{y}.{x}")), 1 << 20).unwrap().unwrap();
                    remove(dataset, &[&format!("{y}.{x}")]);
                    dataset.store().put(&key(&format!("{y}{new}{x}")), &bytes).unwrap();
                }
            }
        });
        if let Some(separator) = separator {
            let text = String::from_utf8(dataset.store().get(&key(".zarray"), 1 << 20).unwrap().unwrap()).unwrap();
            let text = text.replacen('{', &format!("{{\"dimension_separator\": \"{separator}\", "), 1);
            dataset.store().put(&key(".zarray"), text.as_bytes()).unwrap();
        }
        let found = found(&dataset);
        assert!(found.contains(&format!("named with '{new}' (0{new}0)")), "{found}");
        assert!(found.contains(&format!(".zarray says '{old}'")), "{found}");
        // They are there: nothing may be filled in for them.
        assert!(dataset.fill_missing_chunks("a").is_err());
    }
}

#[test]
fn recorded_decision_covers_only_the_chunks_missing_then() {
    let (_folder, dataset) = dataset(|dataset| remove(dataset, &["0.0", "2.1"]));
    assert_eq!(dataset.fill_missing_chunks("a").unwrap(), 2);
    assert_eq!(dataset.fill_missing_chunks("a").unwrap(), 0, "recorded already");
    let pixels = dataset.record("a").unwrap().pixels().unwrap().unwrap();
    let lines: Vec<u16> = pixels.bytes().chunks(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect();
    assert_eq!(lines[..4], [0, 0, 3, 4]);
    assert_eq!(lines[20..], [21, 22, 0, 0]);
    assert_eq!(dataset.validate(), []);

    remove(&dataset, &["1.0"]);
    assert!(found(&dataset).starts_with("3 of 6 chunks"), "another chunk is lost");
    assert_eq!(dataset.fill_missing_chunks("a").unwrap(), 3);
    assert!(dataset.record("a").unwrap().pixels().is_ok());
}

#[test]
fn complete_arrays_get_no_decision() {
    let (folder, dataset) = dataset(|_| {});
    assert_eq!(dataset.fill_missing_chunks("a").unwrap(), 0);
    assert!(!folder.path().join("d.zarr/index/kymhost/fill-missing").exists());
}

#[test]
fn filled_dataset_reads_missing_chunks_as_kymflow() {
    let (_folder, dataset) = dataset(|dataset| remove(dataset, &["0.0"]));
    let dataset = dataset.with_missing_chunks(MissingChunks::Filled);
    assert!(dataset.record("a").unwrap().pixels().is_ok());
}

/// A small file that claims a large array is refused before memory is taken: this test would take 8 GiB.
#[test]
fn array_claims_no_more_than_its_chunks_hold() {
    let claim = |shape: &str, chunks: &str, packing: &str| {
        format!(
            r#"{{"chunks": {chunks}, "compressor": {packing}, "dtype": "|u1", "fill_value": 1, "filters": null,
               "order": "C", "shape": {shape}, "zarr_format": 2}}"#
        )
    };
    let gzip = r#"{"id": "gzip", "level": 1}"#;
    for (zarray, chunk, expected) in [
        (claim("[8589934592, 1]", "[1073741824, 1]", "null"), None, "8 of 8 chunks"),
        (claim("[1073741824, 1]", "[1073741824, 1]", "null"), Some(&b"x"[..]), "cannot hold as many"),
        (claim("[1073741824, 1]", "[1073741824, 1]", gzip), Some(b"x"), "cannot hold as many"),
    ] {
        let (_folder, dataset) = dataset(|dataset| {
            dataset.store().delete_tree(&Key::new("images/a/data").unwrap()).unwrap();
            dataset.store().put(&key(".zarray"), zarray.as_bytes()).unwrap();
            if let Some(chunk) = chunk {
                dataset.store().put(&key("0.0"), chunk).unwrap();
            }
        });
        let found = found(&dataset);
        assert!(found.contains(expected), "{zarray}: {found}");
    }
}

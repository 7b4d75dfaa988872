//! Every real dataset at hand, read whole: recordings, and those that the predecessor made.
//! Walks through them and reads everything.

use kymhost::dataset::Dataset;
use kymhost_plugin_api::ArtifactKind;
use std::fs;

/// All real datasets are read in full, and `validate` finds no problem.
#[test]
fn real_datasets_read_without_problems() {
    let Some(shared) = kymhost_tests::shared() else { return };
    let mut found = Vec::new();
    let mut open = vec![shared.join("recordings"), shared.join("conformance")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "zarr") {
                found.push(path);
            } else if path.is_dir() {
                open.push(path);
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    let (mut images, mut artifacts) = (0, 0);
    for path in found {
        let dataset = Dataset::open(&path).unwrap();
        let mut unread = Vec::new();
        for id in dataset.image_ids().unwrap() {
            let record = dataset.find_record(&id).unwrap();
            let pixels = record.pixels().unwrap().unwrap();
            assert_eq!(pixels.axes().len(), pixels.shape().len());
            images += 1;
            for artifact in record.artifacts().unwrap() {
                artifacts += 1;
                let (name, key) = (&artifact.name, format!("images/{id}/analysis/{}", artifact.name));
                let result = match artifact.kind {
                    ArtifactKind::Json => record.json(name).map(|found| found.is_some()),
                    ArtifactKind::Parquet => record.parquet(name).map(|found| found.is_some()),
                    ArtifactKind::Csv => record.csv(name).map(|found| found.is_some()),
                    _ => record.array(name).map(|found| found.is_some()),
                };
                match result {
                    Ok(found) => assert!(found, "{} {key}", path.display()),
                    // Some conformance cases have broken JSON on purpose.
                    Err(error) => unread.push((key, error.to_string())),
                }
            }
        }
        for table in dataset.table_names().unwrap() {
            let rows = dataset.read_table(&table, None).unwrap().unwrap();
            assert_eq!(dataset.table_size(&table).unwrap().unwrap().0, rows.num_rows() as u64);
        }
        for problem in dataset.validate() {
            let known = unread.iter().any(|(key, _)| problem.key.starts_with(key.as_str()));
            assert!(known, "{}: {problem}", path.display());
        }
    }
    assert!(images > 100 && artifacts > 1000, "{images} images, {artifacts} artifacts");
}

//! Valid files of every format that kymhost reads, for damage.

use kymhost_tests::fixture::{Fixture, MARKER, TABLE, image_id};
use kymhost_tests::streaks::Scan;
use kymhost_tests::tiff::{Packing, Tiff};
use kymhost_tests::{Run, library};
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// A dataset with artifacts of all kinds, a table, markers, a seal, an intent, failures and a manifest.
pub(crate) fn dataset(root: &Path) -> Result<Fixture, Box<dyn Error>> {
    let data = Fixture::with_images(root, 4, 3);
    let image = data.image(&image_id(0));
    image.csv("notes/table", "a,b\n1,x\n2,\n");
    image.json_gz("notes/old", &json!({"list": [1, 2.5, null, "text"], "nested": {"a": {"b": [true]}}}));
    image.json("metadata", &json!({"header": {"voxels": [0.001, 0.5], "voxels_units": ["s", "um"]}, "rois": []}));
    let arrays = format!("images/{}/analysis_arrays/notes/trace", image_id(0));
    for key in [".zgroup", "data/.zarray", "data/0.0"] {
        data.put(&format!("{arrays}/{key}"), fs::read(data.key(&format!("images/{}/{key}", image_id(0))))?);
    }
    for group in ["analysis_arrays", "analysis_arrays/notes"] {
        data.put_json(&format!("images/{}/{group}/.zgroup", image_id(0)), &json!({"zarr_format": 2}));
    }
    data.put_json(&format!("{arrays}/.zattrs"), &json!({"axes": ["y", "x"]}));
    // One image fails.
    let broken = format!("images/{}/analysis/velocity_events/events.parquet", image_id(3));
    let whole = fs::read(data.key(&broken))?;
    data.cut(&broken);
    let run = || Run::new(["run"]).arg("--plugin").arg(library("velocity_events")).dataset(data.path()).output();
    run().expect_code(3);
    data.put(&broken, whole);
    Run::new(["dataset", "manifest"]).arg(data.path()).output().expect_code(0);
    let seal: Value = serde_json::from_slice(&fs::read(data.key("index/kymhost/seals/kym_velocity_events.json"))?)?;
    let artifacts = json!({image_id(1): {"analysis/notes/old.json": "0".repeat(64)}});
    let intent = json!({"format": seal["format"], "images": [image_id(1)], "artifacts": artifacts});
    data.put("index/kymhost/intents/kym_velocity_events.json", intent.to_string());
    for key in [TABLE, "index/manifest.json.gz", &data.image(&image_id(0)).key(&format!("{MARKER}.json"))] {
        assert!(data.key(key).is_file(), "the template lacks {key}");
    }
    Ok(data)
}

/// A folder of recordings with the files beside them.
pub(crate) fn recordings(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let page = || Scan::moving(40, 12, 7, false, |_| 0.5).page();
    fs::write(folder.join("a.tif"), Tiff::new(page()).bytes())?;
    let mut several = Tiff { packing: Packing::Lzw, ..Tiff::new(page()) };
    several.pages.push(page());
    fs::write(folder.join("b.tif"), several.bytes())?;
    let metadata = json!({"header": {"voxels": [0.001, 0.5], "voxels_units": ["s", "um"]},
        "rois": [{"roi_id": 1, "roi_type": "rect", "channel": 1, "data": {"x0": 0, "x1": 12, "y0": 0, "y1": 40}}]});
    fs::write(folder.join("a.json"), metadata.to_string())?;
    fs::write(folder.join("a.notes.csv"), "a,b\n1,x\n")?;
    fs::write(folder.join("a.params.json"), "{\"n\": 3}")?;
    let header = "\"X Dimension\"\t\"12, 0.0 - 6.0 [um], 0.5 [um/pixel]\"\n\"T Dimension\"\t\"40, 0.0 - 0.04 [s]\"\n";
    fs::write(folder.join("b.txt"), header)?;
    Ok(())
}

/// All files below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|ending| ending != "lock") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

//! A dataset as folders of TIFF, JSON, CSV and NPY files, for people and other programs, and for [`crate::ingest`].
//!
//! `images/<id>/` has `image.tif`, each artifact under its own name, array artifacts in `array_artifacts/`, and
//! `export.json`, which says what each file is: names with `/`, types that CSV cannot express, axes.
//!
//! An image is written aside and renamed when it is complete. If an older export of it exists, its files are replaced
//! one by one: `image.tif` is removed first and comes last. A folder without it is not a recording, so no half export
//! is ever ingested.
//!
//! Nothing is written through a link in the export's folder, and what is written aside has a new file or folder of its
//! own, under a name that nobody knows before.

use crate::error::IngestError;
use crate::files::{MAX_SIDECAR_BYTES, read_bounded};
use crate::find::{ARRAYS, EXPORTED, LISTING};
use crate::listing::{self, ListedFile, Listing};
use crate::sidecar::SidecarForm;
use crate::{npy, place, tiff};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use kymhost_dataset::cells::{Cell, Column};
use kymhost_dataset::limits::MAX_SMALL_VALUE_BYTES;
use kymhost_dataset::{Dataset, DatasetError, IMAGE_ID, Record};
use kymhost_plugin_api::ArtifactKind;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::Array;
use kymhost_store::temporary;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an export is done.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Only these images and their rows; all if empty.
    pub images: Vec<String>,
    /// Whether the folder may hold something already.
    pub overwrite: bool,
    /// Becomes true if it is to stop.
    pub stop: Arc<AtomicBool>,
}

/// What was exported.
#[derive(Debug, Default)]
pub struct ExportOutcome {
    /// Each image.
    pub images: Vec<ExportedImage>,
    /// Each table: its name and its rows, or why not.
    pub tables: Vec<(String, Result<usize, String>)>,
    /// Words for people: what a file could not hold.
    pub notes: Vec<String>,
    /// It was stopped.
    pub stopped: bool,
}

/// An image and what became of it.
#[derive(Debug)]
pub struct ExportedImage {
    /// Its id.
    pub image_id: String,
    /// How many files were written, or why not.
    pub files: Result<usize, String>,
}

/// Writes a dataset into a folder.
///
/// # Errors
/// If the folder cannot be used, or an image that is asked for is not there. What is wrong with one image or table is
/// reported of it alone.
pub fn export(
    dataset: &Dataset,
    folder: &Path,
    options: &ExportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ExportOutcome, IngestError> {
    let ids = if options.images.is_empty() {
        dataset.image_ids()?
    } else {
        options
            .images
            .iter()
            .map(|id| Ok(dataset.find_record(id)?.image_id().to_owned()))
            .collect::<Result<_, DatasetError>>()?
    };
    refuse_overlap(dataset, folder)?;
    fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
    let mut entries = fs::read_dir(folder).map_err(|source| IngestError::Path { path: folder.to_owned(), source })?;
    if entries.next().is_some() && !options.overwrite {
        return Err(IngestError::NotEmpty { path: folder.to_owned() });
    }
    for swept in [folder.to_owned(), folder.join("images"), folder.join("tables")] {
        sweep(&swept);
    }
    let mut exported = ExportOutcome::default();
    let total = ids.len();
    for (done, id) in ids.iter().enumerate() {
        progress(done, total);
        if options.stop.load(Ordering::Relaxed) {
            exported.stopped = true;
            return Ok(exported);
        }
        let files = image(dataset, id, folder, &mut exported.notes);
        exported.images.push(ExportedImage { image_id: id.clone(), files: files.map_err(|error| error.to_string()) });
    }
    let chosen: HashSet<&str> = options.images.iter().map(String::as_str).collect();
    for name in dataset.table_names()? {
        let path = folder.join("tables").join(format!("{name}.csv"));
        let rows =
            refuse_links(folder, &path).and_then(|()| table(dataset, &name, &chosen, &path, &mut exported.notes));
        exported.tables.push((name, rows.map_err(|error| error.to_string())));
    }
    Ok(exported)
}

/// Writes an array as a TIFF without compression: its last two axes are a page's, all others are pages one after the
/// other.
///
/// # Errors
/// If the file cannot be written, or a TIFF cannot hold such an array.
pub fn write_tiff(array: &Array, path: &Path) -> Result<(), IngestError> {
    write(path, |out| tiff::write(array, out).map_err(io::Error::other))
}

/// Nothing is written into the dataset, nor around it, not even through a link in the export's folder.
fn refuse_overlap(dataset: &Dataset, folder: &Path) -> Result<(), IngestError> {
    let data = dataset.path();
    let leads_in = ["", "images", "tables"].iter().any(|below| place::is_within(&folder.join(below), &data));
    if leads_in || place::is_within(&data, folder) {
        return Err(IngestError::Overlaps { path: folder.to_owned(), dataset: data });
    }
    Ok(())
}

fn cannot(path: &Path, why: &dyn std::fmt::Display) -> IngestError {
    IngestError::Write { path: path.to_owned(), why: why.to_string() }
}

/// No folder between the export's own and a file is a link: what it leads to is not ours.
fn refuse_links(root: &Path, path: &Path) -> Result<(), IngestError> {
    let above = path.ancestors().skip(1).take_while(|above| *above != root && above.starts_with(root));
    for above in above {
        if fs::symlink_metadata(above).is_ok_and(|metadata| metadata.is_symlink()) {
            let why = format!("{} is a symbolic link, and an export never writes through one", above.display());
            return Err(cannot(path, &why));
        }
    }
    Ok(())
}

/// Writes a file, its folders made as needed: aside first, so that a reader sees the old one or the whole new one.
fn write(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), IngestError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| cannot(path, &error))?;
    }
    let aside = aside(path);
    // New, or an error: neither a file nor a link of others is opened.
    let file = File::options().write(true).create_new(true).open(&aside).map_err(|error| cannot(path, &error))?;
    let whole = || {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.flush()?;
        fs::rename(&aside, path)
    };
    whole().map_err(|error: io::Error| {
        let _ = fs::remove_file(&aside);
        cannot(path, &error)
    })
}

/// The name next to a file or folder that it has until it is complete; no ingest reads it. It names this process, so that
/// what a killed export left is known, and ends by chance.
fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}{}", temporary::name(), uuid::Uuid::new_v4().simple()))
}

/// Removes what killed exports left in a folder.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if !entry.file_name().to_str().is_some_and(|name| temporary::is_left_over(name, age)) {
            continue;
        }
        // A link is not ours: none is ever made.
        let _ = match metadata.file_type() {
            kind if kind.is_dir() => fs::remove_dir_all(entry.path()),
            kind if kind.is_file() => fs::remove_file(entry.path()),
            _ => Ok(()),
        };
    }
}

/// Writes an image aside, and renames it when it is complete. If that fails, the files of an earlier export stay.
fn image(dataset: &Dataset, id: &str, root: &Path, notes: &mut Vec<String>) -> Result<usize, IngestError> {
    let folder = root.join("images").join(id);
    if place::is_within(&folder, &dataset.path()) {
        return Err(IngestError::Overlaps { path: folder, dataset: dataset.path() });
    }
    refuse_links(root, &folder.join(EXPORTED))?;
    let aside = aside(&folder);
    let new_folder = || {
        fs::create_dir_all(root.join("images"))?;
        fs::create_dir(&aside)
    };
    new_folder().map_err(|error| cannot(&folder, &error))?;
    let done = written(dataset, id, &aside, notes).and_then(|listing| {
        settle(&aside, &folder, &listing)?;
        Ok(listing.artifacts.len() + 2)
    });
    // Once it has its name, nothing is here any more.
    let _ = fs::remove_dir_all(&aside);
    done
}

/// Writes all of an image into a folder that nobody reads yet.
fn written(dataset: &Dataset, id: &str, folder: &Path, notes: &mut Vec<String>) -> Result<Listing, IngestError> {
    let record = dataset.find_record(id)?;
    let pixels = record.pixels()?.ok_or_else(|| DatasetError::Unreadable {
        key: format!("{}/images/{id}/data", dataset.path().display()),
        table: None,
        expected: "pixels",
        found: "the recording has none".to_owned(),
    })?;
    write_tiff(&pixels, &folder.join(EXPORTED))?;
    let mut names = Names::default();
    let mut artifacts = Vec::new();
    for artifact in record.artifacts()? {
        let (entry, bytes) = file_of(&record, &artifact.name, artifact.kind, &mut names, notes)?;
        write(&folder.join(&entry.file), |out| out.write_all(&bytes))?;
        artifacts.push(entry);
    }
    let (shape, axes) = (pixels.shape().to_vec(), pixels.axes().to_vec());
    let listing = Listing { image_id: id.to_owned(), shape, axes, artifacts };
    write(&folder.join(LISTING), |out| out.write_all(listing.to_json().to_file_text().as_bytes()))?;
    Ok(listing)
}

/// Puts a whole image into its place.
fn settle(aside: &Path, folder: &Path, listing: &Listing) -> Result<(), IngestError> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::rename(aside, folder).map_err(|error| cannot(folder, &error));
        }
        _ => {}
    }
    let step = |file: &str, done: io::Result<()>| done.map_err(|error| cannot(&folder.join(file), &error));
    // From here on the folder is not a recording, until it has its TIFF again.
    match fs::remove_file(folder.join(EXPORTED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return step(EXPORTED, Err(error)),
        _ => {}
    }
    clear(folder);
    for file in listing.artifacts.iter().map(|entry| entry.file.as_str()).chain([LISTING, EXPORTED]) {
        let to = folder.join(file);
        if let Some(above) = to.parent() {
            refuse_links(folder, &to)?;
            step(file, fs::create_dir_all(above))?;
        }
        step(file, fs::rename(aside.join(file), &to))?;
    }
    Ok(())
}

/// Takes away what an earlier export of the image wrote: an artifact that is gone must not come back with it.
fn clear(folder: &Path) {
    let path = folder.join(LISTING);
    let Ok(bytes) = read_bounded(&path, MAX_SIDECAR_BYTES) else { return };
    let Some(listing) =
        Json::parse_within(&bytes, MAX_SMALL_VALUE_BYTES).ok().and_then(|json| Listing::parse(&json).ok())
    else {
        return;
    };
    // First, because without it the folder is not an export.
    let gone = fs::remove_file(&path).is_ok();
    for entry in listing.artifacts.iter().filter(|_| gone) {
        let file = folder.join(&entry.file);
        if refuse_links(folder, &file).is_ok() {
            // What cannot be removed is not listed any more, and so is not read.
            let _ = fs::remove_file(file);
        }
    }
}

/// An artifact as a file.
fn file_of(
    record: &Record,
    name: &str,
    kind: ArtifactKind,
    names: &mut Names,
    notes: &mut Vec<String>,
) -> Result<(ListedFile, Vec<u8>), IngestError> {
    let gone = || DatasetError::Unreadable {
        key: record.describe_artifact(name, kind),
        table: None,
        expected: "an artifact",
        found: "it disappeared during the export".to_owned(),
    };
    let entry = |file: String, form| ListedFile {
        name: name.to_owned(),
        file,
        form,
        stays_csv: false,
        axes: Vec::new(),
        types: HashMap::new(),
    };
    Ok(match kind {
        ArtifactKind::Json => {
            let text = record.json_bytes(name)?.ok_or_else(gone)?;
            Json::check(&text).map_err(|error| DatasetError::Unreadable {
                key: record.describe_artifact(name, kind),
                table: None,
                expected: "JSON",
                found: error.to_string(),
            })?;
            (entry(names.free(name, ".json"), SidecarForm::Json), text)
        }
        ArtifactKind::Parquet => {
            let rows = record.parquet(name)?.ok_or_else(gone)?;
            let mut entry = entry(names.free(name, ".csv"), SidecarForm::Csv);
            for field in rows.schema().fields() {
                if listing::name_of(field.data_type()).is_some() {
                    entry.types.insert(field.name().clone(), field.data_type().clone());
                } else {
                    let (id, column, kind) = (record.image_id(), field.name(), field.data_type());
                    notes.push(format!("{id}: column '{column}' of '{name}' is {kind}; as CSV it is text"));
                }
            }
            let mut bytes = Vec::new();
            csv(&mut bytes, &rows).map_err(|error| cannot(Path::new(&entry.file), &error))?;
            (entry, bytes)
        }
        ArtifactKind::Csv => {
            let bytes = record.csv_gz_bytes(name)?.ok_or_else(gone)?;
            (ListedFile { stays_csv: true, ..entry(names.free(name, ".csv.gz"), SidecarForm::CsvGz) }, bytes)
        }
        _ => {
            let array = record.array(name)?.ok_or_else(gone)?;
            let file = names.free(&format!("{ARRAYS}/{name}"), ".npy");
            (ListedFile { axes: array.axes().to_vec(), ..entry(file, SidecarForm::Npy) }, npy::write(&array))
        }
    })
}

/// Names of files within one image's folder, each given once.
#[derive(Debug)]
struct Names {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self { files: HashSet::from([EXPORTED.to_owned(), LISTING.to_owned()]), folders: HashSet::new() }
    }
}

impl Names {
    /// The artifact's name with this ending; if that is taken, or is a folder (or in a file), a similar name.
    fn free(&mut self, name: &str, ending: &str) -> String {
        let name: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut wanted = name.join("/");
        if Self::above(&wanted).any(|folder| self.files.contains(&folder.to_ascii_lowercase())) {
            wanted = wanted.replace('/', "_");
        }
        for number in 1.. {
            let file = if number == 1 { format!("{wanted}{ending}") } else { format!("{wanted}-{number}{ending}") };
            // Some file systems do not distinguish upper and lower case.
            let key = file.to_ascii_lowercase();
            if !self.folders.contains(&key) && self.files.insert(key) {
                self.folders.extend(Self::above(&file).map(str::to_ascii_lowercase));
                return file;
            }
        }
        wanted
    }

    fn above(file: &str) -> impl Iterator<Item = &str> {
        file.match_indices('/').filter_map(|(at, _)| file.get(..at))
    }
}

fn table(
    dataset: &Dataset,
    name: &str,
    chosen: &HashSet<&str>,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<usize, IngestError> {
    let Some(mut rows) = dataset.read_table(name, None)? else { return Ok(0) };
    if !chosen.is_empty() {
        match rows.column_by_name(IMAGE_ID).map(Column::new) {
            None => notes.push(format!("the table {name} has no column {IMAGE_ID}: all of its rows were written")),
            Some(column) => {
                let stays: BooleanArray = (0..rows.num_rows())
                    .map(|row| Some(column.text(row).is_some_and(|id| chosen.contains(id.as_ref()))))
                    .collect();
                rows = filter_record_batch(&rows, &stays).map_err(|error| cannot(path, &error))?;
            }
        }
    }
    write(path, |out| csv(out, &rows))?;
    Ok(rows.num_rows())
}

/// CSV with a header. A missing value is nothing between the commas; an empty text is `""`. (In a table of one column
/// both are `""`: an empty line would not be a row.)
pub fn csv(out: &mut impl Write, rows: &RecordBatch) -> io::Result<()> {
    let columns: Vec<Column> = rows.columns().iter().map(Column::new).collect();
    let only_one = columns.len() == 1;
    let schema = rows.schema();
    for (place, field) in schema.fields().iter().enumerate() {
        comma(out, place)?;
        text(out, field.name(), false)?;
    }
    out.write_all(b"\n")?;
    for row in 0..rows.num_rows() {
        for (place, column) in columns.iter().enumerate() {
            comma(out, place)?;
            match column.cell(row) {
                Cell::Missing if only_one => out.write_all(b"\"\"")?,
                Cell::Missing => {}
                Cell::Text(value) => text(out, value, true)?,
                other => out.write_all(other.exact().as_bytes())?,
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn comma(out: &mut impl Write, place: usize) -> io::Result<()> {
    if place == 0 { Ok(()) } else { out.write_all(b",") }
}

fn text(out: &mut impl Write, value: &str, empty_is_quoted: bool) -> io::Result<()> {
    let blank = value.bytes().all(|byte| byte == b' ' || byte == b'\t');
    let quoted = value.contains(['"', ',', '\n', '\r']) || (blank && (empty_is_quoted || !value.is_empty()));
    if quoted { write!(out, "\"{}\"", value.replace('"', "\"\"")) } else { out.write_all(value.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, NullArray,
        StringArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::DataType;
    use proptest::prelude::*;

    fn there_and_back(rows: &RecordBatch) -> RecordBatch {
        let mut text = Vec::new();
        csv(&mut text, rows).unwrap();
        let types: HashMap<String, DataType> =
            rows.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
        kymhost_plugin_api::csv::parse_typed(&text, &types)
            .unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(&text)))
    }

    #[test]
    fn tables_round_trip_through_csv() {
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0)])) as ArrayRef, true),
            ("small", Arc::new(Int8Array::from(vec![Some(-1), None, Some(0)])), true),
            ("u", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])), true),
            ("d", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None, Some(f64::NEG_INFINITY)])), true),
            ("tiny", Arc::new(Float64Array::from(vec![5e-324, 1e300, -0.0])), true),
            ("f", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(1e-30)])), true),
            ("t", Arc::new(StringArray::from(vec![Some(""), None, Some("NA")])), true),
            ("l", Arc::new(LargeStringArray::from(vec!["01", "a,\"b\"\r\n", " "])), true),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), true),
            ("none", Arc::new(NullArray::new(3)), true),
            (
                "at",
                Arc::new(TimestampNanosecondArray::from(vec![Some(1), None, Some(1_700_000_000_123_456_789)])),
                true,
            ),
        ])
        .unwrap();
        assert_eq!(there_and_back(&rows), rows);
        let one = RecordBatch::try_from_iter_with_nullable([(
            "n",
            Arc::new(Int64Array::from(vec![None, Some(1), None])) as ArrayRef,
            true,
        )])
        .unwrap();
        assert_eq!(there_and_back(&one), one);
        let none = rows.slice(0, 0);
        assert_eq!(there_and_back(&none), none);
    }

    #[test]
    fn export_gives_each_file_name_once() {
        let mut names = Names::default();
        for (name, ending, expected) in [
            ("a/b", ".json", "a/b.json"),
            ("A/B", ".json", "A/B-2.json"),
            ("a", ".csv", "a.csv"),
            ("export", ".json", "export-2.json"),
            ("c", ".json", "c.json"),
            ("c.json/d", ".json", "c.json_d.json"),
            ("e.json/f", ".csv", "e.json/f.csv"),
            ("e", ".json", "e-2.json"),
            ("x//./y", ".json", "x/y.json"),
        ] {
            assert_eq!(names.free(name, ending), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn csv_texts_round_trip(texts in proptest::collection::vec(proptest::option::of("[a-zN ,\"\r\n\t\u{e4}0-9.-]{0,6}"), 1..8)) {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
            let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
            let rows = RecordBatch::try_from_iter_with_nullable([("t", texts, true), ("n", numbers, true)]).unwrap();
            prop_assert_eq!(there_and_back(&rows), rows);
        }

        #[test]
        fn csv_floats_round_trip(bits in proptest::collection::vec(proptest::option::of(any::<u64>()), 1..20)) {
            let floats: Vec<Option<f64>> = bits.into_iter().map(|bits| bits.map(f64::from_bits)).collect();
            floats_come_back(&floats)?;
        }
    }

    /// All but NaN, which a dataset keeps as a missing value.
    fn floats_come_back(floats: &[Option<f64>]) -> Result<(), TestCaseError> {
        let rows = |floats: Vec<Option<f64>>| {
            let column: ArrayRef = Arc::new(Float64Array::from(floats));
            RecordBatch::try_from_iter_with_nullable([("d", column, true)]).unwrap()
        };
        let expected = rows(floats.iter().map(|value| value.filter(|value| !value.is_nan())).collect());
        prop_assert_eq!(there_and_back(&rows(floats.to_vec())), expected);
        Ok(())
    }

    #[test]
    fn infinity_round_trips_and_nan_is_missing() {
        floats_come_back(&[Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::NAN), None, Some(-0.0)]).unwrap();
    }
}

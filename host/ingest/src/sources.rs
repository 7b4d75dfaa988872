//! Where images came from: `tables/sources.parquet` and the artifact `provenance`.
//!
//! The table is kymflow's. It is written after the images. If an ingest is killed between the two, only the
//! provenance of an image says where it came from, so the provenance is read for every image that the table lacks.

use crate::error::IngestError;
use crate::files::FileStamp;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{cast, concat, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use kymhost_dataset::{Dataset, DatasetError, PROVENANCE};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The table's name.
pub const TABLE: &str = "sources";
/// How often another program's write of the table is merged with before that is an error.
const TRIES: usize = 5;

const PATH: &str = "source_primary_path";
const IMAGE: &str = "image_id";
const MTIME: &str = "source_mtime_ns";
const SIZE: &str = "source_size_bytes";
const INGESTED: &str = "ingested_epoch_ns";

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The file, absolute.
    pub path: String,
    /// Its image.
    pub image_id: String,
    /// The file as it was read.
    pub stamp: FileStamp,
    /// When.
    pub ingested_epoch_ns: i64,
}

/// What the table knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSource {
    /// Its image.
    pub image_id: String,
    /// The file as it was read; `None` if the table does not say.
    pub stamp: Option<FileStamp>,
}

/// Every file that the table names, the last row of each.
pub fn load(dataset: &Dataset) -> Result<HashMap<String, KnownSource>, DatasetError> {
    let Some(rows) = dataset.read_table(TABLE, Some(&[PATH, IMAGE, MTIME, SIZE]))? else { return Ok(HashMap::new()) };
    let texts = |name: &str| rows.column_by_name(name).and_then(|column| cast(column, &DataType::Utf8).ok());
    let ints = |name: &str| rows.column_by_name(name).and_then(|column| cast(column, &DataType::Int64).ok());
    let (Some(paths), Some(images)) = (texts(PATH), texts(IMAGE)) else { return Ok(HashMap::new()) };
    let (paths, images) = (paths.as_string::<i32>(), images.as_string::<i32>());
    let (mtimes, sizes) = (ints(MTIME), ints(SIZE));
    let int = |column: &Option<ArrayRef>, row: usize| {
        let column = column.as_ref()?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let mut known = HashMap::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        if paths.is_valid(row) && images.is_valid(row) {
            let size = int(&sizes, row).and_then(|size| u64::try_from(size).ok());
            let stamp = int(&mtimes, row).zip(size).map(|(mtime_ns, size)| FileStamp { size, mtime_ns });
            known.insert(paths.value(row).to_owned(), KnownSource { image_id: images.value(row).to_owned(), stamp });
        }
    }
    Ok(known)
}

/// Adds rows; each replaces the row that its file had. What another program writes in the meantime is kept.
pub fn save(dataset: &Dataset, rows: &[Row]) -> Result<(), IngestError> {
    if rows.is_empty() {
        return Ok(());
    }
    for _ in 0..TRIES {
        let expected = dataset.table_stat(TABLE)?;
        let old = dataset.read_table(TABLE, None)?;
        let merged = merge(old.as_ref(), rows).map_err(|why| DatasetError::Unwritable {
            key: format!("tables/{TABLE}.parquet"),
            why: format!("its rows cannot be merged with new ones: {why}"),
        })?;
        if dataset.replace_table(TABLE, expected, &merged)? {
            return Ok(());
        }
    }
    let why = format!("another program wrote it {TRIES} times in the meantime; run the ingest again");
    Err(DatasetError::Unwritable { key: format!("tables/{TABLE}.parquet"), why }.into())
}

fn merge(old: Option<&RecordBatch>, rows: &[Row]) -> Result<RecordBatch, String> {
    let plain = |error: arrow::error::ArrowError| error.to_string();
    // The last of each file.
    let mut seen = HashSet::new();
    let mut new: Vec<&Row> = rows.iter().rev().filter(|row| seen.insert(row.path.as_str())).collect();
    new.reverse();
    let texts = |value: fn(&Row) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(new.iter().map(|row| value(row))))
    };
    let ints = |value: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(new.iter().map(|row| value(row))))
    };
    let columns: [(&str, ArrayRef); 5] = [
        (PATH, texts(|row| &row.path)),
        (IMAGE, texts(|row| &row.image_id)),
        (MTIME, ints(|row| row.stamp.mtime_ns)),
        (SIZE, ints(|row| i64::try_from(row.stamp.size).unwrap_or(i64::MAX))),
        (INGESTED, ints(|row| row.ingested_epoch_ns)),
    ];
    let Some(old) = old.filter(|old| old.num_columns() > 0) else {
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        return RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(plain);
    };
    let kept = match old.column_by_name(PATH) {
        None => old.clone(),
        Some(paths) => {
            let paths = cast(paths, &DataType::Utf8).map_err(plain)?;
            let paths = paths.as_string::<i32>();
            let stays: BooleanArray =
                (0..paths.len()).map(|row| Some(!(paths.is_valid(row) && seen.contains(paths.value(row))))).collect();
            filter_record_batch(old, &stays).map_err(plain)?
        }
    };
    let (mut fields, mut merged) = (Vec::new(), Vec::new());
    for (field, column) in kept.schema().fields().iter().zip(kept.columns()) {
        let new_column = columns.iter().find(|(name, _)| name == field.name()).map(|(_, column)| column);
        // A column that a table without rows has no type for takes ours.
        let kind = match new_column {
            Some(new) if matches!(field.data_type(), DataType::Null) => new.data_type().clone(),
            _ => field.data_type().clone(),
        };
        let column = cast(column, &kind).map_err(plain)?;
        let added = match new_column {
            Some(new) => cast(new, &kind).map_err(plain)?,
            None => new_null_array(&kind, new.len()),
        };
        merged.push(concat(&[column.as_ref(), added.as_ref()]).map_err(plain)?);
        fields.push(Field::new(field.name(), kind, true));
    }
    for (name, column) in &columns {
        if kept.column_by_name(name).is_none() {
            let missing = new_null_array(column.data_type(), kept.num_rows());
            merged.push(concat(&[missing.as_ref(), column.as_ref()]).map_err(plain)?);
            fields.push(Field::new(*name, column.data_type().clone(), true));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), merged).map_err(plain)
}

/// What an image's provenance says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The file that the image was read from, if its absolute path is known.
    pub path: Option<String>,
    /// That file as it was read.
    pub stamp: Option<FileStamp>,
    /// What stood next to it, as it was read: `None` if another program read it.
    pub sidecars: Option<Vec<(String, FileStamp)>>,
    /// What once stood next to it and was gone when it was last read: what came from that is still in the dataset.
    pub gone: Vec<String>,
    /// The digest of the metadata payload that was written.
    pub metadata_sha256: Option<String>,
}

/// What kymhost adds to a provenance.
const OWN: &str = "kymhost";
/// The member of a file that is gone.
const GONE: &str = "gone";

impl Provenance {
    /// Reads an image's; nothing if it has none.
    pub fn load(dataset: &Dataset, image_id: &str) -> Result<Self, DatasetError> {
        Ok(dataset.record(image_id)?.json(PROVENANCE)?.map(|json| Self::parse(&json)).unwrap_or_default())
    }

    fn parse(json: &Json) -> Self {
        let own = json.get(OWN);
        // An image that was exported and read again keeps its first provenance: what it was read from is kept
        // separately.
        let from = own.and_then(|own| own.get("ingested_from")).unwrap_or(json);
        let path = [PATH, "original_path"].iter().find_map(|name| from.get(name).and_then(Json::as_str));
        let stamp = from.get(SIZE).and_then(Json::as_u64).zip(from.get(MTIME).and_then(Json::as_i64));
        let lines = own.and_then(|own| own.get("beside")).and_then(Json::as_array);
        let is_gone = |line: &&Json| line.get(GONE).is_some_and(|gone| *gone == Json::from(true));
        let gone = lines.unwrap_or_default().iter().filter(is_gone);
        let gone = gone.filter_map(|line| Some(line.get("name")?.as_str()?.to_owned())).collect();
        let sidecars = lines.map(|lines| {
            lines
                .iter()
                .filter_map(|line| {
                    let stamp = FileStamp {
                        size: line.get("size_bytes")?.as_u64()?,
                        mtime_ns: line.get("mtime_ns")?.as_i64()?,
                    };
                    Some((line.get("name")?.as_str()?.to_owned(), stamp))
                })
                .collect()
        });
        Self {
            path: path.filter(|path| path.starts_with('/')).map(str::to_owned),
            stamp: stamp.map(|(size, mtime_ns)| FileStamp { size, mtime_ns }),
            sidecars,
            gone,
            metadata_sha256: own.and_then(|own| own.get("metadata_sha256")).and_then(Json::as_str).map(str::to_owned),
        }
    }
}

/// The provenance of an image that is read from a file. `gone`: what stood next to it once; `kept`: that of an
/// exported image, which stays, with ours next to it.
pub fn provenance(
    row: &Row,
    sidecars: &[(String, FileStamp)],
    gone: &[String],
    metadata_sha256: &str,
    kept: Option<&Object>,
) -> Json {
    let name = row.path.rsplit('/').next().unwrap_or_default();
    let mut from = Object::new();
    from.insert(PATH.to_owned(), row.path.as_str().into());
    from.insert("original_path".to_owned(), row.path.as_str().into());
    from.insert("source_name".to_owned(), name.into());
    from.insert(SIZE.to_owned(), row.stamp.size.into());
    from.insert(MTIME.to_owned(), row.stamp.mtime_ns.into());
    from.insert(INGESTED.to_owned(), row.ingested_epoch_ns.into());
    from.insert("ingest_mode".to_owned(), concat!("kymhost ", env!("CARGO_PKG_VERSION")).into());
    let mut own = Object::new();
    own.insert("format".to_owned(), 1.into());
    own.insert("metadata_sha256".to_owned(), metadata_sha256.into());
    let sidecars = sidecars.iter().map(|(name, stamp)| {
        Json::object([
            ("name", Json::from(name.as_str())),
            ("size_bytes", stamp.size.into()),
            ("mtime_ns", stamp.mtime_ns.into()),
        ])
    });
    let gone = gone.iter().map(|name| Json::object([("name", Json::from(name.as_str())), (GONE, true.into())]));
    own.insert("beside".to_owned(), sidecars.chain(gone).collect());
    let mut whole = match kept {
        None => from,
        Some(kept) => {
            own.insert("ingested_from".to_owned(), Json::Object(from));
            kept.clone()
        }
    };
    whole.insert(OWN.to_owned(), Json::Object(own));
    Json::Object(whole)
}

/// An exported provenance without what kymhost added when it was read.
pub fn without_own(provenance: &Object) -> Object {
    let mut plain = provenance.clone();
    plain.shift_remove(OWN);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, LargeStringArray, NullArray};

    fn row(path: &str, image: &str, size: u64) -> Row {
        let stamp = FileStamp { size, mtime_ns: 5 };
        Row { path: path.into(), image_id: image.into(), stamp, ingested_epoch_ns: 9 }
    }

    fn dataset() -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
        (folder, dataset)
    }

    #[test]
    fn sources_replace_older_rows() {
        let (_folder, dataset) = dataset();
        assert!(load(&dataset).unwrap().is_empty());
        save(&dataset, &[row("/a", "1", 1), row("/b", "2", 2)]).unwrap();
        save(&dataset, &[row("/a", "1", 3), row("/c", "3", 4), row("/c", "3", 5)]).unwrap();
        let known = load(&dataset).unwrap();
        assert_eq!(known.len(), 3);
        assert_eq!(known["/a"].stamp, Some(FileStamp { size: 3, mtime_ns: 5 }));
        assert_eq!(known["/c"].stamp, Some(FileStamp { size: 5, mtime_ns: 5 }));
        assert_eq!(dataset.read_table(TABLE, None).unwrap().unwrap().num_rows(), 3);
    }

    #[test]
    fn sources_keep_columns_of_others() {
        let (_folder, dataset) = dataset();
        // As pandas 3 writes them, with a column of a lab's own, and one that was missing throughout.
        let theirs = RecordBatch::try_from_iter_with_nullable([
            (PATH, Arc::new(LargeStringArray::from(vec!["/x", "/a"])) as ArrayRef, true),
            ("mine", Arc::new(Float64Array::from(vec![0.5, 1.5])) as ArrayRef, true),
            (IMAGE, Arc::new(LargeStringArray::from(vec!["7", "1"])) as ArrayRef, true),
            (SIZE, Arc::new(NullArray::new(2)) as ArrayRef, true),
        ])
        .unwrap();
        dataset.write_table(TABLE, &theirs).unwrap();
        assert_eq!(load(&dataset).unwrap()["/x"], KnownSource { image_id: "7".into(), stamp: None });
        save(&dataset, &[row("/a", "1", 3)]).unwrap();
        let rows = dataset.read_table(TABLE, None).unwrap().unwrap();
        let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, [PATH, "mine", IMAGE, SIZE, MTIME, INGESTED]);
        assert_eq!(rows.num_rows(), 2);
        assert!(rows.column(1).is_valid(0) && rows.column(1).is_null(1));
        assert_eq!(rows.column(0).data_type(), &DataType::LargeUtf8);
        assert_eq!(load(&dataset).unwrap()["/a"].stamp, Some(FileStamp { size: 3, mtime_ns: 5 }));
    }

    #[test]
    fn provenance_names_its_file() {
        let sidecars = vec![("a.json".to_owned(), FileStamp { size: 1, mtime_ns: 2 })];
        let row = row("/lab/a.tif", "1", 3);
        let gone = vec!["a.ev.csv".to_owned()];
        let made = provenance(&row, &sidecars, &gone, "abc", None);
        let expected = Provenance {
            path: Some("/lab/a.tif".into()),
            stamp: Some(row.stamp),
            sidecars: Some(sidecars.clone()),
            gone: gone.clone(),
            metadata_sha256: Some("abc".into()),
        };
        assert_eq!(Provenance::parse(&made), expected);
        let first = Json::object([(PATH, Json::from("/old/b.tif")), ("mine", 1.into())]);
        let again = provenance(&row, &sidecars, &gone, "abc", first.as_object());
        assert_eq!(Provenance::parse(&again), expected);
        assert_eq!(again.get(PATH).and_then(Json::as_str), Some("/old/b.tif"));
        assert_eq!(Some(&without_own(again.as_object().unwrap())), first.as_object());
        // kymflow's: a name alone does not identify a file.
        let theirs = Json::object([("original_path", Json::from("a.tif")), ("file_size", 3.into())]);
        assert_eq!(Provenance::parse(&theirs), Provenance::default());
    }
}

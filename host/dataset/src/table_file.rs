//! A table's file, read piece by piece: its metadata, and its rows in batches. Never holds a whole table.
//!
//! All reads are of the file that was opened, even if another program replaces it in the meantime.

use crate::error::DatasetError;
use crate::error::unreadable;
use crate::hex::hex;
use crate::tables::{self, Chunks, guarded};
use crate::{limits, names};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kymhost_store::{Key, Stat, Store, StoredFile};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// The end of a Parquet file: the length of its metadata, and four bytes that say what it is.
pub(crate) const TAIL_BYTES: usize = 8;
/// The bytes that an unencrypted Parquet file ends with.
const MAGIC: [u8; 4] = *b"PAR1";
/// Rows that are unpacked at a time.
const BATCH_ROWS: usize = 1 << 14;
/// About this many bytes of rows are unpacked at a time, if that is fewer rows.
const BATCH_BYTES: u64 = 16 << 20;

/// An opened table.
pub struct TableFile {
    store: Arc<dyn Store>,
    key: Key,
    chunks: Chunks,
    stat: Stat,
    footer_sha256: String,
    metadata: ArrowReaderMetadata,
    /// The file's columns that are the table's, by their places in the file.
    places: Vec<usize>,
    schema: SchemaRef,
}

impl TableFile {
    /// Opens a table; `None` if there is none.
    pub(crate) fn open(store: &Arc<dyn Store>, table: &str) -> Result<Option<Self>, DatasetError> {
        let key = names::table_key(table)?;
        let Some(file) = store.open(&key)? else { return Ok(None) };
        match Self::of(Arc::clone(store), key.clone(), file) {
            Ok(file) => Ok(Some(file)),
            Err(found) => Err(unreadable(&**store, &key, "Parquet", found)),
        }
    }

    fn of(store: Arc<dyn Store>, key: Key, file: Box<dyn StoredFile>) -> Result<Self, String> {
        let stat = file.stat();
        let chunks = Chunks::new(file);
        let (metadata, footer_sha256) = guarded(|| read_footer(&chunks, stat.size))?;
        let rows = metadata.metadata().file_metadata().num_rows();
        if !(0..=limits::MAX_TABLE_ROWS).contains(&rows) {
            return Err(format!("it claims {rows} rows; kymhost takes up to {}", limits::MAX_TABLE_ROWS));
        }
        let in_groups =
            metadata.metadata().row_groups().iter().try_fold(0i64, |sum, group| {
                if group.num_rows() < 0 { None } else { sum.checked_add(group.num_rows()) }
            });
        if in_groups != Some(rows) {
            return Err(format!("its row groups do not have the {rows} rows that it claims"));
        }
        let fields = metadata.schema().fields().iter().enumerate();
        let (places, fields): (Vec<usize>, Vec<Field>) = fields
            .filter(|(_, field)| !field.name().starts_with(tables::NAMELESS_INDEX))
            .map(|(place, field)| {
                (place, Field::new(field.name(), tables::plain_type(field.data_type()).clone(), true))
            })
            .unzip();
        let kept: HashMap<String, String> = metadata
            .schema()
            .metadata()
            .iter()
            .filter(|(key, _)| *key == tables::PANDAS)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, kept));
        Ok(Self { store, key, chunks, stat, footer_sha256, metadata, places, schema })
    }

    /// What was known of the file when it was opened.
    pub fn stat(&self) -> Stat {
        self.stat
    }

    /// The SHA-256 of the file's metadata, lower-case hex.
    pub fn footer_sha256(&self) -> &str {
        &self.footer_sha256
    }

    /// The columns, all optional, with dictionaries and views cast away; of the metadata, pandas' own.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the file's footer says.
    pub fn parquet(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// How many rows each row group has.
    pub fn group_rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.parquet().row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The table's columns, given by place, as places among the file's.
    pub fn file_place(&self, column: usize) -> Option<usize> {
        self.places.get(column).copied()
    }

    /// The table's column at a place among the file's.
    pub(crate) fn column_of(&self, file_place: usize) -> Option<usize> {
        self.places.binary_search(&file_place).ok()
    }

    /// The file's bytes, for copying.
    pub(crate) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// An error that names this file.
    pub fn unreadable(&self, found: impl std::fmt::Display) -> DatasetError {
        unreadable(&*self.store, &self.key, "Parquet", found)
    }

    /// Rows of the given row groups, in order: of these columns (places in [`TableFile::schema`], ascending) and in
    /// batches.
    pub fn batches(&self, groups: Vec<usize>, columns: &[usize]) -> Result<Batches<'_>, DatasetError> {
        let fields: Vec<_> = columns.iter().filter_map(|&column| self.schema.fields().get(column).cloned()).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        Ok(Batches { file: self, reader: self.reader(self.metadata.clone(), groups, columns)?, schema })
    }

    /// All rows in order, of the columns that the table has of these, in batches of at most `most` rows.
    pub fn all_batches(&self, columns: Option<&[&str]>, most: usize) -> Result<Batches<'_>, DatasetError> {
        let fields = self.schema.fields().iter().enumerate();
        let wanted = |name: &str| columns.is_none_or(|columns| columns.contains(&name));
        let columns: Vec<usize> = fields.filter(|(_, field)| wanted(field.name())).map(|(place, _)| place).collect();
        let fields: Vec<_> = columns.iter().filter_map(|&column| self.schema.fields().get(column).cloned()).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        let reader = self.reader_of(self.metadata.clone(), self.groups().collect(), &columns, most)?;
        Ok(Batches { file: self, reader, schema })
    }

    /// How many rows the table has.
    pub fn rows(&self) -> u64 {
        self.group_rows().sum()
    }

    /// The file's leaves that make up each of the table's columns.
    pub fn leaves(&self) -> Vec<Vec<usize>> {
        let mut leaves = vec![Vec::new(); self.places.len()];
        let file = self.parquet().file_metadata().schema_descr();
        for leaf in 0..file.num_columns() {
            let column = self.column_of(file.get_column_root_idx(leaf));
            if let Some(leaves) = column.and_then(|column| leaves.get_mut(column)) {
                leaves.push(leaf);
            }
        }
        leaves
    }

    /// All row groups.
    pub fn groups(&self) -> std::ops::Range<usize> {
        0..self.parquet().num_row_groups()
    }

    /// As [`TableFile::batches`], of those of the named columns that hold text, as views: what repeats
    /// is then decided without looking at the text. In the order of `names`; `None` for a column that the table lacks;
    /// columns of other types are left as they are.
    pub fn text_batches<const N: usize>(
        &self,
        groups: Vec<usize>,
        names: [&str; N],
    ) -> Result<TextBatches<'_, N>, DatasetError> {
        let found = names.map(|name| self.schema.index_of(name).ok());
        let mut columns: Vec<usize> = found.iter().flatten().copied().collect();
        columns.sort_unstable();
        let fields = self.metadata.schema().fields().iter().enumerate().map(|(place, field)| {
            let wanted = columns.iter().any(|&column| self.file_place(column) == Some(place));
            match tables::plain_type(field.data_type()) {
                DataType::Utf8 | DataType::LargeUtf8 if wanted => {
                    Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
                }
                _ => Arc::clone(field),
            }
        });
        let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), self.metadata.schema().metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata = guarded(|| {
            ArrowReaderMetadata::try_new(Arc::clone(self.metadata.metadata()), options).map_err(|e| e.to_string())
        });
        let metadata = metadata.map_err(|found| self.unreadable(found))?;
        let batches = self.reader(metadata, groups, &columns)?;
        let order = found.map(|column| column.and_then(|column| columns.binary_search(&column).ok()));
        Ok(TextBatches { file: self, batches, order })
    }

    fn reader(
        &self,
        metadata: ArrowReaderMetadata,
        groups: Vec<usize>,
        columns: &[usize],
    ) -> Result<ParquetRecordBatchReader, DatasetError> {
        self.reader_of(metadata, groups, columns, BATCH_ROWS)
    }

    fn reader_of(
        &self,
        metadata: ArrowReaderMetadata,
        groups: Vec<usize>,
        columns: &[usize],
        most_rows: usize,
    ) -> Result<ParquetRecordBatchReader, DatasetError> {
        let roots: Vec<usize> = columns.iter().filter_map(|&column| self.file_place(column)).collect();
        let made = guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), metadata);
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            let all = builder.metadata().row_groups();
            let rows = groups.iter().filter_map(|&group| all.get(group)).map(|group| batch_rows(group, &mask)).min();
            builder
                .with_projection(mask)
                .with_row_groups(groups)
                .with_batch_size(rows.unwrap_or(BATCH_ROWS).clamp(1, most_rows.max(1)))
                .build()
                .map_err(|error| error.to_string())
        });
        made.map_err(|found| self.unreadable(found))
    }
}

/// How many rows of a group make about [`BATCH_BYTES`].
fn batch_rows(group: &RowGroupMetaData, mask: &ProjectionMask) -> usize {
    let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
    let bytes = columns.fold(0u64, |sum, (_, column)| {
        let bytes = column.uncompressed_size().max(column.unencoded_byte_array_data_bytes().unwrap_or(0));
        sum.saturating_add(u64::try_from(bytes).unwrap_or(0))
    });
    let rows = u64::try_from(group.num_rows()).unwrap_or(0);
    let fitting = BATCH_BYTES.saturating_mul(rows).checked_div(bytes).unwrap_or(u64::MAX);
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, BATCH_ROWS)
}

/// Reads a file's footer once: what it says, and its digest.
fn read_footer(chunks: &Chunks, size: u64) -> Result<(ArrowReaderMetadata, String), String> {
    let too_short = || format!("it has {size} bytes, too few for a Parquet file");
    let tail_at = size.checked_sub(TAIL_BYTES as u64).ok_or_else(too_short)?;
    let tail = chunks.get_bytes(tail_at, TAIL_BYTES).map_err(|error| error.to_string())?;
    let Some((length, magic)) = tail.split_first_chunk::<4>() else { return Err(too_short()) };
    if magic != MAGIC.as_slice() {
        return Err("it does not end as a Parquet file does; it may have been cut off".to_owned());
    }
    let length = u32::from_le_bytes(*length);
    let Some(start) = tail_at.checked_sub(u64::from(length)) else {
        return Err(format!("its footer claims {length} bytes, the file has {size}"));
    };
    let footer = chunks.get_bytes(start, length as usize).map_err(|error| error.to_string())?;
    let digest = hex(&Sha256::digest(&footer));
    let metadata = ParquetMetaDataReader::decode_metadata(&footer).map_err(|error| error.to_string())?;
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
        .and_then(tables::without_dictionaries)
        .map_err(|error| error.to_string())?;
    Ok((metadata, digest))
}

/// Rows of a table, batch by batch.
pub struct Batches<'a> {
    file: &'a TableFile,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = &mut self.reader;
        let schema = &self.schema;
        let batch = guarded(|| {
            let Some(batch) = reader.next() else { return Ok(None) };
            let batch = batch.map_err(|error| error.to_string())?;
            let columns = batch.columns().iter().map(tables::plain).collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options);
            batch.map(Some).map_err(|error| error.to_string())
        });
        batch.map_err(|found| self.file.unreadable(found)).transpose()
    }
}

/// Columns of text, batch by batch.
pub struct TextBatches<'a, const N: usize> {
    file: &'a TableFile,
    batches: ParquetRecordBatchReader,
    order: [Option<usize>; N],
}

impl<const N: usize> Iterator for TextBatches<'_, N> {
    type Item = Result<(usize, [Option<arrow::array::ArrayRef>; N]), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = &mut self.batches;
        let batch = guarded(|| reader.next().transpose().map_err(|error| error.to_string()));
        match batch {
            Ok(Some(batch)) => {
                let columns = self.order.map(|place| place.and_then(|place| batch.columns().get(place).cloned()));
                Some(Ok((batch.num_rows(), columns)))
            }
            Ok(None) => None,
            Err(found) => Some(Err(self.file.unreadable(found))),
        }
    }
}

//! A table's file, written piece by piece: rows, and row groups copied from another file.
//!
//! Row groups have statistics of their columns, but no page indexes and no Bloom filters, so that a reader finds no
//! difference between copied and new groups. Where groups are cut is the caller's decision.

use crate::hex::hex;
use crate::table_file::{TAIL_BYTES, TableFile};
use crate::tables::{self, Chunks};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use kymhost_store::Sink;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How much of a row group is read at once when it is copied.
const COPY_BUFFER: usize = 1 << 20;

/// The columns as a file keeps them: of pandas' metadata what is still true, and no other.
pub fn kept_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let pandas = schema.metadata().get(tables::PANDAS).and_then(|text| tables::still_true(text, &fields));
    let metadata: HashMap<String, String> = pandas.map(|text| (tables::PANDAS.to_owned(), text)).into_iter().collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Which row groups of a file can be copied into one of these columns, byte for byte: all its columns must be kept in
/// the very same form, and what the file says of a group must be possible.
pub fn copyable_groups(file: &TableFile, schema: &Schema) -> Vec<bool> {
    let groups = file.parquet().row_groups();
    let none = || vec![false; groups.len()];
    let wanted = match catch_unwind(AssertUnwindSafe(|| ArrowSchemaConverter::new().convert(schema))) {
        Ok(Ok(wanted)) => wanted,
        _ => return none(),
    };
    let leaves: Vec<usize> = file.leaves().into_iter().flatten().collect();
    let found = file.parquet().file_metadata().schema_descr();
    let same = leaves.len() == wanted.num_columns()
        && leaves
            .iter()
            .zip(wanted.columns())
            .all(|(&leaf, wanted)| found.columns().get(leaf).is_some_and(|found| found.as_ref() == wanted.as_ref()));
    if !same {
        return none();
    }
    // Groups that lie about where they are could make a small file into a large one.
    let mut budget = file.stat().size;
    let possible = |group: &RowGroupMetaData| {
        let mut bytes = 0u64;
        for &leaf in &leaves {
            let (start, length) = group.columns().get(leaf).and_then(extent)?;
            start.checked_add(length).filter(|&end| end <= file.stat().size)?;
            bytes = bytes.checked_add(length)?;
        }
        Some(bytes)
    };
    let mut copyable = Vec::with_capacity(groups.len());
    for group in groups {
        let left = possible(group).and_then(|bytes| budget.checked_sub(bytes));
        copyable.push(left.is_some() && group.num_rows() > 0);
        budget = left.unwrap_or(budget);
    }
    copyable
}

/// Where a column's bytes are in the file, and how many.
fn extent(column: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    if column.file_path().is_some() {
        return None;
    }
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let data = column.data_page_offset();
    let (start, data) = (u64::try_from(start).ok()?, u64::try_from(data).ok()?);
    (start <= data).then_some(())?;
    Some((start, u64::try_from(column.compressed_size()).ok()?))
}

/// A table being written.
pub struct TableWriter<'a> {
    file: SerializedFileWriter<Tail<&'a mut dyn Sink>>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    group: Option<Group>,
    groups: usize,
}

/// The row group being written.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: u64,
}

impl<'a> TableWriter<'a> {
    /// Begins a file. `metadata`: pairs for the file's own metadata, besides those of `schema`.
    pub fn new(sink: &'a mut dyn Sink, schema: &SchemaRef, metadata: &[(String, String)]) -> io::Result<Self> {
        let pairs: Vec<KeyValue> =
            metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(None)
            .set_key_value_metadata((!pairs.is_empty()).then_some(pairs))
            .build();
        let (file, factory) = caught(|| {
            let tail = Tail { sink, kept: None };
            ArrowWriter::try_new(tail, Arc::clone(schema), Some(properties))?.into_serialized_writer()
        })?;
        Ok(Self { file, factory, schema: Arc::clone(schema), group: None, groups: 0 })
    }

    /// Adds rows to the row group that is being written.
    pub fn write(&mut self, rows: &RecordBatch) -> io::Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        caught(|| {
            let group = match &mut self.group {
                Some(group) => group,
                None => self.group.insert(Group { columns: self.factory.create_column_writers(self.groups)?, rows: 0 }),
            };
            group.rows += rows.num_rows() as u64;
            let mut writers = group.columns.iter_mut();
            for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
                for leaf in compute_leaves(field, column)? {
                    let Some(writer) = writers.next() else { break };
                    writer.write(&leaf)?;
                }
            }
            Ok(())
        })
    }

    /// How many rows the row group has that is being written.
    pub fn rows_in_group(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// About how many bytes are held for it.
    pub fn bytes_in_group(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.columns.iter().map(ArrowColumnWriter::memory_size).sum())
    }

    /// How many row groups are ended.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Ends the row group, if one is being written.
    pub fn end_group(&mut self) -> io::Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        self.groups += 1;
        caught(|| {
            let mut writer = self.file.next_row_group()?;
            for column in group.columns {
                column.close()?.append_to_row_group(&mut writer)?;
            }
            writer.close().map(drop)
        })
    }

    /// Copies a row group that [`copyable_groups`] says can be.
    pub fn copy(&mut self, file: &TableFile, group: usize) -> io::Result<()> {
        self.end_group()?;
        self.groups += 1;
        let leaves: Vec<usize> = file.leaves().into_iter().flatten().collect();
        caught(|| {
            let no_such = || ParquetError::General(format!("row group {group} has changed"));
            let found = file.parquet().row_groups().get(group).ok_or_else(no_such)?;
            let from = Buffered(file.chunks());
            let mut writer = self.file.next_row_group()?;
            for leaf in leaves {
                let metadata = found.columns().get(leaf).ok_or_else(no_such)?.clone();
                writer.append_column(
                    &from,
                    ColumnCloseResult {
                        bytes_written: u64::try_from(metadata.compressed_size()).unwrap_or(0),
                        rows_written: u64::try_from(found.num_rows()).unwrap_or(0),
                        metadata,
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    },
                )?;
            }
            writer.close().map(drop)
        })
    }

    /// Ends the file; gives the SHA-256 of its metadata, as [`TableFile::footer_sha256`] does.
    pub fn finish(mut self) -> io::Result<String> {
        self.end_group()?;
        caught(|| {
            self.file.flush()?;
            self.file.inner_mut().kept = Some(Vec::new());
            self.file.finish()?;
            Ok(())
        })?;
        let tail = self.file.inner().kept.as_deref().unwrap_or_default();
        let digest = tail.len().checked_sub(TAIL_BYTES).and_then(|end| {
            let length = u32::from_le_bytes(*tail.get(end..)?.first_chunk()?) as usize;
            Some(hex(&Sha256::digest(tail.get(end.checked_sub(length)?..end)?)))
        });
        digest.ok_or_else(|| tables::refused("the Parquet writer wrote no footer".to_owned()))
    }
}

/// Runs a piece of the Parquet writer.
fn caught<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(tables::write_error),
        Err(_) => Err(tables::refused("the Parquet writer panicked".to_owned())),
    }
}

/// Keeps what is written from some time on: a file's end, for its digest.
struct Tail<W> {
    sink: W,
    kept: Option<Vec<u8>>,
}

impl<W: Write> Write for Tail<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// A file that is read in large pieces.
struct Buffered<'a>(&'a Chunks);

impl Length for Buffered<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Buffered<'_> {
    type T = BufReader<<Chunks as ChunkReader>::T>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(COPY_BUFFER, self.0.get_read(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.get_bytes(start, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    /// A disk with room for this many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn table_writer_reports_full_disk() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20_000).map(|n| n * 7919)));
        let rows = RecordBatch::try_from_iter_with_nullable([("x", numbers, true)]).unwrap();
        let write = |room: usize| {
            let mut disk = Disk(room);
            let mut writer = TableWriter::new(&mut disk, rows.schema_ref(), &[])?;
            writer.write(&rows)?;
            writer.end_group()?;
            writer.write(&rows)?;
            writer.finish()
        };
        assert_eq!(write(usize::MAX).unwrap().len(), 64);
        for room in (0..200_000).step_by(5_000) {
            assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
        }
    }
}

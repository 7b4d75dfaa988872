//! The pages of small ZSTD tables, unpacked with one decompressor per thread.
//!
//! The parquet crate makes a compressor and a decompressor for each column of each file. Each asks the processor for
//! its features. In a virtual machine that costs more than unpacking the column of an artifact. So the crate is told
//! that the columns are not packed, and gets unpacked pages from here.

use arrow::datatypes::Fields;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Whether this is the way to read a file: one row group, each column ZSTD.
pub(crate) fn fits(metadata: &ParquetMetaData) -> bool {
    let columns =
        |group: &RowGroupMetaData| group.columns().iter().all(|c| matches!(c.compression(), Compression::ZSTD(_)));
    matches!(metadata.row_groups(), [group] if columns(group))
}

/// A reader of all columns of a file that [`fits`]. `schema`: its Arrow types.
pub(crate) fn reader<R: ChunkReader + 'static>(
    source: Arc<R>,
    metadata: Arc<ParquetMetaData>,
    schema: &Fields,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader> {
    let levels =
        parquet_to_arrow_field_levels(metadata.file_metadata().schema_descr(), ProjectionMask::all(), Some(schema))?;
    ParquetRecordBatchReader::try_new_with_row_groups(&levels, &File { source, metadata }, batch_rows, None)
}

struct File<R> {
    source: Arc<R>,
    metadata: Arc<ParquetMetaData>,
}

impl<R: ChunkReader + 'static> RowGroups for File<R> {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }
    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let mut pages = Vec::new();
        for group in self.metadata.row_groups() {
            let chunk = group.columns().get(column).ok_or_else(|| ParquetError::EOF(format!("no column {column}")))?;
            let most = usize::try_from(chunk.uncompressed_size()).unwrap_or(0);
            let unpacked = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let packed = SerializedPageReader::new(Arc::clone(&self.source), &unpacked, rows, None)?;
            pages.push(Pages { packed, most });
        }
        Ok(Box::new(Chunks(pages.into_iter())))
    }
    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().iter())
    }
    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct Chunks<R: ChunkReader>(std::vec::IntoIter<Pages<R>>);

impl<R: ChunkReader + 'static> Iterator for Chunks<R> {
    type Item = Result<Box<dyn PageReader>>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(Ok(Box::new(self.0.next()?)))
    }
}

impl<R: ChunkReader + 'static> PageIterator for Chunks<R> {}

/// The pages of one column.
struct Pages<R: ChunkReader> {
    packed: SerializedPageReader<R>,
    /// What the column claims to unpack to: no page of it is longer.
    most: usize,
}

impl<R: ChunkReader + 'static> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.packed.get_next_page()? else { return Ok(None) };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = unpack(buf, 0, self.most)?,
            Page::DataPageV2 { buf, is_compressed, def_levels_byte_len, rep_levels_byte_len, .. } => {
                if *is_compressed {
                    let levels = (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize);
                    *buf = unpack(buf, levels, self.most)?;
                }
            }
        }
        Ok(Some(page))
    }
    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }
    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }
}

impl<R: ChunkReader + 'static> Iterator for Pages<R> {
    type Item = Result<Page>;
    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// A page's bytes, of which the first `plain` are not packed.
fn unpack(bytes: &Bytes, plain: usize, most: usize) -> Result<Bytes> {
    let failed = |why: String| ParquetError::General(why);
    let (head, packed) = bytes.split_at_checked(plain).ok_or_else(|| failed("a page is too short".to_owned()))?;
    if packed.is_empty() {
        return Ok(bytes.clone());
    }
    let claimed = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    // A frame need not say how long it is: then the column's own claim is the bound.
    let length = claimed.map_or(most, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if length > most {
        return Err(failed(format!("a page claims to unpack to {length} bytes, its whole column to {most}")));
    }
    let values: Vec<u8> = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(packed, length)
    })?;
    Ok(if head.is_empty() { values.into() } else { [head, values.as_slice()].concat().into() })
}

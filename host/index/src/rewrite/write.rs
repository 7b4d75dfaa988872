//! Writes the new file: copies row groups, and fills others with rows.

use super::error::{RewriteError, Stopped};
use super::layout::Part;
use super::on_disk::OnDisk;
use crate::merge::MergePlan;
use crate::provenance::{IMAGE_ID, TextColumn};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use kymhost_dataset::TableWriter;
use kymhost_store::Sink;

/// Bytes held for a row group at which it ends, however few its rows.
const GROUP_BYTES: usize = 64 << 20;

/// A file that is to be written.
pub(super) struct NewFile<'a> {
    /// The table's columns, as the file keeps them.
    pub schema: SchemaRef,
    /// The pairs of the file's metadata.
    pub metadata: Vec<(String, String)>,
    pub old: Option<&'a OnDisk<'a>>,
    pub planned: &'a MergePlan,
    pub parts: Vec<Part>,
    /// Whether the old rows of a piece's image stay.
    pub stays: &'a dyn Fn(usize) -> bool,
    /// Rows that a row group is to have, about.
    pub target: u64,
}

impl NewFile<'_> {
    /// Writes it. Returns the digest of its footer, and how many row groups were copied and how many written.
    pub fn write(&self, sink: &mut dyn Sink) -> Result<(String, (usize, usize)), Stopped> {
        let writer = TableWriter::new(sink, &self.schema, &self.metadata)?;
        let image_id = self.schema.index_of(IMAGE_ID).ok();
        let mut filling =
            Filling { writer, target: self.target, most_bytes: GROUP_BYTES, image_id, last: None, left: 0 };
        let mut copied = 0;
        for part in &self.parts {
            if let (true, [group], Some(old)) = (part.is_copied, part.groups.as_slice(), self.old) {
                filling.writer.copy(old.file, *group)?;
                copied += 1;
                continue;
            }
            filling.begin(part.rows);
            for (old, &group) in self.old.iter().flat_map(|old| part.groups.iter().map(move |group| (old, group))) {
                for rows in old.kept_rows(group, self.planned, self.stays)? {
                    filling.add(&rows?)?;
                }
            }
            if part.has_new {
                for rows in self.planned.batches() {
                    filling.add(&rows.map_err(RewriteError::from)?)?;
                }
            }
            filling.writer.end_group()?;
        }
        let groups = (copied, filling.writer.groups() - copied);
        Ok((filling.writer.finish()?, groups))
    }
}

/// Fills row groups: each ends at the first bound of an image from `target` rows on, if enough is left for another.
pub(super) struct Filling<'a> {
    pub writer: TableWriter<'a>,
    pub target: u64,
    pub most_bytes: usize,
    pub image_id: Option<usize>,
    /// The image of the last row that was written.
    pub last: Option<String>,
    /// Rows that are still to come in this part.
    pub left: u64,
}

impl Filling<'_> {
    pub fn begin(&mut self, rows: u64) {
        self.left = rows;
        self.last = None;
    }

    pub fn add(&mut self, rows: &RecordBatch) -> Result<(), Stopped> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let ids = self.image_id.and_then(|place| rows.columns().get(place)).map(TextColumn::over);
        let mut start = 0;
        while start < rows.num_rows() {
            let end = self.next_cut(rows.num_rows(), ids, start);
            let count = end.unwrap_or(rows.num_rows()) - start;
            self.writer.write(&rows.slice(start, count))?;
            self.left = self.left.saturating_sub(count as u64);
            start += count;
            if end.is_some() || self.writer.bytes_in_group() >= self.most_bytes {
                self.writer.end_group()?;
            }
        }
        let last = rows.num_rows().checked_sub(1);
        self.last = last.zip(ids).and_then(|(row, ids)| ids.get(row)).map(str::to_owned);
        Ok(())
    }

    /// The row before which the row group ends; `None` if it goes on after this batch.
    fn next_cut(&self, rows: usize, ids: Option<TextColumn<'_>>, start: usize) -> Option<usize> {
        let have = self.writer.rows_in_group();
        let first = usize::try_from(self.target.saturating_sub(have)).ok()?.checked_add(start)?;
        let longest = usize::try_from(self.target.saturating_mul(2).saturating_sub(have)).ok()?.checked_add(start)?;
        // Rows of no image may part anywhere.
        let is_bound = |row: usize| match (ids.filter(|ids| ids.get(row).is_some()), row.checked_sub(1)) {
            (None, _) => true,
            (Some(ids), Some(before)) => row >= longest || !ids.same(before, row),
            (Some(ids), None) => row >= longest || self.last.as_deref() != ids.get(row),
        };
        let cut = (first..rows).find(|&row| is_bound(row))?;
        let left = self.left.saturating_sub((cut - start) as u64);
        (left >= self.target / 2 && (cut > start || have > 0)).then_some(cut)
    }
}

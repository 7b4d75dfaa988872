//! A table's file as a rewrite sees it: whose its rows are, and what stays of them.
//!
//! Whose rows stand where is known from the column of images alone; whether a column has values from the file's
//! statistics, and from rows only if the statistics do not say.

use super::Change;
use super::error::RewriteError;
use super::layout::Size;
use crate::merge::{MergePlan, OldTable, can_be, has_value};
use crate::provenance::{IdLookup, each_run};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use kymhost_dataset::{DatasetError, TableFile, copyable_groups};
use parquet::file::statistics::Statistics;
use std::collections::HashSet;

/// Whose a row is: a place in [`Owners::ids`], or of no image that matters here.
type Owner = usize;
const NOBODY: Owner = usize::MAX;

/// The images that something happens to.
pub(super) struct Owners<'a> {
    /// In this order: those with pieces; those that leave; those that leave if that makes room; those that get new
    /// labels.
    ids: Vec<&'a str>,
    pieces: usize,
    leaving: usize,
    making_room: usize,
    /// The hashes of those that get new labels.
    hashes: Vec<&'a str>,
}

impl<'a> Owners<'a> {
    pub fn of(change: &'a Change) -> Self {
        let mut ids: Vec<&str> = change.pieces.iter().map(|piece| piece.image_id.as_str()).collect();
        let pieces = ids.len();
        let mut seen: HashSet<&str> = ids.iter().copied().collect();
        ids.extend(change.remove.iter().map(String::as_str).filter(|id| seen.insert(id)));
        let leaving = ids.len();
        ids.extend(change.remove_if_all_fit.iter().map(String::as_str).filter(|id| seen.insert(id)));
        let making_room = ids.len();
        let mut hashes = Vec::with_capacity(change.relabel.len());
        for (id, hash) in &change.relabel {
            if seen.insert(id) {
                ids.push(id);
                hashes.push(hash.as_str());
            }
        }
        Self { ids, pieces, leaving, making_room, hashes }
    }

    /// The hash that a row gets.
    fn hash(&self, owner: Owner) -> Option<&'a str> {
        self.hashes.get(owner.checked_sub(self.making_room)?).copied()
    }
}

/// A table's file, and whose its rows are.
pub(super) struct OnDisk<'a> {
    pub file: &'a TableFile,
    owners: &'a Owners<'a>,
    leaves: Vec<Vec<usize>>,
    groups: Vec<Group>,
    /// How many rows each owner has.
    rows_of: Vec<u64>,
    rows: u64,
    /// Whether the rows leave that make room.
    pub makes_room: bool,
}

/// A row group: whose its rows are, in runs of at least one row.
struct Group {
    rows: u64,
    runs: Vec<(Owner, u64)>,
}

impl Group {
    /// Whose each row is.
    fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.runs
            .iter()
            .flat_map(|&(owner, rows)| std::iter::repeat_n(owner, usize::try_from(rows).unwrap_or(usize::MAX)))
    }
}

impl<'a> OnDisk<'a> {
    /// Finds out whose rows stand where.
    pub fn read(file: &'a TableFile, owners: &'a Owners<'a>, change: &Change) -> Result<Self, DatasetError> {
        let mut groups: Vec<Group> = file.group_rows().map(|rows| Group { rows, runs: Vec::new() }).collect();
        let mut rows_of = vec![0; owners.ids.len()];
        let mut lookup = IdLookup::new(&owners.ids);
        // The group that is filled, and its rows that are still without an owner.
        let mut filling = groups.iter_mut().map(|group| (group.rows, group));
        let mut now = filling.next();
        let mut take = |id: Option<&str>, mut rows: u64| {
            let owner = id.and_then(|id| lookup.find(id)).unwrap_or(NOBODY);
            if let Some(count) = rows_of.get_mut(owner) {
                *count += rows;
            }
            while rows > 0
                && let Some((left, group)) = &mut now
            {
                let count = rows.min(*left);
                match group.runs.last_mut() {
                    Some((last, rows)) if *last == owner => *rows += count,
                    _ if count > 0 => group.runs.push((owner, count)),
                    _ => {}
                }
                (rows, *left) = (rows - count, *left - count);
                if *left == 0 {
                    now = filling.next();
                }
            }
        };
        if owners.ids.is_empty() {
            take(None, u64::MAX);
        } else {
            each_run(file, change.runs.as_ref(), &mut take)?;
            // A table without the column.
            take(None, u64::MAX);
        }
        let rows = groups.iter().map(|group| group.rows).sum();
        let makes_room = !change.remove_if_all_fit.is_empty();
        Ok(Self { file, owners, leaves: file.leaves(), groups, rows_of, rows, makes_room })
    }

    /// How many rows leave whatever becomes of the pieces.
    pub fn removed(&self) -> u64 {
        let end = if self.makes_room { self.owners.making_room } else { self.owners.leaving };
        self.rows_of.get(self.owners.pieces..end).unwrap_or_default().iter().sum()
    }

    /// How many rows get new labels.
    pub fn relabelled(&self) -> u64 {
        self.rows_of.get(self.owners.making_room..).unwrap_or_default().iter().sum()
    }

    fn stays(&self, owner: Owner, stays: &dyn Fn(usize) -> bool) -> bool {
        match owner {
            piece if piece < self.owners.pieces => stays(piece),
            leaving if leaving < self.owners.leaving => false,
            other => other >= self.owners.making_room || !self.makes_room,
        }
    }

    /// How many rows of a group stay.
    fn kept(&self, group: &Group, stays: &dyn Fn(usize) -> bool) -> u64 {
        group.runs.iter().filter(|(owner, _)| self.stays(*owner, stays)).map(|(_, rows)| rows).sum()
    }

    /// What [`super::layout`] depends on of the groups.
    pub fn sizes(&self, schema: &SchemaRef, is_same_schema: bool, stays: &dyn Fn(usize) -> bool) -> Vec<Size> {
        let copyable = if is_same_schema { copyable_groups(self.file, schema) } else { Vec::new() };
        let mut copyable = copyable.into_iter();
        let sizes = self.groups.iter().map(|group| {
            let is_touched = |owner| !self.stays(owner, stays) || self.owners.hash(owner).is_some();
            let is_touched = group.runs.iter().any(|&(owner, _)| is_touched(owner));
            Size { kept: self.kept(group, stays), copyable: copyable.next().unwrap_or(false) && !is_touched }
        });
        sizes.collect()
    }

    /// Shows rows of a group, those of the columns given, batch by batch with the mask of those that stay, until
    /// `see` says that it is enough.
    fn scan(
        &self,
        group: usize,
        columns: &[usize],
        stays: &dyn Fn(usize) -> bool,
        mut see: impl FnMut(&[ArrayRef], &BooleanArray) -> Result<bool, RewriteError>,
    ) -> Result<(), RewriteError> {
        let mut owners = self.groups.get(group).into_iter().flat_map(Group::owners);
        for batch in self.file.batches(vec![group], columns)? {
            let batch = batch?;
            let mask: BooleanArray =
                owners.by_ref().take(batch.num_rows()).map(|owner| Some(self.stays(owner, stays))).collect();
            if !see(batch.columns(), &mask)? {
                break;
            }
        }
        Ok(())
    }

    /// A group's rows that stay, batch by batch, as they are in the new table.
    pub fn kept_rows(
        &self,
        group: usize,
        planned: &MergePlan,
        stays: &dyn Fn(usize) -> bool,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, RewriteError>>, RewriteError> {
        let columns: Vec<usize> = (0..self.file.schema().fields().len()).collect();
        let mut owners = self.groups.get(group).into_iter().flat_map(Group::owners);
        Ok(self.file.batches(vec![group], &columns)?.map(move |batch| {
            let batch = batch?;
            let owners: Vec<Owner> = owners.by_ref().take(batch.num_rows()).collect();
            let mask: BooleanArray = owners.iter().map(|&owner| Some(self.stays(owner, stays))).collect();
            let staying = owners.iter().filter(|&&owner| self.stays(owner, stays));
            let hashes: Vec<Option<&str>> = staying.map(|&owner| self.owners.hash(owner)).collect();
            let hashes = hashes.iter().any(Option::is_some).then_some(hashes.as_slice());
            let all_stay = mask.true_count() == batch.num_rows();
            let filtered = if all_stay { batch } else { filter_record_batch(&batch, &mask)? };
            Ok(planned.kept(&filtered, hashes)?)
        }))
    }

    /// Whether a column has a value in a group, as far as the file's statistics say.
    fn says_valued(&self, group: usize, column: usize) -> Option<bool> {
        let data_type = self.file.schema().fields().get(column)?.data_type();
        if *data_type == DataType::Null {
            return Some(false);
        }
        let [leaf] = self.leaves.get(column)?.as_slice() else { return None };
        if data_type.is_nested() {
            return None;
        }
        let chunk = self.file.parquet().row_groups().get(group)?.columns().get(*leaf)?;
        let statistics = chunk.statistics()?;
        let nulls = statistics.null_count_opt()?;
        let rows = u64::try_from(chunk.num_values()).ok()?;
        if nulls >= rows {
            return (nulls == rows).then_some(false);
        }
        let is_number = match statistics {
            Statistics::Float(bounds) => bounds.min_opt().is_some_and(|bound| !bound.is_nan()),
            Statistics::Double(bounds) => bounds.min_opt().is_some_and(|bound| !bound.is_nan()),
            // Whether there is more than NaN is not known of other floats.
            _ => *data_type != DataType::Float16,
        };
        is_number.then_some(true)
    }
}

impl OldTable for OnDisk<'_> {
    type Error = RewriteError;

    fn schema(&self) -> &SchemaRef {
        self.file.schema()
    }

    fn rows(&self) -> u64 {
        self.rows.saturating_sub(self.removed())
    }

    fn rows_of(&self, piece: usize) -> u64 {
        self.rows_of.get(piece).copied().unwrap_or(0)
    }

    fn valued(&mut self, stays: &dyn Fn(usize) -> bool) -> Result<Vec<bool>, RewriteError> {
        let mut valued = vec![false; self.schema().fields().len()];
        let mut unknown: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            let kept = self.kept(group, stays);
            if kept == 0 {
                continue;
            }
            let mut ask = Vec::new();
            for (column, valued) in valued.iter_mut().enumerate().filter(|(_, valued)| !**valued) {
                match self.says_valued(place, column) {
                    Some(true) if kept == group.rows => *valued = true,
                    Some(false) => {}
                    _ => ask.push(column),
                }
            }
            if !ask.is_empty() {
                unknown.push((place, ask));
            }
        }
        // Only what no group's statistics tell is looked up in the rows.
        for (group, mut ask) in unknown {
            ask.retain(|&column| valued.get(column) == Some(&false));
            if ask.is_empty() {
                continue;
            }
            self.scan(group, &ask, stays, |columns, mask| {
                for (&place, column) in ask.iter().zip(columns) {
                    if let Some(valued) = valued.get_mut(place)
                        && !*valued
                    {
                        *valued = has_value(column, Some(mask));
                    }
                }
                Ok(ask.iter().any(|&column| valued.get(column) == Some(&false)))
            })?;
        }
        Ok(valued)
    }

    fn fits(&mut self, column: usize, to: &DataType, stays: &dyn Fn(usize) -> bool) -> Result<bool, RewriteError> {
        let mut fits = true;
        for group in 0..self.groups.len() {
            if !fits || self.groups.get(group).is_none_or(|group| self.kept(group, stays) == 0) {
                continue;
            }
            self.scan(group, &[column], stays, |columns, mask| {
                for column in columns {
                    fits &= can_be(&filter(column, mask)?, to);
                }
                Ok(fits)
            })?;
        }
        Ok(fits)
    }

    fn value_bytes(&self, column: usize) -> u64 {
        let leaves = self.leaves.get(column).map_or(&[][..], Vec::as_slice);
        let groups = self.file.parquet().row_groups().iter();
        let chunks = groups.flat_map(|group| leaves.iter().filter_map(|&leaf| group.columns().get(leaf)));
        let bytes = chunks.map(|c| c.unencoded_byte_array_data_bytes().unwrap_or_else(|| c.uncompressed_size()));
        bytes.fold(0u64, |sum, bytes| sum.saturating_add(u64::try_from(bytes).unwrap_or(0)))
    }
}

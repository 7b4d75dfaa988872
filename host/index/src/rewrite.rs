//! Replacing images' rows in a table on disk, row group by row group.
//!
//! Owns: which row groups are copied as bytes, which are decoded, how groups are cut and filled.
//! Never: the rules of columns and types (see `merge`), markers, locks.
//!
//! Whose rows stand where is read from the column of images alone, whether a column has values from the file's
//! statistics, and from rows only where these do not tell. A row group whose rows all stay as they are is copied, if the
//! table's columns stay what they are and the file keeps them as we do; its NaNs then stay too, which are missing values to
//! every reader. All else is read, filtered and written in batches. See `layout` and `Filling` for how groups are cut.

use crate::error::IndexError;
use crate::ledger::Identity;
use crate::merge::{self, MergeError, OldTable, Piece, Planned, Refusal};
use crate::names::TableName;
use crate::provenance::{IMAGE_ID, IdLookup, TextColumn};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use kymhost_dataset::{Dataset, DatasetError, TableFile, TableWriter, copyable_groups, kept_schema};
use kymhost_store::{Sink, Stat, StoreError};
use parquet::file::statistics::Statistics;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::ops::Range;

/// What is to be changed in a table.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Images whose rows are replaced, in id order.
    pub pieces: Vec<Piece>,
    /// The analysis version that the pieces' rows, and those of `relabel`, get.
    pub analysis_version: String,
    /// Images whose rows leave without replacement.
    pub remove: BTreeSet<String>,
    /// Images whose rows leave too, where every piece then fits: what is not to be had by it is not worth their rows.
    pub remove_if_all_fit: BTreeSet<String>,
    /// Images whose rows stay, with another params hash and the analysis version: (image, params hash).
    pub relabel: Vec<(String, String)>,
    /// Key and value pairs of ours for the file's metadata, instead of those of the same key. Keys begin with `kymhost`: other
    /// ones are not kept by the next change. Pairs alone are no reason to write the table.
    pub metadata: Vec<(String, String)>,
}

/// What has been changed.
#[derive(Debug)]
pub struct Rewritten {
    /// The pieces left out, in order; their images' old rows stay.
    pub refused: Vec<Refusal>,
    /// Whether the rows of [`Change::remove_if_all_fit`] left (or there were none).
    pub made_room: bool,
    /// Columns of the old table that got a wider type.
    pub widened: Vec<Widening>,
    /// The table as it is now; `None` where there is none. Where nothing was to be changed it was not written.
    pub table: Option<Identity>,
    /// Row groups copied as bytes, and row groups written anew: for tests and the log.
    pub groups: (usize, usize),
}

/// A column of the table that got a wider type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widening {
    /// The column.
    pub column: String,
    /// Its type before, as Arrow prints it.
    pub from: String,
    /// Its type now.
    pub to: String,
}

/// Rows that a row group is to have, about.
const GROUP_ROWS: u64 = 131_072;
/// Bytes held for a row group at which it ends, however few its rows.
const GROUP_BYTES: usize = 64 << 20;
/// How the keys of our pairs in a file's metadata begin; pairs of others are not kept.
const OUR_METADATA: &str = "kymhost";

/// Changes the table, where it is still what `expected` says; `None`, and nothing written, where another program has
/// written it meanwhile. Memory is bounded by the row groups that hold a changed image, in batches, and by the pieces.
pub fn rewrite(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
) -> Result<Option<Rewritten>, IndexError> {
    rewrite_in_groups(dataset, name, expected, change, GROUP_ROWS)
}

fn rewrite_in_groups(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
    target: u64,
) -> Result<Option<Rewritten>, IndexError> {
    match attempt(dataset, name, expected, change, target) {
        Ok(done) => Ok(done),
        Err(error) => {
            // Python writes into the file itself: what was read may have been half of another table. A disk's errors are
            // its own.
            let is_of_content = match &error {
                Failure::Merge(_) => true,
                Failure::Dataset(error) => {
                    matches!(error, DatasetError::Unreadable { .. } | DatasetError::Unwritable { .. })
                }
            };
            if is_of_content && dataset.table_stat(name.table())? != expected { Ok(None) } else { Err(error.of(name)) }
        }
    }
}

/// What can go wrong on the way.
#[derive(Debug)]
enum Failure {
    Merge(MergeError),
    Dataset(DatasetError),
}

impl Failure {
    fn of(self, name: &TableName) -> IndexError {
        match self {
            Self::Merge(error) => DatasetError::Unwritable { key: name.key_text(), why: error.to_string() }.into(),
            Self::Dataset(error) => error.into(),
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        Self::Merge(error)
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Merge(error.into())
    }
}

impl From<DatasetError> for Failure {
    fn from(error: DatasetError) -> Self {
        Self::Dataset(error)
    }
}

fn attempt(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
    target: u64,
) -> Result<Option<Rewritten>, Failure> {
    let file = dataset.open_table(name.table())?;
    if file.as_ref().map(TableFile::stat) != expected {
        return Ok(None);
    }
    let makes_room = !change.remove_if_all_fit.is_empty();
    let owners = Owners::of(change);
    let mut old = file.as_ref().map(|file| OnDisk::read(file, &owners)).transpose()?;
    let (removes, relabels) = old.as_ref().map_or((false, false), |old| (old.removed > 0, old.relabelled > 0));
    let planned = merge::plan(old.as_mut(), &change.analysis_version, change.pieces.clone(), relabels)?;
    if makes_room && !planned.refused.is_empty() {
        let change = Change { remove_if_all_fit: BTreeSet::new(), ..change.clone() };
        return Ok(attempt(dataset, name, expected, &change, target)?
            .map(|rewritten| Rewritten { made_room: false, ..rewritten }));
    }
    if !(planned.is_changed || removes || relabels) {
        let table = file.as_ref().map(|file| Identity::of(&file.stat(), file.footer_sha256()));
        let refused = planned.refused;
        return Ok(Some(Rewritten { refused, made_room: true, widened: Vec::new(), table, groups: (0, 0) }));
    }
    let widened = file.iter().flat_map(|file| planned.widened(file.schema())).map(|(column, from, to)| Widening {
        column: column.to_owned(),
        from: from.to_string(),
        to: to.to_string(),
    });
    let widened = widened.collect();

    let schema = kept_schema(&planned.schema);
    let metadata = metadata(file.as_ref(), &change.metadata);
    let refused: HashSet<usize> = planned.refused.iter().map(|refusal| refusal.piece).collect();
    let stays = |piece: usize| refused.contains(&piece);
    let parts = layout(
        old.as_ref().map_or_else(Vec::new, |old| old.sizes(&schema, planned.is_same_schema, &stays)),
        planned.new_rows,
        target,
    );
    let mut outcome = Err(Stopped::Io(io::Error::other("the store did not ask for the table's bytes")));
    let written = dataset.replace_table_with(name.table(), expected, &mut |sink| {
        outcome = write(sink, &schema, &metadata, old.as_mut(), &planned, &parts, &stays, target);
        match &mut outcome {
            Ok(_) => Ok(()),
            Err(Stopped::Io(error)) => Err(std::mem::replace(error, io::Error::other("it was not written"))),
            Err(Stopped::Failure(_)) => Err(io::Error::other("its rows could not be made")),
        }
    });
    // What could not be read is not what could not be written.
    let (footer_sha256, groups) = match outcome {
        Err(Stopped::Failure(failure)) => return Err(failure),
        Err(Stopped::Io(error)) => {
            written?;
            let key = name.key_text();
            return Err(DatasetError::Store(StoreError::Io { action: "write", key, source: error }).into());
        }
        Ok(done) => done,
    };
    let Some(stat) = written? else { return Ok(None) };
    let table = Some(Identity::of(&stat, &footer_sha256));
    Ok(Some(Rewritten { refused: planned.refused, made_room: true, widened, table, groups }))
}

/// The pairs of the new file's metadata: ours of the old one, and those that are new or instead of them.
fn metadata(file: Option<&TableFile>, new: &[(String, String)]) -> Vec<(String, String)> {
    let old = file.and_then(|file| file.parquet().file_metadata().key_value_metadata()).into_iter().flatten();
    let kept = old.filter(|pair| pair.key.starts_with(OUR_METADATA) && new.iter().all(|(key, _)| *key != pair.key));
    let kept = kept.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)));
    kept.chain(new.iter().cloned()).collect()
}

/// Whose a row is: a place in [`Owners::ids`], or nobody's who matters here.
type Owner = usize;
const NOBODY: Owner = usize::MAX;

/// The images that something happens to.
struct Owners<'a> {
    /// Those with pieces, in the order of these; those that leave; those that get new labels.
    ids: Vec<&'a str>,
    pieces: usize,
    /// Where those begin that get new labels.
    relabelled: usize,
    /// Their hashes.
    hashes: Vec<&'a str>,
}

impl<'a> Owners<'a> {
    fn of(change: &'a Change) -> Self {
        let mut ids: Vec<&str> = change.pieces.iter().map(|piece| piece.image_id.as_str()).collect();
        let pieces = ids.len();
        let mut seen: HashSet<&str> = ids.iter().copied().collect();
        let removed = change.remove.iter().chain(&change.remove_if_all_fit);
        ids.extend(removed.map(String::as_str).filter(|id| seen.insert(id)));
        let relabelled = ids.len();
        let mut hashes = Vec::with_capacity(change.relabel.len());
        for (id, hash) in &change.relabel {
            if seen.insert(id) {
                ids.push(id);
                hashes.push(hash.as_str());
            }
        }
        Self { ids, pieces, relabelled, hashes }
    }

    fn stays(&self, owner: Owner, stays: &dyn Fn(usize) -> bool) -> bool {
        match owner {
            piece if piece < self.pieces => stays(piece),
            other => other >= self.relabelled,
        }
    }

    /// The hash that a row gets.
    fn hash(&self, owner: Owner) -> Option<&'a str> {
        self.hashes.get(owner.checked_sub(self.relabelled)?).copied()
    }
}

/// A table's file, and whose its rows are.
struct OnDisk<'a> {
    file: &'a TableFile,
    owners: &'a Owners<'a>,
    lookup: IdLookup<'a>,
    leaves: Vec<Vec<usize>>,
    /// The place of the column of images, where it holds text.
    image_id: Option<usize>,
    groups: Vec<Group>,
    rows: u64,
    rows_of: Vec<u64>,
    removed: u64,
    relabelled: u64,
}

/// A row group, and how many of its rows are whose.
struct Group {
    rows: u64,
    owned: Vec<(Owner, u64)>,
}

impl<'a> OnDisk<'a> {
    /// Finds out whose rows stand where, from the column of images alone.
    fn read(file: &'a TableFile, owners: &'a Owners<'a>) -> Result<Self, DatasetError> {
        let image_id = file.schema().index_of(IMAGE_ID).ok();
        let image_id = image_id
            .filter(|&place| matches!(file.schema().field(place).data_type(), DataType::Utf8 | DataType::LargeUtf8));
        let mut old = Self {
            file,
            owners,
            lookup: IdLookup::new(&owners.ids),
            leaves: file.leaves(),
            image_id,
            groups: Vec::with_capacity(file.groups().len()),
            rows: 0,
            rows_of: vec![0; owners.pieces],
            removed: 0,
            relabelled: 0,
        };
        for (group, rows) in file.groups().zip(file.group_rows()) {
            let mut owned: HashMap<Owner, u64> = HashMap::new();
            if image_id.is_some() && !owners.ids.is_empty() {
                for batch in file.text_batches(vec![group], [IMAGE_ID])? {
                    let (rows, [ids]) = batch?;
                    let Some(ids) = ids.as_ref().map(TextColumn::over) else { continue };
                    runs(ids, rows, |span| {
                        if let Some(owner) = ids.get(span.start).and_then(|id| old.lookup.find(id)) {
                            *owned.entry(owner).or_default() += span.len() as u64;
                        }
                    });
                }
            }
            let mut removed = 0;
            for (&owner, &count) in &owned {
                match old.rows_of.get_mut(owner) {
                    Some(rows) => *rows += count,
                    None if owner < owners.relabelled => removed += count,
                    None => old.relabelled += count,
                }
            }
            old.removed += removed;
            old.rows += rows.saturating_sub(removed);
            let mut owned: Vec<(Owner, u64)> = owned.into_iter().collect();
            owned.sort_unstable();
            old.groups.push(Group { rows, owned });
        }
        Ok(old)
    }

    /// How many rows of a group stay.
    fn kept(&self, group: &Group, stays: &dyn Fn(usize) -> bool) -> u64 {
        let leaving = group.owned.iter().filter(|(owner, _)| !self.owners.stays(*owner, stays));
        group.rows.saturating_sub(leaving.map(|(_, rows)| rows).sum())
    }

    /// What [`layout`] wants to know of the groups.
    fn sizes(&self, schema: &SchemaRef, is_same_schema: bool, stays: &dyn Fn(usize) -> bool) -> Vec<Size> {
        let copyable = if is_same_schema { copyable_groups(self.file, schema) } else { Vec::new() };
        let mut copyable = copyable.into_iter();
        let sizes = self.groups.iter().map(|group| {
            let is_touched = group
                .owned
                .iter()
                .any(|(owner, _)| !self.owners.stays(*owner, stays) || self.owners.hash(*owner).is_some());
            Size { kept: self.kept(group, stays), copyable: copyable.next().unwrap_or(false) && !is_touched }
        });
        sizes.collect()
    }

    /// Whose the rows of a batch are, by its column of images.
    fn owners_of(&mut self, ids: Option<&ArrayRef>, rows: usize) -> Vec<Owner> {
        let mut owners = vec![NOBODY; rows];
        let Some(ids) = ids.map(TextColumn::over) else { return owners };
        runs(ids, rows, |span| {
            if let Some(owner) = ids.get(span.start).and_then(|id| self.lookup.find(id))
                && let Some(owners) = owners.get_mut(span)
            {
                owners.fill(owner);
            }
        });
        owners
    }

    /// Shows rows of a group that stay, those of the columns told, batch by batch, until `see` says that it is enough.
    fn scan(
        &mut self,
        group: usize,
        columns: &[usize],
        stays: &dyn Fn(usize) -> bool,
        mut see: impl FnMut(&[ArrayRef], &BooleanArray) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut read: Vec<usize> = columns.iter().copied().chain(self.image_id).collect();
        read.sort_unstable();
        read.dedup();
        let place = |column: usize| read.binary_search(&column).ok();
        for batch in self.file.batches(vec![group], &read)? {
            let batch = batch?;
            let column = |column: usize| place(column).and_then(|place| batch.columns().get(place));
            let owners = self.owners_of(self.image_id.and_then(column), batch.num_rows());
            let mask: BooleanArray = owners.iter().map(|&owner| Some(self.owners.stays(owner, stays))).collect();
            let seen: Vec<ArrayRef> = columns.iter().filter_map(|&wanted| column(wanted).cloned()).collect();
            if !see(&seen, &mask)? {
                break;
            }
        }
        Ok(())
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

/// Rows that say the same, one run after the other.
fn runs(ids: TextColumn<'_>, rows: usize, mut take: impl FnMut(Range<usize>)) {
    let mut start = 0;
    while start < rows {
        let mut end = start + 1;
        while end < rows && ids.same(start, end) {
            end += 1;
        }
        take(start..end);
        start = end;
    }
}

impl OldTable for OnDisk<'_> {
    type Error = Failure;

    fn schema(&self) -> &SchemaRef {
        self.file.schema()
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn rows_of(&self, piece: usize) -> u64 {
        self.rows_of.get(piece).copied().unwrap_or(0)
    }

    fn valued(&mut self, stays: &dyn Fn(usize) -> bool) -> Result<Vec<bool>, Failure> {
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
                        *valued = merge::has_value(column, Some(mask));
                    }
                }
                Ok(ask.iter().any(|&column| valued.get(column) == Some(&false)))
            })?;
        }
        Ok(valued)
    }

    fn fits(&mut self, column: usize, to: &DataType, stays: &dyn Fn(usize) -> bool) -> Result<bool, Failure> {
        let mut fits = true;
        for group in 0..self.groups.len() {
            if !fits || self.groups.get(group).is_none_or(|group| self.kept(group, stays) == 0) {
                continue;
            }
            self.scan(group, &[column], stays, |columns, mask| {
                for column in columns {
                    fits &= merge::can_be(&filter(column, mask)?, to);
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

/// What is to be known of an old row group to lay out the new ones.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Rows that stay.
    kept: u64,
    /// Whether it can be copied: all rows stay, as they are.
    copyable: bool,
}

/// A part of the new file: a row group that is copied, or rows that are written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// The old groups whose rows it holds, in order.
    groups: Vec<usize>,
    is_copied: bool,
    /// All its rows.
    rows: u64,
    /// Whether the new rows are its last.
    has_new: bool,
}

impl Part {
    /// How few rows its first or last row group may have.
    fn edge(&self, target: u64) -> u64 {
        if self.is_copied || self.rows < target + target / 2 { self.rows } else { target / 2 }
    }

    fn join(mut self, next: Self) -> Self {
        self.groups.extend(next.groups);
        Self { groups: self.groups, is_copied: false, rows: self.rows.saturating_add(next.rows), has_new: next.has_new }
    }
}

/// Which groups are copied, and which are written anew together. Two groups that stand side by side, one of which is
/// written, have more than `target` rows together, and less than a quarter of it is no group of its own; the last one
/// is as it comes. So whatever happens to a table's images, it has no more than two groups for each `target` rows, and a few.
fn layout(old: Vec<Size>, new_rows: u64, target: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(old.len() + 1);
    // The groups on both sides were no neighbours.
    let mut has_gap = false;
    for (group, size) in old.into_iter().enumerate() {
        if size.kept == 0 {
            has_gap = true;
            continue;
        }
        let mut part = Part { groups: vec![group], is_copied: size.copyable, rows: size.kept, has_new: false };
        while let Some(before) = parts.pop() {
            let is_small = before.edge(target).saturating_add(part.edge(target)) <= target;
            let is_crumb = !before.is_copied && before.rows < target / 4;
            let is_written = !before.is_copied || !part.is_copied || has_gap;
            let both = !before.is_copied && !part.is_copied;
            if both || (is_written && (is_small || is_crumb)) {
                part = before.join(part);
            } else {
                parts.push(before);
                break;
            }
        }
        has_gap = false;
        parts.push(part);
    }
    if new_rows > 0 {
        let new = Part { groups: Vec::new(), is_copied: false, rows: new_rows, has_new: true };
        match parts.pop() {
            Some(tail) if !tail.is_copied || tail.rows < target => parts.push(tail.join(new)),
            Some(tail) => parts.extend([tail, new]),
            None => parts.push(new),
        }
    }
    parts
}

/// Why a file was not finished.
enum Stopped {
    Io(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

#[allow(clippy::too_many_arguments)]
fn write(
    sink: &mut dyn Sink,
    schema: &SchemaRef,
    metadata: &[(String, String)],
    mut old: Option<&mut OnDisk<'_>>,
    planned: &Planned,
    parts: &[Part],
    stays: &dyn Fn(usize) -> bool,
    target: u64,
) -> Result<(String, (usize, usize)), Stopped> {
    let writer = TableWriter::new(sink, schema, metadata)?;
    let image_id = schema.index_of(IMAGE_ID).ok();
    let mut filling = Filling { writer, target, most_bytes: GROUP_BYTES, image_id, last: None, left: 0 };
    let mut copied = 0;
    for part in parts {
        if let (true, [group], Some(old)) = (part.is_copied, part.groups.as_slice(), &old) {
            filling.writer.copy(old.file, *group)?;
            copied += 1;
            continue;
        }
        filling.begin(part.rows);
        if let Some(old) = &mut old
            && !part.groups.is_empty()
        {
            let columns: Vec<usize> = (0..old.file.schema().fields().len()).collect();
            for &group in &part.groups {
                for batch in old.file.batches(vec![group], &columns)? {
                    filling.add(&kept_rows(old, planned, &batch?, stays)?)?;
                }
            }
        }
        if part.has_new {
            for rows in planned.batches() {
                filling.add(&rows?)?;
            }
        }
        filling.writer.end_group()?;
    }
    let groups = (copied, filling.writer.groups() - copied);
    Ok((filling.writer.finish()?, groups))
}

/// A batch's rows that stay, as they are in the new table.
fn kept_rows(
    old: &mut OnDisk<'_>,
    planned: &Planned,
    batch: &RecordBatch,
    stays: &dyn Fn(usize) -> bool,
) -> Result<RecordBatch, Failure> {
    let owners = old.owners_of(old.image_id.and_then(|place| batch.columns().get(place)), batch.num_rows());
    let mask: BooleanArray = owners.iter().map(|&owner| Some(old.owners.stays(owner, stays))).collect();
    let hashes: Vec<Option<&str>> =
        owners.iter().filter(|&&owner| old.owners.stays(owner, stays)).map(|&owner| old.owners.hash(owner)).collect();
    let hashes = hashes.iter().any(Option::is_some).then_some(hashes.as_slice());
    let all_stay = mask.true_count() == batch.num_rows();
    let filtered = if all_stay { batch.clone() } else { filter_record_batch(batch, &mask)? };
    Ok(planned.kept(&filtered, hashes)?)
}

/// Fills row groups: each ends at the first bound of an image from `target` rows on, if enough is left for another.
struct Filling<'a> {
    writer: TableWriter<'a>,
    target: u64,
    most_bytes: usize,
    image_id: Option<usize>,
    /// The image of the last row that was written.
    last: Option<String>,
    /// Rows that are still to come in this part.
    left: u64,
}

impl Filling<'_> {
    fn begin(&mut self, rows: u64) {
        self.left = rows;
        self.last = None;
    }

    fn add(&mut self, rows: &RecordBatch) -> Result<(), Stopped> {
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

    /// The row before which the row group ends; `None` where it goes on after this batch.
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

/// What identifies the table now; `None` where there is none.
pub fn identity(dataset: &Dataset, name: &TableName) -> Result<Option<Identity>, IndexError> {
    let file = dataset.open_table(name.table())?;
    Ok(file.map(|file| Identity::of(&file.stat(), file.footer_sha256())))
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;

#[cfg(test)]
pub(crate) mod testing {
    //! Datasets and files for tests of this room.

    use super::*;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    /// A new dataset, gone with its folder.
    pub fn dataset() -> (tempfile::TempDir, Dataset) {
        // In memory where there is such a place: what waits for the disk is tested elsewhere.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let dataset = Dataset::create(&dir.path().join("d.zarr")).unwrap();
        (dir, dataset)
    }

    /// Writes a table as another program may.
    pub fn write_file(dataset: &Dataset, name: &TableName, table: &RecordBatch, group_rows: usize, dictionary: bool) {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group_rows))
            .set_dictionary_enabled(dictionary)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, table.schema(), Some(properties)).unwrap();
        writer.write(table).unwrap();
        writer.close().unwrap();
        dataset.store().put(&name.key().unwrap(), &bytes).unwrap();
    }
}

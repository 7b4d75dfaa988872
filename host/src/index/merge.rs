//! Replacing rows in a table, with pandas' rules of columns and types: pure functions over Arrow data.
//! Owns: column union, widening, row order. Never: I/O.
//!
//! The outcome is that of taking the images one at a time, in order: the image's old rows leave, its new ones are
//! appended. It is computed at once: a pass over the pieces finds the columns and their types, then each column is
//! concatenated a single time.

use super::provenance::{ANALYSIS_VERSION, COLUMNS, IMAGE_ID, IdLookup, PARAMS_HASH, TextColumn};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, LargeStringBuilder, PrimitiveArray, RecordBatch,
    StringBuilder, make_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options, concat, filter};
use arrow::datatypes::{DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use indexmap::IndexSet;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// One image's new rows.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The image.
    pub image_id: String,
    /// The hash of the params that the rows were made with.
    pub params_hash: String,
    /// The rows, with or without provenance columns.
    pub rows: RecordBatch,
}

/// A piece that cannot be part of the table; the image's old rows stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which piece.
    pub piece: usize,
    /// The column, and what does not fit.
    pub why: String,
}

/// What merging gives.
#[derive(Debug)]
pub struct Merged {
    /// The new table; `None` where it stays as it is.
    pub table: Option<RecordBatch>,
    /// The pieces left out, in order.
    pub refused: Vec<Refusal>,
}

/// Why a table cannot take any rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Two columns of the table have one name.
    #[error("it has two columns named '{0}'")]
    DuplicateColumn(String),
    /// The columns cannot be put together.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Replaces each piece's image's rows. Pieces come in id order, one an image.
pub fn merge(old: Option<RecordBatch>, analysis_version: &str, pieces: Vec<Piece>) -> Result<Merged, MergeError> {
    let mut old = old.map(OldTable::new).transpose()?;
    let owners = Owners::of(old.as_ref(), &pieces);
    let mut names = Names::default();
    let mut old_columns = Vec::new();
    for name in old.iter().flat_map(OldTable::names) {
        old_columns.push(names.id(name));
    }
    let mut refused: HashMap<usize, String> = HashMap::new();
    let mut labels = Vec::with_capacity(pieces.len());
    let mut prepared = Vec::with_capacity(pieces.len());
    let mut shapes = Shapes::default();
    for (index, piece) in pieces.into_iter().enumerate() {
        match shapes.prepare(piece.rows, &mut names) {
            Ok(piece) => prepared.push(piece),
            Err(why) => {
                refused.insert(index, why);
                prepared.push(Prepared::default());
            }
        }
        labels.push((piece.image_id, piece.params_hash));
    }

    // A refused image's old rows come back, and with them, maybe, the only values of a column: then its type counts
    // again and may refuse more. Each further round needs such a column, so there are few.
    let plan = loop {
        let mask = owners.kept(&refused);
        let base = old.as_ref().map(|old| old.base(&old_columns, mask.as_ref()));
        let fold = Fold::over(base, &owners, &prepared, &refused, &names);
        let rows_came_back = fold.refused.iter().any(|(index, _)| owners.rows_of(*index) > 0);
        refused.extend(fold.refused.iter().cloned());
        if !rows_came_back {
            break Plan { mask, order: fold.order, slots: fold.slots, old_dropped: fold.old_dropped };
        }
    };

    let table = build(&mut old, &owners, plan, prepared, &labels, &refused, analysis_version, &names)?;
    let mut refused: Vec<Refusal> = refused.into_iter().map(|(piece, why)| Refusal { piece, why }).collect();
    refused.sort_by_key(|refusal| refusal.piece);
    Ok(Merged { table, refused })
}

/// The table before.
struct OldTable {
    schema: SchemaRef,
    columns: Vec<Option<ArrayRef>>,
    rows: usize,
    batch_ids: Option<RecordBatch>,
}

impl OldTable {
    fn new(batch: RecordBatch) -> Result<Self, MergeError> {
        let mut seen = IndexSet::new();
        for field in batch.schema_ref().fields() {
            if !seen.insert(field.name().as_str()) {
                return Err(MergeError::DuplicateColumn(field.name().clone()));
            }
        }
        let batch_ids = match batch.schema_ref().index_of(IMAGE_ID) {
            Ok(place) => Some(batch.project(&[place])?),
            Err(_) => None,
        };
        let rows = batch.num_rows();
        let (schema, columns, _) = batch.into_parts();
        Ok(Self { schema, columns: columns.into_iter().map(Some).collect(), rows, batch_ids })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// The columns as the first image finds them, less the rows that are to leave.
    fn base(&self, names: &[usize], mask: Option<&BooleanArray>) -> Base {
        let columns = names
            .iter()
            .zip(self.schema.fields())
            .zip(&self.columns)
            .map(|((&name, field), column)| {
                let valued = column.as_ref().is_some_and(|column| has_value(column, mask));
                (name, Slot { data_type: field.data_type().clone(), valued })
            })
            .collect();
        Base { rows: self.rows as u64, columns }
    }
}

/// Which piece's image an old row belongs to.
struct Owners {
    of_row: Vec<u32>,
    rows: Vec<u64>,
}

/// A row of an image that has no piece.
const NOBODY: u32 = u32::MAX;

impl Owners {
    fn of(old: Option<&OldTable>, pieces: &[Piece]) -> Self {
        let mut rows = vec![0; pieces.len()];
        let mut of_row = Vec::new();
        if let Some(old) = old {
            let column = old.batch_ids.as_ref().and_then(|batch| TextColumn::of(batch, IMAGE_ID));
            if let Some(column) = column {
                of_row.reserve_exact(old.rows);
                let ids: Vec<&str> = pieces.iter().map(|piece| piece.image_id.as_str()).collect();
                let mut lookup = IdLookup::new(&ids);
                let mut run: Option<(&str, u32)> = None;
                for row in 0..old.rows {
                    let owner = match (column.get(row), run) {
                        (None, _) => NOBODY,
                        (Some(id), Some((last, owner))) if last == id => owner,
                        (Some(id), _) => {
                            let owner = lookup.find(id).and_then(|place| u32::try_from(place).ok()).unwrap_or(NOBODY);
                            run = Some((id, owner));
                            owner
                        }
                    };
                    if let Some(count) = rows.get_mut(owner as usize) {
                        *count += 1;
                    }
                    of_row.push(owner);
                }
            }
        }
        Self { of_row, rows }
    }

    fn rows_of(&self, piece: usize) -> u64 {
        self.rows.get(piece).copied().unwrap_or(0)
    }

    /// Which rows stay; `None` where all do.
    fn kept(&self, refused: &HashMap<usize, String>) -> Option<BooleanArray> {
        let leaves = |owner: u32| owner != NOBODY && !refused.contains_key(&(owner as usize));
        let any_leaves = self.rows.iter().enumerate().any(|(piece, &rows)| rows > 0 && !refused.contains_key(&piece));
        any_leaves.then(|| {
            let mut run = (NOBODY, true);
            let bits = BooleanBuffer::collect_bool(self.of_row.len(), |row| {
                let owner = self.of_row.get(row).copied().unwrap_or(NOBODY);
                if owner != run.0 {
                    run = (owner, !leaves(owner));
                }
                run.1
            });
            BooleanArray::new(bits, None)
        })
    }
}

/// Column names as small numbers.
#[derive(Default)]
struct Names(IndexSet<String>);

impl Names {
    fn id(&mut self, name: &str) -> usize {
        match self.0.get_index_of(name) {
            Some(id) => id,
            None => self.0.insert_full(name.to_owned()).0,
        }
    }

    fn text(&self, id: usize) -> &str {
        self.0.get_index(id).map_or("", String::as_str)
    }
}

/// What all pieces with one schema share.
#[derive(Default)]
struct Shape {
    /// Names with the provenance columns, in order.
    names: Vec<usize>,
    /// The types as the table keeps them.
    types: Vec<DataType>,
}

/// A piece ready to merge: provenance taken out, dictionaries and views cast away, NaN made missing.
#[derive(Default)]
struct Prepared {
    shape: Rc<Shape>,
    /// One for each of the shape's names; `None` where it is missing throughout, and for the provenance columns.
    columns: Vec<Option<ArrayRef>>,
    rows: usize,
}

#[derive(Default)]
struct Shapes {
    last: Option<(SchemaRef, Result<Rc<Shape>, String>)>,
}

impl Shapes {
    fn prepare(&mut self, rows: RecordBatch, names: &mut Names) -> Result<Prepared, String> {
        let shape = match &self.last {
            Some((schema, shape)) if Arc::ptr_eq(schema, rows.schema_ref()) || schema == rows.schema_ref() => {
                shape.clone()
            }
            _ => {
                let shape = Shape::of(rows.schema_ref(), names).map(Rc::new);
                self.last = Some((rows.schema(), shape.clone()));
                shape
            }
        }?;
        let count = rows.num_rows();
        let mut columns = Vec::with_capacity(shape.names.len());
        for ((column, target), &name) in rows.columns().iter().zip(&shape.types).zip(&shape.names) {
            let provenance = COLUMNS.contains(&names.text(name));
            columns.push(if provenance || !has_value(column, None) {
                None
            } else {
                let column = cast_to(column, target)
                    .map_err(|error| format!("column '{}': cannot be kept as {target}: {error}", names.text(name)))?;
                Some(nan_to_missing(column))
            });
        }
        columns.resize(shape.names.len(), None);
        Ok(Prepared { shape, columns, rows: count })
    }
}

impl Shape {
    fn of(schema: &Schema, names: &mut Names) -> Result<Self, String> {
        let mut shape = Self::default();
        let mut seen = HashSet::new();
        for field in schema.fields() {
            let name = field.name();
            let id = names.id(name);
            if !seen.insert(id) {
                return Err(format!("column '{name}' is there twice"));
            }
            let kept = if COLUMNS.contains(&name.as_str()) {
                DataType::Utf8
            } else {
                kept_type(field.data_type()).ok_or_else(|| {
                    format!("column '{name}' has type {}, which a table cannot keep", field.data_type())
                })?
            };
            shape.names.push(id);
            shape.types.push(kept);
        }
        for name in COLUMNS {
            let id = names.id(name);
            if seen.insert(id) {
                shape.names.push(id);
                shape.types.push(DataType::Utf8);
            }
        }
        Ok(shape)
    }
}

/// What is known of a column of the table so far.
#[derive(Debug, Clone)]
struct Slot {
    data_type: DataType,
    /// Some row has a value in it: only then the type binds.
    valued: bool,
}

/// The table before the first image.
struct Base {
    rows: u64,
    columns: Vec<(usize, Slot)>,
}

/// The columns after the last image.
struct Fold {
    order: Vec<usize>,
    slots: Vec<Option<Slot>>,
    refused: Vec<(usize, String)>,
    /// At some image the table had no rows left, so its old columns went.
    old_dropped: bool,
}

impl Fold {
    fn over(
        base: Option<Base>,
        owners: &Owners,
        pieces: &[Prepared],
        refused: &HashMap<usize, String>,
        names: &Names,
    ) -> Self {
        let mut fold =
            Self { order: Vec::new(), slots: vec![None; names.0.len()], refused: Vec::new(), old_dropped: false };
        let mut rows = 0;
        if let Some(base) = base {
            rows = base.rows;
            for (name, slot) in base.columns {
                fold.order.push(name);
                fold.put(name, slot);
            }
        }
        for (index, piece) in pieces.iter().enumerate() {
            if refused.contains_key(&index) {
                continue;
            }
            let left = rows - owners.rows_of(index);
            if left == 0 {
                fold.begin(piece, names);
            } else if piece.rows > 0
                && let Err(why) = fold.add(piece, names)
            {
                fold.refused.push((index, why));
                continue;
            }
            rows = left + piece.rows as u64;
        }
        fold
    }

    fn slot(&self, name: usize) -> Option<&Slot> {
        self.slots.get(name).and_then(Option::as_ref)
    }

    fn put(&mut self, name: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(name) {
            *place = Some(slot);
        }
    }

    /// The piece becomes the table.
    fn begin(&mut self, piece: &Prepared, names: &Names) {
        self.old_dropped = true;
        for name in std::mem::take(&mut self.order) {
            if let Some(place) = self.slots.get_mut(name) {
                *place = None;
            }
        }
        for (name, slot) in piece.slots(names) {
            self.order.push(name);
            self.put(name, slot);
        }
    }

    /// The piece's rows are appended; nothing has changed where they cannot be.
    fn add(&mut self, piece: &Prepared, names: &Names) -> Result<(), String> {
        let mut changes = Vec::new();
        for (name, new) in piece.slots(names) {
            let slot = match self.slot(name) {
                None => new,
                Some(old) if old.valued && new.valued => {
                    if old.data_type == new.data_type {
                        continue;
                    }
                    let data_type = unify(&old.data_type, &new.data_type).ok_or_else(|| {
                        format!(
                            "column '{}' has type {} in these rows and {} in the table's others, which do not go \
                             together; give it one type, or replace all images",
                            names.text(name),
                            new.data_type,
                            old.data_type
                        )
                    })?;
                    Slot { data_type, valued: true }
                }
                // Two text types are one type; which of them is the table's to say.
                Some(old) if new.valued && is_text(&old.data_type) && is_text(&new.data_type) => {
                    Slot { data_type: old.data_type.clone(), valued: true }
                }
                Some(_) if new.valued => new,
                Some(old) if !old.valued && old.data_type == DataType::Null => new,
                Some(_) => continue,
            };
            changes.push((name, slot));
        }
        for (name, slot) in changes {
            if self.slot(name).is_none() {
                self.order.push(name);
            }
            self.put(name, slot);
        }
        Ok(())
    }
}

impl Prepared {
    fn slots<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = (usize, Slot)> + 'a {
        self.shape.names.iter().zip(&self.shape.types).zip(&self.columns).map(|((&name, data_type), column)| {
            let valued = column.is_some() || (self.rows > 0 && COLUMNS.contains(&names.text(name)));
            (name, Slot { data_type: data_type.clone(), valued })
        })
    }
}

/// What is to be built.
struct Plan {
    mask: Option<BooleanArray>,
    order: Vec<usize>,
    slots: Vec<Option<Slot>>,
    old_dropped: bool,
}

#[allow(clippy::too_many_arguments)]
fn build(
    old: &mut Option<OldTable>,
    owners: &Owners,
    plan: Plan,
    prepared: Vec<Prepared>,
    labels: &[(String, String)],
    refused: &HashMap<usize, String>,
    analysis_version: &str,
    names: &Names,
) -> Result<Option<RecordBatch>, MergeError> {
    if old.is_none() && refused.len() == prepared.len() {
        return Ok(None);
    }
    let kept_rows = match (&plan.mask, &old) {
        (_, None) => 0,
        (None, Some(old)) => old.rows,
        (Some(mask), Some(_)) => mask.true_count(),
    };

    // Each column's arrays by the place of their first row among the new ones.
    let mut parts: Vec<Vec<(usize, ArrayRef)>> = vec![Vec::new(); names.0.len()];
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    let mut new_rows = 0;
    for (index, piece) in prepared.into_iter().enumerate() {
        if piece.rows == 0 || refused.contains_key(&index) {
            continue;
        }
        for (&name, column) in piece.shape.names.iter().zip(piece.columns) {
            if let (Some(column), Some(parts)) = (column, parts.get_mut(name)) {
                parts.push((new_rows, column));
            }
        }
        blocks.push((index, piece.rows));
        new_rows += piece.rows;
    }

    let old_fields: HashMap<&str, &FieldRef> =
        old.iter().flat_map(|old| old.schema.fields().iter().map(|field| (field.name().as_str(), field))).collect();
    let mut fields: Vec<FieldRef> = Vec::with_capacity(plan.order.len());
    let mut same = old.as_ref().is_some_and(|old| old.columns.len() == plan.order.len());
    for (place, &name) in plan.order.iter().enumerate() {
        let Some(slot) = plan.slots.get(name).and_then(Option::as_ref) else { continue };
        let text = names.text(name);
        let field = match old_fields.get(text) {
            Some(field) if field.data_type() == &slot.data_type => {
                same &= old.as_ref().and_then(|old| old.schema.fields().get(place)).is_some_and(|f| f.name() == text);
                Arc::new(field.as_ref().clone().with_nullable(true))
            }
            _ => {
                same = false;
                Arc::new(Field::new(text, slot.data_type.clone(), true))
            }
        };
        fields.push(field);
    }
    if same && new_rows == 0 && owners.rows.iter().enumerate().all(|(i, &n)| n == 0 || refused.contains_key(&i)) {
        return Ok(None);
    }

    let mut old_places: HashMap<usize, usize> = HashMap::new();
    if let (Some(old), false) = (&old, plan.old_dropped) {
        for (place, name) in old.names().enumerate() {
            if let Some(id) = names.0.get_index_of(name) {
                old_places.insert(id, place);
            }
        }
    }
    let mut columns = Vec::with_capacity(plan.order.len());
    for (field, &name) in fields.iter_mut().zip(&plan.order) {
        // Taken, so that a column is held twice only while it is being built.
        let kept = old_places
            .get(&name)
            .and_then(|&place| old.as_mut()?.columns.get_mut(place)?.take())
            .map(|column| match &plan.mask {
                Some(mask) => filter(&column, mask),
                None => Ok(column),
            })
            .transpose()?
            .map(nan_to_missing);
        let text = names.text(name);
        let new = match text {
            IMAGE_ID | ANALYSIS_VERSION | PARAMS_HASH if new_rows > 0 => {
                let values = blocks.iter().filter_map(|&(index, rows)| {
                    let (image_id, params_hash) = labels.get(index)?;
                    let value = match text {
                        IMAGE_ID => image_id.as_str(),
                        PARAMS_HASH => params_hash.as_str(),
                        _ => analysis_version,
                    };
                    Some((value, rows))
                });
                vec![(0, repeated(values, new_rows))]
            }
            _ => parts.get_mut(name).map(std::mem::take).unwrap_or_default(),
        };
        let (column, data_type) = column_of(field.data_type().clone(), kept, kept_rows, new, new_rows)?;
        if &data_type != field.data_type() {
            *field = Arc::new(field.as_ref().clone().with_data_type(data_type));
            same = false;
        }
        columns.push(column);
    }
    let mut metadata = old.as_ref().map(|old| old.schema.metadata().clone()).unwrap_or_default();
    if !same {
        // pandas refuses a file whose description of the columns is not theirs.
        metadata.remove("pandas");
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    Ok(Some(RecordBatch::try_new(schema, columns)?))
}

/// A column of the old table's rows and the new ones, missing where there is no part.
fn column_of(
    data_type: DataType,
    kept: Option<ArrayRef>,
    kept_rows: usize,
    new: Vec<(usize, ArrayRef)>,
    new_rows: usize,
) -> Result<(ArrayRef, DataType), ArrowError> {
    let data_type = large_enough(data_type, kept.iter().chain(new.iter().map(|(_, part)| part)));
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(new.len() + 1);
    match kept {
        // What has no value has no type to be cast from.
        Some(kept) if kept.data_type() != &data_type && !has_value(&kept, None) => {
            arrays.push(new_null_array(&data_type, kept_rows));
        }
        Some(kept) => arrays.push(cast_to(&kept, &data_type)?),
        None if kept_rows > 0 => arrays.push(new_null_array(&data_type, kept_rows)),
        None => {}
    }
    let mut filled = 0;
    for (start, part) in new {
        if start > filled {
            arrays.push(new_null_array(&data_type, start - filled));
        }
        filled = start + part.len();
        arrays.push(cast_to(&part, &data_type)?);
    }
    if new_rows > filled {
        arrays.push(new_null_array(&data_type, new_rows - filled));
    }
    let column = match arrays.as_slice() {
        [] => new_null_array(&data_type, 0),
        [only] => Arc::clone(only),
        _ => concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
    };
    Ok((column, data_type))
}

/// Each text as often as it is told.
fn repeated<'a>(values: impl Iterator<Item = (&'a str, usize)> + Clone, rows: usize) -> ArrayRef {
    let bytes: usize = values.clone().map(|(value, rows)| value.len().saturating_mul(rows)).sum();
    if i32::try_from(bytes).is_ok() {
        let mut builder = StringBuilder::with_capacity(rows, bytes);
        for (value, rows) in values {
            for _ in 0..rows {
                builder.append_value(value);
            }
        }
        Arc::new(builder.finish())
    } else {
        let mut builder = LargeStringBuilder::with_capacity(rows, bytes);
        for (value, rows) in values {
            for _ in 0..rows {
                builder.append_value(value);
            }
        }
        Arc::new(builder.finish())
    }
}

/// The large form of a text or binary type whose offsets would not reach.
fn large_enough<'a>(data_type: DataType, arrays: impl Iterator<Item = &'a ArrayRef>) -> DataType {
    let large = match data_type {
        DataType::Utf8 => DataType::LargeUtf8,
        DataType::Binary => DataType::LargeBinary,
        other => return other,
    };
    let bytes: usize = arrays.map(value_bytes).fold(0, usize::saturating_add);
    if i32::try_from(bytes).is_ok() { data_type } else { large }
}

fn value_bytes(array: &ArrayRef) -> usize {
    fn span<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> usize {
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => last.as_usize() - first.as_usize(),
            _ => 0,
        }
    }
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()),
        _ => 0,
    }
}

fn cast_to(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Whether some row (of those in the mask) has a value; NaN is none.
fn has_value(array: &ArrayRef, mask: Option<&BooleanArray>) -> bool {
    let nulls = array.logical_nulls();
    let present =
        |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && mask.is_none_or(|mask| mask.value(row));
    match array.data_type() {
        DataType::Null => false,
        DataType::Float16 => has_number(array.as_primitive::<Float16Type>(), |v| v.is_nan(), present),
        DataType::Float32 => has_number(array.as_primitive::<Float32Type>(), f32::is_nan, present),
        DataType::Float64 => has_number(array.as_primitive::<Float64Type>(), f64::is_nan, present),
        _ => (0..array.len()).any(present),
    }
}

fn has_number<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    is_nan: impl Fn(T::Native) -> bool,
    present: impl Fn(usize) -> bool,
) -> bool {
    array.values().iter().enumerate().any(|(row, &value)| present(row) && !is_nan(value))
}

/// Files have no NaN: a missing value is a null.
fn nan_to_missing(array: ArrayRef) -> ArrayRef {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef, is_nan: impl Fn(T::Native) -> bool) -> Option<NullBuffer> {
        let values = array.as_primitive::<T>().values();
        values.iter().any(|&value| is_nan(value)).then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| {
                values.get(row).is_some_and(|&value| !is_nan(value))
            }))
        })
    }
    let numbers = match array.data_type() {
        DataType::Float16 => of::<Float16Type>(&array, |v| v.is_nan()),
        DataType::Float32 => of::<Float32Type>(&array, f32::is_nan),
        DataType::Float64 => of::<Float64Type>(&array, f64::is_nan),
        _ => None,
    };
    let Some(numbers) = numbers else { return array };
    let nulls = NullBuffer::union(array.nulls(), Some(&numbers));
    match array.to_data().into_builder().nulls(nulls).build() {
        Ok(data) => make_array(data),
        Err(_) => array,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

/// The type in which the table keeps a column of a plugin's rows: dictionaries and views become what they stand for.
/// `None` for what Parquet and pandas cannot both take.
fn kept_type(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    let inner = |field: &FieldRef| Some(Arc::new(field.as_ref().clone().with_data_type(kept_type(field.data_type())?)));
    Some(match data_type {
        Null
        | Boolean
        | Int8
        | Int16
        | Int32
        | Int64
        | UInt8
        | UInt16
        | UInt32
        | UInt64
        | Float16
        | Float32
        | Float64
        | Utf8
        | LargeUtf8
        | Binary
        | LargeBinary
        | FixedSizeBinary(_)
        | Date32
        | Date64
        | Time32(_)
        | Time64(_)
        | Timestamp(_, _)
        | Duration(_)
        | Decimal128(_, _)
        | Decimal256(_, _) => data_type.clone(),
        Utf8View => Utf8,
        BinaryView => Binary,
        Dictionary(_, values) => kept_type(values)?,
        List(field) => List(inner(field)?),
        LargeList(field) => LargeList(inner(field)?),
        FixedSizeList(field, size) => FixedSizeList(inner(field)?, *size),
        Struct(fields) if !fields.is_empty() => Struct(fields.iter().map(inner).collect::<Option<_>>()?),
        Map(entries, sorted) => Map(inner(entries)?, *sorted),
        _ => return None,
    })
}

/// The type that holds the values of both; `None` where none does. The first is the table's.
fn unify(old: &DataType, new: &DataType) -> Option<DataType> {
    use DataType::*;
    if old == new {
        return Some(old.clone());
    }
    let item = |a: &FieldRef, b: &FieldRef| {
        let data_type = unify(a.data_type(), b.data_type())?;
        Some(Arc::new(a.as_ref().clone().with_data_type(data_type).with_nullable(true)))
    };
    match (old, new) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Utf8 | LargeUtf8, Utf8 | LargeUtf8) | (Binary | LargeBinary, Binary | LargeBinary) => Some(old.clone()),
        // Of two resolutions the finer one, as pandas does: pandas 2 writes nanoseconds, pandas 3 microseconds.
        (Timestamp(a, zone), Timestamp(b, other)) if zone == other => Some(Timestamp((*a).max(*b), zone.clone())),
        (Duration(a), Duration(b)) => Some(Duration((*a).max(*b))),
        (List(a), List(b)) => Some(List(item(a, b)?)),
        (LargeList(a), LargeList(b)) => Some(LargeList(item(a, b)?)),
        (FixedSizeList(a, n), FixedSizeList(b, m)) if n == m => Some(FixedSizeList(item(a, b)?, *n)),
        (Struct(a), Struct(b)) if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name()) => {
            Some(Struct(a.iter().zip(b).map(|(a, b)| item(a, b)).collect::<Option<_>>()?))
        }
        _ => unify_numbers(old, new),
    }
}

#[derive(Clone, Copy)]
enum Number {
    Bool,
    Int(u16),
    UInt(u16),
    Float(u16),
}

fn unify_numbers(old: &DataType, new: &DataType) -> Option<DataType> {
    use Number::*;
    let number = |data_type: &DataType| {
        Some(match data_type {
            DataType::Boolean => Bool,
            DataType::Int8 => Int(8),
            DataType::Int16 => Int(16),
            DataType::Int32 => Int(32),
            DataType::Int64 => Int(64),
            DataType::UInt8 => UInt(8),
            DataType::UInt16 => UInt(16),
            DataType::UInt32 => UInt(32),
            DataType::UInt64 => UInt(64),
            DataType::Float16 => Float(16),
            DataType::Float32 => Float(32),
            DataType::Float64 => Float(64),
            _ => return None,
        })
    };
    let wider = match (number(old)?, number(new)?) {
        (Bool, other) | (other, Bool) => other,
        (Int(a), Int(b)) => Int(a.max(b)),
        (UInt(a), UInt(b)) => UInt(a.max(b)),
        (Int(signed), UInt(unsigned)) | (UInt(unsigned), Int(signed)) => match (signed > unsigned, unsigned) {
            (true, _) => Int(signed),
            (false, 64) => Float(64),
            (false, _) => Int(unsigned * 2),
        },
        (Float(a), Float(b)) => Float(a.max(b)),
        (Float(_), Int(_) | UInt(_)) | (Int(_) | UInt(_), Float(_)) => Float(64),
    };
    Some(match wider {
        Bool => DataType::Boolean,
        Int(8) => DataType::Int8,
        Int(16) => DataType::Int16,
        Int(32) => DataType::Int32,
        Int(_) => DataType::Int64,
        UInt(8) => DataType::UInt8,
        UInt(16) => DataType::UInt16,
        UInt(32) => DataType::UInt32,
        UInt(_) => DataType::UInt64,
        Float(16) => DataType::Float16,
        Float(32) => DataType::Float32,
        Float(_) => DataType::Float64,
    })
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

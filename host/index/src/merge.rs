//! Replacing rows in a table, with pandas' rules of columns and types: pure functions over Arrow data.
//! Owns: column union, widening, row order. Never: I/O.
//!
//! The outcome is that of taking the images one at a time, in order: the image's old rows leave, its new ones are
//! appended. It is computed at once: `plan` finds the columns and their types, from the pieces and from facts about
//! the table; then old rows are brought into the new form batch by batch, and new ones are made in batches.
//! [`merge`] does so with a table in memory, [`crate::rewrite`] with a file.

use crate::provenance::{ANALYSIS_VERSION, COLUMNS, IMAGE_ID, IdLookup, PARAMS_HASH, TextColumn};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, LargeStringArray, LargeStringBuilder, PrimitiveArray,
    RecordBatch, RecordBatchOptions, StringBuilder, make_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options, concat, concat_batches, filter, filter_record_batch};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Float16Type, Float32Type,
    Float64Type, Schema, SchemaRef, TimeUnit,
};
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
pub enum MergeError {
    /// Two columns of the table have one name.
    #[error("it has two columns named '{0}'")]
    DuplicateColumn(String),
    /// A label's column holds something else.
    #[error("its column '{column}' has type {found}, where rows are to get a text; replace all images")]
    NoText {
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
    },
    /// The columns cannot be put together.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// What merging has to know of the table as it is: planned from facts, so that a table need not be in memory.
///
/// `stays` tells of a piece whether the old rows of its image stay, because it was refused.
pub(crate) trait OldTable {
    /// What reading can end with.
    type Error: From<MergeError>;

    /// The columns.
    fn schema(&self) -> &SchemaRef;
    /// The rows, less those that leave whatever becomes of the pieces.
    fn rows(&self) -> u64;
    /// How many of them are of a piece's image.
    fn rows_of(&self, piece: usize) -> u64;
    /// For each column, whether a row that stays has a value in it.
    fn valued(&mut self, stays: &dyn Fn(usize) -> bool) -> Result<Vec<bool>, Self::Error>;
    /// Whether all that stays in a column can be cast to a type.
    fn fits(&mut self, column: usize, to: &DataType, stays: &dyn Fn(usize) -> bool) -> Result<bool, Self::Error>;
    /// About how many bytes a column of text or binary values has.
    fn value_bytes(&self, column: usize) -> u64;
}

/// What becomes of a table.
pub(crate) struct Planned {
    /// The new table's columns. Of the metadata, what is still true.
    pub schema: SchemaRef,
    /// The pieces left out, in order.
    pub refused: Vec<Refusal>,
    /// Whether the pieces change anything.
    pub is_changed: bool,
    /// Whether the columns are what they were.
    pub is_same_schema: bool,
    /// For each column its place in the old table.
    pub sources: Vec<Option<usize>>,
    /// Rows of the pieces that are taken.
    pub new_rows: u64,
    order: Vec<usize>,
    taken: Vec<Taken>,
    analysis_version: String,
}

/// A piece that is taken and has rows.
struct Taken {
    image_id: String,
    params_hash: String,
    rows: Prepared,
}

/// Replaces each piece's image's rows. Pieces come in id order, one an image.
pub fn merge(old: Option<RecordBatch>, analysis_version: &str, pieces: Vec<Piece>) -> Result<Merged, MergeError> {
    let mut old = old.map(|rows| {
        let owners = Owners::of(&rows, &pieces);
        InMemory { schema: rows.schema(), rows, owners }
    });
    let planned = plan(old.as_mut(), analysis_version, pieces, false)?;
    let refused = planned.refused.clone();
    if !planned.is_changed {
        return Ok(Merged { table: None, refused });
    }
    let mut parts = Vec::new();
    if let Some(old) = old {
        let places: HashSet<usize> = refused.iter().map(|refusal| refusal.piece).collect();
        parts.push(
            planned.kept(&filter_record_batch(&old.rows, &old.owners.kept(&|piece| places.contains(&piece)))?, None)?,
        );
    }
    for rows in planned.batches() {
        parts.push(rows?);
    }
    Ok(Merged { table: Some(concat_batches(&planned.schema, &parts)?), refused })
}

/// Plans the table in which each piece's image's rows are replaced. `relabels`: some rows that stay get new labels.
pub(crate) fn plan<T: OldTable>(
    mut old: Option<&mut T>,
    analysis_version: &str,
    pieces: Vec<Piece>,
    relabels: bool,
) -> Result<Planned, T::Error> {
    let mut names = Names::default();
    let mut old_columns = Vec::new();
    if let Some(old) = &old {
        let mut seen = HashSet::new();
        for field in old.schema().fields() {
            if !seen.insert(field.name().as_str()) {
                return Err(MergeError::DuplicateColumn(field.name().clone()).into());
            }
            old_columns.push(names.id(field.name()));
        }
    }
    let relabelled: [usize; 2] = [ANALYSIS_VERSION, PARAMS_HASH].map(|name| names.id(name));
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
    let rows_of: Vec<u64> = (0..prepared.len()).map(|piece| old.as_ref().map_or(0, |old| old.rows_of(piece))).collect();
    let owned = |piece: usize| rows_of.get(piece).copied().unwrap_or(0);

    // A refused image's old rows come back, and with them, maybe, the only values of a column: then its type counts
    // again and may refuse more. Each further round needs such a column, so there are few. What was refused before that
    // may fit again: one image of another type, replaced first, must not shut out all the others.
    let malformed: HashSet<usize> = refused.keys().copied().collect();
    let mut may_fit_again = true;
    let fold = loop {
        let base = match &mut old {
            None => None,
            Some(old) => {
                let valued = old.valued(&|piece| refused.contains_key(&piece))?;
                let slots = old
                    .schema()
                    .fields()
                    .iter()
                    .zip(valued)
                    .map(|(field, valued)| Slot { data_type: field.data_type().clone(), valued });
                let mut base = Base { rows: old.rows(), columns: old_columns.iter().copied().zip(slots).collect() };
                if relabels {
                    base.relabel(relabelled, &names)?;
                }
                Some(base)
            }
        };
        let mut fold = Fold::over(base, owned, &prepared, &refused, &names);
        let rows_came_back = fold.refused.iter().any(|(index, _)| owned(*index) > 0);
        refused.extend(fold.refused.iter().cloned());
        if rows_came_back {
            continue;
        }
        let fitting = if std::mem::take(&mut may_fit_again) {
            fold.fitting(&prepared, |index| refused.contains_key(&index) && !malformed.contains(&index), &names)
        } else {
            Vec::new()
        };
        refused.retain(|index, _| fitting.binary_search(index).is_err());
        if fitting.is_empty() {
            break fold;
        }
    };
    finish(old, fold, prepared, labels, refused, &rows_of, &old_columns, analysis_version, &names)
}

/// The types that hold all values, the columns' fields, and what is to be done.
#[allow(clippy::too_many_arguments)]
fn finish<T: OldTable>(
    mut old: Option<&mut T>,
    fold: Fold,
    prepared: Vec<Prepared>,
    labels: Vec<(String, String)>,
    refused: HashMap<usize, String>,
    rows_of: &[u64],
    old_columns: &[usize],
    analysis_version: &str,
    names: &Names,
) -> Result<Planned, T::Error> {
    // Where there is no table, pieces without rows make one too.
    let is_there = old.is_some() || refused.len() < prepared.len();
    let is_refused = |piece: usize| refused.contains_key(&piece);
    let old_rows_leave = rows_of.iter().enumerate().any(|(piece, &rows)| rows > 0 && !is_refused(piece));
    let mut taken = Vec::with_capacity(prepared.len());
    for (index, (rows, (image_id, params_hash))) in prepared.into_iter().zip(labels).enumerate() {
        if rows.rows > 0 && !is_refused(index) {
            taken.push(Taken { image_id, params_hash, rows });
        }
    }
    let new_rows = taken.iter().fold(0u64, |sum, taken| sum.saturating_add(taken.rows.rows as u64));
    let mut parts: Vec<Vec<&ArrayRef>> = vec![Vec::new(); names.0.len()];
    for taken in &taken {
        for (&name, column) in taken.rows.shape.names.iter().zip(&taken.rows.columns) {
            if let (Some(column), Some(parts)) = (column, parts.get_mut(name)) {
                parts.push(column);
            }
        }
    }
    let mut places: HashMap<usize, usize> = HashMap::new();
    if !fold.old_dropped {
        places.extend(old_columns.iter().enumerate().map(|(place, &name)| (name, place)));
    }

    let old_schema = old.as_ref().map(|old| Arc::clone(old.schema()));
    let mut is_same = old_schema.as_ref().is_some_and(|schema| schema.fields().len() == fold.order.len());
    let mut fields: Vec<FieldRef> = Vec::with_capacity(fold.order.len());
    let mut sources = Vec::with_capacity(fold.order.len());
    for (place, &name) in fold.order.iter().enumerate() {
        let Some(slot) = fold.slot(name) else { continue };
        let text = names.text(name);
        let source = places.get(&name).copied();
        let new = parts.get(name).map_or(&[][..], Vec::as_slice);
        let label_bytes = |length: &dyn Fn(&Taken) -> usize| {
            let bytes = taken.iter().map(|taken| (length(taken) as u64).saturating_mul(taken.rows.rows as u64));
            bytes.fold(0u64, u64::saturating_add)
        };
        let label_bytes = match text {
            IMAGE_ID => label_bytes(&|taken| taken.image_id.len()),
            PARAMS_HASH => label_bytes(&|taken| taken.params_hash.len()),
            ANALYSIS_VERSION => label_bytes(&|_| analysis_version.len()),
            _ => 0,
        };
        let new_bytes = new.iter().map(|part| value_bytes(part)).fold(label_bytes, u64::saturating_add);
        let old_bytes = match (&old, source) {
            (Some(old), Some(source)) => old.value_bytes(source),
            _ => 0,
        };
        let data_type = large_enough(slot.data_type.clone(), old_bytes.saturating_add(new_bytes));
        let mut fitting = None;
        for candidate in reaching(&data_type) {
            let old_type = source.zip(old_schema.as_ref()).map(|(source, schema)| schema.field(source).data_type());
            let old_fits = match (&mut old, source) {
                (Some(old), Some(source)) if old_type != Some(&candidate) => {
                    old.fits(source, &candidate, &is_refused)?
                }
                _ => true,
            };
            if old_fits && new.iter().all(|part| cast_to(part, &candidate).is_ok()) {
                fitting = Some(candidate);
                break;
            }
        }
        let data_type = fitting.unwrap_or(data_type);
        let old_field = old_schema.as_ref().and_then(|schema| schema.field_with_name(text).ok());
        fields.push(match old_field {
            Some(field) if field.data_type() == &data_type => {
                is_same &= old_schema.as_ref().and_then(|s| s.fields().get(place)).is_some_and(|f| f.name() == text);
                Arc::new(field.clone().with_nullable(true))
            }
            _ => {
                is_same = false;
                Arc::new(Field::new(text, data_type, true))
            }
        });
        sources.push(source);
    }
    let mut metadata = old_schema.map(|schema| schema.metadata().clone()).unwrap_or_default();
    if !is_same {
        // pandas refuses a file whose description of the columns is not theirs.
        metadata.remove("pandas");
    }
    let mut refused: Vec<Refusal> = refused.into_iter().map(|(piece, why)| Refusal { piece, why }).collect();
    refused.sort_by_key(|refusal| refusal.piece);
    Ok(Planned {
        schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
        refused,
        is_changed: is_there && (!is_same || new_rows > 0 || old_rows_leave),
        is_same_schema: is_same,
        sources,
        new_rows,
        order: fold.order,
        taken,
        analysis_version: analysis_version.to_owned(),
    })
}

/// New rows that are made at a time, unless one piece has more.
const BATCH_ROWS: usize = 1 << 14;

impl Planned {
    /// Old rows (all columns of the old table) as they are in the new one. `hashes`: for each row the params hash that it
    /// gets, and with it the analysis version, where it is given new labels.
    pub fn kept(&self, old: &RecordBatch, hashes: Option<&[Option<&str>]>) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for (field, source) in self.schema.fields().iter().zip(&self.sources) {
            let kept =
                source.and_then(|source| old.columns().get(source)).map(|column| nan_to_missing(Arc::clone(column)));
            let column = match kept {
                Some(column) if column.data_type() == field.data_type() => column,
                // What has no value has no type to be cast from.
                Some(column) if has_value(&column, None) => cast_to(&column, field.data_type())?,
                _ => new_null_array(field.data_type(), old.num_rows()),
            };
            columns.push(match (field.name().as_str(), hashes) {
                (PARAMS_HASH, Some(hashes)) => relabelled(&column, hashes.iter().copied())?,
                (ANALYSIS_VERSION, Some(hashes)) => {
                    relabelled(&column, hashes.iter().map(|hash| hash.map(|_| self.analysis_version.as_str())))?
                }
                _ => column,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(old.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    /// The new rows, in order.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + '_ {
        let mut rest = self.taken.as_slice();
        std::iter::from_fn(move || {
            let mut rows = 0usize;
            let many = rest.iter().position(|taken| {
                let is_full = rows >= BATCH_ROWS;
                rows = rows.saturating_add(taken.rows.rows);
                is_full
            });
            let (now, later) = rest.split_at_checked(many.unwrap_or(rest.len()))?;
            rest = later;
            (!now.is_empty()).then(|| self.rows_of(now))
        })
    }

    fn rows_of(&self, taken: &[Taken]) -> Result<RecordBatch, ArrowError> {
        // Each column's arrays by the place of their first row.
        let mut parts: HashMap<usize, Vec<(usize, &ArrayRef)>> = HashMap::new();
        let mut rows = 0;
        for taken in taken {
            for (&name, column) in taken.rows.shape.names.iter().zip(&taken.rows.columns) {
                if let Some(column) = column {
                    parts.entry(name).or_default().push((rows, column));
                }
            }
            rows += taken.rows.rows;
        }
        let mut columns = Vec::with_capacity(self.order.len());
        for (field, name) in self.schema.fields().iter().zip(&self.order) {
            let label = |value: fn(&Taken) -> &str| repeated(taken.iter().map(|t| (value(t), t.rows.rows)), rows);
            let column = match field.name().as_str() {
                IMAGE_ID => label(|taken| &taken.image_id),
                PARAMS_HASH => label(|taken| &taken.params_hash),
                ANALYSIS_VERSION => repeated(std::iter::once((self.analysis_version.as_str(), rows)), rows),
                _ => {
                    columns.push(column_of(field.data_type(), parts.remove(name).unwrap_or_default(), rows)?);
                    continue;
                }
            };
            columns.push(cast_to(&column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    /// Columns of the old table that get a type in which more fits: name, type before, type now.
    pub fn widened<'a>(&'a self, old: &'a Schema) -> impl Iterator<Item = (&'a str, &'a DataType, &'a DataType)> + 'a {
        self.schema.fields().iter().zip(&self.sources).filter_map(|(new, source)| {
            let (before, now) = (old.fields().get((*source)?)?.data_type(), new.data_type());
            let is_wider = match (before, now) {
                (DataType::Null, _) => false,
                (DataType::Utf8, DataType::LargeUtf8) | (DataType::Binary, DataType::LargeBinary) => true,
                _ => before != now && unify(before, now).as_ref() == Some(now),
            };
            is_wider.then_some((new.name().as_str(), before, now))
        })
    }
}

/// A column of text in which some rows get another.
fn relabelled<'a>(
    column: &ArrayRef,
    new: impl ExactSizeIterator<Item = Option<&'a str>>,
) -> Result<ArrayRef, ArrowError> {
    let old = TextColumn::over(column);
    let texts = new.enumerate().map(|(row, new)| new.or_else(|| old.get(row)));
    let texts: ArrayRef = Arc::new(texts.collect::<LargeStringArray>());
    cast_to(&texts, column.data_type())
}

/// A table in memory.
struct InMemory {
    schema: SchemaRef,
    rows: RecordBatch,
    owners: Owners,
}

impl OldTable for InMemory {
    type Error = MergeError;

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn rows(&self) -> u64 {
        self.rows.num_rows() as u64
    }

    fn rows_of(&self, piece: usize) -> u64 {
        self.owners.rows.get(piece).copied().unwrap_or(0)
    }

    fn valued(&mut self, stays: &dyn Fn(usize) -> bool) -> Result<Vec<bool>, MergeError> {
        let mask = self.owners.kept(stays);
        Ok(self.rows.columns().iter().map(|column| has_value(column, Some(&mask))).collect())
    }

    fn fits(&mut self, column: usize, to: &DataType, stays: &dyn Fn(usize) -> bool) -> Result<bool, MergeError> {
        let Some(column) = self.rows.columns().get(column) else { return Ok(true) };
        let column = filter(column, &self.owners.kept(stays))?;
        Ok(can_be(&column, to))
    }

    fn value_bytes(&self, column: usize) -> u64 {
        self.rows.columns().get(column).map_or(0, value_bytes)
    }
}

/// Whether all values can be of a type.
pub(crate) fn can_be(column: &ArrayRef, to: &DataType) -> bool {
    !has_value(column, None) || cast_to(column, to).is_ok()
}

/// Which piece's image a row of a table in memory belongs to.
struct Owners {
    of_row: Vec<Option<usize>>,
    rows: Vec<u64>,
}

impl Owners {
    fn of(old: &RecordBatch, pieces: &[Piece]) -> Self {
        let ids: Vec<&str> = pieces.iter().map(|piece| piece.image_id.as_str()).collect();
        let mut lookup = IdLookup::new(&ids);
        let column = TextColumn::of(old, IMAGE_ID).unwrap_or(TextColumn::NoText);
        let of_row: Vec<Option<usize>> =
            (0..old.num_rows()).map(|row| column.get(row).and_then(|id| lookup.find(id))).collect();
        let mut rows = vec![0; pieces.len()];
        for &owner in of_row.iter().flatten() {
            if let Some(count) = rows.get_mut(owner) {
                *count += 1;
            }
        }
        Self { of_row, rows }
    }

    /// Which rows stay.
    fn kept(&self, stays: &dyn Fn(usize) -> bool) -> BooleanArray {
        self.of_row.iter().map(|owner| Some(owner.is_none_or(stays))).collect()
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

impl Base {
    /// The columns with the labels that rows get.
    fn relabel(&mut self, labels: [usize; 2], names: &Names) -> Result<(), MergeError> {
        for label in labels {
            let text = Slot { data_type: DataType::Utf8, valued: true };
            match self.columns.iter_mut().find(|(name, _)| *name == label) {
                Some((_, slot)) if is_text(&slot.data_type) => slot.valued = true,
                Some((_, slot)) if !slot.valued => *slot = text,
                Some((_, slot)) => {
                    return Err(MergeError::NoText {
                        column: names.text(label).to_owned(),
                        found: slot.data_type.clone(),
                    });
                }
                None => self.columns.push((label, text)),
            }
        }
        Ok(())
    }
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
        rows_of: impl Fn(usize) -> u64,
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
            let left = rows.saturating_sub(rows_of(index));
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

    /// Those of the refused pieces that fit the table as it has become, one after the other, in ascending order.
    fn fitting(&mut self, pieces: &[Prepared], is_refused: impl Fn(usize) -> bool, names: &Names) -> Vec<usize> {
        let candidates = pieces.iter().enumerate().filter(|(index, _)| is_refused(*index));
        candidates.filter_map(|(index, piece)| self.add(piece, names).is_ok().then_some(index)).collect()
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

/// A column of the parts told with the places of their first rows, missing where there is none.
fn column_of(data_type: &DataType, parts: Vec<(usize, &ArrayRef)>, rows: usize) -> Result<ArrayRef, ArrowError> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(parts.len() + 1);
    let mut filled = 0;
    for (start, part) in parts {
        if start > filled {
            arrays.push(new_null_array(data_type, start - filled));
        }
        filled = start + part.len();
        arrays.push(cast_to(part, data_type)?);
    }
    if rows > filled {
        arrays.push(new_null_array(data_type, rows - filled));
    }
    match arrays.as_slice() {
        [] => Ok(new_null_array(data_type, 0)),
        [only] => Ok(Arc::clone(only)),
        _ => concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>()),
    }
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

/// The large form of a text or binary type whose offsets would not reach so many bytes.
fn large_enough(data_type: DataType, bytes: u64) -> DataType {
    match data_type {
        DataType::Utf8 if i32::try_from(bytes).is_err() => DataType::LargeUtf8,
        DataType::Binary if i32::try_from(bytes).is_err() => DataType::LargeBinary,
        other => other,
    }
}

/// A type of times in its own unit and each coarser one: the first in whose range all the times are is the column's, as
/// nanoseconds end in the year 2262. None for other types.
fn reaching(data_type: &DataType) -> impl Iterator<Item = DataType> {
    let (finest, zone) = match data_type {
        DataType::Timestamp(unit, zone) => (Some(*unit), Some(zone.clone())),
        DataType::Duration(unit) => (Some(*unit), None),
        _ => (None, None),
    };
    let units = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];
    let units = units.into_iter().filter(move |unit| finest.is_some_and(|finest| *unit <= finest));
    units.map(move |unit| match &zone {
        Some(zone) => DataType::Timestamp(unit, zone.clone()),
        None => DataType::Duration(unit),
    })
}

fn value_bytes(array: &ArrayRef) -> u64 {
    fn span<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> u64 {
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => (last.as_usize() - first.as_usize()) as u64,
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
pub(crate) fn has_value(array: &ArrayRef, mask: Option<&BooleanArray>) -> bool {
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
        (List(a), LargeList(b)) | (LargeList(a), List(b)) => Some(LargeList(item(a, b)?)),
        (Decimal128(..) | Decimal256(..), Decimal128(..) | Decimal256(..)) => unify_decimals(old, new),
        (FixedSizeList(a, n), FixedSizeList(b, m)) if n == m => Some(FixedSizeList(item(a, b)?, *n)),
        (Struct(a), Struct(b)) if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name()) => {
            Some(Struct(a.iter().zip(b).map(|(a, b)| item(a, b)).collect::<Option<_>>()?))
        }
        _ => unify_numbers(old, new),
    }
}

/// The decimal type with room for the digits of both, before the point and behind it.
fn unify_decimals(old: &DataType, new: &DataType) -> Option<DataType> {
    let parts = |data_type: &DataType| match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        _ => None,
    };
    let ((whole_a, scale_a), (whole_b, scale_b)) = (parts(old)?, parts(new)?);
    let scale = scale_a.max(scale_b);
    let precision = u8::try_from(whole_a.max(whole_b) + i16::from(scale)).ok()?;
    let is_wide = matches!((old, new), (DataType::Decimal256(..), _) | (_, DataType::Decimal256(..)));
    match precision {
        ..=DECIMAL128_MAX_PRECISION if !is_wide => Some(DataType::Decimal128(precision, scale)),
        ..=DECIMAL256_MAX_PRECISION => Some(DataType::Decimal256(precision, scale)),
        _ => None,
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

//! Plans a merge: which pieces fit, the columns of the new table and their types.

use super::fold::{Base, Fold};
use super::piece::{MergeError, Piece, RefusedPiece};
use super::pieces::{Names, PreparedPiece, Shapes, Slot};
use super::planned::{MergePlan, Taken};
use super::types::{large_enough, reaching};
use super::values::{cast_to, value_bytes};
use crate::provenance::{ANALYSIS_VERSION, IMAGE_ID, PARAMS_HASH};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a plan needs to know of the table as it is. A plan is made from facts, so that the table need not be in memory.
///
/// `stays` says of a piece whether the old rows of its image stay, because the piece was refused.
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

/// Plans the table in which each piece's image's rows are replaced. Pieces come in id order, one per image.
/// `relabels`: some rows that stay get new labels.
pub(crate) fn plan<T: OldTable>(
    old: Option<&mut T>,
    analysis_version: &str,
    pieces: &[Piece],
    relabels: bool,
) -> Result<MergePlan, T::Error> {
    let mut planner = Planner::new(old, analysis_version, pieces)?;
    let fold = planner.fold(relabels)?;
    planner.finish(fold)
}

/// What is known while a merge is planned.
struct Planner<'t, 'p, T> {
    old: Option<&'t mut T>,
    analysis_version: &'p str,
    pieces: &'p [Piece],
    names: Names,
    /// The names of the old table's columns, in order.
    old_columns: Vec<usize>,
    prepared: Vec<PreparedPiece>,
    /// How many old rows each piece's image has.
    rows_of: Vec<u64>,
    /// The pieces that do not fit, and why.
    refused: HashMap<usize, String>,
}

impl<'t, 'p, T: OldTable> Planner<'t, 'p, T> {
    fn new(old: Option<&'t mut T>, analysis_version: &'p str, pieces: &'p [Piece]) -> Result<Self, MergeError> {
        let mut names = Names::default();
        let mut old_columns = Vec::new();
        if let Some(old) = &old {
            let mut seen = HashSet::new();
            for field in old.schema().fields() {
                if !seen.insert(field.name().as_str()) {
                    return Err(MergeError::DuplicateColumn(field.name().clone()));
                }
                old_columns.push(names.id(field.name()));
            }
        }
        let mut refused = HashMap::new();
        let mut shapes = Shapes::default();
        let mut prepare = |(index, piece): (usize, &Piece)| {
            shapes.prepare(&piece.rows, &mut names).unwrap_or_else(|why| {
                refused.insert(index, why);
                PreparedPiece::default()
            })
        };
        let prepared: Vec<PreparedPiece> = pieces.iter().enumerate().map(&mut prepare).collect();
        let rows_of = (0..pieces.len()).map(|piece| old.as_ref().map_or(0, |old| old.rows_of(piece))).collect();
        Ok(Self { old, analysis_version, pieces, names, old_columns, prepared, rows_of, refused })
    }

    /// The table before the first piece.
    fn base(&mut self, labels: Option<[usize; 2]>) -> Result<Option<Base>, T::Error> {
        let Some(old) = &mut self.old else { return Ok(None) };
        let valued = old.valued(&|piece| self.refused.contains_key(&piece))?;
        let fields = old.schema().fields().iter().zip(valued);
        let slots = fields.map(|(field, valued)| Slot { data_type: field.data_type().clone(), valued });
        let mut base = Base { rows: old.rows(), columns: self.old_columns.iter().copied().zip(slots).collect() };
        if let Some(labels) = labels {
            base.relabel(labels, &self.names)?;
        }
        Ok(Some(base))
    }

    /// Finds the columns and the pieces that do not fit.
    ///
    /// A refused image's old rows come back, and with them, maybe, the only values of a column: then its type counts
    /// again and may refuse more. Each further round needs such a column, so there are few. What was refused before
    /// that may fit again: one image of another type, replaced first, must not shut out all the others.
    fn fold(&mut self, relabels: bool) -> Result<Fold, T::Error> {
        let labels = [ANALYSIS_VERSION, PARAMS_HASH].map(|name| self.names.id(name));
        let malformed: HashSet<usize> = self.refused.keys().copied().collect();
        let mut may_fit_again = true;
        loop {
            let base = self.base(relabels.then_some(labels))?;
            let owned = |piece: usize| self.rows_of.get(piece).copied().unwrap_or(0);
            let mut fold = Fold::over(base, owned, &self.prepared, &self.refused, &self.names);
            let rows_came_back = fold.refused.iter().any(|(index, _)| owned(*index) > 0);
            self.refused.extend(fold.refused.iter().cloned());
            if rows_came_back {
                continue;
            }
            if !std::mem::take(&mut may_fit_again) {
                return Ok(fold);
            }
            let is_candidate = |index| self.refused.contains_key(&index) && !malformed.contains(&index);
            let fitting = fold.fitting(&self.prepared, is_candidate, &self.names);
            if fitting.is_empty() {
                return Ok(fold);
            }
            self.refused.retain(|index, _| fitting.binary_search(index).is_err());
        }
    }

    /// The pieces that fit and have rows.
    fn taken(&mut self) -> Vec<Taken> {
        let pieces = self.pieces.iter().zip(std::mem::take(&mut self.prepared)).enumerate();
        let taken = pieces.filter(|(index, (_, rows))| rows.rows > 0 && !self.refused.contains_key(index));
        taken
            .map(|(_, (piece, rows))| Taken {
                image_id: piece.image_id.clone(),
                params_hash: piece.params_hash.clone(),
                rows,
            })
            .collect()
    }

    /// The columns' fields, and what is to be done.
    fn finish(mut self, fold: Fold) -> Result<MergePlan, T::Error> {
        // If there is no table, pieces without rows make one too.
        let is_there = self.old.is_some() || self.refused.len() < self.prepared.len();
        let leaves = |(piece, &rows): (usize, &u64)| rows > 0 && !self.refused.contains_key(&piece);
        let old_rows_leave = self.rows_of.iter().enumerate().any(leaves);
        let taken = self.taken();
        let new_rows = taken.iter().fold(0u64, |sum, taken| sum.saturating_add(taken.rows.rows as u64));
        let mut parts: Vec<Vec<&ArrayRef>> = vec![Vec::new(); self.names.0.len()];
        for taken in &taken {
            for (&name, column) in taken.rows.shape.names.iter().zip(&taken.rows.columns) {
                if let (Some(column), Some(parts)) = (column, parts.get_mut(name)) {
                    parts.push(column);
                }
            }
        }
        let mut places: HashMap<usize, usize> = HashMap::new();
        if !fold.old_dropped {
            places.extend(self.old_columns.iter().enumerate().map(|(place, &name)| (name, place)));
        }

        let old_schema = self.old.as_ref().map(|old| Arc::clone(old.schema()));
        let mut is_same = old_schema.as_ref().is_some_and(|schema| schema.fields().len() == fold.order.len());
        let mut fields: Vec<FieldRef> = Vec::with_capacity(fold.order.len());
        let mut sources = Vec::with_capacity(fold.order.len());
        for (place, &name) in fold.order.iter().enumerate() {
            let Some(slot) = fold.slot(name) else { continue };
            let source = places.get(&name).copied();
            let new = parts.get(name).map_or(&[][..], Vec::as_slice);
            let data_type = self.data_type(name, &slot.data_type, source, new, &taken)?;
            let text = self.names.text(name);
            let old_field = old_schema.as_ref().and_then(|schema| schema.field_with_name(text).ok());
            fields.push(match old_field {
                Some(field) if field.data_type() == &data_type => {
                    let there = old_schema.as_ref().and_then(|schema| schema.fields().get(place));
                    is_same &= there.is_some_and(|field| field.name() == text);
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
            // pandas refuses a file whose description of the columns is wrong.
            metadata.remove("pandas");
        }
        let mut refused: Vec<RefusedPiece> =
            self.refused.into_iter().map(|(piece, why)| RefusedPiece { piece, why }).collect();
        refused.sort_by_key(|refusal| refusal.piece);
        Ok(MergePlan {
            schema: Arc::new(Schema::new_with_metadata(fields, metadata)),
            refused,
            is_changed: is_there && (!is_same || new_rows > 0 || old_rows_leave),
            is_same_schema: is_same,
            sources,
            new_rows,
            order: fold.order,
            taken,
            analysis_version: self.analysis_version.to_owned(),
        })
    }

    /// The type in which all values of a column fit: old ones from `source`, and new ones.
    fn data_type(
        &mut self,
        name: usize,
        unified: &DataType,
        source: Option<usize>,
        new: &[&ArrayRef],
        taken: &[Taken],
    ) -> Result<DataType, T::Error> {
        let label_bytes = |length: &dyn Fn(&Taken) -> usize| {
            let bytes = taken.iter().map(|taken| (length(taken) as u64).saturating_mul(taken.rows.rows as u64));
            bytes.fold(0u64, u64::saturating_add)
        };
        let label_bytes = match self.names.text(name) {
            IMAGE_ID => label_bytes(&|taken| taken.image_id.len()),
            PARAMS_HASH => label_bytes(&|taken| taken.params_hash.len()),
            ANALYSIS_VERSION => label_bytes(&|_| self.analysis_version.len()),
            _ => 0,
        };
        let new_bytes = new.iter().map(|part| value_bytes(part)).fold(label_bytes, u64::saturating_add);
        let old = self.old.as_mut().zip(source);
        let old_bytes = old.as_ref().map_or(0, |(old, source)| old.value_bytes(*source));
        let data_type = large_enough(unified.clone(), old_bytes.saturating_add(new_bytes));
        let Some((old, source)) = old else {
            let fitting = reaching(&data_type).find(|candidate| all_can_be(new, candidate));
            return Ok(fitting.unwrap_or(data_type));
        };
        for candidate in reaching(&data_type) {
            let is_old_type = *old.schema().field(source).data_type() == candidate;
            let old_fits = is_old_type || old.fits(source, &candidate, &|piece| self.refused.contains_key(&piece))?;
            if old_fits && all_can_be(new, &candidate) {
                return Ok(candidate);
            }
        }
        Ok(data_type)
    }
}

fn all_can_be(parts: &[&ArrayRef], to: &DataType) -> bool {
    parts.iter().all(|part| cast_to(part, to).is_ok())
}

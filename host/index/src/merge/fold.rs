//! The columns of a table while images' rows are appended one after the other: union, types, what does not fit.

use super::piece::MergeError;
use super::pieces::{Names, PreparedPiece, Slot};
use super::types::{is_text, unify};
use arrow::datatypes::DataType;
use std::collections::HashMap;

/// The table before the first image.
pub(super) struct Base {
    pub rows: u64,
    pub columns: Vec<(usize, Slot)>,
}

impl Base {
    /// The columns with the labels that rows get.
    pub fn relabel(&mut self, labels: [usize; 2], names: &Names) -> Result<(), MergeError> {
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
pub(super) struct Fold {
    pub order: Vec<usize>,
    slots: Vec<Option<Slot>>,
    pub refused: Vec<(usize, String)>,
    /// At some image the table had no rows left, so its old columns went.
    pub old_dropped: bool,
}

impl Fold {
    pub fn over(
        base: Option<Base>,
        rows_of: impl Fn(usize) -> u64,
        pieces: &[PreparedPiece],
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
    pub fn fitting(
        &mut self,
        pieces: &[PreparedPiece],
        is_refused: impl Fn(usize) -> bool,
        names: &Names,
    ) -> Vec<usize> {
        let candidates = pieces.iter().enumerate().filter(|(index, _)| is_refused(*index));
        candidates.filter_map(|(index, piece)| self.add(piece, names).is_ok().then_some(index)).collect()
    }

    pub fn slot(&self, name: usize) -> Option<&Slot> {
        self.slots.get(name).and_then(Option::as_ref)
    }

    fn put(&mut self, name: usize, slot: Slot) {
        if let Some(place) = self.slots.get_mut(name) {
            *place = Some(slot);
        }
    }

    /// The piece becomes the table.
    fn begin(&mut self, piece: &PreparedPiece, names: &Names) {
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

    /// The piece's rows are appended; nothing changes if they cannot be.
    fn add(&mut self, piece: &PreparedPiece, names: &Names) -> Result<(), String> {
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
                // Two text types are one type; the table decides which.
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

//! Pieces ready to merge: provenance columns taken out, dictionaries and views cast away, NaN made missing.

use super::types::kept_type;
use super::values::{cast_to, has_value, nan_to_missing};
use crate::provenance::COLUMNS;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use indexmap::IndexSet;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

/// Column names as small numbers.
#[derive(Default)]
pub(super) struct Names(pub IndexSet<String>);

impl Names {
    pub fn id(&mut self, name: &str) -> usize {
        match self.0.get_index_of(name) {
            Some(id) => id,
            None => self.0.insert_full(name.to_owned()).0,
        }
    }

    pub fn text(&self, id: usize) -> &str {
        self.0.get_index(id).map_or("", String::as_str)
    }
}

/// What all pieces with one schema share.
#[derive(Default)]
pub(super) struct Shape {
    /// Names with the provenance columns, in order.
    pub names: Vec<usize>,
    /// The types as the table keeps them.
    pub types: Vec<DataType>,
}

/// A piece ready to merge: provenance taken out, dictionaries and views cast away, NaN made missing.
#[derive(Default)]
pub(super) struct PreparedPiece {
    pub shape: Rc<Shape>,
    /// One for each of the shape's names; `None` if it is missing throughout, and for the provenance columns.
    pub columns: Vec<Option<ArrayRef>>,
    pub rows: usize,
}

#[derive(Default)]
pub(super) struct Shapes {
    last: Option<(SchemaRef, Result<Rc<Shape>, String>)>,
}

impl Shapes {
    pub fn prepare(&mut self, rows: &RecordBatch, names: &mut Names) -> Result<PreparedPiece, String> {
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
        Ok(PreparedPiece { shape, columns, rows: count })
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
pub(super) struct Slot {
    pub data_type: DataType,
    /// Some row has a value in it: only then the type binds.
    pub valued: bool,
}

impl PreparedPiece {
    pub fn slots<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = (usize, Slot)> + 'a {
        self.shape.names.iter().zip(&self.shape.types).zip(&self.columns).map(|((&name, data_type), column)| {
            let valued = column.is_some() || (self.rows > 0 && COLUMNS.contains(&names.text(name)));
            (name, Slot { data_type: data_type.clone(), valued })
        })
    }
}

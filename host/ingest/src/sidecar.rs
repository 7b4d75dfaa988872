//! Files next to a recording that become artifacts: their forms and how each is read.

use crate::error::{FileError, FileErrorKind};
use crate::files::{MAX_SIDECAR_BYTES, read_bounded};
use crate::npy;
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use kymhost_dataset::limits::{
    MAX_ARRAY_BYTES, MAX_INGESTED_TEXT_BYTES, MAX_INGESTED_VALUE_BYTES, MAX_SMALL_TEXT_BYTES, MAX_SMALL_VALUE_BYTES,
};
use kymhost_dataset::{gunzip, parse_parquet};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{ArtifactKind, Json, csv};
use std::collections::HashMap;
use std::path::Path;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidecarForm {
    /// `.json`
    Json,
    /// `.csv`
    Csv,
    /// `.csv.gz`
    CsvGz,
    /// `.parquet`
    Parquet,
    /// `.npy`
    Npy,
}

impl SidecarForm {
    const ENDINGS: [(&'static str, Self); 5] = [
        (".json", Self::Json),
        (".csv.gz", Self::CsvGz),
        (".csv", Self::Csv),
        (".parquet", Self::Parquet),
        (".npy", Self::Npy),
    ];

    /// A file's name without its ending, and the form that the ending means, in upper or lower case.
    pub fn of(file: &str) -> Option<(&str, Self)> {
        Self::ENDINGS.iter().find_map(|(ending, form)| {
            let (name, found) = file.split_at_checked(file.len().checked_sub(ending.len())?)?;
            (found.eq_ignore_ascii_case(ending) && !name.is_empty()).then_some((name, *form))
        })
    }
}

/// What an artifact holds.
#[derive(Debug)]
pub enum SidecarContent {
    /// A document.
    Json(Json),
    /// Rows, kept as Parquet.
    Rows(RecordBatch),
    /// Rows that stay CSV, as gzip.
    CsvGz(Vec<u8>),
    /// An array.
    Array(Array),
}

impl SidecarContent {
    /// The form in which a dataset keeps it.
    pub fn kind(&self) -> ArtifactKind {
        match self {
            Self::Json(_) => ArtifactKind::Json,
            Self::Rows(_) => ArtifactKind::Parquet,
            Self::CsvGz(_) => ArtifactKind::Csv,
            Self::Array(_) => ArtifactKind::Array,
        }
    }
}

/// Reads a file. `axes`: names for an array's axes, else `a0`, `a1` …; `types`: what a CSV's columns were written from.
pub fn read(
    path: &Path,
    form: SidecarForm,
    axes: Option<&[String]>,
    types: Option<&HashMap<String, DataType>>,
) -> Result<SidecarContent, FileError> {
    let refused = |why: String| FileError::in_sidecar(FileErrorKind::Sidecar, path, why);
    let limit = match form {
        SidecarForm::Npy => MAX_ARRAY_BYTES + (1 << 20),
        SidecarForm::Json => MAX_INGESTED_TEXT_BYTES,
        SidecarForm::Csv => csv::MAX_TEXT_BYTES as u64,
        SidecarForm::CsvGz | SidecarForm::Parquet => MAX_SIDECAR_BYTES,
    };
    let bytes = read_bounded(path, limit).map_err(refused)?;
    let rows = |text: &[u8]| {
        let rows = match types {
            Some(types) => csv::parse_typed(text, types),
            None => csv::parse(text),
        };
        rows.map_err(|error| error.to_string())
    };
    let content = match form {
        SidecarForm::Json => Json::parse_within(without_mark(&bytes), MAX_INGESTED_VALUE_BYTES)
            .map(SidecarContent::Json)
            .map_err(|error| format!("it is not JSON: {error}")),
        SidecarForm::Csv => rows(&bytes).map(SidecarContent::Rows),
        SidecarForm::CsvGz => {
            gunzip(&bytes, csv::MAX_TEXT_BYTES as u64).and_then(|text| rows(&text)).map(SidecarContent::Rows)
        }
        SidecarForm::Parquet => parse_parquet(bytes).map(SidecarContent::Rows),
        SidecarForm::Npy => npy::parse(&bytes).and_then(|npy| {
            let named = axes.filter(|axes| axes.len() == npy.shape.len()).map(<[String]>::to_vec);
            let axes = named.unwrap_or_else(|| (0..npy.shape.len()).map(|at| format!("a{at}")).collect());
            Array::new(npy.dtype, npy.shape, axes, npy.bytes)
                .map(SidecarContent::Array)
                .map_err(|error| error.message().to_owned())
        }),
    };
    content.map_err(refused)
}

/// Reads a document next to a recording.
pub fn json(path: &Path, kind: FileErrorKind) -> Result<Json, FileError> {
    let refused = |why: String| FileError::in_sidecar(kind, path, why);
    let bytes = read_bounded(path, MAX_SMALL_TEXT_BYTES).map_err(refused)?;
    Json::parse_within(without_mark(&bytes), MAX_SMALL_VALUE_BYTES)
        .map_err(|error| refused(format!("it is not JSON: {error}")))
}

/// A text without the byte order mark that Windows' programs put before it.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecar_form_follows_ending() {
        for (file, expected) in [
            ("radon.csv.gz", Some(("radon", SidecarForm::CsvGz))),
            ("a.csv", Some(("a", SidecarForm::Csv))),
            ("a.b.JSON", Some(("a.b", SidecarForm::Json))),
            ("a.npy", Some(("a", SidecarForm::Npy))),
            ("a.parquet", Some(("a", SidecarForm::Parquet))),
            (".csv", None),
            ("a.gz", None),
            ("a.json.gz", None),
            ("\u{e4}", None),
            ("", None),
        ] {
            assert_eq!(SidecarForm::of(file), expected, "{file}");
        }
    }
}

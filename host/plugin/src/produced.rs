//! Artifacts that an extraction hands to the host: taken, checked, held until the extraction ends.
//!
//! Owns: what is taken and what refused. Never: writes them (the commit's), reads records.

use crate::failure::{Failure, FailureCause, FailureKind, failure_text};
use crate::indexer::Made;
use crate::rows::import;
use kymhost_dataset::{Payload, artifact_keys};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::ffi::ArrowTable;
use kymhost_plugin_api::{Artifact, ArtifactKind, Error, ErrorKind, Json, Table};
use kymhost_store::MAX_DOCUMENT_BYTES;
use std::sync::{Mutex, PoisonError};

/// What one image's artifacts may hold together, in bytes: as much as its rows.
const MAX_BYTES: usize = 2 << 30;

/// Takes what one extraction of one indexer hands over, from any of its threads.
pub(crate) struct Collector<'a> {
    declared: &'a [Artifact],
    taken: Mutex<Vec<Made>>,
    /// The first artifact that was refused because it is not declared.
    undeclared: Mutex<Option<String>>,
}

impl<'a> Collector<'a> {
    /// For an indexer that declares to write these.
    pub(crate) fn new(declared: &'a [Artifact]) -> Self {
        Self { declared, taken: Mutex::default(), undeclared: Mutex::default() }
    }

    /// What was handed over, in the order of the declaration, so that it does not depend on threads.
    pub(crate) fn into_made(self) -> Vec<Made> {
        let mut taken = std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        let place = |made: &Made| self.place(&made.name, made.payload.kind());
        taken.sort_by_key(place);
        taken
    }

    /// The first artifact that was refused because the indexer does not declare it.
    pub(crate) fn undeclared(&self) -> Option<String> {
        self.undeclared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn place(&self, name: &str, kind: ArtifactKind) -> Option<usize> {
        place(self.declared, name, kind)
    }

    /// A JSON artifact's text, any that Python reads; kept as Python writes it.
    pub(crate) fn json(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Json)?;
        let value = Json::parse(text)
            .map_err(|error| Error::msg(format!("the artifact '{name}' that it hands over is no JSON: {error}")))?;
        let text = value.to_file_text().into_bytes();
        if text.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(Error::msg(format!(
                "the artifact '{name}' has {} bytes as JSON, at most {MAX_DOCUMENT_BYTES} are kept; hand it over as a table or an array",
                text.len()
            )));
        }
        self.take(name, Payload::Json(text))
    }

    /// A table artifact, checked as rows are.
    pub(crate) fn table(&self, name: &str, table: Table) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Parquet)?;
        let (array, schema) = table.into_c_data();
        let rows = import(ArrowTable { array, schema }).map_err(|failure| {
            Error::new(ErrorKind::BadTable, format!("the artifact '{name}' is no proper table: {}", failure.message))
        })?;
        self.take(name, Payload::Table(rows))
    }

    /// An array artifact.
    pub(crate) fn array(&self, name: &str, array: Array) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Array)?;
        self.take(name, Payload::Array(array))
    }

    fn check_declared(&self, name: &str, kind: ArtifactKind) -> Result<(), Error> {
        match self.place(name, kind) {
            Some(_) => Ok(()),
            None => {
                let mut first = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| failure_text(name));
                Err(Error::msg(undeclared(name, kind)))
            }
        }
    }

    fn take(&self, name: &str, payload: Payload) -> Result<(), Error> {
        let place = self.place(name, payload.kind());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|made| self.place(&made.name, made.payload.kind()) == place) {
            return Err(Error::msg(twice(name, payload.kind())));
        }
        let held: usize = taken.iter().map(|made| made.payload.bytes()).sum();
        if held.saturating_add(payload.bytes()) > MAX_BYTES {
            return Err(Error::msg(format!(
                "the artifacts that it hands over have more than {MAX_BYTES} bytes together, '{name}' included"
            )));
        }
        taken.push(Made { name: name.to_owned(), payload });
        Ok(())
    }
}

/// Holds what a pool gives for one image against what the indexer declares. A [`Collector`] has done so where the extraction ran; but that
/// may have been in a worker, whose memory the plugin can spoil.
///
/// # Errors
/// Where an artifact is not declared, or comes twice.
pub(crate) fn check(declared: &[Artifact], made: &[Made]) -> Result<(), Failure> {
    let mut places = Vec::with_capacity(made.len());
    for Made { name, payload } in made {
        let kind = payload.kind();
        let (wrong, cause) = match place(declared, name, kind) {
            None => (undeclared(name, kind), Some(FailureCause::Undeclared { artifact: failure_text(name) })),
            Some(place) if places.contains(&place) => (twice(&failure_text(name), kind), None),
            Some(place) => {
                places.push(place);
                continue;
            }
        };
        let message = format!("the worker's answer cannot be right: {wrong}");
        return Err(Failure { cause, ..Failure::new(FailureKind::Error, message) });
    }
    Ok(())
}

/// Which of the declared artifacts it is.
fn place(declared: &[Artifact], name: &str, kind: ArtifactKind) -> Option<usize> {
    let is_it = |artifact: &Artifact| {
        artifact.kind == kind && (artifact.name == name || same_key(artifact, &Artifact::new(name, kind)))
    };
    declared.iter().position(is_it)
}

fn undeclared(name: &str, kind: ArtifactKind) -> String {
    format!("it hands over the {} artifact '{}', which its WRITES does not name", words(kind), failure_text(name))
}

fn twice(name: &str, kind: ArtifactKind) -> String {
    format!("it hands over the {} artifact '{name}' twice", words(kind))
}

/// Names that are made safe alike are one.
fn same_key(one: &Artifact, other: &Artifact) -> bool {
    match (artifact_keys(one), artifact_keys(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn words(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Json => "JSON",
        ArtifactKind::Parquet | ArtifactKind::Csv => "table",
        _ => "array",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array() -> Array {
        Array::from_elements(&[1_u8, 2], vec![2], vec!["x".into()]).unwrap()
    }

    fn table(rows: usize) -> Table {
        Table::builder().column("a", vec![1.0; rows]).unwrap().build().unwrap()
    }

    #[test]
    fn what_is_declared_is_taken_once_and_the_rest_refused() {
        let declared = [
            Artifact::new("a/array", ArtifactKind::Array),
            Artifact::new("a/table", ArtifactKind::Parquet),
            Artifact::new("a/params", ArtifactKind::Json),
            Artifact::new("a/table", ArtifactKind::Json),
        ];
        let collector = Collector::new(&declared);
        let said = |result: Result<(), Error>| result.map_err(|error| error.message().to_owned());
        let refused = |result, words: &str| {
            let message = said(result).expect_err(words);
            assert!(message.contains(words), "{message}");
        };
        refused(collector.json("b", b"{}"), "JSON artifact 'b', which its WRITES does not name");
        refused(collector.json("a/array", b"{}"), "does not name");
        refused(collector.table("a/params", table(1)), "table artifact 'a/params'");
        refused(collector.array("a/table", array()), "does not name");
        refused(collector.json("a/params", b"{"), "'a/params' that it hands over is no JSON");
        assert_eq!(said(collector.json("a/params", b"{\"x\":NaN,\"x\":1}")), Ok(()));
        refused(collector.json("a/params", b"1"), "JSON artifact 'a/params' twice");
        // Made safe, it is the same name.
        refused(collector.json(" /a/params/ ", b"1"), "twice");
        assert_eq!(said(collector.table("a/table", table(0))), Ok(()));
        assert_eq!(said(collector.json("a/table", b"[]")), Ok(()));
        assert_eq!(said(collector.array("a/array", array())), Ok(()));
        let made: Vec<_> =
            collector.into_made().into_iter().map(|made| (made.name.clone(), made.payload.kind())).collect();
        let expected: Vec<_> = declared.iter().map(|artifact| (artifact.name.clone(), artifact.kind)).collect();
        assert_eq!(made, expected);
    }

    #[test]
    fn json_is_kept_as_python_writes_it() {
        let declared = [Artifact::new("p", ArtifactKind::Json)];
        let collector = Collector::new(&declared);
        collector.json("p", "{\"ä\":[1e16,-0]}".as_bytes()).unwrap();
        let [Made { payload: Payload::Json(text), .. }] = &collector.into_made()[..] else { panic!("not one JSON") };
        assert_eq!(std::str::from_utf8(text), Ok("{\n  \"\\u00e4\": [\n    1e+16,\n    0\n  ]\n}"));
    }
}

//! The artifacts that an extraction hands over: checked, and held until it ends.
//!
//! Responsible for which artifacts are accepted. It does not write them, which the commit does, and does not read records.

use crate::failure::{Failure, FailureCause, FailureKind, failure_text};
use crate::indexer::Made;
use crate::rows::import;
use kymhost_dataset::{Payload, artifact_keys};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::ffi::ArrowTable;
use kymhost_plugin_api::{Artifact, ArtifactKind, Error, ErrorKind, Json, Table};
use kymhost_store::MAX_DOCUMENT_BYTES;
use std::sync::{Mutex, PoisonError};

/// The most bytes of all artifacts of one image: as many as its rows may have.
const MAX_BYTES: usize = 2 << 30;

/// Collects what one extraction hands over, from any of its threads.
pub(crate) struct Collector<'a> {
    declared: &'a [Artifact],
    taken: Mutex<Vec<Made>>,
    /// The first artifact that was refused because the indexer does not declare it.
    undeclared: Mutex<Option<String>>,
}

impl<'a> Collector<'a> {
    /// For an indexer that declares these artifacts.
    pub(crate) fn new(declared: &'a [Artifact]) -> Self {
        Self { declared, taken: Mutex::default(), undeclared: Mutex::default() }
    }

    /// The artifacts in the order of the declaration, so that the order does not depend on threads.
    pub(crate) fn into_made(self) -> Vec<Made> {
        let mut taken = std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        taken.sort_by_key(|made| place(self.declared, &made.name, made.payload.kind()));
        taken
    }

    /// The first artifact that was refused because the indexer does not declare it.
    pub(crate) fn undeclared(&self) -> Option<String> {
        self.undeclared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A JSON artifact: any text that Python reads. It is stored as Python writes it.
    pub(crate) fn json(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Json)?;
        let value = Json::parse(text)
            .map_err(|error| Error::msg(format!("the artifact '{name}' that it hands over is not JSON: {error}")))?;
        let text = value.to_file_text().into_bytes();
        if text.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(Error::msg(format!(
                "the artifact '{name}' has {} bytes as JSON, but {MAX_DOCUMENT_BYTES} is the limit; hand it over as a table or an array",
                text.len()
            )));
        }
        self.take(name, Payload::Json(text))
    }

    /// A table artifact, with the same checks as rows.
    pub(crate) fn table(&self, name: &str, table: Table) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Parquet)?;
        let (array, schema) = table.into_c_data();
        let rows = import(ArrowTable { array, schema }).map_err(|failure| {
            Error::new(ErrorKind::BadTable, format!("the artifact '{name}' is not a valid table: {}", failure.message))
        })?;
        self.take(name, Payload::Table(rows))
    }

    /// An array artifact.
    pub(crate) fn array(&self, name: &str, array: Array) -> Result<(), Error> {
        self.check_declared(name, ArtifactKind::Array)?;
        self.take(name, Payload::Array(array))
    }

    fn check_declared(&self, name: &str, kind: ArtifactKind) -> Result<(), Error> {
        match place(self.declared, name, kind) {
            Some(_) => Ok(()),
            None => {
                let mut first = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| failure_text(name));
                Err(Error::msg(undeclared(name, kind)))
            }
        }
    }

    fn take(&self, name: &str, payload: Payload) -> Result<(), Error> {
        let its_place = place(self.declared, name, payload.kind());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|made| place(self.declared, &made.name, made.payload.kind()) == its_place) {
            return Err(Error::msg(twice(name, payload.kind())));
        }
        let held: usize = taken.iter().map(|made| made.payload.bytes()).sum();
        if held.saturating_add(payload.bytes()) > MAX_BYTES {
            return Err(Error::msg(format!(
                "the artifacts that it hands over have more than {MAX_BYTES} bytes together with '{name}'"
            )));
        }
        taken.push(Made { name: name.to_owned(), payload });
        Ok(())
    }
}

/// Checks the artifacts of one image by the declaration of the indexer. A [`Collector`] has done so in the process of the
/// extraction; but that may be a worker, whose memory the plugin can spoil.
///
/// # Errors
/// If an artifact is not declared, or comes twice.
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
        let message = format!("the worker's answer is wrong: {wrong}");
        return Err(Failure { cause, ..Failure::new(FailureKind::Error, message) });
    }
    Ok(())
}

/// Its place in the declaration.
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

/// Two names with the same key are the same artifact.
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
    fn collector_takes_declared_artifacts_once() {
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
        refused(collector.json("a/params", b"{"), "'a/params' that it hands over is not JSON");
        assert_eq!(said(collector.json("a/params", b"{\"x\":NaN,\"x\":1}")), Ok(()));
        refused(collector.json("a/params", b"1"), "JSON artifact 'a/params' twice");
        // Its key is the same.
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
    fn collector_keeps_json_as_python_writes_it() {
        let declared = [Artifact::new("p", ArtifactKind::Json)];
        let collector = Collector::new(&declared);
        collector.json("p", "{\"ä\":[1e16,-0]}".as_bytes()).unwrap();
        let [Made { payload: Payload::Json(text), .. }] = &collector.into_made()[..] else { panic!("not one JSON") };
        assert_eq!(std::str::from_utf8(text), Ok("{\n  \"\\u00e4\": [\n    1e+16,\n    0\n  ]\n}"));
    }
}

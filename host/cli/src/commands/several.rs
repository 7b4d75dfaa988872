//! One indexer or several: the recordings are listed once, and results are reported in the order of the arguments.
//!
//! This file must not know what a command does with an indexer.

use crate::context::Context;
use crate::error::{CliError, ErrorBody};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Progress;
use kymhost_dataset::Dataset;
use kymhost_index::IndexError;
use kymhost_plugin::{Plugin, PoolOptions, Workforce, open_pool};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// The recordings, listed once if several plugins need them.
pub fn shared_listing(dataset: &Dataset, plugins: usize) -> Result<Option<Arc<Vec<String>>>, CliError> {
    Ok(if plugins > 1 { Some(Arc::new(dataset.image_ids()?)) } else { None })
}

/// Sorts results by their places among the arguments.
pub fn in_order_of_arguments<T>(mut results: Vec<(usize, T)>) -> Vec<T> {
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// An error of the index as one of the program. If the user interrupted the command, with the signal's exit code.
pub fn interrupted(error: IndexError, plugin: &Plugin, interrupt: &Interrupt) -> CliError {
    match error {
        IndexError::Interrupted => interrupt.error(&format!("{}: {}", plugin.indexer.name, IndexError::Interrupted)),
        error => error.into(),
    }
}

/// Does work with a plugin's workers, with a progress bar on a terminal.
pub fn with_workers<T>(
    context: &Context,
    dataset: &Dataset,
    plugin: &Plugin,
    pool: &PoolOptions,
    interrupt: &Interrupt,
    work: impl FnOnce(&mut dyn Workforce, &mut Progress) -> Result<T, IndexError>,
) -> Result<T, CliError> {
    let pool = PoolOptions { stop: interrupt.stop(), ..pool.clone() };
    let mut workforce = open_pool(plugin, dataset, &pool)?;
    let mut progress = Progress::new(&plugin.indexer.name, context.quiet, context.verbose, interrupt);
    let result = work(workforce.as_mut(), &mut progress);
    progress.finish();
    result.map_err(|error| interrupted(error, plugin, interrupt))
}

/// In a list of several plugins, the document of one, or its error.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum OneOf<'a, T> {
    /// Its document.
    Document(T),
    /// Its error.
    Error { indexer: &'a str, error: ErrorBody<'a> },
}

/// Writes one indexer's outcome for people.
pub type WriteText<'a, T> = &'a dyn Fn(&mut dyn Write, &T) -> io::Result<()>;

/// Puts what each indexer gave on standard output, and says how the command ends.
///
/// One indexer has its own document, and its error is the command's. Several have one list, named `list`, with a document
/// or an error for each.
pub fn report<'a, T, D: Serialize>(
    context: &Context,
    list: &str,
    plugins: &'a [Plugin],
    results: &'a [Result<T, CliError>],
    document: impl Fn(&'a T) -> D,
    write_text: Option<WriteText<'_, T>>,
    exit: impl Fn(&T) -> Exit,
) -> Result<Exit, CliError> {
    if let [result] = results {
        let value = result.as_ref().map_err(Clone::clone)?;
        match write_text {
            _ if context.json => output::document(&document(value))?,
            Some(write_text) => output::to_stdout(|out| write_text(out, value))?,
            None => {}
        }
        return Ok(exit(value));
    }
    if context.json {
        let indexers = plugins.iter().map(|plugin| plugin.indexer.name.as_str());
        output::document(&BTreeMap::from([(list, all_of(indexers, results, document))]))?;
    }
    if let Some(write_text) = write_text {
        for result in results {
            match result {
                Ok(value) if !context.json => output::to_stdout(|out| write_text(out, value))?,
                Ok(_) => {}
                Err(error) => output::error(error, false),
            }
        }
    }
    Ok(Exit::combine(results.iter().map(|result| match result {
        Ok(value) => exit(value),
        Err(error) => error.exit,
    })))
}

/// For each indexer its document or its error.
fn all_of<'a, T, D>(
    indexers: impl Iterator<Item = &'a str>,
    results: &'a [Result<T, CliError>],
    document: impl Fn(&'a T) -> D,
) -> Vec<OneOf<'a, D>> {
    let one = |(indexer, result): (&'a str, &'a Result<T, CliError>)| match result {
        Ok(value) => OneOf::Document(document(value)),
        Err(error) => OneOf::Error { indexer, error: ErrorBody::new(error) },
    };
    indexers.zip(results).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_store::Class;
    use serde_json::json;

    #[test]
    fn several_results_are_documents_or_errors() {
        let results = [Ok(7), Err(CliError::new(Class::Locked, "locked", "m", "h"))];
        assert_eq!(
            serde_json::to_value(all_of(["a", "b"].into_iter(), &results, |number| json!({"n": number}))).unwrap(),
            json!([{"n": 7}, {"indexer": "b", "error": {"code": "locked", "message": "m", "what": "m", "why": null, "help": "h"}}])
        );
    }
}

//! `demo`: a dataset of synthetic kymographs, and its table kept up to date before the user's eyes.
//! Owns: what is shown, and never touching a folder that it did not make. Never: the pixels (see `kymographs`).

pub mod kymographs;

use super::args::DemoArgs;
use super::documents::{OneOf, RunDocument, reason_meaning};
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::typed::quoted;
use super::{Context, explain, output, plugin, quantity, run, table};
use crate::dataset::Dataset;
use crate::index::{self, Compat, Mode, RunOptions, RunOutcome};
use crate::plugin::{Plugin, PoolOptions, find_plugin, open_pool};
use crate::store::{Key, LocalStore, MAX_DOCUMENT_BYTES, Store};
use kymhost_plugin_api::Json;
use kymographs::{COUNT, Kymograph, LINES, PIXELS, kymograph};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The indexer that is shown.
const INDEXER: &str = "velocity_events";
/// The key by which a folder that a demo made is known again.
const MADE_BY: &str = "index/kymhost/demo.json";
/// Whose params change before the third run: the one with most stalls.
const CHANGED: usize = 2;
/// Whose last event is taken out before the fourth.
const EDITED: usize = 0;
/// How many rows of the table are shown.
const ROWS: usize = 6;
/// How wide the table is where there is no terminal.
const WIDTH: usize = 110;

/// `demo --json`
#[derive(Debug, Serialize)]
struct DemoDocument<'a> {
    dataset: String,
    images: usize,
    runs: Vec<OneOf<'a, RunDocument<'a>>>,
}

/// Does `demo`.
pub(super) fn demo(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let plugin = find_plugin(INDEXER, &plugin::search_path(&args.dirs)?)?;
    let show = Show { context, args, dir: quoted(&args.dir), plugin: &plugin };
    let start = Instant::now();
    let dataset = make(&args.dir)?;
    let kymographs = (0..COUNT).map(kymograph).collect::<Result<Vec<_>, _>>()?;
    for kymograph in &kymographs {
        kymographs::add(&dataset, kymograph)?;
    }
    dataset.rebuild_manifest()?;
    show.made(&kymographs, start.elapsed())?;

    let mut outcomes = vec![show.step(&dataset, 1, "Every image, from nothing", Mode::Replace)?];
    outcomes.push(show.step(&dataset, 2, "Stale images only: there are none", Mode::Incremental)?);
    let changed = &kymographs[CHANGED];
    dataset.find_record(&changed.image_id)?.put_json("velocity_events/params", &kymographs::params(0.5))?;
    let title = format!("After abs_score_floor of {} went from 0.25 to 0.5", changed.image_id);
    outcomes.push(show.step(&dataset, 3, &title, Mode::Incremental)?);
    let edited = &kymographs[EDITED];
    let kept = edited.events.num_rows().saturating_sub(1);
    dataset.find_record(&edited.image_id)?.put_parquet("velocity_events/events", &edited.events.slice(0, kept))?;
    show.explain(&dataset, &edited.image_id)?;
    let title = format!("After an event of {} was taken out", edited.image_id);
    outcomes.push(show.step(&dataset, 4, &title, Mode::Incremental)?);
    show.table(&dataset)?;
    show.next(changed)?;

    let exit = Exit::combine(outcomes.iter().map(run::exit_of));
    if context.json {
        let results: Vec<Result<RunOutcome, CliError>> = outcomes.into_iter().map(Ok).collect();
        let runs = results.iter().map(|outcome| OneOf::new(INDEXER, outcome, RunDocument::new));
        output::document(&DemoDocument {
            dataset: args.dir.display().to_string(),
            images: COUNT,
            runs: runs.collect(),
        })?;
    }
    Ok(exit)
}

/// Makes the dataset: in a new or empty folder, or anew in one that an earlier demo made.
fn make(dir: &Path) -> Result<Dataset, CliError> {
    if dir.symlink_metadata().is_ok()
        && let Some(dataset) = made_before(dir)?
    {
        for image in dataset.image_ids()? {
            dataset.delete_image(&image)?;
        }
        for table in dataset.table_names()? {
            dataset.delete_table(&table)?;
        }
        return Ok(dataset);
    }
    let dataset = Dataset::create(dir)?;
    let made_by =
        Json::object([("made_by", Json::from("kymhost demo")), ("version", env!("CARGO_PKG_VERSION").into())]);
    dataset.store().put(&Key::new(MADE_BY)?, made_by.to_file_text().as_bytes())?;
    Ok(dataset)
}

/// The dataset that an earlier demo made in a folder; none in an empty one. Any other folder is refused.
fn made_before(dir: &Path) -> Result<Option<Dataset>, CliError> {
    let refuse = |why: &str| {
        CliError::new(Exit::Refused, "not_ours", format!("{} {why}; it is left as it is", dir.display()))
            .help(format!("name a folder that does not exist yet: kymhost demo {}", quoted(&unused_beside(dir))))
    };
    if !dir.is_dir() {
        return Err(refuse("is no folder"));
    }
    let store = LocalStore::open(dir)?;
    if store.list(&Key::root())?.is_none_or(|entries| entries.is_empty()) {
        return Ok(None);
    }
    if store.get(&Key::new(MADE_BY)?, MAX_DOCUMENT_BYTES)?.is_none() {
        return Err(refuse("is there already and was not made by a demo"));
    }
    let dataset = Dataset::open(dir)?;
    let ours = (0..COUNT).map(kymographs::image_id).collect::<Vec<_>>();
    if dataset.image_ids()?.iter().any(|image| !ours.contains(image)) {
        return Err(refuse("was made by a demo but holds images of yours"));
    }
    Ok(Some(dataset))
}

/// A name like this one that is still free.
fn unused_beside(dir: &Path) -> PathBuf {
    let name = dir.file_name().map_or_else(|| "kymhost-demo".to_owned(), |name| name.to_string_lossy().into_owned());
    let stem = name.strip_suffix(".zarr").unwrap_or(&name);
    let numbered = (2..100).map(|number| dir.with_file_name(format!("{stem}-{number}.zarr")));
    numbered.into_iter().find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| dir.with_extension("new.zarr"))
}

/// What the demo shows, for people; nothing with `--json`.
struct Show<'a> {
    context: &'a Context,
    args: &'a DemoArgs,
    /// The dataset as it is typed.
    dir: String,
    plugin: &'a Plugin,
}

impl Show<'_> {
    fn print(&self, text: &str) -> Result<(), CliError> {
        if self.context.json {
            return Ok(());
        }
        output::to_stdout(|out| out.write_all(text.as_bytes()))
    }

    /// A command line that does something with this dataset.
    fn command(&self, words: &str) -> String {
        format!("{} {words} --dataset {}", quoted(Path::new(&self.context.program)), self.dir)
    }

    /// The same for commands that need the plugin.
    fn plugin_command(&self, words: &str) -> String {
        let dirs = self.args.dirs.plugin_dir.iter().map(|dir| format!(" --plugin-dir {}", quoted(dir)));
        format!("{}{}", self.command(&format!("{words} --plugin {INDEXER}")), dirs.collect::<String>())
    }

    fn made(&self, kymographs: &[Kymograph], took: Duration) -> Result<(), CliError> {
        let stalls: usize = kymographs.iter().map(|kymograph| kymograph.events.num_rows()).sum();
        self.print(&format!(
            "Made {}: {COUNT} synthetic kymographs of {LINES} lines x {PIXELS} pixels, with {stalls} stalls ({}).\n\
             Its indexer, {INDEXER}, comes from {}.\n",
            self.dir,
            quantity::show_duration(took),
            self.plugin.library.display()
        ))
    }

    fn step(&self, dataset: &Dataset, number: usize, title: &str, mode: Mode) -> Result<RunOutcome, CliError> {
        let start = Instant::now();
        let (pool, options) = (PoolOptions::default(), RunOptions::new(mode));
        let outcome = run::one(self.context, dataset, self.plugin, &pool, &options, &Interrupt::default())?;
        let took = start.elapsed();
        let replace = if mode == Mode::Replace { " --mode replace" } else { "" };
        let mut text = format!("\n{number}. {title}\n   $ {}{replace}\n", self.plugin_command("run"));
        let _ = writeln!(text, "   {}", run::summary(&outcome, took));
        for decision in &outcome.decisions {
            let failure = outcome.failures.iter().find(|failure| failure.image_id == decision.image_id);
            let what = match failure {
                Some(_) => "failed ",
                None if mode == Mode::Replace || decision.is_stale => "updated",
                None => "skipped",
            };
            let (word, meaning) = (decision.reason.code(), reason_meaning(decision.reason));
            let _ = writeln!(text, "     {}  {what}  {word}: {meaning}", decision.image_id);
            if let Some(failure) = failure {
                let _ =
                    writeln!(text, "       {}: {}", failure.failure.kind, output::indented(&failure.failure.message));
            }
        }
        self.print(&text)?;
        Ok(outcome)
    }

    /// What `explain` tells of an image.
    fn explain(&self, dataset: &Dataset, image_id: &str) -> Result<(), CliError> {
        let mut workforce = open_pool(self.plugin, dataset, &PoolOptions::default())?;
        let explanation =
            index::explain(dataset, &self.plugin.indexer, workforce.as_mut(), image_id, Compat::default())?;
        let mut text = Vec::new();
        explain::write_text(&mut text, &explanation).map_err(|error| CliError::output(&error))?;
        let text = String::from_utf8_lossy(&text).trim_end().replace('\n', "\n   ");
        let command = self.plugin_command(&format!("explain {image_id}"));
        self.print(&format!(
            "\nAn event is taken out of an image. Is its table still up to date?\n   $ {command}\n   {text}\n"
        ))
    }

    fn table(&self, dataset: &Dataset) -> Result<(), CliError> {
        let Some(rows) = dataset.read_table(&format!("kym_{INDEXER}"), None)? else { return Ok(()) };
        let mut text = Vec::new();
        let left_out = table::head(&rows, ROWS, WIDTH, &mut text).map_err(|error| CliError::output(&error))?;
        self.print(&format!(
            "\nThe table ({} rows, {} columns; the first {} and {}):\n\n{}",
            rows.num_rows(),
            rows.num_columns(),
            rows.num_rows().min(ROWS),
            rows.num_columns() - left_out,
            String::from_utf8_lossy(&text)
        ))
    }

    fn next(&self, changed: &Kymograph) -> Result<(), CliError> {
        let params = self.args.dir.join("images").join(&changed.image_id).join("analysis/velocity_events/params.json");
        self.print(&format!(
            "\nTry next:\n  {}\n  {}\n  {}\n  {}\n\nor write an indexer of your own:\n  {}\n\nor change an image's params and see that just this one is done again:\n  \
             echo '{{\"abs_score_floor\": 1.0}}' > {}\n  {}\n  {}\n  {}\n",
            self.plugin_command("status"),
            self.command(&format!("table show {INDEXER}")),
            self.command(&format!("table show {INDEXER} --format csv")),
            self.command("dataset info"),
            format_args!("{} plugin new my_indexer", quoted(Path::new(&self.context.program))),
            quoted(&params),
            self.plugin_command("status"),
            self.plugin_command(&format!("explain {}", changed.image_id)),
            self.plugin_command("run"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_a_demo_made_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.zarr");
        let refused = |path: &Path| make(path).map(drop).map_err(|error| (error.exit, error.code));
        assert_eq!(refused(&path), Ok(()), "a new folder");
        assert_eq!(refused(&path), Ok(()), "one that a demo made");
        kymographs::add(&Dataset::open(&path).unwrap(), &kymograph(0).unwrap()).unwrap();
        assert_eq!(refused(&path), Ok(()), "with an image that a demo made");
        kymographs::add(&Dataset::open(&path).unwrap(), &kymograph(COUNT).unwrap()).unwrap();
        assert_eq!(refused(&path), Err((Exit::Refused, "not_ours")), "with another image");

        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        assert_eq!(refused(&other), Ok(()), "an empty folder");
        let mine = folder.path().join("mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("notes.txt"), "mine").unwrap();
        assert_eq!(refused(&mine), Err((Exit::Refused, "not_ours")), "a folder with a file");
        assert_eq!(fs::read(mine.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(refused(&mine.join("notes.txt")), Err((Exit::Refused, "not_ours")), "a file");
    }

    #[test]
    fn the_advice_names_a_free_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("demo-2.zarr")).unwrap();
        assert_eq!(unused_beside(&folder.path().join("demo.zarr")), folder.path().join("demo-3.zarr"));
    }
}

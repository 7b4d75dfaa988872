//! `status`: which images are stale, and why. Writes nothing.
//!
//! This file must not decide what is stale: see [`kymhost_index`].

use super::bodies::{ImageBody, OrphanBody};
use super::several::{report, shared_listing};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::{CompatArg, PluginChoice, PoolArgs, compat, pool_options, reason};
use crate::words::{image_line, images, rows};
use crate::{output, plugins};
use clap::Args;
use kymhost_index::Status;
use kymhost_index::staleness::{ImageReport, Reason};
use kymhost_plugin::open_pool;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

const EXAMPLES: &str = "\
Examples:
  kymhost status --plugin velocity_events
  kymhost status --plugin velocity_events --reason STALE_INPUT_CHANGED STALE_INPUT_REMOVED
  kymhost status --plugin velocity_events --exit-code || kymhost run --plugin velocity_events
  kymhost status --plugin velocity_events --json | jq '.images[] | select(.is_stale)'";

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Which indexers.
    #[command(flatten)]
    pub choice: PluginChoice,
    /// Decide exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// List images with this reason only; repeatable
    #[arg(long, value_name = "CODE", num_args = 1.., ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = reason())]
    pub reason: Vec<Reason>,
    /// End with exit code 10 when an image is stale; with --reason, one of those
    #[arg(long)]
    pub exit_code: bool,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// How many images the text names.
const MAX_SHOWN: usize = 20;

/// `status --json`
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    images: Vec<ImageBody<'a>>,
    orphans: Vec<OrphanBody<'a>>,
}

impl<'a> StatusDocument<'a> {
    /// The document of a status: images with one of these reasons, with any where there are none.
    pub fn new(status: &'a Status, reasons: &BTreeSet<Reason>) -> Self {
        let listed = status.images.iter().filter(|image| reasons.is_empty() || reasons.contains(&image.reason));
        Self {
            indexer: &status.indexer,
            table: &status.table,
            images: listed.map(ImageBody::new).collect(),
            orphans: OrphanBody::all(&status.orphans),
        }
    }
}

/// Does `status`.
pub fn status(context: &Context, args: &StatusArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugins = plugins::chosen(&args.choice)?;
    let options = pool_options(&args.pool);
    let listing = shared_listing(&dataset, plugins.len())?;
    let reasons: BTreeSet<Reason> = args.reason.iter().copied().collect();
    let mut results = Vec::with_capacity(plugins.len());
    for plugin in &plugins {
        let judged = open_pool(plugin, &dataset, &options).map_err(CliError::from).and_then(|mut workforce| {
            let workforce = workforce.as_mut();
            Ok(kymhost_index::status(&dataset, &plugin.indexer, workforce, compat(args.compat), listing.clone())?)
        });
        results.push(judged);
    }
    let exit = |status: &Status| {
        let found = status.images.iter().any(|image| image.is_stale && is_asked_for(image, &reasons));
        if args.exit_code && found { Exit::StaleFound } else { Exit::Done }
    };
    let document = |status| StatusDocument::new(status, &reasons);
    let text = |out: &mut dyn Write, status: &Status| write_text(out, status, &reasons);
    report(context, "statuses", &plugins, &results, document, Some(&text), exit)
}

/// Whether an image is listed: without reasons, every one is.
fn is_asked_for(image: &ImageReport, reasons: &BTreeSet<Reason>) -> bool {
    reasons.is_empty() || reasons.contains(&image.reason)
}

/// Codes, how often each was counted, and what it means, in columns.
fn write_counts(out: &mut dyn Write, counts: &[(&str, usize, &str)]) -> io::Result<()> {
    let width = counts.iter().map(|(code, ..)| code.len()).max().unwrap_or(0);
    let digits = counts.iter().map(|(_, count, _)| count.to_string().len()).max().unwrap_or(0);
    counts.iter().try_for_each(|(code, count, meaning)| writeln!(out, "  {code:width$}  {count:>digits$}  {meaning}"))
}

fn counted<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_insert(0) += 1);
    counts
}

fn write_text(out: &mut dyn Write, status: &Status, reasons: &BTreeSet<Reason>) -> io::Result<()> {
    let (stale, total) = (status.images.iter().filter(|image| image.is_stale).count(), status.images.len());
    writeln!(out, "{}: {stale} of {total} images are stale ({})", status.indexer, status.table)?;
    let counts = counted(status.images.iter().map(|image| image.reason));
    let counts: Vec<_> = counts.iter().map(|(&reason, &n)| (reason.code(), n, reason.meaning())).collect();
    write_counts(out, &counts)?;
    let notes = counted(status.images.iter().flat_map(|image| image.notes.iter().copied()));
    if !notes.is_empty() {
        writeln!(out, "notes:")?;
        let notes: Vec<_> = notes.iter().map(|(&note, &n)| (note.code(), n, note.meaning())).collect();
        write_counts(out, &notes)?;
    }
    if !status.orphans.is_empty() {
        let rows = rows(status.orphans.iter().fold(0_u64, |sum, (_, rows)| sum.saturating_add(*rows)));
        let orphans = images(status.orphans.len() as u64);
        writeln!(out, "orphans: the table has {rows} of {orphans} no longer in the dataset; `run` removes them")?;
    }
    let listed =
        |image: &&ImageReport| if reasons.is_empty() { image.is_stale } else { reasons.contains(&image.reason) };
    let listed: Vec<_> = status.images.iter().filter(listed).collect();
    if listed.is_empty() {
        return Ok(());
    }
    if reasons.is_empty() {
        writeln!(out, "stale images:")?;
    } else {
        let codes: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
        writeln!(out, "images with {}:", codes.join(", "))?;
    }
    let lines = listed.into_iter().map(image_line);
    for line in output::bounded(lines, MAX_SHOWN, " (--json lists all)") {
        writeln!(out, "  {}", line.replace('\n', "\n  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::report;
    use kymhost_index::staleness::Note;
    use serde_json::json;

    fn status(reasons: &[(Reason, usize)]) -> Status {
        let images = reasons.iter().flat_map(|&(reason, count)| std::iter::repeat_n(reason, count)).enumerate();
        let images = images.map(|(i, reason)| {
            let mut report = report(&format!("image-{i:02}"), reason);
            report.error = (reason == Reason::StaleUnreadable).then(|| "broken\nJSON".to_owned());
            report
        });
        Status {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            images: images.collect(),
            orphans: Vec::new(),
        }
    }

    fn text_of(status: &Status, reasons: &[Reason]) -> String {
        let mut out = Vec::new();
        write_text(&mut out, status, &reasons.iter().copied().collect()).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text(reasons: &[(Reason, usize)]) -> String {
        text_of(&status(reasons), &[])
    }

    #[test]
    fn all_fresh_is_short() {
        assert_eq!(
            text(&[(Reason::FreshRows, 12), (Reason::FreshZeroRows, 3)]),
            "radon: 0 of 15 images are stale (tables/kym_radon.parquet)\n  \
             FRESH_ROWS       12  its rows are up to date\n  \
             FRESH_ZERO_ROWS   3  it was run and has no rows\n"
        );
        assert_eq!(text(&[]), "radon: 0 of 0 images are stale (tables/kym_radon.parquet)\n");
    }

    #[test]
    fn stale_images_are_listed_up_to_a_bound() {
        let text = text(&[(Reason::FreshRows, 1), (Reason::StaleMissingMarker, 22), (Reason::StaleUnreadable, 1)]);
        assert!(text.starts_with("radon: 23 of 24 images are stale"), "{text}");
        assert!(text.contains("  image-01  STALE_MISSING_MARKER\n"), "{text}");
        assert!(!text.contains("image-00") && !text.contains("image-21"), "{text}");
        assert!(text.ends_with("  ... and 3 more (--json lists all)\n"), "{text}");
    }

    #[test]
    fn an_unreadable_image_says_why() {
        assert!(text(&[(Reason::StaleUnreadable, 1)]).contains("image-00  STALE_UNREADABLE: broken\n    JSON\n"));
    }

    #[test]
    fn the_keys_that_a_reason_is_about_are_named() {
        let mut status = status(&[(Reason::StaleInputChanged, 1)]);
        status.images[0].inputs = vec!["data".into(), "analysis/x.json".into()];
        assert!(text_of(&status, &[]).ends_with("  image-00  STALE_INPUT_CHANGED: data, analysis/x.json\n"));
    }

    #[test]
    fn notes_and_orphans_are_counted() {
        let mut status = status(&[(Reason::FreshRows, 12)]);
        status.images.iter_mut().take(11).for_each(|image| image.notes.push(Note::JudgedByOldRules));
        status.images[3].notes.push(Note::AnotherLibrary);
        status.orphans = vec![("a".into(), 3), ("b".into(), 4)];
        let text = text_of(&status, &[]);
        let (_, after) = text.split_once("up to date\n").unwrap();
        assert_eq!(
            after,
            format!(
                "notes:\n  JUDGED_BY_OLD_RULES  11  {}\n  ANOTHER_LIBRARY       1  {}\norphans: the table has 7 rows of 2 \
                 images no longer in the dataset; `run` removes them\n",
                Note::JudgedByOldRules.meaning(),
                Note::AnotherLibrary.meaning()
            )
        );
        status.orphans = vec![("a".into(), 1)];
        let text = text_of(&status, &[]);
        assert!(text.contains("the table has 1 row of 1 image no longer in the dataset"), "{text}");
    }

    #[test]
    fn only_images_with_the_reasons_are_listed() {
        let status = status(&[(Reason::FreshRows, 1), (Reason::StaleMissingMarker, 1), (Reason::StaleUnknown, 1)]);
        let listed = |reasons: &[Reason]| {
            let text = text_of(&status, reasons);
            assert!(text.starts_with("radon: 2 of 3 images are stale"), "{text}");
            text.split_once("images with ").map(|(_, list)| list.to_owned())
        };
        assert_eq!(listed(&[Reason::StaleUnknown]).as_deref(), Some("STALE_UNKNOWN:\n  image-02  STALE_UNKNOWN\n"));
        assert_eq!(
            listed(&[Reason::StaleUnknown, Reason::FreshRows]).as_deref(),
            Some("FRESH_ROWS, STALE_UNKNOWN:\n  image-00  FRESH_ROWS\n  image-02  STALE_UNKNOWN\n")
        );
        assert_eq!(listed(&[Reason::StaleInputChanged]), None);
    }

    fn value(document: &impl Serialize) -> serde_json::Value {
        serde_json::to_value(document).unwrap()
    }

    #[test]
    fn the_document_of_a_status() {
        let mut good = report("i", Reason::FreshRows);
        good.marker_n_rows = Some(2);
        good.notes = vec![Note::AnotherLibrary];
        let mut changed = report("j", Reason::StaleInputChanged);
        changed.inputs = vec!["data".into()];
        let mut bad = report("k", Reason::StaleUnreadable);
        bad.error = Some("bad".into());
        let status = Status {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            images: vec![good, changed, bad],
            orphans: vec![("gone".into(), 3)],
        };
        let images = json!([
            {"image_id": "i", "reason": "FRESH_ROWS", "is_stale": false, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": 2, "params_hash_matches": true,
             "analysis_version_matches": false, "notes": ["ANOTHER_LIBRARY"]},
            {"image_id": "j", "reason": "STALE_INPUT_CHANGED", "is_stale": true, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
             "analysis_version_matches": false, "inputs": ["data"]},
            {"image_id": "k", "reason": "STALE_UNREADABLE", "is_stale": true, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
             "analysis_version_matches": false, "error": "bad"},
        ]);
        let orphans = json!([{"image_id": "gone", "rows": 3}]);
        assert_eq!(
            value(&StatusDocument::new(&status, &BTreeSet::new())),
            json!({
                "indexer": "radon", "table": "tables/kym_radon.parquet", "images": images, "orphans": orphans,
            })
        );
        let some = BTreeSet::from([Reason::StaleInputChanged, Reason::StaleUnknown]);
        assert_eq!(value(&StatusDocument::new(&status, &some))["images"], json!([images[1]]));
    }
}

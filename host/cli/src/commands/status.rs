//! `status`: which recordings are stale, and why. Writes nothing.
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
  kymhost status --plugin velocity_events --json | jq '.images[] | select(.is_stale)'

With -v the codes of the reasons are printed, as --reason takes them.";

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
    /// List only recordings with this reason; repeatable
    #[arg(long, value_name = "CODE", num_args = 1.., ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = reason())]
    pub reason: Vec<Reason>,
    /// End with exit code 10 if a recording is stale (with --reason: one of the listed recordings)
    #[arg(long)]
    pub exit_code: bool,
    /// How plugins are run.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// `status --json`
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// The table's key in the dataset.
    table: &'a str,
    /// The recordings, in the order of their ids.
    images: Vec<ImageBody<'a>>,
    /// Recordings that have rows but are no longer in the dataset.
    orphans: Vec<OrphanBody<'a>>,
}

impl<'a> StatusDocument<'a> {
    /// The document of a status: recordings with one of these reasons, or every recording if there are none.
    pub fn new(status: &'a Status, reasons: &BTreeSet<Reason>) -> Self {
        let listed = status.images.iter().filter(|image| is_asked_for(image, reasons));
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
    let options = pool_options(&args.pool, compat(args.compat));
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
    let text = |out: &mut dyn Write, status: &Status| write_text(out, status, &reasons, context.verbose > 0);
    report(context, "statuses", &plugins, &results, document, Some(&text), exit)
}

/// Whether a recording is listed. Without reasons, every recording is.
fn is_asked_for(image: &ImageReport, reasons: &BTreeSet<Reason>) -> bool {
    reasons.is_empty() || reasons.contains(&image.reason)
}

/// How often each reason or note was counted, and what it means, in columns. Codes only with `codes`.
fn write_counts(out: &mut dyn Write, counts: &[(&str, usize, &str)], codes: bool) -> io::Result<()> {
    let width = counts.iter().map(|(code, ..)| code.len()).max().unwrap_or(0);
    let digits = counts.iter().map(|(_, count, _)| count.to_string().len()).max().unwrap_or(0);
    counts.iter().try_for_each(|(code, count, meaning)| {
        let code = if codes { format!("{code:width$}  ") } else { String::new() };
        writeln!(out, "  {code}{count:>digits$}  {meaning}")
    })
}

fn counted<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_insert(0) += 1);
    counts
}

fn write_text(out: &mut dyn Write, status: &Status, reasons: &BTreeSet<Reason>, codes: bool) -> io::Result<()> {
    let (stale, total) = (status.images.iter().filter(|image| image.is_stale).count(), status.images.len());
    writeln!(out, "{}: {stale} of {} stale", status.indexer, images(total as u64))?;
    if codes {
        writeln!(out, "  table  {}", status.table)?;
    }
    let counts = counted(status.images.iter().map(|image| image.reason));
    let counts: Vec<_> = counts.iter().map(|(&reason, &n)| (reason.code(), n, reason.meaning())).collect();
    write_counts(out, &counts, codes)?;
    let notes = counted(status.images.iter().flat_map(|image| image.notes.iter().copied()));
    if !notes.is_empty() {
        writeln!(out, "notes:")?;
        let notes: Vec<_> = notes.iter().map(|(&note, &n)| (note.code(), n, note.meaning())).collect();
        write_counts(out, &notes, codes)?;
    }
    if !status.orphans.is_empty() {
        let rows = rows(status.orphans.iter().fold(0_u64, |sum, (_, rows)| sum.saturating_add(*rows)));
        let orphans = images(status.orphans.len() as u64);
        writeln!(out, "the table has {rows} of {orphans} no longer in the dataset; the next run removes them")?;
    }
    let is_listed = |image: &&ImageReport| is_asked_for(image, reasons) && (image.is_stale || !reasons.is_empty());
    let listed: Vec<_> = status.images.iter().filter(is_listed).collect();
    if listed.is_empty() {
        return Ok(());
    }
    if reasons.is_empty() {
        writeln!(out, "stale recordings:")?;
    } else {
        let names: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
        writeln!(out, "recordings with {}:", names.join(", "))?;
    }
    output::write_list(out, listed.into_iter().map(|image| image_line(image, codes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::report;
    use kymhost_index::staleness::Note;

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
        text_with(status, reasons, false)
    }

    fn text_with(status: &Status, reasons: &[Reason], codes: bool) -> String {
        let mut out = Vec::new();
        write_text(&mut out, status, &reasons.iter().copied().collect(), codes).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text(reasons: &[(Reason, usize)]) -> String {
        text_of(&status(reasons), &[])
    }

    #[test]
    fn text_of_fresh_dataset_is_short() {
        let reasons = [(Reason::FreshRows, 12), (Reason::FreshZeroRows, 3)];
        let (rows, zero) = (Reason::FreshRows.meaning(), Reason::FreshZeroRows.meaning());
        assert_eq!(text(&reasons), format!("radon: 0 of 15 recordings stale\n  12  {rows}\n   3  {zero}\n"));
        assert_eq!(
            text_with(&status(&reasons), &[], true),
            format!(
                "radon: 0 of 15 recordings stale\n  table  tables/kym_radon.parquet\n  \
                 FRESH_ROWS       12  {rows}\n  FRESH_ZERO_ROWS   3  {zero}\n"
            )
        );
        assert_eq!(text(&[]), "radon: 0 of 0 recordings stale\n");
    }

    #[test]
    fn text_lists_stale_images_up_to_a_bound() {
        let text = text(&[(Reason::FreshRows, 1), (Reason::StaleMissingMarker, 22), (Reason::StaleUnreadable, 1)]);
        assert!(text.starts_with("radon: 23 of 24 recordings stale"), "{text}");
        assert!(text.contains(&format!("  image-01  {}\n", Reason::StaleMissingMarker.meaning())), "{text}");
        assert!(!text.contains("image-00") && !text.contains("image-21"), "{text}");
        assert!(text.ends_with("  ... and 3 more (--json lists all)\n"), "{text}");
    }

    #[test]
    fn text_shows_codes_only_if_verbose() {
        let mut status = status(&[(Reason::StaleUnreadable, 1), (Reason::StaleInputChanged, 1)]);
        status.images[1].inputs = vec!["data".into(), "analysis/x.json".into()];
        let (plain, verbose) = (text_of(&status, &[]), text_with(&status, &[], true));
        let unreadable = Reason::StaleUnreadable.meaning();
        let changed = Reason::StaleInputChanged.meaning();
        assert!(!plain.contains("STALE_"), "{plain}");
        assert!(plain.contains(&format!("  image-00  {unreadable}: broken\n    JSON\n")), "{plain}");
        assert!(plain.ends_with(&format!("  image-01  {changed}: data, analysis/x.json\n")), "{plain}");
        assert!(verbose.contains("  image-00  STALE_UNREADABLE: broken\n    JSON\n"), "{verbose}");
        assert!(verbose.ends_with("  image-01  STALE_INPUT_CHANGED: data, analysis/x.json\n"), "{verbose}");
    }

    #[test]
    fn text_counts_notes_and_orphans() {
        let mut status = status(&[(Reason::FreshRows, 12)]);
        status.images.iter_mut().take(11).for_each(|image| image.notes.push(Note::JudgedByOldRules));
        status.images[3].notes.push(Note::AnotherLibrary);
        status.orphans = vec![("a".into(), 3), ("b".into(), 4)];
        let text = text_of(&status, &[]);
        let (_, after) = text.split_once(&format!("{}\n", Reason::FreshRows.meaning())).unwrap();
        assert_eq!(
            after,
            format!(
                "notes:\n  11  {}\n   1  {}\nthe table has 7 rows of 2 recordings no longer in the dataset; the next run \
                 removes them\n",
                Note::JudgedByOldRules.meaning(),
                Note::AnotherLibrary.meaning()
            )
        );
        assert!(text_with(&status, &[], true).contains("  JUDGED_BY_OLD_RULES  11  "));
        status.orphans = vec![("a".into(), 1)];
        let text = text_of(&status, &[]);
        assert!(text.contains("the table has 1 row of 1 recording no longer in the dataset"), "{text}");
    }

    #[test]
    fn text_lists_only_images_with_the_reasons() {
        let status = status(&[(Reason::FreshRows, 1), (Reason::StaleMissingMarker, 1), (Reason::StaleUnknown, 1)]);
        let listed = |reasons: &[Reason]| {
            let text = text_with(&status, reasons, true);
            assert!(text.starts_with("radon: 2 of 3 recordings stale"), "{text}");
            text.split_once("recordings with ").map(|(_, list)| list.to_owned())
        };
        assert_eq!(listed(&[Reason::StaleUnknown]).as_deref(), Some("STALE_UNKNOWN:\n  image-02  STALE_UNKNOWN\n"));
        assert_eq!(
            listed(&[Reason::StaleUnknown, Reason::FreshRows]).as_deref(),
            Some("FRESH_ROWS, STALE_UNKNOWN:\n  image-00  FRESH_ROWS\n  image-02  STALE_UNKNOWN\n")
        );
        assert_eq!(listed(&[Reason::StaleInputChanged]), None);
    }
}

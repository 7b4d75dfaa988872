//! `status`: which images are stale, and why. Writes nothing.
//! Owns: the text for people and the exit code. Never: decides what is stale.

use super::args::StatusArgs;
use super::documents::{OneOf, StatusDocument, StatusesDocument, reason_meaning};
use super::error::CliError;
use super::exit::Exit;
use super::run::{compat, pool_options};
use super::{Context, output, plugin};
use crate::index::{self, Status};
use crate::plugin::open_pool;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// How many stale images the text names.
const MAX_STALE_SHOWN: usize = 20;

/// Does `status`.
pub fn status(context: &Context, args: &StatusArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugins = plugin::chosen(&args.choice)?;
    let options = pool_options(&args.pool);
    let mut results = Vec::with_capacity(plugins.len());
    for plugin in &plugins {
        let judged = open_pool(plugin, &dataset, &options).map_err(CliError::from).and_then(|mut workforce| {
            Ok(index::status(&dataset, &plugin.indexer, workforce.as_mut(), compat(args.compat), None)?)
        });
        results.push(judged);
    }
    let exit = |status: &Status| if args.exit_code && n_stale(status) > 0 { Exit::StaleFound } else { Exit::Done };
    if results.len() == 1 {
        let status = results.remove(0)?;
        if context.json {
            output::document(&StatusDocument::new(&status))?;
        } else {
            output::to_stdout(|out| write_text(out, &status))?;
        }
        return Ok(exit(&status));
    }
    if context.json {
        let statuses = plugins
            .iter()
            .zip(&results)
            .map(|(plugin, result)| OneOf::new(&plugin.indexer.name, result, StatusDocument::new));
        output::document(&StatusesDocument { statuses: statuses.collect() })?;
    }
    for result in &results {
        match result {
            Ok(status) if !context.json => output::to_stdout(|out| write_text(out, status))?,
            Ok(_) => {}
            Err(error) => output::error(error, false),
        }
    }
    Ok(Exit::combine(results.iter().map(|result| match result {
        Ok(status) => exit(status),
        Err(error) => error.exit,
    })))
}

fn n_stale(status: &Status) -> usize {
    status.images.iter().filter(|image| image.is_stale).count()
}

fn write_text(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let (stale, total) = (n_stale(status), status.images.len());
    writeln!(out, "{}: {stale} of {total} images are stale ({})", status.indexer, status.table)?;
    let mut counts = BTreeMap::new();
    for image in &status.images {
        *counts.entry(image.reason).or_insert(0_usize) += 1;
    }
    let width = counts.keys().map(|&reason| reason.code().len()).max().unwrap_or(0);
    let digits = counts.values().map(|count| count.to_string().len()).max().unwrap_or(0);
    for (&reason, count) in &counts {
        writeln!(out, "  {:width$}  {count:>digits$}  {}", reason.code(), reason_meaning(reason))?;
    }
    if stale == 0 {
        return Ok(());
    }
    writeln!(out, "stale images:")?;
    let stale: Vec<_> = status.images.iter().filter(|image| image.is_stale).collect();
    let lines = stale.iter().map(|image| {
        let error = image.error.as_ref().map(|error| format!(": {}", output::indented(error)));
        format!("{}  {}{}", image.image_id, image.reason.code(), error.unwrap_or_default())
    });
    for line in output::bounded(lines, MAX_STALE_SHOWN, " (--json lists all)") {
        writeln!(out, "  {}", line.replace('\n', "\n  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::staleness::{ImageReport, Reason};

    fn text(reasons: &[(Reason, usize)]) -> String {
        let images = reasons.iter().flat_map(|&(reason, count)| std::iter::repeat_n(reason, count)).enumerate();
        let images = images.map(|(i, reason)| ImageReport {
            image_id: format!("image-{i:02}"),
            reason,
            is_stale: !matches!(reason, Reason::FreshRows | Reason::FreshZeroRows),
            has_run_marker: false,
            table_rows_present: false,
            marker_n_rows: None,
            params_hash_matches: false,
            analysis_version_matches: false,
            error: (reason == Reason::StaleUnreadable).then(|| "broken\nJSON".to_owned()),
            inputs: Vec::new(),
            notes: Vec::new(),
        });
        let status = Status {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            images: images.collect(),
            orphans: Vec::new(),
        };
        let mut out = Vec::new();
        write_text(&mut out, &status).unwrap();
        String::from_utf8(out).unwrap()
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
}

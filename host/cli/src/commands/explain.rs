//! `explain`: every reason why one recording is stale or fresh. Writes nothing.
//!
//! This file must not decide what is stale: see [`kymhost_index`].

use super::bodies::ImageBody;
use super::several::interrupted;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::options::{CompatArg, OnePlugin, PoolArgs, compat, pool_options};
use crate::{output, plugins, words};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_index::staleness::ImageReport;
use kymhost_index::{Cause, Difference, Explanation, IndexError};
use kymhost_plugin::{PoolOptions, open_pool};
use kymhost_store::StoreError;
use kymhost_store::text::listed;
use serde::Serialize;
use std::io::{self, Write};

const EXAMPLES: &str = "\
Examples:
  kymhost explain 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e --plugin velocity_events
  kymhost explain 0b0f --plugin velocity_events            the first characters of the id are enough
  kymhost explain 0b0f --plugin velocity_events --json | jq '.causes[].inputs'

`status` prints one reason per recording. `explain` lists all of them, with old and new values.";

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Explain this recording: its id, or first characters that no other id has
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Decide exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// End with exit code 10 if the recording is stale
    #[arg(long)]
    pub exit_code: bool,
    /// How plugins are run.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// How many recordings an error lists.
const MAX_NAMED: usize = 10;

/// How many differences of one reason the text shows.
const MAX_DIFFERENCES: usize = 50;

/// Printed for a value that does not exist.
const NOTHING: &str = "(none)";

/// `explain --json`
#[derive(Debug, Serialize)]
pub struct ExplainDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// The table's key in the dataset.
    table: &'a str,
    #[serde(flatten)]
    image: ImageBody<'a>,
    /// Every reason why the recording is stale; none if it is fresh.
    causes: Vec<CauseBody<'a>>,
}

#[derive(Debug, Serialize)]
struct CauseBody<'a> {
    /// The reason.
    reason: &'static str,
    /// What it means, in words.
    meaning: &'static str,
    /// The old value, in words.
    before: Option<&'a str>,
    /// The new value, in words.
    after: Option<&'a str>,
    /// How the params differ.
    params: Vec<DifferenceBody<'a>>,
    /// Which inputs differ, or which artifacts with `STALE_OUTPUT_CHANGED`.
    inputs: Vec<DifferenceBody<'a>>,
}

#[derive(Debug, Serialize)]
struct DifferenceBody<'a> {
    /// Where: a JSON pointer into the params, or a key.
    at: &'a str,
    /// The old value.
    before: Option<&'a str>,
    /// The new value.
    after: Option<&'a str>,
}

impl<'a> ExplainDocument<'a> {
    /// The document of an explanation.
    pub fn new(explanation: &'a Explanation) -> Self {
        Self {
            indexer: &explanation.indexer,
            table: &explanation.table,
            image: ImageBody::new(&explanation.report),
            causes: explanation.causes.iter().map(CauseBody::new).collect(),
        }
    }
}

impl<'a> CauseBody<'a> {
    fn new(cause: &'a Cause) -> Self {
        Self {
            reason: cause.reason.code(),
            meaning: cause.reason.meaning(),
            before: cause.before.as_deref(),
            after: cause.after.as_deref(),
            params: cause.params.iter().map(DifferenceBody::new).collect(),
            inputs: cause.inputs.iter().map(DifferenceBody::new).collect(),
        }
    }
}

impl<'a> DifferenceBody<'a> {
    fn new(difference: &'a Difference) -> Self {
        Self { at: &difference.at, before: difference.before.as_deref(), after: difference.after.as_deref() }
    }
}

/// Does `explain`.
pub fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugins::chosen_one(&args.choice)?;
    let image_id = image(&dataset, &args.image)?;
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool, compat(args.compat)) };
    let mut workforce = open_pool(&plugin, &dataset, &pool)?;
    let rules = compat(args.compat);
    let explanation = kymhost_index::explain(&dataset, &plugin.indexer, workforce.as_mut(), &image_id, rules)
        .map_err(|error| interrupted(error, &plugin, &interrupt))?;
    output::result(context.json, &ExplainDocument::new(&explanation), |out| {
        write_text(out, &explanation, context.verbose > 0)
    })?;
    Ok(if args.exit_code && explanation.report.is_stale { Exit::StaleFound } else { Exit::Done })
}

/// The recording with this id, or else the only one whose id begins with this text.
fn image(dataset: &Dataset, text: &str) -> Result<String, CliError> {
    match dataset.find_record(text) {
        Err(DatasetError::UnknownImage { .. } | DatasetError::Store(StoreError::BadKey { .. })) => {}
        // The explanation reports what is wrong with it.
        _ => return Ok(text.to_owned()),
    }
    only_one(dataset.image_ids()?, text)
}

/// The only one of these recordings whose id begins with this text.
pub fn only_one(mut image_ids: Vec<String>, text: &str) -> Result<String, CliError> {
    image_ids.retain(|id| id.starts_with(text));
    match image_ids.len() {
        0 => Err(IndexError::UnknownImages(vec![text.to_owned()]).into()),
        1 => Ok(image_ids.swap_remove(0)),
        count => {
            let named = listed(&image_ids, MAX_NAMED);
            Err(CliError::usage(
                "several_images",
                format!("{count} recordings have ids that begin with '{text}': {named}"),
                "type more of the id",
            ))
        }
    }
}

/// An explanation for people.
pub fn write_text(out: &mut dyn Write, explanation: &Explanation, codes: bool) -> io::Result<()> {
    let Explanation { indexer, table, report, causes } = explanation;
    writeln!(out, "{}: {}", report.image_id, if report.is_stale { "stale" } else { "fresh" })?;
    writeln!(out, "  indexer     {indexer}")?;
    writeln!(out, "  table       {table} {}", rows(report))?;
    writeln!(out, "  run marker  {}", marker(report))?;
    for note in &report.notes {
        writeln!(out, "  note        {}", said(note.code(), note.meaning(), codes))?;
    }
    if causes.is_empty() {
        writeln!(out, "{}", said(report.reason.code(), report.reason.meaning(), codes))?;
    }
    causes.iter().try_for_each(|cause| write_cause(out, cause, report, codes))
}

/// A meaning, with its code if `codes`.
fn said(code: &str, meaning: &str, codes: bool) -> String {
    if codes { format!("{code}: {meaning}") } else { meaning.to_owned() }
}

fn rows(report: &ImageReport) -> &'static str {
    if report.table_rows_present { "has rows of this recording" } else { "has no rows of this recording" }
}

fn marker(report: &ImageReport) -> String {
    match (report.has_run_marker, report.marker_n_rows) {
        (false, _) => "none".to_owned(),
        (true, None) => "exists".to_owned(),
        (true, Some(count)) => words::rows(count),
    }
}

fn write_cause(out: &mut dyn Write, cause: &Cause, report: &ImageReport, codes: bool) -> io::Result<()> {
    writeln!(out, "{}", said(cause.reason.code(), cause.reason.meaning(), codes))?;
    match (&cause.before, &cause.after) {
        (Some(before), Some(after)) => write_before_and_after(out, "  ", Some(before), Some(after))?,
        // A text without another side to compare it with.
        (Some(words), None) | (None, Some(words)) => write_words(out, words)?,
        (None, None) => {
            if let Some(error) = report.error.as_ref().filter(|_| cause.reason == report.reason) {
                write_words(out, error)?;
            }
        }
    }
    write_differences(out, "params", &cause.params)?;
    write_differences(out, "inputs", &cause.inputs)
}

fn write_words(out: &mut dyn Write, words: &str) -> io::Result<()> {
    writeln!(out, "  {}", output::indented(words).replace('\n', "\n  "))
}

fn write_before_and_after(
    out: &mut dyn Write,
    indent: &str,
    before: Option<&str>,
    after: Option<&str>,
) -> io::Result<()> {
    for (name, value) in [("before", before), ("after", after)] {
        let value = output::indented(value.unwrap_or(NOTHING)).replace('\n', &format!("\n{indent}        "));
        writeln!(out, "{indent}{name:6}  {value}")?;
    }
    Ok(())
}

fn write_differences(out: &mut dyn Write, head: &str, differences: &[Difference]) -> io::Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {head}:")?;
    for difference in differences.iter().take(MAX_DIFFERENCES) {
        // An empty pointer means the params as a whole.
        let at = if difference.at.is_empty() { "(all)" } else { &difference.at };
        writeln!(out, "    {at}")?;
        write_before_and_after(out, "      ", difference.before.as_deref(), difference.after.as_deref())?;
    }
    if differences.len() > MAX_DIFFERENCES {
        writeln!(out, "    ... and {} more (--json lists all)", differences.len() - MAX_DIFFERENCES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::report;
    use kymhost_index::staleness::{Note, Reason};

    fn text(explanation: &Explanation) -> String {
        text_with(explanation, false)
    }

    fn text_with(explanation: &Explanation, codes: bool) -> String {
        let mut out = Vec::new();
        write_text(&mut out, explanation, codes).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn explanation(report: ImageReport, causes: Vec<Cause>) -> Explanation {
        Explanation { indexer: "radon".into(), table: "tables/kym_radon.parquet".into(), report, causes }
    }

    fn cause(reason: Reason) -> Cause {
        Cause { reason, before: None, after: None, params: Vec::new(), inputs: Vec::new() }
    }

    fn difference(at: &str, before: Option<&str>, after: Option<&str>) -> Difference {
        Difference { at: at.into(), before: before.map(Into::into), after: after.map(Into::into) }
    }

    #[test]
    fn text_of_fresh_image_is_short() {
        let mut fresh = report("i", Reason::FreshRows);
        fresh.marker_n_rows = Some(3);
        fresh.notes = vec![Note::Adopted];
        let expected = |note: &str, reason: &str| {
            format!(
                "i: fresh\n  indexer     radon\n  table       tables/kym_radon.parquet has rows of this recording\n  \
                 run marker  3 rows\n  note        {note}{}\n{reason}{}\n",
                Note::Adopted.meaning(),
                Reason::FreshRows.meaning()
            )
        };
        let fresh = explanation(fresh, Vec::new());
        assert_eq!(text(&fresh), expected("", ""));
        assert_eq!(text_with(&fresh, true), expected("ADOPTED: ", "FRESH_ROWS: "));
    }

    #[test]
    fn text_shows_old_and_new_value_of_each_reason() {
        let mut stale = report("i", Reason::StaleParamsChanged);
        (stale.has_run_marker, stale.table_rows_present) = (false, false);
        let params = Cause {
            before: Some("aaa".into()),
            after: Some("bbb".into()),
            params: vec![difference("/a/b", Some("1"), Some("2")), difference("", Some("{}"), Some("null"))],
            ..cause(Reason::StaleParamsChanged)
        };
        let inputs = Cause {
            inputs: vec![difference("data", None, Some("an array\nof 3 chunks"))],
            ..cause(Reason::StaleInputAppeared)
        };
        let text = text_with(&explanation(stale, vec![params, inputs]), true);
        let (head, causes) = text.split_once("STALE_PARAMS_CHANGED: ").unwrap();
        assert!(head.starts_with("i: stale\n") && head.contains("has no rows") && head.contains("marker  none"));
        assert_eq!(
            causes,
            format!(
                "{}\n  before  aaa\n  after   bbb\n  params:\n    \
                 /a/b\n      before  1\n      after   2\n    (all)\n      before  {{}}\n      after   null\n\
                 STALE_INPUT_APPEARED: {}\n  inputs:\n    \
                 data\n      before  (none)\n      after   an array\n                of 3 chunks\n",
                Reason::StaleParamsChanged.meaning(),
                Reason::StaleInputAppeared.meaning()
            )
        );
    }

    #[test]
    fn text_shows_single_value_as_it_is() {
        let mut broken = report("i", Reason::StaleUnreadable);
        broken.error = Some("no JSON".into());
        let failed = Cause { before: Some("timeout: 1 s\nof 1".into()), ..cause(Reason::StaleLastRunFailed) };
        let unreadable = || cause(Reason::StaleUnreadable);
        let words = Cause { after: Some("broken".into()), ..unreadable() };
        let meaning = Reason::StaleUnreadable.meaning();
        for (causes, expected) in [
            (vec![unreadable()], format!("\n{meaning}\n  no JSON\n")),
            (vec![words], format!("\n{meaning}\n  broken\n")),
            (vec![failed], format!("\n{}\n  timeout: 1 s\n    of 1\n", Reason::StaleLastRunFailed.meaning())),
        ] {
            let text = text(&explanation(broken.clone(), causes));
            assert!(text.ends_with(&expected), "{text}");
        }
    }

    #[test]
    fn text_lists_differences_up_to_a_bound() {
        let many = (0..MAX_DIFFERENCES + 2).map(|i| difference(&format!("/{i}"), Some("1"), None)).collect();
        let cause = Cause { params: many, ..cause(Reason::StaleParamsChanged) };
        let text = text(&explanation(report("i", Reason::StaleParamsChanged), vec![cause]));
        assert!(text.contains("/49\n") && !text.contains("/50\n"), "{text}");
        assert!(text.ends_with("    ... and 2 more (--json lists all)\n"), "{text}");
    }

    #[test]
    fn only_one_finds_unique_beginning() {
        let ids = || ["aa1", "aa2", "b1"].map(str::to_owned).to_vec();
        for (text, expected) in [
            ("b", Ok("b1")),
            ("aa2", Ok("aa2")),
            ("aa", Err("several_images")),
            ("c", Err("unknown_image")),
            ("A", Err("unknown_image")),
        ] {
            let found = only_one(ids(), text);
            assert_eq!(found.as_deref().map_err(|error| error.code()), expected, "{text}");
        }
        let many = only_one((0..13).map(|i| format!("x{i:02}")).collect(), "x").unwrap_err();
        assert!(many.message().contains("x09 and 3 more") && !many.message().contains("x10"), "{}", many.message());
    }
}

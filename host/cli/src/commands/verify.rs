//! `verify`: fresh recordings extracted again, and what differs. Writes nothing.
//!
//! This file must not compare rows: see [`kymhost_index`].

use super::several::with_workers;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::options::{OnePlugin, PoolArgs, pool_options};
use crate::words::{counted, images};
use crate::{output, plugins};
use clap::Args;
use kymhost_index::{Compat, Verification, VerifyKind, VerifyOptions};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};

const EXAMPLES: &str = "\
Examples:
  kymhost verify --plugin velocity_events --sample 20
  kymhost verify --plugin velocity_events --rows --json

Fresh recordings are computed twice. Their rows are compared with each other and with the last
run's:
  not_deterministic       the two results differ: the plugin returns other rows each time
  version_bump_forgotten  both agree, but not with the run's: the plugin was changed and kept its
                          analysis version
  rows_changed            the rows in the table are not those that the run wrote
  artifact_differs        a stored artifact is not what the plugin returns now
  failed                  the indexer failed
The exit code is 3 if anything is found. Nothing is written. To compute a recording again, use
`kymhost run --image ID --force`.";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Check only N fresh recordings, spread evenly [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// Also check the rows in the table, even if nothing has touched the file
    #[arg(long)]
    pub rows: bool,
    /// How plugins are run.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// `verify --json`
#[derive(Debug, Serialize)]
pub struct VerifyDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// The table's key in the dataset.
    table: &'a str,
    /// How many recordings are fresh.
    fresh: u64,
    /// How many were computed again.
    checked: u64,
    /// Problems.
    findings: Vec<FindingBody<'a>>,
}

#[derive(Debug, Serialize)]
struct FindingBody<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// `not_deterministic`, `version_bump_forgotten`, `rows_changed`, `artifact_differs` or `failed`.
    kind: &'static str,
    /// What differs.
    message: &'a str,
    /// The key of the artifact in the recording's group, if the problem is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<&'a str>,
}

impl<'a> VerifyDocument<'a> {
    /// The document of a verification.
    pub fn new(verification: &'a Verification) -> Self {
        let findings = verification.findings.iter().map(|finding| FindingBody {
            image_id: &finding.image_id,
            kind: finding_kind(finding.kind),
            message: &finding.message,
            artifact: finding.artifact.as_deref(),
        });
        Self {
            indexer: &verification.indexer,
            table: &verification.table,
            fresh: verification.fresh,
            checked: verification.checked,
            findings: findings.collect(),
        }
    }
}

/// The word for scripts.
fn finding_kind(kind: VerifyKind) -> &'static str {
    match kind {
        VerifyKind::NotDeterministic => "not_deterministic",
        VerifyKind::VersionBumpForgotten => "version_bump_forgotten",
        VerifyKind::RowsChanged => "rows_changed",
        VerifyKind::ArtifactDiffers => "artifact_differs",
        VerifyKind::Failed => "failed",
    }
}

/// The same in plain words.
fn finding_meaning(kind: VerifyKind) -> &'static str {
    match kind {
        VerifyKind::NotDeterministic => "computing the same inputs twice gave different rows or artifacts",
        VerifyKind::VersionBumpForgotten => {
            "the plugin returns other rows than in the last run, with the same analysis version"
        }
        VerifyKind::RowsChanged => "the rows in the table are not those that the run wrote",
        VerifyKind::ArtifactDiffers => "a stored artifact is not what the plugin returns now",
        VerifyKind::Failed => "the indexer failed",
    }
}

/// Does `verify`.
pub fn verify(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugins::chosen_one(&args.choice)?;
    let interrupt = Interrupt::listen();
    let options = VerifyOptions { sample: args.sample, rows: args.rows };
    let pool = pool_options(&args.pool, Compat::default());
    let verification = with_workers(context, &dataset, &plugin, &pool, &interrupt, |workforce, progress| {
        kymhost_index::verify(&dataset, &plugin.indexer, workforce, &options, progress)
    })?;
    output::result(context.json, &VerifyDocument::new(&verification), |out| write_text(out, &verification))?;
    let found = if verification.findings.is_empty() { Exit::Done } else { Exit::SomeFailed };
    Ok(Exit::combine(interrupt.exit().into_iter().chain([found])))
}

fn write_text(out: &mut dyn Write, verification: &Verification) -> io::Result<()> {
    let Verification { indexer, table, fresh, checked, findings } = verification;
    let fresh = counted(*fresh as usize, "fresh recording");
    let wrong = match findings.len() {
        0 => "no problem found".to_owned(),
        count => counted(count, "problem"),
    };
    writeln!(out, "{indexer}: computed {checked} of {fresh} again: {wrong} ({table})")?;
    let kinds: BTreeSet<_> = findings.iter().map(|finding| finding.kind).collect();
    let width = kinds.iter().map(|&kind| finding_kind(kind).len()).max().unwrap_or(0);
    let digits = findings.len().to_string().len();
    for kind in kinds {
        let count = findings.iter().filter(|finding| finding.kind == kind).count();
        writeln!(out, "  {:width$}  {count:>digits$}  {}", finding_kind(kind), finding_meaning(kind))?;
    }
    if findings.is_empty() {
        return Ok(());
    }
    let concerned: BTreeSet<_> = findings.iter().map(|finding| &finding.image_id).collect();
    writeln!(out, "problems in {}:", images(concerned.len() as u64))?;
    let lines = findings.iter().map(|finding| {
        format!("{}  {}: {}", finding.image_id, finding_kind(finding.kind), output::indented(&finding.message))
    });
    output::write_list(out, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_index::{VerifyFinding, VerifyKind};

    fn text(findings: Vec<VerifyFinding>) -> String {
        let (indexer, table) = ("radon".to_owned(), "tables/kym_radon.parquet".to_owned());
        let verification = Verification { indexer, table, fresh: 9, checked: 4, findings };
        let mut out = Vec::new();
        write_text(&mut out, &verification).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn finding(image_id: &str, kind: VerifyKind) -> VerifyFinding {
        VerifyFinding { image_id: image_id.to_owned(), kind, artifact: None, message: "one\ntwo".to_owned() }
    }

    #[test]
    fn text_without_problem_is_one_line() {
        let expected = "radon: computed 4 of 9 fresh recordings again: no problem found (tables/kym_radon.parquet)\n";
        assert_eq!(text(Vec::new()), expected);
    }

    #[test]
    fn text_counts_and_lists_problems() {
        let findings = vec![
            finding("a", VerifyKind::RowsChanged),
            finding("a", VerifyKind::VersionBumpForgotten),
            finding("b", VerifyKind::RowsChanged),
        ];
        assert_eq!(
            text(findings),
            format!(
                "radon: computed 4 of 9 fresh recordings again: 3 problems (tables/kym_radon.parquet)\n  \
                 version_bump_forgotten  1  {}\n  rows_changed            2  {}\nproblems in 2 recordings:\n  \
                 a  rows_changed: one\n    two\n  a  version_bump_forgotten: one\n    two\n  \
                 b  rows_changed: one\n    two\n",
                finding_meaning(VerifyKind::VersionBumpForgotten),
                finding_meaning(VerifyKind::RowsChanged)
            )
        );
        let many = (0..output::MAX_LISTED + 3).map(|i| finding(&i.to_string(), VerifyKind::Failed)).collect();
        assert!(text(many).ends_with("\n  ... and 3 more (--json lists all)\n"));
    }
}

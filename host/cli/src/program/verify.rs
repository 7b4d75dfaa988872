//! `verify`: fresh images extracted again, and what differs. Writes nothing.
//! Owns: the text for people and the exit code. Never: compares rows.

use super::args::VerifyArgs;
use super::documents::{VerifyDocument, finding_kind, finding_meaning};
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::run::{images, interrupted, pool_options};
use super::{Context, output, plugin};
use kymhost_index::{Verification, VerifyOptions};
use kymhost_plugin::{PoolOptions, open_pool};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// How many findings the text names.
const MAX_SHOWN: usize = 20;

/// Does `verify`.
pub fn verify(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugin::chosen_one(&args.choice)?;
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool) };
    let options = VerifyOptions { sample: args.sample, rows: args.rows };
    let mut workforce = open_pool(&plugin, &dataset, &pool)?;
    let mut progress = Progress::new(&plugin.indexer.name, context.quiet, context.verbose, &interrupt);
    let verification = kymhost_index::verify(&dataset, &plugin.indexer, workforce.as_mut(), &options, &mut progress);
    progress.finish();
    let verification = verification.map_err(|error| interrupted(error, &plugin, &interrupt))?;
    if context.json {
        output::document(&VerifyDocument::new(&verification))?;
    } else {
        output::to_stdout(|out| write_text(out, &verification))?;
    }
    let found = if verification.findings.is_empty() { Exit::Done } else { Exit::SomeFailed };
    Ok(Exit::combine(interrupt.exit().into_iter().chain([found])))
}

fn write_text(out: &mut dyn Write, verification: &Verification) -> io::Result<()> {
    let Verification { indexer, table, fresh, checked, findings } = verification;
    let fresh = if *fresh == 1 { "1 fresh image".to_owned() } else { format!("{fresh} fresh images") };
    let wrong = match findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    writeln!(out, "{indexer}: extracted {checked} of {fresh} again, {wrong} ({table})")?;
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
    writeln!(out, "found in {}:", images(concerned.len() as u64))?;
    let lines = findings.iter().map(|finding| {
        format!("{}  {}: {}", finding.image_id, finding_kind(finding.kind), output::indented(&finding.message))
    });
    for line in output::bounded(lines, MAX_SHOWN, " (--json lists all)") {
        writeln!(out, "  {}", line.replace('\n', "\n  "))?;
    }
    Ok(())
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
    fn nothing_wrong_is_one_line() {
        let expected = "radon: extracted 4 of 9 fresh images again, nothing is wrong (tables/kym_radon.parquet)\n";
        assert_eq!(text(Vec::new()), expected);
    }

    #[test]
    fn findings_are_summed_and_listed() {
        let findings = vec![
            finding("a", VerifyKind::RowsChanged),
            finding("a", VerifyKind::VersionBumpForgotten),
            finding("b", VerifyKind::RowsChanged),
        ];
        assert_eq!(
            text(findings),
            format!(
                "radon: extracted 4 of 9 fresh images again, 3 findings (tables/kym_radon.parquet)\n  \
                 version_bump_forgotten  1  {}\n  rows_changed            2  {}\nfound in 2 images:\n  \
                 a  rows_changed: one\n    two\n  a  version_bump_forgotten: one\n    two\n  \
                 b  rows_changed: one\n    two\n",
                finding_meaning(VerifyKind::VersionBumpForgotten),
                finding_meaning(VerifyKind::RowsChanged)
            )
        );
        let many = (0..MAX_SHOWN + 3).map(|i| finding(&i.to_string(), VerifyKind::Failed)).collect();
        assert!(text(many).ends_with("\n  ... and 3 more (--json lists all)\n"));
    }
}

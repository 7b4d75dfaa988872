//! `run --dry-run`: what a run would do. Writes nothing.
//!
//! This file must not decide what a run does: see [`kymhost_index`].

use super::bodies::OrphanBody;
use super::several::{in_order_of_arguments, interrupted, report};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output;
use crate::words::{image_line, images, rows};
use kymhost_dataset::Dataset;
use kymhost_index::order::{self, Order, wait_for};
use kymhost_index::staleness::ImageReport;
use kymhost_index::{Preview, RunOptions};
use kymhost_plugin::{Plugin, PoolOptions, open_pool};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

/// `run --dry-run --json`
#[derive(Debug, Serialize)]
pub struct PreviewDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// `incremental` or `replace`.
    mode: &'static str,
    /// The table's key in the dataset.
    table: &'a str,
    /// Always true.
    dry_run: bool,
    /// Recordings that would be computed.
    would_update: Vec<WouldBody<'a>>,
    /// Recordings that cannot be checked, or whose artifacts would replace those of others.
    would_fail: Vec<WouldBody<'a>>,
    /// Recordings no longer in the dataset whose rows would be removed.
    would_prune: Vec<OrphanBody<'a>>,
    /// Why the run would be refused.
    refusal: Option<String>,
    /// Recordings that another indexer of this run would compute first.
    pending_upstream: Vec<WouldBody<'a>>,
}

/// A recording that would be tried.
#[derive(Debug, Serialize)]
struct WouldBody<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// Why it is stale.
    reason: &'static str,
    /// The keys in the recording's group that the reason is about.
    inputs: &'a [String],
    /// Why it would fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> PreviewDocument<'a> {
    /// The document of a dry run.
    pub fn new(preview: &'a Preview) -> Self {
        let would = |ids| -> Vec<WouldBody<'a>> {
            reports(preview, ids)
                .map(|report| WouldBody {
                    image_id: &report.image_id,
                    reason: report.reason.code(),
                    inputs: &report.inputs,
                    error: report.error.as_deref(),
                })
                .collect()
        };
        Self {
            indexer: &preview.indexer,
            mode: preview.mode.name(),
            table: &preview.table,
            dry_run: true,
            would_update: would(&preview.would_update),
            would_fail: would(&preview.would_fail),
            would_prune: OrphanBody::all(&preview.would_prune),
            refusal: preview.refusal.as_ref().map(ToString::to_string),
            pending_upstream: would(&preview.pending_upstream),
        }
    }
}

/// The reports of these recordings.
fn reports<'a>(preview: &'a Preview, ids: &'a [String]) -> impl Iterator<Item = &'a ImageReport> {
    let by_id: HashMap<&str, &ImageReport> =
        preview.images.iter().map(|report| (report.image_id.as_str(), report)).collect();
    ids.iter().filter_map(move |id| by_id.get(id.as_str()).copied())
}

/// Does `run --dry-run`.
pub fn dry_run(
    context: &Context,
    dataset: &Dataset,
    plugins: &[Plugin],
    order: &Order,
    options: &RunOptions,
    pool: &PoolOptions,
    exit_code: bool,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool.clone() };
    let mut results = Vec::with_capacity(plugins.len());
    let mut awaited: Vec<BTreeSet<String>> = vec![BTreeSet::new(); plugins.len()];
    for &place in &order.sequence {
        let Some(plugin) = plugins.get(place) else { continue };
        let mut preview = open_pool(plugin, dataset, &pool).map_err(CliError::from).and_then(|mut workforce| {
            kymhost_index::dry_run(dataset, &plugin.indexer, workforce.as_mut(), options)
                .map_err(|error| interrupted(error, plugin, &interrupt))
        });
        if let Ok(preview) = &mut preview {
            let before = order.waits_for.get(place).into_iter().flatten();
            let images = before.filter_map(|&other| awaited.get(other)).flatten().cloned().collect();
            let waits_for_params = order.waits_for_params.get(place).copied().unwrap_or_default();
            wait_for(preview, &images, options, waits_for_params);
            if let Some(slot) = awaited.get_mut(place) {
                *slot = order::awaited(preview);
            }
        }
        results.push((place, preview));
    }
    let results = in_order_of_arguments(results);
    let exit = |preview: &Preview| exit_of(preview, exit_code);
    let text = |out: &mut dyn Write, preview: &Preview| write_text(out, preview, context.verbose > 0);
    report(context, "runs", plugins, &results, PreviewDocument::new, Some(&text), exit)
}

fn exit_of(preview: &Preview, exit_code: bool) -> Exit {
    let Preview { would_update, would_fail, would_prune, pending_upstream, refusal, .. } = preview;
    let nothing =
        would_update.is_empty() && would_fail.is_empty() && would_prune.is_empty() && pending_upstream.is_empty();
    match refusal {
        Some(_) => Exit::Refused,
        None if exit_code && !nothing => Exit::StaleFound,
        None => Exit::Done,
    }
}

fn write_text(out: &mut dyn Write, preview: &Preview, codes: bool) -> io::Result<()> {
    let Preview { indexer, mode, table, would_update, would_fail, would_prune, pending_upstream, refusal, .. } =
        preview;
    let mut parts = vec![format!("would compute {} of {}", would_update.len(), images(preview.images.len() as u64))];
    for (count, words) in [(would_fail, "would fail"), (pending_upstream, "waiting for another indexer")] {
        if !count.is_empty() {
            parts.push(format!("{} {words}", count.len()));
        }
    }
    if !would_prune.is_empty() {
        parts.push(format!("would remove the rows of {}", images(would_prune.len() as u64)));
    }
    let details = if codes { format!(" ({mode}, {table})") } else { String::new() };
    writeln!(out, "{indexer}: {}{details}", parts.join(", "))?;
    let lists = [
        ("would compute", would_update),
        ("would fail", would_fail),
        ("waiting for another indexer of this run", pending_upstream),
    ];
    for (head, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        writeln!(out, "{head}:")?;
        let lines: Vec<String> = reports(preview, ids).map(|image| image_line(image, codes)).collect();
        output::write_list(out, lines.into_iter())?;
    }
    if !would_prune.is_empty() {
        writeln!(out, "would remove the rows of recordings no longer in the dataset:")?;
        output::write_list(out, would_prune.iter().map(|(image_id, count)| format!("{image_id}  {}", rows(*count))))?;
    }
    if let Some(refusal) = refusal {
        writeln!(out, "the run would be refused (exit code 6): {}", output::indented(&refusal.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::report;
    use kymhost_index::staleness::Reason;
    use kymhost_index::{MassRemoval, Mode};

    fn preview() -> Preview {
        let mut changed = report("b", Reason::StaleInputChanged);
        changed.inputs = vec!["data".into(), ".zattrs".into()];
        let mut broken = report("c", Reason::StaleUnreadable);
        broken.error = Some("broken\nJSON".into());
        Preview {
            indexer: "radon".into(),
            mode: Mode::Incremental,
            table: "tables/kym_radon.parquet".into(),
            images: vec![report("a", Reason::FreshRows), changed, broken],
            would_update: vec!["b".into()],
            would_fail: vec!["c".into()],
            pending_upstream: Vec::new(),
            would_prune: vec![("gone".into(), 3)],
            refusal: Some(MassRemoval { table: "t".into(), images: 0, in_table: 1, vanished: 1, rows: 3 }),
        }
    }

    fn nothing() -> Preview {
        let (would_update, would_fail, would_prune) = (Vec::new(), Vec::new(), Vec::new());
        Preview { would_update, would_fail, would_prune, refusal: None, ..preview() }
    }

    fn text(preview: &Preview) -> String {
        text_with(preview, false)
    }

    fn text_with(preview: &Preview, codes: bool) -> String {
        let mut out = Vec::new();
        write_text(&mut out, preview, codes).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_lists_what_would_be_done() {
        let list = |changed: &str, unreadable: &str| {
            format!(
                "would compute:\n  b  {changed}: data, .zattrs\n\
                 would fail:\n  c  {unreadable}: broken\n    JSON\n\
                 would remove the rows of recordings no longer in the dataset:\n  gone  3 rows\n\
                 the run would be refused (exit code 6): the dataset has no recordings, but t has 3 rows of 1 recordings\n"
            )
        };
        let head = "radon: would compute 1 of 3 recordings, 1 would fail, would remove the rows of 1 recording";
        let meaning = Reason::meaning;
        let plain = list(meaning(Reason::StaleInputChanged), meaning(Reason::StaleUnreadable));
        assert_eq!(text(&nothing()), "radon: would compute 0 of 3 recordings\n");
        assert_eq!(text(&preview()), format!("{head}\n{plain}"));
        assert_eq!(
            text_with(&preview(), true),
            format!(
                "{head} (incremental, tables/kym_radon.parquet)\n{}",
                list("STALE_INPUT_CHANGED", "STALE_UNREADABLE")
            )
        );
        let mut many = nothing();
        many.would_prune = (0..output::MAX_LISTED as u64 + 2).map(|number| (number.to_string(), number)).collect();
        assert!(text(&many).contains("  0  0 rows\n  1  1 row\n  2  2 rows\n"), "{}", text(&many));
        assert!(text(&many).ends_with("  19  19 rows\n  ... and 2 more (--json lists all)\n"), "{}", text(&many));
    }

    #[test]
    fn exit_code_follows_preview() {
        let updates = Preview { would_update: vec!["b".into()], ..nothing() };
        let fails = Preview { would_fail: vec!["c".into()], ..nothing() };
        let prunes = Preview { would_prune: vec![("gone".into(), 3)], ..nothing() };
        let mut waits = Preview { would_update: vec!["a".into(), "b".into()], ..nothing() };
        let plain = RunOptions::new(Mode::Incremental);
        wait_for(&mut waits, &["a".to_owned(), "nowhere".to_owned()].into(), &plain, false);
        assert_eq!(
            (&waits.would_update[..], &waits.pending_upstream[..]),
            (&["b".to_owned()][..], &["a".to_owned()][..])
        );
        assert!(
            text(&waits).starts_with("radon: would compute 1 of 3 recordings, 1 waiting for another indexer\n"),
            "{}",
            text(&waits)
        );
        assert!(text_with(&waits, true).contains("this run:\n  a  PENDING_UPSTREAM\n"), "{}", text(&waits));
        waits.would_update.clear();
        for (preview, plain, asked) in [
            (nothing(), Exit::Done, Exit::Done),
            (updates, Exit::Done, Exit::StaleFound),
            (fails, Exit::Done, Exit::StaleFound),
            (prunes, Exit::Done, Exit::StaleFound),
            (waits, Exit::Done, Exit::StaleFound),
            (preview(), Exit::Refused, Exit::Refused),
        ] {
            assert_eq!((exit_of(&preview, false), exit_of(&preview, true)), (plain, asked), "{preview:?}");
        }
    }
}

//! `run --dry-run`: what a run would do. Writes nothing.
//! Owns: the text for people and the exit code. Never: decides what a run does.

use super::args::RunArgs;
use super::documents::{OneOf, PreviewDocument, PreviewsDocument, reports};
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::run::{images, in_order_of_arguments, interrupted, pool_options, rows};
use super::status::image_line;
use super::{Context, output};
use kymhost_dataset::Dataset;
use kymhost_index::order::{self, Order, wait_for};
use kymhost_index::{Preview, RunOptions};
use kymhost_plugin::{Plugin, PoolOptions, open_pool};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// How many images each list of the text names.
const MAX_SHOWN: usize = 20;

/// Does `run --dry-run`.
pub fn dry_run(
    context: &Context,
    args: &RunArgs,
    dataset: &Dataset,
    plugins: &[Plugin],
    order: &Order,
    options: &RunOptions,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool) };
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
    let mut results = in_order_of_arguments(results);
    if results.len() == 1 {
        let preview = results.remove(0)?;
        if context.json {
            output::document(&PreviewDocument::new(&preview))?;
        } else {
            output::to_stdout(|out| write_text(out, &preview))?;
        }
        return Ok(exit_of(&preview, args.exit_code));
    }
    if context.json {
        let runs = plugins
            .iter()
            .zip(&results)
            .map(|(plugin, result)| OneOf::new(&plugin.indexer.name, result, PreviewDocument::new));
        output::document(&PreviewsDocument { runs: runs.collect() })?;
    }
    for result in &results {
        match result {
            Ok(preview) if !context.json => output::to_stdout(|out| write_text(out, preview))?,
            Ok(_) => {}
            Err(error) => output::error(error, false),
        }
    }
    Ok(Exit::combine(results.iter().map(|result| match result {
        Ok(preview) => exit_of(preview, args.exit_code),
        Err(error) => error.exit,
    })))
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

fn write_text(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    let Preview { indexer, mode, table, would_update, would_fail, would_prune, pending_upstream, refusal, .. } =
        preview;
    let pending = match pending_upstream.len() {
        0 => String::new(),
        count => format!(", {count} waiting for another indexer"),
    };
    writeln!(
        out,
        "{indexer}: of {}, would update {}, would fail {}{pending}, would remove the rows of {} ({mode}, {table})",
        images(preview.images.len() as u64),
        would_update.len(),
        would_fail.len(),
        would_prune.len(),
    )?;
    let lists = [
        ("would update", would_update),
        ("would fail", would_fail),
        ("wait for another indexer of this run", pending_upstream),
    ];
    for (head, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        let lines: Vec<String> = reports(preview, ids).map(image_line).collect();
        write_list(out, head, lines)?;
    }
    if !would_prune.is_empty() {
        let lines = would_prune.iter().map(|(image_id, count)| format!("{image_id}  {}", rows(*count))).collect();
        write_list(out, "would remove the rows of images no longer in the dataset", lines)?;
    }
    if let Some(refusal) = refusal {
        writeln!(out, "would be refused (exit code 6): {}", output::indented(refusal))?;
    }
    Ok(())
}

fn write_list(out: &mut dyn Write, head: &str, lines: Vec<String>) -> io::Result<()> {
    writeln!(out, "{head}:")?;
    for line in output::bounded(lines.into_iter(), MAX_SHOWN, " (--json lists all)") {
        writeln!(out, "  {}", line.replace('\n', "\n  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::made_up::report;
    use kymhost_index::Mode;
    use kymhost_index::staleness::Reason;

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
            refusal: Some("none remains".into()),
        }
    }

    fn nothing() -> Preview {
        let (would_update, would_fail, would_prune) = (Vec::new(), Vec::new(), Vec::new());
        Preview { would_update, would_fail, would_prune, refusal: None, ..preview() }
    }

    fn text(preview: &Preview) -> String {
        let mut out = Vec::new();
        write_text(&mut out, preview).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_names_what_would_be_done() {
        let head = "radon: of 3 images, would update";
        let tail = "(incremental, tables/kym_radon.parquet)\n";
        assert_eq!(text(&nothing()), format!("{head} 0, would fail 0, would remove the rows of 0 {tail}"));
        assert_eq!(
            text(&preview()),
            format!(
                "{head} 1, would fail 1, would remove the rows of 1 {tail}\
                 would update:\n  b  STALE_INPUT_CHANGED: data, .zattrs\n\
                 would fail:\n  c  STALE_UNREADABLE: broken\n    JSON\n\
                 would remove the rows of images no longer in the dataset:\n  gone  3 rows\n\
                 would be refused (exit code 6): none remains\n"
            )
        );
        let mut many = nothing();
        many.would_prune = (0..MAX_SHOWN as u64 + 2).map(|number| (number.to_string(), number)).collect();
        assert!(text(&many).contains("  0  0 rows\n  1  1 row\n  2  2 rows\n"), "{}", text(&many));
        assert!(text(&many).ends_with("  19  19 rows\n  ... and 2 more (--json lists all)\n"), "{}", text(&many));
    }

    #[test]
    fn exit_codes() {
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
        assert!(text(&waits).contains("would fail 0, 1 waiting for another indexer, would remove"), "{}", text(&waits));
        assert!(text(&waits).contains("this run:\n  a  PENDING_UPSTREAM\n"), "{}", text(&waits));
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

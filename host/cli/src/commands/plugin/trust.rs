//! `plugin trust`: shows what changed, asks, and trusts.
//!
//! This file must not decide what is refused: see [`kymhost_plugin`].

use super::bodies::{EntryBody, with_versions};
use crate::context::Context;
use crate::error::{CliError, ErrorBody};
use crate::exit::Exit;
use crate::options::PluginDirs;
use crate::plugins::{home, search_path};
use crate::{output, shell_quote};
use clap::Args;
use kymhost_author::install::{Change, pin};
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin trust stalls
  kymhost plugin trust stalls --yes
  kymhost plugin trust /srv/lab/plugins/libstalls.so      also where the lab's group may write to it
  kymhost plugin trust stalls --dataset-lock --dataset lab.zarr

Both digests are shown, and what the card says otherwise than before. Without a terminal and without --yes nothing is
changed, and the exit code is 6.";

/// Arguments of `plugin trust`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginTrustArgs {
    /// Indexer: a NAME that is looked for, or a library's PATH
    #[arg(value_name = "NAME|PATH")]
    pub plugin: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Also write its digest into the dataset: whoever works on it is refused another library of that name
    #[arg(long)]
    pub dataset_lock: bool,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// `plugin trust --json`
#[derive(Debug, Serialize)]
pub struct PluginTrustDocument<'a> {
    library: String,
    before: Option<EntryBody<'a>>,
    after: EntryBody<'a>,
    changes: Vec<CardChangeBody<'a>>,
    trusted: bool,
    lock: String,
    dataset_lock: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

/// What a card says otherwise.
#[derive(Debug, Serialize)]
struct CardChangeBody<'a> {
    what: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl<'a> PluginTrustDocument<'a> {
    /// What changed, and why it was not trusted.
    pub fn new(change: &'a Change, lock: PathBuf, dataset_lock: bool, error: Option<&'a CliError>) -> Self {
        let changes = change.differences.iter().map(|one| CardChangeBody {
            what: &one.what,
            before: one.before.as_deref(),
            after: one.after.as_deref(),
        });
        Self {
            library: change.library.display().to_string(),
            before: change.before.as_ref().map(EntryBody::new),
            after: EntryBody::new(&change.after),
            changes: changes.collect(),
            trusted: error.is_none(),
            lock: lock.display().to_string(),
            dataset_lock,
            error: error.map(ErrorBody::new),
        }
    }
}

/// Does `plugin trust`.
pub fn trust(context: &Context, args: &PluginTrustArgs) -> Result<Exit, CliError> {
    let home = home()?;
    let dataset = if args.dataset_lock { Some(context.open_dataset()?) } else { None };
    let change = home.examine(&args.plugin, &search_path(&args.dirs)?)?;
    if !context.json {
        output::to_stdout(|out| show(out, &change))?;
    }
    let is_known = change.is_known();
    // With nothing new and no dataset to be told of it there is nothing to ask.
    let mut refusal = None;
    let is_needless = is_known && dataset.is_none();
    if !(is_needless || args.yes || asked(context)?) {
        refusal = Some(not_trusted(&change, args));
    }
    if refusal.is_none() {
        // A library that only the dataset is to ask for needs no entry of this user's.
        if !is_known && (change.before.is_some() || dataset.is_none()) {
            home.trust(&change)?;
        }
        if let Some(dataset) = &dataset {
            pin(dataset.store().as_ref(), &change.after)?;
        }
    }
    if context.json {
        output::document(&PluginTrustDocument::new(&change, home.lock_file(), args.dataset_lock, refusal.as_ref()))?;
    }
    match refusal {
        Some(refusal) => {
            output::error(&refusal, false);
            Ok(refusal.exit)
        }
        None => {
            if !context.json {
                let what = if is_known { "is trusted already" } else { "is trusted as it is now" };
                output::to_stdout(|out| writeln!(out, "{} {what}", with_versions(&change.after)))?;
                if let Some(dataset) = &dataset {
                    output::to_stdout(|out| writeln!(out, "pinned for all who work on {}", dataset.path().display()))?;
                }
            }
            Ok(Exit::Done)
        }
    }
}

/// Asks at a terminal; elsewhere nobody says yes.
fn asked(context: &Context) -> Result<bool, CliError> {
    if context.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut stderr = output::Stderr;
    let _ = write!(stderr, "Trust it as it is now? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| CliError::usage("terminal", format!("no answer can be read: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn not_trusted(change: &Change, args: &PluginTrustArgs) -> CliError {
    let lock = if args.dataset_lock { " --dataset-lock" } else { "" };
    CliError::new(
        Exit::Refused,
        "guarded",
        format!("{} was not trusted: nothing was changed", with_versions(&change.after)),
    )
    .help(format!("where it is meant: kymhost plugin trust {}{lock} --yes", shell_quote::word(&args.plugin)))
}

fn show(out: &mut dyn Write, change: &Change) -> io::Result<()> {
    writeln!(out, "library       {}", change.library.display())?;
    match &change.before {
        Some(before) => {
            writeln!(out, "trusted       {} (since {})", before.sha256, before.locked_utc)?;
            writeln!(out, "found         {}", change.after.sha256)?;
        }
        None => writeln!(out, "found         {} (in no lock file so far)", change.after.sha256)?,
    }
    writeln!(out, "indexers      {}", with_versions(&change.after))?;
    for difference in &change.differences {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "(nothing)".to_owned());
        let (before, after) = (said(&difference.before), said(&difference.after));
        writeln!(out, "changed       {}: {} -> {}", short(&difference.what), short(&before), short(&after))?;
    }
    if change.before.is_some() && !change.is_known() && change.differences.is_empty() {
        writeln!(out, "changed       nothing that its card says; its code or data")?;
    }
    Ok(())
}

/// Texts of cards that no host of this version knows were checked by nobody.
fn short(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let mut line: String = text.chars().take(MAX_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

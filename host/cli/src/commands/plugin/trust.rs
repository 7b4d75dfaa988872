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
use kymhost_store::Class;
use kymhost_store::text::one_line_start;
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin trust stalls
  kymhost plugin trust stalls --yes
  kymhost plugin trust /srv/lab/plugins/libstalls.so      even if the lab's group may write to it
  kymhost plugin trust stalls --dataset-lock --dataset lab.zarr

Both digests are shown, and what changed in the library's card. Without a terminal and without --yes
nothing is changed, and the exit code is 6.";

/// Arguments of `plugin trust`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginTrustArgs {
    /// Trust this indexer: its NAME or the PATH of its library
    #[arg(value_name = "NAME|PATH")]
    pub plugin: String,
    /// Skip the confirmation prompt
    #[arg(long)]
    pub yes: bool,
    /// Pin the library's digest in this dataset. Other builds with that name will be rejected
    #[arg(long)]
    pub dataset_lock: bool,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// `plugin trust --json`
#[derive(Debug, Serialize)]
pub struct PluginTrustDocument<'a> {
    /// The library's file.
    library: String,
    /// Its entry in the lock file before.
    before: Option<EntryBody<'a>>,
    /// Its entry now.
    after: EntryBody<'a>,
    /// What changed in its card.
    changes: Vec<CardChangeBody<'a>>,
    /// Whether it is trusted now.
    trusted: bool,
    /// The user's lock file.
    lock: String,
    /// Whether it was also pinned in the dataset.
    dataset_lock: bool,
    /// Why it was not trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

/// A difference between two cards.
#[derive(Debug, Serialize)]
struct CardChangeBody<'a> {
    /// What changed.
    what: &'a str,
    /// The old value.
    before: Option<&'a str>,
    /// The new value.
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
    // If nothing changed and no dataset is to be pinned, there is nothing to ask.
    let mut refusal = None;
    let is_needless = is_known && dataset.is_none();
    if !(is_needless || args.yes || asked(context)?) {
        refusal = Some(not_trusted(&change, args));
    }
    if refusal.is_none() {
        // A library that is only pinned in the dataset needs no entry in the user's lock file.
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
                let what = if is_known { "is already trusted" } else { "is trusted as it is now" };
                output::to_stdout(|out| writeln!(out, "{} {what}", with_versions(&change.after)))?;
                if let Some(dataset) = &dataset {
                    output::to_stdout(|out| writeln!(out, "pinned in the dataset {}", dataset.path().display()))?;
                }
            }
            Ok(Exit::Done)
        }
    }
}

/// Asks at a terminal. Without one the answer is no.
fn asked(context: &Context) -> Result<bool, CliError> {
    if context.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut stderr = output::Stderr;
    let _ = write!(stderr, "Trust it as it is now? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| {
        CliError::usage("terminal", "cannot read the answer", "pass --yes to skip the prompt").why(error)
    })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn not_trusted(change: &Change, args: &PluginTrustArgs) -> CliError {
    let lock = if args.dataset_lock { " --dataset-lock" } else { "" };
    CliError::new(
        Class::Refused,
        "guarded",
        format!("{} was not trusted; nothing was changed", with_versions(&change.after)),
        format!("to trust it: kymhost plugin trust {}{lock} --yes", shell_quote::word(&args.plugin)),
    )
}

fn show(out: &mut dyn Write, change: &Change) -> io::Result<()> {
    writeln!(out, "library       {}", change.library.display())?;
    match &change.before {
        Some(before) => {
            writeln!(out, "trusted       {} (since {})", before.sha256, before.locked_utc)?;
            writeln!(out, "found         {}", change.after.sha256)?;
        }
        None => writeln!(out, "found         {} (not in a lock file yet)", change.after.sha256)?,
    }
    writeln!(out, "indexers      {}", with_versions(&change.after))?;
    for difference in &change.differences {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "(nothing)".to_owned());
        let (before, after) = (said(&difference.before), said(&difference.after));
        writeln!(out, "changed       {}: {} -> {}", short(&difference.what), short(&before), short(&after))?;
    }
    if change.before.is_some() && !change.is_known() && change.differences.is_empty() {
        writeln!(out, "changed       code or data; its card is the same")?;
    }
    Ok(())
}

/// Nobody has checked the texts of cards of unknown versions.
fn short(text: &str) -> String {
    one_line_start(text, 200)
}

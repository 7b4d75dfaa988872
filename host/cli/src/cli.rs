//! The tree of commands. Each command's options and help stand with the command.
//!
//! This file must not act on arguments: see [`crate::program`].

use crate::commands::adopt::AdoptArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::dataset::create::DatasetCreateArgs;
use crate::commands::dataset::export::DatasetExportArgs;
use crate::commands::dataset::info::DatasetInfoArgs;
use crate::commands::dataset::ingest::DatasetIngestArgs;
use crate::commands::dataset::manifest::DatasetManifestArgs;
use crate::commands::dataset::validate::DatasetValidateArgs;
use crate::commands::dataset::view_table::DatasetViewArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::params::set::{ParamsSetArgs, ParamsUnsetArgs};
use crate::commands::params::show::ParamsShowArgs;
use crate::commands::params_hash::ParamsHashArgs;
use crate::commands::plugin::add::PluginAddArgs;
use crate::commands::plugin::check::PluginCheckArgs;
use crate::commands::plugin::info::PluginInfoArgs;
use crate::commands::plugin::inspect::PluginInspectArgs;
use crate::commands::plugin::list::PluginListArgs;
use crate::commands::plugin::new::PluginNewArgs;
use crate::commands::plugin::path::PluginPathArgs;
use crate::commands::plugin::remove::PluginRemoveArgs;
use crate::commands::plugin::trust::PluginTrustArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::table::drop::TableDropArgs;
use crate::commands::table::list::TableListArgs;
use crate::commands::table::show::TableShowArgs;
use crate::commands::verify::VerifyArgs;
use crate::demo::DemoArgs;
use crate::exit::Exit;
use crate::options::Common;
use clap::{Parser, Subcommand};
use std::fmt::Write;

/// Keep one results table per analysis in sync with your kymographs.
///
/// A dataset is a Zarr v2 folder of recordings, shared with kymflow. An indexer, loaded from a dynamic library (a plugin),
/// turns one recording into rows. kymhost finds the recordings whose rows are missing or out of date, runs the indexer on them in
/// worker processes, and replaces their rows in one Parquet table per indexer.
#[derive(Debug, Parser)]
#[command(name = "kymhost", version, after_help = after_help(), subcommand_required = true, arg_required_else_help = true)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring an indexer's table up to date
    Run(RunArgs),
    /// List stale recordings and the reasons (read-only)
    Status(StatusArgs),
    /// Explain in full why a recording is stale or fresh (read-only)
    Explain(ExplainArgs),
    /// Re-run fresh recordings and report rows that differ (read-only)
    Verify(VerifyArgs),
    /// Accept existing rows as up to date
    Adopt(AdoptArgs),
    /// Show or change the params (settings) of recordings
    #[command(subcommand, arg_required_else_help = true)]
    Params(ParamsCommand),
    /// List, describe, check, install and write plugins
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(PluginCommand),
    /// List, show or delete the dataset's tables
    #[command(subcommand, arg_required_else_help = true)]
    Table(TableCommand),
    /// Create, fill, describe, check and export a dataset
    #[command(subcommand, arg_required_else_help = true)]
    Dataset(DatasetCommand),
    /// Print the params hash of a JSON file, as kymflow computes it
    ParamsHash(ParamsHashArgs),
    /// Create a synthetic dataset and walk through a run, an edit and a re-run
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// What to do with params.
#[derive(Debug, Subcommand)]
pub enum ParamsCommand {
    /// Show the params of recordings and the schema that the plugin declares
    Show(ParamsShowArgs),
    /// Set params, e.g. threshold=2.5 or window.lines=32. The recordings become stale
    Set(ParamsSetArgs),
    /// Remove params, so that the indexer's defaults apply. The recordings become stale
    Unset(ParamsUnsetArgs),
}

/// Commands of `plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List the indexers on the search path and the libraries that cannot be used
    List(PluginListArgs),
    /// Describe one indexer
    Info(PluginInfoArgs),
    /// Show what a library's file says about itself, for any platform, and whether this kymhost loads it
    Inspect(PluginInspectArgs),
    /// Create the folder of a new plugin, with a working indexer, tests and a README
    New(PluginNewArgs),
    /// Test whether a library does all that an indexer must do
    Check(PluginCheckArgs),
    /// Install a plugin from a library, a folder of libraries or a source folder (which is built)
    Add(PluginAddArgs),
    /// Delete an installed plugin
    Remove(PluginRemoveArgs),
    /// Print where plugins are installed, or where one plugin is
    Path(PluginPathArgs),
    /// Show what changed in a plugin since it was installed, ask, and trust it as it is now
    Trust(PluginTrustArgs),
}

/// Commands of `table`.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// List the dataset's tables
    List(TableListArgs),
    /// Show a table's rows
    Show(TableShowArgs),
    /// Delete an indexer's table. The recordings and their run markers stay
    Drop(TableDropArgs),
}

/// Commands of `dataset`.
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Create an empty dataset
    Create(DatasetCreateArgs),
    /// Describe a dataset: number of recordings, tables
    Info(DatasetInfoArgs),
    /// Check a dataset and list every problem
    Validate(DatasetValidateArgs),
    /// Rebuild the list of recordings that other programs read
    Manifest(DatasetManifestArgs),
    /// Import recordings: TIFF files and the files next to them
    Ingest(DatasetIngestArgs),
    /// Write recordings, artifacts and tables as TIFF, JSON, CSV and NPY files
    Export(DatasetExportArgs),
    /// Show one row per recording: origin, shape, ROIs, number of rows in each table
    ViewTable(DatasetViewArgs),
}

/// The end of `kymhost --help`.
fn after_help() -> String {
    let mut text = String::from(
        "\
First steps:
  kymhost demo                                  see what kymhost does, on synthetic recordings
  kymhost status --plugin velocity_events       list stale recordings and why
  kymhost run --plugin velocity_events          bring the table up to date
  kymhost table show velocity_events            show the table
  kymhost plugin new my_indexer                 write your own indexer

The dataset is the first that applies: --dataset PATH, KYMHOST_DATASET, the working folder if it is
a dataset, the one *.zarr dataset in the working folder.

Plugins (libraries with indexers) are searched for in:
  1. a path given with --plugin
  2. --plugin-dir DIR
  3. the folders listed in KYMHOST_PLUGIN_PATH
  4. kymhost/plugins in your data folder (on Linux ~/.local/share)
  5. the folder of this program, and plugins/ in it
They are never searched for in the dataset, and not in the working folder.

Exit codes:
",
    );
    for exit in Exit::ALL {
        let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
    }
    text.push_str("If several apply, the first in this order wins: 130, 143, 1, 2, 5, 6, 4, 3, 10.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use kymhost_index::staleness::Reason;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("kymhost").chain(line.split_whitespace()))
    }

    #[test]
    fn valid_lines_are_accepted() {
        for line in [
            "run --plugin velocity_events",
            "run -p a -p b.so:c --mode replace --compat kymflow -j 4 --timeout 0.5 --max-memory 2G --plugin-dir x --plugin-dir y",
            "--dataset d --json run --plugin a --in-process",
            "run -p a --image x y --image z --reason STALE_UNKNOWN stale_input_changed --force --orphans keep --yes",
            "run -p a --dry-run --exit-code --max-failures 3 --on-schema-change recompute --wait 0 --checkpoint 0.5",
            "run -p a --fail-fast --wait 60 --orphans prune --compat kymflow --checkpoint 0",
            "status --plugin a --exit-code --json -vv",
            "status --plugin a --reason FRESH_ROWS --reason stale_unknown",
            "explain 0b0f --plugin a --exit-code --compat kymflow --jobs 1",
            "verify --plugin a --sample 5 --rows --timeout 9 --json",
            "adopt --plugin a --reason checked --image x y --wait 5",
            "plugin list --plugin-dir x",
            "plugin info velocity_events",
            "plugin inspect libstalls.so --json",
            "plugin add ./stalls --replace --dataset-lock --dataset d",
            "plugin remove stalls",
            "plugin path",
            "plugin path stalls --json",
            "plugin trust stalls --yes",
            "table list --dataset d",
            "table show velocity_events --limit 5 --format csv --output f --image a b --image c",
            "table show velocity_events --all",
            "table drop velocity_events --yes --wait 1",
            "dataset create d",
            "dataset create --dataset d",
            "dataset info",
            "dataset info d",
            "dataset validate --json",
            "dataset manifest --check",
            "dataset ingest f --dataset d",
            "dataset ingest f g/a.tif --changed skip --dry-run -j 2 --json",
            "dataset export f --image a b --overwrite",
            "dataset view-table --format csv --output f",
            "dataset view-table -n 5 --json",
            "params-hash -",
            "params-hash --canonical p.json",
            "demo",
            "demo d --json",
            "completions zsh",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn invalid_lines_are_rejected() {
        for (line, kind) in [
            ("run", ErrorKind::MissingRequiredArgument),
            ("run --plugin a --mode sometimes", ErrorKind::InvalidValue),
            ("run --plugin a --jobs 0", ErrorKind::ValueValidation),
            ("run --plugin a --timeout 0", ErrorKind::ValueValidation),
            ("run --plugin a --timeout -1", ErrorKind::ValueValidation),
            ("run --plugin a --max-memory 2GB", ErrorKind::ValueValidation),
            ("run --plugin a --in-process --timeout 1", ErrorKind::ArgumentConflict),
            ("run --plugin a -q -v", ErrorKind::ArgumentConflict),
            ("run --plugin a --image", ErrorKind::InvalidValue),
            ("run --plugin a --reason UNKNOWN", ErrorKind::InvalidValue),
            ("run --plugin a --reason STALE", ErrorKind::InvalidValue),
            ("run --plugin a --orphans drop", ErrorKind::InvalidValue),
            ("run --plugin a --on-schema-change widen", ErrorKind::InvalidValue),
            ("run --plugin a --max-failures 0", ErrorKind::ValueValidation),
            ("run --plugin a --max-failures 2 --fail-fast", ErrorKind::ArgumentConflict),
            ("run --plugin a --exit-code", ErrorKind::MissingRequiredArgument),
            ("run --plugin a --wait -1", ErrorKind::ValueValidation),
            ("run --plugin a --checkpoint often", ErrorKind::ValueValidation),
            ("status --plugin a --reason nonsense", ErrorKind::InvalidValue),
            ("explain --plugin a", ErrorKind::MissingRequiredArgument),
            ("explain x", ErrorKind::MissingRequiredArgument),
            ("explain x --plugin a --plugin b", ErrorKind::ArgumentConflict),
            ("verify --plugin a --sample 0", ErrorKind::ValueValidation),
            ("adopt --plugin a", ErrorKind::MissingRequiredArgument),
            ("adopt --plugin a --reason=", ErrorKind::InvalidValue),
            ("table drop", ErrorKind::MissingRequiredArgument),
            ("table show a --all --limit 1", ErrorKind::ArgumentConflict),
            ("dataset create", ErrorKind::MissingRequiredArgument),
            ("dataset info a --dataset b", ErrorKind::ArgumentConflict),
            ("dataset ingest", ErrorKind::MissingRequiredArgument),
            ("dataset ingest f --changed maybe", ErrorKind::InvalidValue),
            ("dataset export", ErrorKind::MissingRequiredArgument),
            ("frobnicate", ErrorKind::InvalidSubcommand),
            ("worker", ErrorKind::InvalidSubcommand),
        ] {
            assert_eq!(parse(line).err().map(|error| error.kind()), Some(kind), "{line}");
        }
    }

    #[test]
    fn unknown_mode_lists_modes() {
        let text = parse("run --plugin a --mode sometimes").unwrap_err().to_string();
        assert!(text.contains("incremental") && text.contains("replace") && text.contains("sometimes"), "{text}");
    }

    #[test]
    fn unknown_reason_lists_reasons() {
        let text = parse("run --plugin a --reason STALE_PARAMS").unwrap_err().to_string();
        for reason in Reason::ALL {
            // No recording has that when a run selects.
            assert_eq!(text.contains(reason.code()), reason != Reason::PendingUpstream, "{text}");
        }
        assert!(parse("run --plugin a --reason PENDING_UPSTREAM").is_err());
    }

    #[test]
    fn reasons_ignore_case() {
        let cli = parse("status -p a --reason stale_unknown Fresh_Rows").unwrap();
        let Command::Status(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.reason, [Reason::StaleUnknown, Reason::FreshRows]);
    }

    #[test]
    fn help_has_examples_and_defaults() {
        let help = |line: &str| parse(line).unwrap_err().to_string();
        for (line, lines) in [
            (
                "--help",
                &[
                    "Exit codes:",
                    "   3  some recordings failed, the others are committed",
                    "KYMHOST_DATASET",
                    "KYMHOST_PLUGIN_PATH",
                    "kymhost demo",
                ][..],
            ),
            (
                "run --help",
                &["kymhost run --plugin velocity_events", "[default: incremental]", "[default: the number of cores]"],
            ),
            ("run --help", &["kymhost run --plugin velocity_events --dry-run", "[default: 30]", "Which recordings:"]),
            ("status --help", &["--exit-code", "kymhost status --plugin velocity_events"]),
            ("explain --help", &["kymhost explain", "--exit-code"]),
            ("verify --help", &["kymhost verify --plugin velocity_events --sample 20", "not_deterministic"]),
            ("adopt --help", &["kymhost adopt --plugin velocity_events --reason"]),
            ("table drop --help", &["kymhost table drop velocity_events --yes"]),
            ("table show --help", &["kymhost table show velocity_events --format csv", "default: 20 as text"]),
            ("params-hash --help", &["kymhost params-hash params.json"]),
            ("completions --help", &["kymhost completions bash"]),
        ] {
            let text = help(line);
            for expected in lines {
                assert!(text.contains(expected), "`{line}` does not say {expected:?}:\n{text}");
            }
        }
    }

    /// Every line of help fits a terminal of 100 columns.
    #[test]
    fn help_fits_100_columns() {
        fn check(command: &mut clap::Command, path: &str) {
            for line in command.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 100, "`{path} --help` has a line of over 100 columns: {line}");
            }
            for below in command.get_subcommands_mut() {
                let path = format!("{path} {}", below.get_name());
                check(below, &path);
            }
        }
        check(&mut Cli::command(), "kymhost");
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            if command.has_subcommands() {
                for below in command.get_subcommands() {
                    check(below, &format!("{path} {}", below.get_name()));
                }
            } else {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("Examples:") && after.contains(path), "`{path}` has no examples");
            }
        }
        check(&Cli::command(), "kymhost");
    }
}

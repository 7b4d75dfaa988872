//! The command line: commands, options and the help that teaches them.
//! Owns: names and forms of arguments. Never: acts on them.

use super::{demo, help, quantity};
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kymhost_author::check::Check;
use kymhost_index::staleness::Reason;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps tables over a Zarr dataset of kymographs up to date, with indexers loaded from plugins.
///
/// A dataset is a Zarr v2 folder of kymograph recordings, shared with kymflow. An indexer, loaded from a
/// dynamic library (a plugin), turns one image's record into rows. kymhost decides which images are stale, has the indexer
/// extract their rows in worker processes, and replaces those images' rows in one Parquet table per indexer.
#[derive(Debug, Parser)]
#[command(name = "kymhost", version, after_help = help::main(), subcommand_required = true, arg_required_else_help = true)]
#[command(max_term_width = 110)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Dataset to work on [default: KYMHOST_DATASET, else the working folder, else the one *.zarr in it]
    #[arg(long, value_name = "PATH", global = true, help_heading = "Options of every command")]
    pub dataset: Option<PathBuf>,
    /// Put one JSON document on standard output and nothing else
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Options of every command")]
    pub quiet: bool,
    /// Log more (-v info, -vv debug, -vvv all); RUST_LOG, where set, decides instead
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Options of every command")]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring an indexer's table up to date
    Run(RunArgs),
    /// Tell which images are stale, and why; writes nothing
    Status(StatusArgs),
    /// Tell every reason why one image is stale or fresh, with before and after; writes nothing
    Explain(ExplainArgs),
    /// Extract fresh images again and tell which rows are not what comes out; writes nothing
    Verify(VerifyArgs),
    /// Make rows that are there count as fresh without extracting them again
    Adopt(AdoptArgs),
    /// Show or change the params of images
    #[command(subcommand, arg_required_else_help = true)]
    Params(ParamsCommand),
    /// List the indexers that can be found, or tell all about one
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(PluginCommand),
    /// List, show or drop the dataset's tables
    #[command(subcommand, arg_required_else_help = true)]
    Table(TableCommand),
    /// Create, describe or check a dataset
    #[command(subcommand, arg_required_else_help = true)]
    Dataset(DatasetCommand),
    /// Print the params hash of a JSON file, as kymflow computes it
    ParamsHash(ParamsHashArgs),
    /// Make a dataset of synthetic kymographs and keep its table up to date before your eyes
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Which indexers.
#[derive(Debug, Args)]
pub struct PluginChoice {
    /// Indexer: a NAME that is looked for, a library's PATH, or PATH:NAME where the library has several; repeatable
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: Vec<String>,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Which indexer.
#[derive(Debug, Args)]
pub struct OnePlugin {
    /// Indexer: a NAME that is looked for, a library's PATH, or PATH:NAME where the library has several
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: String,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Where to look for plugins first.
#[derive(Debug, Args)]
pub struct PluginDirs {
    /// Look for plugins in this folder first; repeatable
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
}

/// How plugins are run.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Worker processes at most [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Give up on an image after so long, e.g. 30 or 0.5 [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_seconds)]
    pub timeout: Option<Duration>,
    /// Memory that one worker may use, e.g. 2G or 500M; the image at which it uses more fails [default: no bound]
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_size)]
    pub max_memory: Option<u64>,
    /// Run the plugin in this process, for debuggers: a crash of the plugin then ends the whole run
    #[arg(long, conflicts_with_all = ["timeout", "max_memory"])]
    pub in_process: bool,
}

/// Which images a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Stale images only
    Incremental,
    /// Every image
    Replace,
}

/// Whose rules decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompatArg {
    /// The predecessor's, to the letter
    Kymflow,
}

/// What becomes of rows of deleted images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OrphansArg {
    /// Remove them
    Prune,
    /// Leave them
    Keep,
}

/// What happens when a column's type changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnSchemaChangeArg {
    /// The image fails and keeps its old rows
    Fail,
    /// Every image is extracted anew
    Recompute,
}

/// A text that says something: not blanks alone.
fn some_words(text: String) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("say in some words why") } else { Ok(text) }
}

/// A reason by its code, in either case: one that judging finds.
fn reason() -> impl TypedValueParser<Value = Reason> {
    let judged = Reason::ALL.into_iter().filter(|reason| *reason != Reason::PendingUpstream);
    PossibleValuesParser::new(judged.map(Reason::code))
        .try_map(|code| Reason::from_code(&code.to_ascii_uppercase()).ok_or("there is no such reason"))
}

/// What to do with params.
#[derive(Debug, Subcommand)]
pub enum ParamsCommand {
    /// Show the params of images, and the schema that the plugin declares
    #[command(after_help = help::PARAMS)]
    Show(ParamsShowArgs),
    /// Set params, e.g. threshold=2.5 or window.lines=32; those images become stale
    #[command(after_help = help::PARAMS)]
    Set(ParamsSetArgs),
    /// Remove params: the indexer's defaults count again; those images become stale
    #[command(after_help = help::PARAMS)]
    Unset(ParamsUnsetArgs),
}

/// Arguments of `params show`.
#[derive(Debug, Args)]
pub struct ParamsShowArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Show these images only; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
}

/// Whose params are changed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ParamsImages {
    /// Change this image; repeatable (of `set` it takes several)
    #[arg(long, value_name = "ID")]
    pub image: Vec<String>,
    /// Change every image
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `params set`.
#[derive(Debug, Args)]
pub struct ParamsSetArgs {
    /// What: a key, a dot and a key within it where there is one, and a value: JSON, or else a text as it stands. A key with a dot stands
    /// in quotes: '"a.b"=1'
    #[arg(value_name = "KEY=VALUE")]
    pub edit: Vec<String>,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Change these images; repeatable
    #[arg(long, value_name = "ID", num_args = 1.., required_unless_present = "all", conflicts_with = "all")]
    pub image: Vec<String>,
    /// Change every image
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `params unset`.
#[derive(Debug, Args)]
pub struct ParamsUnsetArgs {
    /// What: a key, a dot and a key within it where there is one. A key with a dot stands in quotes: '"a.b"'
    #[arg(value_name = "KEY", required = true)]
    pub edit: Vec<String>,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Which images.
    #[command(flatten)]
    pub images: ParamsImages,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = help::RUN)]
pub struct RunArgs {
    /// Which indexers.
    #[command(flatten)]
    pub choice: PluginChoice,
    /// Images to do: stale ones only, or every one
    #[arg(long, short, value_enum, value_name = "MODE", default_value = "incremental")]
    pub mode: ModeArg,
    /// Do these images only; repeatable
    #[arg(long, value_name = "ID", num_args = 1.., help_heading = "Which images")]
    pub image: Vec<String>,
    /// Do images with this reason only, as `status` names it; repeatable
    #[arg(long, value_name = "CODE", num_args = 1.., ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = reason(), help_heading = "Which images")]
    pub reason: Vec<Reason>,
    /// Do fresh images too
    #[arg(long, help_heading = "Which images")]
    pub force: bool,
    /// Rows of images that are no longer in the dataset [default: prune, without --image]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Which images")]
    pub orphans: Option<OrphansArg>,
    /// Remove them also where very many are gone at once
    #[arg(long, help_heading = "Which images")]
    pub yes: bool,
    /// Write nothing; tell what a run would do
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: end with exit code 10 when something would be done
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Stop at the first image that fails; what is done is committed
    #[arg(long, conflicts_with = "max_failures")]
    pub fail_fast: bool,
    /// Stop after so many images that failed; what is done is committed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_failures: Option<u64>,
    /// What to do when an image's rows have a type that does not go with the table's [default: fail]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_schema_change: Option<OnSchemaChangeArg>,
    /// Replace artifacts that the indexer makes and that somebody else made before it
    #[arg(long)]
    pub overwrite_artifacts: bool,
    /// Wait so long for another run to let go of the table [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
    /// Commit what is done after so long, and again; less often where a commit is slow
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    #[arg(default_value = "30")]
    pub checkpoint: Duration,
    /// Decide and write exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = help::STATUS)]
pub struct StatusArgs {
    /// Which indexers.
    #[command(flatten)]
    pub choice: PluginChoice,
    /// Decide exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// List images with this reason only; repeatable
    #[arg(long, value_name = "CODE", num_args = 1.., ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = reason())]
    pub reason: Vec<Reason>,
    /// End with exit code 10 when an image is stale; with --reason, one of those
    #[arg(long)]
    pub exit_code: bool,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = help::EXPLAIN)]
pub struct ExplainArgs {
    /// Image: its id, or the beginning of it that no other has
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Decide exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// End with exit code 10 when the image is stale
    #[arg(long)]
    pub exit_code: bool,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = help::VERIFY)]
pub struct VerifyArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Extract so many fresh images only, drawn evenly [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// Look at the rows in the table too, also where nothing has touched it
    #[arg(long)]
    pub rows: bool,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
#[command(after_help = help::ADOPT)]
pub struct AdoptArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Why the rows count; it is kept in the run markers
    #[arg(long, value_name = "TEXT", required = true, value_parser = NonEmptyStringValueParser::new().try_map(some_words))]
    pub reason: String,
    /// Adopt these images only; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
    /// Wait so long for another run to let go of the table [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
    /// How.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Commands of `plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List the indexers on the search path, and the libraries that cannot be used
    #[command(after_help = help::PLUGIN_LIST)]
    List(PluginDirs),
    /// Tell all about one indexer
    #[command(after_help = help::PLUGIN_INFO)]
    Info(PluginInfoArgs),
    /// Read what a library's file says of itself, for whatever platform, and whether this kymhost would load it
    #[command(after_help = help::PLUGIN_INSPECT)]
    Inspect(PluginInspectArgs),
    /// Make the folder of a new plugin, with a worked indexer, tests and a README
    #[command(after_help = help::PLUGIN_NEW)]
    New(PluginNewArgs),
    /// Try whether a library does all that an indexer must, each check in a process of its own
    #[command(after_help = help::PLUGIN_CHECK)]
    Check(PluginCheckArgs),
    /// Install a plugin: a library, a folder of libraries, or the folder of a plugin's source, which is built
    #[command(after_help = help::PLUGIN_ADD)]
    Add(PluginAddArgs),
    /// Delete an installed plugin
    #[command(after_help = help::PLUGIN_REMOVE)]
    Remove(PluginRemoveArgs),
    /// Print where plugins are installed, or where one is
    #[command(after_help = help::PLUGIN_PATH)]
    Path(PluginPathArgs),
    /// Trust a plugin as it is now: show what changed since it was installed, and ask
    #[command(after_help = help::PLUGIN_TRUST)]
    Trust(PluginTrustArgs),
}

/// Arguments of `plugin add`.
#[derive(Debug, Args)]
pub struct PluginAddArgs {
    /// Library, folder of libraries, crate (Cargo.toml) or C folder (Makefile)
    #[arg(value_name = "FILE|FOLDER|CRATE")]
    pub source: PathBuf,
    /// Put it in the place of the installed one that has the same indexer
    #[arg(long)]
    pub replace: bool,
    /// Also write its digest into the dataset: whoever works on it is refused another library of that name
    #[arg(long)]
    pub dataset_lock: bool,
}

/// Arguments of `plugin remove`.
#[derive(Debug, Args)]
pub struct PluginRemoveArgs {
    /// Indexer; the whole library goes, where it has several
    pub name: String,
    /// Leave the library, and let the dataset ask for none of that name any more
    #[arg(long)]
    pub dataset_lock: bool,
}

/// Arguments of `plugin path`.
#[derive(Debug, Args)]
pub struct PluginPathArgs {
    /// Indexer whose library is meant [default: the folder that `plugin add` installs into]
    pub name: Option<String>,
}

/// Arguments of `plugin trust`.
#[derive(Debug, Args)]
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

/// Arguments of `plugin check`.
#[derive(Debug, Args)]
pub struct PluginCheckArgs {
    /// Library, with all its indexers; or one indexer: PATH:NAME, or a NAME that is looked for
    #[arg(value_name = "LIBRARY|PATH:NAME|NAME", required_unless_present = "list")]
    pub library: Option<String>,
    /// List the checks, with what each needs
    #[arg(long, conflicts_with_all = ["library", "only", "reproduce"])]
    pub list: bool,
    /// Do these checks alone, and those of the library as a whole
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = checks())]
    pub only: Vec<String>,
    /// Make up the same records as a run with this seed did
    #[arg(long, value_name = "SEED")]
    pub reproduce: Option<u64>,
    /// Give up on a check after so long [default: 60]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_seconds)]
    pub timeout: Option<Duration>,
    /// Checks at once at most [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Extractions over which memory is to be steady [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub calls: Option<u64>,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

fn checks() -> PossibleValuesParser {
    PossibleValuesParser::new(Check::ALL.iter().map(|check| check.name()))
}

/// Arguments of `plugin inspect`.
#[derive(Debug, Args)]
pub struct PluginInspectArgs {
    /// Library: an ELF, Mach-O or PE file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
pub struct PluginNewArgs {
    /// Name of the indexer and its table: a letter, then a-z, 0-9 and _
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Language it is written in
    #[arg(long, value_enum, value_name = "LANG", default_value = "rust")]
    pub lang: LangArg,
    /// Folder to make; it must not exist, or be empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// What a new plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LangArg {
    /// A crate
    Rust,
    /// A folder with a Makefile; neither Rust nor any library is needed
    C,
}

/// Arguments of `plugin info`.
#[derive(Debug, Args)]
pub struct PluginInfoArgs {
    /// Indexer: a NAME that is looked for, a library's PATH, or PATH:NAME where the library has several
    #[arg(value_name = "NAME|PATH|PATH:NAME")]
    pub plugin: String,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Commands of `table`.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// List the dataset's tables
    #[command(after_help = help::TABLE_LIST)]
    List,
    /// Show a table's rows
    #[command(after_help = help::TABLE_SHOW)]
    Show(TableShowArgs),
    /// Delete an indexer's table; the images and their run markers stay
    #[command(after_help = help::TABLE_DROP)]
    Drop(TableDropArgs),
}

/// Arguments of `table drop`.
#[derive(Debug, Args)]
pub struct TableDropArgs {
    /// Table: the name of its indexer (velocity_events)
    pub name: String,
    /// Do it
    #[arg(long)]
    pub yes: bool,
    /// Wait so long for a run to let go of the table [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
}

/// Forms in which a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns for people: floats to 6 digits, long texts cut
    Text,
    /// Comma-separated values, exact; a missing value is an empty cell
    Csv,
    /// An array with one object a row, exact; a missing value is null
    Json,
    /// A Parquet file
    Parquet,
}

/// How rows are shown.
#[derive(Debug, Args)]
pub struct TableOutput {
    /// Show at most so many rows [default: 20 as text, else all]
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
    /// Show every row
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Form of the output [default: text, or json with --json]
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    pub format: Option<TableFormat>,
    /// Write to this file instead of standard output; it appears whole or not at all
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `table show`.
#[derive(Debug, Args)]
pub struct TableShowArgs {
    /// Table: the name of its indexer (velocity_events), or of another table (sources)
    pub name: String,
    /// How.
    #[command(flatten)]
    pub output: TableOutput,
    /// Show the rows of this image only; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
}

/// Commands of `dataset`.
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Make a new, empty dataset
    #[command(after_help = help::DATASET_CREATE)]
    Create(DatasetCreateArgs),
    /// Describe a dataset: how many images, which tables
    #[command(after_help = help::DATASET_INFO)]
    Info(DatasetPathArg),
    /// Check everything in a dataset and tell all that is wrong
    #[command(after_help = help::DATASET_VALIDATE)]
    Validate(DatasetPathArg),
    /// Rebuild the list of images that other programs read
    #[command(after_help = help::DATASET_MANIFEST)]
    Manifest(DatasetManifestArgs),
    /// Bring recordings (TIFF files and what stands beside them) into a dataset
    #[command(after_help = help::DATASET_INGEST)]
    Ingest(DatasetIngestArgs),
    /// Write images, artifacts and tables as TIFF, JSON, CSV and NPY files
    #[command(after_help = help::DATASET_EXPORT)]
    Export(DatasetExportArgs),
    /// Show one row an image: where it came from, its shape, its ROIs, its rows in each table
    #[command(after_help = help::DATASET_VIEW_TABLE)]
    ViewTable(DatasetViewArgs),
}

/// What is done with recordings that have changed since they were ingested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChangedArg {
    /// Their images get the new pixels and metadata
    Reingest,
    /// Their images stay as they are
    Skip,
}

/// Arguments of `dataset ingest`.
#[derive(Debug, Args)]
pub struct DatasetIngestArgs {
    /// Folders, searched with all below them, and TIFF files
    #[arg(value_name = "FOLDER|FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// Recordings that have changed since they were ingested
    #[arg(long, value_enum, value_name = "WHAT", default_value = "reingest")]
    pub changed: ChangedArg,
    /// Read everything, write nothing; tell what would be done and what would fail
    #[arg(long)]
    pub dry_run: bool,
    /// Threads [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// Arguments of `dataset export`.
#[derive(Debug, Args)]
pub struct DatasetExportArgs {
    /// Folder to write into; it must not exist yet, or be empty
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Export these images only, and their rows; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
    /// Write over what is in the folder
    #[arg(long)]
    pub overwrite: bool,
}

/// Arguments of `dataset create`.
#[derive(Debug, Args)]
pub struct DatasetCreateArgs {
    /// Folder to make; it must not exist yet, or be empty
    #[arg(value_name = "PATH", required_unless_present = "dataset")]
    pub path: Option<PathBuf>,
}

/// A dataset as an argument instead of `--dataset`.
#[derive(Debug, Args)]
pub struct DatasetPathArg {
    /// Dataset, instead of --dataset
    #[arg(value_name = "PATH", conflicts_with = "dataset")]
    pub path: Option<PathBuf>,
}

/// Arguments of `dataset manifest`.
#[derive(Debug, Args)]
pub struct DatasetManifestArgs {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetPathArg,
    /// Write nothing; tell whether the manifest agrees with the images (exit 5 when not)
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `dataset view-table`.
#[derive(Debug, Args)]
pub struct DatasetViewArgs {
    /// How.
    #[command(flatten)]
    pub output: TableOutput,
}

/// Arguments of `params-hash`.
#[derive(Debug, Args)]
#[command(after_help = help::PARAMS_HASH)]
pub struct ParamsHashArgs {
    /// JSON file; - is standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Print the canonical text that is hashed instead of its hash
    #[arg(long)]
    pub canonical: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = help::DEMO)]
pub struct DemoArgs {
    /// Dataset to make, beside a folder of recordings; what an earlier demo made is made anew
    #[arg(value_name = "DIR", default_value = demo::FOLDER)]
    pub dir: PathBuf,
    /// Where else to look for the indexers.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = help::COMPLETIONS)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("kymhost").chain(line.split_whitespace()))
    }

    #[test]
    fn lines_that_are_taken() {
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
    fn lines_that_are_refused() {
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
    fn an_unknown_mode_is_told_the_two() {
        let text = parse("run --plugin a --mode sometimes").unwrap_err().to_string();
        assert!(text.contains("incremental") && text.contains("replace") && text.contains("sometimes"), "{text}");
    }

    #[test]
    fn an_unknown_reason_is_told_them_all() {
        let text = parse("run --plugin a --reason STALE_PARAMS").unwrap_err().to_string();
        for reason in Reason::ALL {
            // No image has that when a run selects.
            assert_eq!(text.contains(reason.code()), reason != Reason::PendingUpstream, "{text}");
        }
        assert!(parse("run --plugin a --reason PENDING_UPSTREAM").is_err());
    }

    #[test]
    fn reasons_are_taken_in_either_case() {
        let cli = parse("status -p a --reason stale_unknown Fresh_Rows").unwrap();
        let Command::Status(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.reason, [Reason::StaleUnknown, Reason::FreshRows]);
    }

    #[test]
    fn help_teaches() {
        let help = |line: &str| parse(line).unwrap_err().to_string();
        for (line, lines) in [
            (
                "--help",
                &[
                    "Exit codes:",
                    "   3  some images failed; the others are committed",
                    "KYMHOST_DATASET",
                    "KYMHOST_PLUGIN_PATH",
                    "kymhost demo",
                ][..],
            ),
            (
                "run --help",
                &["kymhost run --plugin velocity_events", "[default: incremental]", "[default: the number of cores]"],
            ),
            ("run --help", &["kymhost run --plugin velocity_events --dry-run", "[default: 30]", "Which images:"]),
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

    #[test]
    fn every_command_that_acts_has_examples() {
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

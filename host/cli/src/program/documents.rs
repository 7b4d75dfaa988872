//! The JSON documents that `--json` puts on standard output.
//! Owns: their fields, which are only ever added to. In words: `docs/reference/json.md`. Never: prints.

use super::error::{CliError, PluginDetails};
use kymhost_author::check::{Check, Checked, Report, Status as CheckStatus};
use kymhost_author::inspect::{ExtraIndexerKeys, Inspection};
use kymhost_author::install::{Change, Installed};
use kymhost_index::names::TableName;
use kymhost_index::staleness::{ImageReport, Note, Reason};
use kymhost_index::{
    AdoptOutcome, Cause, Difference, Explanation, ImageFailure, Preview, RunOutcome, Stats, Status, Verification,
    VerifyKind,
};
use kymhost_plugin::{IndexerInfo, Locked, LockedIndexer, Origin, Platform, Plugin};
use kymhost_plugin_api::card::{API, Card, CardIndexer, TARGET};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, canonical_json};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// An error before there is another document.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a PluginDetails>,
}

impl<'a> ErrorBody<'a> {
    fn new(error: &'a CliError) -> Self {
        Self { code: error.code, message: &error.message, help: error.help.as_deref(), plugin: error.plugin.as_deref() }
    }
}

impl<'a> ErrorDocument<'a> {
    /// The document of an error.
    pub fn new(error: &'a CliError) -> Self {
        Self { error: ErrorBody::new(error) }
    }
}

/// In a list of several plugins, what one gave: its document, or its error.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum OneOf<'a, T> {
    /// Its document.
    Document(T),
    /// Its error.
    Error {
        /// The indexer.
        indexer: &'a str,
        /// What went wrong.
        error: ErrorBody<'a>,
    },
}

impl<'a, T> OneOf<'a, T> {
    /// From what the indexer gave.
    pub fn new<R>(indexer: &'a str, result: &'a Result<R, CliError>, document: impl FnOnce(&'a R) -> T) -> Self {
        match result {
            Ok(value) => Self::Document(document(value)),
            Err(error) => Self::Error { indexer, error: ErrorBody::new(error) },
        }
    }
}

/// `run --json` with several plugins.
#[derive(Debug, Serialize)]
pub struct RunsDocument<'a> {
    /// One each, in the order of the arguments.
    pub runs: Vec<OneOf<'a, RunDocument<'a>>>,
}

/// `run --json`
#[derive(Debug, Serialize)]
pub struct RunDocument<'a> {
    indexer: &'a str,
    mode: &'static str,
    table: &'a str,
    stats: StatsBody,
    failures: Vec<FailureBody<'a>>,
    pruned_images: u64,
    freshened: u64,
    commits: u64,
    checkpoint_sec: f64,
    recomputed: bool,
    stopped_by_failures: bool,
    widened: Vec<WideningBody<'a>>,
}

#[derive(Debug, Serialize)]
struct WideningBody<'a> {
    column: &'a str,
    from: &'a str,
    to: &'a str,
}

#[derive(Debug, Serialize)]
struct StatsBody {
    updated: u64,
    skipped_fresh: u64,
    skipped_zero_rows: u64,
    stale_missing_marker: u64,
    stale_marker_table_mismatch: u64,
    total_images: u64,
    failed: u64,
    not_run: u64,
    skipped: u64,
    missing: u64,
}

#[derive(Debug, Serialize)]
struct FailureBody<'a> {
    image_id: &'a str,
    kind: &'static str,
    message: &'a str,
}

impl<'a> RunDocument<'a> {
    /// The document of a run.
    pub fn new(outcome: &'a RunOutcome) -> Self {
        let Stats {
            updated,
            skipped_fresh,
            skipped_zero_rows,
            stale_missing_marker,
            stale_marker_table_mismatch,
            total_images,
            failed,
            not_run,
            missing,
        } = outcome.stats;
        Self {
            indexer: &outcome.indexer,
            mode: outcome.mode.name(),
            table: &outcome.table,
            stats: StatsBody {
                updated,
                skipped_fresh,
                skipped_zero_rows,
                stale_missing_marker,
                stale_marker_table_mismatch,
                total_images,
                failed,
                not_run,
                skipped: skipped(&outcome.stats),
                missing,
            },
            failures: outcome.failures.iter().map(FailureBody::new).collect(),
            pruned_images: outcome.pruned_images,
            freshened: outcome.freshened,
            commits: outcome.commits,
            checkpoint_sec: outcome.checkpoint_time.as_secs_f64(),
            recomputed: outcome.recomputed,
            stopped_by_failures: outcome.stopped_by_failures,
            widened: outcome
                .widened
                .iter()
                .map(|widening| WideningBody { column: &widening.column, from: &widening.from, to: &widening.to })
                .collect(),
        }
    }
}

impl<'a> FailureBody<'a> {
    fn new(failure: &'a ImageFailure) -> Self {
        Self { image_id: &failure.image_id, kind: failure.failure.kind.as_str(), message: &failure.failure.message }
    }
}

/// Images that were left because they are fresh.
pub fn skipped(stats: &Stats) -> u64 {
    stats.skipped_fresh + stats.skipped_zero_rows
}

/// `run --dry-run --json` with several plugins.
#[derive(Debug, Serialize)]
pub struct PreviewsDocument<'a> {
    /// One each, in the order of the arguments.
    pub runs: Vec<OneOf<'a, PreviewDocument<'a>>>,
}

/// `run --dry-run --json`
#[derive(Debug, Serialize)]
pub struct PreviewDocument<'a> {
    indexer: &'a str,
    mode: &'static str,
    table: &'a str,
    dry_run: bool,
    would_update: Vec<WouldBody<'a>>,
    would_fail: Vec<WouldBody<'a>>,
    would_prune: Vec<OrphanBody<'a>>,
    refusal: Option<&'a str>,
    pending_upstream: Vec<WouldBody<'a>>,
}

/// An image that would be tried.
#[derive(Debug, Serialize)]
struct WouldBody<'a> {
    image_id: &'a str,
    reason: &'static str,
    inputs: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// An image that is no longer in the dataset.
#[derive(Debug, Serialize)]
struct OrphanBody<'a> {
    image_id: &'a str,
    rows: u64,
}

impl<'a> OrphanBody<'a> {
    fn all(orphans: &'a [(String, u64)]) -> Vec<Self> {
        orphans.iter().map(|(image_id, rows)| Self { image_id, rows: *rows }).collect()
    }
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
            refusal: preview.refusal.as_deref(),
            pending_upstream: would(&preview.pending_upstream),
        }
    }
}

/// What a dry run judged of these images.
pub fn reports<'a>(preview: &'a Preview, ids: &'a [String]) -> impl Iterator<Item = &'a ImageReport> {
    let by_id: HashMap<&str, &ImageReport> =
        preview.images.iter().map(|report| (report.image_id.as_str(), report)).collect();
    ids.iter().filter_map(move |id| by_id.get(id.as_str()).copied())
}

/// `status --json` with several plugins.
#[derive(Debug, Serialize)]
pub struct StatusesDocument<'a> {
    /// One each, in the order of the arguments.
    pub statuses: Vec<OneOf<'a, StatusDocument<'a>>>,
}

/// `status --json`
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    images: Vec<ImageBody<'a>>,
    orphans: Vec<OrphanBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ImageBody<'a> {
    image_id: &'a str,
    reason: &'static str,
    is_stale: bool,
    has_run_marker: bool,
    table_rows_present: bool,
    marker_n_rows: Option<u64>,
    params_hash_matches: bool,
    analysis_version_matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    inputs: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
}

impl<'a> StatusDocument<'a> {
    /// The document of a status: images with one of these reasons, with any where there are none.
    pub fn new(status: &'a Status, reasons: &BTreeSet<Reason>) -> Self {
        let listed = status.images.iter().filter(|image| reasons.is_empty() || reasons.contains(&image.reason));
        Self {
            indexer: &status.indexer,
            table: &status.table,
            images: listed.map(ImageBody::new).collect(),
            orphans: OrphanBody::all(&status.orphans),
        }
    }
}

impl<'a> ImageBody<'a> {
    fn new(report: &'a ImageReport) -> Self {
        Self {
            image_id: &report.image_id,
            reason: report.reason.code(),
            is_stale: report.is_stale,
            has_run_marker: report.has_run_marker,
            table_rows_present: report.table_rows_present,
            marker_n_rows: report.marker_n_rows,
            params_hash_matches: report.params_hash_matches,
            analysis_version_matches: report.analysis_version_matches,
            error: report.error.as_deref(),
            inputs: &report.inputs,
            notes: report.notes.iter().map(|note| note.code()).collect(),
        }
    }
}

/// `explain --json`
#[derive(Debug, Serialize)]
pub struct ExplainDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    #[serde(flatten)]
    image: ImageBody<'a>,
    causes: Vec<CauseBody<'a>>,
}

#[derive(Debug, Serialize)]
struct CauseBody<'a> {
    reason: &'static str,
    meaning: &'static str,
    before: Option<&'a str>,
    after: Option<&'a str>,
    params: Vec<DifferenceBody<'a>>,
    inputs: Vec<DifferenceBody<'a>>,
}

#[derive(Debug, Serialize)]
struct DifferenceBody<'a> {
    at: &'a str,
    before: Option<&'a str>,
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
            meaning: reason_meaning(cause.reason),
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

/// `verify --json`
#[derive(Debug, Serialize)]
pub struct VerifyDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    fresh: u64,
    checked: u64,
    findings: Vec<FindingBody<'a>>,
}

#[derive(Debug, Serialize)]
struct FindingBody<'a> {
    image_id: &'a str,
    kind: &'static str,
    message: &'a str,
    /// Where it is about one: its key below the image's group.
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

/// `adopt --json`
#[derive(Debug, Serialize)]
pub struct AdoptDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    adopted: u64,
    already_fresh: u64,
    nothing_to_adopt: u64,
    failures: Vec<FailureBody<'a>>,
}

impl<'a> AdoptDocument<'a> {
    /// The document of an adoption.
    pub fn new(outcome: &'a AdoptOutcome) -> Self {
        Self {
            indexer: &outcome.indexer,
            table: &outcome.table,
            adopted: outcome.adopted,
            already_fresh: outcome.already_fresh,
            nothing_to_adopt: outcome.nothing_to_adopt,
            failures: outcome.failures.iter().map(FailureBody::new).collect(),
        }
    }
}

/// A line of `plugin list --json`.
#[derive(Debug, Serialize)]
pub struct PluginDocument<'a> {
    indexer: &'a str,
    analysis_version: &'a str,
    table: Option<String>,
    marker: &'a str,
    params_artifacts: &'a [String],
    library: String,
}

impl<'a> PluginDocument<'a> {
    /// The document of an indexer that was found.
    pub fn new(plugin: &'a Plugin) -> Self {
        Self {
            indexer: &plugin.indexer.name,
            analysis_version: &plugin.indexer.analysis_version,
            table: table_key(&plugin.indexer.name),
            marker: &plugin.indexer.marker_name,
            params_artifacts: &plugin.indexer.params_artifacts,
            library: plugin.library.display().to_string(),
        }
    }
}

/// `plugin info --json`: that, and all else that the library's card says.
#[derive(Debug, Serialize)]
pub struct PluginInfoDocument<'a> {
    #[serde(flatten)]
    plugin: PluginDocument<'a>,
    api: String,
    needs_api: String,
    door: &'a str,
    sdk: &'a str,
    rustc: &'a str,
    target: &'a str,
    library_indexers: Vec<&'a str>,
    writes: Vec<WrittenBody<'a>>,
    reads: &'a [String],
    /// Null where the plugin declares none, or one that is no JSON.
    params_schema: Option<serde_json::Value>,
}

/// An artifact that an indexer writes.
#[derive(Debug, Serialize)]
struct WrittenBody<'a> {
    name: &'a str,
    kind: &'static str,
}

fn kind_word(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Json => "json",
        ArtifactKind::Parquet | ArtifactKind::Csv => "table",
        _ => "array",
    }
}

/// An artifact that an indexer writes, for people.
pub fn artifact_text(artifact: &Artifact) -> String {
    format!("{} ({})", artifact.name, kind_word(artifact.kind))
}

impl<'a> PluginInfoDocument<'a> {
    /// The document of an indexer and its library's card.
    pub fn new(plugin: &'a Plugin, card: &'a Card) -> Self {
        Self {
            plugin: PluginDocument::new(plugin),
            api: card.api.to_string(),
            needs_api: card.needs_api.to_string(),
            door: &card.door,
            sdk: &card.sdk,
            rustc: &card.rustc,
            target: &card.target,
            library_indexers: card.indexers.iter().map(|indexer| indexer.name.as_str()).collect(),
            writes: plugin
                .indexer
                .writes
                .iter()
                .map(|artifact| WrittenBody { name: &artifact.name, kind: kind_word(artifact.kind) })
                .collect(),
            reads: &plugin.indexer.reads,
            params_schema: serde_json::from_str(&plugin.indexer.params_schema).ok(),
        }
    }
}

/// `plugin inspect --json`
#[derive(Debug, Serialize)]
pub struct InspectDocument<'a> {
    library: String,
    size_bytes: u64,
    sha256: &'a str,
    format: &'static str,
    platforms: Vec<PlatformBody<'a>>,
    api: String,
    needs_api: String,
    door: &'a str,
    sdk: &'a str,
    rustc: &'a str,
    target: &'a str,
    indexers: Vec<InspectedIndexerBody<'a>>,
    other_keys: &'a [String],
    host: HostBody,
    loads: bool,
    refusal: Option<ErrorBody<'a>>,
}

/// A processor architecture.
#[derive(Debug, Serialize)]
struct PlatformBody<'a> {
    arch: &'a str,
    bits: u8,
    endian: &'static str,
}

/// What a card says of one indexer.
#[derive(Debug, Serialize)]
struct InspectedIndexerBody<'a> {
    indexer: &'a str,
    analysis_version: &'a str,
    table: Option<String>,
    marker: &'a str,
    params_artifacts: &'a [String],
    writes: Option<&'a serde_json::Value>,
    reads: Option<&'a serde_json::Value>,
    params_schema: Option<&'a serde_json::Value>,
    other_keys: &'a [String],
}

/// This program, as far as plugins are concerned.
#[derive(Debug, Serialize)]
struct HostBody {
    version: &'static str,
    api: String,
    target: &'static str,
}

impl<'a> InspectDocument<'a> {
    /// The document of a library's file, and why it would not be loaded.
    pub fn new(found: &'a Inspection, refusal: Option<&'a CliError>) -> Self {
        let card = &found.file.card;
        let none: &'static ExtraIndexerKeys = &NO_EXTRA_KEYS;
        let extra = found.extra.indexers.iter().chain(std::iter::repeat(none));
        let indexer = |(indexer, extra): (&'a CardIndexer, &'a ExtraIndexerKeys)| InspectedIndexerBody {
            indexer: &indexer.name,
            analysis_version: &indexer.analysis_version,
            table: table_key(&indexer.name),
            marker: &indexer.marker,
            params_artifacts: &indexer.params_artifacts,
            writes: extra.writes.as_ref(),
            reads: extra.reads.as_ref(),
            params_schema: extra.params_schema.as_ref(),
            other_keys: &extra.other_keys,
        };
        let platform = |platform: &'a Platform| PlatformBody {
            arch: &platform.arch,
            bits: platform.bits,
            endian: if platform.is_big_endian { "big" } else { "little" },
        };
        Self {
            library: found.library.display().to_string(),
            size_bytes: found.size_bytes,
            sha256: &found.sha256,
            format: found.file.format.as_str(),
            platforms: found.file.platforms.iter().map(platform).collect(),
            api: card.api.to_string(),
            needs_api: card.needs_api.to_string(),
            door: &card.door,
            sdk: &card.sdk,
            rustc: &card.rustc,
            target: &card.target,
            indexers: card.indexers.iter().zip(extra).map(indexer).collect(),
            other_keys: &found.extra.other_keys,
            host: HostBody { version: env!("CARGO_PKG_VERSION"), api: API.to_string(), target: TARGET },
            loads: refusal.is_none(),
            refusal: refusal.map(ErrorBody::new),
        }
    }
}

static NO_EXTRA_KEYS: ExtraIndexerKeys =
    ExtraIndexerKeys { writes: None, reads: None, params_schema: None, other_keys: Vec::new() };

/// The key of an indexer's table; none where the name may not be an indexer's.
pub fn table_key(indexer: &str) -> Option<String> {
    TableName::of(indexer).ok().map(|name| name.key_text())
}

/// `plugin list --json`
#[derive(Debug, Serialize)]
pub struct PluginsDocument<'a> {
    /// The search path.
    pub folders: Vec<String>,
    /// What can be used.
    pub plugins: Vec<ListedPluginDocument<'a>>,
    /// What cannot.
    pub unusable: Vec<UnusableBody<'a>>,
}

/// `plugin new --json`
#[derive(Debug, Serialize)]
pub struct NewPluginDocument<'a> {
    /// The indexer's name.
    pub name: &'a str,
    /// What it is written in, as `--lang` takes it.
    pub lang: &'static str,
    /// The folder that was made.
    pub folder: String,
    /// The library that a build makes, within the folder.
    pub library: String,
    /// The files in the folder.
    pub files: Vec<&'a str>,
    /// The commands to type next, in order.
    pub next: &'a [String],
}

/// A library that cannot be used.
#[derive(Debug, Serialize)]
pub struct UnusableBody<'a> {
    library: String,
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> UnusableBody<'a> {
    /// A library and why.
    pub fn new(library: &std::path::Path, error: &'a CliError) -> Self {
        Self {
            library: library.display().to_string(),
            code: error.code,
            message: &error.message,
            help: error.help.as_deref(),
        }
    }
}

/// One of `plugins` of `plugin list --json`.
#[derive(Debug, Serialize)]
pub struct ListedPluginDocument<'a> {
    #[serde(flatten)]
    plugin: PluginDocument<'a>,
    /// Whether its library is in the user's lock file.
    locked: bool,
    sha256: Option<&'a str>,
    origin: Option<&'a Origin>,
}

impl<'a> ListedPluginDocument<'a> {
    /// The document of an indexer that was found, and its library's entry in the lock file.
    pub fn new(plugin: &'a Plugin, entry: Option<&'a Locked>) -> Self {
        Self {
            plugin: PluginDocument::new(plugin),
            locked: entry.is_some(),
            sha256: entry.map(|entry| entry.sha256.as_str()),
            origin: entry.map(|entry| &entry.origin),
        }
    }
}

/// `plugin add --json`
#[derive(Debug, Serialize)]
pub struct PluginAddDocument<'a> {
    installed: Vec<InstalledBody<'a>>,
    lock: String,
    dataset_lock: bool,
    next: &'a [String],
}

/// A library that was installed.
#[derive(Debug, Serialize)]
struct InstalledBody<'a> {
    library: String,
    #[serde(flatten)]
    entry: EntryBody<'a>,
    replaced: Vec<EntryBody<'a>>,
}

/// An entry of a lock file.
#[derive(Debug, Serialize)]
struct EntryBody<'a> {
    indexers: Vec<LockedIndexerBody<'a>>,
    sha256: &'a str,
    origin: &'a Origin,
    locked_utc: &'a str,
}

/// One of its indexers.
#[derive(Debug, Serialize)]
struct LockedIndexerBody<'a> {
    indexer: &'a str,
    analysis_version: &'a str,
}

impl<'a> EntryBody<'a> {
    fn new(entry: &'a Locked) -> Self {
        let indexer = |indexer: &'a LockedIndexer| LockedIndexerBody {
            indexer: &indexer.name,
            analysis_version: &indexer.analysis_version,
        };
        Self {
            indexers: entry.indexers.iter().map(indexer).collect(),
            sha256: &entry.sha256,
            origin: &entry.origin,
            locked_utc: &entry.locked_utc,
        }
    }
}

impl<'a> PluginAddDocument<'a> {
    /// What was installed, and what to type next.
    pub fn new(installed: &'a [Installed], lock: PathBuf, dataset_lock: bool, next: &'a [String]) -> Self {
        let body = |one: &'a Installed| InstalledBody {
            library: one.library.display().to_string(),
            entry: EntryBody::new(&one.entry),
            replaced: one.replaced.iter().map(EntryBody::new).collect(),
        };
        Self { installed: installed.iter().map(body).collect(), lock: lock.display().to_string(), dataset_lock, next }
    }
}

/// `plugin remove --json`
#[derive(Debug, Serialize)]
pub struct PluginRemoveDocument<'a> {
    /// The names of the library's indexers.
    pub removed: Vec<&'a str>,
    /// Its file; null where only the dataset's lock file was changed.
    pub library: Option<String>,
    /// Whether the file was deleted.
    pub is_deleted: bool,
    /// Whether the dataset's lock file was changed, and not the user's.
    pub dataset_lock: bool,
}

/// `plugin path --json`
#[derive(Debug, Serialize)]
pub struct PluginPathDocument {
    /// The folder that plugins are installed into.
    pub plugins: String,
    /// The user's lock file.
    pub lock: String,
    /// The library of the indexer asked for.
    pub library: Option<String>,
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

/// `params show --json`
#[derive(Debug, Serialize)]
pub struct ParamsDocument<'a> {
    indexer: &'a str,
    params_artifacts: &'a [String],
    /// The JSON Schema that the plugin declares; null where it declares none.
    schema: Option<serde_json::Value>,
    images: Vec<ImageParamsBody>,
}

impl<'a> ParamsDocument<'a> {
    /// The params of these images.
    pub fn new(indexer: &'a IndexerInfo, images: Vec<ImageParamsBody>) -> Self {
        let schema = serde_json::from_str(&indexer.params_schema).ok();
        Self { indexer: &indexer.name, params_artifacts: &indexer.params_artifacts, schema, images }
    }
}

/// One image's params.
#[derive(Debug, Serialize)]
pub struct ImageParamsBody {
    image_id: String,
    artifact: Option<String>,
    /// What the artifact holds; null where there is none, and where it holds what JSON does not know (`NaN`).
    params: Option<serde_json::Value>,
    /// What the artifact holds, as canonical JSON text.
    params_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl ImageParamsBody {
    /// An image, the artifact that holds its params or would, and them.
    pub fn new(image_id: String, artifact: String, params: Option<&Json>) -> Self {
        let shown = match params {
            None => "none: all as by default".to_owned(),
            Some(Json::Object(_)) => params.map(Json::to_file_text).unwrap_or_default(),
            Some(other) => format!("no object, which params are: {}", other.to_file_text()),
        };
        let params_text = params.map(canonical_json);
        let params = params_text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { image_id, artifact: Some(artifact), params, params_text, error: None, shown }
    }

    /// An image whose params cannot be read.
    pub fn unreadable(image_id: String, error: &CliError) -> Self {
        let shown = format!("unreadable: {}", error.message);
        Self { image_id, artifact: None, params: None, params_text: None, error: Some(error.message.clone()), shown }
    }

    /// Whether they cannot be read.
    pub fn is_broken(&self) -> bool {
        self.error.is_some()
    }

    /// The image.
    pub fn image_id(&self) -> &str {
        &self.image_id
    }

    /// For people.
    pub fn text(&self) -> String {
        self.shown.clone()
    }
}

/// `params set --json`, `params unset --json`
#[derive(Debug, Serialize)]
pub struct ParamsSetDocument<'a> {
    /// The indexer.
    pub indexer: &'a str,
    /// The images whose params are others now.
    pub changed: &'a [String],
    /// How many images had them already.
    pub unchanged: u64,
}

/// A reason in plain words.
pub fn reason_meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::FreshRows => "its rows are up to date",
        Reason::FreshZeroRows => "it was run and has no rows",
        Reason::StaleMissingMarker => "it has no run marker: it was never run",
        Reason::StaleMarkerTableMismatch => "its run marker and the table's rows do not agree",
        Reason::StaleVersionChanged => "its rows were made by another version of the indexer",
        Reason::StaleParamsChanged => "its params have changed since its rows were made",
        Reason::StaleUnknown => "its rows cannot be told to be up to date",
        Reason::StaleUnreadable => "it cannot be judged",
        Reason::StaleInterrupted => "a run was killed while it wrote this image's rows",
        Reason::StaleLastRunFailed => "the last run tried it and failed; its rows, if any, are of before",
        Reason::StaleNoReceipt => "it has rows, but no run marker that vouches for them",
        Reason::StaleRowsChanged => "its rows in the table are not those that the run wrote",
        Reason::StaleInputChanged => "something that its rows were made from has changed",
        Reason::StaleInputAppeared => "something that its rows were made without is there now",
        Reason::StaleInputRemoved => "something that its rows were made from is gone",
        Reason::StaleOutputChanged => "an artifact that was made with its rows is gone or was changed",
        Reason::PendingUpstream => {
            "another indexer of this run is to do it first; what it is after that is not known yet"
        }
    }
}

/// A note in plain words.
pub fn note_meaning(note: Note) -> &'static str {
    match note {
        Note::JudgedByOldRules => {
            "judged by the old rules: the run marker names no inputs, so a changed artifact goes unseen"
        }
        Note::AnotherLibrary => "another build of the library, of the same analysis version, made its rows",
        Note::Adopted => "its rows were adopted: a person said that they count",
    }
}

/// What `verify` found, as a word for scripts.
pub fn finding_kind(kind: VerifyKind) -> &'static str {
    match kind {
        VerifyKind::NotDeterministic => "not_deterministic",
        VerifyKind::VersionBumpForgotten => "version_bump_forgotten",
        VerifyKind::RowsChanged => "rows_changed",
        VerifyKind::ArtifactDiffers => "artifact_differs",
        VerifyKind::Failed => "failed",
    }
}

/// What `verify` found, in plain words.
pub fn finding_meaning(kind: VerifyKind) -> &'static str {
    match kind {
        VerifyKind::NotDeterministic => "two extractions of the same inputs gave different rows or artifacts",
        VerifyKind::VersionBumpForgotten => {
            "the plugin gives other rows than it gave to the run, under the same analysis version"
        }
        VerifyKind::RowsChanged => "the rows in the table are not those that the run wrote",
        VerifyKind::ArtifactDiffers => "an artifact that is kept is not what the plugin gives now",
        VerifyKind::Failed => "the extraction failed",
    }
}

/// `plugin check`
#[derive(Debug, Serialize)]
pub struct CheckDocument<'a> {
    library: String,
    seed: u64,
    is_loaded: bool,
    checks: Vec<CheckedBody<'a>>,
    indexers: Vec<CheckedIndexer<'a>>,
    /// How many checks ended how.
    pub summary: CheckSummary,
}

/// A check that has ended.
#[derive(Debug, Serialize)]
pub struct CheckedBody<'a> {
    name: &'static str,
    status: &'static str,
    message: &'a str,
    seconds: f64,
}

/// The checks of one indexer.
#[derive(Debug, Serialize)]
pub struct CheckedIndexer<'a> {
    indexer: &'a str,
    checks: Vec<CheckedBody<'a>>,
}

/// How many checks ended how.
#[derive(Debug, Serialize)]
pub struct CheckSummary {
    /// See [`CheckStatus`].
    pub passed: usize,
    /// See [`CheckStatus`].
    pub failed: usize,
    /// See [`CheckStatus`].
    pub warned: usize,
    /// See [`CheckStatus`].
    pub skipped: usize,
    /// See [`CheckStatus`].
    pub crashed: usize,
}

impl<'a> CheckDocument<'a> {
    /// From a report.
    pub fn new(report: &'a Report) -> Self {
        let bodies = |checks: &'a [Checked]| -> Vec<CheckedBody<'a>> {
            let body = |checked: &'a Checked| CheckedBody {
                name: checked.check.name(),
                status: checked.outcome.status.as_str(),
                message: &checked.outcome.message,
                seconds: (checked.seconds * 1000.0).round() / 1000.0,
            };
            checks.iter().map(body).collect()
        };
        let indexers = report.indexers.iter();
        Self {
            library: report.library.display().to_string(),
            seed: report.seed,
            is_loaded: report.is_loaded,
            checks: bodies(&report.checks),
            indexers: indexers
                .map(|indexer| CheckedIndexer { indexer: &indexer.indexer, checks: bodies(&indexer.checks) })
                .collect(),
            summary: CheckSummary {
                passed: report.count(CheckStatus::Passed),
                failed: report.count(CheckStatus::Failed),
                warned: report.count(CheckStatus::Warned),
                skipped: report.count(CheckStatus::Skipped),
                crashed: report.count(CheckStatus::Crashed),
            },
        }
    }
}

/// `plugin check --list`
#[derive(Debug, Serialize)]
pub struct CheckListDocument {
    checks: Vec<CheckLine>,
}

/// A check that there is.
#[derive(Debug, Serialize)]
pub struct CheckLine {
    name: &'static str,
    of: &'static str,
    needs: &'static str,
    description: &'static str,
}

impl CheckListDocument {
    /// All checks.
    pub fn new() -> Self {
        let line = |check: &Check| CheckLine {
            name: check.name(),
            of: if check.is_of_library() { "library" } else { "indexer" },
            needs: check.needs().as_str(),
            description: check.description(),
        };
        Self { checks: Check::ALL.iter().map(line).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::exit::Exit;
    use crate::program::made_up::report;
    use kymhost_index::Mode;
    use kymhost_index::VerifyFinding;
    use kymhost_index::rewrite::Widening;
    use kymhost_plugin::{Failure, FailureKind};
    use serde_json::json;

    fn value(document: &impl Serialize) -> serde_json::Value {
        serde_json::to_value(document).unwrap()
    }

    fn outcome() -> RunOutcome {
        RunOutcome {
            indexer: "velocity_events".into(),
            mode: Mode::Incremental,
            table: "tables/kym_velocity_events.parquet".into(),
            stats: Stats {
                updated: 1,
                skipped_fresh: 2,
                skipped_zero_rows: 3,
                stale_missing_marker: 4,
                stale_marker_table_mismatch: 5,
                total_images: 6,
                failed: 7,
                not_run: 8,
                missing: 9,
            },
            failures: vec![ImageFailure {
                image_id: "i".into(),
                failure: Failure::new(FailureKind::BadTable, "m".into()),
            }],
            decisions: Vec::new(),
            pruned_images: 10,
            freshened: 11,
            widened: vec![Widening { column: "c".into(), from: "Int64".into(), to: "Float64".into() }],
            commits: 12,
            checkpoint_time: std::time::Duration::from_millis(1500),
            recomputed: true,
            stopped_by_failures: true,
        }
    }

    fn run_value() -> serde_json::Value {
        json!({
            "indexer": "velocity_events",
            "mode": "incremental",
            "table": "tables/kym_velocity_events.parquet",
            "stats": {
                "updated": 1, "skipped_fresh": 2, "skipped_zero_rows": 3, "stale_missing_marker": 4,
                "stale_marker_table_mismatch": 5, "total_images": 6, "failed": 7, "not_run": 8, "skipped": 5,
                "missing": 9,
            },
            "failures": [{"image_id": "i", "kind": "bad_table", "message": "m"}],
            "pruned_images": 10, "freshened": 11, "commits": 12, "checkpoint_sec": 1.5, "recomputed": true,
            "stopped_by_failures": true,
            "widened": [{"column": "c", "from": "Int64", "to": "Float64"}],
        })
    }

    #[test]
    fn the_document_of_a_run() {
        assert_eq!(value(&RunDocument::new(&outcome())), run_value());
    }

    #[test]
    fn the_documents_of_several_runs() {
        let good = Ok(outcome());
        let bad = Err(CliError::new(Exit::Locked, "locked", "m").help("h"));
        let runs =
            vec![OneOf::new("velocity_events", &good, RunDocument::new), OneOf::new("radon", &bad, RunDocument::new)];
        assert_eq!(
            value(&RunsDocument { runs }),
            json!({"runs": [
                run_value(),
                {"indexer": "radon", "error": {"code": "locked", "message": "m", "help": "h"}},
            ]})
        );
    }

    #[test]
    fn the_document_of_a_status() {
        let mut good = report("i", Reason::FreshRows);
        good.marker_n_rows = Some(2);
        good.notes = vec![Note::AnotherLibrary];
        let mut changed = report("j", Reason::StaleInputChanged);
        changed.inputs = vec!["data".into()];
        let mut bad = report("k", Reason::StaleUnreadable);
        bad.error = Some("bad".into());
        let status = Status {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            images: vec![good, changed, bad],
            orphans: vec![("gone".into(), 3)],
        };
        let images = json!([
            {"image_id": "i", "reason": "FRESH_ROWS", "is_stale": false, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": 2, "params_hash_matches": true,
             "analysis_version_matches": false, "notes": ["ANOTHER_LIBRARY"]},
            {"image_id": "j", "reason": "STALE_INPUT_CHANGED", "is_stale": true, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
             "analysis_version_matches": false, "inputs": ["data"]},
            {"image_id": "k", "reason": "STALE_UNREADABLE", "is_stale": true, "has_run_marker": true,
             "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
             "analysis_version_matches": false, "error": "bad"},
        ]);
        let orphans = json!([{"image_id": "gone", "rows": 3}]);
        assert_eq!(
            value(&StatusDocument::new(&status, &BTreeSet::new())),
            json!({
                "indexer": "radon", "table": "tables/kym_radon.parquet", "images": images, "orphans": orphans,
            })
        );
        let some = BTreeSet::from([Reason::StaleInputChanged, Reason::StaleUnknown]);
        assert_eq!(value(&StatusDocument::new(&status, &some))["images"], json!([images[1]]));
    }

    #[test]
    fn the_document_of_a_dry_run() {
        let mut changed = report("b", Reason::StaleInputChanged);
        changed.inputs = vec!["data".into()];
        let mut broken = report("c", Reason::StaleUnreadable);
        broken.error = Some("bad".into());
        let preview = Preview {
            indexer: "radon".into(),
            mode: Mode::Incremental,
            table: "tables/kym_radon.parquet".into(),
            images: vec![report("a", Reason::FreshRows), changed, broken],
            would_update: vec!["b".into()],
            would_fail: vec!["c".into()],
            pending_upstream: vec!["a".into()],
            would_prune: vec![("gone".into(), 3)],
            refusal: None,
        };
        let document = json!({
            "indexer": "radon", "mode": "incremental", "table": "tables/kym_radon.parquet", "dry_run": true,
            "would_update": [{"image_id": "b", "reason": "STALE_INPUT_CHANGED", "inputs": ["data"]}],
            "would_fail": [{"image_id": "c", "reason": "STALE_UNREADABLE", "inputs": [], "error": "bad"}],
            "would_prune": [{"image_id": "gone", "rows": 3}], "refusal": null,
            "pending_upstream": [{"image_id": "a", "reason": "FRESH_ROWS", "inputs": []}],
        });
        assert_eq!(value(&PreviewDocument::new(&preview)), document);
        let refused = Preview { refusal: Some("no image remains".into()), ..preview };
        assert_eq!(value(&PreviewDocument::new(&refused))["refusal"], "no image remains");
    }

    #[test]
    fn the_document_of_an_explanation() {
        let difference = |at: &str, before: Option<&str>, after: Option<&str>| Difference {
            at: at.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let explanation = Explanation {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            report: report("i", Reason::StaleParamsChanged),
            causes: vec![
                Cause {
                    reason: Reason::StaleParamsChanged,
                    before: Some("old".into()),
                    after: Some("new".into()),
                    params: vec![difference("/a", Some("1"), None)],
                    inputs: Vec::new(),
                },
                Cause {
                    reason: Reason::StaleInputAppeared,
                    before: None,
                    after: None,
                    params: Vec::new(),
                    inputs: vec![difference("data", None, Some("an array"))],
                },
            ],
        };
        assert_eq!(
            value(&ExplainDocument::new(&explanation)),
            json!({
                "indexer": "radon", "table": "tables/kym_radon.parquet", "image_id": "i",
                "reason": "STALE_PARAMS_CHANGED", "is_stale": true, "has_run_marker": true,
                "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
                "analysis_version_matches": false,
                "causes": [
                    {"reason": "STALE_PARAMS_CHANGED", "meaning": reason_meaning(Reason::StaleParamsChanged),
                     "before": "old", "after": "new", "params": [{"at": "/a", "before": "1", "after": null}],
                     "inputs": []},
                    {"reason": "STALE_INPUT_APPEARED", "meaning": reason_meaning(Reason::StaleInputAppeared),
                     "before": null, "after": null, "params": [],
                     "inputs": [{"at": "data", "before": null, "after": "an array"}]},
                ],
            })
        );
    }

    #[test]
    fn the_document_of_a_verification() {
        let kinds = [
            (VerifyKind::NotDeterministic, "not_deterministic"),
            (VerifyKind::VersionBumpForgotten, "version_bump_forgotten"),
            (VerifyKind::RowsChanged, "rows_changed"),
            (VerifyKind::ArtifactDiffers, "artifact_differs"),
            (VerifyKind::Failed, "failed"),
        ];
        let finding = |&(kind, _)| VerifyFinding { image_id: "i".into(), kind, artifact: None, message: "m".into() };
        let verification = Verification {
            indexer: "radon".into(),
            table: "t".into(),
            fresh: 9,
            checked: 4,
            findings: kinds.iter().map(finding).collect(),
        };
        let findings: Vec<_> =
            kinds.iter().map(|(_, kind)| json!({"image_id": "i", "kind": kind, "message": "m"})).collect();
        assert_eq!(
            value(&VerifyDocument::new(&verification)),
            json!({"indexer": "radon", "table": "t", "fresh": 9, "checked": 4, "findings": findings})
        );
    }

    #[test]
    fn the_document_of_an_adoption() {
        let outcome = AdoptOutcome {
            indexer: "radon".into(),
            table: "t".into(),
            adopted: 1,
            already_fresh: 2,
            nothing_to_adopt: 3,
            failures: outcome().failures,
        };
        assert_eq!(
            value(&AdoptDocument::new(&outcome)),
            json!({
                "indexer": "radon", "table": "t", "adopted": 1, "already_fresh": 2, "nothing_to_adopt": 3,
                "failures": [{"image_id": "i", "kind": "bad_table", "message": "m"}],
            })
        );
    }

    #[test]
    fn the_document_of_an_error() {
        let error = CliError::usage("usage", "m");
        assert_eq!(
            value(&ErrorDocument::new(&error)),
            json!({"error": {"code": "usage", "message": "m", "help": null}})
        );
    }
}

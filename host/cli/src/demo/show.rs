//! What the demo prints for people: words, tables, and the commands that do the same. Prints nothing with `--json`.

use super::args::DemoArgs;
use super::kymographs::{COUNT, Kymograph, LINES, PIXELS, SECONDS_PER_LINE, UM_PER_PIXEL};
use super::lab::{Answer, DETECTION, EDIT, EVENTS, INDEXERS, VELOCITY, internal, name_of};
use super::truth::WINDOW_LINES;
use crate::commands::table::rows as table;
use crate::commands::{explain, run};
use crate::context::Context;
use crate::error::CliError;
use crate::shell_quote::quoted;
use crate::{output, quantity};
use kymhost_dataset::Dataset;
use kymhost_index::{Explanation, RunOutcome};
use kymhost_ingest::{FileOutcome, FileStatus};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// How many rows of the table are shown.
const ROWS: usize = 6;
/// Which of its columns.
const COLUMNS: [&str; 7] =
    ["image_id", "event_type", "t_start_s", "t_end_s", "score", "baseline_before", "baseline_after"];
/// The width of the table without a terminal.
const WIDTH: usize = 100;
/// The finest step of an angle of `radon_velocity`.
const STEP_DEG: f64 = 0.25;
/// How many recordings of one kind are named.
const NAMED: usize = 2;

/// Shows one step after the other.
pub struct Show<'a> {
    context: &'a Context,
    args: &'a DemoArgs,
    recordings: &'a Path,
    /// The program, dataset and folders of plugins as they are typed.
    program: String,
    dataset: String,
    plugin_dirs: String,
    /// The name of each recording, by its id.
    names: BTreeMap<String, String>,
    titles: usize,
}

impl<'a> Show<'a> {
    pub fn new(context: &'a Context, args: &'a DemoArgs, recordings: &'a Path) -> Self {
        let dirs = args.dirs.plugin_dir.iter().map(|dir| format!(" --plugin-dir {}", quoted(dir)));
        Self {
            context,
            args,
            recordings,
            program: quoted(Path::new(&context.program)),
            dataset: quoted(&args.dir),
            plugin_dirs: dirs.collect(),
            names: BTreeMap::new(),
            titles: 0,
        }
    }

    fn print(&self, text: &str) -> Result<(), CliError> {
        if self.context.json {
            return Ok(());
        }
        output::to_stdout(|out| out.write_all(text.as_bytes()))
    }

    /// A command line for this dataset.
    fn command(&self, words: &str) -> String {
        format!("{} {words} --dataset {}", self.program, self.dataset)
    }

    /// The same for a command that needs plugins.
    fn plugin_command(&self, words: &str, plugins: &[&str]) -> String {
        let plugins: String = plugins.iter().map(|plugin| format!(" --plugin {plugin}")).collect();
        format!("{}{}", self.command(&format!("{words}{plugins}")), self.plugin_dirs)
    }

    fn ingest_command(&self) -> String {
        self.command(&format!("dataset ingest {}", quoted(self.recordings)))
    }

    fn set_command(&self, image_id: &str, edit: &str) -> String {
        self.command(&format!("params set --plugin {DETECTION}{} --image {image_id} {edit}", self.plugin_dirs))
    }

    pub fn title(&mut self, title: &str) -> Result<(), CliError> {
        self.titles += 1;
        self.print(&format!("\n{}. {title}\n", self.titles))
    }

    pub fn recordings(&mut self, kymographs: &[Kymograph], took: Duration) -> Result<(), CliError> {
        let stalls: usize = kymographs.iter().map(|kymograph| kymograph.truth.stalls().len()).sum();
        self.print("From line scans to a table of events, and what is computed again after a change.\n")?;
        self.title("Make recordings")?;
        self.print(&format!(
            "   The demo wrote {COUNT} line scans as TIFF files into {} ({}).\n   \
             Each has {LINES} lines of {PIXELS} pixels, {} ms and {UM_PER_PIXEL} um apart. They show dark cells that move with a pulse,\n   \
             and noise. The flow stalls {stalls} times. The true velocities and stalls are in no file: only this\n   \
             program knows them, and compares them with the result below.\n",
            quoted(self.recordings),
            quantity::show_duration(took),
            SECONDS_PER_LINE * 1000.0,
        ))
    }

    pub fn ingested(&mut self, kymographs: &[Kymograph], ids: &[String], took: Duration) -> Result<(), CliError> {
        self.title("Import them into a dataset")?;
        let mut text = format!("   $ {}\n", self.ingest_command());
        let _ = writeln!(text, "   {} recordings added ({})", ids.len(), quantity::show_duration(took));
        for (kymograph, id) in kymographs.iter().zip(ids) {
            self.names.insert(id.clone(), kymograph.name.clone());
            let _ = writeln!(text, "     {}.tif has the id {id}", kymograph.name);
        }
        self.print(&text)
    }

    pub fn run_command(&self) -> Result<(), CliError> {
        self.print(&format!("   $ {}\n", self.plugin_command("run", &INDEXERS)))
    }

    /// One indexer's run: which recordings were computed and why, in groups.
    pub fn outcome(&self, outcome: &RunOutcome, took: Duration) -> Result<(), CliError> {
        let mut text = format!("   {}\n", run::summary(outcome, took, 0));
        let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for decision in &outcome.decisions {
            let has_failed = outcome.failures.iter().any(|failure| failure.image_id == decision.image_id);
            let what = match (has_failed, decision.is_stale) {
                (true, _) => "failed",
                (false, true) => "computed",
                (false, false) => "skipped",
            };
            let meaning = decision.reason.meaning();
            let name = self.names.get(&decision.image_id).unwrap_or(&decision.image_id);
            match groups.iter_mut().find(|group| (group.0, group.1) == (what, meaning)) {
                Some(group) => group.2.push(name),
                None => groups.push((what, meaning, vec![name])),
            }
        }
        // Recordings that were computed come first.
        groups.sort_by_key(|group| group.0 == "skipped");
        for (what, meaning, names) in groups {
            let named = match names.len() {
                count if count > NAMED => format!("{count} recordings"),
                _ => names.join(" and "),
            };
            let _ = writeln!(text, "     {named:<9} {what:<8}  {meaning}");
        }
        for failure in &outcome.failures {
            let message = output::indented(&failure.failure.message);
            let _ = writeln!(text, "       {}: {}: {message}", failure.image_id, failure.failure.kind);
        }
        self.print(&text)
    }

    /// The results next to the truth.
    pub fn answers(&self, answers: &[Answer]) -> Result<(), CliError> {
        self.print(&comparison(answers))
    }

    pub fn table(&self, dataset: &Dataset) -> Result<(), CliError> {
        let Some(rows) = dataset.read_table(&format!("kym_{EVENTS}"), None)? else { return Ok(()) };
        let places: Vec<usize> = COLUMNS.iter().filter_map(|column| rows.schema().index_of(column).ok()).collect();
        let shown = rows.project(&places).map_err(|error| internal(format!("the table cannot be shown: {error}")))?;
        let mut text = Vec::new();
        table::head(&shown, ROWS, WIDTH, &mut text).map_err(|error| CliError::output(&error))?;
        self.print(&format!(
            "   $ {}\n   ({} rows, {} columns; shown: the first {} rows and the most important columns)\n\n{}",
            self.command(&format!("table show {EVENTS}")),
            rows.num_rows(),
            rows.num_columns(),
            rows.num_rows().min(ROWS),
            String::from_utf8_lossy(&text)
        ))
    }

    pub fn param_changed(&self, image_id: &str) -> Result<(), CliError> {
        self.print(&format!("   $ {}\n", self.set_command(image_id, EDIT)))
    }

    pub fn read_again(&self, files: &[FileOutcome], tiff: &Path, took: Duration) -> Result<(), CliError> {
        let again = files.iter().filter(|file| file.what == FileStatus::Reingested);
        let again: Vec<String> = again.map(|file| name_of(&file.path)).collect();
        let unchanged = files.iter().filter(|file| file.what == FileStatus::Unchanged).count();
        self.print(&format!(
            "   (the file {} is overwritten)\n   $ {}\n   {} imported again, {unchanged} unchanged ({})\n",
            quoted(tiff),
            self.ingest_command(),
            again.join(" and "),
            quantity::show_duration(took)
        ))
    }

    /// The output of `explain` for a recording.
    pub fn explanation(&self, image_id: &str, explanation: &Explanation) -> Result<(), CliError> {
        let mut text = Vec::new();
        explain::write_text(&mut text, explanation, false).map_err(|error| CliError::output(&error))?;
        let text = String::from_utf8_lossy(&text).trim_end().replace('\n', "\n   ");
        let command = self.plugin_command(&format!("explain {image_id}"), &[VELOCITY]);
        self.print(&format!("   $ {command}\n   {text}\n"))
    }

    pub fn next(&self, image_id: &str) -> Result<(), CliError> {
        let commands = [
            self.plugin_command("status", &INDEXERS),
            self.command(&format!("table show {EVENTS}")),
            self.command(&format!("table show {VELOCITY} --format csv")),
            self.command("dataset view-table"),
        ];
        let change = [
            self.set_command(image_id, "baseline_drop.abs_score_floor=1"),
            self.plugin_command("status", &[DETECTION]),
            self.plugin_command(&format!("explain {image_id}"), &[DETECTION]),
            self.plugin_command("run", &INDEXERS),
        ];
        let own = self.args.dir.parent().unwrap_or(Path::new("")).join("my_indexer");
        self.print(&format!(
            "\nTry next:\n  {}\n\nor change a param and see that only this recording is computed again:\n  {}\n\nor write your own indexer:\n  {}\n",
            commands.join("\n  "),
            change.join("\n  "),
            format_args!("{} plugin new {}", self.program, quoted(&own)),
        ))
    }
}

/// A number with its sign and a unit, or `unknown`.
fn signed(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:+.digits$}{unit}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.1} %"))
}

/// Half a step of the angle in percent of the velocity: dv / v = dθ / (sin θ · cos θ).
fn half_step_percent(velocity_mm_s: f64) -> f64 {
    let theta = (velocity_mm_s.abs() * 1000.0 * SECONDS_PER_LINE / UM_PER_PIXEL).atan();
    (STEP_DEG / 2.0).to_radians() / (theta.sin() * theta.cos()) * 100.0
}

/// The results next to the truth: a table, and how to read it.
fn comparison(answers: &[Answer]) -> String {
    let mut text = String::new();
    let _ =
        writeln!(text, "   {:<10}{:^30}   {:^20}   {:>18}", "", "mean speed, mm/s", "error of one window", "stalls");
    let _ = writeln!(
        text,
        "   {:<10}{:>10}{:>10}{:>10}   {:>10}{:>10}   {:>6}{:>8}{:>8}{:>8}",
        "recording", "true", "found", "error", "median", "95 %", "true", "found", "missed", "false"
    );
    for Answer { recording, comparison: found, .. } in answers {
        let (flow, stalls) = (&found.flow, &found.stalls);
        let _ = writeln!(
            text,
            "   {recording:<10}{:>10}{:>10}{:>10}   {:>10}{:>10}   {:>6}{:>8}{:>8}{:>8}",
            signed(flow.true_mm_s, 3, ""),
            signed(flow.found_mm_s, 3, ""),
            signed(flow.mean_error_percent, 1, " %"),
            percent(flow.median_error_percent),
            percent(flow.p95_error_percent),
            stalls.put_in,
            stalls.found,
            stalls.missed,
            stalls.false_ones
        );
    }
    let all = || answers.iter().map(|answer| &answer.comparison);
    let step = all().filter_map(|found| found.flow.true_mm_s).map(half_step_percent).reduce(f64::max);
    if let Some(step) = step {
        let _ = writeln!(
            text,
            "   Compared are windows whose {WINDOW_LINES} lines all flow; + is too fast. The angle has steps of {STEP_DEG} degrees, which\n   \
             alone are up to {step:.1} % of a speed. The rest is noise, and the method in such short windows\n   \
             (docs/guides/analyses.md)."
        );
    }
    if let Some(fastest) = all().filter_map(|found| found.still.max_speed_mm_s).reduce(f64::max) {
        let _ = writeln!(text, "   In windows where nothing moves, the highest speed found is {fastest:.3} mm/s.");
    }
    let starts = all().flat_map(|found| found.stalls.start_error_sec.iter());
    if let Some(most) = starts.map(|error| error.abs()).reduce(f64::max) {
        let _ = writeln!(text, "   Found stalls start at most {most:.3} s from the true start.");
    }
    let unknown: usize = all().map(|found| found.flow.unknown + found.still.unknown).sum();
    let windows: usize = all().map(|found| found.flow.windows + found.still.windows).sum();
    let _ = writeln!(
        text,
        "   {unknown} of {windows} windows have no velocity, because of a flash of light in each recording."
    );
    let below: usize = all().map(|found| found.stalls.below_threshold).sum();
    if below > 0 {
        let drops = if below == 1 { "1 more drop is".to_owned() } else { format!("{below} more drops are") };
        let _ = writeln!(text, "   {drops} in the table with a score below 1: candidates for a person to look at.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_step_is_least_at_45_degrees() {
        // 0.5 um and 1 ms: 0.5 mm/s are 45 degrees.
        let least = half_step_percent(0.5);
        assert!((least - 0.436).abs() < 0.001, "{least}");
        for velocity in [0.2, -0.2, 1.4] {
            assert!(half_step_percent(velocity) > least, "{velocity}");
        }
        // The result is the effect of one step.
        let velocity = |theta_deg: f64| 0.5 * theta_deg.to_radians().tan();
        let (slow, fast) = (velocity(69.875), velocity(70.125));
        let expected = (fast - slow) / 2.0 / velocity(70.0) * 100.0;
        assert!((half_step_percent(velocity(70.0)) - expected).abs() < 0.001);
    }
}

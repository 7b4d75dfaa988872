//! What `--help` teaches beyond the options: examples, where things are sought, exit codes.
//! Owns: those texts. Never: options (see `args`).

use super::exit::Exit;
use std::fmt::Write;

/// The end of `kymhost --help`.
pub fn main() -> String {
    let mut text = String::from(
        "\
First steps:
  kymhost demo                                  see what it does, on recordings made for it
  kymhost status --plugin velocity_events       which images are stale, and why
  kymhost run --plugin velocity_events          bring the table up to date
  kymhost table show velocity_events            look at it
  kymhost plugin new my_indexer                 write an indexer of your own

The dataset is --dataset PATH, else KYMHOST_DATASET, else the working folder when it is one, else
the one *.zarr dataset in it.

Plugins (indexers' libraries) are sought in:
  1. a path given with --plugin
  2. --plugin-dir DIR
  3. the folders listed in KYMHOST_PLUGIN_PATH
  4. kymhost/plugins in the user's data folder (on Linux ~/.local/share)
  5. this program's own folder, and plugins/ in it
Never in the dataset, never in the working folder by itself.

Exit codes:
",
    );
    for exit in Exit::ALL {
        let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
    }
    text.push_str("Where several hold, the first of 130, 143, 1, 2, 5, 6, 4, 3, 10.");
    text
}

/// `run`
pub const RUN: &str = "\
Examples:
  kymhost run --plugin velocity_events                     stale images only
  kymhost run --plugin velocity_events --mode replace      every image
  kymhost run --plugin velocity_events --plugin radon      two tables, one after the other
  kymhost run --plugin ./libstalls.so --timeout 30 --max-memory 2G
  kymhost run --plugin velocity_events --dry-run           what it would do; writes nothing
  kymhost run --plugin velocity_events --image ID ID       these images only, where stale
  kymhost run --plugin velocity_events --reason STALE_PARAMS_CHANGED --max-failures 10
  kymhost run --plugin velocity_events --wait 60           wait for another run to end
  kymhost run --plugin velocity_events --json | jq .stats

An image that fails keeps its last good rows; the others are committed, and the exit code is 3.
Rows of images that are no longer in the dataset are removed; where no image remains, or more than
10 and over a fifth of the table's images are gone, only with --yes (else exit code 6, and nothing
is written). A long run commits now and then, so that little is lost. Ctrl-C (or SIGTERM) stops the
run after what is done is committed; a second one ends it at once.";

/// `status`
pub const STATUS: &str = "\
Examples:
  kymhost status --plugin velocity_events
  kymhost status --plugin velocity_events --reason STALE_INPUT_CHANGED STALE_INPUT_REMOVED
  kymhost status --plugin velocity_events --exit-code || kymhost run --plugin velocity_events
  kymhost status --plugin velocity_events --json | jq '.images[] | select(.is_stale)'";

/// `explain`
pub const EXPLAIN: &str = "\
Examples:
  kymhost explain 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e --plugin velocity_events
  kymhost explain 0b0f --plugin velocity_events            the beginning of the id will do
  kymhost explain 0b0f --plugin velocity_events --json | jq '.causes[].inputs'

`status` reports one reason for each image; this tells every one that holds, with before and after.";

/// `verify`
pub const VERIFY: &str = "\
Examples:
  kymhost verify --plugin velocity_events --sample 20
  kymhost verify --plugin velocity_events --rows --json

Fresh images are extracted twice, and the rows compared with each other and with those of the run:
  not_deterministic       the two extractions differ: the plugin gives other rows each time
  version_bump_forgotten  both agree, but not with the run's: the plugin was changed, but kept its
                          analysis version
  rows_changed            the rows in the table are not those that the run wrote
  failed                  the extraction failed
Exit code 3 when anything is found. Nothing is written; `kymhost run --image ID --force` does an
image again.";

/// `adopt`
pub const ADOPT: &str = "\
Examples:
  kymhost adopt --plugin velocity_events --reason \"0.2 only renames a field\"
  kymhost adopt --plugin velocity_events --reason \"checked by hand\" --image ID ID

The rows stay as they are and count as made by the present version with the present params. The run
markers keep what was there before, and the reason. `kymhost run --image ID --force` makes rows anew.";

/// `plugin list`
pub const PLUGIN_LIST: &str = "\
Examples:
  kymhost plugin list
  kymhost plugin list --plugin-dir ~/my-plugins/target/release

Only what a library says of itself is read; none of its code is run.";

/// `plugin info`
pub const PLUGIN_INFO: &str = "\
Examples:
  kymhost plugin info velocity_events
  kymhost plugin info ./libstalls.so:stalls";

/// `plugin inspect`
pub const PLUGIN_INSPECT: &str = "\
Examples:
  kymhost plugin inspect ./libstalls.so
  kymhost plugin inspect stalls.dll --json | jq .platforms

Nothing of the library is run. The exit code is 0 where this kymhost would load it, else 5.";

/// `plugin new`
pub const PLUGIN_NEW: &str = "\
Examples:
  kymhost plugin new stalls
  kymhost plugin new stalls --lang c
  kymhost plugin new stalls --path ~/src/stall-indexer

What is made builds and passes its tests as it is; the commands to type next are printed. All that it needs of
kymhost comes along in its vendor folder. A folder that holds anything is never touched.";

/// `plugin check`
pub const PLUGIN_CHECK: &str = "\
Examples:
  kymhost plugin check target/release/libstalls.so
  kymhost plugin check target/release/libstalls.so --dataset lab.zarr     with real records
  kymhost plugin check target/release/libstalls.so --reproduce 4711       the same records again
  kymhost plugin check target/release/libstalls.so --only rows_repeat own_rows
  kymhost plugin check --list

The records are made up: images of several shapes and dtypes, and whatever artifacts the indexer looks
for. With --dataset its first images are copied and used instead; the dataset is read, never written.
Each check ends as passed, failed, warned, skipped (it could not be tried; the message says why) or
crashed. Exit code 0 where none failed or crashed, 3 where some did, 5 where the library cannot be
loaded.";

/// `plugin add`
pub const PLUGIN_ADD: &str = "\
Examples:
  kymhost plugin add ./libstalls.so
  kymhost plugin add ~/src/stalls                builds the crate (cargo) or C folder (make) first
  kymhost plugin add ~/src/stalls --replace      upgrades
  kymhost plugin add ./libstalls.so --dataset-lock --dataset lab.zarr

The library is copied to the folder that `kymhost plugin path` prints; nothing of it is run. Its SHA-256 is kept: from
then on a library that is not the one that was installed is refused, until `kymhost plugin trust NAME`.";

/// `plugin remove`
pub const PLUGIN_REMOVE: &str = "\
Examples:
  kymhost plugin remove stalls";

/// `plugin path`
pub const PLUGIN_PATH: &str = "\
Examples:
  kymhost plugin path
  ls $(kymhost plugin path)
  kymhost plugin path velocity_events";

/// `plugin trust`
pub const PLUGIN_TRUST: &str = "\
Examples:
  kymhost plugin trust stalls
  kymhost plugin trust stalls --yes
  kymhost plugin trust /srv/lab/plugins/libstalls.so      also where the lab's group may write to it
  kymhost plugin trust stalls --dataset-lock --dataset lab.zarr

Both digests are shown, and what the card says otherwise than before. Without a terminal and without --yes nothing is
changed, and the exit code is 6.";

/// `table list`
pub const TABLE_LIST: &str = "\
Examples:
  kymhost table list
  kymhost table list --dataset lab.zarr --json";

/// `table show`
pub const TABLE_SHOW: &str = "\
Examples:
  kymhost table show velocity_events
  kymhost table show velocity_events --image 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e --all
  kymhost table show velocity_events --format csv --output events.csv
  kymhost table show velocity_events --format parquet > events.parquet
  kymhost table show sources --format json | jq length";

/// `table drop`
pub const TABLE_DROP: &str = "\
Examples:
  kymhost table drop velocity_events --yes

The next `kymhost run` makes the table again, from the images.";

/// `dataset create`
pub const DATASET_CREATE: &str = "\
Examples:
  kymhost dataset create lab.zarr";

/// `dataset info`
pub const DATASET_INFO: &str = "\
Examples:
  kymhost dataset info lab.zarr
  kymhost dataset info --json";

/// `dataset validate`
pub const DATASET_VALIDATE: &str = "\
Examples:
  kymhost dataset validate lab.zarr
  kymhost dataset validate lab.zarr --json | jq .problems

Ends with exit code 5 when anything is wrong. Nothing is written.";

/// `dataset manifest`
pub const DATASET_MANIFEST: &str = "\
Examples:
  kymhost dataset manifest lab.zarr
  kymhost dataset manifest lab.zarr --check

The manifest is derived from the images and can be rebuilt at any time; kymhost itself never reads it.";

/// `dataset ingest`
pub const DATASET_INGEST: &str = "\
Examples:
  kymhost dataset ingest ~/recordings --dataset lab.zarr      makes lab.zarr where there is none
  kymhost dataset ingest ~/recordings --dataset lab.zarr      again: only what is new or has changed
  kymhost dataset ingest ~/recordings --dry-run               what it would do and what fails; writes nothing
  kymhost dataset ingest one.tif two.tif --changed skip
  kymhost dataset ingest ~/recordings --json | jq '.files[] | select(.outcome == \"failed\")'

Beside NAME.tif are read:
  NAME.txt                                   the Olympus header
  NAME.json                                  kymflow's header, experiment metadata and ROIs
  NAME.<artifact>.json|csv|csv.gz|parquet|npy    artifacts
  NAME.<part>/<name>.csv and so on               artifacts with a / in their names: <part>/<name>

A file that cannot be read is told, the others go in, and the exit code is 3. A recording that has changed
keeps its image; so do ROIs and metadata that were edited in the dataset. Nothing is ever deleted.";

/// `dataset export`
pub const DATASET_EXPORT: &str = "\
Examples:
  kymhost dataset export out --dataset lab.zarr
  kymhost dataset export out --image 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e
  kymhost dataset ingest out --dataset copy.zarr              the same pixels, metadata and artifacts

Written are images/<id>/image.tif, each artifact as JSON or CSV, array_artifacts/<name>.npy, export.json (what
each file is), and tables/<name>.csv.";

/// `dataset view-table`
pub const DATASET_VIEW_TABLE: &str = "\
Examples:
  kymhost dataset view-table
  kymhost dataset view-table --format csv --output images.csv
  kymhost dataset view-table --json | jq '.[] | select(.has_voxels | not) | .original_path'

Images of which something cannot be read have it in the column `error`; the exit code is then 3.";

/// `params-hash`
pub const PARAMS_HASH: &str = "\
Examples:
  kymhost params-hash params.json
  kymhost params-hash --canonical params.json
  echo '{\"b\": 1, \"a\": 2.0}' | kymhost params-hash -

The hash is the SHA-256 of the canonical text: Python's json.dumps(params, sort_keys=True,
separators=(\",\", \":\"), ensure_ascii=False). In a pipe the canonical text has no final newline:
its SHA-256 is the params hash.";

/// `params set`
pub const PARAMS: &str = "\
Examples:
  kymhost params show --plugin radon_velocity
  kymhost params set --plugin radon_velocity --all window_lines=32
  kymhost params set --plugin event_detection --image ID baseline_drop.mad_k=4
  kymhost params unset --plugin event_detection --all baseline_drop.mad_k";

/// `demo`
pub const DEMO: &str = "\
Examples:
  kymhost demo
  kymhost demo /tmp/try.zarr

Recordings are made beside the dataset (kymhost-demo-recordings), brought into it, and their velocities and stalls
compared with what was put in. A folder that a demo did not make is never touched.";

/// `completions`
pub const COMPLETIONS: &str = "\
Examples:
  kymhost completions bash > ~/.local/share/bash-completion/completions/kymhost
  kymhost completions zsh > ~/.zfunc/_kymhost
  kymhost completions fish > ~/.config/fish/completions/kymhost.fish";

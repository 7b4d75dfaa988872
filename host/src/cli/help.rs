//! What `--help` teaches beyond the options: examples, where things are sought, exit codes.
//! Owns: those texts. Never: options (see `args`).

use super::exit::Exit;
use std::fmt::Write;

/// The end of `kymhost --help`.
pub fn main() -> String {
    let mut text = String::from(
        "\
First steps:
  kymhost demo                                  see what it does, on a dataset made for it
  kymhost status --plugin velocity_events       which images are stale, and why
  kymhost run --plugin velocity_events          bring the table up to date
  kymhost table show velocity_events            look at it

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
  kymhost run --plugin velocity_events --json | jq .stats

An image that fails keeps its last good rows; the others are committed, and the exit code is 3.
Ctrl-C (or SIGTERM) stops the run after what is done is committed; a second one ends it at once.";

/// `status`
pub const STATUS: &str = "\
Examples:
  kymhost status --plugin velocity_events
  kymhost status --plugin velocity_events --exit-code || kymhost run --plugin velocity_events
  kymhost status --plugin velocity_events --json | jq '.images[] | select(.is_stale)'";

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

/// `params-hash`
pub const PARAMS_HASH: &str = "\
Examples:
  kymhost params-hash params.json
  kymhost params-hash --canonical params.json
  echo '{\"b\": 1, \"a\": 2.0}' | kymhost params-hash -

The hash is the SHA-256 of the canonical text: Python's json.dumps(params, sort_keys=True,
separators=(\",\", \":\"), ensure_ascii=False). In a pipe the canonical text has no final newline:
its SHA-256 is the params hash.";

/// `demo`
pub const DEMO: &str = "\
Examples:
  kymhost demo
  kymhost demo /tmp/try.zarr

A folder that a demo did not make is never touched.";

/// `completions`
pub const COMPLETIONS: &str = "\
Examples:
  kymhost completions bash > ~/.local/share/bash-completion/completions/kymhost
  kymhost completions zsh > ~/.zfunc/_kymhost
  kymhost completions fish > ~/.config/fish/completions/kymhost.fish";

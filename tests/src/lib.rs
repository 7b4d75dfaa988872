//! What the black-box tests share: the built program and plugins, fresh folders, runs of the program, comparing.
//!
//! The helpers here see only files and processes: they start the program as a user would and read what it
//! wrote. They do not use the host's library. Some test files do use it, and they say so at their top:
//! `conformance`, `documents`, `engine` (a lock that somebody else holds), `ingest`, `metamorphic`, `real_datasets`,
//! `search`, `workers`, `python_agreement`, `c_door` and `battery` call `kymhost::{dataset, index, plugin,
//! store}` to reach what no command shows.
//!
//! How the program is built, and why a test never runs a stale one: see the file `build.rs`. The two tiers, and how
//! to write a new test: see `docs/contributors/testing.md`.

mod brake;
mod build;
pub mod c;
pub mod damage;
mod files;
pub mod fixture;
pub mod judge;
pub mod linescans;
pub mod measure;
mod process;
pub mod python;
mod skip;
pub mod streaks;
pub mod table;
mod text;
pub mod tiff;

pub use brake::Brake;
pub use build::{built, crates_target, example, library, program, repository, wrong_plugin};
pub use files::{FileState, Snapshot, TestDir, assert_untouched, changed, copy_tree, snapshot};
pub use process::{Output, Run, kill_in_the_midst, wait, wait_for};
pub use skip::{shared, skip};
pub use text::{hex, seed, sha256, words};

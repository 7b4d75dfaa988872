//! The conformance suite of `plugin check`: tries on a library what every indexer must do.
//!
//! It never trusts the plugin: each check has its own process, folder and time limit. For authors:
//! `docs/authors/plugin-check.md`.
//!
//! - `suite` starts a process for each check, with a `sandbox` and `samples`; `child` runs in that process.
//! - `judge` finds the function of a check: those in `checks` look at what an indexer does, those in `damage` at what it
//!   does with damaged images.
//! - `compare` has the rules over values; `writes` finds what is written outside of the sandbox.

mod check_list;
mod checks;
mod child;
mod compare;
mod damage;
mod judge;
mod options;
mod other_process;
mod report;
mod samples;
mod sandbox;
mod subject;
mod suite;
mod task;
mod writes;

pub use check_list::{Check, Needs};
pub use child::check_main;
pub use options::{CHILD, DEFAULT_CALLS, DEFAULT_TIMEOUT, Options};
pub use report::{Checked, IndexerReport, Outcome, Report, Status};
pub use suite::run;

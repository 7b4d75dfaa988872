//! The conformance suite of `plugin check`: what every indexer must do, tried on the library itself.
//!
//! The plugin is never trusted: each check has a process, a folder and a time limit of its own. For authors:
//! `docs/authors/plugin-check.md`.
//!
//! - `suite` starts a process for each check, with a `sandbox` and `samples`; `child` is what runs in it.
//! - `judge` finds the function of a check: those in `checks` look at what an indexer does, those in `damage` at what it
//!   does with broken images.
//! - `compare` holds rules over values, `writes` finds what is written outside of the sandbox.

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

//! Tools for people who write or install plugins: new, check, inspect, add, trust.
//!
//! Responsible for the templates of new plugins, for the conformance suite, and for installed libraries and their lock file.
//! A normal run uses none of it.

pub mod build;
pub mod check;
mod error;
pub mod inspect;
pub mod install;
pub mod new;

pub use error::{BuildError, CheckError, FileError, InstallError, NameError, NewError, SourceKind, Tool};

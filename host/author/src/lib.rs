//! What serves those who write or install plugins: new, check, inspect, add, trust.
//!
//! Owns: the templates of new plugins, the conformance suite, the lock file of installed plugins.
//! Never: takes part in a normal run but for the look at the lock file when a library is found.

pub mod build;
pub mod check;
mod error;
pub mod inspect;
pub mod install;
pub mod new;

pub use error::{BuildError, CheckError, InstallError, NameError, NewError, SourceKind, Tool};

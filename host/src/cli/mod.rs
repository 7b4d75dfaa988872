//! The program: arguments, progress, text and JSON output, exit codes.
//! Owns: what people and scripts see. Never: rules (those are in `index`, `dataset`, `plugin`).

use std::process::ExitCode;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    unimplemented!()
}

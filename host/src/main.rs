//! The `kymhost` program: see [`kymhost::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kymhost::cli::main()
}

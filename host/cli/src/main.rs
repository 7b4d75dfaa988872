//! The `kymhost` program: see [`kymhost::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kymhost::program::main()
}

//! The `kymhost` program: see [`kymhost::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything touches standard output: it is the worker's line to its host.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "worker") {
        return kymhost::plugin::worker_main();
    }
    kymhost::cli::main()
}

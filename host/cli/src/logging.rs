//! Logs: to standard error, as loud as `--verbose`, `--quiet` or `RUST_LOG` ask for.
//! Owns: the subscriber. Never: standard output.

use crate::output;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that, where set, decides alone.
const VARIABLE: &str = "RUST_LOG";

/// How loud the log is without `RUST_LOG`.
fn level(verbose: u8, quiet: bool) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// Starts logging. Called once, before any work.
pub fn start(verbose: u8, quiet: bool) {
    let builder = tracing_subscriber::fmt()
        .with_writer(|| output::Stderr)
        .with_ansi(output::colours())
        .log_internal_errors(false);
    let asked = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
    // Setting it fails only where a subscriber is there already (tests): that one stays.
    let _ = match asked {
        Some(directives) => builder.with_env_filter(EnvFilter::new(directives)).try_init(),
        None => builder.with_max_level(level(verbose, quiet)).try_init(),
    };
}

/// Whether log lines are to be expected on the terminal, where a progress bar would be torn by them.
pub fn is_loud(verbose: u8) -> bool {
    verbose > 0 || std::env::var_os(VARIABLE).is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (verbose, quiet, expected) in [
            (0, false, LevelFilter::WARN),
            (1, false, LevelFilter::INFO),
            (2, false, LevelFilter::DEBUG),
            (9, false, LevelFilter::TRACE),
            (0, true, LevelFilter::ERROR),
        ] {
            assert_eq!(level(verbose, quiet), expected);
        }
    }
}

//! Logs on standard error, as `--verbose`, `--quiet` or `RUST_LOG` select them.

use crate::output;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that decides alone if it is set.
pub const VARIABLE: &str = "RUST_LOG";

/// What is logged without `RUST_LOG`.
fn level(verbose: u8, quiet: bool) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// What `RUST_LOG` asks for: `LEVEL` or `TARGET=LEVEL`, separated by commas. A part that is neither is ignored; errors alone are
/// logged if nothing is left.
fn filter(text: &str) -> Targets {
    let is_right = |part: &&str| !part.is_empty() && part.parse::<Targets>().is_ok();
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(is_right).collect();
    let errors = || Targets::new().with_default(LevelFilter::ERROR);
    if parts.is_empty() { errors() } else { parts.join(",").parse().unwrap_or_else(|_| errors()) }
}

/// Starts logging. Called once, before any work.
pub fn start(verbose: u8, quiet: bool) {
    let builder = tracing_subscriber::fmt()
        .with_writer(|| output::Stderr)
        .with_ansi(output::colours())
        .log_internal_errors(false);
    let asked = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
    // This fails only if there is a subscriber already (in tests). That one stays.
    let _ = match asked {
        Some(text) => {
            let subscriber = builder.with_max_level(LevelFilter::TRACE).finish();
            subscriber.with(filter(&text)).try_init().map_err(Into::into)
        }
        None => builder.with_max_level(level(verbose, quiet)).try_init(),
    };
}

/// Whether log lines are expected on the terminal, which would tear a progress bar.
pub fn is_loud(verbose: u8) -> bool {
    verbose > 0 || std::env::var_os(VARIABLE).is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_follows_options() {
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

    #[test]
    fn filter_reads_levels_and_targets() {
        use tracing_subscriber::filter::LevelFilter as L;
        for (text, target, expected) in [
            ("info", "kymhost_index::run", L::INFO),
            ("kymhost=debug", "kymhost_index::run", L::DEBUG),
            ("kymhost=debug", "zarrs", L::OFF),
            ("plugin=debug, kymhost=warn,error", "plugin", L::DEBUG),
            ("plugin=debug, kymhost=warn,error", "kymhost::program", L::WARN),
            ("plugin=debug, kymhost=warn,error", "zarrs", L::ERROR),
            ("plugin", "plugin", L::TRACE),
            ("a=b=c,,plugin=what,info", "plugin", L::INFO),
            ("a=b=c", "plugin", L::ERROR),
            ("off", "plugin", L::OFF),
        ] {
            let found = filter(text);
            let level = [L::TRACE, L::DEBUG, L::INFO, L::WARN, L::ERROR]
                .into_iter()
                .find(|level| level.into_level().is_some_and(|level| found.would_enable(target, &level)));
            assert_eq!(level.unwrap_or(L::OFF), expected, "{text} {target}");
        }
    }
}

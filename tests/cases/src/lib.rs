//! How many cases a property test tries.
//!
//! Each property test names a small number that finds most faults in well under a second. `PROPTEST_CASES` overrides it
//! everywhere, so that one variable makes all of them long. proptest's own `with_cases` ignores that variable.
//!
//! ```text
//! proptest! {
//!     #![proptest_config(kymhost_test_cases::cases(64))]
//! }
//! ```

use proptest::test_runner::Config;

/// A configuration of this many cases, unless `PROPTEST_CASES` is set.
pub fn cases(default: u32) -> Config {
    // `Config::default` reads the variable.
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases: default, ..config } }
}

//! `variables.md`: the environment variables that the program reads.

use crate::{dataset_choice, logging, plugins};
use std::fmt::Write;

pub fn page() -> String {
    let mut text = "# Environment variables\n\n| variable | means |\n| --- | --- |\n".to_owned();
    for (name, meaning) in [
        (dataset_choice::VARIABLE, "the dataset, if `--dataset` is not given"),
        (plugins::VARIABLE, "folders of plugins: absolute paths, separated by `:`"),
        (
            logging::VARIABLE,
            "what is logged, for example `debug` or `plugin=debug` (what workers and plugins say). If set, it decides instead \
             of `--verbose` and `--quiet`",
        ),
        ("NO_COLOR", "if set, no colours"),
    ] {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text.push_str(
        "\nThe system's `HOME` and `XDG_DATA_HOME` decide where\n[your plugins](../guides/plugins.md#where-kymhost-looks) are.\n",
    );
    text
}

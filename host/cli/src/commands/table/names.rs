//! The table that a name means.

use crate::error::CliError;
use kymhost_dataset::Dataset;
pub use kymhost_dataset::{IMAGE_ID, TABLE_PREFIX as PREFIX};
use kymhost_index::names::TableName;

/// A table's name as `table show` takes it.
pub fn shown(table: &str) -> &str {
    table.strip_prefix(PREFIX).unwrap_or(table)
}

/// The table that a name means: an indexer's table, or else a table with that name or key.
pub fn find(dataset: &Dataset, name: &str) -> Result<String, CliError> {
    let names = dataset.table_names()?;
    named(&names, name).ok_or_else(|| unknown(dataset, name, &names))
}

fn named(names: &[String], name: &str) -> Option<String> {
    let plain = name.strip_prefix("tables/").unwrap_or(name);
    let plain = plain.strip_suffix(".parquet").unwrap_or(plain);
    let of_indexer = TableName::of(plain).ok();
    let wanted = of_indexer.iter().map(TableName::table).chain([plain]);
    wanted.into_iter().find(|wanted| names.iter().any(|name| name == wanted)).map(str::to_owned)
}

pub fn unknown(dataset: &Dataset, name: &str, names: &[String]) -> CliError {
    let there = match names {
        [] => "it has no tables yet".to_owned(),
        names => {
            let names: Vec<&str> = names.iter().map(|name| shown(name)).collect();
            format!("its tables are {}", names.join(", "))
        }
    };
    let at = dataset.store().root();
    CliError::usage(
        "unknown_table",
        format!("no table '{name}' in {}: {there}", at.display()),
        "`kymhost run --plugin NAME` makes the table of an indexer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_finds_table_by_indexer_or_name() {
        let names: Vec<String> =
            ["kym_radon", "kym_sources", "kym_velocity_events", "sources"].map(str::to_owned).to_vec();
        for (name, expected) in [
            ("velocity_events", Some("kym_velocity_events")),
            ("kym_velocity_events", Some("kym_velocity_events")),
            ("tables/kym_velocity_events.parquet", Some("kym_velocity_events")),
            ("kym_velocity_events.parquet", Some("kym_velocity_events")),
            ("sources", Some("kym_sources")),
            ("nope", None),
            ("", None),
            ("kym_", None),
        ] {
            assert_eq!(named(&names, name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(named(&["sources".to_owned()], "sources").as_deref(), Some("sources"));
    }
}

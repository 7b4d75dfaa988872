//! The indexer `{{name}}`: the mean intensity of each part of a recording, one row per part.
use kymhost_plugin_api::prelude::*;

struct {{Type}};

impl Indexer for {{Type}} {
    const NAME: &'static str = "{{name}}";
    const ANALYSIS_VERSION: &'static str = "{{name}}@1"; // change it whenever the same image gives other rows
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["{{name}}/params"];

    fn params(&self, record: &Record) -> Result<Json> {
        Ok(record.json(Self::PARAMS_ARTIFACTS[0])?.unwrap_or(Json::Null))
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        let parts = self.params(record)?.get("parts").map_or(Some(10), Json::as_u64).filter(|parts| *parts > 0);
        let parts = parts.ok_or_else(|| Error::msg("'parts' is not a whole number above 0"))? as usize;
        let values = record.pixels()?.and_then(|pixels| pixels.to_f64_vec()).unwrap_or_default();
        let parts = values.chunks(values.len().div_ceil(parts).max(1));
        let means: Vec<f64> = parts.map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
        Table::builder().column("part", (0..means.len() as i64).collect::<Vec<_>>())?.column("mean", means)?.build()
    }
}

export_plugin!({{Type}});

#[cfg(test)]
mod tests;

//! What a dataset holds, in numbers.

use crate::dataset::Dataset;
use crate::error::DatasetError;
use kymhost_plugin_api::Json;

/// A dataset table's name and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes its file has.
    pub bytes: u64,
}

/// What a dataset holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `format` of the root attributes.
    pub format: String,
    /// `schema_version` of the root attributes.
    pub schema_version: i64,
    /// `created_utc` of the root attributes, if it is text.
    pub created_utc: Option<String>,
    /// `updated_utc` of the root attributes, if it is text.
    pub updated_utc: Option<String>,
    /// How many images there are.
    pub images: u64,
    /// How many artifacts they have.
    pub artifacts: u64,
    /// The dataset tables.
    pub tables: Vec<TableInfo>,
    /// Whether there is a manifest. Whether it is right, `check_manifest` says.
    pub has_manifest: bool,
}

impl Dataset {
    /// Counts what the dataset holds. Reads no artifact, and of tables only their ends.
    pub fn info(&self) -> Result<Info, DatasetError> {
        let root = self.attributes()?;
        let text = |name: &str| root.get(name).and_then(Json::as_str).map(str::to_owned);
        let ids = self.image_ids()?;
        let mut artifacts = 0u64;
        for id in &ids {
            artifacts += self.record(id)?.artifacts()?.len() as u64;
        }
        let mut tables = Vec::new();
        for name in self.table_names()? {
            // One that is deleted in the meantime is not a table.
            if let Some((rows, bytes)) = self.table_size(&name)? {
                tables.push(TableInfo { name, rows, bytes });
            }
        }
        Ok(Info {
            format: text("format").unwrap_or_default(),
            schema_version: root.get("schema_version").and_then(Json::as_i64).unwrap_or_default(),
            created_utc: text("created_utc"),
            updated_utc: text("updated_utc"),
            images: ids.len() as u64,
            artifacts,
            tables,
            has_manifest: self.store().stat(&kymhost_store::Key::new(crate::names::MANIFEST)?)?.is_some(),
        })
    }
}

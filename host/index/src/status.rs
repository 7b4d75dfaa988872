//! `status`: every image, judged. Writes nothing.

use crate::error::IndexError;
use crate::names::TableName;
use crate::options::Compat;
use crate::plan::{self, PlanOptions};
use crate::staleness::ImageReport;
use kymhost_dataset::Dataset;
use kymhost_plugin::{IndexerInfo, Workforce};
use std::sync::Arc;

/// What `status` reports.
#[derive(Debug, Clone)]
pub struct Status {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key (`tables/kym_….parquet`).
    pub table: String,
    /// One for each image, in id order.
    pub images: Vec<ImageReport>,
    /// Images that have rows in the table but are no longer in the dataset, and how many rows.
    pub orphans: Vec<(String, u64)>,
}

/// Judges every image; writes nothing. `listing`: the dataset's images, if they are listed already.
pub fn status(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    compat: Compat,
    listing: Option<Arc<Vec<String>>>,
) -> Result<Status, IndexError> {
    let name = TableName::of(&indexer.name)?;
    let options = PlanOptions { compat, listing, ..PlanOptions::default() };
    let plan = plan::plan(dataset, indexer, &name, workforce, &options)?;
    Ok(Status {
        indexer: name.indexer().to_owned(),
        table: name.key_text(),
        images: plan.images.into_iter().map(|image| image.report).collect(),
        orphans: plan.table.orphans,
    })
}

//! What a run works with.

use crate::error::{IndexError, MassRemoval};
use crate::names::TableName;
use crate::options::{Compat, RunOptions, check_compat};
use crate::plan::Plan;
use crate::select;
use kymhost_dataset::Dataset;
use kymhost_plugin::IndexerInfo;

/// What a run works with.
pub(super) struct Context<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) indexer: &'a IndexerInfo,
    pub(super) name: TableName,
    pub(super) options: &'a RunOptions,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        dataset: &'a Dataset,
        indexer: &'a IndexerInfo,
        options: &'a RunOptions,
    ) -> Result<Self, IndexError> {
        check_compat(indexer, options.compat)?;
        Ok(Self { dataset, indexer, name: TableName::of(&indexer.name)?, options })
    }

    pub(super) fn is_ours(&self) -> bool {
        self.options.compat == Compat::Kymhost
    }

    pub(super) fn refusal(&self, plan: &Plan, orphans: &[(String, u64)]) -> Option<MassRemoval> {
        let with_rows = plan.images.iter().filter(|image| image.rows > 0).count();
        let table = self.name.key_text();
        select::refusal(&table, plan.images.len(), with_rows, orphans, self.options.allow_mass_removal)
    }
}

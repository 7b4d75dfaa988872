//! What a run is going to do: which images it extracts, which it blocks, which rows it removes.

use super::context::Context;
use crate::artifacts::{self, KnownArtifacts};
use crate::error::{IndexError, MassRemoval};
use crate::ledger::Intent;
use crate::options::Mode;
use crate::plan::{self, Plan, PlanOptions, PlannedImage};
use crate::select;
use kymhost_dataset::DatasetError;
use kymhost_plugin::{Failure, Workforce};
use std::sync::Arc;

/// What is to be done, by a plan and the options.
pub(super) struct Scheme {
    pub(super) plan: Plan,
    /// The images to be extracted, in order.
    pub(super) to_extract: Vec<String>,
    /// Those that fail without being tried, and why.
    pub(super) blocked: Vec<(String, Failure)>,
    /// Images that are selected, and those of them that are to be done.
    pub(super) selected: usize,
    pub(super) to_do: usize,
    /// Deleted images whose rows are to be removed, with how many rows.
    pub(super) orphans: Vec<(String, u64)>,
    /// Why the guard refuses, if it does.
    pub(super) refusal: Option<MassRemoval>,
}

impl Scheme {
    pub(super) fn check(&self) -> Result<(), IndexError> {
        match &self.refusal {
            Some(refusal) => Err(IndexError::MassRemoval(refusal.clone())),
            None => Ok(()),
        }
    }
}

impl Context<'_> {
    /// Why the image fails without being tried: what cannot be judged is not updated, but replacing needs no marker.
    fn blocked<'p>(&self, image: &'p PlannedImage) -> Option<&'p Failure> {
        image.blocked(if select::does_fresh(self.options) { Mode::Replace } else { Mode::Incremental })
    }

    pub(super) fn scheme(&self, workforce: &mut dyn Workforce) -> Result<Scheme, IndexError> {
        let mut listing = self.options.listing.clone();
        if self.options.selection.images.is_some() {
            // Before the plugin is asked for anything.
            let images = match &listing {
                Some(images) => images,
                None => listing.insert(Arc::new(self.dataset.image_ids()?)),
            };
            select::check_images(self.options.selection.images.as_ref(), images)?;
        }
        let plan_options = PlanOptions {
            compat: self.options.compat,
            listing,
            only: None,
            table_may_be_broken: self.is_ours() && select::does_all(self.options),
        };
        let plan = plan::plan(self.dataset, self.indexer, &self.name, workforce, &plan_options)?;

        let mut scheme = Scheme {
            to_extract: Vec::new(),
            blocked: Vec::new(),
            selected: 0,
            to_do: 0,
            orphans: self.orphans(&plan)?,
            refusal: None,
            plan,
        };
        for image in &scheme.plan.images {
            let report = &image.report;
            scheme.selected +=
                usize::from(select::is_selected(&self.options.selection, &report.image_id, report.reason));
            if select::is_to_do(self.options, report) {
                scheme.to_do += 1;
                let failure = match self.blocked(image) {
                    None => self.blocked_by_artifacts(image, scheme.plan.intent.as_ref()),
                    Some(failure) => Some(failure.clone()),
                };
                match failure {
                    None => scheme.to_extract.push(report.image_id.clone()),
                    Some(failure) => scheme.blocked.push((report.image_id.clone(), failure)),
                }
            }
        }
        scheme.refusal = self.refusal(&scheme.plan, &scheme.orphans);
        // There is nothing to make it from.
        if let Some(error) = scheme.plan.broken_table.take_if(|_| scheme.to_extract.is_empty()) {
            return Err(error);
        }
        Ok(scheme)
    }

    /// Checked before hours are spent on an image: foreign artifacts may be in the way.
    fn blocked_by_artifacts(&self, image: &PlannedImage, intent: Option<&Intent>) -> Option<Failure> {
        if self.indexer.writes.is_empty() || self.options.overwrite_artifacts {
            return None;
        }
        let image_id = &image.report.image_id;
        let interrupted = match intent {
            Some(Intent::Images(images)) => images.get(image_id),
            Some(Intent::Unreadable) | None => None,
        };
        let known = KnownArtifacts { recorded: &image.outputs, interrupted };
        match artifacts::foreign(self.dataset, image_id, &self.indexer.writes, known) {
            Ok(None) => None,
            Ok(Some(key)) => Some(artifacts::refusal(self.dataset, image_id, &key, image.can_be_adopted())),
            Err(error) => Some(crate::markers::unreadable(&error)),
        }
    }

    /// The deleted images whose rows a run removes. The listing may be older than the table: each is looked for again.
    fn orphans(&self, plan: &Plan) -> Result<Vec<(String, u64)>, IndexError> {
        if !select::prunes(self.options) {
            return Ok(Vec::new());
        }
        let mut orphans = Vec::new();
        for (image_id, rows) in &plan.table.orphans {
            match self.dataset.find_record(image_id) {
                Ok(_) => {}
                Err(DatasetError::UnknownImage { .. }) => orphans.push((image_id.clone(), *rows)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(orphans)
    }
}

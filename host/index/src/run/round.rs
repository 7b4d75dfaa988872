//! One extraction over a list of images, with its commits.

use super::context::Context;
use crate::checkpoint::{Checkpoints, held_bytes};
use crate::commit::{Committer, ExtractedImage};
use crate::error::IndexError;
use crate::observer::Observer;
use kymhost_plugin::{Failure, Workforce};
use std::time::{Duration, Instant};

/// How many times as many bytes of rows are held while a table is made again: its first commit removes all old rows,
/// even those of images that fail later.
const MAX_HELD_FACTOR: u64 = 8;

/// One extraction over a list of images, with its commits.
pub(super) struct Round<'r, 'a> {
    pub(super) context: &'r Context<'a>,
    pub(super) committer: &'r mut Committer<'a>,
    /// Whether a conflict of types ends the round, because the whole table is then made again.
    pub(super) may_recompute: bool,
    /// The table is made again: the first commit removes all old rows, so there is only one if memory allows it.
    pub(super) is_recompute: bool,
    /// Images that failed in the extraction.
    pub(super) failed: u64,
}

impl Round<'_, '_> {
    fn is_too_many(&self) -> bool {
        self.context.options.max_failures.is_some_and(|most| self.failed >= most.max(1))
    }

    /// Whether what is left of the round would be done again.
    fn will_be_repeated(&self) -> bool {
        self.may_recompute && self.committer.had_conflicts
    }

    /// Reports blocked images as failed, extracts and commits the others. Returns whether it ended because too many
    /// failed.
    pub(super) fn carry_out(
        mut self,
        image_ids: &[String],
        blocked: &[(String, Failure)],
        workforce: &mut dyn Workforce,
        observer: &mut dyn Observer,
    ) -> Result<bool, IndexError> {
        for (image_id, failure) in blocked {
            observer.image_done(image_id, Some(failure));
            self.committer.block(image_id, failure.clone());
        }
        self.extract(image_ids, workforce, observer)?;
        Ok(self.is_too_many())
    }

    fn extract(
        &mut self,
        image_ids: &[String],
        workforce: &mut dyn Workforce,
        observer: &mut dyn Observer,
    ) -> Result<(), IndexError> {
        let options = self.context.options;
        let (interval, max_held_bytes) = match self.is_recompute {
            true => (Duration::MAX, options.max_held_bytes.saturating_mul(MAX_HELD_FACTOR)),
            false => (options.checkpoint_interval, options.max_held_bytes),
        };
        let mut checkpoints = Checkpoints::new(interval, max_held_bytes, Instant::now());
        let mut held: Vec<ExtractedImage> = Vec::new();
        let mut bytes = 0u64;
        let mut left = image_ids.len();
        let mut error = None;
        let mut is_stopped = false;
        let mut ended = Ok(());
        if !image_ids.is_empty() {
            ended = workforce.extract_rows(image_ids, &mut |index, answer| {
                if error.is_some() {
                    return false;
                }
                if let Some(image_id) = image_ids.get(index) {
                    left = left.saturating_sub(1);
                    observer.image_done(image_id, answer.as_ref().err());
                    match answer {
                        Ok(extracted) => {
                            bytes = bytes.saturating_add(held_bytes(&extracted));
                            held.push(ExtractedImage { image_id: image_id.clone(), extracted });
                        }
                        Err(failure) => {
                            self.failed += 1;
                            self.committer.fail(image_id, failure);
                        }
                    }
                }
                is_stopped = observer.interrupted() || self.is_too_many();
                // The last commit is made below, with all that is left.
                if !is_stopped && left > 0 && !held.is_empty() && checkpoints.due(Instant::now(), bytes) {
                    let is_forced = checkpoints.is_forced(bytes);
                    observer.committing();
                    let begin = Instant::now();
                    if let Err(failed) = self.committer.commit(std::mem::take(&mut held)) {
                        error = Some(failed);
                        return false;
                    }
                    let end = Instant::now();
                    checkpoints.made(begin, end);
                    if !is_forced {
                        self.committer.checkpoint_time += end.saturating_duration_since(begin);
                    }
                    bytes = 0;
                    return !self.will_be_repeated();
                }
                !is_stopped
            });
            if let Some(error) = error {
                return Err(error);
            }
        }
        // Keep the old table rather than replace it by a part of a new one.
        let is_part = self.is_recompute && (left > 0 || is_stopped) && self.committer.is_leaving();
        if self.will_be_repeated() || is_part {
            return Ok(ended?);
        }
        // Even if the workforce gave up: commit what is done.
        if !held.is_empty() || self.committer.has_removals() && !self.is_recompute {
            observer.committing();
            self.committer.commit(held)?;
        }
        Ok(ended?)
    }
}

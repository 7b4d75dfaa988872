//! Reading the run markers of many images.
//! Owns: what counts as a marker, as none, or as one that cannot be read. Never: writes.

use super::IndexError;
use crate::dataset::{Dataset, DatasetError};
use crate::plugin::{Failure, FailureKind, Workforce};
use kymhost_plugin_api::{Json, RunMarker};

/// One image's marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// There is none, or it is invalid.
    None,
    /// A valid one.
    Valid(RunMarker),
    /// There is one, but it cannot be told whether it is valid.
    Unreadable(Failure),
}

/// The markers of a list of images.
#[derive(Debug)]
pub(super) struct Markers {
    of_image: Vec<Marker>,
    /// Those that are no markers of today, and may be of an older form that the indexer knows.
    others: Vec<(usize, Vec<u8>)>,
}

/// Reads each image's marker.
pub(super) fn read(dataset: &Dataset, image_ids: &[String], marker_name: &str) -> Markers {
    let mut others = Vec::new();
    let of_image = image_ids
        .iter()
        .enumerate()
        .map(|(place, id)| match payload(dataset, id, marker_name) {
            Ok(None) => Marker::None,
            Ok(Some((bytes, json))) => match RunMarker::from_json(&json) {
                Some(marker) => Marker::Valid(marker),
                None => {
                    if json.as_object().is_some() {
                        others.push((place, bytes));
                    }
                    Marker::None
                }
            },
            Err(error) => Marker::Unreadable(Failure::new(FailureKind::Unreadable, error.to_string())),
        })
        .collect();
    Markers { of_image, others }
}

fn payload(dataset: &Dataset, image_id: &str, name: &str) -> Result<Option<(Vec<u8>, Json)>, DatasetError> {
    dataset.record(image_id)?.json_with_bytes(name)
}

impl Markers {
    /// Asks the indexer about markers of an older form, all in one call, and gives one marker an image.
    pub(super) fn settle(mut self, workforce: &mut dyn Workforce) -> Result<Vec<Marker>, IndexError> {
        if !self.others.is_empty() {
            let (places, payloads): (Vec<usize>, Vec<Vec<u8>>) = std::mem::take(&mut self.others).into_iter().unzip();
            let of_image = &mut self.of_image;
            let mut answered = 0;
            workforce.read_old_markers(&payloads, &mut |index, answer| {
                answered += 1;
                let Some(marker) = places.get(index).and_then(|&place| of_image.get_mut(place)) else { return };
                *marker = match answer {
                    Ok(None) => Marker::None,
                    Ok(Some(read)) => Marker::Valid(read),
                    Err(failure) => Marker::Unreadable(failure),
                };
            })?;
            if answered < payloads.len() {
                return Err(IndexError::Interrupted);
            }
        }
        Ok(self.of_image)
    }
}

//! `kymhost-exercise INDEXER DATASET COUNT LIBRARY...`: loads plugins in this process in the order given, as
//! the host does, then has the indexer of each extract COUNT times, the dataset's images in turn; now and then
//! it also asks for the params hash and for an old marker.
//!
//! For checkers of memory, which compare two runs of different counts, and for what plugins of several versions
//! do to each other. Prints how many extractions gave rows and how many failed. Never: decides whether that is
//! right.

use kymhost::dataset::Dataset;
use kymhost::plugin::{Indexer, load_library};
use std::error::Error;
use std::io::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, dataset, count, libraries @ ..] = arguments.as_slice() else {
        return Err("kymhost-exercise INDEXER DATASET COUNT LIBRARY...".into());
    };
    let loaded = libraries
        .iter()
        .map(|library| load_library(Path::new(library)).map_err(|error| format!("{library}: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    let dataset = Dataset::open(Path::new(dataset))?;
    let count = count.parse()?;
    let (mut done, mut failed) = (0_u64, 0_u64);
    for indexers in &loaded {
        let indexer = indexers.iter().find(|indexer| indexer.info().name == *name).ok_or("there is no such indexer")?;
        let (gave_rows, gave_none) = exercise(indexer.as_ref(), &dataset, count)?;
        done += gave_rows;
        failed += gave_none;
    }
    writeln!(std::io::stdout(), "{done} done, {failed} failed")?;
    Ok(())
}

/// How many of `count` extractions gave rows, and how many failed.
fn exercise(indexer: &dyn Indexer, dataset: &Dataset, count: usize) -> Result<(u64, u64), Box<dyn Error>> {
    let images = dataset.image_ids()?;
    let (mut done, mut failed) = (0, 0);
    for (turn, image) in images.iter().cycle().take(count).enumerate() {
        let record = dataset.record(image)?;
        // A number that comes by every image.
        if turn % 7 == 0 {
            let _ = indexer.params_hash(&record);
            let _ = indexer.read_old_marker(br#"{"n_events": 4}"#);
        }
        match indexer.extract_rows(&record, 1, &|| true) {
            Ok(_) => done += 1,
            Err(_) => failed += 1,
        }
    }
    Ok((done, failed))
}

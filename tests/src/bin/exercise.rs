//! `kymhost-exercise LIBRARY INDEXER DATASET COUNT`: loads a plugin in this process, as the host does, and has its indexer
//! extract COUNT times, the dataset's images in turn; now and then it also asks for the params hash and for an old marker.
//!
//! For checkers of memory, which compare two runs of different counts. Prints how many extractions gave rows and how many failed.
//! Never: decides whether that is right.

use kymhost::dataset::Dataset;
use kymhost::plugin::load_library;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, name, dataset, count] = arguments.as_slice() else {
        return Err("kymhost-exercise LIBRARY INDEXER DATASET COUNT".into());
    };
    let indexers = load_library(Path::new(library))?;
    let indexer = indexers.iter().find(|indexer| indexer.info().name == *name).ok_or("there is no such indexer")?;
    let dataset = Dataset::open(Path::new(dataset))?;
    let images = dataset.image_ids()?;
    let (mut done, mut failed) = (0_u64, 0_u64);
    for (turn, image) in images.iter().cycle().take(count.parse()?).enumerate() {
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
    writeln!(std::io::stdout(), "{done} done, {failed} failed")?;
    Ok(())
}

//! Lists the stale recordings of a dataset, as a program that uses kymhost as a library does.
//!
//! `cargo run -p kymhost --example status -- lab.zarr path/to/libradon_velocity.so`

#![allow(clippy::print_stdout, reason = "it prints what it finds")]

use kymhost::dataset::Dataset;
use kymhost::index::{Compat, status};
use kymhost::plugin::{PoolOptions, SearchPath, find_plugin, open_pool};
use kymhost::store::{Diagnose, Diagnosis};
use std::path::Path;
use std::process::ExitCode;

fn list(dataset: &str, library: &str) -> Result<(), Diagnosis> {
    let dataset = Dataset::open(Path::new(dataset)).map_err(|error| error.diagnose())?;
    // A path to a library needs no folders to search.
    let plugin = find_plugin(library, &SearchPath::default()).map_err(|error| error.diagnose())?;
    // Only the program `kymhost` can serve as its own worker process.
    let options = PoolOptions { in_process: true, ..PoolOptions::default() };
    let mut pool = open_pool(&plugin, &dataset, &options).map_err(|error| error.diagnose())?;
    let status = status(&dataset, &plugin.indexer, pool.as_mut(), Compat::default(), None);
    let status = status.map_err(|error| error.diagnose())?;
    for image in status.images.iter().filter(|image| image.is_stale) {
        println!("{}: {}", image.image_id, image.reason.meaning());
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, library] = arguments.as_slice() else {
        eprintln!("usage: status DATASET LIBRARY");
        return ExitCode::from(2);
    };
    match list(dataset, library) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.message());
            eprintln!("help: {}", error.help.as_deref().unwrap_or("run `kymhost dataset validate`"));
            ExitCode::FAILURE
        }
    }
}

//! Black-box tests of the program that are quick enough to run after each change.
//!
//! One binary holds all of them, so that one link serves all and tests of all files share the cores.

mod analysis;
mod artifacts;
mod bad_input;
mod c_layout;
mod conformance;
mod cookbook;
mod demo;
mod dependencies;
mod documents;
mod engine;
mod imports;
mod ingest;
mod intensity_c;
mod markdown;
mod metamorphic;
mod missing_chunks;
mod nothing_to_do;
mod other_programs;
mod params;
mod program;
mod real_datasets;
mod search;
mod shortage;
mod whole_way;
mod workers;

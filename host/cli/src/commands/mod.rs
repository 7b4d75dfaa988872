//! The commands, one file each (`<noun>/<verb>.rs`): options and help, the JSON document, and the text.

pub mod adopt;
pub mod bodies;
pub mod completions;
pub mod dataset;
mod dry_run;
pub mod explain;
pub mod params;
pub mod params_hash;
pub mod plugin;
pub mod run;
mod several;
pub mod status;
pub mod table;
pub mod verify;

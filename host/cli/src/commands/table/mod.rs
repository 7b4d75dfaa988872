//! `kymhost table …`.

pub mod drop;
mod forms;
pub mod list;
pub mod names;
pub mod rows;
pub mod show;

//! `kymhost table …`.

pub mod drop;
mod forms;
pub mod list;
mod names;
pub mod rows;
pub mod show;

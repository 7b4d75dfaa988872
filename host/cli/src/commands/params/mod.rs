//! `kymhost params …`.

pub mod images;
pub mod set;
pub mod show;

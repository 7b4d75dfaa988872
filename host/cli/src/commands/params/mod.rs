//! `kymhost params …`.

mod images;
pub mod set;
pub mod show;

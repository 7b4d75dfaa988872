//! `kymhost plugin …`.

pub mod add;
mod bodies;
pub mod check;
pub mod info;
pub mod inspect;
pub mod list;
pub mod new;
pub mod path;
pub mod remove;
pub mod trust;

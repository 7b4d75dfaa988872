//! `demo`: the whole way from recordings of known velocity to a table of events, and what is done again after a change.

mod args;
mod folders;
mod kymographs;
mod lab;
mod show;
mod steps;
mod truth;

pub use args::DemoArgs;
#[cfg(test)]
pub use lab::cannot_import;
pub use steps::demo;

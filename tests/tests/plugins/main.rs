//! Tests of plugins as files: the binary contract, installing, checking, and the way of a new author. Most of
//! them build crates.

mod abi_museum;
mod battery;
mod c_door;
#[path = "../../museum/1.0/host/src/layout.rs"]
mod layout;
mod new_author;
mod plugin_check;
mod plugin_install;

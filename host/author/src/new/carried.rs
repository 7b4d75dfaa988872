//! plugin-api inside this program: its files, and the versions of its dependencies. `build.rs` makes the list.

include!(concat!(env!("OUT_DIR"), "/carried.rs"));

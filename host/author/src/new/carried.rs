//! plugin-api as the program carries it: its files, and the versions of what they need.
//! Owns: nothing but what `host/build.rs` lists. Never: written by hand.

include!(concat!(env!("OUT_DIR"), "/carried.rs"));

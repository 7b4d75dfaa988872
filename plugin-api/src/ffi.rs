//! The binary contract. The only room of this crate with `unsafe`. Private to kymhost: no promise of source stability.
#![allow(unsafe_code)]
#![allow(missing_docs)]
/// stub
pub type RecordRef<'a> = &'a ();
/// stub
pub type RunRef<'a> = &'a ();
/// stub
pub struct ArrowTable;

//! Suites that kill the program, fail its disk, or run long histories. Each test here takes long or needs the
//! machine for itself.

mod durability;
mod faults;
mod fuzz;
mod kills;
mod model;

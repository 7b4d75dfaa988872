//! Agreement with Python: its libraries read what we write, and a simulation of the predecessor shares datasets
//! with us.

mod predecessor_fuzz;
mod python_agreement;

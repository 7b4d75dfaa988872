//! Replacing rows in a table, with pandas' rules of columns and types: pure functions over Arrow data.
//! Owns: column union, widening, row order. Never: I/O.

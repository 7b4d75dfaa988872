//! The card: what a library says of itself without being run.
/// stub
#[macro_export]
macro_rules! export_plugin {
    ($($t:expr),+ $(,)?) => {};
}

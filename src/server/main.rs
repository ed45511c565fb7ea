//! The `sarsen` binary.
fn main() {}

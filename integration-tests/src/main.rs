//! Black-box tests and cargo xtask.

fn main() {}

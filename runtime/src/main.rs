//! OCI runtime.

fn main() {}

//! Shim: holds a container's stdio, waits for it, reports its exit.

fn main() {}

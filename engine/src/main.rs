//! Engine: the Docker API over a containerd.

fn main() {}

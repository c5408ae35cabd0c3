//! Manager: containerd's API over shims, snapshots and content.

fn main() {}

//! Which blobs, snapshots and images something still needs.

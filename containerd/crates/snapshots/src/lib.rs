//! Snapshotters.

//! Bundles and shims.

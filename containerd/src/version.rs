//! The versions this daemon gives.

/// What `Version` answers and shims are told.
///
/// Clients parse it as a semantic version and choose by it: below 2.0.0 they would not use the transfer service. It is the
/// release of containerd whose API is spoken here, with our own version as build metadata.
pub const API: &str = concat!("2.1.0+davit.", env!("CARGO_PKG_VERSION"));

/// The program's own version.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

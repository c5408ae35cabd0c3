//! A client of registries (OCI distribution-spec): resolving names and fetching blobs.
//!
//! It verifies nothing but lengths: whoever stores a blob compares its digest. It follows redirects without taking
//! credentials to another host, authenticates when a registry asks for it, and repeats what failed for a passing reason.

mod auth;
mod client;
mod error;
mod reference;
mod repository;

pub use auth::{AuthQuery, Credential, Credentials, NoCredentials};
pub use client::{Registry, Scheme};
pub use error::RegistryError;
pub use reference::{InvalidReference, Reference};
pub use repository::{Download, Kind, Repository, Resolved};

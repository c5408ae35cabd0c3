//! The containerd gRPC API, generated from `proto/`: messages, clients and servers, one module a protobuf package.
//!
//! The definitions are written here; packages, services, field names, numbers and types are those of the published
//! interface, for they are the contract. Nothing here has behaviour but [`any`].

pub mod any;

#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use generated::containerd::{events, runc, services, types, v1};
pub use generated::google::rpc;
pub use generated::grpc::health;
pub use generated::io::containerd::cgroups;

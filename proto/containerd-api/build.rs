//! Generates messages, clients and servers from `proto/` without protoc.

use std::{env, error::Error, path::PathBuf};

/// Every file whose types or services this crate offers.
const FILES: &[&str] = &[
    "cgroups/v1/metrics.proto",
    "cgroups/v2/metrics.proto",
    "events/container.proto",
    "events/content.proto",
    "events/image.proto",
    "events/namespace.proto",
    "events/sandbox.proto",
    "events/snapshot.proto",
    "events/task.proto",
    "grpc/health/v1/health.proto",
    "services/containers/v1/containers.proto",
    "services/content/v1/content.proto",
    "services/diff/v1/diff.proto",
    "services/events/v1/events.proto",
    "services/images/v1/images.proto",
    "services/introspection/v1/introspection.proto",
    "services/leases/v1/leases.proto",
    "services/mounts/v1/mounts.proto",
    "services/namespaces/v1/namespace.proto",
    "services/sandbox/v1/sandbox.proto",
    "services/snapshots/v1/snapshots.proto",
    "services/streaming/v1/streaming.proto",
    "services/tasks/v1/tasks.proto",
    "services/transfer/v1/transfer.proto",
    "services/version/v1/version.proto",
    "types/runc/options/oci.proto",
    "types/transfer/imagestore.proto",
    "types/transfer/importexport.proto",
    "types/transfer/progress.proto",
    "types/transfer/registry.proto",
    "types/transfer/streaming.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=../shim-api/proto");
    let descriptors = protox::compile(FILES, ["proto", "../shim-api/proto"])?;
    let mut config = prost_build::Config::new();
    config.enable_type_names().include_file("packages.rs").out_dir(&out);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}

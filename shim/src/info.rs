//! `-v` and `-info`: what this shim is and what its runtime can do.

use std::{
    io::{self, Read, Write},
    process::Stdio,
};

use davit_shim_api::{
    info::introspection::{RuntimeInfo, RuntimeVersion},
    options::oci::Options,
};
use davit_stdio::LogDriver;
use protobuf::{Message, well_known_types::any::Any};

use crate::{
    bootstrap::{BootstrapError, read_options},
    oci::Oci,
};

const NAME: &str = "io.containerd.davit.v1";

/// The type of a runtime's features, which are JSON.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Kinds of stdio URIs that `CreateTask` and `Exec` take, beside log drivers.
const STDIO_SCHEMES: &str = "fifo,file,binary";

/// An `-info` that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// What the manager sent.
    #[error(transparent)]
    Options(#[from] BootstrapError),
    /// stdin or stdout.
    #[error("cannot exchange messages: {0}")]
    Io(#[from] io::Error),
}

/// Prints the version.
pub fn version() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{NAME}:")?;
    writeln!(out, "  Version:  {}", env!("CARGO_PKG_VERSION"))
}

/// Reads options from stdin and prints a `RuntimeInfo`.
pub fn run() -> Result<(), InfoError> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let options = read_options(&input)?;
    let mut info = RuntimeInfo {
        name: NAME.into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
        .into(),
        features: features(options.as_ref()).into(),
        ..Default::default()
    };
    let drivers = LogDriver::ALL.map(LogDriver::name).join(",");
    info.annotations
        .insert("io.davit.stdio-schemes".into(), format!("{STDIO_SCHEMES},{drivers}"));
    if options.is_some() {
        info.options = Some(Any::parse_from_bytes(&input).map_err(BootstrapError::Options)?).into();
    }
    let bytes = info
        .write_to_bytes()
        .expect("a message without required fields serializes");
    Ok(io::stdout().write_all(&bytes)?)
}

/// What the runtime says of itself; nothing where it has no `features`.
fn features(options: Option<&Options>) -> Option<Any> {
    let default = Options::new();
    let mut command = Oci::features(options.unwrap_or(&default));
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&output.stdout).is_ok();
    let value = output.stdout;
    (output.status.success() && is_json).then(|| Any {
        type_url: FEATURES_TYPE.into(),
        value,
        ..Default::default()
    })
}

//! Generates the messages from `proto/` without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["criu.proto"], ["proto"])?;
    Ok(prost_build::Config::new().compile_fds(descriptors)?)
}

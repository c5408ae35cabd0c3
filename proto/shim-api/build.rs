//! Generates messages, ttrpc clients and servers from `proto/` without protoc.
//!
//! Each group has a folder of its own, because the generator names a module after the file's stem alone.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

const TYPES: &str = "../containerd-api/proto";

/// Module, files. The first file of a group may import any other of the group.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "task_v2",
        &[
            "proto/runtime/task/v2/shim.proto",
            "../containerd-api/proto/types/mount.proto",
            "../containerd-api/proto/types/task/task.proto",
        ],
    ),
    (
        "task_v3",
        &[
            "proto/runtime/task/v3/shim.proto",
            "../containerd-api/proto/types/mount.proto",
            "../containerd-api/proto/types/task/task.proto",
        ],
    ),
    (
        "sandbox",
        &[
            "proto/runtime/sandbox/v1/sandbox.proto",
            "../containerd-api/proto/types/metrics.proto",
            "../containerd-api/proto/types/mount.proto",
            "../containerd-api/proto/types/platform.proto",
        ],
    ),
    (
        "forward",
        &[
            "proto/services/ttrpc/events/v1/events.proto",
            "../containerd-api/proto/types/event.proto",
        ],
    ),
    (
        "task_events",
        &[
            "../containerd-api/proto/events/task.proto",
            "../containerd-api/proto/types/mount.proto",
        ],
    ),
    ("upgrade", &["proto/davit/shim/v1/upgrade.proto"]),
    ("bootstrap", &["proto/runtime/bootstrap/v1/bootstrap.proto"]),
    ("options", &["proto/types/runc/options/oci.proto"]),
    ("info", &["proto/types/introspection.proto"]),
    ("cgroups_v1", &["proto/cgroups/v1/metrics.proto"]),
    ("cgroups_v2", &["proto/cgroups/v2/metrics.proto"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed={TYPES}");
    let mut packages = String::new();
    for (module, files) in GROUPS {
        let folder = out.join(module);
        fs::create_dir_all(&folder)?;
        Codegen::new()
            .out_dir(&folder)
            .inputs(*files)
            .includes(["proto", TYPES])
            .rust_protobuf()
            .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(true).lite_runtime(true))
            .customize(Customize {
                async_all: true,
                gen_mod: true,
                ..Default::default()
            })
            .run()?;
        packages += &declaration(module, &folder)?;
    }
    fs::write(out.join("packages.rs"), packages)?;
    Ok(())
}

/// A module with one module per generated file: `include!` cannot take files that begin with inner attributes.
fn declaration(module: &str, folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = format!("pub mod {module} {{\n");
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    for file in files {
        let path = file.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if stem != "mod" {
            text += &format!("    #[path = {path:?}]\n    pub mod {stem};\n");
        }
    }
    Ok(text + "}\n")
}

//! `run` of a static `true` with Docker's default spec: our runtime, runc, and the floor.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use davit_integration_tests::{Engine, Run, Scratch};
use serde_json::{Value, json};

use super::measure::{Candidate, compare};

const ROUNDS: usize = 30;

/// Measures the runtimes.
pub fn run(scratch: &Scratch, folder: &Path) -> Result<()> {
    let bundle = bundle(scratch, folder)?;
    for name in ["u", "w", "m"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let runtime = |program: PathBuf| -> Box<dyn Fn(usize) -> Command> {
        let bundle = bundle.clone();
        Box::new(move |round| {
            let mut command = Command::new(&program);
            command
                .arg("--root")
                .arg(bundle.join("state"))
                .arg("run")
                .arg("--bundle")
                .arg(&bundle);
            command.arg(format!("bench-{round}"));
            command
        })
    };
    let candidates = [
        Candidate {
            name: "davit-runtime",
            command: runtime(folder.join("bin/davit-runtime")),
        },
        Candidate {
            name: "runc",
            command: runtime("runc".into()),
        },
        Candidate {
            name: "floor (8 cgroups, network)",
            command: Box::new(|_| {
                let mut command = Command::new(folder.join("bin/floor"));
                command.arg(folder).args(["1", "cg,net"]);
                command
            }),
        },
    ];
    compare("OCI run of a static true, Docker's default spec", ROUNDS, &candidates)
}

/// A bundle with the spec that our engine writes for `docker run --network none busybox true`.
fn bundle(scratch: &Scratch, folder: &Path) -> Result<PathBuf> {
    let engine = Engine::start(scratch);
    let docker = |arguments: &[&str]| {
        let mut docker = Command::new("docker");
        docker
            .arg("-H")
            .arg(format!("unix://{}", engine.socket().display()))
            .args(arguments);
        docker.finish().ok()
    };
    docker(&[
        "load",
        "--input",
        folder.join("busybox.tar").to_str().context("an ASCII path")?,
    ]);
    let id = docker(&["run", "-d", "--network", "none", "busybox", "sleep", "600"]);
    let tasks = scratch.join("exec/containerd/io.containerd.runtime.v2.task/davit");
    let text = fs::read(tasks.join(&id).join("config.json")).context("the bundle of a running container")?;
    docker(&["rm", "-f", &id]);
    engine.stop();

    let mut spec: Value = serde_json::from_slice(&text)?;
    spec["process"]["args"] = json!(["/bin/true"]);
    spec["process"]["terminal"] = json!(false);
    spec["root"]["path"] = json!(folder.join("rootfs"));
    spec["linux"]["cgroupsPath"] = json!("/davit-bench");
    // The engine hands over a namespace that it made; a runtime alone makes its own, as it does for runc here.
    for namespace in spec["linux"]["namespaces"]
        .as_array_mut()
        .context("a list of namespaces")?
    {
        namespace.as_object_mut().context("an object")?.remove("path");
    }
    // Files of the engine that are gone with the container.
    spec["mounts"]
        .as_array_mut()
        .context("a list of mounts")?
        .retain(|mount| mount["type"] != "bind");
    let bundle = folder.join("bundle");
    fs::create_dir_all(&bundle)?;
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&spec)?)?;
    Ok(bundle)
}

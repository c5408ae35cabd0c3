//! `run` and `exec` of a static `true` with Docker's default spec: our runtime, runc, crun, and the floor; the peak of
//! their memory; and 200 creations, eight at a time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::scope,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use davit_integration_tests::{Engine, Run, Scratch};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::measure::{Candidate, compare, peak_memory};

const ROUNDS: usize = 30;
const CREATIONS: usize = 200;
const WORKERS: usize = 8;
/// What makes crun refuse a hybrid host is that this file is not empty.
const CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";

/// A runtime, its name, and the bundle that it runs.
struct Runtime {
    name: &'static str,
    program: PathBuf,
    bundle: PathBuf,
}

/// Measures the runtimes.
pub fn run(scratch: &Scratch, folder: &Path) -> Result<()> {
    let bundle = bundle(scratch, folder)?;
    for name in ["u", "w", "m"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let none: Option<&str> = None;
    if Path::new(CONTROLLERS).exists() {
        // In this process's own mount namespace, and the same for all that are measured.
        mount(Some("/dev/null"), CONTROLLERS, none, MsFlags::MS_BIND, none)?;
    }
    let runtimes = [
        ("davit-runtime", folder.join("bin/davit-runtime")),
        ("runc", "runc".into()),
        ("crun", "crun".into()),
    ]
    .map(|(name, program)| Runtime {
        name,
        program,
        bundle: bundle.clone(),
    });
    runs(&runtimes, folder)?;
    execs(&runtimes)?;
    memory(&runtimes, &folder.join("bin/peak"))?;
    creations(&runtimes)
}

impl Runtime {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.bundle.join("state").join(self.name))
            .args(args);
        command
    }

    fn run(&self, id: &str) -> Command {
        let mut command = self.command(&["run", "--bundle"]);
        command.arg(&self.bundle).arg(id);
        command
    }

    /// With streams that a waiting container does not keep open for the bench.
    fn quietly(&self, args: &[&str]) -> Result<()> {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    }
}

fn runs(runtimes: &[Runtime], folder: &Path) -> Result<()> {
    let mut candidates: Vec<Candidate> = runtimes
        .iter()
        .map(|runtime| Candidate {
            name: runtime.name,
            command: Box::new(|round| runtime.run(&format!("bench-{round}"))),
        })
        .collect();
    candidates.push(Candidate {
        name: "floor (8 cgroups, network)",
        command: Box::new(|_| {
            let mut command = Command::new(folder.join("bin/floor"));
            command.arg(folder).args(["1", "cg,net"]);
            command
        }),
    });
    compare("OCI run of a static true, Docker's default spec", ROUNDS, &candidates)
}

fn execs(runtimes: &[Runtime]) -> Result<()> {
    let id = |runtime: &Runtime| format!("bench-exec-{}", runtime.name);
    for runtime in runtimes {
        with_program(
            &runtime.bundle,
            &runtime.name.replace("davit-", ""),
            &["/bin/sleep", "600"],
        )?;
        let bundle = runtime.bundle.to_str().context("an ASCII path")?;
        runtime.quietly(&["run", "--detach", "--bundle", bundle, &id(runtime)])?;
    }
    let candidates: Vec<Candidate> = runtimes
        .iter()
        .map(|runtime| Candidate {
            name: runtime.name,
            command: Box::new(move |_| runtime.command(&["exec", &id(runtime), "/bin/true"])),
        })
        .collect();
    let compared = compare("OCI exec of a static true", ROUNDS, &candidates);
    for runtime in runtimes {
        runtime.quietly(&["delete", "--force", &id(runtime)])?;
        with_program(&runtime.bundle, "bench", &["/bin/true"])?;
    }
    compared
}

fn memory(runtimes: &[Runtime], peak: &Path) -> Result<()> {
    println!("\npeak resident memory of run: the runtime, or the container's first process");
    for runtime in runtimes {
        let peak = peak_memory(peak, &runtime.run("bench-memory"))?;
        println!("  {:<28}{peak:>9} kB", runtime.name);
    }
    Ok(())
}

/// Each creation has a cgroup of its own; the time is that of all.
fn creations(runtimes: &[Runtime]) -> Result<()> {
    println!("\n{CREATIONS} creations, {WORKERS} at a time");
    for runtime in runtimes {
        with_program(&runtime.bundle, "", &["/bin/true"])?;
        let bundle = runtime.bundle.to_str().context("an ASCII path")?;
        let each = |args: &(dyn Fn(&str) -> Result<()> + Sync)| {
            scope(|scope| {
                let workers: Vec<_> = (0..WORKERS)
                    .map(|worker| {
                        scope.spawn(move || {
                            (worker..CREATIONS)
                                .step_by(WORKERS)
                                .try_for_each(|number| args(&format!("bench-{}-{number}", runtime.name)))
                        })
                    })
                    .collect();
                let results = workers.into_iter().map(|worker| worker.join().expect("no panic"));
                results.collect::<Result<Vec<_>>>()
            })
        };
        let begin = Instant::now();
        let made = each(&|id| runtime.quietly(&["create", "--bundle", bundle, id]));
        let took = begin.elapsed();
        each(&|id| runtime.quietly(&["delete", "--force", id]))?;
        let lost = made.err().map_or(String::new(), |err| format!("   failed: {err}"));
        println!("  {:<28}{:>9.0} ms{lost}", runtime.name, took.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Another program, and another cgroup: containers of the same one could not live side by side. None: one by the id.
fn with_program(bundle: &Path, cgroup: &str, args: &[&str]) -> Result<()> {
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
    spec["process"]["args"] = json!(args);
    spec["linux"]["cgroupsPath"] = match cgroup {
        "" => Value::Null,
        name => json!(format!("/davit-{name}")),
    };
    Ok(fs::write(&path, serde_json::to_vec_pretty(&spec)?)?)
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

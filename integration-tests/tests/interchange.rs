//! Each part replaces, and is replaced by, its original.

use std::{fs, os::unix::fs::symlink};

use davit_integration_tests::{Containerd, Dockerd, Engine, Manager, Run, Scratch, image, program};

const HELLO: &[&str] = &["sh", "-c", "echo hello; exit 3"];

fn archive(scratch: &Scratch) -> String {
    let path = scratch.join("busybox.tar");
    image::busybox_archive(&path).expect("an image");
    path.to_str().expect("ASCII").to_owned()
}

/// `ctr run` on a socket: output, exit code, and that nothing is left in the lists.
fn ctr_runs(scratch: &Scratch, socket: &std::path::Path, options: &[&str]) {
    let ctr = |arguments: &[&str]| scratch.ctr(socket).args(arguments).finish();
    ctr(&["images", "import", &archive(scratch)]).ok();
    let mut run = vec!["run", "--rm"];
    run.extend(options);
    // Managers of tests beside this one share the runtime's state and the cgroup of a namespace.
    let id = format!("once-{}", scratch.bridge());
    run.extend(["docker.io/library/busybox:latest", &id]);
    run.extend(HELLO);
    let finished = ctr(&run).code_is(3);
    assert_eq!(finished.stdout, "hello\n");
    assert_eq!(ctr(&["containers", "list", "--quiet"]).ok(), "");
    assert_eq!(ctr(&["tasks", "list", "--quiet"]).ok(), "");
}

#[test]
fn a_real_containerd_runs_our_shim_with_our_runtime() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    let shim = scratch.shared_programs().join("containerd-shim-davit-v1");
    ctr_runs(
        &scratch,
        containerd.socket(),
        &["--runtime", shim.to_str().expect("ASCII")],
    );
    containerd.stop();
}

#[test]
fn a_real_containerd_runs_our_shim_with_runc() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    // `ctr` names a runtime's binary for containerd's own shim alone, so runc stands where our shim looks for its runtime.
    let programs = scratch.join("with-runc");
    fs::create_dir(&programs).expect("the folder is ours");
    let shim = programs.join("containerd-shim-davit-v1");
    program::copy(scratch.shared_programs().join("containerd-shim-davit-v1"), &shim).expect("a program can be copied");
    symlink("/usr/sbin/runc", programs.join("davit-runtime")).expect("the folder is ours");
    ctr_runs(
        &scratch,
        containerd.socket(),
        &["--runtime", shim.to_str().expect("ASCII")],
    );
    containerd.stop();
}

#[test]
fn our_manager_runs_our_shim() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    ctr_runs(&scratch, manager.socket(), &["--runtime", "io.containerd.davit.v1"]);
    manager.stop();
}

#[test]
fn our_manager_runs_the_shim_of_containerd() {
    let scratch = Scratch::new();
    let manager = Manager::start_among_peers(&scratch);
    ctr_runs(&scratch, manager.socket(), &["--runtime", "io.containerd.runc.v2"]);
    manager.stop();
}

#[test]
fn a_real_dockerd_runs_our_runtime() {
    let scratch = Scratch::new();
    let dockerd = Dockerd::start(&scratch);
    let docker = |arguments: &[&str]| scratch.docker(dockerd.socket()).args(arguments).finish();
    docker(&["load", "--input", &archive(&scratch)]).ok();
    let run = ["run", "--rm", "--runtime", "davit", "--network", "none", "busybox"];
    let finished = docker(&[&run[..], HELLO].concat()).code_is(3);
    assert_eq!(finished.stdout, "hello\n");
    docker(&[&run[..], &["no-such-program"]].concat())
        .code_is(127)
        .says("executable file not found in $PATH");
    docker(&[&run[..], &["/etc/passwd"]].concat())
        .code_is(126)
        .says("permission denied");
    let id = docker(&[
        "run",
        "-d",
        "--runtime",
        "davit",
        "--network",
        "none",
        "busybox",
        "sleep",
        "600",
    ])
    .ok();
    assert_eq!(docker(&["exec", &id, "hostname"]).ok(), id[..12]);
    docker(&["rm", "--force", &id]).ok();
    dockerd.stop();
}

#[test]
fn our_engine_runs_a_container_on_a_real_containerd() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    let engine = Engine::start_on(&scratch, &containerd);
    let docker = |arguments: &[&str]| scratch.docker(engine.socket()).args(arguments).finish();
    docker(&["load", "--input", &archive(&scratch)]).ok();
    let run = ["run", "--rm", "--network", "none", "busybox"];
    let finished = docker(&[&run[..], HELLO].concat()).code_is(3);
    assert_eq!(finished.stdout, "hello\n");
    let id = docker(&[
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo kept; sleep 600",
    ])
    .ok();
    davit_integration_tests::wait::until_true("the log has the line", 10, || docker(&["logs", &id]).stdout == "kept\n");
    docker(&["rm", "--force", &id]).ok();
    engine.stop();
    containerd.stop();
}

//! Containers that do not pivot: in the host's mount namespace, or with their root moved.

use std::{fs, process::Command};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use super::bundle::{Bundle, without_namespace};

fn without_mount_namespace(config: &mut Value) {
    without_namespace(config, "mount");
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
}

fn mounts_below(folder: &str) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table.lines().filter(|line| line.contains(folder)).count()
}

#[test]
fn a_container_without_a_mount_namespace_takes_its_mounts_with_it() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        without_mount_namespace(config);
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    let propagation = || Command::new("findmnt").args(["-no", "PROPAGATION", "/"]).finish().ok();
    let before = propagation();
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let folder = bundle.path();
    assert!(mounts_below(&folder) > 3);
    // What the host shares with others is not the container's to change.
    assert_eq!(propagation(), before);
    let seen = bundle.runtime(&["exec", bundle.id(), "ls", "/"]).ok();
    assert!(
        seen.lines().any(|name| name == "bin") && !seen.contains("boot"),
        "{seen}"
    );
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(mounts_below(&folder), 0);
    bundle.run(&["/no/such/program"]).code_is(1);
    assert_eq!(mounts_below(&folder), 0);
    bundle.edit(|config| config["linux"]["maskedPaths"] = json!(["/proc/keys"]));
    bundle.run(&["true"]).code_is(1).says("without a private MNT namespace");
}

/// The kernel puts nothing in the place of a root that lies on a shared mount, nor in that of an initial ramdisk.
#[test]
fn a_root_is_moved_where_it_cannot_be_pivoted() {
    let bundle = Bundle::new();
    let jail = bundle.file("jail");
    let script = "mount --make-rshared / && mount --bind \"$0\" \"$0\" && cd \"$0\" && for d in dev etc lib lib64 proc sys usr; do \
                  [ ! -e /$d ] || { mkdir -p $d && mount --rbind /$d $d; } || exit 9; done; \
                  bundle=${0%/jail}; mkdir -p .$bundle && mount --bind $bundle .$bundle && exec chroot . \"$@\"";
    fs::create_dir(&jail).expect("the bundle is ours");
    bundle.edit(|config| config["process"]["args"] = json!(["ls", "-d", "/bin", "/boot", "/jail"]));
    let run = |no_pivot: &[&str]| {
        let folder = bundle.path();
        let runtime = bundle.command(&[&["run"], no_pivot, &["--bundle", &folder, bundle.id()]].concat());
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "--propagation", "private", "sh", "-c", script, &jail]);
        // It may lie anywhere.
        let program = bundle.private_runtime();
        outer.arg(program).args(runtime.get_args()).finish()
    };
    run(&[]).code_is(1).says("pivot_root");
    let moved = run(&["--no-pivot"]).code_is(1).says("/boot: No such file");
    assert_eq!(moved.stdout, "/bin\n");
}

#[test]
fn a_moved_root_does_not_let_a_bare_proc_be_mounted() {
    let bundle = Bundle::new();
    let second = bundle.file("second proc");
    fs::create_dir(&second).expect("the bundle is ours");
    Command::new("mount")
        .args(["-t", "proc", "none", &second])
        .finish()
        .ok();
    bundle.edit(|config| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_SETFCAP"]);
        config["process"]["capabilities"]["permitted"] = json!(["CAP_SETFCAP"]);
        let script = "mount -t proc none /proc && echo mounted";
        config["process"]["args"] = json!(["unshare", "-mrpf", "sh", "-c", script]);
    });
    let run = |no_pivot: &[&str]| {
        let folder = bundle.path();
        let args = [&["run"], no_pivot, &["--bundle", &folder, bundle.id()]].concat();
        bundle.runtime(&args)
    };
    let (pivoted, moved) = (run(&[]), run(&["--no-pivot"]));
    Command::new("umount").arg(&second).finish().ok();
    pivoted.code_is(1).says("permission denied");
    let moved = moved.code_is(1);
    assert!(!moved.stdout.contains("mounted"), "{}", moved.stdout);
}

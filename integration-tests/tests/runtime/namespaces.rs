//! Namespaces of the container's own, and those of another that it joins by their paths.

use std::{fs, process::Command};

use davit_integration_tests::wait;
use serde_json::json;

use crate::bundle::{Bundle, join_namespace, without_namespace};

#[test]
fn the_domain_name_is_the_containers_own() {
    let bundle = Bundle::new();
    let file = "/proc/sys/kernel/domainname";
    let own = fs::read_to_string(file).expect("/proc is mounted");
    bundle.edit(|config| config["domainname"] = json!("box.example"));
    assert_eq!(bundle.run(&["cat", file]).ok(), "box.example");
    bundle.sleeping();
    assert_eq!(bundle.exec(&["cat", file]).ok(), "box.example");
    assert_eq!(fs::read_to_string(file).expect("/proc is mounted"), own);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| {
        config["hostname"] = json!("");
        without_namespace(config, "uts");
    });
    bundle
        .run(&["true"])
        .code_is(1)
        .says("unable to set domainname without a private UTS namespace");
}

#[test]
fn namespaces_are_joined_by_their_paths_and_shared_with_their_owner() {
    let owner = Bundle::new();
    owner.edit(|config| config["hostname"] = json!("owner"));
    owner.sleeping();
    let pid = owner.state()["pid"].to_string();
    for (kind, file) in [
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("network", "net"),
        ("pid", "pid"),
    ] {
        let path = format!("/proc/{pid}/ns/{file}");
        let theirs = fs::read_link(&path).expect("it runs").display().to_string();
        let guest = Bundle::new();
        guest.edit(|config| {
            config["hostname"] = json!("");
            join_namespace(config, kind, &path);
        });
        let link = format!("/proc/self/ns/{file}");
        assert_eq!(guest.run(&["readlink", &link]).ok(), theirs, "{kind}");
        guest.sleeping();
        assert_eq!(guest.exec(&["readlink", &link]).ok(), theirs, "{kind}");
    }
    let guest = Bundle::new();
    guest.edit(|config| {
        config["hostname"] = json!("renamed");
        join_namespace(config, "uts", &format!("/proc/{pid}/ns/uts"));
    });
    guest.run(&["true"]).ok();
    assert_eq!(owner.exec(&["hostname"]).ok(), "renamed");
}

#[test]
fn a_mount_namespace_that_is_joined_gets_the_containers_root() {
    let bundle = Bundle::new();
    let own = fs::read_link("/proc/self/ns/mnt").expect("it is there");
    let mut unshare = Command::new("unshare");
    let mut owner = bundle.spawn(unshare.args(["--mount", "--propagation", "private", "sleep", "600"]));
    let path = format!("/proc/{}/ns/mnt", owner.id());
    let theirs = wait::until("the namespace is there", 10, || {
        fs::read_link(&path).ok().filter(|theirs| *theirs != own)
    });
    bundle.edit(|config| join_namespace(config, "mount", &path));
    let finished = bundle.run(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/mnt; ls -d /bin/busybox; ls -d /boot",
    ]);
    owner.kill().expect("it is ours");
    owner.wait().expect("it ends");
    let finished = finished.code_is(1).says("/boot: No such file");
    assert_eq!(finished.stdout, format!("{}\n/bin/busybox\n", theirs.display()));
}

#[test]
fn a_path_that_is_no_namespace_of_the_kind_is_refused_and_leaves_nothing() {
    let bundle = Bundle::new();
    for (kind, path, text) in [
        (
            "uts",
            "/nowhere",
            "open namespace uts /nowhere: no such file or directory",
        ),
        ("uts", "/proc/self/ns/ipc", "join namespace uts: invalid argument"),
        ("ipc", "/etc/passwd", "join namespace ipc: invalid argument"),
    ] {
        bundle.edit(|config| {
            config["hostname"] = json!("");
            join_namespace(config, kind, path);
        });
        bundle.run(&["true"]).code_is(1).says(text);
        bundle.edit(|config| join_namespace(config, kind, ""));
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{path}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{path}");
    }
}

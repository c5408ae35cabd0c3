//! SELinux contexts, below a policy that allows all but a container's access to secret_t (src/vm/selinux.cil).

use std::{fs, os::unix::fs::symlink};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::json;

use crate::bundle::Bundle;

const PROCESS: &str = "system_u:system_r:container_t:s0:c4,c5";
const FILES: &str = "system_u:object_r:container_file_t:s0:c4,c5";
const OWN: &str = "/proc/self/attr/current";

/// A program ends its label with a zero byte, which a shell's `$(…)` drops.
fn label(text: &str) -> &str {
    text.trim_end_matches(['\0', '\n', ' '])
}

fn sleeping(bundle: &Bundle, process: &str) {
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["process"]["selinuxLabel"] = json!(process);
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
}

#[test]
fn without_a_label_a_program_keeps_the_runtimes() {
    let bundle = Bundle::new();
    let output = bundle.run(&["cat", OWN]).ok();
    assert!(output.starts_with("system_u:system_r:kernel_t:s0"), "{output}");
}

#[test]
fn a_label_is_in_force_when_the_program_begins() {
    let bundle = Bundle::new();
    let secret = bundle.rootfs().join("secret");
    fs::write(&secret, "text").expect("the rootfs is ours");
    let context = b"system_u:object_r:secret_t:s0";
    setxattr(&secret, "security.selinux", context, XattrFlags::empty()).expect("SELinux labels files");
    assert_eq!(bundle.run(&["cat", "/secret"]).ok(), "text");

    bundle.edit(|config| config["process"]["selinuxLabel"] = json!(PROCESS));
    assert_eq!(label(&bundle.run(&["cat", OWN]).ok()), PROCESS);
    bundle.run(&["cat", "/secret"]).code_is(1).says("Permission denied");
}

#[test]
fn a_label_that_the_policy_does_not_know_is_an_error_that_leaves_nothing() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["selinuxLabel"] = json!("system_u:system_r:none_t:s0"));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("system_u:system_r:none_t:s0")
        .says("invalid argument");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());

    bundle.edit(|config| {
        config["process"]["selinuxLabel"] = json!("");
        config["linux"]["mountLabel"] = json!("system_u:object_r:none_t:s0");
    });
    bundle.run(&["true"]).code_is(1).says("system_u:object_r:none_t:s0");
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn exec_takes_the_containers_label_or_its_own() {
    let bundle = Bundle::new();
    sleeping(&bundle, PROCESS);
    let id = bundle.id();
    assert_eq!(label(&bundle.runtime(&["exec", id, "cat", OWN]).ok()), PROCESS);
    let other = "system_u:system_r:container_t:s0:c1,c2";
    let exec = bundle.runtime(&["exec", "--process-label", other, id, "cat", OWN]);
    assert_eq!(label(&exec.ok()), other);
    bundle
        .runtime(&["exec", "--process-label", "system_u:system_r:none_t:s0", id, "true"])
        .code_is(255)
        .says("system_u:system_r:none_t:s0");
    bundle.runtime(&["delete", "--force", id]).ok();
}

#[test]
fn the_session_keyring_of_a_container_and_of_its_execs_has_the_programs_label() {
    let bundle = Bundle::new();
    // keyctl(KEYCTL_GET_SECURITY, KEY_SPEC_SESSION_KEYRING), for which busybox has no applet and the machine's perl has.
    let script =
        "my $label = \"\\0\" x 256; syscall(250, 17, -3, $label, 256) > 0 or die $!; print unpack('Z*', $label)";
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        let usr = json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
        mounts.push(usr);
    });
    for name in ["lib", "lib64"] {
        let _ = symlink(format!("usr/{name}"), bundle.rootfs().join(name));
    }
    sleeping(&bundle, PROCESS);
    let id = bundle.id();
    let shown = bundle.runtime(&["exec", id, "/usr/bin/perl", "-e", script]).ok();
    assert_eq!(label(&shown), PROCESS);
    bundle.runtime(&["delete", "--force", id]).ok();

    bundle.edit(|config| config["process"]["args"] = json!(["/usr/bin/perl", "-e", script]));
    let folder = bundle.path();
    assert_eq!(label(&bundle.runtime(&["run", "--bundle", &folder, id]).ok()), PROCESS);
}

#[test]
fn files_that_look_like_proc_do_not_swallow_the_label() {
    let bundle = Bundle::new();
    for who in ["self", "thread-self"] {
        let folder = bundle.rootfs().join("proc").join(who).join("attr");
        fs::create_dir_all(&folder).expect("the rootfs is ours");
        fs::write(folder.join("exec"), "").expect("the rootfs is ours");
    }
    bundle.edit(|config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    sleeping(&bundle, PROCESS);
    let pid = bundle.state()["pid"].to_string();
    let text = fs::read_to_string(format!("/proc/{pid}/attr/current")).expect("the container runs");
    assert_eq!(label(&text), PROCESS);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn mounts_have_the_mount_label() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["mountLabel"] = json!(FILES));
    sleeping(&bundle, PROCESS);
    let pid = bundle.state()["pid"].to_string();
    for name in ["dev", "dev/shm", "dev/pts", "dev/mqueue", "dev/null", "sys/firmware"] {
        let path = format!("/proc/{pid}/root/{name}");
        let mut buffer = [0; 256];
        let length = getxattr(&path, "security.selinux", &mut buffer).unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert_eq!(label(&text), FILES, "{name}");
    }

    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

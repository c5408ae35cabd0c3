//! AppArmor profiles: on run and exec, and past a root file system that pretends to be /proc (CVE-2023-28642, CVE-2025-52881).

use std::{fs, os::unix::fs::symlink, process::Command};

use davit_integration_tests::Run;
use serde_json::json;

use crate::bundle::Bundle;

/// Where a program reads its own profile.
const OWN: &str = "/proc/self/attr/apparmor/current";

/// A loaded profile under which all is allowed but reading /etc/group.
struct Profile(String);

impl Profile {
    fn load(name: String) -> Self {
        let rules = "file,\n capability,\n network,\n signal,\n umount,\n deny /etc/group r,";
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n {rules}\n}}\n");
        parser(&["--replace", "--skip-cache"], &text);
        Self(name)
    }

    /// What a program under it reads from [`OWN`].
    fn enforced(&self) -> String {
        format!("{} (enforce)", self.0)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser(&["--remove"], &format!("profile {} {{\n}}\n", self.0));
    }
}

fn parser(arguments: &[&str], profile: &str) {
    Command::new("apparmor_parser")
        .args(arguments)
        .finish_with(profile.as_bytes())
        .ok();
}

fn sleeping(bundle: &Bundle, profile: &str) {
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["process"]["apparmorProfile"] = json!(profile);
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
}

#[test]
fn a_profile_is_in_force_when_the_program_begins() {
    let bundle = Bundle::new();
    let profile = Profile::load(format!("davit-{}", bundle.id()));
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!(profile.0));
    let script = format!("cat {OWN}; cat /etc/passwd >/dev/null && cat /etc/group");
    let finished = bundle.run(&["sh", "-c", &script]).code_is(1).says("Permission denied");
    assert_eq!(finished.stdout.trim_end(), profile.enforced());
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error_that_names_it_and_leaves_nothing() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!("davit-none"));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("unable to apply apparmor profile: apparmor failed to apply profile:")
        .says("davit-none")
        .says("no such file or directory");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());

    sleeping(&bundle, "");
    bundle
        .runtime(&["exec", "--apparmor", "davit-none", bundle.id(), "true"])
        .code_is(255)
        .says("apparmor failed to apply profile:")
        .says("davit-none");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn exec_takes_the_containers_profile_or_its_own() {
    let bundle = Bundle::new();
    let containers = Profile::load(format!("davit-{}-init", bundle.id()));
    let own = Profile::load(format!("davit-{}-exec", bundle.id()));
    sleeping(&bundle, &containers.0);
    let id = bundle.id();
    assert_eq!(bundle.runtime(&["exec", id, "cat", OWN]).ok(), containers.enforced());
    let exec = |profile: &str| bundle.runtime(&["exec", "--apparmor", profile, id, "cat", OWN]).ok();
    assert_eq!(exec(&own.0), own.enforced());
    assert_eq!(exec("unconfined"), "unconfined");
    bundle.runtime(&["delete", "--force", id]).ok();
}

#[test]
fn files_that_look_like_proc_do_not_swallow_the_profile() {
    let bundle = Bundle::new();
    let profile = Profile::load(format!("davit-{}", bundle.id()));
    let decoys = ["self", "thread-self"].map(|who| {
        let folder = bundle.rootfs().join("proc").join(who).join("attr/apparmor");
        fs::create_dir_all(&folder).expect("the rootfs is ours");
        fs::write(folder.join("exec"), "").expect("the rootfs is ours");
        fs::write(folder.join("../exec"), "").expect("the rootfs is ours");
        folder.join("exec")
    });
    bundle.edit(without_proc);
    sleeping(&bundle, &profile.0);
    assert_eq!(profile_of_init(&bundle), profile.enforced());
    // exec enters a root whose /proc is that of the image.
    bundle
        .runtime(&["exec", bundle.id(), "cat", "/etc/group"])
        .code_is(1)
        .says("Permission denied");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    for decoy in decoys {
        assert_eq!(fs::read_to_string(decoy).expect("the rootfs is ours"), "");
    }
}

#[test]
fn a_proc_that_is_a_link_does_not_lead_the_profile_away() {
    let bundle = Bundle::new();
    let profile = Profile::load(format!("davit-{}", bundle.id()));
    fs::remove_dir(bundle.rootfs().join("proc")).expect("the rootfs is ours");
    symlink("/tmp", bundle.rootfs().join("proc")).expect("the rootfs is ours");
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!(profile.0));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("must be mounted on ordinary directory");

    bundle.edit(without_proc);
    sleeping(&bundle, &profile.0);
    assert_eq!(profile_of_init(&bundle), profile.enforced());
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

fn without_proc(config: &mut serde_json::Value) {
    config["mounts"] = json!([]);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
}

/// As the host sees it.
fn profile_of_init(bundle: &Bundle) -> String {
    let pid = &bundle.state()["pid"];
    let text = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).expect("the container runs");
    text.trim_end().to_owned()
}

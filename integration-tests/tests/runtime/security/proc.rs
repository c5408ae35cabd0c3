//! A /proc that is not the kernel's: CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881.

use std::{fs, os::unix::fs::symlink, process::Command};

use davit_integration_tests::Run;
use serde_json::json;

use super::{Bundle, pid, start};

#[test]
fn proc_and_sys_on_a_symlink_are_refused() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new();
        fs::remove_dir(bundle.rootfs().join(name)).expect("the rootfs is ours");
        fs::create_dir(bundle.rootfs().join("elsewhere")).expect("the rootfs is ours");
        symlink("/elsewhere", bundle.rootfs().join(name)).expect("the rootfs is ours");
        bundle
            .run(&["true"])
            .code_is(1)
            .says("must be mounted on ordinary directory");
    }
}

#[test]
fn the_hosts_proc_is_not_bound_on_a_symlink() {
    let bundle = Bundle::new();
    fs::remove_dir(bundle.rootfs().join("proc")).expect("the rootfs is ours");
    fs::create_dir(bundle.rootfs().join("elsewhere")).expect("the rootfs is ours");
    symlink("/elsewhere", bundle.rootfs().join("proc")).expect("the rootfs is ours");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["destination"] != "/proc");
        mounts.push(json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]}));
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    bundle
        .run(&["true"])
        .code_is(1)
        .says("must be mounted on ordinary directory");
}

#[test]
fn a_volume_over_proc_or_inside_of_it_is_refused() {
    let cases = [
        ("/proc", "not of type proc"),
        ("/dev/../proc/.", "not of type proc"),
        ("/proc/self/attr", "inside /proc"),
        ("/proc/sys/kernel", "inside /proc"),
        ("/way/kernel", "inside /proc"),
    ];
    for (destination, text) in cases {
        let bundle = Bundle::new();
        symlink("/proc/sys", bundle.rootfs().join("way")).expect("the rootfs is ours");
        bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.push(json!({"destination": destination, "source": "/tmp", "options": ["rbind"]}));
        });
        bundle.run(&["true"]).code_is(1).says(text);
        // Nor a file system of its own.
        for kind in ["tmpfs", "cgroup", "sysfs"] {
            bundle.edit(|config| {
                let mounts = config["mounts"].as_array_mut().expect("a list");
                mounts.pop();
                mounts.push(json!({"destination": destination, "type": kind, "source": kind}));
            });
            let finished = bundle.run(&["true"]).code_is(1);
            let is_said = [text, "ordinary directory"]
                .iter()
                .any(|text| finished.stderr.contains(text));
            assert!(is_said, "{kind} on {destination}: {finished:?}");
        }
    }
}

/// An image with a /proc of its own making.
fn forge(bundle: &Bundle, proc: &str, files: &[&str]) {
    for file in files {
        let path = bundle.rootfs().join(proc).join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the rootfs is ours");
        fs::write(path, "forged").expect("the rootfs is ours");
    }
}

fn is_untouched(bundle: &Bundle, proc: &str, files: &[&str]) -> bool {
    let text = |file: &&str| fs::read_to_string(bundle.rootfs().join(proc).join(file)).expect("the rootfs is ours");
    files.iter().all(|file| text(file) == "forged")
}

#[test]
fn what_is_written_to_proc_reaches_the_kernel_and_not_the_images_files() {
    let files = ["sys/net/ipv4/ip_default_ttl", "self/oom_score_adj", "self/attr/exec"];
    let bundle = Bundle::new();
    forge(&bundle, "proc", &files);
    bundle.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
        config["process"]["oomScoreAdj"] = json!(500);
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    start(&bundle);
    let pid = pid(&bundle);
    let cat = ["--net", "--target", &pid, "cat", "/proc/sys/net/ipv4/ip_default_ttl"];
    assert_eq!(Command::new("nsenter").args(cat).finish().ok(), "77");
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    assert_eq!(score, "500\n");

    // The same for who enters.
    let process = json!({"args": ["/bin/sleep", "600"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "oomScoreAdj": 600});
    fs::write(bundle.file("process.json"), process.to_string()).expect("the bundle is ours");
    let (json, pid_file) = (bundle.file("process.json"), bundle.file("pid"));
    bundle
        .runtime(&[
            "exec",
            "--detach",
            "--process",
            &json,
            "--pid-file",
            &pid_file,
            bundle.id(),
        ])
        .ok();
    let pid = fs::read_to_string(pid_file).expect("a pid");
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    assert_eq!(score, "600\n");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert!(is_untouched(&bundle, "proc", &files));
}

#[test]
fn what_lies_over_the_hosts_proc_gets_nothing_that_is_meant_for_the_kernel() {
    let files = ["net/ipv4/ip_default_ttl"];
    let bundle = Bundle::new();
    forge(&bundle, "forged", &files);
    bundle.edit(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
        config["process"]["args"] = json!(["cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
    });
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let script = "mount --bind \"$0\" /proc/sys && exec \"$@\"";
    let said = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(bundle.rootfs().join("forged"))
        .arg(run.get_program())
        .args(run.get_args())
        .finish();
    assert_eq!(said.ok(), "77");
    assert!(is_untouched(&bundle, "forged", &files));
}

#[test]
fn a_symlinked_proc_does_not_swallow_an_apparmor_profile() {
    let files = ["self/attr/exec", "self/attr/apparmor/exec"];
    let bundle = Bundle::new();
    fs::remove_dir(bundle.rootfs().join("proc")).expect("the rootfs is ours");
    forge(&bundle, "forged", &files);
    symlink("forged", bundle.rootfs().join("proc")).expect("the rootfs is ours");
    // A profile that is there wherever AppArmor is.
    bundle.edit(|config| config["process"]["apparmorProfile"] = json!("unconfined"));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("must be mounted on ordinary directory");
    assert!(is_untouched(&bundle, "forged", &files));

    // Without a /proc mount of the config the link is the image's affair; the profile still reaches the kernel.
    bundle.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.starts_with('Y') {
        bundle.run(&["true"]).ok();
    } else {
        davit_integration_tests::skipped!(
            "AppArmor is not enabled here: what is shown is that the profile is refused, not that it is applied"
        );
        bundle.run(&["true"]).code_is(1).says("apparmor not supported");
    }
    assert!(is_untouched(&bundle, "forged", &files));
}

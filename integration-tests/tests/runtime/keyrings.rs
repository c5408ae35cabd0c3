//! The session keyring of a container.

use std::{fs, os::unix::fs::chown};

use davit_integration_tests::wait;
use serde_json::json;

use crate::bundle::Bundle;

/// A bundle whose programs show the serial numbers and names of the keyrings that they possess: of root's keyrings an
/// ordinary user sees no others.
fn showing() -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["linux"]["maskedPaths"] = json!([]);
    });
    bundle
}

/// The serial number of the container's keyring, if the program that has printed /proc/keys is in it.
fn serial(bundle: &Bundle, shown: &str) -> Option<String> {
    let name = format!("_ses.{}:", bundle.id());
    let mine = shown.lines().find(|line| line.contains(&name))?;
    mine.split(' ').next().map(str::to_owned)
}

fn keys_are_missing() -> bool {
    let missing = !fs::exists("/proc/keys").unwrap_or(false);
    if missing {
        davit_integration_tests::skipped!("this kernel has no keyrings");
    }
    missing
}

#[test]
fn a_container_has_a_session_keyring_that_its_execs_share() {
    if keys_are_missing() {
        return;
    }
    let bundle = showing();
    assert!(serial(&bundle, &bundle.run(&["cat", "/proc/keys"]).ok()).is_some());
    let script = "cat /proc/keys > /first/keys; touch /first/done; exec sleep 600";
    let first = bundle.rootfs().join("first");
    fs::create_dir(&first).expect("the rootfs is ours");
    chown(&first, Some(1000), Some(1000)).expect("root may");
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    bundle.create_as(bundle.id()).ok();
    bundle.runtime(&["start", bundle.id()]).ok();
    wait::until_true("the program runs", 5, || first.join("done").exists());
    let of_exec = serial(&bundle, &bundle.exec(&["cat", "/proc/keys"]).ok());
    assert!(of_exec.is_some());
    let of_first = fs::read_to_string(first.join("keys")).expect("the program wrote it");
    assert_eq!(serial(&bundle, &of_first), of_exec);
}

#[test]
fn a_container_stays_in_its_makers_keyring_where_that_is_asked_for() {
    if keys_are_missing() {
        return;
    }
    let bundle = showing();
    let with = |verb: &[&str]| {
        bundle.runtime(&[verb, &["--no-new-keyring", "--bundle", &bundle.path(), bundle.id()]].concat())
    };
    bundle.edit(|config| config["process"]["args"] = json!(["cat", "/proc/keys"]));
    assert_eq!(serial(&bundle, &with(&["run"]).ok()), None);
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    with(&["create"]).ok();
    bundle.runtime(&["start", bundle.id()]).ok();
    assert_eq!(serial(&bundle, &bundle.exec(&["cat", "/proc/keys"]).ok()), None);
}

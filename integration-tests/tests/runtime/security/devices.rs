//! What an image puts where devices are expected: CVE-2025-31133, CVE-2025-52565, CVE-2026-41579, CVE-2026-47766.

use std::{fs, os::unix::fs::symlink, process::Command};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use super::{super::shell_words, Bundle};

/// Leaves /dev to the image.
fn without_dev(config: &mut Value) {
    config["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
}

#[test]
fn masking_refuses_a_null_device_that_is_something_else() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        without_dev(config);
        config["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
    });
    symlink("/etc/group", bundle.rootfs().join("dev/null")).expect("the rootfs is ours");
    bundle
        .run(&["cat", "/etc/passwd"])
        .code_is(1)
        .says("is not the device that it has to be");
}

#[test]
fn masking_knows_the_null_device_by_its_number_where_dev_is_somebody_elses() {
    let bundle = Bundle::new();
    let dev = bundle.file("dev");
    fs::create_dir(&dev).expect("the bundle is ours");
    for (name, refused) in [("char", true), ("link", true), ("null", false)] {
        let null = format!("{dev}/null");
        let _ = fs::remove_file(&null);
        match name {
            "char" => drop(Command::new("mknod").args([&null, "c", "1", "5"]).finish().ok()),
            "link" => symlink("/etc/group", &null).expect("the bundle is ours"),
            _ => drop(Command::new("mknod").args([&null, "c", "1", "3"]).finish().ok()),
        }
        bundle.edit(|config| {
            without_dev(config);
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.push(json!({"destination": "/dev", "source": dev, "options": ["bind"]}));
            config["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
        });
        let finished = bundle.run(&["head", "-c", "9", "/etc/passwd"]);
        if refused {
            finished.code_is(1).says("not the null device");
        } else {
            assert_eq!(finished.ok(), "", "{name}");
        }
    }
}

#[test]
fn dev_that_links_to_the_host_changes_nothing_there() {
    let bundle = Bundle::new();
    let outside = bundle.file("outside");
    fs::create_dir(&outside).expect("the bundle is ours");
    fs::remove_dir(bundle.rootfs().join("dev")).expect("the rootfs is ours");
    symlink(&outside, bundle.rootfs().join("dev")).expect("the rootfs is ours");
    bundle.edit(without_dev);
    bundle.run(&["ls", "/dev/null"]).ok();
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
    // With a file system of its own on it, too.
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}));
    });
    bundle.run(&["ls", "/dev/null"]).ok();
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
    // And with a terminal, and a device of the config's.
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.pop();
        mounts.push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}));
        config["linux"]["devices"] = json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]);
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sh", "-c", "test -c /dev/console && test -c /dev/extra && echo reached"]);
    });
    let finished = run_on_terminal(&bundle);
    assert!(finished.stdout.contains("reached"), "{finished:?}");
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
}

/// Runs the program of the config on a terminal.
fn run_on_terminal(bundle: &Bundle) -> davit_integration_tests::Finished {
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    Command::new("script")
        .args(["-qec", &shell_words(&run), "/dev/null"])
        .finish()
}

#[test]
fn the_console_is_the_terminal_whatever_lies_at_its_name() {
    let bundle = Bundle::new();
    fs::write(bundle.rootfs().join("secret"), "secret").expect("the rootfs is ours");
    let pts = bundle.rootfs().join("dev/pts");
    fs::create_dir(&pts).expect("the rootfs is ours");
    fs::write(pts.join("ptmx"), "").expect("the rootfs is ours");
    for number in 0..256 {
        symlink("/secret", pts.join(number.to_string())).expect("the rootfs is ours");
    }
    bundle.edit(|config| {
        without_dev(config);
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sh", "-c", "test -c /dev/console && echo reached"]);
    });
    let refused = run_on_terminal(&bundle);
    assert!(refused.stdout.contains("not a terminal multiplexer"), "{refused:?}");
    // The multiplexer is a real one from elsewhere, and the names beside it are not those of its terminals.
    fs::remove_file(pts.join("ptmx")).expect("the rootfs is ours");
    symlink("/real/ptmx", pts.join("ptmx")).expect("the rootfs is ours");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/real", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}));
    });
    let finished = run_on_terminal(&bundle);
    assert!(finished.stdout.contains("reached"), "{finished:?}");
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("secret")).expect("it is there"),
        "secret"
    );
}

#[test]
fn a_console_that_links_elsewhere_is_not_followed() {
    let bundle = Bundle::new();
    let outside = bundle.file("outside");
    fs::write(&outside, "outside").expect("the bundle is ours");
    symlink(&outside, bundle.rootfs().join("dev/console")).expect("the rootfs is ours");
    fs::create_dir(bundle.rootfs().join("dev/pts")).expect("the rootfs is ours");
    fs::create_dir_all(format!("{}{}", bundle.rootfs().display(), bundle.path())).expect("the rootfs is ours");
    fs::write(format!("{}{outside}", bundle.rootfs().display()), "inside").expect("the rootfs is ours");
    bundle.edit(|config| {
        without_dev(config);
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}));
        config["process"]["terminal"] = json!(true);
        let script = "test -c /dev/console && grep -q ' /dev/console ' /proc/self/mounts && \
                      ! grep -q outside /proc/self/mounts && echo reached > /dev/console";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let finished = run_on_terminal(&bundle);
    assert!(finished.stdout.contains("reached"), "{finished:?}");
    let inside = format!("{}{outside}", bundle.rootfs().display());
    assert_eq!(fs::read_to_string(inside).expect("it is there"), "inside");
    assert_eq!(fs::read_to_string(&outside).expect("it is there"), "outside");
}

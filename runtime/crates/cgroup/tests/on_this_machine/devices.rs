//! The device filter.

use std::path::PathBuf;

use davit_cgroup::{Cgroup, Manager};

use crate::trial::Trial;

#[test]
fn only_listed_devices_open() {
    let resources = r#"{"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "r"}]}"#;
    let Some(mut trial) = Trial::new("devices", resources) else {
        return;
    };
    let (ok, err) = trial.run("echo > /dev/null && head -c 1 /dev/urandom > /dev/zero");
    assert!(ok, "{err}");
    // kmsg is no device that every container has; reading the loop control device was allowed, writing was not.
    let (ok, err) = trial.run("exec < /dev/kmsg");
    assert!(!ok && err.contains("not permitted"), "{err}");
    if PathBuf::from("/dev/loop-control").exists() {
        let (ok, err) = trial.run("exec < /dev/loop-control");
        assert!(ok, "{err}");
        let (ok, err) = trial.run("exec > /dev/loop-control");
        assert!(!ok && err.contains("not permitted"), "{err}");
    }
}

#[test]
fn a_device_list_can_be_replaced() {
    let Some(mut trial) = Trial::new("redevices", r#"{"devices": [{"allow": false, "access": "rwm"}]}"#) else {
        return;
    };
    assert!(!trial.run("exec < /dev/kmsg").0);
    for (rules, expected) in [
        (r#"[{"allow": true, "access": "rwm"}]"#, true),
        (
            r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
            true,
        ),
        (
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#,
            true,
        ),
        (
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
            false,
        ),
        (r#"[]"#, false),
    ] {
        let resources = serde_json::from_str(&format!(r#"{{"devices": {rules}}}"#)).unwrap();
        let cgroup = Cgroup::again(&Manager::Cgroupfs, &trial.cgroup.paths()).unwrap();
        trial.cgroup = cgroup.with_resources(&resources).unwrap();
        trial.cgroup.apply().unwrap();
        let (ok, err) = trial.run("exec < /dev/kmsg");
        assert_eq!(ok, expected, "{rules} {err}");
    }
}

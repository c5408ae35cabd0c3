//! Ways out of a container's cgroup (runc's issue 5351), and into the host's: CVE-2023-25809.

use std::fs;

use serde_json::json;

use super::{Bundle, start};
use crate::bundle::without_namespace;

#[test]
fn no_process_is_put_into_a_cgroup_that_is_not_below_the_containers() {
    let bundle = Bundle::new();
    let sibling = Bundle::new();
    sibling.edit(|config| {
        // Its name begins with the other's.
        config["linux"]["cgroupsPath"] = json!(format!("/davit-tests/{}-more", bundle.id()));
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&bundle);
    start(&sibling);
    let more = format!("../{}-more", bundle.id());
    for path in [
        "..",
        "../..",
        "/..",
        "./..",
        "x/../..",
        more.as_str(),
        &format!("/{more}"),
    ] {
        let refused = bundle.runtime(&["exec", "--cgroup", path, bundle.id(), "true"]);
        refused.code_is(255).says("is not a sub cgroup path");
        if fs::exists("/sys/fs/cgroup/memory").expect("cgroups are mounted") {
            let request = format!("memory:{path}");
            let refused = bundle.runtime(&["exec", "--cgroup", &request, bundle.id(), "true"]);
            refused.code_is(255).says("is not a sub cgroup path");
        }
    }
    bundle.runtime(&["exec", "--cgroup", "/", bundle.id(), "true"]).ok();
    sibling.runtime(&["delete", "--force", sibling.id()]).ok();
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_key_of_the_unified_map_names_a_file_and_no_path() {
    for key in ["../davit-escaped/pids.max", "sub/pids.max", "/pids.max", "..", ""] {
        let bundle = Bundle::new();
        bundle.edit(|config| config["linux"]["resources"]["unified"] = json!({key: "1"}));
        bundle.run(&["true"]).code_is(1);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{key}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn without_a_cgroup_namespace_a_read_only_cgroup_mount_is_read_only() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        without_namespace(config, "cgroup");
    });
    let script = "grep -E ' cgroup2? ' /proc/mounts | while read source place type options rest; do \
                  echo $options | cut -d, -f1; mkdir $place/made && echo made in $place; done";
    let finished = bundle.run(&["sh", "-c", script]);
    let seen: Vec<&str> = finished.stdout.lines().collect();
    assert!(
        !seen.is_empty() && seen.iter().all(|line| *line == "ro"),
        "{finished:?}"
    );
}

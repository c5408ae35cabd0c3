//! net_cls and net_prio, which hardly a machine has mounted: in a program of its own, since a hierarchy that comes and goes
//! is seen by every process of the machine.

#[allow(dead_code, reason = "the runtime's own tests use the rest")]
#[path = "runtime/bundle.rs"]
mod bundle;

use std::{path::Path, process::Command};

use serde_json::json;

use bundle::Bundle;

/// Mounts both below the folder `$0`, where nobody else sees it, and goes on with a script.
const MOUNTED: &str = r#"
for name in net_cls net_prio; do
    mkdir "$0/$name" && mount -t cgroup -o $name none "$0/$name" || exit 77
done
cd "$0"
"#;

#[test]
fn packets_of_a_container_are_marked_and_ranked_on_v1() {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        davit_integration_tests::skipped!("cgroups are v2 alone here");
        return;
    }
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"] = json!({
            "network": {"classID": 0x10_0001, "priorities": [{"name": "lo", "priority": 5}]}
        });
    });
    let (id, folder, root) = (bundle.id(), bundle.path(), bundle.root());
    let runtime = bundle.command(&[]);
    let script = format!(
        "{MOUNTED}
        runtime() {{ {program:?} --root {root:?} \"$@\"; }}
        runtime run --detach --bundle {folder} {id} <&- >log 2>&1 || {{ cat log; exit 1; }}
        cat net_cls/davit-tests/{id}/net_cls.classid
        grep lo net_prio/davit-tests/{id}/net_prio.ifpriomap
        for name in net_cls net_prio; do
            runtime state {id} | grep -c \"\\\"pid\\\": $(cat $name/davit-tests/{id}/cgroup.procs),\"
        done
        runtime delete --force {id}
        ls net_cls/davit-tests net_prio/davit-tests | grep {id}
        rmdir net_cls/davit-tests net_prio/davit-tests",
        program = runtime.get_program(),
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &script, &folder]);
    let finished = bundle.finish_into_files(&mut shell);
    if finished.code == 77 {
        davit_integration_tests::skipped!("net_cls and net_prio cannot be mounted: {}", finished.stderr);
        return;
    }
    assert_eq!(finished.stdout, "1048577\nlo 5\n1\n1\n", "{finished:?}");
}

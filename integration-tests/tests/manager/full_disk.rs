//! A full disk: what cannot be written is refused, what was written is read, and once there is room the daemon works as before.

use std::{fs, process::Command};

use davit_integration_tests::{Manager, Run, Scratch};

#[test]
fn a_manager_on_a_disk_that_was_full_works_again_without_a_restart() {
    let scratch = Scratch::new();
    let root = scratch.join("croot");
    fs::create_dir(&root).expect("the scratch is ours");
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(&root)
        .finish()
        .ok();
    let manager = Manager::start(&scratch);
    let ctr = |arguments: &[&str]| scratch.ctr(manager.socket()).args(arguments).finish();
    ctr(&["namespaces", "create", "before"]).ok();

    let mut fill = Command::new("sh");
    fill.args(["-c", "head -c 16M /dev/zero > \"$0\"/filler; sync \"$0\"/filler"])
        .arg(&root);
    fill.finish();
    // The store has some room of its own.
    let label = "x".repeat(3000);
    let refused = (0..4000).find(|number| {
        let name = format!("n{number}");
        ctr(&["namespaces", "create", &name, &format!("l={label}")]).code != 0
    });
    assert!(refused.is_some(), "the store never needed more room");
    for _ in 0..3 {
        ctr(&["namespaces", "create", "refused"]).code_is(1);
        assert!(
            ctr(&["namespaces", "list", "-q"])
                .ok()
                .lines()
                .any(|name| name == "before")
        );
    }

    fs::remove_file(root.join("filler")).expect("it is ours");
    ctr(&["namespaces", "create", "after"]).ok();
    let names = ctr(&["namespaces", "list", "-q"]).ok();
    for (name, is_there) in [("before", true), ("after", true), ("refused", false)] {
        assert_eq!(names.lines().any(|found| found == name), is_there, "{name}: {names}");
    }
    manager.stop();
}

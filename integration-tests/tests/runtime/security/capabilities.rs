//! Who a process is, and what it may: CVE-2022-29162, CVE-2022-27650, CVE-2026-30892.

use serde_json::json;

use super::{Bundle, start};

const NONE: &str = "CapInh:\t0000000000000000";

#[test]
fn no_capability_is_inheritable_unless_the_config_says_so() {
    let bundle = Bundle::new();
    let show = ["grep", "CapInh", "/proc/self/status"];
    assert_eq!(bundle.run(&show).ok(), NONE);
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&bundle);
    let exec = |options: &[&str]| {
        let head = ["exec"];
        let arguments = [&head, options, &[bundle.id()], &show[..]].concat();
        bundle.runtime(&arguments).ok()
    };
    assert_eq!(exec(&[]), NONE);
    assert_eq!(exec(&["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_NET_RAW"]), NONE);
    assert_eq!(exec(&["--cap", "CAP_SYS_ADMIN", "--user", "1000"]), NONE);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_user_without_a_group_is_that_user_and_group_0() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&bundle);
    for user in ["1", "2147483648"] {
        let ids = bundle.runtime(&["exec", "-u", user, bundle.id(), "sh", "-c", "id -u; id -g; id -G"]);
        assert_eq!(ids.ok(), format!("{user}\n0\n0"));
    }
    for user in ["1:", ":1", "-1", "4294967296", "root"] {
        let refused = bundle.runtime(&["exec", "-u", user, bundle.id(), "true"]);
        assert_ne!(refused.code, 0, "{user:?}: {refused:?}");
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

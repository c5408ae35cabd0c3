use super::*;

fn list(rules: &str) -> Result<DeviceList> {
    DeviceList::for_container(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(rules).unwrap())
}

fn char(major: u32, minor: u32, access: &str, rules: &str) -> bool {
    list(rules)
        .unwrap()
        .permits(Kind::Char, major, minor, Access::parse(access).unwrap())
}

#[test]
fn without_rules_a_container_has_the_devices_of_every_container() {
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 4)] {
        assert!(char(major, minor, "rwm", "[]"), "{major}:{minor}");
    }
    assert!(char(1, 11, "m", "[]"));
    assert!(!char(1, 11, "r", "[]"));
    assert!(!list("[]").unwrap().permits(Kind::Block, 8, 0, Access::READ));
}

#[test]
fn a_rule_about_all_devices_starts_the_list_anew() {
    let rules =
        r#"[{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}, {"allow": false, "access": "rwm"}]"#;
    assert!(!char(1, 11, "r", rules));
    assert!(char(1, 11, "rwm", r#"[{"allow": true, "access": "r"}]"#));
}

#[test]
fn access_that_is_granted_in_parts_by_two_rules_is_granted_together_only_for_the_same_devices() {
    let same = r#"[{"allow": true, "type": "c", "major": 7, "minor": 1, "access": "r"},
        {"allow": true, "type": "c", "major": 7, "minor": 1, "access": "w"}]"#;
    assert!(char(7, 1, "rw", same));
    let range = r#"[{"allow": true, "type": "c", "major": 7, "minor": 1, "access": "r"},
        {"allow": true, "type": "c", "major": 7, "access": "w"}]"#;
    assert!(char(7, 1, "w", range) && !char(7, 1, "rw", range));
}

#[test]
fn a_denied_part_spoils_the_whole_access() {
    let rules =
        r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#;
    assert!(char(1, 11, "r", rules) && !char(1, 11, "rw", rules));
}

#[test]
fn a_hole_in_an_allowed_range_is_refused() {
    let rules = r#"[{"allow": true, "type": "c", "major": 10, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "r"}]"#;
    let text = list(rules).unwrap_err().to_string();
    assert!(text.contains("c 10:229 r") && text.contains("c 10:*"), "{text}");
}

#[test]
fn a_rule_can_be_taken_back() {
    let rules = r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#;
    assert!(char(10, 229, "r", rules) && !char(10, 229, "w", rules));
}

#[test]
fn what_is_no_rule_is_named() {
    for rule in [
        r#"{"allow": true, "type": "p", "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": 4294967296, "access": "r"}"#,
    ] {
        assert!(
            matches!(list(&format!("[{rule}]")), Err(CgroupError::DeviceRule(_))),
            "{rule}"
        );
    }
}

#[test]
fn letters_without_a_meaning_are_passed_over_but_not_the_lack_of_any() {
    let rules = r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwa"}]"#;
    assert!(char(10, 229, "rw", rules) && !char(10, 229, "r", &rules.replace("rwa", "a")));
    for rules in [r#"[{"allow": false}]"#, r#"[{"allow": false, "access": ""}]"#] {
        assert!(matches!(list(rules), Err(CgroupError::DeviceAccess(0))), "{rules}");
    }
}

#[test]
fn the_kernels_list_is_read_back() {
    let read = DeviceList::parse("c *:* m\nb 8:0 rw\nc 136:* rwm\n").unwrap();
    assert!(!read.allow_by_default);
    let shown: Vec<_> = read
        .exceptions
        .iter()
        .map(|(devices, access)| format!("{devices} {access}"))
        .collect();
    assert_eq!(shown, ["b 8:0 rw", "c *:* m", "c 136:* rwm"]);
    assert!(DeviceList::parse("a *:* rwm\n").unwrap().allow_by_default);
    assert_eq!(DeviceList::parse("nonsense"), None);
}

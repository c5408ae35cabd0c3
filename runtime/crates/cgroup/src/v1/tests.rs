use super::*;

fn hybrid() -> Vec<Hierarchy> {
    let mounts = [
        ("cpu,cpuacct", "cpu,cpuacct"),
        ("memory", "memory"),
        ("systemd", "name=systemd"),
        ("unified", ""),
    ];
    let hierarchy = |(place, controllers): (&str, &str)| Hierarchy {
        controllers: controllers.split(',').map(str::to_owned).collect(),
        mount_point: Path::new("/sys/fs/cgroup").join(place),
        root: "/".into(),
        own: "/".into(),
    };
    mounts.into_iter().map(hierarchy).collect()
}

fn plan() -> Hierarchies {
    Hierarchies::plan(&hybrid(), &CgroupPath::parse("/davit/x").unwrap())
}

fn check(resources: &str) -> Result<()> {
    plan().check(&serde_json::from_str(resources).unwrap())
}

#[test]
fn the_paths_have_a_name_per_controller_and_survive_a_restart() {
    let paths = plan().paths();
    let names: Vec<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "cpu", "cpuacct", "memory", "name=systemd"]);
    assert_eq!(paths["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct/davit/x"));
    assert_eq!(Hierarchies::from_paths(&hybrid(), &paths).unwrap().paths(), paths);
}

#[test]
fn a_limit_needs_its_controller_and_zero_is_no_limit() {
    check(r#"{"memory": {"limit": 1}, "cpu": {"shares": 2}}"#).unwrap();
    check(r#"{"pids": {"limit": 0}, "blockIO": {"weight": 0}, "cpu": {"cpus": "", "realtimePeriod": 0}}"#).unwrap();
    for (resources, missing) in [
        (r#"{"pids": {"limit": 1}}"#, "pids"),
        (r#"{"cpu": {"cpus": "0"}}"#, "cpuset"),
        (r#"{"blockIO": {"weight": 10}}"#, "blkio"),
        (r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#, "hugetlb"),
        (r#"{"network": {"classID": 1}}"#, "net_cls"),
        (r#"{"devices": [{"allow": false, "access": "rwm"}]}"#, "devices"),
    ] {
        match check(resources) {
            Err(CgroupError::MissingController { controller, .. }) => assert_eq!(controller, missing),
            other => panic!("{resources}: {other:?}"),
        }
    }
}

#[test]
fn v2_files_are_refused_on_v1() {
    assert!(matches!(
        check(r#"{"unified": {"memory.high": "1"}}"#),
        Err(CgroupError::UnifiedNeedsV2)
    ));
    check(r#"{"unified": {}}"#).unwrap();
}

#[test]
fn the_container_sees_a_mount_per_hierarchy_and_a_link_per_shared_controller() {
    let table = plan().mount_table();
    assert_eq!(table.unified(), Some(Path::new("/sys/fs/cgroup/unified")));
    let MountTable::Hierarchies { mounts, symlinks, .. } = table else {
        panic!()
    };
    let seen: Vec<_> = mounts
        .iter()
        .map(|mount| (mount.name.as_str(), mount.data.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("cpu,cpuacct", "cpu,cpuacct"),
            ("memory", "memory"),
            ("systemd", "none,name=systemd")
        ]
    );
    let link = |name: &str| (name.to_owned(), "cpu,cpuacct".to_owned());
    assert_eq!(symlinks, [link("cpu"), link("cpuacct")]);
}

#[test]
fn only_what_lies_below_a_mount_is_believed() {
    let mount = Path::new("/sys/fs/cgroup/memory");
    for (dir, expected) in [
        ("a/b", true),
        ("", false),
        ("../x", false),
        ("a/../../x", false),
        ("/etc", false),
    ] {
        assert_eq!(below(mount, &mount.join(dir)), expected, "{dir}");
    }
}

#[test]
fn a_page_size_is_no_way_to_another_file() {
    for size in ["2MB/../../x", "", "../memory"] {
        let text = check(&format!(
            r#"{{"hugepageLimits": [{{"pageSize": "{size}", "limit": 1}}]}}"#
        ))
        .unwrap_err()
        .to_string();
        assert!(text.contains("huge page"), "{text}");
    }
}

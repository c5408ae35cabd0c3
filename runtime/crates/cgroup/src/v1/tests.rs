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

/// What `apply` leaves in these files, for controllers that this machine may not have mounted.
fn written<const N: usize>(apply: Apply, files: [&str; N], resources: &str) -> [String; N] {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::write(dir.path().join(file), "").unwrap();
    }
    apply(dir.path(), &serde_json::from_str(resources).unwrap()).unwrap();
    files.map(|file| fs::read_to_string(dir.path().join(file)).unwrap())
}

#[test]
fn huge_pages_are_limited_in_use_and_reserved() {
    let files = ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"];
    let limits = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
    assert_eq!(written(hugetlb::apply, files, limits), ["4194304", "4194304"]);
    // Before Linux 5.7 nothing is reserved.
    assert_eq!(written(hugetlb::apply, [files[0]], limits), ["4194304"]);
}

#[test]
fn packets_are_marked_and_ranked() {
    let network = r#"{"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}"#;
    assert_eq!(written(network::apply_class, ["net_cls.classid"], network), ["1048577"]);
    assert_eq!(
        written(network::apply_priorities, ["net_prio.ifpriomap"], network),
        ["eth0 5"]
    );
    let none = r#"{"network": {"classID": 0, "priorities": []}}"#;
    assert_eq!(written(network::apply_class, ["net_cls.classid"], none), [""]);
    assert_eq!(written(network::apply_priorities, ["net_prio.ifpriomap"], none), [""]);
}

#[test]
fn rdma_devices_have_a_line_with_what_is_limited() {
    for (limits, line) in [
        (
            r#"{"hcaHandles": 2, "hcaObjects": 2000}"#,
            "mlx4_0 hca_handle=2 hca_object=2000",
        ),
        (r#"{"hcaHandles": 3}"#, "mlx4_0 hca_handle=3"),
        (r#"{"hcaObjects": 4}"#, "mlx4_0 hca_object=4"),
    ] {
        let resources = format!(r#"{{"rdma": {{"mlx4_0": {limits}}}}}"#);
        assert_eq!(written(rdma::apply, ["rdma.max"], &resources), [line]);
    }
}

#[test]
fn memory_has_a_file_for_each_limit() {
    let files = [
        "memory.limit_in_bytes",
        "memory.soft_limit_in_bytes",
        "memory.oom_control",
        "memory.swappiness",
    ];
    let limits = r#"{"memory": {"limit": 9, "reservation": 5, "disableOOMKiller": true, "swappiness": 70}}"#;
    assert_eq!(written(memory::apply, files, limits), ["9", "5", "1", "70"]);
    let none = r#"{"memory": {"limit": 0, "reservation": 0, "disableOOMKiller": false,
        "swappiness": 18446744073709551615}}"#;
    assert_eq!(written(memory::apply, files, none), ["", "", "", ""]);
    let too_much = serde_json::from_str(r#"{"memory": {"swappiness": 101}}"#).unwrap();
    let text = memory::apply(Path::new("/none"), &too_much).unwrap_err().to_string();
    assert!(text.contains("101"), "{text}");
}

#[test]
fn block_io_has_bfqs_names_where_the_kernel_has_no_others() {
    let io = r#"{"blockIO": {"weight": 300, "weightDevice": [{"major": 8, "minor": 16, "weight": 400}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 120}]}}"#;
    let throttle = "blkio.throttle.write_iops_device";
    let expected = ["300", "8:16 400", "8:0 120"];
    let bfq = ["blkio.bfq.weight", "blkio.bfq.weight_device", throttle];
    assert_eq!(written(blkio::apply, bfq, io), expected);
    assert_eq!(
        written(blkio::apply, ["blkio.weight", "blkio.weight_device", throttle], io),
        expected
    );
    let leaf = r#"{"blockIO": {"leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 30}]}}"#;
    assert_eq!(
        written(blkio::apply, ["blkio.leaf_weight", "blkio.leaf_weight_device"], leaf),
        ["20", "8:0 30"]
    );
}

/// A folder that stands for a container's cgroup in the hierarchy of a controller.
fn standing_in(folder: &Path, controller: &str) -> (Hierarchies, PathBuf) {
    let dir = folder.join("container");
    std::fs::create_dir(&dir).unwrap();
    let hierarchy = Hierarchy {
        controllers: vec![controller.to_owned()],
        mount_point: folder.into(),
        root: "/".into(),
        own: "/".into(),
    };
    let paths = [(controller.to_owned(), dir.clone())].into();
    (Hierarchies::from_paths(&[hierarchy], &paths).unwrap(), dir)
}

#[test]
fn transfers_are_counted_by_device_and_direction() {
    let folder = tempfile::tempdir().unwrap();
    let (hierarchies, dir) = standing_in(folder.path(), "blkio");
    let write = |file: &str, value: u64| {
        let text = format!("8:16 Read {value}\n8:16 Write 7\nTotal {}\n", value + 7);
        std::fs::write(dir.join(format!("blkio.throttle.{file}_recursive")), text).unwrap();
    };
    write("io_service_bytes", 4096);
    write("io_serviced", 1);
    let blkio = hierarchies.stats().unwrap().blkio;
    let values = |entries: &[crate::BlkioEntry]| entries.iter().map(|entry| entry.value).collect::<Vec<_>>();
    assert_eq!(values(&blkio.io_service_bytes_recursive), [4096, 7]);
    assert_eq!(values(&blkio.io_serviced_recursive), [1, 7]);
}

#[test]
fn who_is_frozen_for_an_act_goes_on_though_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (hierarchies, dir) = standing_in(folder.path(), "freezer");
    let state = dir.join("freezer.state");
    let is = |wanted: &str| std::fs::read_to_string(&state).unwrap() == wanted;
    std::fs::write(&state, "THAWED").unwrap();
    let failed = hierarchies.while_frozen(|| {
        assert!(is("FROZEN"));
        Err(CgroupError::UnifiedNeedsV2)
    });
    assert!(matches!(failed, Err(CgroupError::UnifiedNeedsV2)));
    assert!(is("THAWED"));
    // Whom somebody else has frozen stays so.
    std::fs::write(&state, "FROZEN").unwrap();
    hierarchies.while_frozen(|| Ok(())).unwrap();
    assert!(is("FROZEN"));
}

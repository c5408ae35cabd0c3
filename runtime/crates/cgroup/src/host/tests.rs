use super::*;

const HYBRID_MOUNTS: &str = "\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
90 22 0:32 / /mnt/second rw,relatime - cgroup cgroup rw,memory
";
const HYBRID_OWN: &str = "\
9:name=systemd:/user.slice
4:memory:/user.slice/me
2:cpu,cpuacct:/
3:cpuset:/
0::/user.slice
";

fn path(path: &str) -> CgroupPath {
    CgroupPath::parse(path).unwrap()
}

fn hybrid() -> Vec<Hierarchy> {
    match Host::from_tables(HYBRID_MOUNTS, HYBRID_OWN).unwrap() {
        Host::Hierarchies(found) => found,
        unified => panic!("{unified:?}"),
    }
}

#[test]
fn a_hybrid_machine_has_the_mounted_controllers_once_each() {
    let found = hybrid();
    let names: Vec<_> = found.iter().map(|hierarchy| hierarchy.controllers.join(",")).collect();
    assert_eq!(names, ["cpu,cpuacct", "memory", "name=systemd", ""]);
    assert_eq!(found[1].mount_point, Path::new("/sys/fs/cgroup/memory"));
    assert_eq!(found[1].own, "/user.slice/me");
}

#[test]
fn absolute_paths_start_at_the_mount_and_relative_ones_at_our_own_cgroup() {
    let memory = &hybrid()[1];
    assert_eq!(
        memory.directory(&path("/davit/x")),
        Path::new("/sys/fs/cgroup/memory/davit/x")
    );
    assert_eq!(
        memory.directory(&path("x")),
        Path::new("/sys/fs/cgroup/memory/user.slice/me/x")
    );
}

#[test]
fn on_v2_a_relative_path_lies_beside_our_own_cgroup() {
    let own = |own: &str| Hierarchy {
        controllers: vec![String::new()],
        mount_point: "/sys/fs/cgroup".into(),
        root: "/".into(),
        own: own.into(),
    };
    let beside = |own_path: &str, inner: &str| own(own_path).directory_beside(&path(inner));
    assert_eq!(beside("/a/session.scope", "x"), Path::new("/sys/fs/cgroup/a/x"));
    assert_eq!(beside("/", "x"), Path::new("/sys/fs/cgroup/x"));
    assert_eq!(beside("/a/session.scope", "/x"), Path::new("/sys/fs/cgroup/x"));
}

#[test]
fn inside_a_container_the_mount_shows_a_part_of_the_hierarchy() {
    let mounts = "32 31 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let Host::Hierarchies(found) = Host::from_tables(mounts, "4:memory:/docker/abc/inner\n").unwrap() else {
        panic!()
    };
    assert_eq!(
        found[0].directory(&path("x")),
        Path::new("/sys/fs/cgroup/memory/inner/x")
    );
    assert_eq!(found[0].directory(&path("/x")), Path::new("/sys/fs/cgroup/memory/x"));
}

#[test]
fn a_machine_with_only_v2_is_unified_wherever_it_is_mounted() {
    let mounts = "26 23 0:23 / /other\\040place rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let Host::Unified(found) = Host::from_tables(mounts, "0::/init.scope\n").unwrap() else {
        panic!()
    };
    assert_eq!(found.mount_point, Path::new("/other place"));
    assert_eq!(found.own, "/init.scope");
}

#[test]
fn a_machine_without_cgroups_says_so() {
    assert!(matches!(
        Host::from_tables("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/\n"),
        Err(CgroupError::NotMounted)
    ));
}

#[test]
fn escapes_of_mountinfo_are_undone() {
    for (escaped, expected) in [
        ("/a\\040b", "/a b"),
        ("/a\\134", "/a\\"),
        ("/plain", "/plain"),
        ("/odd\\9", "/odd\\9"),
    ] {
        assert_eq!(unescape(escaped), expected);
    }
}

proptest::proptest! {
    #[test]
    fn no_table_makes_it_panic(mounts in "([0-9]{1,2} [0-9 :]{0,9}/[a-z\\\\0-9/]{0,9} ?){0,5}( - cgroup2? x rw,[a-z,=]{0,9}\n)?", own in "([0-9]:[a-z,=]{0,5}:/[a-z]{0,3}\n){0,3}") {
        let _ = Host::from_tables(&mounts, &own);
    }
}

//! systemd as the first process.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{net::UnixListener, process::ExitStatusExt},
    process::Command,
    thread::spawn,
    time::{Duration, Instant},
};

use davit_integration_tests::{Run, wait};
use serde_json::{Value, json};

use crate::bundle::Bundle;

#[test]
fn the_first_process_is_systemd() {
    assert_eq!(
        fs::read_to_string("/proc/1/comm").expect("/proc is mounted"),
        "systemd\n"
    );
}

/// A bundle whose container is to sleep as a scope of its own in `slice`.
pub fn sleeper(slice: &str, change: impl FnOnce(&mut Value)) -> (Bundle, String) {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["cgroupsPath"] = json!(format!("{slice}:davit:{}", bundle.id()));
        change(config);
    });
    let unit = format!("davit-{}.scope", bundle.id());
    (bundle, unit)
}

pub fn start(bundle: &Bundle) {
    let path = bundle.path();
    let args = ["--systemd-cgroup", "run", "--detach", "--bundle", &path, bundle.id()];
    bundle.runtime(&args).ok();
}

pub fn property(unit: &str, name: &str) -> String {
    Command::new("systemctl")
        .args(["show", "--value", "--property", name, unit])
        .finish()
        .ok()
}

#[test]
fn a_container_is_a_scope_that_knows_its_limits() {
    let (bundle, unit) = sleeper("system.slice", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 20},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000}});
    });
    start(&bundle);
    let group = property(&unit, "ControlGroup");
    assert_eq!(group, format!("/system.slice/{unit}"));
    for (name, value) in [
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "20"),
        ("CPUWeight", "100"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("DevicePolicy", "strict"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let file = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{group}/{name}")).expect("the cgroup is there");
    assert_eq!(file("memory.max"), "67108864\n");

    bundle
        .runtime(&["update", "--memory", "48M", "--pids-limit", "-1", bundle.id()])
        .ok();
    // What systemd knows it writes again; what it did not know would be lost now.
    Command::new("systemctl").arg("daemon-reload").finish().ok();
    assert_eq!(
        (property(&unit, "MemoryMax").as_str(), file("memory.max").as_str()),
        ("50331648", "50331648\n")
    );
    assert_eq!(
        (property(&unit, "TasksMax").as_str(), file("pids.max").as_str()),
        ("infinity", "max\n")
    );
    bundle
        .runtime(&["exec", bundle.id(), "sh", "-c", "echo > /dev/null"])
        .ok();

    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!fs::exists(format!("/sys/fs/cgroup{group}")).expect("it can be asked"));
}

/// An empty scope ends by itself; in this one there is somebody else, whom the runtime does not know.
#[test]
fn a_deleted_containers_unit_is_stopped_and_whoever_is_in_it_ends() {
    let (bundle, unit) = sleeper("system.slice", |_| {});
    start(&bundle);
    let group = format!("/sys/fs/cgroup{}", property(&unit, "ControlGroup"));
    let mut stranger = bundle.spawn(Command::new("sleep").arg("600"));
    fs::write(format!("{group}/cgroup.procs"), stranger.id().to_string()).expect("root may move it");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!fs::exists(group).expect("it can be asked"));
    let ended = wait::until("it has ended", 10, || stranger.try_wait().expect("a child"));
    assert_eq!(ended.signal(), Some(15));
}

fn is_listed_as_failed(unit: &str) -> bool {
    let list = ["list-units", "--failed", "--plain", "--no-legend", unit];
    !Command::new("systemctl").args(list).finish().ok().is_empty()
}

/// It would be listed until the next boot.
#[test]
fn a_unit_that_has_failed_is_forgotten_with_its_container() {
    let (bundle, unit) = sleeper("system.slice", |config| {
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "uint64 1"});
    });
    start(&bundle);
    // A first process is deaf to the signal that systemd sends first, and so does not end in time.
    Command::new("systemctl").args(["stop", &unit]).finish().ok();
    assert_eq!(property(&unit, "ActiveState"), "failed");
    assert!(is_listed_as_failed(&unit));
    assert_eq!(bundle.state()["status"], "stopped");
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert!(!is_listed_as_failed(&unit));
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

#[test]
fn a_unit_that_has_failed_makes_room_for_a_container_of_its_name() {
    /// Somebody else's: no container takes it along.
    struct Failed<'a>(&'a str);
    impl Drop for Failed<'_> {
        fn drop(&mut self) {
            for verb in ["stop", "reset-failed"] {
                Command::new("systemctl").args([verb, self.0]).finish();
            }
        }
    }
    let (bundle, unit) = sleeper("system.slice", |_| {});
    let _failed = Failed(&unit);
    let run = [
        "--scope",
        "--unit",
        &unit,
        "--property",
        "RuntimeMaxSec=1",
        "sleep",
        "600",
    ];
    Command::new("systemd-run").args(run).finish();
    wait::until_true("systemd has ended it", 60, || {
        property(&unit, "ActiveState") == "failed"
    });
    start(&bundle);
    assert_eq!(property(&unit, "ActiveState"), "active");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert!(!is_listed_as_failed(&unit));
}

#[test]
fn who_manages_cgroups_can_be_said_in_the_words_of_crun() {
    let (bundle, unit) = sleeper("system.slice", |_| {});
    let path = bundle.path();
    let managed_by = |manager: &str| {
        let run = ["--cgroup-manager", manager, "run", "--detach", "--bundle", &path];
        bundle.runtime(&[&run[..], &[bundle.id()]].concat())
    };
    // Where the container is, and what systemd knows of its unit.
    let seen = || {
        let pid = bundle.state()["pid"].to_string();
        let place = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        let known = property(&unit, "LoadState");
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        (place, known)
    };
    managed_by("systemd").ok();
    assert_eq!(seen(), (format!("0::/system.slice/{unit}\n"), "loaded".into()));
    managed_by("cgroupfs").code_is(1).says("--systemd-cgroup");
    let directories = format!("/davit-tests/{}", bundle.id());
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(directories));
    managed_by("cgroupfs").ok();
    assert_eq!(seen(), (format!("0::{directories}\n"), "not-found".into()));
    managed_by("disabled").ok();
    let own = fs::read_to_string("/proc/self/cgroup").expect("it runs");
    assert_eq!(seen(), (own, "not-found".into()));
}

/// Else systemd would write it again whenever it looks at the unit.
#[test]
fn of_an_update_that_is_refused_systemd_knows_nothing_afterwards() {
    let (bundle, unit) = sleeper("system.slice", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 20}});
    });
    start(&bundle);
    // Somebody else's limit, of which the runtime does not know.
    let set = ["set-property", "--runtime", &unit, "TasksMax=50"];
    Command::new("systemctl").args(set).finish().ok();
    let group = property(&unit, "ControlGroup");
    let file = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{group}/{name}")).expect("the cgroup is there");
    let seen = || {
        let known = ["MemoryMax", "MemoryLow", "TasksMax", "AllowedCPUs"].map(|name| property(&unit, name));
        (known, ["memory.max", "memory.low", "pids.max"].map(file))
    };
    let before = seen();
    assert_eq!(before.0, ["67108864", "0", "50", ""]);
    let limits = ["--memory", "48M", "--memory-reservation", "16M", "--pids-limit", "30"];
    // The kernel refuses the first, in the middle; the other when all the rest is done.
    for (refused, text) in [
        (["--cpuset-cpus", "4000"], "cpuset.cpus"),
        (["--l3-cache-schema", "L3:0=f"], "not enabled"),
    ] {
        let update = [&["update"], &limits[..], &refused, &[bundle.id()]].concat();
        bundle.runtime(&update).code_is(1).says(text);
        assert_eq!(seen(), before, "{text}");
        Command::new("systemctl").arg("daemon-reload").finish().ok();
        assert_eq!(seen(), before, "{text}");
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn shares_end_the_idleness_of_a_unit() {
    let (bundle, unit) = sleeper("system.slice", |config| {
        config["linux"]["resources"] = json!({"cpu": {"shares": 1024}});
    });
    start(&bundle);
    let group = property(&unit, "ControlGroup");
    let seen = || {
        let file = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{group}/{name}")).expect("it is there");
        (property(&unit, "CPUWeight"), file("cpu.idle"))
    };
    bundle.runtime(&["update", "--cpu-idle", "1", bundle.id()]).ok();
    assert_eq!(seen(), ("idle".into(), "1\n".into()));
    bundle.runtime(&["update", "--cpu-share", "512", bundle.id()]).ok();
    assert_eq!(seen(), ("59".into(), "0\n".into()));
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn slices_nest_and_annotations_are_properties() {
    let (bundle, unit) = sleeper("davit-tests.slice", |config| {
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'"});
    });
    start(&bundle);
    assert_eq!(
        property(&unit, "ControlGroup"),
        format!("/davit.slice/davit-tests.slice/{unit}")
    );
    assert_eq!(property(&unit, "TimeoutStopUSec"), "7s");
    assert_eq!(property(&unit, "CollectMode"), "inactive-or-failed");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    Command::new("systemctl").args(["stop", "davit.slice"]).finish().ok();
}

#[test]
fn a_path_or_a_property_that_is_none_is_refused() {
    for (path, annotation, text) in [
        ("/a/b", "true", "slice:prefix:name"),
        ("a.mount:b:c", "true", "invalid slice name"),
        (
            "system.slice:davit:x",
            "bare words",
            "org.systemd.property.DefaultDependencies",
        ),
    ] {
        let (bundle, _) = sleeper("system.slice", |config| {
            config["linux"]["cgroupsPath"] = json!(path);
            config["annotations"] = json!({"org.systemd.property.DefaultDependencies": annotation});
        });
        let args = ["--systemd-cgroup", "run", "--bundle", &bundle.path(), bundle.id()];
        bundle.runtime(&args).code_is(1).says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new());
    }
}

/// Runs a container over a bus that behaves like this; how it ends, and after what time.
fn over_a_bus_that(behaves: fn(std::os::unix::net::UnixStream)) -> (String, Duration) {
    let (bundle, unit) = sleeper("system.slice", |_| {});
    let socket = bundle.file("bus");
    let listener = UnixListener::bind(&socket).expect("the bundle is ours");
    // Left behind with the test: it waits for whoever may still connect.
    spawn(move || listener.incoming().flatten().for_each(behaves));
    let begin = Instant::now();
    let path = bundle.path();
    let ended = bundle
        .command(&["--systemd-cgroup", "run", "--bundle", &path, bundle.id()])
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={socket}"))
        .finish()
        .code_is(1);
    let time = begin.elapsed();
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(property(&unit, "ActiveState"), "inactive");
    (ended.stderr, time)
}

#[test]
fn a_bus_that_closes_fails_the_container_and_leaves_nothing() {
    let (text, _) = over_a_bus_that(drop);
    assert!(text.contains("the bus has closed the connection"), "{text}");
    let (text, _) = over_a_bus_that(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"OK 1234\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    assert!(text.contains("the bus has closed the connection"), "{text}");
}

#[test]
fn a_bus_that_never_answers_fails_the_container_in_the_end() {
    let (text, time) = over_a_bus_that(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(text.contains("no answer from the bus within 10 seconds"), "{text}");
    assert!(time >= Duration::from_secs(9), "{time:?}");
}

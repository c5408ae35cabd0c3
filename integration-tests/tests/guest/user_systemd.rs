//! An ordinary user's own systemd, which makes the cgroups of that user's containers.
//!
//! The tests run below a service of the machine, as whoever comes by `su` does: neither may the user write there, nor move a
//! process from there to where the own systemd has its units.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use davit_integration_tests::{Finished, Run, wait};
use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A user with a systemd, a bundle and a runtime of their own.
struct User {
    bundle: Bundle,
    runtime: PathBuf,
    id: u32,
}

impl User {
    /// The config is `spec --rootless`'s, with a program that sleeps.
    fn new() -> Self {
        let bundle = Bundle::new();
        let number: u32 = bundle.id().trim_start_matches("dvt").parse().expect("a number");
        let user = User {
            runtime: bundle.private_runtime(),
            id: 50_000 + number,
            bundle,
        };
        let (id, folder) = (user.id.to_string(), user.bundle.path());
        let make = ["--uid", &id, "--user-group", "--no-create-home", "--home-dir", &folder];
        Command::new("useradd").args(make).arg(user.bundle.id()).finish().ok();
        fs::remove_file(user.bundle.file("config.json")).expect("it was written");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("the bundle is ours");
        let owner = format!("{id}:{id}");
        Command::new("chown").args(["-R", "-h", &owner, &folder]).finish().ok();
        Command::new("systemctl").args(["start", &user.manager()]).finish().ok();
        user.runtime(&["spec", "--rootless", "--bundle", &folder]).ok();
        user.bundle.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["sleep", "600"]);
            config["linux"]["cgroupsPath"] = json!(format!("user.slice:davit:{}", user.bundle.id()));
        });
        user
    }

    /// The unit of the user's systemd.
    fn manager(&self) -> String {
        format!("user@{}.service", self.id)
    }

    /// The folder of the user's bus.
    fn run_folder(&self) -> String {
        format!("/run/user/{}", self.id)
    }

    /// The unit of the container.
    fn unit(&self) -> String {
        format!("davit-{}.scope", self.bundle.id())
    }

    /// A program that the user runs, without a word on where the bus is.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let id = self.id.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(program)
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    /// A command of the runtime.
    fn runtime_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.runtime);
        command.arg("--root").arg(self.bundle.root()).args(args);
        command
    }

    fn runtime(&self, args: &[&str]) -> Finished {
        self.runtime_command(args)
            .env("XDG_RUNTIME_DIR", self.run_folder())
            .finish()
    }

    fn start(&self) {
        self.start_with("XDG_RUNTIME_DIR", &self.run_folder());
    }

    /// Starts the container, where one variable says where the bus is.
    fn start_with(&self, name: &str, value: &str) {
        let mut run = self.runtime_command(&["--systemd-cgroup", "run", "--detach"]);
        run.args(["--bundle", &self.bundle.path(), self.bundle.id()])
            .env(name, value);
        self.bundle.finish_into_files(&mut run).ok();
    }

    /// What the user's systemd says of a unit.
    fn property(&self, unit: &str, name: &str) -> String {
        let mut show = self.command("systemctl");
        show.args(["--user", "show", "--value", "--property", name, unit])
            .env("XDG_RUNTIME_DIR", self.run_folder());
        show.finish().ok()
    }

    /// The folder in which the user's systemd has its units.
    fn cgroups(&self) -> PathBuf {
        PathBuf::from(format!(
            "/sys/fs/cgroup/user.slice/user-{}.slice/{}",
            self.id,
            self.manager()
        ))
    }

    /// A file of the container's cgroup.
    fn file(&self, name: &str) -> String {
        let path = self.cgroups().join("user.slice").join(self.unit()).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", self.bundle.id()]).ok()).expect("JSON")
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.runtime(&["delete", "--force", self.bundle.id()]);
        Command::new("systemctl").args(["stop", &self.manager()]).finish();
        Command::new("userdel").arg(self.bundle.id()).finish();
    }
}

#[test]
fn a_users_container_is_a_scope_of_the_users_own_systemd() {
    let user = User::new();
    let (id, unit) = (user.bundle.id(), user.unit());
    user.bundle.edit(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 20}});
    });
    user.start();
    let below = user.cgroups().join("user.slice").join(&unit);
    let group = user.property(&unit, "ControlGroup");
    assert_eq!(format!("/sys/fs/cgroup{group}"), below.to_str().expect("text"));
    for (name, value) in [
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("TasksMax", "20"),
    ] {
        assert_eq!(user.property(&unit, name), value, "{name}");
    }
    assert_eq!(
        (user.file("memory.max").as_str(), user.file("pids.max").as_str()),
        ("67108864\n", "20\n")
    );
    let pid = user.state()["pid"].to_string();
    assert_eq!(user.file("cgroup.procs").trim_end(), pid);
    // The machine's systemd has no part in it.
    let mut machines = Command::new("systemctl");
    machines.args(["show", "--value", "--property", "LoadState", &unit]);
    assert_eq!(machines.finish().ok(), "not-found");

    user.runtime(&["update", "--memory", "48M", "--pids-limit", "30", id])
        .ok();
    assert_eq!(
        ["MemoryMax", "TasksMax"].map(|name| user.property(&unit, name)),
        ["50331648", "30"]
    );
    assert_eq!(
        (user.file("memory.max").as_str(), user.file("pids.max").as_str()),
        ("50331648\n", "30\n")
    );

    user.runtime(&["delete", "--force", id]).ok();
    assert_eq!(user.property(&unit, "LoadState"), "not-found");
    assert!(!below.exists());
}

#[test]
fn a_users_bus_is_where_either_variable_says_and_without_both_the_user_is_told() {
    let user = User::new();
    let (path, id) = (user.bundle.path(), user.bundle.id());
    // Without a word on its place, the unit has the name and the slice that runc gives it.
    user.bundle.edit(|config| config["linux"]["cgroupsPath"] = Value::Null);
    let address = format!("unix:path={}/bus", user.run_folder());
    user.start_with("DBUS_SESSION_BUS_ADDRESS", &address);
    let group = user.property(&format!("runc-{id}.scope"), "ControlGroup");
    assert!(
        group.ends_with(&format!("/{}/user.slice/runc-{id}.scope", user.manager())),
        "{group:?}"
    );
    user.runtime(&["delete", "--force", id]).ok();

    let run = ["--systemd-cgroup", "run", "--bundle", &path, id];
    for folder in [None, Some(&path)] {
        let mut run = user.runtime_command(&run);
        if let Some(folder) = folder {
            run.env("XDG_RUNTIME_DIR", folder);
        }
        run.finish().code_is(1).says("cannot find the user's bus");
    }
    assert_eq!(user.runtime(&["list", "--quiet"]).ok(), "");
}

#[test]
fn a_users_container_can_be_deleted_where_the_bus_is_not_known() {
    let user = User::new();
    user.start();
    let (unit, id) = (user.unit(), user.bundle.id());
    let update = ["update", "--pids-limit", "30", id];
    let update = user.runtime_command(&update).finish().code_is(1);
    update
        .says("unable to set unit properties")
        .says("cannot find the user's bus");
    user.runtime_command(&["delete", "--force", id]).finish().ok();
    assert!(!user.cgroups().join("user.slice").join(&unit).exists());
    wait::until_true("systemd sees that the scope is empty", 30, || {
        user.property(&unit, "LoadState") == "not-found"
    });
}

#[test]
fn who_enters_a_users_container_is_moved_into_its_scope_by_systemd() {
    let user = User::new();
    let id = user.bundle.id();
    user.start();
    let procs = user.cgroups().join("user.slice").join(user.unit()).join("cgroup.procs");
    let mut moving = user.command("busybox");
    moving.args(["sh", "-c", "echo $$ > \"$0\""]).arg(&procs);
    moving.finish().code_is(1).says("Permission denied");
    // The container's own cgroup is the root of what it sees.
    let seen = || user.runtime_command(&["exec", id, "cat", "/proc/self/cgroup"]);
    let inside = seen().env("XDG_RUNTIME_DIR", user.run_folder()).finish().ok();
    assert_eq!(inside, "0::/");
    let sleeper = ["exec", "--detach", "--pid-file"];
    let file = user.bundle.file("pid");
    let mut sleeper = user.runtime_command(&[&sleeper[..], &[&file, id, "sleep", "600"]].concat());
    sleeper.env("XDG_RUNTIME_DIR", user.run_folder());
    let null = Stdio::null;
    let status = sleeper.stdin(null()).stdout(null()).stderr(null()).status();
    assert!(status.expect("setpriv is installed").success());
    let entered = fs::read_to_string(&file).expect("it was asked for");
    assert!(user.file("cgroup.procs").lines().any(|line| line == entered));

    // As with runc, it runs outside where nobody moves it.
    let outside = seen().finish().ok();
    assert!(outside.ends_with("/vm-tests.service"), "{outside}");
}

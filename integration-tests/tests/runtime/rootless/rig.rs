//! An ordinary user with a bundle, and cgroups that were given to one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use davit_integration_tests::{Finished, Run};
use serde_json::{Value, json};

use crate::bundle::Bundle;

pub const USER: u32 = 54_321;
pub const GROUP: u32 = 54_322;
/// The first of the ids that the user may map beside the own ones.
pub const GRANTED: u32 = 300_000;

/// A bundle that belongs to the user, with a runtime of the user's own.
pub struct Rootless {
    pub bundle: Bundle,
    pub runtime: PathBuf,
}

impl Rootless {
    pub fn new() -> Self {
        let bundle = Bundle::new();
        let runtime = bundle.private_runtime();
        let folder = bundle.path();
        fs::create_dir(bundle.file("run")).expect("the bundle is ours");
        fs::remove_file(bundle.file("config.json")).expect("it was written");
        let names = [
            (
                "passwd",
                format!("root:x:0:0::/:/bin/sh\nordinary:x:{USER}:{GROUP}::/:/bin/sh\n"),
            ),
            ("subuid", format!("ordinary:{GRANTED}:1000\n")),
            ("subgid", format!("ordinary:{GRANTED}:1000\n")),
        ];
        for (name, text) in names {
            fs::write(bundle.file(name), text).expect("the bundle is ours");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("the bundle is ours");
        let owner = format!("{USER}:{GROUP}");
        Command::new("chown").args(["-R", "-h", &owner, &folder]).finish().ok();
        let rootless = Rootless { bundle, runtime };
        rootless.run_as_user(&["spec", "--rootless", "--bundle", &folder]).ok();
        rootless
            .bundle
            .edit(|config| config["process"]["terminal"] = json!(false));
        rootless
    }

    /// A command of the runtime, run by the user.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                &USER.to_string(),
                "--regid",
                &GROUP.to_string(),
                "--clear-groups",
            ])
            .arg(&self.runtime)
            .args(args)
            .env("XDG_RUNTIME_DIR", self.bundle.file("run"));
        command
    }

    pub fn run_as_user(&self, args: &[&str]) -> Finished {
        self.command(args).finish()
    }

    /// Runs it where the user has a name and is granted ids.
    pub fn run_with_name(&self, args: &[&str]) -> Finished {
        self.command_with_name(args).finish()
    }

    pub fn command_with_name(&self, args: &[&str]) -> Command {
        let script = "for f in passwd subuid subgid; do mount --bind \"$0/$f\" /etc/$f || exit 1; done; exec \"$@\"";
        let inner = self.command(args);
        let mut outer = Command::new("unshare");
        outer
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(self.bundle.path())
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("XDG_RUNTIME_DIR", self.bundle.file("run"));
        outer
    }

    /// The user's command, begun in a cgroup.
    pub fn within(&self, cgroup: &Path, inner: &Command) -> Command {
        let mut outer = Command::new("sh");
        outer
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(cgroup)
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("XDG_RUNTIME_DIR", self.bundle.file("run"));
        outer
    }

    pub fn run(&self, args: &[&str]) -> Finished {
        self.bundle.edit(|config| config["process"]["args"] = json!(args));
        self.run_as_user(&["run", "--bundle", &self.bundle.path(), self.bundle.id()])
    }

    pub fn detached(&self, verb: &[&str]) {
        let folder = self.bundle.path();
        let args = [verb, &["--bundle", &folder, self.bundle.id()]].concat();
        self.bundle.finish_into_files(&mut self.command(&args)).ok();
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.run_as_user(&["state", self.bundle.id()]).ok()).expect("JSON")
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        self.run_as_user(&["delete", "--force", self.bundle.id()]);
    }
}

/// Cgroups that root has made for a test, the upper first. They go when this does, after the container.
pub struct Given<'a> {
    pub rootless: &'a Rootless,
    pub folders: Vec<PathBuf>,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let bundle = &self.rootless.bundle;
        self.rootless.run_as_user(&["delete", "--force", bundle.id()]);
        let inner = ["escaped", "box"].map(|name| self.folders[0].join(name));
        let end = Instant::now() + Duration::from_secs(5);
        for folder in inner.iter().chain(self.folders.iter().rev()) {
            // Whoever was killed may take a moment to leave.
            while folder.exists() && fs::remove_dir(folder).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

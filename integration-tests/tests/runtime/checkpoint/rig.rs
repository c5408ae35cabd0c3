//! A container to write down and to restore, and the criu to do it with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use davit_integration_tests::{Finished, Run, criu, program, wait};
use serde_json::json;

use crate::{bundle::Bundle, foreground::with};

/// A bundle, and the criu to use with it.
pub struct Rig {
    pub bundle: Bundle,
    /// Where criu and what it calls are.
    pub path: String,
    /// How it holds the network still, as a flag.
    pub network_lock: &'static [&'static str],
}

impl Rig {
    /// `None`, with a word about it, where no criu works.
    pub fn new() -> Option<Self> {
        let bundle = Bundle::new();
        let path = criu::search_path(Path::new(&bundle.file("programs")))?;
        Some(Rig {
            path,
            bundle,
            network_lock: network_lock(),
        })
    }

    pub fn install(&self, name: &str, script: &str, folder: &Path) {
        program::write(folder.join(name), script);
    }

    /// Whether criu, with this kernel, works or has a feature.
    pub fn criu_has(&self, feature: Option<&str>) -> bool {
        criu::works(&self.path, feature)
    }

    /// Its major and minor version.
    pub fn criu_version(&self) -> (u32, u32) {
        let said = Command::new("criu")
            .arg("--version")
            .env("PATH", &self.path)
            .finish()
            .ok();
        let version = said.lines().find_map(|line| line.strip_prefix("Version: "));
        let mut numbers = version
            .expect("a version")
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// A command of the runtime. criu can only dump streams that it can name: so they are none.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bundle.command(&["--log"]);
        command.arg(self.log()).args(args).env("PATH", &self.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A checkpoint with a `--status-fd`, which is the standard output of what is returned.
    pub fn with_status(&self, args: &[&str]) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 9>&1 >/dev/null", "sh"]);
        let mut command = with(shell, &self.command(args));
        command
            .args(["--status-fd", "9", self.bundle.id()])
            .env("PATH", &self.path);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    pub fn log(&self) -> PathBuf {
        self.bundle.file("log").into()
    }

    /// Runs it; what it has to say is in the log.
    pub fn runtime(&self, args: &[&str]) -> Finished {
        self.finish(self.command(args))
    }

    /// The same with a command.
    pub fn finish(&self, mut command: Command) -> Finished {
        let _ = fs::remove_file(self.log());
        let line = format!("{command:?}");
        let status = command.status().expect("the runtime is built");
        Finished {
            code: status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr: fs::read_to_string(self.log()).unwrap_or_default(),
            line,
        }
    }

    pub fn args(&self, script: &str) {
        self.bundle
            .edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    }

    pub fn run(&self, script: &str) {
        self.args(script);
        self.runtime(&["run", "--detach", "--bundle", &self.bundle.path(), self.bundle.id()])
            .ok();
    }

    pub fn checkpoint(&self, more: &[&str]) -> Finished {
        self.finish(self.checkpoint_command(more))
    }

    pub fn checkpoint_command(&self, more: &[&str]) -> Command {
        let images = self.bundle.file("images");
        let mut args = vec!["checkpoint", "--image-path", &images];
        args.extend(self.network_lock.iter().chain(more));
        args.push(self.bundle.id());
        self.command(&args)
    }

    pub fn restore(&self, more: &[&str]) -> Finished {
        self.finish(self.restore_command(more))
    }

    pub fn restore_command(&self, more: &[&str]) -> Command {
        let (images, bundle) = (self.bundle.file("images"), self.bundle.path());
        let mut args = vec!["restore", "--detach", "--image-path", &images, "--bundle", &bundle];
        args.extend(self.network_lock.iter().chain(more));
        args.push(self.bundle.id());
        self.command(&args)
    }

    pub fn exec(&self, args: &[&str]) -> String {
        let mut command = self.bundle.command(&["exec", self.bundle.id()]);
        command.args(args).finish().ok()
    }

    pub fn number(&self, file: &str) -> u64 {
        let text = fs::read_to_string(self.bundle.rootfs().join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub fn counts_on(&self) {
        let before = self.number("count");
        wait::until_true("it counts on", 30, || self.number("count") > before);
    }

    /// Waits until the criu of a runtime that was killed has given up, and let go of the images.
    pub fn has_no_criu(&self) {
        let images = self.bundle.file("images");
        let entries = |path: &str| {
            fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        let is_in_images = |fd: PathBuf| fs::read_link(fd).is_ok_and(|file| file.starts_with(&images));
        let is_criu = |process: PathBuf| entries(&process.join("fd").to_string_lossy()).any(is_in_images);
        wait::until_true("criu has ended", 20, || !entries("/proc").any(is_criu));
    }

    pub fn is_gone(&self) {
        assert_eq!(self.bundle.ids(), Vec::<String>::new());
        assert_eq!(self.bundle.cgroups(), Vec::<String>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        assert!(!mounts.contains(&self.bundle.path()), "{mounts}");
    }
}

/// criu holds connections still with iptables unless it is told otherwise, and not every machine has that.
fn network_lock() -> &'static [&'static str] {
    match ["/usr/sbin", "/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join("iptables-restore").exists())
    {
        true => &[],
        false => &["--network-lock", "nftables"],
    }
}

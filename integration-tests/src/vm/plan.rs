//! Which tests run where, and the disk that brings them into the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use davit_integration_tests::workspace::{self, Profile};
use serde_json::{Value, json};

use super::{base, policy};

/// What the guest runs.
const RUN: &str = include_str!("run.sh");

/// A start of the machine, and what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The kernel's defaults, and no systemd.
    Plain,
    /// The same once more: each has half of the runtime's tests, and they run beside each other.
    Again,
    /// systemd on cgroup v2.
    Systemd,
    /// systemd on v1 hierarchies.
    Hybrid,
    /// SELinux, enforcing.
    Selinux,
}

impl Boot {
    /// In the order in which they are started, the longest first.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Again, Self::Systemd, Self::Hybrid, Self::Selinux];

    /// For the guest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Again => "again",
            Self::Systemd => "systemd",
            Self::Hybrid => "hybrid",
            Self::Selinux => "selinux",
        }
    }

    /// For the user.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Plain => "pure cgroup v2 and AppArmor",
            Self::Again => "pure cgroup v2 and AppArmor, for the rest of the tests",
            Self::Systemd => "pure cgroup v2 and systemd",
            Self::Hybrid => "v1 hierarchies beside cgroup v2, and systemd",
            Self::Selinux => "pure cgroup v2 and SELinux",
        }
    }
}

/// A module of tests, and the start in which it runs.
type Starts = &'static [(&'static str, Option<Boot>)];

/// No start of the machine: these run outside of it alone.
const HOST: Option<Boot> = None;
const PLAIN: Option<Boot> = Some(Boot::Plain);
const AGAIN: Option<Boot> = Some(Boot::Again);

/// The test programs: package, target, and for each module of tests (`""` for all) the start in which it runs.
const PROGRAMS: &[(&str, &str, Starts)] = &[
    ("davit-cgroup", "on_this_machine", &[("", PLAIN)]),
    ("davit-cgroup", "against_cgroups_rs", &[("", PLAIN)]),
    (
        "davit-integration-tests",
        "runtime",
        &[
            // They read the runtime's sources, which are not there, and kill it several hundred times.
            ("crashes::", HOST),
            // They compile programs for the container, and ask for more than the Landlock of this kernel.
            ("landlock::", HOST),
            ("notify_socket::", HOST),
            ("states::a_first_thread", HOST),
            ("seccomp::the_kernel_does_what_an_action_says", HOST),
            ("seccomp::a_call_that_is_newer_than_the_profile", HOST),
            ("checkpoint::what_criu_must_be_allowed_to_do", HOST),
            // They show here what they show there, where each takes many seconds.
            ("checkpoint::requests::", HOST),
            ("checkpoint::outside::", HOST),
            ("checkpoint::connections::", HOST),
            ("checkpoint::pages::a_container_runs_on", HOST),
            ("checkpoint::pages::pages_", HOST),
            ("resctrl::", HOST),
            // They compile a program that starts the runtime.
            ("foreground::what_cannot_be_waited_for", HOST),
            ("checkpoint::a_restored_container_that_cannot_be_waited_for", HOST),
            // Half of the rest.
            ("namespaces::", AGAIN),
            ("net_devices::", AGAIN),
            ("orphans::", AGAIN),
            ("priorities::", AGAIN),
            ("process::", AGAIN),
            ("rootless::", AGAIN),
            ("seccomp::", AGAIN),
            ("security::", AGAIN),
            ("states::", AGAIN),
            ("streams::", AGAIN),
            ("time_namespaces::", AGAIN),
            ("update::", AGAIN),
            ("user_namespaces::", AGAIN),
            ("", PLAIN),
        ],
    ),
    (
        "davit-integration-tests",
        "guest",
        &[
            ("v2::", PLAIN),
            ("apparmor::", PLAIN),
            ("systemd::", Some(Boot::Systemd)),
            ("user_systemd::", Some(Boot::Systemd)),
            ("selinux::", Some(Boot::Selinux)),
            ("hybrid::", Some(Boot::Hybrid)),
        ],
    ),
];

/// Tests of one program that run in one start of the machine.
#[derive(Debug)]
pub struct Step {
    /// Unique: the program and the start.
    pub name: String,
    /// The full names of the tests.
    pub tests: Vec<String>,
    boot: Boot,
    program: PathBuf,
}

/// All that is to run.
#[derive(Debug)]
pub struct Plan(Vec<Step>);

impl Plan {
    /// Builds the test programs and asks each for its tests.
    pub fn build(filters: &[String]) -> Result<Self> {
        workspace::build_static("davit-runtime", "davit-runtime", Profile::Debug)?;
        let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
        let mut steps = Vec::new();
        for (package, target, modules) in PROGRAMS {
            let program = build(package, target)?;
            let tests = list(&program)?;
            let known = |name: &str| modules.iter().any(|(module, _)| name.starts_with(module));
            if let Some(stray) = tests.iter().find(|name| !known(name)) {
                anyhow::bail!("{target}: no start of the machine is named for the test {stray}");
            }
            for boot in Boot::ALL {
                let now = |name: &String| {
                    let module = modules.iter().find(|(module, _)| name.starts_with(module));
                    module.is_some_and(|(_, when)| *when == Some(boot)) && wanted(name)
                };
                let tests: Vec<_> = tests.iter().filter(|name| now(name)).cloned().collect();
                if !tests.is_empty() {
                    steps.push(Step {
                        name: format!("{target}-{}", boot.name()),
                        tests,
                        boot,
                        program: program.clone(),
                    });
                }
            }
        }
        Ok(Self(steps))
    }

    /// Whether nothing is to run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something runs in this boot.
    pub fn needs(&self, boot: Boot) -> bool {
        self.0.iter().any(|step| step.boot == boot)
    }

    /// In order.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Makes a disk image with the tests, the programs under test, and this program, which runs them in the guest.
    pub fn disk(&self, folder: &Path) -> Result<PathBuf> {
        let content = folder.join(format!("programs-{}", std::process::id()));
        sweep(folder)?;
        fs::create_dir_all(content.join("programs"))?;
        let runtime = workspace::tested_programs().join("davit-runtime");
        fs::copy(&runtime, content.join("programs/davit-runtime")).with_context(|| format!("{runtime:?}"))?;
        // By the link, not by the name that it shows: cargo may just have put another build there.
        fs::copy("/proc/self/exe", content.join("xtask"))?;
        for step in &self.0 {
            let name = step.program.file_name().context("a program has a name")?;
            fs::copy(&step.program, content.join(name))?;
        }
        let steps = self.0.iter().map(|step| {
            let program = step.program.file_name().map(|name| name.to_string_lossy().into_owned());
            json!({"name": step.name, "boot": step.boot.name(), "program": program, "tests": step.tests})
        });
        base::executable(&content.join("run"), RUN)?;
        fs::write(content.join("policy.cil"), policy::text())?;
        fs::write(content.join("plan.json"), Value::from_iter(steps).to_string())?;
        let disk = content.with_extension("disk");
        base::disk_of(&content, &disk, 64)?;
        fs::remove_dir_all(content)?;
        Ok(disk)
    }
}

/// Removes what runs that were killed have left.
fn sweep(folder: &Path) -> Result<()> {
    for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owner = name.strip_prefix("programs-").and_then(|rest| rest.split('.').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
    Ok(())
}

/// Builds a test program, and says where it is.
fn build(package: &str, target: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace::root())
        .args(["test", "--locked", "--quiet", "--no-run", "--message-format=json"])
        .args(["--package", package, "--test", target])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{target} was not built:\n{}",
        rendered(&messages)
    );
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    artifacts
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo named no program for {target}"))
}

/// What the compiler says, out of cargo's messages.
fn rendered(messages: &str) -> String {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| message["message"]["rendered"].as_str().map(str::to_owned))
        .collect()
}

/// The names of a program's tests, those that are ignored excepted.
fn list(program: &Path) -> Result<Vec<String>> {
    let names = |flags: &[&str]| -> Result<Vec<String>> {
        let output = Command::new(program)
            .args(["--list", "--format", "terse"])
            .args(flags)
            .output()?;
        ensure!(output.status.success(), "{program:?} --list: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    };
    let ignored = names(&["--ignored"])?;
    Ok(names(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}

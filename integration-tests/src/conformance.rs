//! `cargo xtask conformance`: containerd's own client suite against our manager, shim and runtime, or against the real
//! containerd with our shim and runtime.
//!
//! Everything runs among the peers, in namespaces of its own: the suite's two fixed places lie in our scratch folder, and of
//! processes, which it looks for by name, it sees its own. A test
//! that fails or is skipped is a failure of ours unless [`expected`] says why it cannot be otherwise.

mod expected;
mod go;
mod images;
mod report;
mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use davit_integration_tests::{Registry, Scratch, criu, packages, peers, program, sweep, workspace};

use expected::Conditions;
use report::Report;
use suite::Suite;

/// The suite's state folder, which no flag changes.
const STATE: &str = "/run/containerd-test";

/// Where our runtime keeps its state: what a test that fails leaves there must not meet the next run.
const RUNTIME_STATE: &str = "/run/davit/runc";

/// `lsof -p PID`, as far as the suite reads it: the peers have none.
const LSOF: &str = "\
#!/bin/sh
for fd in /proc/$2/fd/*; do [ -p $fd ] && echo $fd FIFO; done
";

/// Which manager the suite speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Ours,
    Containerds,
}

struct Options {
    manager: Manager,
    source: Option<PathBuf>,
    filter: Option<String>,
}

/// Makes what the suite needs, runs it, and says what came out otherwise than expected.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    packages::install(packages::TEST)?;
    packages::install(packages::SUITES)?;
    peers::set_up()?;
    workspace::build(workspace::Profile::Debug)?;
    let lock = fs::File::create(peers::folder().with_file_name("conformance.lock"))?;
    lock.try_lock()
        .context("another run of the suite has its places: it can be there once")?;
    let _cgroups = sweep::TopCgroups::now();
    let scratch = Scratch::new();
    let suite = Suite::build(options.source.as_deref(), &scratch.join("suite"))?;
    let registry = Registry::start(&scratch);
    let list = images::push(&registry, &scratch.join("images"))?;
    let conditions = Conditions {
        manager: options.manager,
        criu: criu::works_among_peers(),
    };
    let output = scratch.join("output");
    start(&scratch, &suite, &list, conditions, options.filter.as_deref())
        .stdout(fs::File::create(&output)?)
        .stderr(fs::File::create(scratch.join("daemon.log"))?)
        .status()
        .context("start the suite")?;
    // Made on the machine itself, since the suite's namespace has its own below it.
    let _ = fs::remove_dir(STATE);
    let report = Report::read(&fs::read_to_string(&output)?);
    let asked = suite.tests(options.filter.as_deref())?;
    conclude(&report, &asked, conditions, &output)
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        manager: Manager::Ours,
        source: None,
        filter: None,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--real-manager" => options.manager = Manager::Containerds,
            "--source" => options.source = Some(rest.next().context("--source takes a folder")?.into()),
            flag if flag.starts_with('-') => {
                bail!("unknown flag {flag}: --real-manager, --source DIR, or a test's name")
            }
            filter if options.filter.is_none() => options.filter = Some(filter.to_owned()),
            more => bail!("one filter, a regular expression, and not {more} besides"),
        }
    }
    Ok(options)
}

/// The suite, with its places below the scratch folder and our programs first on its path.
fn start(scratch: &Scratch, suite: &Suite, list: &Path, conditions: Conditions, filter: Option<&str>) -> Command {
    let programs = programs(scratch, suite, conditions.manager);
    // A shell is the first process there: it collects the shims that have lost theirs.
    let script = format!(
        "mkdir -p {STATE} {RUNTIME_STATE} {0}/state {0}/runc {0}/lib && mount --bind {0}/state {STATE} \
         && mount --bind {0}/runc {RUNTIME_STATE} && mount --bind {0}/lib /var/lib \
         && exec unshare --pid --fork --kill-child --mount-proc sh -c '\"$@\"; exit $?' sh \"$@\"",
        scratch.path().display()
    );
    let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let mut command = peers::command("sh");
    command.args(["-c", &script, "sh", "env", &path]);
    command.arg(format!("{}={}", suite::IMAGES, list.display()));
    command
        .arg("timeout")
        .args(["--kill-after=10", "1500"])
        .arg(&suite.program);
    command.args(["-test.root", "-test.v", "-test.timeout=20m"]);
    if !conditions.criu {
        command.arg("-no-criu");
    }
    if let Some(filter) = filter {
        command.arg(format!("-test.run={filter}"));
    }
    command.stdin(Stdio::null());
    command
}

/// A folder of programs under the names by which the suite, a shim and a failing runtime look for them.
fn programs(scratch: &Scratch, suite: &Suite, manager: Manager) -> PathBuf {
    let built = scratch.shared_programs();
    let folder = scratch.join("path");
    fs::create_dir(&folder).expect("the scratch folder is ours");
    let mut names = vec![
        ("containerd-shim-davit-v1", "containerd-shim-davit-v1"),
        ("containerd-shim-davit-v1", "containerd-shim-runc-v2"),
        ("davit-runtime", "davit-runtime"),
        ("davit-runtime", "runc"),
    ];
    if manager == Manager::Ours {
        names.push(("davit-containerd", "containerd"));
    }
    for (from, to) in names {
        program::copy(built.join(from), &folder.join(to)).expect("a program can be copied");
    }
    program::write(folder.join("lsof"), LSOF);
    program::copy(&suite.failing_runtime, &folder.join("runc-fp")).expect("a program can be copied");
    folder
}

fn conclude(report: &Report, asked: &[String], conditions: Conditions, output: &Path) -> Result<()> {
    let verdict = report.judge(asked, |test| expected::reason(test, conditions));
    print!("{verdict}");
    if verdict.is_as_expected() {
        return Ok(());
    }
    let kept = peers::folder().with_file_name("conformance.out");
    let mut text = fs::read(output)?;
    text.extend(fs::read(output.with_file_name("daemon.log"))?);
    fs::write(&kept, text)?;
    ensure!(
        verdict.is_as_expected(),
        "{} tests came out otherwise than expected; what the suite printed is in {}",
        verdict.unexpected(),
        kept.display()
    );
    Ok(())
}

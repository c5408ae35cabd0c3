//! `cargo xtask test vm`: the tests that need another kernel's set-up than this machine's, in a virtual machine.
//!
//! Debian's kernel boots under software emulation: with pure cgroup v2 and AppArmor below a plain shell as the first process (twice,
//! each with half of the tests), below systemd, and with SELinux; and with systemd on v1 hierarchies. As many of these starts run at a
//! time as there are processors. The root file system is made once per machine, in the cache beside the peers; a run adds a disk with
//! the fresh programs, and what the guest writes is forgotten. The machine has no network.

mod base;
mod boot;
pub mod guest;
mod plan;
mod policy;

use std::{collections::BTreeMap, fs};

use anyhow::{Result, bail, ensure};
use davit_integration_tests::packages;

use self::plan::{Boot, Plan};

/// Runs the tests whose names contain one of `filters`, or all; fails unless every one of them ran and passed.
pub fn test(filters: &[String]) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    packages::install(packages::TEST)?;
    let base = base::set_up()?;
    let plan = Plan::build(filters)?;
    ensure!(!plan.is_empty(), "no test of the virtual machine matches {filters:?}");
    let disk = plan.disk(base.folder())?;
    let mut tally = Tally::default();
    let boots: Vec<_> = Boot::ALL.into_iter().filter(|boot| plan.needs(*boot)).collect();
    for reports in boot::all(&base, &disk, &boots)? {
        tally.add(&reports)?;
    }
    fs::remove_file(disk)?;
    tally.check(&plan)
}

/// What the guests have reported, by the name of a step.
#[derive(Default)]
struct Tally(BTreeMap<String, guest::Report>);

impl Tally {
    fn add(&mut self, reports: &str) -> Result<()> {
        for line in reports.lines() {
            let report = guest::Report::parse(line)?;
            self.0.insert(report.step.clone(), report);
        }
        Ok(())
    }

    /// A step that did not end, ran other tests than planned, or failed, is a failure.
    fn check(&self, plan: &Plan) -> Result<()> {
        let mut wrong = Vec::new();
        let mut passed = 0;
        for step in plan.steps() {
            match self.0.get(&step.name) {
                None => wrong.push(format!("{}: did not come to its end", step.name)),
                Some(report) if report.failed > 0 || !report.success => {
                    wrong.push(format!("{}: {} failed", step.name, report.failed));
                }
                Some(report) if report.passed != step.tests.len() => {
                    let (ran, planned) = (report.passed, step.tests.len());
                    wrong.push(format!("{}: {ran} of {planned} tests ran", step.name));
                }
                Some(report) => passed += report.passed,
            }
        }
        if !wrong.is_empty() {
            bail!("in the virtual machine:\n  {}", wrong.join("\n  "));
        }
        eprintln!("==> {passed} tests passed in the virtual machine");
        Ok(())
    }
}

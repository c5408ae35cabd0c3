//! What runs inside of the machine: the tests of one start, and a line for the host on how each program ended.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The disk with the programs.
const DISK: &str = "/vm";

/// The second serial line: the first is for people.
const HOST: &str = "/dev/ttyS1";

/// How a step has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// The step's name.
    pub step: String,
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Whether the program said so with its exit status too.
    pub success: bool,
}

impl Report {
    /// Reads the line that a guest has written.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("the guest reported {line:?}"))?;
        let number = |name: &str| value[name].as_u64().and_then(|number| usize::try_from(number).ok());
        match (value["step"].as_str(), number("passed"), number("failed")) {
            (Some(step), Some(passed), Some(failed)) => Ok(Self {
                step: step.to_owned(),
                passed,
                failed,
                success: value["success"] == true,
            }),
            _ => bail!("the guest reported {line:?}"),
        }
    }

    fn send(&self) -> Result<()> {
        let line = json!({"step": self.step, "passed": self.passed, "failed": self.failed, "success": self.success});
        let mut host = fs::File::options().write(true).open(HOST)?;
        writeln!(host, "{line}")?;
        Ok(())
    }
}

/// Runs the steps of a start.
pub fn run(boot: &str) -> Result<()> {
    let plan: Value = serde_json::from_slice(&fs::read(Path::new(DISK).join("plan.json"))?)?;
    let steps = plan.as_array().into_iter().flatten();
    for step in steps.filter(|step| step["boot"] == boot) {
        run_step(step)?.send()?;
    }
    Ok(())
}

fn run_step(step: &Value) -> Result<Report> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut report = Report {
        step: text(&step["name"]),
        passed: 0,
        failed: 0,
        success: false,
    };
    println!("--- {}", report.step);
    let mut child = Command::new(Path::new(DISK).join(text(&step["program"])))
        .arg("--exact")
        .args(step["tests"].as_array().into_iter().flatten().map(text))
        .env("DAVIT_PROGRAMS", Path::new(DISK).join("programs"))
        .current_dir("/root")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = result(&line) {
            (report.passed, report.failed) = (passed, failed);
        }
    }
    report.success = child.wait()?.success();
    Ok(report)
}

/// `test result: ok. 3 passed; 0 failed; …`
fn result(line: &str) -> Option<(usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let mut parts = counts.split("; ");
        parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_read_from_the_line_that_ends_a_test_program() {
        let line = "test result: FAILED. 22 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 2.00s";
        assert_eq!(result(line), Some((22, 3)));
        assert_eq!(result("test result: ok"), None);
        assert_eq!(result("test a ... ok"), None);
    }

    #[test]
    fn a_report_that_is_cut_short_is_no_report() {
        assert!(Report::parse(r#"{"step": "a", "passed": 3"#).is_err());
        assert!(Report::parse(r#"{"step": "a", "passed": 3}"#).is_err());
        let whole = Report::parse(r#"{"step": "a", "passed": 3, "failed": 0}"#).expect("a report");
        assert!(!whole.success);
    }
}

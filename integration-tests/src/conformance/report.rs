//! What the suite printed, and how that compares with what was expected.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// The end of every test that reported one.
#[derive(Debug, Default)]
pub(super) struct Report {
    outcomes: BTreeMap<String, Outcome>,
    /// The lines of failed subtests, below the test that they belong to.
    failed_parts: BTreeMap<String, Vec<String>>,
}

/// A report beside the expectations.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Tests that did not pass, and why that is right.
    explained: Vec<(String, &'static str)>,
    /// Tests that passed although there is a reason why they need not.
    better: Vec<String>,
    /// What nobody expected: lines for the reader.
    unexpected: Vec<String>,
}

impl Report {
    /// Reads the output of a Go test program that was started with `-test.v`.
    pub(super) fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let Some((outcome, name)) = ending(line.trim_start()) else {
                continue;
            };
            match name.split_once('/') {
                None => drop(report.outcomes.insert(name.to_owned(), outcome)),
                Some((test, part)) if outcome == Outcome::Failed => {
                    report
                        .failed_parts
                        .entry(test.to_owned())
                        .or_default()
                        .push(part.to_owned());
                }
                Some(_) => {}
            }
        }
        report
    }

    /// Compares it with the tests that were asked for, and with the reasons for not passing.
    pub(super) fn judge(&self, asked: &[String], reason: impl Fn(&str) -> Option<&'static str>) -> Verdict {
        let mut verdict = Verdict::default();
        for test in asked {
            let outcome = self.outcomes.get(test).copied();
            match outcome {
                Some(Outcome::Passed) => verdict.passed += 1,
                Some(Outcome::Skipped) => verdict.skipped += 1,
                Some(Outcome::Failed) | None => verdict.failed += 1,
            }
            match (outcome, reason(test)) {
                (Some(Outcome::Passed), None) => {}
                (Some(Outcome::Passed), Some(_)) => verdict.better.push(test.clone()),
                (_, Some(why)) => verdict.explained.push((test.clone(), why)),
                (Some(Outcome::Skipped), None) => verdict.unexpected.push(format!("{test} was skipped")),
                (None, None) => verdict
                    .unexpected
                    .push(format!("{test} told no end: the suite died before or in it")),
                (Some(Outcome::Failed), None) => verdict.unexpected.push(self.failure(test)),
            }
        }
        verdict
    }

    fn failure(&self, test: &str) -> String {
        match self.failed_parts.get(test) {
            None => format!("{test} failed"),
            Some(parts) => format!("{test} failed: {}", parts.join(", ")),
        }
    }
}

/// `--- FAIL: TestX/part (0.01s)` → failed, `TestX/part`.
fn ending(line: &str) -> Option<(Outcome, &str)> {
    let rest = line.strip_prefix("--- ")?;
    let (word, rest) = rest.split_once(": ")?;
    let outcome = match word {
        "PASS" => Outcome::Passed,
        "FAIL" => Outcome::Failed,
        "SKIP" => Outcome::Skipped,
        _ => return None,
    };
    Some((outcome, rest.split_whitespace().next()?))
}

impl Verdict {
    /// Whether nothing came out otherwise than it may.
    pub(super) fn is_as_expected(&self) -> bool {
        self.unexpected.is_empty()
    }

    /// How many tests did.
    pub(super) fn unexpected(&self) -> usize {
        self.unexpected.len()
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (test, why) in &self.explained {
            writeln!(f, "expected    {test}: {why}")?;
        }
        for test in &self.better {
            writeln!(f, "passed all the same    {test}")?;
        }
        for line in &self.unexpected {
            writeln!(f, "UNEXPECTED  {line}")?;
        }
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        writeln!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests;

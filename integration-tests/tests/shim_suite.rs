//! The conformance suite for shims: ours keeps the contract, and what the suite expects is what containerd's own shim does.

use std::process::Command;

use davit_integration_tests::{Finished, Run, Scratch, peers, program};

const SUITE: &str = env!("CARGO_BIN_EXE_shim-suite");

/// What of the contract a shim need not offer.
const OPTIONAL: &str = "the shim does not offer the sandbox service";

/// The suite's report, in which every case is ok, and so many are skipped.
#[track_caller]
fn passes(finished: Finished, expected_skips: usize) {
    let Finished {
        code, stdout, stderr, ..
    } = &finished;
    assert!(*code == 0 && stderr.is_empty(), "{code}\n{stdout}{stderr}");
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some("TAP version 14"));
    let plan = lines.next().and_then(|plan| plan.strip_prefix("1..")).expect("a plan");
    let passed: Vec<_> = lines.filter(|line| line.starts_with("ok ")).collect();
    assert!(passed.len() >= 40 && passed.len().to_string() == plan, "{stdout}");
    let skips: Vec<_> = passed.iter().filter_map(|line| line.split_once(" # SKIP ")).collect();
    assert_eq!(skips.len(), expected_skips, "{stdout}");
    let is_optional = |(case, reason): &(&str, &str)| case.contains(" - sandboxes: ") && *reason == OPTIONAL;
    assert!(skips.iter().all(is_optional), "{stdout}");
}

#[test]
fn our_shim_passes_with_our_runtime() {
    let scratch = Scratch::new();
    let shim = scratch.program("containerd-shim-davit-v1");
    passes(Command::new(SUITE).arg(shim.get_program()).finish(), 0);
}

#[test]
fn our_shim_passes_with_runc_and_containerds_shim_passes() {
    let scratch = Scratch::new();
    // Where the peers see it.
    let suite = scratch.join("shim-suite");
    program::copy(SUITE, &suite).expect("a program can be copied");
    let ours = scratch.shared_programs().join("containerd-shim-davit-v1");
    passes(peers::command(&suite).args(["--runtime", "runc"]).arg(ours).finish(), 0);
    passes(peers::command(&suite).arg("containerd-shim-runc-v2").finish(), 4);
}

#[test]
fn a_shim_that_does_not_keep_the_contract_is_told_of() {
    let scratch = Scratch::new();
    let shim = scratch.join("containerd-shim-none-v1");
    program::write(&shim, "#!/bin/sh\necho nonsense\n");
    let finished = Command::new(SUITE)
        .arg(&shim)
        .args(["version", "told in order"])
        .finish()
        .code_is(1);
    let expected = [
        "TAP version 14",
        "1..2",
        "not ok 1 - program: it says its version and what it can do",
        "not ok 2 - life: a life is told in order",
    ];
    let lines = finished.stdout.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    let missing = Command::new(SUITE).arg("no-such-shim").finish().code_is(2);
    missing.says("no-such-shim is not on PATH");
    Command::new(SUITE).finish().code_is(2).says("usage: shim-suite");
}

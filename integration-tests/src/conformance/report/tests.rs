use super::*;

const OUTPUT: &str = "\
=== RUN   TestGood
--- PASS: TestGood (0.10s)
=== RUN   TestBad
    file_test.go:1: --- a line of the test's own
    --- FAIL: TestBad/one (0.00s)
    --- PASS: TestBad/two (0.00s)
--- FAIL: TestBad (0.01s)
--- SKIP: TestLeft (0.00s)
PASS
";

fn asked(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_failure_or_a_skip_without_a_reason_is_unexpected_and_names_its_parts() {
    let verdict = Report::read(OUTPUT).judge(&asked(&["TestGood", "TestBad", "TestLeft"]), |_| None);
    assert!(!verdict.is_as_expected());
    assert_eq!(
        verdict.to_string(),
        "UNEXPECTED  TestBad failed: one\nUNEXPECTED  TestLeft was skipped\n1 passed, 1 failed, 1 skipped\n"
    );
}

#[test]
fn a_reason_explains_what_did_not_pass_and_harms_nothing_that_did() {
    let verdict = Report::read(OUTPUT).judge(&asked(&["TestGood", "TestBad", "TestLeft"]), |_| Some("moon"));
    assert!(verdict.is_as_expected());
    assert!(verdict.to_string().starts_with("expected    TestBad: moon\n"));
    assert!(verdict.to_string().contains("passed all the same    TestGood\n"));
}

#[test]
fn a_test_that_told_no_end_has_failed() {
    let verdict = Report::read(OUTPUT).judge(&asked(&["TestGood", "TestLost"]), |_| None);
    assert_eq!(verdict.unexpected(), 1);
    assert!(verdict.to_string().contains("TestLost told no end"));
}

//! x86-64 numbers throughout.
#![cfg(target_arch = "x86_64")]

use super::*;
use crate::interpreter::{Call, run};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const X32: u32 = 0x4000_0000;

/// In the manner of an engine's default profile, which grants by name and refuses the rest.
const GRANTING: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "exit_group", "openat2", "chown32"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mseal", "fchmodat2", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]}
    ]}"#;

fn compiled(profile: &str) -> Result<Program, SeccompError> {
    compile(&serde_json::from_str(profile).unwrap())
}

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// A profile that allows all but what `rule` says about getpid (39).
fn answer(rule: &str, args: [u64; 6]) -> u32 {
    let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["getpid"], {rule}}}]}}"#);
    run(
        &compiled(&profile).unwrap(),
        Call {
            number: 39,
            arch: X86_64,
            args,
        },
    )
}

#[test]
fn names_are_granted_and_the_rest_refused_on_every_architecture() {
    let program = compiled(GRANTING).unwrap();
    let ask = |arch, number| {
        run(
            &program,
            Call {
                number,
                arch,
                ..Call::default()
            },
        )
    };
    assert_eq!([ask(X86_64, 0), ask(X86_64, 437)], [ALLOW, ALLOW]);
    assert_eq!(ask(X86_64, 165), errno(1), "mount");
    assert_eq!([ask(X86, 3), ask(X86, 212)], [ALLOW, ALLOW], "read and chown32 of i386");
    assert_eq!(ask(X86, 21), errno(1), "mount of i386");
    assert_eq!([ask(X86_64, X32), ask(X86_64, X32 | 165)], [ALLOW, errno(1)]);
    assert_eq!(
        ask(0x0000_0028, 0),
        KILL_THREAD,
        "an architecture that is not in the profile"
    );
}

#[test]
fn what_libseccomp_cannot_number_is_granted_on_every_architecture() {
    let program = compiled(GRANTING).unwrap();
    for (arch, bit) in [(X86_64, 0), (X86_64, X32), (X86, 0)] {
        for number in [452, 462] {
            assert_eq!(
                run(
                    &program,
                    Call {
                        number: bit | number,
                        arch,
                        ..Call::default()
                    }
                ),
                ALLOW,
                "{number}"
            );
        }
        let between = run(
            &program,
            Call {
                number: bit | 457,
                arch,
                ..Call::default()
            },
        );
        assert_eq!(between, errno(1), "older than the newest name in the profile");
    }
}

#[test]
fn what_is_newer_than_the_profile_does_not_exist() {
    let program = compiled(GRANTING).unwrap();
    let ask = |arch, number| {
        run(
            &program,
            Call {
                number,
                arch,
                ..Call::default()
            },
        )
    };
    assert_eq!(
        [ask(X86_64, 463), ask(X86, 463), ask(X86_64, X32 | 463)],
        [errno(38); 3]
    );
    assert_eq!(
        ask(X86_64, u32::MAX),
        errno(1),
        "the number of a call that a tracer skips"
    );
}

#[test]
fn a_profile_that_allows_by_default_allows_what_is_newer() {
    let program = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO"}, {"names": ["mseal"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}"#,
    );
    let program = program.unwrap();
    let ask = |number| {
        run(
            &program,
            Call {
                number,
                arch: X86_64,
                ..Call::default()
            },
        )
    };
    assert_eq!([ask(0), ask(462), ask(1), ask(600)], [errno(1), errno(5), ALLOW, ALLOW]);
}

#[test]
fn without_x32_in_the_profile_its_calls_are_killed_not_told_of() {
    let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let program = compiled(profile).unwrap();
    let ask = |number| {
        run(
            &program,
            Call {
                number,
                arch: X86_64,
                ..Call::default()
            },
        )
    };
    assert_eq!([ask(0), ask(462), ask(X32 | 462)], [ALLOW, errno(38), KILL_THREAD]);
}

#[test]
fn flags_of_clone_are_masked_and_sockets_of_one_family_refused() {
    let program = compiled(GRANTING).unwrap();
    let ask = |number, first| {
        run(
            &program,
            Call {
                number,
                arch: X86_64,
                args: [first, 0, 0, 0, 0, 0],
            },
        )
    };
    assert_eq!(
        [ask(56, 17), ask(56, 0x0002_0000), ask(56, 0x1000_0000)],
        [ALLOW, errno(1), errno(1)]
    );
    assert_eq!(ask(435, 0), errno(38), "clone3");
    assert_eq!([ask(41, 2), ask(41, 40)], [ALLOW, errno(1)]);
}

#[test]
fn every_action_has_its_answer() {
    for (action, expected) in [
        (r#""action": "SCMP_ACT_KILL""#, KILL_THREAD),
        (r#""action": "SCMP_ACT_KILL_THREAD""#, KILL_THREAD),
        (r#""action": "SCMP_ACT_KILL_PROCESS""#, 0x8000_0000),
        (r#""action": "SCMP_ACT_TRAP""#, 0x0003_0000),
        (r#""action": "SCMP_ACT_ERRNO""#, errno(1)),
        (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 0"#, errno(0)),
        (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 95"#, errno(95)),
        (r#""action": "SCMP_ACT_TRACE", "errnoRet": 65535"#, 0x7ff0_ffff),
        (r#""action": "SCMP_ACT_LOG""#, 0x7ffc_0000),
        (r#""action": "SCMP_ACT_ALLOW""#, ALLOW),
    ] {
        assert_eq!(answer(action, [0; 6]), expected, "{action}");
    }
}

#[test]
fn arguments_are_compared_in_all_their_bits() {
    let big = 0x1_0000_0005;
    for (op, below, same, above) in [
        ("NE", true, false, true),
        ("LT", true, false, false),
        ("LE", true, true, false),
        ("EQ", false, true, false),
        ("GE", false, true, true),
        ("GT", false, false, true),
    ] {
        let rule =
            format!(r#""action": "SCMP_ACT_ERRNO", "args": [{{"index": 5, "value": {big}, "op": "SCMP_CMP_{op}"}}]"#);
        let hit = |value| answer(&rule, [0, 0, 0, 0, 0, value]) == errno(1);
        assert_eq!([hit(5), hit(big), hit(big + 1)], [below, same, above], "{op}");
    }
}

#[test]
fn two_conditions_on_one_argument_are_alternatives_and_on_two_both_needed() {
    let condition = |index, value| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let rule = |first, second| format!(r#""action": "SCMP_ACT_ERRNO", "args": [{first}, {second}]"#);
    let alternatives = rule(condition(0, 1), condition(0, 2));
    for (value, expected) in [(1, errno(1)), (2, errno(1)), (3, ALLOW)] {
        assert_eq!(answer(&alternatives, [value, 0, 0, 0, 0, 0]), expected, "{value}");
    }
    let both = rule(condition(0, 1), condition(1, 2));
    assert_eq!(answer(&both, [1, 2, 0, 0, 0, 0]), errno(1));
    assert_eq!(answer(&both, [1, 3, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn a_name_may_be_granted_twice() {
    let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["ptrace", "ptrace"], "action": "SCMP_ACT_ALLOW"}, {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"}]}"#;
    compiled(profile).unwrap();
}

#[test]
fn flags_are_translated() {
    let flags = |flags: &str| {
        compiled(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW"{flags}}}"#))
            .unwrap()
            .flags()
    };
    assert_eq!(flags(""), FLAG_SPEC_ALLOW);
    assert_eq!(flags(r#", "flags": []"#), 0);
    assert_eq!(
        flags(r#", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]"#),
        FLAG_LOG
    );
    assert_eq!(
        flags(r#", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]"#),
        FLAG_SPEC_ALLOW
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refused = |rest: &str| {
        compiled(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {rest}}}"#))
            .unwrap_err()
            .to_string()
    };
    let rule = |rule: &str| refused(&format!(r#""syscalls": [{rule}]"#));
    assert_eq!(
        rule(r#"{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}"#),
        "SCMP_ACT_NOTIFY cannot be used for the write syscall"
    );
    assert!(refused(r#""architectures": ["SCMP_ARCH_M68K"]"#).contains("SCMP_ARCH_M68K"));
    assert!(rule(r#"{"names": [""], "action": "SCMP_ACT_ERRNO"}"#).contains("empty"));
    assert!(rule(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536}"#).contains("65536"));
    let text = rule(
        r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
    );
    assert!(text.contains("read") && text.contains('6'), "{text}");
}

#[test]
fn a_filter_that_asks_an_agent_is_loaded_with_a_listener() {
    let profile = |action: &str| {
        let program = compiled(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "syscalls": [{{"names": ["getpid", "mseal"], "action": "{action}"}}]}}"#
        ));
        program.unwrap()
    };
    let asking = profile("SCMP_ACT_NOTIFY");
    assert!(asking.notifies());
    assert_eq!(asking.flags(), FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
    let ask = |number| {
        run(
            &asking,
            Call {
                number,
                arch: X86_64,
                ..Call::default()
            },
        )
    };
    assert_eq!([ask(39), ask(462), ask(0)], [0x7fc0_0000, 0x7fc0_0000, ALLOW]);
    assert_eq!(profile("SCMP_ACT_LOG").flags(), 0);
    let default = compiled(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#)
        .unwrap_err()
        .to_string();
    assert_eq!(default, "SCMP_ACT_NOTIFY cannot be used as default action");
}

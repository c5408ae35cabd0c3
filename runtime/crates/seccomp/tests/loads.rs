//! Filters in the kernel. A filter binds the thread that loads it, so each test spends one.
#![allow(clippy::unwrap_used)]

use std::{fs, io::ErrorKind, thread};

use davit_seccomp::{SeccompError, compile, compile_cached};

/// Whether this process may load a filter without giving up privileges.
fn privileged() -> bool {
    rustix::process::geteuid().is_root()
}

fn profile(default: &str, rules: &str) -> oci_spec::runtime::LinuxSeccomp {
    serde_json::from_str(&format!(r#"{{"defaultAction": "{default}", "syscalls": [{rules}]}}"#)).unwrap()
}

#[test]
fn a_refused_call_fails_with_the_errno_of_the_profile() {
    if !privileged() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}"#;
    let profile = profile("SCMP_ACT_ALLOW", rule);
    // Compiled, then read from the cache: both must bind.
    for name in ["compiled", "cached"] {
        let program = compile_cached(&profile, &dir.path().join("cache")).unwrap();
        let path = dir.path().join(name);
        let result = thread::spawn(move || {
            program.load().unwrap();
            fs::create_dir(path)
        });
        assert_eq!(result.join().unwrap().unwrap_err().raw_os_error(), Some(122), "{name}");
    }
    fs::create_dir(dir.path().join("outside")).unwrap();
}

#[test]
fn a_refusing_default_lets_named_calls_through() {
    if !privileged() {
        return;
    }
    // What a Rust thread needs to end is let through too.
    let names = r#"["openat", "read", "pread64", "close", "statx", "fstat", "lseek", "mmap", "munmap", "mprotect", "madvise",
        "brk", "futex", "sigaltstack", "rt_sigprocmask", "rt_sigaction", "rseq", "set_robust_list", "exit", "write"]"#;
    let profile = profile(
        "SCMP_ACT_ERRNO",
        &format!(r#"{{"names": {names}, "action": "SCMP_ACT_ALLOW"}}"#),
    );
    let program = compile(&profile).unwrap();
    let (read, made) = thread::spawn(move || {
        program.load().unwrap();
        (fs::read_to_string("/proc/self/comm"), fs::create_dir("/tmp/never"))
    })
    .join()
    .unwrap();
    assert!(read.is_ok(), "{read:?}");
    assert_eq!(made.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn the_kernel_takes_a_filter_for_several_architectures_with_every_flag() {
    if !privileged() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let profile = r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mseal", "getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}"#;
    let program = compile(&serde_json::from_str(profile).unwrap()).unwrap();
    thread::spawn(move || program.load().unwrap()).join().unwrap();
}

#[test]
fn without_privileges_the_kernel_says_no() {
    if !privileged() {
        let program = compile(&profile("SCMP_ACT_ALLOW", "")).unwrap();
        assert!(matches!(program.load(), Err(SeccompError::Load(_))));
    }
}

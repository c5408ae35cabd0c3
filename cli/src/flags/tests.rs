use std::{fs, path::Path};

use clap::Parser;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CreateFlags, bytes, device, filters, since, ulimit};

#[derive(Parser)]
#[command(disable_help_flag = true)]
struct Run {
    #[command(flatten)]
    flags: CreateFlags,
}

fn request(line: &str) -> Result<Value, String> {
    let words = line.split_whitespace().map(|word| word.replace('~', " "));
    let run = Run::try_parse_from(["run".to_owned()].into_iter().chain(words)).map_err(|error| error.to_string())?;
    let request = run.flags.request().map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(request.body).unwrap())
}

/// Asserts that the request holds everything in `expected`.
fn check(line: &str, expected: Value) {
    let request = request(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_holds(line, &request, &expected);
}

fn assert_holds(line: &str, request: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        match value {
            Value::Object(_) if request[key].is_object() => assert_holds(line, &request[key], value),
            _ => assert_eq!(&request[key], value, "{line}: {key}"),
        }
    }
}

fn refused(line: &str, expected: &str) {
    let error = request(line).unwrap_err();
    assert!(error.contains(expected), "{line}: {error}");
}

#[test]
fn streams_are_attached_as_docker_attaches_them() {
    check(
        "x",
        json!({"AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "OpenStdin": false, "StdinOnce": false, "Tty": false}),
    );
    check(
        "-i x",
        json!({"AttachStdin": true, "OpenStdin": true, "StdinOnce": true}),
    );
    check("-it x", json!({"Tty": true, "OpenStdin": true}));
    check(
        "-a stderr x",
        json!({"AttachStdin": false, "AttachStdout": false, "AttachStderr": true}),
    );
    check(
        "-i -a STDOUT x",
        json!({"AttachStdin": false, "OpenStdin": true, "StdinOnce": false, "AttachStdout": true}),
    );
    refused("-a bogus x", "valid streams are");
}

#[test]
fn the_process_is_described() {
    check("img:1 sh -c x", json!({"Image": "img:1", "Cmd": ["sh", "-c", "x"]}));
    check("img", json!({"Image": "img", "Cmd": null, "Env": null}));
    check("--entrypoint /e img", json!({"Entrypoint": ["/e"]}));
    check("--entrypoint= img", json!({"Entrypoint": [""]}));
    check("-e A=1 -e B= -e NOT_SET_ANYWHERE x", json!({"Env": ["A=1", "B="]}));
    check(
        "-u 1:2 -w /w -h host --domainname d x",
        json!({"User": "1:2", "WorkingDir": "/w", "Hostname": "host", "Domainname": "d"}),
    );
    check("-l a=b -l c x", json!({"Labels": {"a": "b", "c": ""}}));
    check(
        "--stop-signal INT --stop-timeout -1 x",
        json!({"StopSignal": "INT", "StopTimeout": -1}),
    );
    check(
        "--init --group-add 7 --sysctl a.b=1 x",
        json!({"HostConfig": {"Init": true, "GroupAdd": ["7"], "Sysctls": {"a.b": "1"}}}),
    );
    refused("-e =x img", "invalid environment variable");
    refused("-l =x img", "invalid label");
}

#[test]
fn limits_are_numbers_of_the_api() {
    check(
        "--cpus 1.5 -c 512 x",
        json!({"HostConfig": {"NanoCpus": 1_500_000_000, "CpuShares": 512}}),
    );
    check(
        "-m 64m --memory-swap -1 --shm-size 1g x",
        json!({"HostConfig": {"Memory": 67_108_864, "MemorySwap": -1, "ShmSize": 1_073_741_824}}),
    );
    check(
        "--pids-limit -1 --oom-score-adj -500 --cpu-quota -1 x",
        json!({"HostConfig": {"PidsLimit": -1, "OomScoreAdj": -500, "CpuQuota": -1}}),
    );
    check(
        "--memory-swappiness -1 x",
        json!({"HostConfig": {"MemorySwappiness": null}}),
    );
    check(
        "--ulimit nofile=10:20 x",
        json!({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}]}}),
    );
    check(
        "--device /dev/null:/dev/x:r x",
        json!({"HostConfig": {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]}}),
    );
    check(
        "--device-cgroup-rule c~1:3~rw x",
        json!({"HostConfig": {"DeviceCgroupRules": ["c 1:3 rw"]}}),
    );
    refused("--cpus two x", "as a rational number");
    refused("--cpus 1e30 x", "invalid number of CPUs");
    refused("--cpus 0.0000000001 x", "too precise");
    refused("--device-cgroup-rule c~1~rw x", "invalid device cgroup format");
}

#[test]
fn sizes_have_units() {
    let good = |text, expected| assert_eq!(bytes::parse_bytes(text), Ok(expected), "{text}");
    good("0", 0);
    good("64m", 64 << 20);
    good("1.5kb", 1536);
    good("2GiB", 2 << 30);
    good("7 b", 7);
    for bad in ["", "m", "-1", "1x", "1.2.3", "9999999p", "1mm"] {
        assert!(bytes::parse_bytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn mounts_are_binds_and_tmpfs() {
    check("-v /a:/b:ro x", json!({"HostConfig": {"Binds": ["/a:/b:ro"]}}));
    let here = std::env::current_dir().unwrap();
    check(
        "-v ./a:/b x",
        json!({"HostConfig": {"Binds": [format!("{}:/b", here.join("a").display())]}}),
    );
    check(
        "--tmpfs /t --tmpfs /u:size=1m x",
        json!({"HostConfig": {"Tmpfs": {"/t": "", "/u": "size=1m"}}}),
    );
    check(
        "--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave x",
        json!({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}}]}}),
    );
    check(
        "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770 x",
        json!({"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 0o1770}}]}}),
    );
    refused("-v data:/b x", "named volumes are not supported");
    refused("-v /b x", "anonymous volumes are not supported");
    refused("-v /a: x", "invalid volume specification");
    refused("--mount dst=/x x", "mount type 'volume' is not supported");
    refused("--mount type=bind,dst=/x x", "source is required");
    refused("--mount type=bind,src=/x x", "target is required");
    refused("--mount type=bind,src=/a,dst=/b,tmpfs-size=1 x", "cannot mix");
    refused("--mount type=bogus,dst=/b x", "invalid mount type");
    refused("--mount type=bind,bogus=1,dst=/b x", "unknown option 'bogus'");
    refused("--mount bogus x", "must be a key=value pair");
}

#[test]
fn networks_and_names_are_passed_on() {
    check(
        "--net none --add-host a:1.2.3.4 --add-host b=::1 --dns 8.8.8.8 --dns-search s x",
        json!({"HostConfig": {"NetworkMode": "none", "ExtraHosts": ["a:1.2.3.4", "b:::1"], "Dns": ["8.8.8.8"], "DnsSearch": ["s"]}}),
    );
    refused("--add-host a x", "bad format for add-host");
    refused("--add-host a:b x", "invalid IP address");
    refused("--dns x y", "is not an ip address");
}

#[test]
fn privileges_and_namespaces_are_passed_on() {
    check(
        "--cap-add NET_ADMIN --cap-drop ALL --privileged --read-only --pid host --ipc private --cgroupns private x",
        json!({"HostConfig": {"CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "Privileged": true, "ReadonlyRootfs": true,
            "PidMode": "host", "IpcMode": "private", "CgroupnsMode": "private"}}),
    );
    check(
        "--security-opt no-new-privileges --security-opt systempaths=unconfined x",
        json!({"HostConfig": {
        "SecurityOpt": ["no-new-privileges"], "MaskedPaths": [], "ReadonlyPaths": []}}),
    );
    refused(
        "--security-opt seccomp=/nonexistent x",
        "opening seccomp profile (/nonexistent) failed",
    );
    refused("--security-opt bogus x", "invalid --security-opt");
}

#[test]
fn a_seccomp_profile_is_sent_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.json");
    fs::write(&path, "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
    let line = format!("--security-opt seccomp={} x", path.display());
    check(
        &line,
        json!({"HostConfig": {"SecurityOpt": ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]}}),
    );
    fs::write(&path, "no json").unwrap();
    refused(&line, "not valid JSON");
}

#[test]
fn files_bring_variables_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let env = write("env", "\u{feff}A=1\n# comment\n\n  B=x y\nNOT_SET_ANYWHERE\n");
    check(
        &format!("--env-file {} -e A=2 x", env.display()),
        json!({"Env": ["A=1", "B=x y", "A=2"]}),
    );
    let labels = write("labels", "a=b\nc\n");
    check(
        &format!("--label-file {} -l a=z x", labels.display()),
        json!({"Labels": {"a": "z", "c": ""}}),
    );
    let bad = write("bad", "A B=1\n");
    refused(&format!("--env-file {} x", bad.display()), "contains whitespaces");
    refused(
        "--env-file /nonexistent x",
        "open /nonexistent: no such file or directory",
    );
    assert!(Path::new("/nonexistent").metadata().is_err());
}

#[test]
fn restart_and_logging_are_passed_on() {
    check(
        "--restart on-failure:3 x",
        json!({"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}}),
    );
    check(
        "--log-driver json-file --log-opt max-size=1m x",
        json!({"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}}),
    );
    check("--rm --restart no x", json!({"HostConfig": {"AutoRemove": true}}));
    refused("--rm --restart always x", "conflicting options");
    refused("--restart sometimes x", "invalid restart policy");
    refused("--restart always:3 x", "only on-failure takes a maximum");
    refused("--restart on-failure:x x", "must be an integer");
}

#[test]
fn limits_of_processes_are_checked() {
    assert!(ulimit::parse("nofile=-1:-1").is_ok());
    assert!(ulimit::parse("core=0").is_ok());
    for bad in ["nofile", "bogus=1", "nofile=x", "nofile=3:2", "nofile=-1:2"] {
        assert!(ulimit::parse(bad).is_err(), "{bad}");
    }
    for bad in ["", ":", "/dev/x:/y:q", "a:b:c:d", "/dev/x:"] {
        assert!(device::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn filters_are_gathered_by_key() {
    let flags = [
        "status=exited".to_owned(),
        "Status=dead".to_owned(),
        "label=a=b".to_owned(),
    ];
    let filters_ = filters(&flags).unwrap().unwrap();
    assert_eq!(filters_["status"], ["exited", "dead"]);
    assert_eq!(filters_["label"], ["a=b"]);
    assert!(filters(&["x".to_owned()]).is_err());
    assert!(filters(&[]).unwrap().is_none());
}

#[test]
fn times_are_absolute_relative_or_numbers() {
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let check = |text: &str, expected: &str| assert_eq!(since(text, now).unwrap(), expected, "{text}");
    check("1700000000", "1700000000");
    check("1700000000.5", "1700000000.5");
    check("2026-01-02T03:04:05Z", "1767323045.000000000");
    check("2026-01-02T03:04:05.25+01:00", "1767319445.250000000");
    check("1h30m", "1767317645.000000000");
    check("10s", "1767323035.000000000");
    check("0s", "1767323045.000000000");
    for bad in ["", "bogus", "-", "1.2.3", "12:61"] {
        assert!(since(bad, now).is_err(), "{bad}");
    }
}

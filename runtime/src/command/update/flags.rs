//! The flags of `update` in the form of `linux.resources`, of which they are a part.

use std::str::FromStr;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::super::CommandError;
use crate::cli::Update;

pub(super) fn resources(args: &Update) -> Result<LinuxResources, CommandError> {
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu(args)?));
    resources.set_memory(Some(memory(args)?));
    let mut pids = LinuxPids::default();
    pids.set_limit(args.pids_limit.unwrap_or_default());
    resources.set_pids(Some(pids));
    let mut io = LinuxBlockIo::default();
    io.set_weight(args.blkio_weight.filter(|weight| *weight != 0));
    resources.set_block_io(Some(io));
    Ok(resources)
}

fn cpu(args: &Update) -> Result<LinuxCpu, CommandError> {
    let mut cpu = LinuxCpu::default();
    cpu.set_cpus(given(&args.cpuset_cpus).map(str::to_owned));
    cpu.set_mems(given(&args.cpuset_mems).map(str::to_owned));
    cpu.set_idle(number("cpu-idle", &args.cpu_idle)?);
    cpu.set_burst(number("cpu-burst", &args.cpu_burst)?);
    cpu.set_period(number("cpu-period", &args.cpu_period)?);
    cpu.set_quota(number("cpu-quota", &args.cpu_quota)?);
    cpu.set_shares(number("cpu-share", &args.cpu_share)?);
    cpu.set_realtime_period(number("cpu-rt-period", &args.cpu_rt_period)?);
    cpu.set_realtime_runtime(number("cpu-rt-runtime", &args.cpu_rt_runtime)?);
    Ok(cpu)
}

fn memory(args: &Update) -> Result<LinuxMemory, CommandError> {
    let mut memory = LinuxMemory::default();
    memory.set_limit(bytes("memory", &args.memory)?);
    memory.set_swap(bytes("memory-swap", &args.memory_swap)?);
    memory.set_reservation(bytes("memory-reservation", &args.memory_reservation)?);
    memory.set_kernel(bytes("kernel-memory", &args.kernel_memory)?);
    memory.set_kernel_tcp(bytes("kernel-memory-tcp", &args.kernel_memory_tcp)?);
    Ok(memory)
}

/// An empty value is as good as none: scripts pass variables that may be empty.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn number<T: FromStr>(flag: &str, text: &Option<String>) -> Result<Option<T>, CommandError> {
    given(text)
        .map(|text| text.parse().map_err(|_| invalid(flag, text)))
        .transpose()
}

fn bytes(flag: &str, text: &Option<String>) -> Result<Option<i64>, CommandError> {
    given(text)
        .map(|text| match text {
            "-1" => Ok(-1),
            text => size(text).ok_or_else(|| invalid(flag, text)),
        })
        .transpose()
}

fn invalid(flag: &str, text: &str) -> CommandError {
    CommandError::Usage(format!("invalid value for {flag}: {text:?}"))
}

/// A number of bytes, maybe with a unit of 1024: `4096`, `512k`, `1.5g`, `2 MiB`.
fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * 1024f64.powi(power);
    // As Go converts: towards zero. What no integer holds is no size.
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command};

    /// What `update` with these flags asks for, in the form of config.json.
    fn wanted(flags: &[&str]) -> Value {
        let line = ["davit-runtime", "update"].iter().chain(flags).chain(&["x"]);
        let Command::Update(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("{flags:?}");
        };
        let mut value = serde_json::to_value(resources(&args).unwrap()).unwrap();
        // What is not given shows as an empty group.
        let groups = value.as_object_mut().unwrap();
        groups.retain(|_, group| *group != json!({}) && *group != json!({"limit": 0}));
        value
    }

    #[test]
    fn each_flag_has_its_limit() {
        for (flag, value, expected) in [
            ("--blkio-weight", "300", json!({"blockIO": {"weight": 300}})),
            ("--cpu-period", "1", json!({"cpu": {"period": 1}})),
            ("--cpu-quota", "-1", json!({"cpu": {"quota": -1}})),
            ("--cpu-burst", "2", json!({"cpu": {"burst": 2}})),
            ("--cpu-share", "3", json!({"cpu": {"shares": 3}})),
            ("--cpu-rt-period", "4", json!({"cpu": {"realtimePeriod": 4}})),
            ("--cpu-rt-runtime", "5", json!({"cpu": {"realtimeRuntime": 5}})),
            ("--cpu-idle", "1", json!({"cpu": {"idle": 1}})),
            ("--cpuset-cpus", "0-2", json!({"cpu": {"cpus": "0-2"}})),
            ("--cpuset-mems", "1", json!({"cpu": {"mems": "1"}})),
            ("--memory", "6k", json!({"memory": {"limit": 6144}})),
            ("--memory-reservation", "7", json!({"memory": {"reservation": 7}})),
            ("--memory-swap", "-1", json!({"memory": {"swap": -1}})),
            ("--kernel-memory", "8", json!({"memory": {"kernel": 8}})),
            ("--kernel-memory-tcp", "9", json!({"memory": {"kernelTCP": 9}})),
            ("--pids-limit", "10", json!({"pids": {"limit": 10}})),
            ("--l3-cache-schema", "L3:0=f", json!({})),
            ("--mem-bw-schema", "MB:0=20", json!({})),
            ("--cpuset-cpus", "", json!({})),
            ("--cpu-share", "", json!({})),
        ] {
            assert_eq!(wanted(&[&format!("{flag}={value}")]), expected, "{flag}");
        }
        assert_eq!(wanted(&[]), json!({}));
    }

    #[test]
    fn sizes_may_have_a_unit() {
        for (text, number) in [
            ("4096", 4096),
            ("0", 0),
            ("512k", 524_288),
            ("1G", 1 << 30),
            ("2mb", 2 << 20),
            ("2 MiB", 2 << 20),
            ("1.5k", 1536),
            ("32b", 32),
        ] {
            assert_eq!(size(text), Some(number), "{text}");
        }
        for text in ["much", "-5", "1kk", "", "k", "1e3", "9999999p", "1..2"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn minus_one_lifts_and_nothing_is_nothing() {
        assert_eq!(bytes("memory", &Some("-1".into())).unwrap(), Some(-1));
        assert_eq!(bytes("memory", &Some(String::new())).unwrap(), None);
        assert_eq!(bytes("memory", &None).unwrap(), None);
        let text = bytes("memory", &Some("-2".into())).unwrap_err().to_string();
        assert!(text.contains("memory") && text.contains("-2"), "{text}");
        assert!(number::<u64>("cpu-share", &Some("x".into())).is_err());
    }
}

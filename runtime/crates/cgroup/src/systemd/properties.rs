//! Limits as properties of a unit.
//!
//! systemd must know them although we write every file ourselves: it writes its own idea of them whenever it looks at
//! the unit again, after `systemctl daemon-reload` for instance. What it has no property for, it leaves alone.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::{dbus::Value, device_properties};
use crate::{
    CgroupError, Result, Version, cpu_mask,
    v1::pids,
    v2::{cpu::weight, io::converted, memory::swap},
};

/// A property's name and value.
pub(super) type Property = (String, Value);

/// systemd's word for "no limit".
const INFINITY: u64 = u64::MAX;
const DEFAULT_PERIOD: u64 = 100_000;
/// CPUQuotaPeriodUSec exists since.
const QUOTA_PERIOD: u32 = 242;
/// AllowedCPUs and AllowedMemoryNodes exist since.
const CPUSET: u32 = 244;
/// A CPUWeight of 0 means `cpu.idle` since.
const IDLE: u32 = 252;

/// The properties that stand for `resources`. `devices`: whether the rules for devices are among them.
pub(super) fn of(resources: &LinuxResources, version: Version, systemd: u32, devices: bool) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    if devices {
        device_properties::add_rules(
            &mut properties,
            resources.devices().as_deref().unwrap_or_default(),
            systemd,
        )?;
    }
    memory(&mut properties, resources, version)?;
    if let Some(cpu) = resources.cpu() {
        self::cpu(&mut properties, cpu, version, systemd)?;
    }
    block_io(&mut properties, resources, version);
    if let Some(limit) = pids::limit(resources) {
        add(&mut properties, "TasksMax", number_or_infinity(&limit));
    }
    if let Some(unified) = resources.unified() {
        // In one order, whatever the map's.
        let sorted: BTreeMap<_, _> = unified.iter().collect();
        for (file, value) in sorted {
            self::unified(&mut properties, file, value.trim(), systemd)?;
        }
    }
    Ok(properties)
}

pub(super) fn add(properties: &mut Vec<Property>, name: &str, value: Value) {
    // The last word counts: `unified` may override any other field.
    properties.retain(|(known, _)| known != name || name == "DeviceAllow");
    properties.push((name.into(), value));
}

fn number_or_infinity(text: &str) -> Value {
    Value::U64(text.parse().unwrap_or(INFINITY))
}

fn memory(properties: &mut Vec<Property>, resources: &LinuxResources, version: Version) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    let bytes = |bytes: i64| Value::U64(u64::try_from(bytes).unwrap_or(INFINITY));
    let limit = memory.limit().filter(|limit| *limit != 0);
    if version == Version::V1 {
        if let Some(limit) = limit {
            add(properties, "MemoryLimit", bytes(limit));
        }
        return Ok(());
    }
    if let Some(limit) = limit {
        add(properties, "MemoryMax", bytes(limit));
    }
    if let Some(reservation) = memory.reservation().filter(|bytes| *bytes != 0) {
        add(properties, "MemoryLow", bytes(reservation));
    }
    if let Some(swap) = swap(memory)? {
        add(properties, "MemorySwapMax", bytes(swap));
    }
    Ok(())
}

fn cpu(properties: &mut Vec<Property>, cpu: &LinuxCpu, version: Version, systemd: u32) -> Result<()> {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let idle = version == Version::V2 && cpu.idle() == Some(1) && systemd >= IDLE;
    match (version, shares) {
        _ if idle => add(properties, "CPUWeight", Value::U64(0)),
        (Version::V1, Some(shares)) => add(properties, "CPUShares", Value::U64(shares)),
        (Version::V2, Some(shares)) => add(properties, "CPUWeight", Value::U64(weight(shares))),
        (_, None) => {}
    }
    quota(
        properties,
        cpu.quota().unwrap_or_default(),
        cpu.period().unwrap_or_default(),
        systemd,
    );
    for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty() && systemd >= CPUSET) {
            add(properties, name, mask(list)?);
        }
    }
    Ok(())
}

fn mask(list: &str) -> Result<Value> {
    cpu_mask::parse(list)
        .map(|bytes| Value::bytes(&bytes))
        .ok_or_else(|| CgroupError::InvalidLimit(format!("{list:?} is no list of numbers")))
}

/// systemd counts microseconds per second, in whole per cents; see also [`rounded_quota`].
fn quota(properties: &mut Vec<Property>, quota: i64, period: u64, systemd: u32) {
    if period != 0 && systemd >= QUOTA_PERIOD {
        add(properties, "CPUQuotaPeriodUSec", Value::U64(period));
    }
    if quota == 0 && period == 0 {
        return;
    }
    let per_second = u64::try_from(quota)
        .ok()
        .filter(|quota| *quota > 0)
        .map_or(INFINITY, |quota| per_second(quota, period));
    add(properties, "CPUQuotaPerSecUSec", Value::U64(per_second));
}

fn per_second(quota: u64, period: u64) -> u64 {
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    let rounded = exact.next_multiple_of(10_000);
    u64::try_from(rounded).unwrap_or(INFINITY)
}

/// The quota as systemd will have it: the same must go into the file, or the two would quarrel.
pub(super) fn rounded_quota(quota: i64, period: Option<u64>) -> i64 {
    let Some(wanted) = u64::try_from(quota).ok().filter(|quota| *quota > 0) else {
        return quota;
    };
    let period = period.filter(|period| *period != 0).unwrap_or(DEFAULT_PERIOD);
    let exact = u128::from(wanted) * 1_000_000 / u128::from(period);
    match exact % 10_000 {
        0 => quota,
        _ => i64::try_from(u128::from(per_second(wanted, period)) * u128::from(period) / 1_000_000).unwrap_or(quota),
    }
}

fn block_io(properties: &mut Vec<Property>, resources: &LinuxResources, version: Version) {
    let weight = resources.block_io().as_ref().and_then(|io| io.weight());
    if let Some(weight) = weight.filter(|weight| *weight != 0) {
        match version {
            Version::V1 => add(properties, "BlockIOWeight", Value::U64(weight.into())),
            Version::V2 => add(properties, "IOWeight", Value::U64(converted(weight.into()))),
        }
    }
}

/// Files that systemd knows by another name; the rest is written to the cgroup alone.
fn unified(properties: &mut Vec<Property>, file: &str, value: &str, systemd: u32) -> Result<()> {
    let invalid = || CgroupError::InvalidLimit(format!("unified resource {file:?} value invalid: {value:?}"));
    let number = || match value {
        "max" => Ok(INFINITY),
        digits => digits.parse::<u64>().map_err(|_| invalid()),
    };
    let name = match file {
        "cpu.idle" => {
            // Nothing says 0 to systemd but a weight.
            if value == "1" && systemd >= IDLE {
                add(properties, "CPUWeight", Value::U64(0));
            }
            return Ok(());
        }
        "cpu.weight" => {
            let idle = properties
                .iter()
                .any(|property| *property == ("CPUWeight".into(), Value::U64(0)));
            if !idle {
                add(properties, "CPUWeight", Value::U64(number()?));
            }
            return Ok(());
        }
        "cpu.max" => {
            let mut fields = value.split_ascii_whitespace();
            let quota = match fields.next().ok_or_else(invalid)? {
                "max" => 0,
                digits => digits.parse().map_err(|_| invalid())?,
            };
            let period = fields
                .next()
                .map_or(Ok(DEFAULT_PERIOD), str::parse)
                .map_err(|_| invalid())?;
            self::quota(properties, quota, period, systemd);
            return Ok(());
        }
        "cpuset.cpus" | "cpuset.mems" => {
            if systemd >= CPUSET {
                let name = if file == "cpuset.cpus" {
                    "AllowedCPUs"
                } else {
                    "AllowedMemoryNodes"
                };
                add(properties, name, mask(value)?);
            }
            return Ok(());
        }
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        _ => return Ok(()),
    };
    add(properties, name, Value::U64(number()?));
    Ok(())
}

#[cfg(test)]
mod tests;

//! Flags that limit what a container uses.

use bollard::models::{DeviceMapping, HostConfig, ResourcesUlimits};
use clap::Args;

use super::{
    bytes::{parse_bytes, parse_bytes_or_unlimited},
    device, pairs, ulimit,
};

/// Limits and devices.
#[derive(Debug, Default, Args)]
pub struct ResourceFlags {
    /// Number of CPUs, with fractions
    #[arg(long, value_name = "NUMBER", value_parser = nano_cpus)]
    cpus: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "SHARES")]
    cpu_shares: Option<i64>,
    /// Period of the CPU quota in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// CPU time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Period of real-time CPU time in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<i64>,
    /// Real-time CPU time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<i64>,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<i64>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// How readily memory is swapped (0 to 100)
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Do not kill the container when it runs out of memory
    #[arg(long)]
    oom_kill_disable: bool,
    /// Likelihood of being killed when the machine runs out of memory (-1000 to 1000)
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    oom_score_adj: Option<i64>,
    /// Limit of processes; -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Weight of block I/O (10 to 1000)
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Cgroup to place the container in
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    shm_size: Option<i64>,
    /// Devices of the host to add
    #[arg(long, value_name = "DEVICE", value_parser = device::parse)]
    device: Vec<DeviceMapping>,
    /// Rules for the devices cgroup
    #[arg(long, value_name = "RULE", value_parser = device::parse_rule)]
    device_cgroup_rule: Vec<String>,
    /// Resource limits of the process (name=soft:hard)
    #[arg(long, value_name = "LIMIT", value_parser = ulimit::parse)]
    ulimit: Vec<ResourcesUlimits>,
}

impl ResourceFlags {
    /// Adds what the flags say.
    pub fn apply(&self, host: &mut HostConfig) {
        host.nano_cpus = self.cpus;
        host.cpu_shares = self.cpu_shares;
        host.cpu_period = self.cpu_period;
        host.cpu_quota = self.cpu_quota;
        host.cpu_realtime_period = self.cpu_rt_period;
        host.cpu_realtime_runtime = self.cpu_rt_runtime;
        host.cpuset_cpus = self.cpuset_cpus.clone();
        host.cpuset_mems = self.cpuset_mems.clone();
        host.memory = self.memory;
        host.memory_reservation = self.memory_reservation;
        host.memory_swap = self.memory_swap;
        host.memory_swappiness = self.memory_swappiness.filter(|&percent| percent != -1);
        host.oom_kill_disable = self.oom_kill_disable.then_some(true);
        host.oom_score_adj = self.oom_score_adj;
        host.pids_limit = self.pids_limit;
        host.blkio_weight = self.blkio_weight;
        host.cgroup_parent = self.cgroup_parent.clone();
        host.shm_size = self.shm_size;
        host.devices = (!self.device.is_empty()).then(|| self.device.clone());
        host.device_cgroup_rules = pairs::list(&self.device_cgroup_rule);
        host.ulimits = (!self.ulimit.is_empty()).then(|| self.ulimit.clone());
    }
}

/// Parses a number of CPUs to billionths of one.
fn nano_cpus(text: &str) -> Result<i64, String> {
    let cpus: f64 = text
        .parse()
        .map_err(|_| format!("failed to parse {text} as a rational number"))?;
    let nano = cpus * 1e9;
    if !nano.is_finite() || !(0.0..9e18).contains(&nano) {
        return Err(format!("invalid number of CPUs: {text}"));
    }
    if (nano - nano.round()).abs() > 1e-3 {
        return Err("value is too precise".to_owned());
    }
    Ok(nano.round() as i64)
}

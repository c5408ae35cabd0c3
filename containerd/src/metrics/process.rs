//! This process, as Prometheus's client libraries show one. What the system does not say is left out.

use std::{fs, time::SystemTime};

use rustix::process::{Resource, getrlimit};

use super::exposition::{Exposition, Kind};

pub(super) fn write(text: &mut Exposition) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, Kind::Gauge, help);
            text.sample(name, &[], value);
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kilobytes(&status, "VmRSS:");
    gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        resident,
    );
    let virtual_memory = kilobytes(&status, "VmSize:");
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        virtual_memory,
    );
    let open = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64);
    gauge("process_open_fds", "Number of open file descriptors.", open);
    let limit = getrlimit(Resource::Nofile).current.map(|limit| limit as f64);
    gauge("process_max_fds", "Maximum number of open file descriptors.", limit);
    let threads = number(&status, "Threads:");
    gauge("process_threads", "Number of threads of the process.", threads);
    let started = fs::metadata("/proc/self").and_then(|metadata| metadata.modified()).ok();
    let started = started.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let started = started.map(|at| at.as_secs_f64());
    gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        started,
    );
}

fn number(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, key: &str) -> Option<f64> {
    number(status, key).map(|kilobytes| kilobytes * 1024.0)
}

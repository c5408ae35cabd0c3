//! What `docker info` tells of the machine, read from /proc and /etc when asked.

use std::fs;

/// `6.1.0-…`.
pub fn kernel() -> String {
    line("/proc/sys/kernel/osrelease")
}

/// Its host name.
pub fn name() -> String {
    line("/proc/sys/kernel/hostname")
}

/// Bytes of memory.
pub fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    kilobytes.unwrap_or(0u64) * 1024
}

/// `Debian GNU/Linux 13 (trixie)`.
pub fn operating_system() -> String {
    os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".into())
}

/// `13`.
pub fn operating_system_version() -> String {
    os_release("VERSION_ID").unwrap_or_default()
}

fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

/// Whether the kernel forwards packets between interfaces.
pub fn forwards() -> bool {
    line("/proc/sys/net/ipv4/ip_forward") == "1"
}

/// How many files the engine has open.
pub fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The architecture as Go names it.
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

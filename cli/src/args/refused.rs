//! What Docker's command line has and this one does not have yet: known, so that it is refused by name.

/// Docker's flags that no command here has, or that some command here does not have.
#[rustfmt::skip]
const FLAGS: &[&str] = &[
    // run and create
    "--blkio-weight-device", "--cpu-count", "--cpu-percent", "--device-read-bps", "--device-read-iops", "--device-write-bps",
    "--device-write-iops", "--disable-content-trust", "--expose", "--gpus", "--health-cmd", "--health-interval",
    "--health-retries", "--health-start-interval", "--health-start-period", "--health-timeout", "--io-maxbandwidth",
    "--io-maxiops", "--ip", "--ip6", "--isolation", "--kernel-memory", "--link", "--link-local-ip", "--mac-address",
    "--net-alias", "--network-alias", "--no-healthcheck", "--publish", "-p", "--publish-all", "-P", "--storage-opt",
    "--use-api-socket", "--volume-driver", "--volumes-from",
    // start, logs, pull, images, load, history, top level
    "--checkpoint", "--checkpoint-dir", "--details", "--all-tags", "-a", "--tree", "--platform",
    "--config", "--context", "-c", "--tls", "--tlscacert", "--tlscert", "--tlskey", "--tlsverify",
];

/// Docker's commands that are missing here.
#[rustfmt::skip]
const COMMANDS: &[&str] = &[
    "build", "builder", "buildx", "commit", "compose", "config", "context", "cp", "df", "diff", "export", "login", "logout",
    "manifest", "network", "node", "pause", "plugin", "port", "prune", "push", "save", "search", "secret", "service", "stack",
    "stats", "swarm", "trust", "unpause", "update", "volume",
];

/// Whether Docker's command line has this flag somewhere.
pub fn is_dockers_flag(flag: &str) -> bool {
    let name = flag.split('=').next().unwrap_or(flag);
    FLAGS.contains(&name)
}

/// Whether Docker has this command.
pub fn is_dockers_command(name: &str) -> bool {
    COMMANDS.contains(&name)
}

//! The command line: runc's.

mod checkpoint;
mod duration;
mod go_flags;
mod help;
mod integer;
mod usage;
pub mod version;

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use checkpoint::{Checkpoint, Criu, Restore};
pub use usage::parse;

/// Run containers as the Open Container Initiative's runtime specification says.
#[derive(Debug, Parser)]
#[command(
    name = "davit-runtime",
    version,
    disable_help_subcommand = true,
    args_override_self = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// Log what is done, to find errors
    #[arg(long)]
    pub debug: bool,
    /// Write errors, warnings and details to this file (errors to standard error as well)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The form of a log line
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Where the state of containers is kept (in memory: a reboot ends containers) [default: /run/davit/runc, for an
    /// ordinary user $XDG_RUNTIME_DIR/davit/runc]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Let systemd manage cgroups: cgroupsPath is slice:prefix:name then
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who manages cgroups: cgroupfs, systemd or disabled
    #[arg(long, value_enum, value_name = "MANAGER")]
    pub cgroup_manager: Option<CgroupManager>,
    /// Ignore cgroup permission errors: true, false or auto
    #[arg(long, default_value = "auto")]
    pub rootless: String,
    /// Which criu: as with runc, that of $PATH is used
    #[arg(long, value_name = "FILE", hide = true)]
    pub criu: Option<PathBuf>,
    /// Print the version
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Who manages cgroups, in crun's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    /// This program
    Cgroupfs,
    /// systemd
    Systemd,
    /// Nobody: a container stays in its maker's cgroup
    Disabled,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// key=value
    Text,
    /// One JSON object
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a running container into an image, and end it
    Checkpoint(Box<Checkpoint>),
    /// Make a container; its program waits for `start`
    Create(Create),
    /// Remove a container that has stopped or was not started
    Delete(Delete),
    /// Show resource usage
    Events(Events),
    /// Run another program in a container
    Exec(Box<Exec>),
    /// Say what this runtime can do
    Features,
    /// Send a signal to a container's first process; KILL to all, where they share another's pid namespace
    Kill(Kill),
    /// List containers
    List(List),
    /// Freeze a container's processes
    Pause(Target),
    /// List a container's processes
    Ps(Ps),
    /// Make a container from an image that `checkpoint` has written
    Restore(Box<Restore>),
    /// Let a container's processes run on
    Resume(Target),
    /// Make a container, start it and wait for its end
    Run(Run),
    /// Write an example of a config.json
    Spec(Spec),
    /// Start the program of a created container
    Start(Target),
    /// Show the state of a container
    State(Target),
    /// Change a container's limits
    Update(Box<Update>),
}

/// Just a container.
#[derive(Debug, Args)]
pub struct Target {
    /// The container's id
    pub id: String,
}

/// Options of `create`, and of `run`.
#[derive(Debug, Args)]
pub struct Create {
    /// The folder of config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Another config than the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Send a pidfd of the first process to this socket
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Write the pid of the first process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root (for a root on a ramdisk)
    #[arg(long)]
    pub no_pivot: bool,
    /// Do not make a session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass on this many file descriptors beside the standard streams
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = integer::parse::<u32>)]
    pub preserve_fds: u32,
    /// The new container's id
    pub id: String,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What `create` takes
    #[command(flatten)]
    pub create: Create,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container at its end
    #[arg(long)]
    pub keep: bool,
    /// Do not adopt the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
}

/// Options of `exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Send a pidfd of the process to this socket
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Environment variables to add
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Who it runs as
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary groups
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// Take the process from a process.json instead of other options; what it leaves open is as in the container
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// Write the pid of the process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux context
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Never let it gain privileges; =false: let it, whatever the container's own process may
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_new_privs: Option<bool>,
    /// Add a capability: to the bounding, effective and permitted sets, and to the ambient one where the process has inheritable ones
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Pass on this many file descriptors beside the standard streams
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = integer::parse::<u32>)]
    pub preserve_fds: u32,
    /// Run it in a cgroup below the container's
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<String>,
    /// Do it in a paused container, too: it will wait
    #[arg(long)]
    pub ignore_paused: bool,
    /// The container's id
    pub id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Options of `kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// Send it to every process of the container
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// The container's id
    pub id: String,
    /// A signal's name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
}

/// Options of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Kill it first if it still runs; an absent container is fine
    #[arg(short, long)]
    pub force: bool,
    /// The container's id
    pub id: String,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// The form of the list: table or json
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub format: String,
    /// Only the ids
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// The form of the list: table or json
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub format: String,
    /// The container's id
    pub id: String,
    /// Options for ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// Options of `spec`.
#[derive(Debug, Args)]
pub struct Spec {
    /// Where to write it
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For an unprivileged user
    #[arg(long)]
    pub rootless: bool,
}

/// Options of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Between two lines, such as 5s or 500ms
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    pub interval: Duration,
    /// One line and no more
    #[arg(long)]
    pub stats: bool,
    /// The container's id
    pub id: String,
}

/// Options of `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Take the limits from this file, in the form of linux.resources (- is standard input)
    #[arg(short, long, value_name = "FILE", action = ArgAction::Set)]
    pub resources: Option<PathBuf>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_parser = integer::parse::<u16>)]
    pub blkio_weight: Option<u16>,
    /// Microseconds of a period of the CPU quota
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<String>,
    /// Microseconds of CPU time per period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<String>,
    /// Microseconds that may be saved up
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<String>,
    /// Relative weight of CPU time
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<String>,
    /// Microseconds of a real-time period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<String>,
    /// Microseconds of real-time work per period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<String>,
    /// CPUs to run on
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES")]
    pub kernel_memory: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES")]
    pub kernel_memory_tcp: Option<String>,
    /// Bytes of memory
    #[arg(long)]
    pub memory: Option<String>,
    /// Bytes of memory under pressure
    #[arg(long)]
    pub memory_reservation: Option<String>,
    /// Bytes of memory and swap together
    #[arg(long)]
    pub memory_swap: Option<String>,
    /// Processes and threads
    #[arg(long, value_parser = integer::parse::<i64>)]
    pub pids_limit: Option<i64>,
    /// 1: run only when nobody else wants to
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<String>,
    /// Share of the L3 cache (Intel RDT), such as L3:0=7f0;1=1f
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Share of the memory bandwidth (Intel RDT), such as MB:0=20;1=70
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// The container's id
    pub id: String,
}

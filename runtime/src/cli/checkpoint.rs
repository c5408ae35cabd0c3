//! Options of `checkpoint` and `restore`.

use std::path::PathBuf;

use clap::Args;

/// What both commands take.
#[derive(Debug, Args)]
pub struct Criu {
    /// The folder of the image (./checkpoint where absent)
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Where criu leaves its log (the image's folder where absent)
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Take established TCP connections along
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow Unix sockets that are connected to the outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a terminal or session of somebody outside
    #[arg(long)]
    pub shell_job: bool,
    /// Move memory pages when they are used: over the network, through userfaultfd
    #[arg(long)]
    pub lazy_pages: bool,
    /// Take file locks along
    #[arg(long)]
    pub file_locks: bool,
    /// What criu does about cgroups: soft, full, strict or ignore (soft where absent)
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<String>,
    /// Accepted for callers of runc: network, which is always made afresh and empty
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Drop pages from the parent's image that this one has
    #[arg(long)]
    pub auto_dedup: bool,
    /// How the network is held still meanwhile: iptables, nftables or skip (criu's choice where absent)
    #[arg(long, value_name = "METHOD")]
    pub network_lock: Option<String>,
}

/// Options of `checkpoint`.
#[derive(Debug, Args)]
pub struct Checkpoint {
    /// What both commands take
    #[command(flatten)]
    pub criu: Criu,
    /// The folder of an earlier image of `--pre-dump`, relative to the image's folder
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Let the container run on afterwards
    #[arg(long)]
    pub leave_running: bool,
    /// Leave TCP connections out that are still being established
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Give files a name for the time being that are open and deleted
    #[arg(long)]
    pub link_remap: bool,
    /// Where a NUL is written to when the page server of `--lazy-pages` is ready
    #[arg(long, value_name = "FD", default_value_t = -1, allow_hyphen_values = true)]
    pub status_fd: i32,
    /// Send memory pages to this page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Take the memory only, and let the container run on
    #[arg(long)]
    pub pre_dump: bool,
    /// The container's id
    pub id: String,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// What both commands take
    #[command(flatten)]
    pub criu: Criu,
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// The folder of config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// Write the pid of the first process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not adopt the container's orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Accepted for callers of runc: it is criu that enters the root, and it always pivots
    #[arg(long)]
    pub no_pivot: bool,
    /// Close established TCP connections instead of restoring them
    #[arg(long)]
    pub tcp_close: bool,
    /// Restore under another LSM profile
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Mount with another LSM context
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// The container's id
    pub id: String,
}

//! Writing a running container into an image.

use std::{
    fs,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use davit_cgroup::{Cgroup, CgroupError, Version as Layout};
use davit_criu::{CriuFeatures, CriuNotify, CriuOpts, CriuPageServerInfo, CriuReq, CriuReqType, Version};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    record::Record,
    store::{Folder, StoreError},
};
use crate::{
    criu::{
        CriuError, excerpt,
        external::{name_mounts, name_namespaces},
        options::{Options, make_folder},
        worker::{Setting, Worker, check_features, version},
    },
    errno::{Attempt, CallError},
    fail_point,
    init::inside,
    log, notify_socket,
    rootfs::gate::Gate,
};

/// What the container's standard streams were, in the image's folder: runc's name and form.
pub const DESCRIPTORS: &str = "descriptors.json";
const LOG: &str = "dump.log";
/// The oldest criu that can say its version.
pub const OLDEST: Version = Version::new(30000);
/// Since when criu knows the freezer of cgroup v2.
const FREEZES_V2: Version = Version::new(31400);
/// Since when criu reports by a notification that its page server listens.
const NOTIFIES_READY: Version = Version::new(31500);

/// What the command line says about a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// What `restore` takes, too.
    pub options: Options,
    /// The folder of an earlier image, relative to this one's.
    pub parent: Option<PathBuf>,
    /// Let the container run on.
    pub leave_running: bool,
    /// Leave out TCP connections that are still being established.
    pub tcp_skip_in_flight: bool,
    /// Give deleted open files a name.
    pub link_remap: bool,
    /// Where to send pages.
    pub page_server: Option<(String, i32)>,
    /// Take the memory only.
    pub pre_dump: bool,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// criu is not there, cannot, or failed.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// The record or the config cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cgroup cannot be found.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Writes the image. On failure the container runs on as before; on success without `leave_running` or `pre_dump` its
/// processes are gone. `status` is told when the page server of a lazy one listens.
pub fn checkpoint(
    folder: &Folder,
    record: &Record,
    wish: &Checkpoint,
    status: Option<OwnedFd>,
) -> Result<(), CheckpointError> {
    let version = version()?;
    if version < OLDEST {
        return Err(CriuError::TooOld {
            found: version,
            wanted: OLDEST,
        }
        .into());
    }
    make_folder(&wish.options.images)?;
    let mut config = folder.config()?;
    config.mounts = config
        .mounts
        .into_iter()
        .map(|mount| inside(mount, &record.rootfs))
        .collect();
    // It is not in the config that the container was made from. Where nothing is mounted, the name means nothing.
    config.mounts.push(notify_socket::mount(folder.path()));
    let cgroup = record.cgroup()?;
    let folders = wish.options.open(std::process::id() as i32)?;
    let mut opts = CriuOpts {
        pid: Some(record.init.pid),
        root: Some(record.rootfs.to_string_lossy().into_owned()),
        leave_running: Some(wish.leave_running),
        tcp_skip_in_flight: Some(wish.tcp_skip_in_flight),
        link_remap: Some(wish.link_remap),
        freeze_cgroup: freezer(record, &cgroup, version),
        ..CriuOpts::default()
    };
    wish.options.add_to(&mut opts, &folders, &config.annotations, LOG);
    name_namespaces(&mut opts, &config, version)?;
    if let Some((address, port)) = &wish.page_server {
        opts.ps = Some(CriuPageServerInfo {
            address: Some(address.clone()),
            port: Some(*port),
        });
    }
    if let Some(parent) = &wish.parent {
        opts.parent_img = Some(parent.to_string_lossy().into_owned());
        opts.track_mem = Some(true);
    }
    check_wanted_features(wish)?;
    let mut status = Status::new(status, version);
    opts.status_fd = status.for_criu();
    let kind = match wish.pre_dump {
        true => CriuReqType::PreDump,
        false => {
            name_mounts(&mut opts, &config, &root_of(record)?, &cgroup.mount_table());
            write_descriptors(record, wish)?;
            CriuReqType::Dump
        }
    };
    let request = CriuReq {
        r#type: kind as i32,
        opts: Some(opts),
        ..CriuReq::default()
    };
    let was_frozen = cgroup.frozen().unwrap_or(false);
    let dumped = dump(&request, wish, &mut status);
    dumped.map_err(|failure| {
        // criu thaws what it froze, unless it was killed.
        if !was_frozen && cgroup.frozen().unwrap_or(false) {
            cgroup.thaw().unwrap_or_else(|err| log::warn(&err.to_string()));
        }
        excerpt::explain(failure, wish.options.log_folder().join(LOG)).into()
    })
}

fn dump(request: &CriuReq, wish: &Checkpoint, status: &mut Status) -> Result<(), CriuError> {
    fail_point::reach("checkpoint.prepared");
    let worker = Worker::start(&Setting {
        // A page server that nobody asks for pages would wait for ever; without it the container runs on.
        ends_with_us: wish.options.lazy_pages,
        ..Setting::default()
    })?;
    let at = |notify: &CriuNotify, _| {
        match notify.point() {
            "pre-dump" => fail_point::reach("checkpoint.begun"),
            "network-lock" => fail_point::reach("checkpoint.processes-stopped"),
            "post-dump" => fail_point::reach("checkpoint.written"),
            _ => {}
        }
        if notify.point() == "status-ready" {
            status.tell();
        }
        Ok::<(), CriuError>(())
    };
    worker.perform(request, at).map(drop)
}

fn check_wanted_features(wish: &Checkpoint) -> Result<(), CriuError> {
    let wanted = CriuFeatures {
        mem_track: wish.pre_dump.then_some(true),
        lazy_pages: wish.options.lazy_pages.then_some(true),
    };
    match wanted == CriuFeatures::default() {
        true => Ok(()),
        false => check_features(&wanted),
    }
}

/// The cgroup that criu freezes; without one it stops the processes one by one.
fn freezer(record: &Record, cgroup: &Cgroup, version: Version) -> Option<String> {
    let path = match cgroup.version() {
        Layout::V1 => record.cgroup_paths.get("freezer"),
        Layout::V2 if version >= FREEZES_V2 => record.cgroup_paths.get(""),
        Layout::V2 => None,
    };
    path.map(|path| path.to_string_lossy().into_owned())
}

/// The container's root, as its first process has it.
fn root_of(record: &Record) -> Result<Gate, CallError> {
    let path = format!("/proc/{}/root", record.init.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &path, flags, Mode::empty()).attempt("open", &path)?;
    Ok(Gate::new(root))
}

/// Notes what the standard streams are, so that a restore can put its own in the place of pipes.
fn write_descriptors(record: &Record, wish: &Checkpoint) -> Result<(), CallError> {
    let link = |number| {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", record.init.pid));
        link.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let links = [0, 1, 2].map(link);
    let path = wish.options.images.join(DESCRIPTORS);
    let json = serde_json::to_vec(&links).expect("links are text");
    fs::write(&path, json).attempt("write", path.display())
}

/// Where it is told that the page server listens.
enum Status {
    Nobody,
    /// By us.
    Ours(OwnedFd),
    /// By an old criu, which writes to our descriptor itself.
    Criu(OwnedFd),
}

impl Status {
    fn new(fd: Option<OwnedFd>, version: Version) -> Self {
        match fd {
            None => Status::Nobody,
            Some(fd) if version >= NOTIFIES_READY => Status::Ours(fd),
            Some(fd) => Status::Criu(fd),
        }
    }

    fn for_criu(&self) -> Option<i32> {
        match self {
            Status::Criu(fd) => Some(fd.as_raw_fd()),
            _ => None,
        }
    }

    /// Says it and hangs up, for whoever waits for the end of a pipe.
    fn tell(&mut self) {
        if let Status::Ours(fd) = std::mem::replace(self, Status::Nobody)
            && let Err(err) = fs::File::from(fd).write_all(&[0])
        {
            log::warn(&format!("cannot write to --status-fd: {err}"));
        }
    }
}

//! `start`: hands the manager the address of a shim that serves, and starts one where none does.
//!
//! The socket is bound here and given to the new process as its stdin, so that it exists when `start` returns; connections
//! wait in its backlog until the new process accepts them.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, parent_id},
    },
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{
    arguments::{Beginning, Identity},
    bootstrap::{Bootstrap, BootstrapError},
    bundle::Bundle,
    confirmation::Confirmation,
    shim_cgroup,
    socket::{self, Claim},
};

/// Annotations that name a group of containers in one shim; the first that is present counts.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// glibc settings of the serving process: it has one busy thread and should give memory back.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "16384"),
];

/// Why no shim could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the manager sent.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A file or system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// The bundle's config.json.
    #[error("cannot read the annotations in config.json: {0}")]
    Spec(serde_json::Error),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// Runs the action in the bundle, which is the working directory.
pub fn run(identity: &Identity) -> Result<(), StartError> {
    let mut input = Vec::new();
    io::stdin()
        .read_to_end(&mut input)
        .map_err(failed("cannot read stdin"))?;
    let bootstrap = Bootstrap::read(&input, identity, env::var_os("MAX_SHIM_VERSION").is_some())?;
    let bundle = Bundle::new(env::current_dir().map_err(failed("cannot find the bundle"))?);
    if let Some(options) = &bootstrap.options {
        // A sandbox with a process of its own is made with them, and whoever cleans up needs them at once.
        bundle
            .store_options(options)
            .map_err(failed("cannot keep the runtime's options"))?;
    }
    let dir = bootstrap.socket_dir.as_deref().unwrap_or(socket::DEFAULT_DIR);
    let group = group_of(identity, &bundle)?;
    let path = socket::path(
        Path::new(dir),
        &bootstrap.grpc_address,
        identity.namespace.as_str(),
        &group,
    );
    // Before the socket: whoever cleans up after this process finds it.
    socket::note(bundle.path(), &path).map_err(failed("cannot note the socket"))?;
    davit_fail_point::reach("shim.spawn.noted");
    let mut confirmation = None;
    match socket::claim(&path).map_err(failed(format!("cannot bind {}", path.display())))? {
        Claim::Served => {}
        Claim::Bound(listener) => {
            davit_fail_point::reach("shim.spawn.bound");
            let spawned = spawn(identity, &bootstrap, listener.into(), &path);
            // Best effort: nobody will serve there.
            confirmation = Some(spawned.inspect_err(|_| drop(fs::remove_file(&path)))?);
        }
    }
    davit_fail_point::reach("shim.spawn.spawned");
    let reply = bootstrap.reply(&format!("unix://{}", path.display()), bundle.is_of_sandbox());
    io::stdout()
        .write_all(&reply)
        .map_err(failed("cannot write the address"))?;
    davit_fail_point::reach("shim.spawn.answered");
    let confirmed = confirmation.map_or(Ok(()), Confirmation::give);
    confirmed.map_err(failed("cannot confirm the start to the serving process"))
}

fn spawn(
    identity: &Identity,
    bootstrap: &Bootstrap,
    listener: OwnedFd,
    path: &Path,
) -> Result<Confirmation, StartError> {
    let own = env::current_exe().map_err(failed("cannot find the shim's own executable"))?;
    inherit_oom_score();
    let (confirmation, confirmed) = Confirmation::new().map_err(failed("cannot make a pipe"))?;
    let serving = Identity {
        address: bootstrap.grpc_address.clone(),
        debug: bootstrap.debug,
        ..identity.clone()
    };
    let mut command = Command::new(own);
    command
        .args(serving.serving(path, Beginning::Afresh))
        .envs(ALLOCATOR)
        .stdin(Stdio::from(listener))
        .stdout(confirmed)
        .stderr(Stdio::null())
        .process_group(0);
    if let Some(address) = &bootstrap.ttrpc_address {
        command.env("TTRPC_ADDRESS", address);
    }
    let child = command.spawn().map_err(failed("cannot start the serving process"))?;
    match bootstrap.options.as_ref().map(|options| options.shim_cgroup.as_str()) {
        None | Some("") => {}
        Some(cgroup) => {
            shim_cgroup::join(cgroup, child.id()).map_err(failed(format!("cannot join cgroup {cgroup}")))?;
        }
    }
    Ok(confirmation)
}

#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

fn group_of(identity: &Identity, bundle: &Bundle) -> Result<String, StartError> {
    let text = match fs::read("config.json") {
        // A sandbox is the first of its group.
        Err(error) if error.kind() == io::ErrorKind::NotFound && bundle.is_of_sandbox() => {
            return Ok(identity.id.as_str().to_owned());
        }
        text => text.map_err(failed("cannot read config.json in the bundle"))?,
    };
    let spec: Annotated = serde_json::from_slice(&text).map_err(StartError::Spec)?;
    let mut annotations = spec.annotations.unwrap_or_default();
    let group = GROUP_ANNOTATIONS.iter().find_map(|name| annotations.remove(*name));
    Ok(group.unwrap_or_else(|| identity.id.as_str().to_owned()))
}

/// The shim is a bit more likely to be killed than the manager, which protects itself. Best effort: without CAP_SYS_RESOURCE
/// the score may not be lowered.
fn inherit_oom_score() {
    let parent = fs::read_to_string(format!("/proc/{}/oom_score_adj", parent_id()));
    let Some(score) = parent.ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return;
    };
    let _ = fs::write("/proc/self/oom_score_adj", (score + 1).min(1000).to_string());
}

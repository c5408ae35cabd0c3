//! The places that criu mounts on.
//!
//! An image holds mounts, not the directories below them, and the bundle of a restore may be a fresh one. So they are
//! made as `create` makes them: through the gate, each bind put on before what lies inside it. That happens in a child
//! with a mount namespace of its own, of which only the directories remain.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

use davit_spec::{Config, Mount};
use davit_sys::clone::{Fork, NEW_MOUNT, fork};
use rustix::{
    fs::{Mode, OFlags, readlink},
    pipe::{PipeFlags, pipe_with},
    process::{WaitId, WaitIdOptions, umask, waitid},
};

use super::external::{is_bind, is_cgroup, source};
use crate::{
    errno::{Attempt, CallError},
    rootfs::{
        gate::{Gate, Kind, is_directory},
        mount::{attach, copy_of_host},
        options::Tree,
        pivot,
    },
};

/// A mount whose place could not be made.
#[derive(Debug, thiserror::Error)]
#[error("create criu restore mountpoint for {destination} mount: {problem}")]
pub struct MountpointError {
    destination: String,
    problem: String,
}

/// Makes the places of a config's mounts, and returns for each where in the container it is when all links are followed.
pub fn prepare(config: &Config, rootfs: &Path, bundle: &Path) -> Result<Vec<String>, MountpointError> {
    let failure = |problem: String| MountpointError {
        destination: "any".into(),
        problem,
    };
    let talk = |err: CallError| failure(err.to_string());
    let (told, teller) = pipe_with(PipeFlags::CLOEXEC).attempt("make", "pipe").map_err(talk)?;
    let pidfd = match fork(NEW_MOUNT, None).attempt("clone", "a child").map_err(talk)? {
        Fork::Child => {
            drop(told);
            let answer = match places(config, rootfs, bundle) {
                Ok(places) => Answer::Places(places),
                Err(err) => Answer::Failed(err.destination, err.problem),
            };
            let written = File::from(teller).write_all(&answer.encode());
            davit_sys::clone::exit_now(i32::from(written.is_err()))
        }
        Fork::Parent { pidfd, .. } => pidfd,
    };
    drop(teller);
    let mut bytes = Vec::new();
    let read = File::from(told).read_to_end(&mut bytes).attempt("hear", "a child");
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    read.map_err(talk)?;
    match Answer::decode(&bytes) {
        Some(Answer::Places(places)) if places.len() == config.mounts.len() => Ok(places),
        Some(Answer::Failed(destination, problem)) => Err(MountpointError { destination, problem }),
        _ => Err(failure("the child that made them died".into())),
    }
}

/// What the child says. Paths and texts have no NUL.
enum Answer {
    Places(Vec<String>),
    Failed(String, String),
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        let (mark, texts) = match self {
            Answer::Places(places) => ("p", places.clone()),
            Answer::Failed(destination, problem) => ("f", vec![destination.clone(), problem.clone()]),
        };
        let mut bytes = mark.as_bytes().to_vec();
        for text in texts {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.split_first()?;
        let text = String::from_utf8(rest.to_vec()).ok()?;
        let texts: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        match (mark, texts.as_slice()) {
            (b'p', _) => Some(Answer::Places(texts)),
            (b'f', [destination, problem]) => Some(Answer::Failed(destination.clone(), problem.clone())),
            _ => None,
        }
    }
}

fn places(config: &Config, rootfs: &Path, bundle: &Path) -> Result<Vec<String>, MountpointError> {
    let failure = |destination: &str, problem: String| MountpointError {
        destination: destination.into(),
        problem,
    };
    umask(Mode::empty());
    let gate = pivot::prepare(rootfs, &config.linux.rootfs_propagation).map_err(|err| failure("/", err.to_string()))?;
    let root = name_of(gate.root()).map_err(|err| failure("/", err.to_string()))?;
    let place = |mount: &Mount| place(&gate, &root, mount, config, bundle);
    config
        .mounts
        .iter()
        .map(|mount| place(mount).map_err(|err| failure(&mount.destination, err.to_string())))
        .collect()
}

fn place(gate: &Gate, root: &str, mount: &Mount, config: &Config, bundle: &Path) -> Result<String, CallError> {
    let destination = mount.destination.as_str();
    // The cgroup hierarchies lie on a tmpfs or in sysfs, and the content of a tmpfs is in the image.
    if is_cgroup(mount) || on_tmpfs(destination, &config.mounts) {
        return Ok(destination.into());
    }
    let tree = match is_bind(mount) {
        true => Some(copy_of_host(&source(mount, bundle), Tree::Whole).attempt("open source", &mount.source)?),
        false => None,
    };
    let kind = match &tree {
        Some(tree) if !is_directory(tree.as_fd()).attempt("inspect", &mount.source)? => Kind::File,
        _ => Kind::Directory,
    };
    let place = gate.ensure(destination, kind).attempt("make", destination)?;
    if let Some(tree) = tree {
        attach(tree.as_fd(), place.as_fd()).attempt("bind", destination)?;
    }
    let name = name_of(place.as_fd())?;
    Ok(name
        .strip_prefix(root.trim_end_matches('/'))
        .unwrap_or(&name)
        .to_owned())
}

fn on_tmpfs(path: &str, mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        let below = path.strip_prefix(mount.destination.trim_end_matches('/'));
        mount.kind == "tmpfs" && !is_bind(mount) && below.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    })
}

/// Where an open place is, as the kernel says.
fn name_of(place: BorrowedFd) -> Result<String, CallError> {
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let name = readlink(&link, Vec::new()).attempt("read", &link)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Where in a container `path` is when all links are followed; the path itself where nothing is there.
pub fn resolve(gate: &Gate, path: &str) -> String {
    let place = gate.open(path, OFlags::PATH).ok();
    place
        .and_then(|place| name_of(place.as_fd()).ok())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_covers_what_is_below_it_and_not_itself() {
        let mount = |destination: &str, kind: &str| Mount {
            destination: destination.into(),
            kind: kind.into(),
            ..Mount::default()
        };
        let mounts = [mount("/dev", "tmpfs"), mount("/data", "bind")];
        assert!(on_tmpfs("/dev/shm", &mounts));
        for path in ["/dev", "/device", "/data/x", "/"] {
            assert!(!on_tmpfs(path, &mounts), "{path}");
        }
    }

    #[test]
    fn an_answer_survives_the_way() {
        let decoded = Answer::decode(&Answer::Places(vec!["/a".into(), "/b c".into()]).encode());
        assert!(matches!(decoded, Some(Answer::Places(places)) if places == ["/a", "/b c"]));
        assert!(
            matches!(Answer::decode(&Answer::Places(Vec::new()).encode()), Some(Answer::Places(places)) if places.is_empty())
        );
        let failed = Answer::Failed("/a".into(), "why".into()).encode();
        assert!(matches!(Answer::decode(&failed), Some(Answer::Failed(at, why)) if at == "/a" && why == "why"));
        assert!(Answer::decode(b"").is_none());
    }
}

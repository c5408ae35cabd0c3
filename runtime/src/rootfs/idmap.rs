//! User namespaces that exist for their id mappings alone.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use davit_spec::{IdMapping, id_mappings_to_table};
use davit_sys::clone::{Fork, NEW_USER, exit_now, fork};
use rustix::{
    fs::OFlags,
    io::read,
    pipe::{PipeFlags, pipe_with},
    process::{WaitId, WaitIdOptions, waitid},
};

use super::{options::Tree, planned::IdSource};
use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

/// How the ids of a mount are mapped.
#[derive(Clone, Debug)]
pub struct IdMap {
    /// A namespace with those mappings.
    pub user_namespace: Rc<OwnedFd>,
    /// Whether in the mounts below, too.
    pub tree: Tree,
}

/// The namespaces that were made or opened: mounts with one mapping share one.
#[derive(Debug, Default)]
pub(super) struct IdMaps<'c> {
    known: Vec<(IdSource<'c>, Rc<OwnedFd>)>,
}

impl<'c> IdMaps<'c> {
    /// A namespace with the mappings of `source`.
    pub(super) fn map(&mut self, source: IdSource<'c>) -> Result<Rc<OwnedFd>, CallError> {
        if let Some((_, namespace)) = self.known.iter().find(|(known, _)| *known == source) {
            return Ok(namespace.clone());
        }
        let namespace = Rc::new(match source {
            IdSource::Mappings(uids, gids) => user_namespace(uids, gids)?,
            IdSource::Namespace(path) => File::open(path).attempt("open namespace", path.display())?.into(),
        });
        self.known.push((source, namespace.clone()));
        Ok(namespace)
    }
}

/// Makes a user namespace with the given mappings. A process must be in it while they are written; it ends with that.
fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, CallError> {
    let (end, life) = pipe_with(PipeFlags::CLOEXEC).attempt("make", "pipe")?;
    let (pid, pidfd) = match fork(NEW_USER, None).attempt("clone", "user namespace")? {
        Fork::Child => {
            drop(life);
            // Until the runtime closes its end, or is no more.
            let _ = read(&end, &mut [0u8; 1]);
            exit_now(0)
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    let namespace = map_and_open(pid, uids, gids);
    drop(life);
    // It has nothing else to do than to end.
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    namespace
}

fn map_and_open(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, CallError> {
    let proc = ProcFs::open().attempt("open", "/proc")?;
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        // The kernel takes a map whole or not at all (CVE-2021-43784).
        proc.write(&format!("{pid}/{file}"), id_mappings_to_table(mappings))
            .attempt("write", file)?;
    }
    let path = format!("{pid}/ns/user");
    proc.open_link(&path, OFlags::RDONLY).attempt("open namespace", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_made_with_its_mappings_and_nobody_stays_in_it() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("needs root: only root maps others' ids");
            return;
        }
        let run = |host_id| {
            [IdMapping {
                container_id: 0,
                host_id,
                size: 10,
            }]
        };
        let (first, second) = (run(1000), run(2000));
        let mut maps = IdMaps::default();
        let source = IdSource::Mappings(&first, &second);
        let one = maps.map(source).unwrap();
        assert!(Rc::ptr_eq(&one, &maps.map(source).unwrap()));
        let too_many = [first[0]; 400];
        assert!(maps.map(IdSource::Mappings(&too_many, &first)).is_err());
    }
}
